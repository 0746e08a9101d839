/*
 * tv_ddl_call.c
 *	  Calls of procedures of schema tde_vault, with named arguments.
 */
#include "postgres.h"

#include "ddl/tv_ddl_call.h"

#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "parser/parser.h"
#include "utils/builtins.h"

#include "ddl/tv_ddl_parse.h"

static Node *
cast_to(Node *value, TypeName *type, int location)
{
	TypeCast   *cast = makeNode(TypeCast);

	cast->arg = value;
	cast->typeName = type;
	cast->location = location;
	return (Node *) cast;
}

Node *
tv_ddl_typed_constant(const char *value, const char *type, int location)
{
	A_Const    *constant = makeNode(A_Const);

	constant->val.sval.type = T_String;
	constant->val.sval.sval = pstrdup(value);
	constant->location = location;
	return cast_to((Node *) constant, SystemTypeName(unconstify(char *, type)), location);
}

Node *
tv_ddl_named_argument(const char *name, Node *value, int location)
{
	NamedArgExpr *argument = makeNode(NamedArgExpr);

	argument->arg = (Expr *) value;
	argument->name = pstrdup(name);
	argument->argnumber = -1;	/* until determined */
	argument->location = location;
	return (Node *) argument;
}

Node *
tv_ddl_named_call(const char *procedure, List *arguments, int location)
{
	CallStmt   *call = makeNode(CallStmt);

	call->funccall = makeFuncCall(list_make2(makeString(TV_DDL_SCHEMA), makeString(pstrdup(procedure))),
								  arguments, COERCE_SQL_SYNTAX, location);
	return (Node *) call;
}

/* --- values --------------------------------------------------------------------- */

static Node *
null_value(int location)
{
	A_Const    *constant = makeNode(A_Const);

	constant->isnull = true;
	constant->location = location;
	return (Node *) constant;
}

static Node *
text_array(List *elements, int location)
{
	A_ArrayExpr *array = makeNode(A_ArrayExpr);
	TypeName   *type = SystemTypeName("text");

	array->elements = elements;
	array->location = location;
	type->arrayBounds = list_make1(makeInteger(-1));
	return cast_to((Node *) array, type, location);
}

/* A role by its name, or by what it is to the session. */
static Node *
role_value(const TvDdlToken *token)
{
	SQLValueFunction *function;

	if (!tv_ddl_token_is(token, "current_user") && !tv_ddl_token_is(token, "current_role") &&
		!tv_ddl_token_is(token, "session_user"))
		return tv_ddl_typed_constant(token->text, "text", token->start);
	function = makeNode(SQLValueFunction);
	function->op = tv_ddl_token_is(token, "session_user") ? SVFOP_SESSION_USER : SVFOP_CURRENT_USER;
	function->typmod = -1;
	function->location = token->start;
	return cast_to((Node *) function, SystemTypeName("text"), token->start);
}

static Node *
role_list(const TvDdlToken *from, const TvDdlToken *to)
{
	List	   *roles = NIL;

	for (const TvDdlToken *token = from; token < to; token += 2)
		roles = lappend(roles, role_value(token));
	return text_array(roles, from->start);
}

static Node *
word_list(const TvDdlToken *from, const TvDdlToken *to)
{
	List	   *words = NIL;

	for (const TvDdlToken *token = from; token < to; token += 2)
		words = lappend(words, tv_ddl_typed_constant(token->text, "text", token->start));
	return text_array(words, from->start);
}

/* A name with dots as SQL that means the same whatever is a keyword. */
static Node *
object_value(const TvDdlToken *from, const TvDdlToken *to)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (const TvDdlToken *token = from; token < to; token++)
		appendStringInfoString(&sql, token->kind == TV_TOKEN_SYMBOL ? "." : quote_identifier(token->text));
	return tv_ddl_typed_constant(sql.data, "text", from->start);
}

/* The tables, or the schemas, of a list of both. */
static Node *
object_list(const TvDdlToken *from, const TvDdlToken *to, bool schemas)
{
	const TvDdlToken *next = from;
	const TvDdlToken *name;
	bool		schema = false;
	List	   *objects = NIL;

	while (next < to && tv_ddl_realm_object(&next, &schema, &name))
	{
		if (schema == schemas)
			objects = lappend(objects, object_value(name, next));
		next++;					/* past the comma */
	}
	return text_array(objects, from->start);
}

/*
 * The condition's source.  A string that backslashes in it mean something only
 * under the setting of now is written in a way that is always the same.
 */
static Node *
condition_value(const char *text, const TvDdlToken *from, const TvDdlToken *to)
{
	StringInfoData sql;
	int			copied = from->start;

	(void) tv_ddl_parse_expression(text, from->start, to);
	initStringInfo(&sql);
	for (const TvDdlToken *token = from; token < to; token++)
	{
		if (token->kind != TV_TOKEN_STRING || text[token->start] != '\'' ||
			memchr(text + token->start, '\\', token->end - token->start) == NULL)
			continue;
		appendBinaryStringInfo(&sql, text + copied, token->start - copied);
		appendStringInfoString(&sql, quote_literal_cstr(token->text));
		copied = token->end;
	}
	appendBinaryStringInfo(&sql, text + copied, to[-1].end - copied);
	return tv_ddl_typed_constant(sql.data, "text", from->start);
}

static Node *
argument_value(const char *text, const TvDdlArgument *argument)
{
	const TvDdlToken *from = argument->from;

	switch (argument->kind)
	{
		case TV_DDL_ARGUMENT_TEXT:
		case TV_DDL_ARGUMENT_SECRET:
			return tv_ddl_typed_constant(from->text, "text", from->start);
		case TV_DDL_ARGUMENT_ROLE:
			return role_value(from);
		case TV_DDL_ARGUMENT_ROLES:
			return role_list(from, argument->to);
		case TV_DDL_ARGUMENT_WORDS:
			return word_list(from, argument->to);
		case TV_DDL_ARGUMENT_OBJECT:
			return object_value(from, argument->to);
		case TV_DDL_ARGUMENT_TABLE:
			return cast_to(object_value(from, argument->to), SystemTypeName("regclass"), from->start);
		case TV_DDL_ARGUMENT_TABLE_IF_EXISTS:
			return (Node *) makeFuncCall(SystemFuncName("to_regclass"),
										 list_make1(object_value(from, argument->to)),
										 COERCE_EXPLICIT_CALL, from->start);
		case TV_DDL_ARGUMENT_TABLES:
			return object_list(from, argument->to, false);
		case TV_DDL_ARGUMENT_SCHEMAS:
			return object_list(from, argument->to, true);
		case TV_DDL_ARGUMENT_CONDITION:
			return condition_value(text, from, argument->to);
		case TV_DDL_ARGUMENT_INTERVAL:
			return tv_ddl_parse_expression(text, from->start, argument->to);
		case TV_DDL_ARGUMENT_NUMBER:
			return tv_ddl_typed_constant(from->text, "int8", from->start);
		case TV_DDL_ARGUMENT_TRUE:
			return tv_ddl_typed_constant("t", "bool", from->start);
		case TV_DDL_ARGUMENT_NULL:
			return null_value(from->start);
	}
	pg_unreachable();
}

Node *
tv_ddl_make_vault_call(const char *text, const TvDdlStatement *statement)
{
	List	   *arguments = NIL;

	for (int i = 0; i < statement->arguments; i++)
	{
		const TvDdlArgument *argument = &statement->argument[i];

		arguments = lappend(arguments,
							tv_ddl_named_argument(argument->name, argument_value(text, argument),
												  argument->from->start));
	}
	if (statement->kind != TV_DDL_VAULT && statement->cipher != NULL)
		arguments = lappend(arguments,
							tv_ddl_named_argument("cipher",
												  tv_ddl_typed_constant(statement->cipher->text, "text", statement->cipher->start),
												  statement->cipher->start));
	return tv_ddl_named_call(statement->procedure, arguments, statement->first->start);
}
