/*
 * tv_page_verify.h
 *	  Check every page of a relation file on disk, not in the buffers.
 */
#ifndef TV_PAGE_VERIFY_H
#define TV_PAGE_VERIFY_H

#include "postgres.h"

#include "storage/smgr.h"

typedef struct TvPageCounts
{
	uint64		pages;
	uint64		sealed;			/* verified, or new and empty */
	uint64		unsealed;
	uint64		bad;
} TvPageCounts;

/*
 * Read fork of reln, whose relation is open and locked, and count.  A page
 * that is being written meanwhile is read again.  A plain file's pages count
 * as unsealed.  Throws ERROR if the key cannot be had.
 */
extern void tv_page_verify_fork(SMgrRelation reln, ForkNumber fork, TvPageCounts *counts);

#endif							/* TV_PAGE_VERIFY_H */
