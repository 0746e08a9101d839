/*
 * tv_ddl_tree.c
 *	  Parse trees for what of ours is in a text.
 *
 * A statement of ours is a CallStmt, so that parse analysis, parameters, plan
 * caches and OUT parameters work as for any CALL.  What tells it from a typed
 * CALL is funcformat, which no grammar rule for CALL sets to COERCE_SQL_SYNTAX
 * and which matters only for printing expressions.
 *
 * The clause ENCRYPTION USING is an option of namespace tde_vault; a typed
 * option never has the action SET.  Should one ever get past our hook, the
 * server refuses its namespace.
 */
#include "postgres.h"

#include "ddl/tv_ddl_tree.h"

#include "nodes/makefuncs.h"
#include "parser/parser.h"

#include "base/tv_hot.h"
#include "crypto/tv_cipher.h"
#include "ddl/tv_ddl_call.h"
#include "ddl/tv_ddl_parse.h"

#define HEAP_AM_NAME "tde_heap"
#define CIPHER_OPTION "cipher"

/* --- calls ------------------------------------------------------------------- */

static Node *
text_argument(const char *name, const TvDdlToken *literal)
{
	return tv_ddl_named_argument(name, tv_ddl_typed_constant(literal->text, "text", literal->start),
								 literal->start);
}

/* The role a token names; NULL if it is the current user, the default. */
static Node *
role_argument(const char *name, const TvDdlToken *token)
{
	Node	   *argument = text_argument(name, token);
	SQLValueFunction *session;

	if (tv_ddl_token_is(token, "current_user") || tv_ddl_token_is(token, "current_role"))
		return NULL;
	if (tv_ddl_token_is(token, "session_user"))
	{
		session = makeNode(SQLValueFunction);
		session->op = SVFOP_SESSION_USER;
		session->typmod = -1;
		session->location = token->start;
		((TypeCast *) ((NamedArgExpr *) argument)->arg)->arg = (Node *) session;
	}
	return argument;
}

static Node *
make_create_tablespace(const TvDdlStatement *statement)
{
	List	   *arguments = list_make2(text_argument("name", statement->name),
									   text_argument("cipher", statement->cipher));
	Node	   *owner = statement->owner ? role_argument("owner", statement->owner) : NULL;

	if (statement->location != NULL)
		arguments = lappend(arguments, text_argument("location", statement->location));
	if (owner != NULL)
		arguments = lappend(arguments, owner);
	if (statement->key_id != NULL)
		arguments = lappend(arguments, text_argument("key_id", statement->key_id));
	return tv_ddl_named_call("create_tablespace", arguments, statement->first->start);
}

static Node *
make_tablespace_encryption(const TvDdlStatement *statement)
{
	List	   *arguments = list_make1(text_argument("name", statement->name));

	if (statement->enable && statement->cipher != NULL)
		arguments = lappend(arguments, text_argument("cipher", statement->cipher));
	return tv_ddl_named_call(statement->enable ? "encrypt_tablespace" : "decrypt_tablespace",
							 arguments, statement->first->start);
}

/* A PIN in a statement would be in the client's history, and in the keyring. */
static void
refuse_pin(const char *text, const TvDdlToken *uri)
{
	if (!uri->secret)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a provider URI in a statement must not hold a PIN"),
			 errhint("Use pin-source=file:PATH instead of pin-value."),
			 tv_ddl_errposition(text, uri->start)));
}

static void
refuse_unsupported(const char *text, const TvDdlStatement *statement,
				   const char *name, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s is not supported yet", name),
			 errhint("%s", hint),
			 tv_ddl_errposition(text, statement->first->start)));
}

Node *
tv_ddl_make_call(const char *text, const TvDdlStatement *statement)
{
	List	   *arguments = NIL;

	switch (statement->kind)
	{
		case TV_DDL_CREATE_MASTER_KEY:
			arguments = list_make1(text_argument("key_id", statement->key_id));
			if (statement->provider != NULL)
			{
				refuse_pin(text, statement->provider);
				arguments = lappend(arguments, text_argument("provider", statement->provider));
			}
			return tv_ddl_named_call("create_master_key", arguments, statement->first->start);
		case TV_DDL_ROTATE_MASTER_KEY:
			if (statement->key_id != NULL)
				arguments = list_make1(text_argument("key_id", statement->key_id));
			if (statement->database != NULL)
				arguments = lappend(arguments, text_argument("database", statement->database));
			return tv_ddl_named_call("rotate_master_key", arguments, statement->first->start);
		case TV_DDL_DATABASE_ENCRYPTION:
			if (statement->database != NULL)
				arguments = list_make1(text_argument("database", statement->database));
			return tv_ddl_named_call(statement->enable ? "encrypt_database" : "decrypt_database",
									 arguments, statement->first->start);
		case TV_DDL_TABLE_ENCRYPTION:
			if (!statement->enable && statement->cipher != NULL)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("DISABLE ENCRYPTION takes no cipher"),
						 tv_ddl_errposition(text, statement->cipher->start)));
			return tv_ddl_make_vault_call(text, statement);
		case TV_DDL_ROTATE_TABLE_KEY:
			return tv_ddl_make_vault_call(text, statement);
		case TV_DDL_CREATE_TABLESPACE:
			return make_create_tablespace(statement);
		case TV_DDL_TABLESPACE_ENCRYPTION:
			return make_tablespace_encryption(statement);
		case TV_DDL_BACKUP_DATABASE:
			refuse_unsupported(text, statement, "BACKUP DATABASE",
							   "Use pg_basebackup: pages of encrypted tables are copied as they are on disk, encrypted.");
			break;
		case TV_DDL_RESTORE_DATABASE:
			refuse_unsupported(text, statement, "RESTORE DATABASE",
							   "Start a server on the copy that pg_basebackup made; it needs the same key provider.");
			break;
		case TV_DDL_VAULT:
			return tv_ddl_make_vault_call(text, statement);
	}
	pg_unreachable();
}

TV_HOT_VAULT const char *
tv_ddl_call_name(Node *node)
{
	CallStmt   *call = (CallStmt *) node;

	if (node == NULL || !IsA(node, CallStmt) || call->funccall == NULL ||
		call->funccall->funcformat != COERCE_SQL_SYNTAX)
		return NULL;
	return strVal(llast(call->funccall->funcname));
}

bool
tv_ddl_call_has_argument(const CallStmt *call, const char *name)
{
	ListCell   *lc;

	foreach(lc, call->funccall->args)
	{
		NamedArgExpr *argument = lfirst(lc);

		if (IsA(argument, NamedArgExpr) && strcmp(argument->name, name) == 0)
			return true;
	}
	return false;
}

/* --- the clause ---------------------------------------------------------------- */

/* A statement that creates a table, and what the clause changes of it. */
typedef struct Target
{
	const RangeVar *relation;
	char	  **access_method;
	List	  **options;
	bool		partitioned;
} Target;

static bool
as_target(Node *node, Target *target)
{
	memset(target, 0, sizeof(*target));
	if (IsA(node, CreateStmt))
	{
		CreateStmt *stmt = (CreateStmt *) node;

		target->relation = stmt->relation;
		target->access_method = &stmt->accessMethod;
		target->options = &stmt->options;
		target->partitioned = stmt->partspec != NULL;
		return true;
	}
	if (IsA(node, CreateTableAsStmt))
	{
		IntoClause *into = ((CreateTableAsStmt *) node)->into;

		target->relation = into->rel;
		target->access_method = &into->accessMethod;
		target->options = &into->options;
		return true;
	}
	return false;
}

/* The table that the clause belongs to: its name ends where the clause says. */
static bool
find_target(Node *node, const TvDdlClause *clause, Target *target)
{
	ListCell   *lc;
	bool		found = false;

	if (IsA(node, ExplainStmt))
		return find_target(((ExplainStmt *) node)->query, clause, target);
	if (!IsA(node, CreateSchemaStmt))
		return as_target(node, target) && target->relation->location < clause->created;
	foreach(lc, ((CreateSchemaStmt *) node)->schemaElts)
	{
		Target		one;

		if (!as_target(lfirst(lc), &one) || one.relation->location >= clause->created)
			continue;
		*target = one;
		found = true;
	}
	return found;
}

static void
check_cipher(const char *text, const TvDdlClause *clause)
{
	if (tv_cipher_from_name(clause->cipher->text) != TV_CIPHER_NONE)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown cipher \"%s\"", clause->cipher->text),
			 errhint("Known ciphers: %s.", tv_cipher_known_names()),
			 tv_ddl_errposition(text, clause->cipher->start)));
}

static void
check_target(const char *text, const TvDdlClause *clause, const Target *target)
{
	List	   *options = *target->options;

	if (tv_ddl_take_cipher(&options) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("conflicting or redundant options"),
				 tv_ddl_errposition(text, clause->first->start)));
	if (target->partitioned)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("ENCRYPTION USING is not supported on a partitioned table"),
				 errdetail("A partitioned table has no pages of its own."),
				 errhint("Give the clause to each partition."),
				 tv_ddl_errposition(text, clause->first->start)));
	if (*target->access_method != NULL && strcmp(*target->access_method, HEAP_AM_NAME) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("tables of the access method \"%s\" cannot be encrypted", *target->access_method),
				 errhint("Use ENCRYPTION USING with the access method " HEAP_AM_NAME ", or with none."),
				 tv_ddl_errposition(text, clause->first->start)));
}

bool
tv_ddl_apply_clause(const char *text, const TvDdlClause *clause, RawStmt *raw)
{
	Target		target;
	DefElem    *option;

	if (!find_target(raw->stmt, clause, &target))
		return false;
	check_cipher(text, clause);
	check_target(text, clause, &target);
	option = makeDefElemExtended(TV_DDL_SCHEMA, CIPHER_OPTION,
								 (Node *) makeString(pstrdup(clause->cipher->text)),
								 DEFELEM_SET, clause->first->start);
	*target.options = lappend(*target.options, option);
	*target.access_method = HEAP_AM_NAME;
	return true;
}

static bool
is_cipher_option(const DefElem *option)
{
	return option->defaction == DEFELEM_SET && option->defnamespace != NULL &&
		strcmp(option->defnamespace, TV_DDL_SCHEMA) == 0 &&
		strcmp(option->defname, CIPHER_OPTION) == 0;
}

const char *
tv_ddl_take_cipher(List **options)
{
	List	   *others = NIL;
	const char *cipher = NULL;
	ListCell   *lc;

	foreach(lc, *options)
	{
		DefElem    *option = lfirst(lc);

		if (is_cipher_option(option))
			cipher = strVal(option->arg);
		else
			others = lappend(others, option);
	}
	if (cipher != NULL)
		*options = others;
	return cipher;
}
