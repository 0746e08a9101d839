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
	uint32		generation;		/* of the keyring when it was looked up */
	bool		temporary;		/* key of this session, not of the keyring */
	bool		durable;		/* its keyring record is synced */
	bool		verified;		/* its keyring record is authentic */
	uint8		cipher;			/* TvCipher of the main fork, newest version */
	uint16		epoch;			/* newest version: pages are written under it */
	uint64		key;
	TvKeyringFile known;		/* what the keyring says, if not temporary */
	TvKeyHandle page_key;		/* main and init fork, newest version */
	TvKeyHandle tweak_key;		/* maps; also main fork of XTS files */
	uint16		old_epoch;		/* an older version, and its cipher */
	uint8		old_cipher;
	TvSidecar	sidecar;
} TvPageFile;

/* Most calls come for the same few files again: a table and its indexes. */
#define TV_PAGE_RECENT 16		/* power of two */

extern TvPageFile *tv_page_recent[TV_PAGE_RECENT];

/*
 * The entry if it is at hand, and as the keyring is now (resolved, or looked up
 * and not there: a plain file); else NULL.
 */
static inline TvPageFile *
tv_page_file_at_hand(const RelFileNodeBackend *rnode)
{
	TvPageFile *file = tv_page_recent[rnode->node.relNode % TV_PAGE_RECENT];

	if (file != NULL && RelFileNodeBackendEquals(file->rnode, *rnode) &&
		file->generation == tv_keyring_generation() &&
		(file->state != TV_STATE_UNRESOLVED || !RelFileNodeBackendIsTemp(file->rnode)))
		return file;
	return NULL;
}

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

/*
 * If the keyring changed since the file was looked up, look again: the key may
 * have a new version, the file may be sealed that was plain, or the other way.
 * Returns whether something about it changed.  Uses no palloc, does not throw.
 */
extern bool tv_page_file_refresh(TvPageFile *file);

/* Do pages that are written to fork now have an entry in the sidecar? */
extern bool tv_page_has_sidecar(const TvPageFile *file, ForkNumber fork);

/* Had they ever, or may they have had? */
extern bool tv_page_may_have_sidecar(const TvPageFile *file, ForkNumber fork);

/* Does the page of that version have one?  false if the version is unknown. */
extern bool tv_page_version_has_sidecar(TvPageFile *file, ForkNumber fork, uint16 epoch);

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
