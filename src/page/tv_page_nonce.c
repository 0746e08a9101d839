/*
 * tv_page_nonce.c
 *	  Nonces that never repeat under one key.
 *
 * A nonce is 56 random bits drawn whenever shared memory is made (at server
 * start and after a crash) and a 40-bit counter that all processes share.
 * Within one start no two nonces are equal; a standby, a restored copy or the
 * next start repeats the random part with probability 2^-56, and even then
 * only the counters that both reached under the same key would collide.  NIST
 * SP 800-38D 8.3 asks for at most 2^-32 over the life of a key; that holds for
 * 4,000 starts of all nodes and copies together.
 */
#include "page/tv_page_nonce.h"

#include "port/atomics.h"

#include "base/tv_shmem.h"
#include "crypto/tv_kdf.h"

#define PREFIX_LEN TV_NONCE_PREFIX_LEN
#define COUNTER_MAX ((UINT64CONST(1) << 40) - 1)

typedef struct NonceShared
{
	pg_atomic_uint64 counter;
	uint8		prefix[PREFIX_LEN];
} NonceShared;

static NonceShared *shared = NULL;

static void
init_shared(void *memory)
{
	shared = memory;
	pg_atomic_init_u64(&shared->counter, 0);
	if (tv_random(shared->prefix, PREFIX_LEN) != TV_OK)
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not get random bytes for nonces")));
}

void
tv_page_nonce_init(void)
{
	static const TvShmemArea area = {
		"tde_vault nonces", sizeof(NonceShared), init_shared
	};

	tv_shmem_add(&area);
}

void
tv_page_next_nonce(uint8_t nonce[TV_NONCE_LEN])
{
	uint64		counter = pg_atomic_fetch_add_u64(&shared->counter, 1);

	/* 2^40 page writes are 8 petabytes in one server start */
	if (unlikely(counter > COUNTER_MAX))
		ereport(PANIC,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("nonces of this server start are used up"),
				 errhint("The server restarts by itself and draws new ones.")));
	memcpy(nonce, shared->prefix, PREFIX_LEN);
	for (int i = 0; i < TV_NONCE_LEN - PREFIX_LEN; i++)
		nonce[PREFIX_LEN + i] = (uint8_t) (counter >> (8 * i));
}

const uint8_t *
tv_page_nonce_prefix(void)
{
	return shared->prefix;
}
