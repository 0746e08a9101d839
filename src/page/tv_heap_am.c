/*
 * tv_heap_am.c
 *	  The table access method tde_heap: the server's heap, sealed below.
 *
 * Its pages are heap's pages; what differs is that a table of this access
 * method gets a key when it gets a file.  Every other entry is heap's own.
 */
#include "page/tv_heap_am.h"

#include "utils/rel.h"

#include "page/tv_page_decide.h"

static TableAmRoutine routine;
static const TableAmRoutine *heap = NULL;
static TvHeapGetNext server_getnext = NULL;

static void
set_new_filenode(Relation rel, const RelFileNode *newrnode, char persistence,
				 TransactionId *freezeXid, MultiXactId *minmulti)
{
	heap->relation_set_new_filenode(rel, newrnode, persistence, freezeXid, minmulti);
	tv_page_new_table_file(rel, newrnode, persistence);
}

const TableAmRoutine *
tv_heap_am_routine(void)
{
	if (heap == NULL)
	{
		heap = GetHeapamTableAmRoutine();
		routine = *heap;
		routine.relation_set_new_filenode = set_new_filenode;
	}
	return &routine;
}

void
tv_heap_am_set_getnext(TvHeapGetNext original)
{
	server_getnext = original;
}

/*
 * heap_getnext(), which heap's index builds use, refuses a relation whose
 * rd_tableam is not heap's own (heapam.c).  It is swapped for this one call
 * and not for a whole scan: between two tuples a function of an index
 * expression may run, and a relcache rebuild may put the field back.  Nothing
 * inside the call accepts invalidations: it takes no heavyweight lock.
 */
HeapTuple
tv_heap_am_getnext(TableScanDesc scan, ScanDirection direction)
{
	Relation	rel = scan->rs_rd;
	HeapTuple	tuple = NULL;

	if (likely(rel->rd_tableam != &routine))
		return server_getnext(scan, direction);

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
