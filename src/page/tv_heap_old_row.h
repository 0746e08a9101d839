/*
 * tv_heap_old_row.h
 *	  Old rows that are too long for a WAL record.
 */
#ifndef TV_HEAP_OLD_ROW_H
#define TV_HEAP_OLD_ROW_H

#include "postgres.h"

#include "access/xlog.h"
#include "catalog/catalog.h"
#include "utils/rel.h"

/* Throws ERROR if the row at tid cannot be logged whole.  See the next. */
extern void tv_heap_check_old_row(Relation rel, ItemPointer tid);

/* Are rows that are deleted or updated logged whole? */
static inline bool
tv_heap_logs_old_rows(Relation rel)
{
	return unlikely(rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL) &&
		RelationIsLogicallyLogged(rel);
}

#endif							/* TV_HEAP_OLD_ROW_H */
