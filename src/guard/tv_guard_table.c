/*
 * tv_guard_table.c
 *	  The innermost ring: the tables themselves.
 *
 * tde_heap calls here before rows are read or changed.  That catches whatever
 * no executor hook sees: index builds, rewrites, validation, tuple routing into
 * a partition, foreign key checks at the storage level.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "replication/logicalworker.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/tv_hot.h"
#include "base/tv_report.h"
#include "guard/tv_guard_internal.h"
#include "page/tv_heap_am.h"

static TvMaintenance maintenance = {false};

/*
 * What change was allowed last: one command changes many rows.  A command that
 * changed something has a number of its own.
 */
static struct
{
	LocalTransactionId lxid;
	CommandId	command;
	Oid			relid;
	TvHeapUse	use;
	int			depth;
}			last;

/*
 * REINDEX, VACUUM FULL and CLUSTER of a whole schema or database begin with a
 * list of tables, from pg_class or pg_index.  Those of a realm that the session
 * may not maintain are left out, as the server leaves out those of others.
 */
static bool
may_maintain(Relation catalog, HeapTuple row)
{
	Oid			relid;

	if (RelationGetRelid(catalog) == RelationRelationId)
		relid = ((Form_pg_class) GETSTRUCT(row))->oid;
	else if (RelationGetRelid(catalog) == IndexRelationId)
		relid = ((Form_pg_index) GETSTRUCT(row))->indrelid;
	else
		return true;
	if (tv_vault_ignores(relid) || !tv_vault_protects(relid) ||
		tv_guard_allows(relid, TV_ACTION_MAINTAIN, tv_guard_no_column()))
		return true;
	if (get_rel_relkind(relid) == RELKIND_RELATION || get_rel_relkind(relid) == RELKIND_MATVIEW)
		ereport(WARNING,
				(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
				 errmsg("skipping %s: it is in a realm that this session may not use", tv_guard_name(relid)),
				 errhint("Somebody who may, with the realm unlocked, can do it.")));
	return false;
}

TvMaintenance
tv_guard_maintenance_begin(bool listed)
{
	TvMaintenance before = maintenance;

	maintenance.active = true;
	maintenance.depth = tv_guard_executor_depth();
	tv_heap_am_filter_list(listed && tv_vault_on() ? may_maintain : NULL);
	return before;
}

void
tv_guard_maintenance_end(TvMaintenance before)
{
	maintenance = before;
	tv_heap_am_filter_list(NULL);
}

/*
 * Does the server act for itself here?  Queries, in whatever process, have met
 * the outer ring before.
 */
static bool
is_server_process(void)
{
	if (!IsUnderPostmaster)
		return false;			/* single-user mode */
	switch (MyBackendType)
	{
		case B_BACKEND:
		case B_WAL_SENDER:
			return false;
		case B_BG_WORKER:
			return MyBgworkerEntry != NULL && strcmp(MyBgworkerEntry->bgw_library_name, "tde_vault") == 0;
		default:
			return true;
	}
}

static bool
is_last(Oid relid, TvHeapUse use)
{
	return use != TV_HEAP_READ && use != TV_HEAP_ANALYZE && use != TV_HEAP_VACUUM && last.relid == relid && last.use == use && last.lxid == MyProc->lxid &&
		last.command == GetCurrentCommandId(false) && last.depth == tv_guard_executor_depth();
}

static void
remember(Oid relid, TvHeapUse use)
{
	last.lxid = MyProc->lxid;
	last.command = GetCurrentCommandId(false);
	last.relid = relid;
	last.use = use;
	last.depth = tv_guard_executor_depth();
}

static TvAction
action_of(TvHeapUse use)
{
	switch (use)
	{
		case TV_HEAP_READ:
		case TV_HEAP_ANALYZE:
		case TV_HEAP_VACUUM:
			break;
		case TV_HEAP_INSERT:
			return TV_ACTION_INSERT;
		case TV_HEAP_UPDATE:
			return TV_ACTION_UPDATE;
		case TV_HEAP_DELETE:
			return TV_ACTION_DELETE;
	}
	return maintenance.active && maintenance.depth == tv_guard_executor_depth() ?
		TV_ACTION_MAINTAIN : TV_ACTION_SELECT;
}

static TV_HOT_VAULT void
check_table(Relation rel, TvHeapUse use)
{
	Oid			relid = RelationGetRelid(rel);
	TvAction	action;

	if (likely(!tv_vault_on()) || likely(tv_vault_ignores(relid)) || is_last(relid, use))
		return;
	action = action_of(use);
	/* ExecutorRun has looked at memberships */
	if (action == TV_ACTION_SELECT && tv_guard_executor_depth() > 0 && tv_guard_reads(relid))
		return;

	/*
	 * VACUUM, and a sample for statistics, which are kept from whoever may not
	 * see them (tv_guard_statistics.c): anybody whom the server lets must be
	 * able to.  Rows are handed to functions of indexes and statistics, which
	 * are frozen, but may call others.
	 */
	if (is_server_process() || use == TV_HEAP_VACUUM ||
		(use == TV_HEAP_ANALYZE && action == TV_ACTION_MAINTAIN))
	{
		if (tv_vault_protects(relid))
			tv_guard_serve(relid);
		remember(relid, use);
		return;
	}
	/*
	 * Rules are for the statement, which the outer rings have seen if it has a
	 * query, and of which a subscription has none.
	 */
	tv_guard_recheck(relid, action, tv_guard_no_column(),
					 tv_guard_executor_depth() == 0 && !IsLogicalWorker());
	remember(relid, use);
}

void
tv_guard_table_init(void)
{
	tv_heap_am_set_guard(check_table);
}
