/*
 * tv_page_lost.h
 *	  Pages that recovery cannot read yet.
 *
 * A few records of hash indexes name a page only to lock it, without an image
 * of it (REGBUF_NO_IMAGE: hash.c, hashovfl.c), so redo reads it from disk.  A
 * crash may have torn it; the record that brings its image then comes later.
 * Until it does, the page is an empty one that nothing is applied to.
 */
#ifndef TV_PAGE_LOST_H
#define TV_PAGE_LOST_H

#include "postgres.h"

#include "storage/block.h"
#include "storage/relfilenode.h"

/*
 * During redo of one record, that one page of a main fork may be unreadable.
 * NULL: none may.
 */
extern void tv_page_lost_allow(const RelFileNode *node, BlockNumber block);

/* A page cannot be opened.  If that is allowed: make it empty, remember it. */
extern bool tv_page_lost_accept(const RelFileNode *node, BlockNumber block, char *page);

/* Is any page remembered?  Cheap. */
extern bool tv_page_lost_any(void);

/* The page's image came. */
extern void tv_page_lost_restored(const RelFileNode *node, BlockNumber block);

/* The file's pages from nblocks on are gone. */
extern void tv_page_lost_truncated(const RelFileNode *node, BlockNumber nblocks);

/* The data is consistent now: FATAL if a page is still remembered. */
extern void tv_page_lost_check(void);

#endif							/* TV_PAGE_LOST_H */
