/*
 * tv_guard_statistics.c
 *	  Values that ANALYZE has put into catalogs.
 *
 * pg_statistic and pg_statistic_ext_data hold values of protected tables in the
 * clear, for whoever may read them: superusers, and everybody through the views
 * pg_stats.  Monitoring needs the views.  So each scan of such a catalog gets a
 * qualification, like that of a row security policy, while it is planned; a
 * plan without it (made before the vault was on) does not start.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_largeobject.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_statistic_ext_data.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/plancat.h"
#include "parser/parse_func.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "base/tv_report.h"
#include "guard/tv_guard.h"
#include "guard/tv_guard_internal.h"

static Oid
toast_of(Oid catalog)
{
	Relation	rel = RelationIdGetRelation(catalog);
	Oid			toast = RelationIsValid(rel) ? rel->rd_rel->reltoastrelid : InvalidOid;

	if (RelationIsValid(rel))
		RelationClose(rel);
	return toast;
}

static bool
is_toast(Oid relid)
{
	return get_rel_relkind(relid) == RELKIND_TOASTVALUE &&
		(relid == toast_of(StatisticRelationId) || relid == toast_of(StatisticExtDataRelationId));
}

bool
tv_guard_is_statistics(Oid relid)
{
	return relid == StatisticRelationId || relid == StatisticExtDataRelationId || is_toast(relid);
}

/* The function of the qualification; throws if it is not there. */
static Oid
filter_function(Oid relid)
{
	Oid			type = OIDOID;
	const char *name = relid == StatisticRelationId ? "statistics_visible" : "extended_statistics_visible";

	return LookupFuncName(list_make2(makeString("tde_vault"), makeString(pstrdup(name))), 1, &type, false);
}

/* What it is given: the table's, or the statistics object's, OID. */
static AttrNumber
filter_column(Oid relid)
{
	return relid == StatisticRelationId ? Anum_pg_statistic_starelid : Anum_pg_statistic_ext_data_stxoid;
}

/*
 * Put it in.  The planner asks for a relation's information after it has
 * prepared the qualifications of all entries, and before it takes them
 * (query_planner: add_base_rels_to_query, then deconstruct_jointree); what is
 * added here must be as it would have prepared it.
 */
void
tv_guard_filter_statistics(PlannerInfo *root, RangeTblEntry *rte, Index rti)
{
	Var		   *var = makeVar(rti, filter_column(rte->relid), OIDOID, -1, InvalidOid, 0);
	FuncExpr   *call = makeFuncExpr(filter_function(rte->relid), BOOLOID, list_make1(var),
									InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);

	rte->securityQuals = lcons(list_make1(call), rte->securityQuals);
	root->qual_security_level = Max(root->qual_security_level, list_length(rte->securityQuals));
}

/* --- is it in a plan? --- */

typedef struct Filtered
{
	Index		rti;
	Oid			function;
	AttrNumber	column;
	bool		missing;
} Filtered;

/* As tv_guard_filter_statistics() makes it, and not a call of the same function about something else. */
static bool
is_filter(const Node *qual, const Filtered *filtered)
{
	const FuncExpr *call = (const FuncExpr *) qual;

	return IsA(qual, FuncExpr) && call->funcid == filtered->function && list_length(call->args) == 1 &&
		IsA(linitial(call->args), Var) &&
		((const Var *) linitial(call->args))->varattnosyn == filtered->column;
}

/*
 * Is it there?  Then it becomes the first, in place: what claims to be leakproof
 * and cheap the planner puts before it (createplan.c, order_qual_clauses).
 */
static bool
has_filter(List *quals, const Filtered *filtered)
{
	int			i = 0;
	void	   *filter;

	while (i < list_length(quals) && !is_filter(list_nth(quals, i), filtered))
		i++;
	if (i == list_length(quals))
		return false;
	filter = list_nth(quals, i);
	for (; i > 0; i--)
		lfirst(list_nth_cell(quals, i)) = list_nth(quals, i - 1);
	linitial(quals) = filter;
	return true;
}

static bool
scans(const Plan *plan, Index rti)
{
	switch (nodeTag(plan))
	{
		case T_SeqScan:
		case T_SampleScan:
		case T_IndexScan:
		case T_IndexOnlyScan:
		case T_BitmapHeapScan:
		case T_TidScan:
		case T_TidRangeScan:
		case T_ForeignScan:
		case T_CustomScan:
			return ((const Scan *) plan)->scanrelid == rti;
		default:
			return false;
	}
}

static void check_plan(Plan *plan, Filtered *filtered);

static void
check_plans(List *plans, Filtered *filtered)
{
	ListCell   *lc;

	foreach(lc, plans)
		check_plan(lfirst(lc), filtered);
}

static void
check_plan(Plan *plan, Filtered *filtered)
{
	if (plan == NULL)
		return;
	if (scans(plan, filtered->rti) && !has_filter(plan->qual, filtered))
		filtered->missing = true;
	switch (nodeTag(plan))
	{
		case T_Append:
			check_plans(((Append *) plan)->appendplans, filtered);
			break;
		case T_MergeAppend:
			check_plans(((MergeAppend *) plan)->mergeplans, filtered);
			break;
		case T_SubqueryScan:
			check_plan(((SubqueryScan *) plan)->subplan, filtered);
			break;
		case T_CustomScan:
			check_plans(((CustomScan *) plan)->custom_plans, filtered);
			break;
		default:
			break;
	}
	check_plan(plan->lefttree, filtered);
	check_plan(plan->righttree, filtered);
}

void
tv_guard_check_statistics(const PlannedStmt *stmt, Index rti, Oid relid)
{
	Filtered	filtered = {rti};

	if (stmt != NULL && !is_toast(relid))
	{
		filtered.function = filter_function(relid);
		filtered.column = filter_column(relid);
		check_plan(stmt->planTree, &filtered);
		check_plans(stmt->subplans, &filtered);
		if (!filtered.missing)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
			 errmsg("%s holds values of protected tables", tv_guard_name(relid)),
			 errdetail(stmt != NULL && !is_toast(relid) ?
					   "The statement was planned before the vault was on." :
					   "Only a query of the catalog itself leaves out what is protected."),
			 stmt != NULL && !is_toast(relid) ? errhint("DISCARD PLANS, or connect anew.") :
			 errhint("Use the view pg_stats, or COPY (SELECT ...).")));
}

/*
 * What is protected is not for the view, rule or policy of somebody else, whoever
 * meets it; nor for functions, as the rows that the values come from.
 */
static bool
values_visible(Oid relid)
{
	Bitmapset  *realms = tv_vault_realms_of(relid, true);
	bool		visible = !tv_guard_runs_others(false, realms);

	if (visible)
		tv_guard_carry_all(realms);
	bms_free(realms);
	return visible;
}

static bool
is_visible(Oid relid)
{
	return tv_guard_allows(relid, TV_ACTION_SELECT, NULL) && (!tv_vault_protects(relid) || values_visible(relid));
}

/* Statistics of a table with partitions or children have values of these, which may be in realms. */
bool
tv_guard_statistics_visible(Oid relid)
{
	ListCell   *lc;

	if (!tv_vault_on())
		return true;
	if (relid == LargeObjectRelationId || !is_visible(relid))
		return false;
	if (!tv_vault_is_above(relid))
		return true;
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		if (!is_visible(lfirst_oid(lc)))
			return false;
	}
	return true;
}

/* The planner may use them; what it then calls is as if it had read the rows. */
bool
tv_guard_uses_inherited(Oid relid)
{
	ListCell   *lc;

	if (!tv_vault_is_above(relid))
		return true;
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		if (!tv_guard_allows(lfirst_oid(lc), TV_ACTION_SELECT, tv_guard_no_column()))
			return false;
		tv_guard_carry_all(tv_vault_realms_of(lfirst_oid(lc), true));
	}
	return true;
}

bool
tv_guard_extended_statistics_visible(Oid statistics)
{
	HeapTuple	tuple = SearchSysCache1(STATEXTOID, ObjectIdGetDatum(statistics));
	Oid			relid;

	if (!HeapTupleIsValid(tuple))
		return false;
	relid = ((Form_pg_statistic_ext) GETSTRUCT(tuple))->stxrelid;
	ReleaseSysCache(tuple);
	return tv_guard_statistics_visible(relid);
}
