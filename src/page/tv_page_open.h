/*
 * tv_page_open.h
 *	  Open a page that was read from disk, and say what is wrong with it.
 */
#ifndef TV_PAGE_OPEN_H
#define TV_PAGE_OPEN_H

#include "postgres.h"

#include "storage/smgr.h"

#include "page/tv_page_file.h"

typedef enum TvPageVerdict
{
	TV_VERDICT_GOOD,			/* sealed, and opened */
	TV_VERDICT_NEW,				/* all zeros, never sealed */
	TV_VERDICT_UNSEALED,		/* not sealed in a file that must be */
	TV_VERDICT_ZEROED,			/* all zeros, but was sealed once */
	TV_VERDICT_NO_ENTRY,		/* its sidecar cannot tell */
	TV_VERDICT_PLAIN,			/* not sealed, as its file may be */
	TV_VERDICT_OLD_VERSION,		/* sealed under a version that was replaced */
	TV_VERDICT_NO_KEY_VERSION,	/* sealed under a version nobody knows */
	TV_VERDICT_TAG,				/* authentication failed */
	TV_VERDICT_CHECKSUM,		/* no tag; checksum failed */
	TV_VERDICT_KEY_UNAVAILABLE	/* err tells why */
} TvPageVerdict;

typedef struct TvPageExam
{
	TvPageVerdict verdict;
	TvSidecarResult sidecar;
	uint16		epoch;
	bool		cached;			/* the entry was one this process remembered */
	TvError		err;
} TvPageExam;

/*
 * Open the sealed page in place.  fresh: read the entry from disk.  On any
 * verdict but GOOD and NEW the page's content is undefined.
 */
extern void tv_page_examine(TvPageFile *file, ForkNumber fork, BlockNumber block,
							bool fresh, char *page, TvPageExam *exam);

/*
 * For the server: open what it has read.  Throws ERROR (data_corrupted) that
 * names relation and block; a damaged map is replaced by an empty one with a
 * WARNING, as the server does with them (freespace.c, visibilitymap.c).
 */
extern void tv_page_open_read(TvPageFile *file, SMgrRelation reln,
							  ForkNumber fork, BlockNumber block, char *page);

/* A sealed page in a file that the keyring does not know. Throws ERROR. */
extern void tv_page_refuse_sealed(SMgrRelation reln, ForkNumber fork,
								  BlockNumber block, char *page);

#endif							/* TV_PAGE_OPEN_H */
