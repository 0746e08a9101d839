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
 * In place of heap_getnext(): the same for tables of tde_heap.  original: the
 * server's function.
 */
typedef HeapTuple (*TvHeapGetNext) (TableScanDesc scan, ScanDirection direction);
extern void tv_heap_am_set_getnext(TvHeapGetNext original);
extern HeapTuple tv_heap_am_getnext(TableScanDesc scan, ScanDirection direction);

#endif							/* TV_HEAP_AM_H */
