/*
 * tv_guard_server.c
 *	  Statements that reach beyond a database: files, native code, replication,
 *	  the extension itself.  Refused in every database while a vault is on in
 *	  any: from a database without one, files of all can be reached.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "commands/defrem.h"
#include "commands/dbcommands.h"
#include "commands/proclang.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "guard/tv_guard_internal.h"

#define OUR_EXTENSION "tde_vault"

static void
check_copy(CopyStmt *stmt)
{
	if (stmt->is_program)
		tv_guard_refuse("COPY with a program", "Run the program outside, and use psql's \\copy.");
	if (stmt->filename != NULL)
		tv_guard_refuse("COPY with a file of the server", "Use psql's \\copy, or COPY FROM STDIN and TO STDOUT.");
}

static void
check_do(DoStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->args)
	{
		DefElem    *option = lfirst(lc);
		Oid			language;

		if (strcmp(option->defname, "language") != 0)
			continue;
		language = get_language_oid(defGetString(option), true);
		if (OidIsValid(language) && tv_guard_untrusted_language(language))
			tv_guard_refuse("DO in an untrusted language", "Use a trusted language.");
	}
}

/* --- publications --- */

static void
check_published(List *objects, bool all)
{
	ListCell   *lc;

	if (all && !tv_vault_is_admin())
		tv_guard_refuse("a publication of all tables", "Name the tables, none of which is in a realm.");
	foreach(lc, objects)
	{
		PublicationObjSpec *spec = lfirst(lc);

		if (spec->pubobjtype == PUBLICATIONOBJ_TABLE && spec->pubtable != NULL)
			tv_guard_require_name(spec->pubtable->relation, TV_ACTION_COPY);
		else if (spec->pubobjtype == PUBLICATIONOBJ_TABLES_IN_SCHEMA && spec->name != NULL)
			tv_guard_require_all_in(spec->name, TV_ACTION_COPY);
	}
}

/* --- the extension --- */

static void
check_extension(const char *name, const char *what)
{
	if (strcmp(name, OUR_EXTENSION) == 0 && !tv_vault_is_admin())
		tv_guard_refuse(psprintf("%s of extension " OUR_EXTENSION, what),
						"A vault administrator can do it, or switch the vault off.");
}

static void
check_drop(DropStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->objects)
	{
		if ((stmt->removeType == OBJECT_EXTENSION || stmt->removeType == OBJECT_SCHEMA) &&
			strcmp(strVal(lfirst(lc)), OUR_EXTENSION) == 0)
			tv_guard_refuse("dropping " OUR_EXTENSION,
							"A vault administrator can switch the vault off: ALTER DATABASE DISABLE DATABASE VAULT.");
	}
}

/* What concerns one database, and this one's vault is on. */
static void
own_statement(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_DropStmt:
			check_drop((DropStmt *) stmt);
			break;
		case T_AlterExtensionStmt:
			check_extension(((AlterExtensionStmt *) stmt)->extname, "update");
			break;
		case T_AlterExtensionContentsStmt:
			tv_guard_refuse("ALTER EXTENSION ADD and DROP",
							"What belongs to an extension is trusted: its own script decides it.");
			break;
		case T_AlterObjectSchemaStmt:
			if (((AlterObjectSchemaStmt *) stmt)->objectType == OBJECT_EXTENSION)
				check_extension(strVal(((AlterObjectSchemaStmt *) stmt)->object), "moving");
			break;
		case T_CreatePublicationStmt:
			check_published(((CreatePublicationStmt *) stmt)->pubobjects,
							((CreatePublicationStmt *) stmt)->for_all_tables);
			break;
		case T_AlterPublicationStmt:
			check_published(((AlterPublicationStmt *) stmt)->pubobjects,
							((AlterPublicationStmt *) stmt)->for_all_tables);
			break;
		case T_CreateSubscriptionStmt:
		case T_AlterSubscriptionStmt:
			/* what it applies is written by the server itself */
			if (!tv_vault_is_admin())
				tv_guard_refuse("a subscription", "Subscribe in a database without a vault.");
			break;
		default:
			break;
	}
}

void
tv_guard_server_statement(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CopyStmt:
			check_copy((CopyStmt *) stmt);
			break;
		case T_LoadStmt:
			tv_guard_refuse("LOAD", "A library that is needed can be preloaded in the server's configuration file.");
			break;
		case T_DoStmt:
			check_do((DoStmt *) stmt);
			break;
		case T_AlterSystemStmt:
			tv_guard_alter_system(stmt);
			break;
		default:
			break;
	}
	if (tv_vault_on())
		own_statement(stmt);
}
