/*
 * tv_ddl.c
 *	  Statements of our own: attaching them, and what they need when they run.
 */
#include "postgres.h"

#include "ddl/tv_ddl.h"

#include "catalog/pg_authid.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/guc.h"

#include "attach/tv_attach.h"
#include "base/tv_settings.h"
#include "ddl/tv_ddl_cover.h"
#include "ddl/tv_ddl_parse.h"
#include "ddl/tv_ddl_parser.h"
#include "ddl/tv_ddl_tag.h"
#include "ddl/tv_ddl_tree.h"

#define HEAP_AM_NAME "tde_heap"
#define HSM_SCHEME "pkcs11:"

static ProcessUtility_hook_type next_utility = NULL;

/* The options of the table that stmt creates, or NULL. */
static List **
created_options(Node *stmt)
{
	if (IsA(stmt, CreateStmt))
		return &((CreateStmt *) stmt)->options;
	if (IsA(stmt, CreateTableAsStmt))
		return &((CreateTableAsStmt *) stmt)->into->options;
	if (IsA(stmt, ExplainStmt) && IsA(((ExplainStmt *) stmt)->query, Query))
	{
		Node	   *explained = ((Query *) ((ExplainStmt *) stmt)->query)->utilityStmt;

		if (explained != NULL && IsA(explained, CreateTableAsStmt))
			return created_options(explained);
	}
	return NULL;
}

/* The cipher that a clause of stmt names, or NULL.  stmt is not changed. */
static const char *
clause_cipher(Node *stmt)
{
	List	  **options = created_options(stmt);
	List	   *copy = options ? *options : NIL;

	return copy == NIL ? NULL : tv_ddl_take_cipher(&copy);
}

static void
require_access_method(void)
{
	if (OidIsValid(get_table_am_oid(HEAP_AM_NAME, true)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("access method \"" HEAP_AM_NAME "\" does not exist in this database"),
			 errhint("Install the extension: CREATE EXTENSION tde_vault.")));
}

/* BY HSM takes the provider that is configured, and that must be an HSM. */
static void
require_hsm(const CallStmt *call)
{
	if (strcmp(tv_ddl_call_name((Node *) call), "create_master_key") != 0 ||
		tv_ddl_call_has_argument(call, "provider") ||
		(tv_setting_key_provider != NULL &&
		 strncmp(tv_setting_key_provider, HSM_SCHEME, strlen(HSM_SCHEME)) == 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no hardware security module is configured"),
			 errdetail("tde_vault.key_provider is not a " HSM_SCHEME " URI."),
			 errhint("Set tde_vault.key_provider, or name the provider: ENCRYPTION BY PROVIDER 'uri'.")));
}

/*
 * CREATE TABLE ... ENCRYPTION USING: the table's key is made while the setting
 * has the clause's cipher.  After an error the server unwinds the setting.
 */
static void
run_with_cipher(const char *cipher, PlannedStmt *pstmt, const char *queryString,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	int			nest;

	require_access_method();
	pstmt = copyObject(pstmt);
	(void) tv_ddl_take_cipher(created_options(pstmt->utilityStmt));
	nest = NewGUCNestLevel();
	(void) set_config_option("tde_vault.cipher", cipher, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	next_utility(pstmt, queryString, false, context, params, queryEnv, dest, qc);
	AtEOXact_GUC(true, nest);
}

/*
 * CREATE ROLE of a role that the extension has made already, as scripts have
 * it that were written for any server: a notice.  Only when nothing else is
 * asked for, and of somebody who might create it.
 */
static bool
is_role_of_ours(Node *node)
{
	static const char *const roles[] = {"vault_admin", "vault_auditor", "vault_operator"};
	CreateRoleStmt *stmt = (CreateRoleStmt *) node;

	if (!IsA(node, CreateRoleStmt) || stmt->stmt_type != ROLESTMT_ROLE || stmt->options != NIL ||
		!has_createrole_privilege(GetUserId()))
		return false;
	for (int i = 0; i < lengthof(roles); i++)
	{
		if (strcmp(stmt->role, roles[i]) == 0)
			return OidIsValid(get_role_oid(stmt->role, true));
	}
	return false;
}

static void
run(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
	ProcessUtilityContext context, ParamListInfo params,
	QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *stmt = pstmt->utilityStmt;
	const char *cipher = clause_cipher(stmt);

	if (tv_ddl_call_name(stmt) != NULL)
		require_hsm((CallStmt *) stmt);
	if (is_role_of_ours(stmt))
		ereport(NOTICE,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("role \"%s\" exists already, skipping", ((CreateRoleStmt *) stmt)->role),
				 errdetail("It comes with tde_vault.")));
	else if (cipher != NULL)
		run_with_cipher(cipher, pstmt, queryString, context, params, queryEnv, dest, qc);
	else
		next_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

static void
ddl_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			ProcessUtilityContext context, ParamListInfo params,
			QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	PlannedStmt *revealed = tv_ddl_reveal(pstmt);

	queryString = tv_ddl_covered(queryString);
	if (revealed == NULL)
	{
		run(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		return;
	}
	PG_TRY();
	{
		run(revealed, queryString, false, context, params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		tv_ddl_wipe_revealed(revealed);
	}
	PG_END_TRY();
}

void
tv_ddl_init(void)
{
	tv_ddl_check_grammar();
	tv_attach_replace((void *) raw_parser, "raw_parser", (void *) tv_ddl_raw_parser);
	tv_ddl_tag_init();
	tv_ddl_cover_init();
	next_utility = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = ddl_utility;
}
