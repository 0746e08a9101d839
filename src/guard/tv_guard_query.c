/*
 * tv_guard_query.c
 *	  The outermost ring: queries, when they are planned, started and run.
 *
 * Planned: get_relation_info() and the statistics hooks come before any of a
 * relation's statistics are used, which leak through operators and EXPLAIN.
 * Started: ExecutorCheckPerms_hook sees every range table entry, also those
 * that the server checks nothing of (requiredPerms = 0: children).  Run: a
 * cursor or a portal may have been started before the realm was locked.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "optimizer/plancat.h"
#include "parser/analyze.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/selfuncs.h"

#include "base/tv_hot.h"
#include "base/tv_report.h"
#include "guard/tv_guard_internal.h"

static ExecutorCheckPerms_hook_type next_check_perms = NULL;
static post_parse_analyze_hook_type next_analyze = NULL;
static ExecutorStart_hook_type next_start = NULL;
static ExecutorRun_hook_type next_run = NULL;
static get_relation_info_hook_type next_relation_info = NULL;
static get_relation_stats_hook_type next_relation_stats = NULL;
static get_index_stats_hook_type next_index_stats = NULL;

static const QueryDesc *starting = NULL;
static bool copying = false;	/* COPY table TO */
static int	executor_depth = 0;

/* Statements that run, one within the other. */
typedef enum Others
{
	NOT_ASKED, NONE, SOME
} Others;

typedef struct Running
{
	const PlannedStmt *stmt;
	Others		relations;		/* does it use ones of somebody without a place in the vault? */
	Others		queries;		/* ... that bring queries along? */
	struct Running *outer;
} Running;

static Running *running = NULL;

TV_HOT int
tv_guard_executor_depth(void)
{
	return executor_depth;
}

void
tv_guard_copying(bool now)
{
	copying = now;
}

/* The statement that is being started, if these are its entries; else NULL. */
static TV_HOT const PlannedStmt *
statement_of(const List *range_table)
{
	return starting != NULL && starting->plannedstmt->rtable == range_table ?
		starting->plannedstmt : NULL;
}

/* --- what a query does to an entry --- */

/* Is it only locked: SELECT FOR UPDATE, which the server takes for an UPDATE? */
static bool
only_locked(const PlannedStmt *stmt, Index rti)
{
	ListCell   *lc;

	foreach(lc, stmt->rowMarks)
	{
		PlanRowMark *mark = lfirst(lc);

		if ((mark->rti == rti || mark->prti == rti) && mark->strength != LCS_NONE)
			return true;
	}
	return false;
}

/* What is asked of an entry's parents counts for it. */
static AclMode
inherited_perms(const PlannedStmt *stmt, Index rti)
{
	for (bool found = true; found;)
	{
		RangeTblEntry *rte = rt_fetch(rti, stmt->rtable);
		ListCell   *lc;

		if (rte->requiredPerms != 0)
			return rte->requiredPerms;
		found = false;
		foreach(lc, stmt->appendRelations)
		{
			AppendRelInfo *info = lfirst(lc);

			if (info->child_relid != rti)
				continue;
			rti = info->parent_relid;
			found = true;
			break;
		}
	}
	return ACL_SELECT;
}

static bool
is_export(const QueryDesc *query)
{
	switch (query->dest->mydest)
	{
		case DestCopyOut:
		case DestIntoRel:
		case DestTransientRel:
			return true;
		default:
			return false;
	}
}

/*
 * Actions of one entry.  stmt is NULL where no plan is started: COPY of a
 * table, and the first check of a foreign key.
 */
static int
actions_of(const PlannedStmt *stmt, Index rti, const RangeTblEntry *rte)
{
	AclMode		perms = rte->requiredPerms;
	int			actions = 0;

	if (perms == 0)
		perms = stmt ? inherited_perms(stmt, rti) : ACL_SELECT;
	if (stmt != NULL && (perms & ACL_UPDATE) && only_locked(stmt, rti))
		perms = (perms & ~ACL_UPDATE) | ACL_SELECT;
	if (perms & ACL_SELECT)
		actions |= TV_ACTION_SELECT;
	if (perms & ACL_INSERT)
		actions |= TV_ACTION_INSERT;
	if (perms & ACL_UPDATE)
		actions |= TV_ACTION_UPDATE;
	if (perms & ACL_DELETE)
		actions |= TV_ACTION_DELETE;
	if (perms & ACL_TRUNCATE)
		actions |= TV_ACTION_TRUNCATE;
	if ((actions & TV_ACTION_SELECT) && (stmt ? is_export(starting) : copying))
		actions |= TV_ACTION_COPY;
	return actions != 0 ? actions : TV_ACTION_SELECT;
}

TV_HOT const Bitmapset *
tv_guard_no_column(void)
{
	static Bitmapset *no_column = NULL;

	if (no_column == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		no_column = bms_make_singleton(TableOidAttributeNumber - FirstLowInvalidHeapAttributeNumber);
		MemoryContextSwitchTo(old);
	}
	return no_column;
}

/* The columns that a rule about the action looks at. */
static TV_HOT const Bitmapset *
columns_of(const RangeTblEntry *rte, TvAction action)
{
	switch (action)
	{
		case TV_ACTION_SELECT:
		case TV_ACTION_COPY:
			/* SELECT count(*): none, which is not the same as all */
			if (rte->requiredPerms != 0 && rte->selectedCols == NULL)
				return tv_guard_no_column();
			return rte->selectedCols;
		case TV_ACTION_INSERT:
			return rte->insertedCols;
		case TV_ACTION_UPDATE:
			return bms_union(rte->updatedCols, rte->extraUpdatedCols);
		default:
			return NULL;
	}
}

/* --- the server's own catalogs --- */

static bool
check_catalog(const List *rtable, Index rti, const RangeTblEntry *rte, bool report)
{
	const PlannedStmt *stmt = statement_of(rtable);

	if ((rte->requiredPerms & (ACL_INSERT | ACL_UPDATE | ACL_DELETE)) &&
		rte->relkind != RELKIND_VIEW && IsCatalogRelationOid(rte->relid) &&
		(stmt == NULL || !only_locked(stmt, rti)))
	{
		if (!report)
			return false;
		tv_guard_refuse(psprintf("changing %s", tv_guard_name(rte->relid)),
						"Use the statements that are made for it.");
	}
	if (unlikely(tv_guard_is_large_object_data(rte)) && tv_vault_on())
	{
		if (!report)
			return false;
		tv_guard_refuse_large_objects();
	}
	if (tv_vault_on() && tv_guard_is_statistics(rte->relid))
		tv_guard_check_statistics(stmt, rti, rte->relid);
	return true;
}

/*
 * Somebody's rule or view makes the authorized user's statement read rows, and
 * hands them to whatever functions it calls: they are not for who wrote it.
 */
static void
check_borrowed(const PlannedStmt *stmt, const RangeTblEntry *rte)
{
	if (stmt == NULL || !OidIsValid(rte->checkAsUser) || !tv_vault_protects(rte->relid) ||
		tv_guard_trusted_owner(rte->checkAsUser))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
			 errmsg("a view or rule may not carry rows of %s elsewhere", tv_guard_name(rte->relid)),
			 errdetail("Its owner, \"%s\", has no place in the vault.",
					   GetUserNameFromId(rte->checkAsUser, true)),
			 errhint("Name the table itself, or let a role own the view that is authorized for the realm.")));
}

/*
 * A view hands rows to the functions that it calls, also to those of the server
 * (pg_notify, lo_put ...).  Whose it is counts, not as whom it reads: one with
 * security_invoker reads as its user.
 */
static void
check_view(const RangeTblEntry *rte)
{
	Oid			owner;

	if (rte->relkind != RELKIND_VIEW)
		return;
	owner = tv_guard_owner_of_relation(rte->relid);
	if (tv_guard_trusted_owner(owner) || !tv_vault_view_reads(rte->relid))
		return;
	tv_guard_audit_refusal(psprintf("view %s on rows of a realm", tv_guard_name(rte->relid)));
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
			 errmsg("view %s may not carry rows of a realm", tv_guard_name(rte->relid)),
			 errdetail("Its owner, \"%s\", has no place in the vault.", GetUserNameFromId(owner, true)),
			 errhint("Name the table itself, or let a role own the view that is authorized for the realm.")));
}

/* The same for a table's row security policies, which read as whoever uses the table. */
static void
check_policies(const RangeTblEntry *rte)
{
	Oid			owner;

	/* those of a realm's own table are as trusted as all that it runs */
	if (rte->relid < FirstNormalObjectId || tv_vault_protects(rte->relid) ||
		!tv_vault_policies_read(rte->relid))
		return;
	owner = tv_guard_owner_of_relation(rte->relid);
	if (tv_guard_trusted_owner(owner))
		return;
	tv_guard_audit_refusal(psprintf("policies of %s on rows of a realm", tv_guard_name(rte->relid)));
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
			 errmsg("row security policies of %s may not carry rows of a realm", tv_guard_name(rte->relid)),
			 errdetail("The owner of the table, \"%s\", has no place in the vault.",
					   GetUserNameFromId(owner, true)),
			 errhint("Let a role own the table that is authorized for the realm.")));
}

/* Views and policies, in a statement that reads a realm. */
static void
check_views(const List *rtable)
{
	ListCell   *lc;
	bool		realm = false;

	/* one table: it is the realm's, or there is none */
	if (likely(list_length(rtable) < 2))
		return;
	foreach(lc, rtable)
	{
		const RangeTblEntry *rte = lfirst(lc);

		realm = realm || (rte->rtekind == RTE_RELATION && rte->relid >= FirstUnpinnedObjectId &&
						  !tv_vault_ignores(rte->relid) && tv_vault_protects(rte->relid));
	}
	if (!realm)
		return;
	foreach(lc, rtable)
	{
		const RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind != RTE_RELATION)
			continue;
		check_view(rte);
		check_policies(rte);
	}
}

static bool
check_entry(const List *rtable, Index rti, const RangeTblEntry *rte, bool report)
{
	const PlannedStmt *stmt = statement_of(rtable);
	int			actions = actions_of(stmt, rti, rte);

	for (int bit = 1; bit <= actions; bit <<= 1)
	{
		if ((actions & bit) == 0)
			continue;
		if (report)
			tv_guard_require_columns(rte->relid, bit, columns_of(rte, bit));
		else if (!tv_guard_allows(rte->relid, bit, columns_of(rte, bit)))
			return false;
	}
	if (report)
	{
		check_borrowed(stmt, rte);
		tv_guard_audit_entry(rte->relid, actions);
	}
	return true;
}

static TV_HOT bool
check_perms(List *rtable, bool report)
{
	Index		rti = 0;
	ListCell   *lc;

	if (next_check_perms && !next_check_perms(rtable, report))
		return false;
	if (likely(!tv_vault_on_anywhere()))
		return true;
	foreach(lc, rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		rti++;
		if (rte->rtekind != RTE_RELATION)
			continue;
		if (rte->relid < FirstUnpinnedObjectId)
		{
			if (!check_catalog(rtable, rti, rte, report))
				return false;
		}
		else if (likely(tv_vault_ignores(rte->relid)) && !tv_guard_audits_entries())
			continue;
		else if (tv_vault_on() && !check_entry(rtable, rti, rte, report))
			return false;
	}
	if (report && tv_vault_on())
		check_views(rtable);
	return true;
}

/* --- executor --- */

static TV_HOT void
executor_start(QueryDesc *query, int eflags)
{
	const QueryDesc *before = starting;
	int			depth = executor_depth;

	if (likely(!tv_vault_on_anywhere()))
	{
		if (next_start)
			next_start(query, eflags);
		else
			standard_ExecutorStart(query, eflags);
		return;
	}
	starting = query;
	executor_depth++;
	PG_TRY();
	{
		if (next_start)
			next_start(query, eflags);
		else
			standard_ExecutorStart(query, eflags);
	}
	PG_FINALLY();
	{
		starting = before;
		executor_depth = depth;
	}
	PG_END_TRY();
}

/* The session may have lost what it had when the query was started. */
static TV_HOT void
check_again(const PlannedStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_RELATION && rte->relid >= FirstUnpinnedObjectId &&
			!tv_vault_ignores(rte->relid))
			tv_guard_recheck(rte->relid, TV_ACTION_SELECT, NULL, false);
	}
}

/*
 * FETCH: a cursor WITH HOLD has all its rows since the end of its transaction,
 * and runs no executor any more.
 */
void
tv_guard_check_fetch(const FetchStmt *stmt)
{
	Portal		portal = GetPortalByName(stmt->portalname);
	ListCell   *lc;

	if (!PortalIsValid(portal) || stmt->ismove)
		return;
	foreach(lc, portal->stmts)
		check_again(lfirst(lc));
}

static void
run_next(QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once)
{
	if (next_run)
		next_run(query, direction, count, execute_once);
	else
		standard_ExecutorRun(query, direction, count, execute_once);
}

/* Nobody watches over defaults and checks, which what is written to has, whoever owns it. */
static Others
find_others(const PlannedStmt *stmt, bool any)
{
	Index		rti = 0;
	ListCell   *lc;

	foreach(lc, stmt->rtable)
	{
		const RangeTblEntry *rte = lfirst(lc);
		Oid			owner;

		rti++;
		if (rte->rtekind != RTE_RELATION || rte->relid < FirstNormalObjectId || tv_vault_protects(rte->relid))
			continue;
		if (any && list_member_int(stmt->resultRelations, rti))
			return SOME;
		owner = any ? tv_guard_owner_of_relation(rte->relid) : tv_guard_owner_of_queries(rte->relid);
		if (OidIsValid(owner) && !tv_guard_trusted_owner(owner))
			return SOME;
	}
	return NONE;
}

bool
tv_guard_runs_others(bool any)
{
	/* COPY: its defaults */
	if (running == NULL)
		return any;
	for (Running *one = running; one != NULL; one = one->outer)
	{
		Others	   *answer = any ? &one->relations : &one->queries;

		if (*answer == NOT_ASKED)
			*answer = find_others(one->stmt, any);
		if (*answer == SOME)
			return true;
	}
	return false;
}

static TV_HOT void
executor_run(QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once)
{
	Running		now = {query->plannedstmt, NOT_ASKED, NOT_ASKED, running};
	int			before = executor_depth;

	if (likely(!tv_vault_on()))
	{
		run_next(query, direction, count, execute_once);
		return;
	}
	check_again(query->plannedstmt);
	executor_depth++;
	running = &now;
	PG_TRY();
	{
		run_next(query, direction, count, execute_once);
	}
	PG_FINALLY();
	{
		executor_depth = before;
		running = now.outer;
	}
	PG_END_TRY();
}

/* --- planner --- */

/* Known to be of no interest; a vault is on somewhere. */
static inline bool
is_ignored(const RangeTblEntry *rte)
{
	return rte->rtekind == RTE_RELATION && rte->relid >= FirstUnpinnedObjectId &&
		tv_vault_ignores(rte->relid);
}

/* Found readable by this statement before. */
static inline bool
is_read(const RangeTblEntry *rte)
{
	return rte->rtekind == RTE_RELATION && rte->relid >= FirstUnpinnedObjectId &&
		tv_guard_reads(rte->relid);
}

static TV_HOT void
check_planned(const RangeTblEntry *rte)
{
	AclMode		perms = rte->requiredPerms;

	if (rte->rtekind != RTE_RELATION)
		return;
	/* no query: the server plans the build of an index (planner.c, plan_create_index_workers) */
	if (rte->requiredPerms != 0 && unlikely(tv_guard_is_large_object_data(rte)))
		tv_guard_refuse_large_objects();
	if (rte->relid < FirstUnpinnedObjectId || likely(tv_vault_ignores(rte->relid)))
		return;
	/* rules are for what the statement names: an entry of the planner's own names nothing */
	if (perms & ACL_SELECT)
		tv_guard_recheck(rte->relid, TV_ACTION_SELECT, columns_of(rte, TV_ACTION_SELECT), true);
	else
		tv_guard_recheck(rte->relid, TV_ACTION_SELECT, NULL, false);
}

/* Before parameters are bound, which the log would have. */
static TV_HOT void
analyzed(ParseState *pstate, Query *query, JumbleState *jumble)
{
	if (next_analyze)
		next_analyze(pstate, query, jumble);
	if (unlikely(tv_vault_on_anywhere()) && IsTransactionState())
		tv_vault_look_at_user();
}

static TV_HOT void
relation_info(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	if (next_relation_info)
		next_relation_info(root, relid, inhparent, rel);
	if (unlikely(tv_vault_on_anywhere()) && !is_ignored(root->simple_rte_array[rel->relid]) && tv_vault_on())
		check_planned(root->simple_rte_array[rel->relid]);
}

/* After relation_info(), which has looked at memberships. */
static TV_HOT bool
relation_stats(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attnum, VariableStatData *vardata)
{
	if (unlikely(tv_vault_on_anywhere()) && !is_ignored(rte) && !is_read(rte) && tv_vault_on())
		check_planned(rte);
	return next_relation_stats && next_relation_stats(root, rte, attnum, vardata);
}

static bool
index_stats(PlannerInfo *root, Oid index, AttrNumber attnum, VariableStatData *vardata)
{
	if (tv_vault_on() && !tv_vault_ignores(index) && !tv_guard_reads(index))
		tv_guard_recheck(index, TV_ACTION_SELECT, NULL, false);
	return next_index_stats && next_index_stats(root, index, attnum, vardata);
}

void
tv_guard_query_init(void)
{
	next_check_perms = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = check_perms;
	next_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = analyzed;
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	next_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	next_relation_info = get_relation_info_hook;
	get_relation_info_hook = relation_info;
	next_relation_stats = get_relation_stats_hook;
	get_relation_stats_hook = relation_stats;
	next_index_stats = get_index_stats_hook;
	get_index_stats_hook = index_stats;
}
