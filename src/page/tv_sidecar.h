/*
 * tv_sidecar.h
 *	  The file beside a relation that holds nonce and tag of every page.
 *
 * tde_vault/sidecar/<tablespace>/<database>/<relfilenode>[.segment], one for
 * each 1 GB segment of the relation, so that both are synced, truncated and
 * removed together.  It does not stand in the relation's own directory because
 * pgBackRest takes every file there for pages with checksums.
 */
#ifndef TV_SIDECAR_H
#define TV_SIDECAR_H

#include "postgres.h"

#include "storage/block.h"
#include "storage/fd.h"
#include "storage/relfilenode.h"
#include "storage/sync.h"

#include "page/tv_page_format.h"

/* forknum of a FileTag that means a sidecar segment */
#define TV_SIDECAR_FORK 64

typedef struct TvSidecar
{
	RelFileNode node;
	uint64		key;
	int			n_files;		/* segments opened, 0 .. n_files - 1 */
	File	   *files;
	BlockNumber last_read;		/* to see a sequential scan */
	bool		may_create;		/* writing an entry may make a missing segment */
} TvSidecar;

typedef enum TvSidecarResult
{
	TV_SIDECAR_OK,
	TV_SIDECAR_MISSING,			/* no file */
	TV_SIDECAR_SHORT,			/* file ends before the entry */
	TV_SIDECAR_DAMAGED,			/* header does not verify */
	TV_SIDECAR_FOREIGN,			/* header is of another relation or key */
	TV_SIDECAR_NEWER,			/* header is of a newer version */
	TV_SIDECAR_IO_ERROR			/* errno tells */
} TvSidecarResult;

/* The sidecar of a relation file; nothing is opened or made before it is needed. */
extern void tv_sidecar_init(TvSidecar *sidecar, const RelFileNode *node, uint64 key);
/* Close its files; it may be used again. */
extern void tv_sidecar_close(TvSidecar *sidecar);

/*
 * Read block's entry.  fresh: from the file, never from what this process
 * remembers; *cached tells where it came from.
 */
extern TvSidecarResult tv_sidecar_read(TvSidecar *sidecar, BlockNumber block,
									   bool fresh, TvPageEntry *entry, bool *cached);

/* Write block's entry.  Throws ERROR when that fails. */
extern void tv_sidecar_write(TvSidecar *sidecar, BlockNumber block,
							 const TvPageEntry *entry, bool skip_fsync);

/*
 * Make room for block's entry, and clear it: the block is new.  Throws ERROR
 * when there is no space.  Files and directories are made as needed.
 */
extern void tv_sidecar_extend(TvSidecar *sidecar, BlockNumber block, bool skip_fsync);

/*
 * Make room for the entries of blocks from first up to nblocks that are there
 * already; entries that are in use stay.  What had to be made is synced.  Throws
 * ERROR when there is no space.
 */
extern void tv_sidecar_reserve(TvSidecar *sidecar, BlockNumber first, BlockNumber nblocks);

/* Clear the entries of blocks from nblocks on. Throws ERROR on failure. */
extern void tv_sidecar_truncate(TvSidecar *sidecar, BlockNumber nblocks);

/* Sync every segment now, or those from that of block first. Throws ERROR. */
extern void tv_sidecar_immedsync(TvSidecar *sidecar, BlockNumber first);

/* Remove the files; WARNING on failure. */
extern void tv_sidecar_unlink(const RelFileNode *node);

/* Remove those of a whole database. */
extern void tv_sidecar_unlink_database(Oid database);

/* For the checkpointer: sync the segment that ftag names; 0, or -1 and errno. */
extern int	tv_sidecar_sync(const FileTag *ftag, char *path);

/* A message for a result that is not OK. */
extern const char *tv_sidecar_problem(TvSidecarResult result);

#endif							/* TV_SIDECAR_H */
