/*
 * tv_guard_query.c
 *	  The outermost ring: queries, when they are started and run.
 *
 * Started: ExecutorCheckPerms_hook sees every range table entry, also those
 * that the server checks nothing of (requiredPerms = 0: children).  Run: a
 * cursor or a portal may have been started before the realm was locked.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#include "base/tv_hot.h"
#include "guard/tv_guard_internal.h"

static TV_HOT_DATA ExecutorCheckPerms_hook_type next_check_perms = NULL;
static TV_HOT_DATA ExecutorStart_hook_type next_start = NULL;
static TV_HOT_DATA ExecutorRun_hook_type next_run = NULL;

static TV_HOT_DATA const QueryDesc *starting = NULL;
static bool copying = false;	/* COPY table TO */
static TV_HOT_DATA bool filling = false;	/* COPY table FROM ... */
static Oid	filled = InvalidOid;	/* ... and which it is */
static TV_HOT_DATA int	executor_depth = 0;

/* Relations that a statement uses, and their owners (InvalidOid: who knows). */
typedef struct Used
{
	bool		known;
	List	   *relations;
	List	   *owners;
} Used;

/* Statements that run, one within the other. */
struct TvRunning
{
	const PlannedStmt *stmt;
	MemoryContext memory;		/* as long as it runs */
	Used		all;
	Used		with_queries;	/* those that bring queries along */
	bool		shown;			/* to workers, what is on the stack */
	uint32		shown_before;
	int			depth_before;
	int			foreign_before;
	TvRunning  *outer;
};

static TV_HOT_DATA TvRunning *running = NULL;
TV_HOT_DATA int tv_guard_foreign_running = 0;

TV_HOT_VAULT int
tv_guard_executor_depth(void)
{
	return executor_depth;
}

void
tv_guard_copying(bool now)
{
	copying = now;
}

void
tv_guard_filling(bool now)
{
	filling = now;
	filled = InvalidOid;
}

Oid
tv_guard_filled(void)
{
	return filled;
}

/* The statement that is being started, if these are its entries; else NULL. */
static TV_HOT_VAULT const PlannedStmt *
statement_of(const List *range_table)
{
	return starting != NULL && starting->plannedstmt->rtable == range_table ?
		starting->plannedstmt : NULL;
}

/* --- what a query does to an entry --- */

bool
tv_guard_only_locked(const PlannedStmt *stmt, Index rti)
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
	if (stmt != NULL && (perms & ACL_UPDATE) && tv_guard_only_locked(stmt, rti))
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

TV_HOT_VAULT const Bitmapset *
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

TV_HOT_VAULT const Bitmapset *
tv_guard_columns_of(const RangeTblEntry *rte, TvAction action)
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

static pg_noinline bool
check_catalog(const List *rtable, Index rti, const RangeTblEntry *rte, bool report)
{
	const PlannedStmt *stmt = statement_of(rtable);

	if ((rte->requiredPerms & (ACL_INSERT | ACL_UPDATE | ACL_DELETE)) &&
		rte->relkind != RELKIND_VIEW && IsCatalogRelationOid(rte->relid) &&
		(stmt == NULL || !tv_guard_only_locked(stmt, rti)))
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

static TV_HOT_VAULT pg_noinline bool
check_entry(const List *rtable, Index rti, const RangeTblEntry *rte, bool report)
{
	const PlannedStmt *stmt = statement_of(rtable);
	int			actions = actions_of(stmt, rti, rte);

	for (int bit = 1; bit <= actions; bit <<= 1)
	{
		if ((actions & bit) == 0)
			continue;
		if (report)
			tv_guard_require_columns(rte->relid, bit, tv_guard_columns_of(rte, bit));
		else if (!tv_guard_allows(rte->relid, bit, tv_guard_columns_of(rte, bit)))
			return false;
	}
	if (report)
	{
		tv_guard_check_borrowed(stmt, rte);
		tv_guard_audit_entry(rte->relid, actions);
	}
	return true;
}

/* Does a query that is being started only read the entry, in its user's own name, for its client? */
static inline bool
only_reads(const List *rtable, const RangeTblEntry *rte)
{
	return rte->requiredPerms == ACL_SELECT && !OidIsValid(rte->checkAsUser) &&
		statement_of(rtable) != NULL && !is_export(starting);
}

static TV_HOT_VAULT pg_noinline bool
check_watched(const List *rtable, Index rti, const RangeTblEntry *rte, bool report)
{
	return !tv_vault_on() || (report && only_reads(rtable, rte) && tv_guard_reads_unaudited(rte->relid)) ||
		check_entry(rtable, rti, rte, report);
}

static TV_HOT_VAULT pg_noinline bool
check_entries(List *rtable, bool report)
{
	Index		rti = 0;
	bool		foreign = false;
	ListCell   *lc;

	foreach(lc, rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		rti++;
		if (rte->rtekind != RTE_RELATION)
			continue;
		foreign |= rte->relkind == RELKIND_FOREIGN_TABLE;
		if (rte->relid < FirstUnpinnedObjectId)
		{
			if (!check_catalog(rtable, rti, rte, report))
				return false;
		}
		else if ((unlikely(!tv_vault_ignores(rte->relid)) || tv_guard_audits_entries()) &&
				 !check_watched(rtable, rti, rte, report))
			return false;
	}
	if (unlikely(foreign) && report && tv_vault_on())
		tv_guard_check_foreign_in(statement_of(rtable), rtable);
	/* one table: it is the realm's, or there is none */
	if (unlikely(list_length(rtable) > 1) && report && tv_vault_on())
		tv_guard_check_views(statement_of(rtable), rtable);
	return true;
}

/* The server asks for the table of COPY, and for nothing else without a plan. */
static pg_noinline void
note_filled(const List *rtable)
{
	const RangeTblEntry *rte = rtable != NIL ? linitial(rtable) : NULL;

	if (rte != NULL && rte->rtekind == RTE_RELATION && rte->requiredPerms == ACL_INSERT && starting == NULL)
		filled = rte->relid;
}

static TV_HOT bool
check_perms(List *rtable, bool report)
{
	if (unlikely(filling) && !OidIsValid(filled))
		note_filled(rtable);
	if (unlikely(next_check_perms != NULL) && !next_check_perms(rtable, report))
		return false;
	if (unlikely(tv_vault_on_anywhere()))
		return check_entries(rtable, report);
	return true;
}

/* --- executor --- */

static TV_HOT_VAULT pg_noinline void
start_watched(QueryDesc *query, int eflags)
{
	const QueryDesc *before = starting;
	int			depth = executor_depth;

	if (unlikely(IsParallelWorker()))
		tv_guard_import_stack();
	starting = query;
	executor_depth++;
	PG_TRY();
	{
		next_start(query, eflags);
	}
	PG_CATCH();
	{
		starting = before;
		executor_depth = depth;
		PG_RE_THROW();
	}
	PG_END_TRY();
	starting = before;
	executor_depth = depth;
}

/* Short, for those who have no vault. */
static TV_HOT void
executor_start(QueryDesc *query, int eflags)
{
	if (likely(!tv_vault_on_anywhere()))
		next_start(query, eflags);
	else
		start_watched(query, eflags);
}

static TV_HOT_VAULT bool
check_again(const PlannedStmt *stmt)
{
	bool		foreign = false;
	ListCell   *lc;

	foreach(lc, stmt->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_RELATION && rte->relid >= FirstUnpinnedObjectId &&
			!tv_vault_ignores(rte->relid))
			tv_guard_recheck(rte->relid, TV_ACTION_SELECT, NULL, false);
		foreign |= rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_FOREIGN_TABLE;
	}
	return foreign;
}

void
tv_guard_check_again(const PlannedStmt *stmt)
{
	(void) check_again(stmt);
}

void
tv_guard_check_foreign_running(void)
{
	for (TvRunning *one = running; one != NULL; one = one->outer)
		tv_guard_check_foreign_in(one->stmt, one->stmt->rtable);
}

/* Nobody watches over defaults and checks, which what is written to has, whoever owns it. */
static void
find_used(const PlannedStmt *stmt, bool any, Used *used)
{
	Index		rti = 0;
	ListCell   *lc;

	foreach(lc, stmt->rtable)
	{
		const RangeTblEntry *rte = lfirst(lc);
		bool		written;
		Oid			owner = InvalidOid;

		rti++;
		if (rte->rtekind != RTE_RELATION || rte->relid < FirstNormalObjectId)
			continue;
		written = any && list_member_int(stmt->resultRelations, rti);
		if (!written)
			owner = any ? tv_guard_owner_of_relation(rte->relid) : tv_guard_owner_of_queries(rte->relid);
		if (!written && !OidIsValid(owner))
			continue;
		used->relations = lappend_oid(used->relations, rte->relid);
		used->owners = lappend_oid(used->owners, owner);
	}
	used->known = true;
}

static const Used *
used_by(TvRunning *one, bool any)
{
	Used	   *used = any ? &one->all : &one->with_queries;
	MemoryContext old;

	if (used->known)
		return used;
	old = MemoryContextSwitchTo(one->memory);
	find_used(one->stmt, any, used);
	MemoryContextSwitchTo(old);
	return used;
}

/* A relation is trusted with the rows of a realm that it is in itself. */
static bool
is_trusted(Oid relid, Oid owner, const Bitmapset *realms)
{
	int			realm = -1;

	if (tv_guard_trusted_owner(owner, realms))
		return true;
	while ((realm = bms_next_member(realms, realm)) >= 0)
	{
		Bitmapset  *one = bms_make_singleton(realm);
		bool		trusted = tv_vault_in_realm(relid, realm) || tv_guard_trusted_owner(owner, one);

		bms_free(one);
		if (!trusted)
			return false;
	}
	return true;
}

TV_HOT_VAULT const TvRunning *
tv_guard_running(void)
{
	return running;
}

bool
tv_guard_writes_elsewhere(const TvRunning *statement, uint32 realm)
{
	ListCell   *lc;

	foreach(lc, statement->stmt->resultRelations)
	{
		if (!tv_vault_in_realm(rt_fetch(lfirst_int(lc), statement->stmt->rtable)->relid, realm))
			return true;
	}
	return false;
}

bool
tv_guard_runs_others_for_log(void)
{
	for (TvRunning *one = running; one != NULL; one = one->outer)
	{
		const Used *used = used_by(one, false);
		ListCell   *relid;
		ListCell   *owner;

		forboth(relid, used->relations, owner, used->owners)
		{
			if (!tv_guard_trusted_with_log(lfirst_oid(owner)) &&
				!tv_guard_is_ours(RelationRelationId, lfirst_oid(relid)))
				return true;
		}
	}
	return false;
}

bool
tv_guard_runs_others(bool any, const Bitmapset *realms)
{
	/* COPY: its defaults */
	if (running == NULL)
		return any;
	for (TvRunning *one = running; one != NULL; one = one->outer)
	{
		const Used *used = used_by(one, any);
		ListCell   *relid;
		ListCell   *owner;

		forboth(relid, used->relations, owner, used->owners)
		{
			if (!is_trusted(lfirst_oid(relid), lfirst_oid(owner), realms))
				return true;
		}
	}
	return false;
}

static TV_HOT_VAULT pg_noinline void
leave(const TvRunning *now)
{
	executor_depth = now->depth_before;
	tv_guard_foreign_running = now->foreign_before;
	running = now->outer;
	if (unlikely(now->shown))
		tv_guard_hide_stack(now->shown_before);
}

static TV_HOT_VAULT pg_noinline void
run_watched(QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once)
{
	TvRunning	now = {
		.stmt = query->plannedstmt,
		.memory = query->estate->es_query_cxt,
		.depth_before = executor_depth,
		.foreign_before = tv_guard_foreign_running,
		.outer = running
	};

	if (unlikely(check_again(query->plannedstmt)))
		tv_guard_foreign_running++;
	executor_depth++;
	running = &now;
	if (unlikely(query->plannedstmt->parallelModeNeeded) && tv_guard_stack_depth > 0)
	{
		now.shown = true;
		now.shown_before = tv_guard_show_stack();
	}
	/* not PG_FINALLY, which has its code twice */
	PG_TRY();
	{
		next_run(query, direction, count, execute_once);
	}
	PG_CATCH();
	{
		leave(&now);
		PG_RE_THROW();
	}
	PG_END_TRY();
	leave(&now);
}

static TV_HOT void
executor_run(QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once)
{
	if (likely(!tv_vault_on_anywhere()) || !tv_vault_on())
		next_run(query, direction, count, execute_once);
	else
		run_watched(query, direction, count, execute_once);
}

void
tv_guard_query_init(void)
{
	next_check_perms = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = check_perms;
	next_start = ExecutorStart_hook ? ExecutorStart_hook : standard_ExecutorStart;
	ExecutorStart_hook = executor_start;
	next_run = ExecutorRun_hook ? ExecutorRun_hook : standard_ExecutorRun;
	ExecutorRun_hook = executor_run;
}
