/*
 * tv_guard_statement.c
 *	  The utility hook: which statement is checked by what, and what must hold
 *	  while it runs.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/defrem.h"
#include "commands/proclang.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"

#include "guard/tv_guard_internal.h"

static ProcessUtility_hook_type next_utility = NULL;

/* All that ProcessUtility is called with. */
typedef struct Call
{
	PlannedStmt *pstmt;
	const char *text;
	bool		read_only_tree;
	ProcessUtilityContext context;
	ParamListInfo params;
	QueryEnvironment *environment;
	DestReceiver *dest;
	QueryCompletion *completion;
} Call;

static void
run_next(const Call *call)
{
	next_utility(call->pstmt, call->text, call->read_only_tree, call->context, call->params,
				 call->environment, call->dest, call->completion);
}

/* Of what the server lists, and in a way that the authorized alone may? */
static bool
is_of_all(const Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_VacuumStmt:
			return ((const VacuumStmt *) stmt)->rels == NIL && tv_guard_is_vacuum_full((const VacuumStmt *) stmt);
		case T_ReindexStmt:
			return ((const ReindexStmt *) stmt)->relation == NULL &&
				((const ReindexStmt *) stmt)->kind != REINDEX_OBJECT_SYSTEM;
		case T_ClusterStmt:
			return ((const ClusterStmt *) stmt)->relation == NULL;
		default:
			return false;
	}
}

static void
run_maintenance(const Call *call)
{
	TvMaintenance before = tv_guard_maintenance_begin(is_of_all(call->pstmt->utilityStmt));

	PG_TRY();
	{
		run_next(call);
	}
	PG_FINALLY();
	{
		tv_guard_maintenance_end(before);
	}
	PG_END_TRY();
}

static void
run_script(const Call *call)
{
	int			before = tv_guard_script_begin();

	PG_TRY();
	{
		run_next(call);
	}
	PG_FINALLY();
	{
		tv_guard_script_end(before);
	}
	PG_END_TRY();
}

/* What may end transactions, and go on. */
static void
run_block(const Call *call)
{
	tv_guard_block_begin();
	PG_TRY();
	{
		run_next(call);
	}
	PG_FINALLY();
	{
		tv_guard_block_end();
	}
	PG_END_TRY();
}

/* COPY of a table TO: its entry in the range table says only SELECT. */
static void
run_copy(const Call *call)
{
	tv_guard_copying(true);
	PG_TRY();
	{
		run_next(call);
	}
	PG_FINALLY();
	{
		tv_guard_copying(false);
	}
	PG_END_TRY();
}

/* COPY of a table FROM: its defaults run without a statement that has a plan. */
static void
run_copy_from(const Call *call)
{
	tv_guard_filling(true);
	PG_TRY();
	{
		run_next(call);
	}
	PG_FINALLY();
	{
		tv_guard_filling(false);
	}
	PG_END_TRY();
}

/* After an error the end of the (sub)transaction puts the user back. */
static void
run_elevated(const Call *call)
{
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	run_next(call);
	SetUserIdAndSecContext(user, context);
}

static void
run(const Call *call)
{
	Node	   *stmt = call->pstmt->utilityStmt;
	bool		names_admin;

	switch (nodeTag(stmt))
	{
		case T_VacuumStmt:
		case T_ReindexStmt:
		case T_ClusterStmt:
			run_maintenance(call);
			return;
		case T_CopyStmt:
			if (!((CopyStmt *) stmt)->is_from)
				run_copy(call);
			else
				run_copy_from(call);
			return;
		case T_CallStmt:
		case T_DoStmt:
			run_block(call);
			return;
		case T_CreateExtensionStmt:
		case T_AlterExtensionStmt:
			run_script(call);
			return;
		case T_AlterSystemStmt:
			if (tv_guard_settings_elevated(stmt))
				run_elevated(call);
			else
				run_next(call);
			return;
		case T_GrantRoleStmt:
			names_admin = tv_guard_role_names_admin(stmt);
			if (tv_guard_role_elevated(stmt))
				run_elevated(call);
			else
				run_next(call);
			if (names_admin)
				tv_vault_admin_named();
			tv_guard_role_granted(stmt);
			return;
		default:
			run_next(call);
			return;
	}
}

/* Another user may be served by this session next. */
static void
lock_if_handed_on(const Node *stmt)
{
	if ((IsA(stmt, DiscardStmt) && ((const DiscardStmt *) stmt)->target == DISCARD_ALL) ||
		(IsA(stmt, VariableSetStmt) && ((const VariableSetStmt *) stmt)->kind == VAR_RESET_ALL))
		tv_vault_lock_session();
}

static bool
is_in_interpreter(const DoStmt *stmt)
{
	const char *language = "plpgsql";
	ListCell   *lc;

	foreach(lc, stmt->args)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "language") == 0)
			language = defGetString(option);
	}
	return tv_guard_keeps_code(get_language_oid(language, true));
}

/*
 * What a function of somebody else keeps for later runs when that function is no
 * longer there: a statement when it is executed, the query of a cursor WITH HOLD
 * when the transaction commits, what a DO has defined when others of its language
 * call it.
 */
static void
check_kept(const Node *stmt)
{
	const char *what = NULL;

	if (IsA(stmt, PrepareStmt))
		what = "PREPARE";
	else if (IsA(stmt, DeclareCursorStmt) && (((const DeclareCursorStmt *) stmt)->options & CURSOR_OPT_HOLD))
		what = "DECLARE CURSOR WITH HOLD";
	else if (IsA(stmt, DoStmt) && is_in_interpreter((const DoStmt *) stmt))
		what = "DO, in a language whose functions can leave code for each other,";
	if (what != NULL && tv_vault_user_has_place())
		tv_guard_check_left(GetAuthenticatedUserId(), what);
}

static void
guard_statement(PlannedStmt *pstmt, const char *text, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	Call		call = {pstmt, text, read_only_tree, context, params, environment, dest, completion};
	Node	   *stmt = pstmt->utilityStmt;

	/* the end of a transaction that has failed: no catalog can be read */
	if (likely(!tv_vault_on_anywhere()) || IsA(stmt, TransactionStmt) || !IsTransactionState())
	{
		run_next(&call);
		return;
	}
	lock_if_handed_on(stmt);
	if (tv_guard_role_exists(stmt))
		return;
	tv_guard_server_statement(stmt);
	tv_guard_unsafe_statement(stmt);
	tv_guard_role_statement(stmt);
	if (tv_vault_on())
		tv_guard_relation_statement(stmt);
	if (tv_vault_on())
		check_kept(stmt);
	tv_guard_audit_statement(stmt, context != PROCESS_UTILITY_SUBCOMMAND);
	run(&call);
	tv_guard_role_forget();
	if (IsTransactionState())
		tv_guard_objects_created();
}

void
tv_guard_statement_init(void)
{
	next_utility = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = guard_statement;
}
