/*
 * tv_heap_am.h
 *	  The table access method tde_heap.
 */
#ifndef TV_HEAP_AM_H
#define TV_HEAP_AM_H

#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"

/* The routine; the same pointer at every call. */
extern const TableAmRoutine *tv_heap_am_routine(void);

/*
 * The innermost ring of the vault: called before rows of a table of tde_heap
 * are read or changed, by whatever means, in every process; may throw ERROR.
 * Once for each scan or index probe, and once for each row that is changed.
 */
typedef enum TvHeapUse
{
	TV_HEAP_READ,
	TV_HEAP_ANALYZE,			/* a sample for the planner's statistics */
	TV_HEAP_VACUUM,				/* rows are given to nobody but support functions of indexes */
	TV_HEAP_INSERT,
	TV_HEAP_UPDATE,
	TV_HEAP_DELETE
} TvHeapUse;

typedef void (*TvHeapGuard) (Relation rel, TvHeapUse use);

/* In _PG_init only. */
extern void tv_heap_am_set_guard(TvHeapGuard guard);

/* In place of heap_getnext(): the same for tables of tde_heap. */
extern HeapTuple tv_heap_am_getnext(TableScanDesc scan, ScanDirection direction);

/*
 * One list of tables that the server makes from a catalog for itself is to be
 * without some: until the next scan of a catalog by heap_getnext() has ended
 * (or listed is NULL), only rows for which listed returns true are returned.
 * Scans that build a catalog's indexes are not affected.
 */
typedef bool (*TvHeapListed) (Relation catalog, HeapTuple row);
extern void tv_heap_am_filter_list(TvHeapListed listed);

/* In _PG_init: see heap_getnext(), and new files of plain tables. */
extern void tv_heap_am_attach(void);

#endif							/* TV_HEAP_AM_H */
