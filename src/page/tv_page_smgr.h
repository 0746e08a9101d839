/*
 * tv_page_smgr.h
 *	  Sealed pages behind the server's storage manager.
 */
#ifndef TV_PAGE_SMGR_H
#define TV_PAGE_SMGR_H

#include "postgres.h"

#include "storage/smgr.h"

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
 * CREATE DATABASE: forget, when it fails, what was copied since the beginning.
 */
extern void tv_page_copies_begin(void);
extern void tv_page_copies_abandon(void);

/* A database is gone: so are its sidecars and keys. WARNING on failure. */
extern void tv_page_drop_database(Oid database);

/* Did tv_page_attach() run in the postmaster of this process? */
extern bool tv_page_attached(void);

#endif							/* TV_PAGE_SMGR_H */
