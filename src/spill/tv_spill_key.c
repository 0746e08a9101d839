/*
 * tv_spill_key.c
 *	  The key of temporary files: random, of this server start, never on disk.
 *
 * It lies in one page that the postmaster maps for its children, locked and
 * kept out of core dumps.  Whenever shared memory is made, at start and after
 * the crash of a backend, it is drawn anew and the numbers begin again:
 * processes that had the old one are gone by then, and nobody reads their
 * files.
 */
#include "spill/tv_spill.h"
#include "spill/tv_spill_private.h"

#include "miscadmin.h"
#include "port/atomics.h"

#include "base/tv_secret.h"
#include "base/tv_shmem.h"
#include "crypto/tv_kdf.h"

#define BATCH 256				/* numbers that a process takes at a time */

static uint8 *key = NULL;
static bool key_locked = false;
static pg_atomic_uint64 *next_batch = NULL;

static TvCipherContext *context = NULL;
static uint64 next_number = 0;
static uint64 numbers_left = 0;

static void
init_shared(void *memory)
{
	next_batch = memory;
	pg_atomic_init_u64(next_batch, 0);
	if (tv_random(key, TV_KEY_LEN) != TV_OK)
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not get random bytes for the key of temporary files")));
}

void
tv_spill_key_init(void)
{
	static const TvShmemArea area = {
		"tde_vault temporary files", sizeof(pg_atomic_uint64), init_shared
	};

	key = tv_shmem_region("the key of temporary files", 4096, true, &key_locked);
	tv_shmem_add(&area);
}

bool
tv_spill_key_locked(void)
{
	return key_locked;
}

const TvCipherContext *
tv_spill_context(void)
{
	TvCipherContext *fresh;

	if (likely(context != NULL))
		return context;
	Assert(IsUnderPostmaster || !IsPostmasterEnvironment);
	fresh = tv_secret_alloc(tv_cipher_context_size(TV_CIPHER_AES_256_GCM));
	if (fresh != NULL &&
		tv_cipher_init(fresh, TV_CIPHER_AES_256_GCM, key, TV_KEY_LEN) != TV_OK)
	{
		tv_secret_free(fresh);
		fresh = NULL;
	}
	context = fresh;
	return context;
}

uint64
tv_spill_next_number(void)
{
	if (numbers_left == 0)
	{
		next_number = pg_atomic_fetch_add_u64(next_batch, BATCH);
		numbers_left = BATCH;
	}
	numbers_left--;
	return next_number++;
}
