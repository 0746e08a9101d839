/*
 * tv_page_file.h
 *	  What this process knows of a relation file: plain or sealed, and how.
 *
 * One entry a file that the server has open as SMgrRelation, forgotten when
 * the server closes it.  That is the server's own protocol against stale
 * descriptors (smgr.c, CacheInvalidateSmgr), so an entry never outlives a
 * reuse of the number.
 */
#ifndef TV_PAGE_FILE_H
#define TV_PAGE_FILE_H

#include "postgres.h"

#include "storage/relfilenode.h"

#include "keyring/tv_keyring.h"
#include "page/tv_sidecar.h"

typedef enum TvFileState
{
	TV_STATE_UNRESOLVED,			/* not looked up yet */
	TV_STATE_PLAIN,
	TV_STATE_SEALED
} TvFileState;

typedef struct TvPageFile
{
	RelFileNodeBackend rnode;	/* hash key */
	TvFileState state;
	bool		temporary;		/* key of this session, not of the keyring */
	bool		durable;		/* its keyring record is synced */
	bool		verified;		/* its keyring record is authentic */
	uint8		cipher;			/* TvCipher of the main fork */
	uint16		epoch;
	uint64		key;
	TvKeyHandle page_key;		/* main and init fork, current version */
	TvKeyHandle tweak_key;		/* maps; also main fork of XTS files */
	TvSidecar	sidecar;
} TvPageFile;

/* Find or make the entry, unresolved if new. */
extern TvPageFile *tv_page_file(RelFileNodeBackend rnode);

/* Forget the entry, close its sidecar. */
extern void tv_page_file_forget(RelFileNodeBackend rnode);

/*
 * Look the file up in the keyring (or among this session's temporary files)
 * and remember what was found.  Returns false if it is not there; the entry
 * then stays unresolved.
 */
extern bool tv_page_file_resolve(TvPageFile *file);

/* Does fork of the file have a sidecar? */
extern bool tv_page_has_sidecar(const TvPageFile *file, ForkNumber fork);

/*
 * Identity and ready context of block in fork under version epoch of the key.
 * NULL with *err set when the key cannot be had.
 */
extern const TvCipherContext *tv_page_context(TvPageFile *file, ForkNumber fork,
											  BlockNumber block, uint16 epoch,
											  TvPageIdentity *identity,
											  TvError *err);

/* --- temporary relations: tv_page_temp.c --- */

/* This session's temporary file is to be sealed. */
extern void tv_page_temp_add(RelFileNodeBackend rnode);
extern bool tv_page_temp_has(RelFileNodeBackend rnode);
extern void tv_page_temp_remove(RelFileNodeBackend rnode);
/* The session's own key; NULL when out of memory. */
extern const TvCipherContext *tv_page_temp_context(void);

#endif							/* TV_PAGE_FILE_H */
