/*
 * tv_wal_file.h
 *	  Is WAL about a relation file to be sealed, and with what?
 */
#ifndef TV_WAL_FILE_H
#define TV_WAL_FILE_H

#include "postgres.h"

#include "storage/relfilenode.h"

#include "keyring/tv_keyring.h"

/* What this process knows of a file, as of a generation of the keyring. */
typedef struct TvWalFile
{
	RelFileNode node;
	uint32		generation;		/* 0: empty */
	bool		known;			/* it has a key, or had one */
	bool		sealed;			/* WAL about it is sealed */
	bool		unlogged;
	uint8		cipher;			/* TvCipher of its WAL; NONE: cannot be sealed */
	uint16		epoch;
	uint64		key;
	TvKeyHandle handle;
} TvWalFile;

#define TV_WAL_FILES 1024		/* power of two */

/* See tv_wal_file.c. */
extern TvWalFile tv_wal_files[TV_WAL_FILES];
extern TvWalFile *tv_wal_file_look_up(TvWalFile *file, const RelFileNode *node,
									  uint32 generation);

/*
 * The entry of node.  One comparison if it is known; else one look at the
 * keyring, under a shared lock.  Good until the next call.  Allocates
 * nothing, does not throw: safe in critical sections.
 */
static inline TvWalFile *
tv_wal_file(const RelFileNode *node)
{
	uint32		hash = (node->relNode ^ (node->dbNode << 16)) * 0x9E3779B1u;
	TvWalFile  *file = &tv_wal_files[hash / (PG_UINT32_MAX / TV_WAL_FILES + 1)];
	uint32		generation = tv_keyring_generation();

	if (likely(file->generation == generation && RelFileNodeEquals(file->node, *node)))
		return file;
	return tv_wal_file_look_up(file, node, generation);
}

/* The same; NULL if the file has no key, and had none. */
static inline TvWalFile *
tv_wal_known_file(const RelFileNode *node)
{
	TvWalFile  *file = tv_wal_file(node);

	return file->known ? file : NULL;
}

/* NULL with *err set. */
extern const TvCipherContext *tv_wal_file_unknown_cipher(const TvWalFile *file, TvError *err);

/*
 * The context that seals WAL about the file.  Asks the key's provider only if
 * no process did since the server started.  NULL with *err set on failure.
 */
static inline const TvCipherContext *
tv_wal_file_context(TvWalFile *file, TvError *err)
{
	if (unlikely(file->cipher == TV_CIPHER_NONE))
		return tv_wal_file_unknown_cipher(file, err);
	return tv_keyring_context(file->key, file->epoch, TV_PURPOSE_WAL,
							  (TvCipher) file->cipher, &file->handle, err);
}

/*
 * The context of a record that was sealed under version epoch of key, with
 * cipher.  NULL with *err set.
 */
extern const TvCipherContext *tv_wal_key_context(uint64 key, uint16 epoch,
												 TvCipher cipher, TvError *err);

/* See TvPagePrepare. */
extern TvStatus tv_wal_prepare(const RelFileNode *node, TvError *err);

#endif							/* TV_WAL_FILE_H */
