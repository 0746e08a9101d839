/*
 * tv_page_temp.c
 *	  Temporary relations are sealed with a key of the session that never
 *	  leaves its memory.  Nobody else reads their files.
 */
#include "page/tv_page_file.h"

#include "utils/hsearch.h"

#include "base/tv_secret.h"
#include "crypto/tv_kdf.h"

static HTAB *temp_files = NULL;
static TvCipherContext *context = NULL;

void
tv_page_temp_add(RelFileNodeBackend rnode)
{
	if (temp_files == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(RelFileNodeBackend);
		ctl.entrysize = sizeof(RelFileNodeBackend);
		temp_files = hash_create("tde_vault temporary files", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	(void) hash_search(temp_files, &rnode, HASH_ENTER, NULL);
}

bool
tv_page_temp_has(RelFileNodeBackend rnode)
{
	return temp_files != NULL && hash_search(temp_files, &rnode, HASH_FIND, NULL) != NULL;
}

void
tv_page_temp_remove(RelFileNodeBackend rnode)
{
	if (temp_files != NULL)
		(void) hash_search(temp_files, &rnode, HASH_REMOVE, NULL);
}

const TvCipherContext *
tv_page_temp_context(void)
{
	TvCipherContext *fresh;
	uint8	   *key;

	if (context != NULL)
		return context;
	key = tv_secret_alloc(TV_CIPHER_KEY_MAX);
	fresh = tv_secret_alloc(tv_cipher_context_size(TV_CIPHER_AES_256_XTS));
	if (key == NULL || fresh == NULL ||
		tv_random(key, TV_CIPHER_KEY_MAX) != TV_OK ||
		tv_cipher_init(fresh, TV_CIPHER_AES_256_XTS, key, TV_CIPHER_KEY_MAX) != TV_OK)
	{
		tv_secret_free(fresh);
		fresh = NULL;
	}
	tv_secret_free(key);
	context = fresh;
	return context;
}
