/*
 * tv_page_unlogged.h
 *	  Pages that the server changes without writing WAL.
 *
 * A plain page that is torn between two such changes is still good, because
 * only its first sector differs.  A sealed page differs everywhere, and its
 * sidecar entry is another write: it is only safe if recovery has a full image
 * of it.  These are the places (PostgreSQL 15) where it would have none:
 *
 * - SP-GiST keeps a cache of pages with free space in its metapage and marks
 *   that dirty after every insertion (spgutils.c, SpGistUpdateMetaPage).
 *   tv_page_spgist_update_meta() takes its place and marks it as a hint, which
 *   logs an image of it once a checkpoint (wal_log_hints).
 * - A heap page that was only initialised and then not used, for example
 *   because the insertion failed (hio.c, RelationGetBufferForTuple), holds
 *   nothing: it is written as a new page (tv_page_is_blank()).
 *
 * Sequences change without WAL only after a record that initialises the whole
 * page (sequence.c, nextval_internal); free space and visibility maps are
 * sealed without a sidecar and may be lost.
 */
#ifndef TV_PAGE_UNLOGGED_H
#define TV_PAGE_UNLOGGED_H

#include "postgres.h"

#include "utils/rel.h"

/* Is it a heap page that was initialised, never logged, and holds nothing? */
extern bool tv_page_is_blank(const char *page);

/* In place of SpGistUpdateMetaPage(). */
extern void tv_page_spgist_update_meta(Relation index);

#endif							/* TV_PAGE_UNLOGGED_H */
