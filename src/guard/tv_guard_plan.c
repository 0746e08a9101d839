/*
 * tv_guard_plan.c
 *	  The outermost ring: queries, when they are planned.
 *
 * get_relation_info() and the statistics hooks come before any of a relation's
 * statistics are used, which leak through operators and EXPLAIN.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_statistic_ext_data.h"
#include "nodes/pathnodes.h"
#include "optimizer/plancat.h"
#include "parser/analyze.h"
#include "utils/selfuncs.h"

#include "base/tv_hot.h"
#include "guard/tv_guard_internal.h"
#include "page/tv_page_statistics.h"

static TV_HOT_DATA post_parse_analyze_hook_type next_analyze = NULL;
static TV_HOT_DATA get_relation_info_hook_type next_relation_info = NULL;
static TV_HOT_DATA get_relation_stats_hook_type next_relation_stats = NULL;
static get_index_stats_hook_type next_index_stats = NULL;

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

static TV_HOT_VAULT void
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
		tv_guard_recheck(rte->relid, TV_ACTION_SELECT, tv_guard_columns_of(rte, TV_ACTION_SELECT), true);
	else
		tv_guard_recheck(rte->relid, TV_ACTION_SELECT, NULL, false);
}

/* Before parameters are bound, which the log would have. */
static TV_HOT void
analyzed(ParseState *pstate, Query *query, JumbleState *jumble)
{
	if (unlikely(next_analyze != NULL))
		next_analyze(pstate, query, jumble);
	if (unlikely(tv_vault_on_anywhere()) && IsTransactionState())
		tv_vault_look_at_user();
}

/* Statistics over columns (CREATE STATISTICS) of it and what is below it. */
static void
leave_out_inherited(RelOptInfo *rel)
{
	ListCell   *lc;

	foreach(lc, rel->statlist)
	{
		if (((StatisticExtInfo *) lfirst(lc))->inherit)
			rel->statlist = foreach_delete_current(rel->statlist, lc);
	}
}

static TV_HOT_VAULT pg_noinline void
look_at_relation(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	RangeTblEntry *rte = root->simple_rte_array[rel->relid];

	/* the server there may be asked for estimates, with values that are known by now */
	if (unlikely(rel->fdwroutine != NULL) && !bms_is_member(rel->relid, root->all_result_relids) && tv_vault_on())
		tv_guard_check_foreign(relid);
	if (is_ignored(rte) || !tv_vault_on())
		return;
	check_planned(rte);
	if (inhparent && rel->statlist != NIL && !tv_guard_uses_inherited(relid))
		leave_out_inherited(rel);
	if (relid == StatisticRelationId || relid == StatisticExtDataRelationId)
		tv_guard_filter_statistics(root, rte, rel->relid);
}

static TV_HOT void
relation_info(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	if (unlikely(next_relation_info != NULL))
		next_relation_info(root, relid, inhparent, rel);
	if (unlikely(tv_vault_on_anywhere()))
		look_at_relation(root, relid, inhparent, rel);
}

/* After relation_info(), which has looked at memberships. */
static TV_HOT_VAULT pg_noinline bool
look_at_values(const RangeTblEntry *rte)
{
	if (is_ignored(rte) || is_read(rte) || !tv_vault_on())
		return true;
	check_planned(rte);
	return rte->rtekind != RTE_RELATION || !rte->inh || tv_guard_uses_inherited(rte->relid);
}

static TV_HOT bool
relation_stats(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attnum, VariableStatData *vardata)
{
	if (unlikely(tv_vault_on_anywhere()) && !look_at_values(rte))
		return true;			/* there are none */
	if (unlikely(next_relation_stats != NULL) && next_relation_stats(root, rte, attnum, vardata))
		return true;
	return !tv_statistics_readable();
}

static bool
index_stats(PlannerInfo *root, Oid index, AttrNumber attnum, VariableStatData *vardata)
{
	if (tv_vault_on() && !tv_vault_ignores(index) && !tv_guard_reads(index))
		tv_guard_recheck(index, TV_ACTION_SELECT, NULL, false);
	if (next_index_stats && next_index_stats(root, index, attnum, vardata))
		return true;
	return !tv_statistics_readable();
}

void
tv_guard_plan_init(void)
{
	next_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = analyzed;
	next_relation_info = get_relation_info_hook;
	get_relation_info_hook = relation_info;
	next_relation_stats = get_relation_stats_hook;
	get_relation_stats_hook = relation_stats;
	next_index_stats = get_index_stats_hook;
	get_index_stats_hook = index_stats;
}
