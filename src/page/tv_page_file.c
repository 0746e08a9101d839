/*
 * tv_page_file.c
 *	  What this process knows of a relation file: plain or sealed, and how.
 */
#include "base/tv_hot.h"
#include "page/tv_page_file.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

static HTAB *table = NULL;
TV_HOT_DATA TvPageFile *tv_page_recent[TV_PAGE_RECENT] = {NULL};

static inline TvPageFile **
recent_place(const RelFileNodeBackend *rnode)
{
	return &tv_page_recent[rnode->node.relNode % TV_PAGE_RECENT];
}

TV_HOT_VAULT TvPageFile *
tv_page_file(RelFileNodeBackend rnode)
{
	TvPageFile **place = recent_place(&rnode);
	TvPageFile *file = *place;
	bool		found;

	if (likely(file != NULL && RelFileNodeBackendEquals(file->rnode, rnode)))
		return file;
	if (table == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(RelFileNodeBackend);
		ctl.entrysize = sizeof(TvPageFile);
		table = hash_create("tde_vault relation files", 256, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	file = hash_search(table, &rnode, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) file + sizeof(rnode), 0, sizeof(*file) - sizeof(rnode));
		file->state = TV_STATE_UNRESOLVED;
	}
	*place = file;
	return file;
}

void
tv_page_file_forget(RelFileNodeBackend rnode)
{
	TvPageFile *file;
	TvKeyringKey key;

	if (table == NULL)
		return;
	file = hash_search(table, &rnode, HASH_FIND, NULL);
	if (file == NULL)
		return;
	if (file->state == TV_STATE_SEALED)
	{
		tv_sidecar_close(&file->sidecar);
		if (!file->temporary && !tv_keyring_key(file->key, 0, &key))
			tv_keyring_forget_contexts(file->key);
	}
	*recent_place(&rnode) = NULL;
	hash_search(table, &rnode, HASH_REMOVE, NULL);
}

static void
resolve_temporary(TvPageFile *file)
{
	file->temporary = true;
	file->durable = true;
	file->verified = true;
	file->cipher = TV_CIPHER_AES_256_XTS;
	file->epoch = 1;
	file->state = TV_STATE_SEALED;
}

/* Take over what the keyring says about the file now. */
static void
take_known(TvPageFile *file, const TvKeyringFile *known)
{
	if (file->state != TV_STATE_SEALED || file->key != known->key)
	{
		if (file->state == TV_STATE_SEALED)
			tv_sidecar_close(&file->sidecar);
		tv_sidecar_init(&file->sidecar, &file->rnode.node, known->key);
	}
	/* what a crash took, or what a standby never had, is made as it is needed */
	/* (a promoted one may still have pages of when the file was plain to write) */
	file->sidecar.may_create = known->floor < known->epoch || !known->always_sealed;
	if (file->key != known->key || file->epoch != known->epoch ||
		file->cipher != known->cipher)
	{
		memset(&file->page_key, 0, sizeof(file->page_key));
		memset(&file->tweak_key, 0, sizeof(file->tweak_key));
		file->old_epoch = 0;
	}
	file->cipher = known->cipher;
	file->epoch = known->epoch;
	file->key = known->key;
	file->known = *known;
	file->durable = false;
	file->verified = false;
	file->state = TV_STATE_SEALED;
}

TV_HOT_VAULT bool
tv_page_file_resolve(TvPageFile *file)
{
	TvKeyringFile known;

	if (RelFileNodeBackendIsTemp(file->rnode))
	{
		if (!tv_page_temp_has(file->rnode))
			return false;
		resolve_temporary(file);
		return true;
	}
	/* recovery asks again and again, and the keyring has not changed since */
	if (file->generation == tv_keyring_generation())
		return file->state == TV_STATE_SEALED;
	memset(&known, 0, sizeof(known));
	file->generation = tv_keyring_generation();
	if (!tv_keyring_lookup(&file->rnode.node, &known))
		return false;
	take_known(file, &known);
	return true;
}

TV_HOT_VAULT bool
tv_page_file_refresh(TvPageFile *file)
{
	TvKeyringFile known;
	uint32		generation;

	if (likely(file->generation == tv_keyring_generation()) || file->temporary ||
		file->state == TV_STATE_UNRESOLVED || RelFileNodeBackendIsTemp(file->rnode))
		return false;
	memset(&known, 0, sizeof(known));
	generation = tv_keyring_generation();
	if (tv_keyring_lookup(&file->rnode.node, &known))
	{
		file->generation = generation;
		if (file->state == TV_STATE_SEALED && memcmp(&known, &file->known, sizeof(known)) == 0)
			return false;
		take_known(file, &known);
		return true;
	}
	file->generation = generation;
	if (file->state != TV_STATE_SEALED)
		return false;
	/* it was removed: what it is now is to be asked anew */
	tv_sidecar_close(&file->sidecar);
	file->state = TV_STATE_UNRESOLVED;
	return true;
}

static bool
fork_has_sidecar(ForkNumber fork, TvCipher cipher)
{
	return fork == MAIN_FORKNUM && tv_cipher_has_nonce(cipher);
}

bool
tv_page_has_sidecar(const TvPageFile *file, ForkNumber fork)
{
	return fork_has_sidecar(fork, (TvCipher) file->cipher);
}

bool
tv_page_may_have_sidecar(const TvPageFile *file, ForkNumber fork)
{
	return tv_page_has_sidecar(file, fork) ||
		(fork == MAIN_FORKNUM && file->epoch > 1 && !file->temporary && !file->known.unlogged);
}

/* The cipher of a version; TV_CIPHER_NONE if there is no such version. */
static TvCipher
version_cipher(TvPageFile *file, uint16 epoch)
{
	TvKeyringKey key;

	if (likely(epoch == file->epoch) || file->known.unlogged)
		return (TvCipher) file->cipher;
	if (epoch != file->old_epoch)
	{
		file->old_epoch = epoch;
		file->old_cipher = tv_keyring_key(file->key, epoch, &key) ? key.cipher : TV_CIPHER_NONE;
	}
	return (TvCipher) file->old_cipher;
}

bool
tv_page_version_has_sidecar(TvPageFile *file, ForkNumber fork, uint16 epoch)
{
	return fork_has_sidecar(fork, version_cipher(file, epoch));
}

static uint8
fork_class(ForkNumber fork)
{
	switch (fork)
	{
		case FSM_FORKNUM:
			return TV_FORK_CLASS_FSM;
		case VISIBILITYMAP_FORKNUM:
			return TV_FORK_CLASS_VM;
		case MAIN_FORKNUM:
		case INIT_FORKNUM:
		case InvalidForkNumber:
			break;
	}
	return TV_FORK_CLASS_MAIN;
}

const TvCipherContext *
tv_page_context(TvPageFile *file, ForkNumber fork, BlockNumber block,
				uint16 epoch, TvPageIdentity *identity, TvError *err)
{
	bool		sidecar = tv_page_version_has_sidecar(file, fork, epoch);
	TvKeyHandle other = {0};
	TvKeyHandle *handle = sidecar ? &file->page_key : &file->tweak_key;
	const TvCipherContext *context;

	identity->key = file->key;
	identity->epoch = epoch;
	identity->relation = file->rnode.node.relNode;
	identity->block = block;
	identity->fork = fork_class(fork);
	identity->cipher = sidecar ? version_cipher(file, epoch) : TV_CIPHER_AES_256_XTS;
	if (file->temporary)
	{
		context = tv_page_temp_context();
		if (context == NULL)
			(void) tv_error(err, TV_ERR_NO_MEMORY, "out of memory for keys");
		return context;
	}
	return tv_keyring_context(file->key, epoch,
							  sidecar ? TV_PURPOSE_PAGE : TV_PURPOSE_TWEAK,
							  (TvCipher) identity->cipher,
							  epoch == file->epoch ? handle : &other, err);
}
