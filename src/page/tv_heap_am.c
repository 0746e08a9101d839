/*
 * tv_heap_am.c
 *	  The table access method tde_heap: the server's heap, sealed below.
 *
 * Its pages are heap's pages.  What differs is that a table of this access
 * method gets a key when it gets a file, and that a guard is asked before rows
 * are read or changed, whoever asks for it: also where no query is executed
 * (index builds, rewrites, validation, ANALYZE, logical apply).
 *
 * A table of heap itself gets a key if it is made in an encrypted tablespace;
 * that is seen in heap's own routine.
 */
#include "page/tv_heap_am.h"

#include "catalog/catalog.h"
#include "utils/rel.h"

#include "attach/tv_attach.h"
#include "base/tv_hot.h"
#include "page/tv_heap_old_row.h"
#include "page/tv_page_decide.h"
#include "page/tv_page_statistics.h"

typedef HeapTuple (*HeapGetNext) (TableScanDesc scan, ScanDirection direction);
typedef void (*SetNewFilenode) (Relation rel, const RelFileNode *newrnode,
								char persistence, TransactionId *freezeXid,
								MultiXactId *minmulti);

typedef bool (*AnalyzeNextBlock) (TableScanDesc scan, BlockNumber blockno,
								  BufferAccessStrategy bstrategy);

static TableAmRoutine routine;
static const TableAmRoutine *heap = NULL;
static SetNewFilenode server_set_new_filenode = NULL;
static AnalyzeNextBlock server_analyze_next_block = NULL;
static HeapGetNext server_getnext = NULL;
static TvHeapGuard guard = NULL;
static TvHeapListed listed = NULL;

static inline void
ask(Relation rel, TvHeapUse use)
{
	if (guard != NULL)
		guard(rel, use);
}

static void
set_new_filenode(Relation rel, const RelFileNode *newrnode, char persistence,
				 TransactionId *freezeXid, MultiXactId *minmulti)
{
	server_set_new_filenode(rel, newrnode, persistence, freezeXid, minmulti);
	tv_page_new_table_file(rel, newrnode, persistence);
}

/* --- entries that ask the guard, then are heap's --- */

static TableScanDesc
scan_begin(Relation rel, Snapshot snapshot, int nkeys, struct ScanKeyData *key,
		   ParallelTableScanDesc pscan, uint32 flags)
{
	ask(rel, flags & SO_TYPE_ANALYZE ? TV_HEAP_ANALYZE : TV_HEAP_READ);
	return heap->scan_begin(rel, snapshot, nkeys, key, pscan, flags);
}

static TV_HOT_VAULT struct IndexFetchTableData *
index_fetch_begin(Relation rel)
{
	ask(rel, TV_HEAP_READ);
	return heap->index_fetch_begin(rel);
}

static bool
tuple_fetch_row_version(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot)
{
	ask(rel, TV_HEAP_READ);
	return heap->tuple_fetch_row_version(rel, tid, snapshot, slot);
}

static TM_Result
tuple_lock(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot,
		   CommandId cid, LockTupleMode mode, LockWaitPolicy wait_policy, uint8 flags,
		   TM_FailureData *tmfd)
{
	ask(rel, TV_HEAP_READ);
	return heap->tuple_lock(rel, tid, snapshot, slot, cid, mode, wait_policy, flags, tmfd);
}

static double
index_build_range_scan(Relation table, Relation index, struct IndexInfo *info,
					   bool allow_sync, bool anyvisible, bool progress, BlockNumber start,
					   BlockNumber numblocks, IndexBuildCallback callback, void *callback_state,
					   TableScanDesc scan)
{
	ask(table, TV_HEAP_READ);
	return heap->index_build_range_scan(table, index, info, allow_sync, anyvisible, progress,
										start, numblocks, callback, callback_state, scan);
}

static void
index_validate_scan(Relation table, Relation index, struct IndexInfo *info, Snapshot snapshot,
					struct ValidateIndexState *state)
{
	ask(table, TV_HEAP_READ);
	heap->index_validate_scan(table, index, info, snapshot, state);
}

static void
copy_for_cluster(Relation old, Relation new, Relation index, bool use_sort,
				 TransactionId oldest_xmin, TransactionId *xid_cutoff, MultiXactId *multi_cutoff,
				 double *num_tuples, double *tups_vacuumed, double *tups_recently_dead)
{
	ask(old, TV_HEAP_READ);
	heap->relation_copy_for_cluster(old, new, index, use_sort, oldest_xmin, xid_cutoff,
									multi_cutoff, num_tuples, tups_vacuumed, tups_recently_dead);
}

static void
tuple_insert(Relation rel, TupleTableSlot *slot, CommandId cid, int options,
			 struct BulkInsertStateData *bistate)
{
	ask(rel, TV_HEAP_INSERT);
	heap->tuple_insert(rel, slot, cid, options, bistate);
}

static void
tuple_insert_speculative(Relation rel, TupleTableSlot *slot, CommandId cid, int options,
						 struct BulkInsertStateData *bistate, uint32 token)
{
	ask(rel, TV_HEAP_INSERT);
	heap->tuple_insert_speculative(rel, slot, cid, options, bistate, token);
}

static void
multi_insert(Relation rel, TupleTableSlot **slots, int nslots, CommandId cid, int options,
			 struct BulkInsertStateData *bistate)
{
	ask(rel, TV_HEAP_INSERT);
	heap->multi_insert(rel, slots, nslots, cid, options, bistate);
}

static TM_Result
tuple_delete(Relation rel, ItemPointer tid, CommandId cid, Snapshot snapshot, Snapshot crosscheck,
			 bool wait, TM_FailureData *tmfd, bool changing_part)
{
	ask(rel, TV_HEAP_DELETE);
	if (tv_heap_logs_old_rows(rel))
		tv_heap_check_old_row(rel, tid);
	return heap->tuple_delete(rel, tid, cid, snapshot, crosscheck, wait, tmfd, changing_part);
}

static TM_Result
tuple_update(Relation rel, ItemPointer tid, TupleTableSlot *slot, CommandId cid, Snapshot snapshot,
			 Snapshot crosscheck, bool wait, TM_FailureData *tmfd, LockTupleMode *lockmode,
			 bool *update_indexes)
{
	ask(rel, TV_HEAP_UPDATE);
	if (tv_heap_logs_old_rows(rel))
		tv_heap_check_old_row(rel, tid);
	return heap->tuple_update(rel, tid, slot, cid, snapshot, crosscheck, wait, tmfd, lockmode,
							  update_indexes);
}

static void
relation_vacuum(Relation rel, struct VacuumParams *params, BufferAccessStrategy strategy)
{
	ask(rel, TV_HEAP_VACUUM);
	heap->relation_vacuum(rel, params, strategy);
}

static void
nontransactional_truncate(Relation rel)
{
	ask(rel, TV_HEAP_DELETE);
	heap->relation_nontransactional_truncate(rel);
}

/* The same of a plain table, in heap's own routine. */
static void
plain_set_new_filenode(Relation rel, const RelFileNode *newrnode, char persistence,
					   TransactionId *freezeXid, MultiXactId *minmulti)
{
	server_set_new_filenode(rel, newrnode, persistence, freezeXid, minmulti);
	tv_page_new_plain_table_file(rel, newrnode, persistence);
}

/* Of both: their rows go into the planner's statistics. */
static bool
analyze_next_block(TableScanDesc scan, BlockNumber blockno, BufferAccessStrategy bstrategy)
{
	tv_statistics_before_analyze(scan->rs_rd);
	return server_analyze_next_block(scan, blockno, bstrategy);
}

void
tv_heap_am_attach(void)
{
	const TableAmRoutine *server = GetHeapamTableAmRoutine();

	server_set_new_filenode = (SetNewFilenode)
		tv_attach_pointer((void **) &server->relation_set_new_filenode,
						  "new files of heap", (void *) plain_set_new_filenode);
	server_analyze_next_block = (AnalyzeNextBlock)
		tv_attach_pointer((void **) &server->scan_analyze_next_block,
						  "samples of heap", (void *) analyze_next_block);
	server_getnext = (HeapGetNext)
		tv_attach_detour((void *) heap_getnext, "heap_getnext", (void *) tv_heap_am_getnext);
}

const TableAmRoutine *
tv_heap_am_routine(void)
{
	if (heap != NULL)
		return &routine;
	heap = GetHeapamTableAmRoutine();
	routine = *heap;
	routine.relation_set_new_filenode = set_new_filenode;
	routine.scan_begin = scan_begin;
	routine.index_fetch_begin = index_fetch_begin;
	routine.tuple_fetch_row_version = tuple_fetch_row_version;
	routine.tuple_lock = tuple_lock;
	routine.index_build_range_scan = index_build_range_scan;
	routine.index_validate_scan = index_validate_scan;
	routine.relation_copy_for_cluster = copy_for_cluster;
	routine.tuple_insert = tuple_insert;
	routine.tuple_insert_speculative = tuple_insert_speculative;
	routine.multi_insert = multi_insert;
	routine.tuple_delete = tuple_delete;
	routine.tuple_update = tuple_update;
	routine.relation_vacuum = relation_vacuum;
	routine.relation_nontransactional_truncate = nontransactional_truncate;
	return &routine;
}

void
tv_heap_am_set_guard(TvHeapGuard asked)
{
	guard = asked;
}

/*
 * heap_getnext(), which heap's index builds use, refuses a relation whose
 * rd_tableam is not heap's own (heapam.c).  It is swapped for this one call
 * and not for a whole scan: between two tuples a function of an index
 * expression may run, and a relcache rebuild may put the field back.  Nothing
 * inside the call accepts invalidations: it takes no heavyweight lock.
 */
void
tv_heap_am_filter_list(TvHeapListed filter)
{
	listed = filter;
}

/*
 * table_beginscan_catalog() alone gives a scan a snapshot of its own
 * (tableam.c); an index build scans with one that it was given.
 */
static HeapTuple
next_listed(TableScanDesc scan, ScanDirection direction)
{
	bool		list = (scan->rs_flags & SO_TEMP_SNAPSHOT) != 0 && IsCatalogRelation(scan->rs_rd);
	HeapTuple	tuple = server_getnext(scan, direction);

	while (list && tuple != NULL && !listed(scan->rs_rd, tuple))
		tuple = server_getnext(scan, direction);
	if (list && tuple == NULL)
		listed = NULL;
	return tuple;
}

HeapTuple
tv_heap_am_getnext(TableScanDesc scan, ScanDirection direction)
{
	Relation	rel = scan->rs_rd;
	HeapTuple	tuple = NULL;

	if (likely(rel->rd_tableam != &routine))
		return likely(listed == NULL) ? server_getnext(scan, direction) : next_listed(scan, direction);

	rel->rd_tableam = heap;
	PG_TRY();
	{
		tuple = server_getnext(scan, direction);
	}
	PG_FINALLY();
	{
		rel->rd_tableam = &routine;
	}
	PG_END_TRY();
	return tuple;
}
