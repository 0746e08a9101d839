/*
 * tv_guard_unsafe.c
 *	  Statements that the server leaves to superusers because a mistake in them
 *	  reads or writes any memory of its process.
 *
 * In language "internal" a function of the server is given whatever the
 * statement says that it takes: a number where it expects an address.  A cast
 * WITHOUT FUNCTION, a base type, a support function of an operator class, an
 * aggregate with a state of type internal, a planner support function, a text
 * search template or a language's handler do the same.  Rows of all tables are in shared buffers, so
 * this is as good as native code.  Scripts of extensions, which come from the
 * server's own directory, may do all of it.
 */
#include "postgres.h"

#include "catalog/pg_language.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/proclang.h"
#include "nodes/parsenodes.h"
#include "parser/parse_type.h"

#include "guard/tv_guard_internal.h"

static bool
is_internal_language(const CreateFunctionStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "language") == 0 &&
			get_language_oid(defGetString(option), true) == INTERNALlanguageId)
			return true;
	}
	return false;
}

/* What the planner takes its answer for depends on what it was asked: nobody checks. */
static bool
has_support(const List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		if (strcmp(((DefElem *) lfirst(lc))->defname, "support") == 0)
			return true;
	}
	return false;
}

static bool
is_internal_type(DefElem *option)
{
	TypeName   *name = defGetTypeName(option);

	return LookupTypeNameOid(NULL, name, true) == INTERNALOID;
}

/* An aggregate whose state nobody checks the type of. */
static bool
has_internal_state(const DefineStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->definition)
	{
		DefElem    *option = lfirst(lc);

		/* also stype1, as it was called in old times */
		if ((strncmp(option->defname, "stype", 5) == 0 || strcmp(option->defname, "mstype") == 0) &&
			is_internal_type(option))
			return true;
	}
	return false;
}

static const char *
unsafe_definition(const DefineStmt *stmt)
{
	switch (stmt->kind)
	{
		case OBJECT_AGGREGATE:
			return has_internal_state(stmt) ? "an aggregate with a state of type internal" : NULL;
		case OBJECT_TYPE:
			return stmt->definition != NIL ? "a base type" : NULL;	/* without: a shell */
		case OBJECT_TSPARSER:
			return "a text search parser";
		case OBJECT_TSTEMPLATE:
			return "a text search template";
		default:
			return NULL;
	}
}

/* What it makes, if that is unsafe; else NULL. */
static const char *
unsafe(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateFunctionStmt:
			if (is_internal_language((CreateFunctionStmt *) stmt))
				return "a function in language internal";
			return has_support(((CreateFunctionStmt *) stmt)->options) ? "a planner support function" : NULL;
		case T_AlterFunctionStmt:
			return has_support(((AlterFunctionStmt *) stmt)->actions) ? "a planner support function" : NULL;
		case T_DefineStmt:
			return unsafe_definition((DefineStmt *) stmt);
		case T_CreateCastStmt:
			return ((CreateCastStmt *) stmt)->func == NULL && !((CreateCastStmt *) stmt)->inout ?
				"a cast without function" : NULL;
		case T_CreateOpClassStmt:
			return "an operator class";
		case T_AlterOpFamilyStmt:
			return ((AlterOpFamilyStmt *) stmt)->isDrop ? NULL : "a member of an operator family";
		case T_AlterTypeStmt:
			return "ALTER TYPE ... SET";
		case T_CreateTransformStmt:
			return "a transform";
		case T_CreatePLangStmt:
			return "a language";
		case T_CreateAmStmt:
			return "an access method";
		default:
			return NULL;
	}
}

void
tv_guard_unsafe_statement(Node *stmt)
{
	const char *what = unsafe(stmt);

	if (likely(what == NULL) || tv_guard_in_script())
		return;
	tv_guard_refuse(what, "Install it as an extension, with CREATE EXTENSION, or make it before the vault is switched on.");
}
