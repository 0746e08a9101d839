/*
 * tv_page_renew.h
 *	  Bringing pages up to date with their key: one that is sealed under an
 *	  older version, or not at all, and should be; or is, and should not be.
 */
#ifndef TV_PAGE_RENEW_H
#define TV_PAGE_RENEW_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "storage/buf.h"
#include "storage/bufmgr.h"
#include "storage/smgr.h"
#include "utils/rel.h"

/*
 * Is the block, on disk, as blocks of its file are written now, and did it
 * change after position since in WAL?  Its content is not looked at.  A
 * process that began to write it before the file changed may still put an
 * older one there; when nobody does any more (which a lock on its buffer makes
 * sure of), the answer stays.
 *
 * The second question is for the standbys: what they have on disk may have
 * been written before they knew, while here it was only in shared buffers.  A
 * page that changed since is written anew there, too.
 */
extern bool tv_page_is_current(Relation rel, ForkNumber fork, BlockNumber block,
							   XLogRecPtr since);

/*
 * Have a block that is not current written anew, by way of its buffer, with an
 * image in WAL: it is written whole, and may be torn.  The caller holds a lock
 * on rel and is in a transaction.  Throws ERROR if the page cannot be read.
 * false: there is nothing to be written, or it will be anyway.
 */
extern bool tv_page_renew(Relation rel, ForkNumber fork, BlockNumber block,
						  XLogRecPtr since, BufferAccessStrategy strategy);

/*
 * Room for the nonces and tags of nblocks blocks that are there already, on
 * disk on return.  prepared: blocks for which tv_page_prepare_sidecar() did
 * most of it.  fresh: what stands under that name is somebody else's.  Throws
 * ERROR.
 */
extern void tv_page_reserve_sidecar(const RelFileNode *node, uint64 key, BlockNumber prepared,
									BlockNumber nblocks, bool fresh);

/* The same for blocks from first up to nblocks, while the file is plain. */
extern void tv_page_prepare_sidecar(const RelFileNode *node, uint64 key, BlockNumber first,
									BlockNumber nblocks, bool fresh);

#endif							/* TV_PAGE_RENEW_H */
