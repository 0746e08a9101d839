/*
 * tv_page_smgr.h
 *	  Sealed pages behind the server's storage manager.
 */
#ifndef TV_PAGE_SMGR_H
#define TV_PAGE_SMGR_H

#include "postgres.h"

#include "storage/smgr.h"

#include "base/tv_status.h"

/*
 * In _PG_init: take the place of the server's storage manager and file sync
 * entries, and of the functions that copy files.  FATAL if that fails.
 */
extern void tv_page_attach(void);

/* The server's own read, that does not open what it reads. */
extern void tv_page_read_raw(SMgrRelation reln, ForkNumber fork,
							 BlockNumber block, char *buffer);
extern BlockNumber tv_page_nblocks(SMgrRelation reln, ForkNumber fork);

/*
 * CREATE DATABASE: bind the sequences of the copy, or forget, when it fails,
 * what was copied since the beginning.
 */
extern void tv_page_copies_begin(void);
extern void tv_page_copies_end(void);
extern void tv_page_copies_abandon(void);

/* A database is gone: so are its sidecars and keys. WARNING on failure. */
extern void tv_page_drop_database(Oid database);

/*
 * Called, where errors can still be raised, before pages of the sealed file
 * node change: whatever it takes to log that is to be made ready.  err may be
 * NULL.
 */
typedef TvStatus (*TvPagePrepare) (const RelFileNode *node, TvError *err);
extern void tv_page_set_prepare(TvPagePrepare function);

/*
 * WAL about the permanent file node is about to be written, outside critical
 * sections: if the file is undecided, decide it.  Throws ERROR.
 */
extern void tv_page_decide_logged(const RelFileNode *node);

/* Did tv_page_attach() run in the postmaster of this process? */
extern bool tv_page_attached(void);

#endif							/* TV_PAGE_SMGR_H */
