/*
 * tv_page_file.c
 *	  What this process knows of a relation file: plain or sealed, and how.
 */
#include "page/tv_page_file.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

static HTAB *table = NULL;
static TvPageFile *latest = NULL;	/* most calls come for the same file again */

TvPageFile *
tv_page_file(RelFileNodeBackend rnode)
{
	TvPageFile *file;
	bool		found;

	if (latest != NULL && RelFileNodeBackendEquals(latest->rnode, rnode))
		return latest;
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
	latest = file;
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
	latest = NULL;
	hash_search(table, &rnode, HASH_REMOVE, NULL);
}

bool
tv_page_file_resolve(TvPageFile *file)
{
	TvKeyringFile known;

	if (RelFileNodeBackendIsTemp(file->rnode))
	{
		if (!tv_page_temp_has(file->rnode))
			return false;
		file->temporary = true;
		file->durable = true;
		file->verified = true;
		file->cipher = TV_CIPHER_AES_256_XTS;
		file->epoch = 1;
		file->state = TV_STATE_SEALED;
		return true;
	}
	if (!tv_keyring_lookup(&file->rnode.node, &known))
		return false;
	file->cipher = known.cipher;
	file->epoch = known.epoch;
	file->key = known.key;
	tv_sidecar_init(&file->sidecar, &file->rnode.node, known.key);
	file->state = TV_STATE_SEALED;
	return true;
}

bool
tv_page_has_sidecar(const TvPageFile *file, ForkNumber fork)
{
	return fork == MAIN_FORKNUM && tv_cipher_has_nonce((TvCipher) file->cipher);
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
	bool		sidecar = tv_page_has_sidecar(file, fork);
	TvKeyHandle other = {0, 0};
	TvKeyHandle *handle = sidecar ? &file->page_key : &file->tweak_key;
	const TvCipherContext *context;

	identity->key = file->key;
	identity->epoch = epoch;
	identity->relation = file->rnode.node.relNode;
	identity->block = block;
	identity->fork = fork_class(fork);
	identity->cipher = sidecar ? file->cipher : TV_CIPHER_AES_256_XTS;
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
