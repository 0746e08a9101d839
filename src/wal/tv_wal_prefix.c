/*
 * tv_wal_prefix.c
 *	  The first bytes of nonces, which short trailers leave out.
 */
#include "wal/tv_wal_prefix.h"

#include "port/atomics.h"

#include "base/tv_shmem.h"
#include "keyring/tv_keyring.h"
#include "page/tv_page_nonce.h"
#include "wal/tv_wal_format.h"
#include "wal/tv_wal_rewind.h"

StaticAssertDecl(TV_WAL_PREFIX_LEN == TV_NONCE_PREFIX_LEN, "length of a nonce's prefix");

typedef struct PrefixShared
{
	pg_atomic_uint32 known;
} PrefixShared;

static PrefixShared *shared = NULL;

/* The right one of the latest record opened; reading mostly stays with it. */
static uint8 latest[TV_WAL_PREFIX_LEN];

static void
init_shared(void *memory)
{
	shared = memory;
	pg_atomic_init_u32(&shared->known, 0);
	tv_wal_refuse_rewound();
}

void
tv_wal_prefix_init(void)
{
	static const TvShmemArea area = {
		"tde_vault WAL", sizeof(PrefixShared), init_shared
	};

	tv_shmem_add(&area);
}

bool
tv_wal_prefix_known(void)
{
	return pg_atomic_read_u32(&shared->known) != 0;
}

void
tv_wal_prefix_register(void)
{
	TvError		err;

	/* two processes at once do no harm; without it, trailers are longer */
	if (tv_keyring_add_prefix(tv_page_nonce_prefix(), &err) == TV_OK)
		pg_atomic_write_u32(&shared->known, 1);
}

bool
tv_wal_prefix_try(uint32 i, uint8 *nonce)
{
	if (i > 0)
		return tv_keyring_prefix(i - 1, nonce);
	memcpy(nonce, latest, TV_WAL_PREFIX_LEN);
	return true;
}

void
tv_wal_prefix_right(const uint8 *nonce)
{
	memcpy(latest, nonce, TV_WAL_PREFIX_LEN);
}
