/*
 * tv_wal_file.c
 *	  Is WAL about a relation file to be sealed, and with what?
 *
 * A direct-mapped cache over the keyring's table.  What a file is can change
 * (its number is used again, its key gets a new version), and every change
 * gives the keyring another generation: an entry of an older one is looked up
 * again.  Nobody can write WAL about a file whose state changes at that
 * moment: whoever makes or replaces it holds its lock.
 */
#include "wal/tv_wal_file.h"

#include "access/xlog.h"

#include "wal/tv_wal_nonce.h"

#define N_KEYS 256

typedef struct KeyEntry
{
	uint64		key;
	uint16		epoch;
	uint8		cipher;
	TvKeyHandle handle;
} KeyEntry;

TvWalFile	tv_wal_files[TV_WAL_FILES];
static KeyEntry keys[N_KEYS];

TvWalFile *
tv_wal_file_look_up(TvWalFile *file, const RelFileNode *node, uint32 generation)
{
	TvKeyringFile known;

	file->node = *node;
	file->generation = generation;
	file->known = tv_keyring_lookup(node, &known);
	file->sealed = file->known && !known.released;
	if (!file->known)
		return file;
	file->unlogged = known.unlogged;
	if (file->key != known.key || file->epoch != known.epoch ||
		file->cipher != tv_wal_cipher(known.cipher))
		memset(&file->handle, 0, sizeof(file->handle));
	file->cipher = tv_wal_cipher(known.cipher);
	file->key = known.key;
	file->epoch = known.epoch;
	return file;
}

const TvCipherContext *
tv_wal_file_unknown_cipher(const TvWalFile *file, TvError *err)
{
	(void) tv_error(err, TV_ERR_VERSION, "keyring names an unknown cipher for file %u/%u/%u",
					file->node.spcNode, file->node.dbNode, file->node.relNode);
	return NULL;
}

const TvCipherContext *
tv_wal_key_context(uint64 key, uint16 epoch, TvCipher cipher, TvError *err)
{
	KeyEntry   *entry = &keys[(key ^ epoch) % N_KEYS];

	if (entry->key != key || entry->epoch != epoch || entry->cipher != cipher)
	{
		memset(entry, 0, sizeof(*entry));
		entry->key = key;
		entry->epoch = epoch;
		entry->cipher = cipher;
	}
	return tv_keyring_context(key, epoch, TV_PURPOSE_WAL, cipher, &entry->handle, err);
}

TvStatus
tv_wal_prepare(const RelFileNode *node, TvError *err)
{
	TvWalFile  *file = tv_wal_file(node);
	TvError		unused;

	if (err == NULL)
		err = &unused;
	if (!file->sealed)
		return TV_OK;
	if (tv_wal_file_context(file, err) == NULL)
		return err->status;
	if (unlikely(!tv_wal_prefix_known()) && !RecoveryInProgress())
		tv_wal_prefix_register();
	return TV_OK;
}
