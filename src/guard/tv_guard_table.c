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
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "replication/logicalworker.h"
#include "storage/proc.h"
#include "utils/rel.h"

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

TvMaintenance
tv_guard_maintenance_begin(void)
{
	TvMaintenance before = maintenance;

	maintenance.active = true;
	maintenance.depth = tv_guard_executor_depth();
	return before;
}

void
tv_guard_maintenance_end(TvMaintenance before)
{
	maintenance = before;
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
			return IsLogicalWorker() ||
				(MyBgworkerEntry != NULL && strcmp(MyBgworkerEntry->bgw_library_name, "tde_vault") == 0);
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

static void
check_table(Relation rel, TvHeapUse use)
{
	Oid			relid = RelationGetRelid(rel);
	TvAction	action;

	if (likely(!tv_vault_on()) || likely(tv_vault_ignores(relid)) || is_last(relid, use))
		return;
	action = action_of(use);

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
			tv_guard_serve();
		remember(relid, use);
		return;
	}
	/* rules are for the statement, which the outer rings have seen if it has a query */
	tv_guard_recheck(relid, action, tv_guard_no_column(), tv_guard_executor_depth() == 0);
	remember(relid, use);
}

void
tv_guard_table_init(void)
{
	tv_heap_am_set_guard(check_table);
}
