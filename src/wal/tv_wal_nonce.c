/*
 * tv_wal_nonce.c
 *	  Nonces of sealed WAL records.
 */
#include "wal/tv_wal_nonce.h"

#include "port/atomics.h"

#include "base/tv_shmem.h"
#include "keyring/tv_keyring.h"
#include "page/tv_page_nonce.h"
#include "wal/tv_wal_rewind.h"

StaticAssertDecl(TV_WAL_PREFIX_LEN == TV_NONCE_PREFIX_LEN, "length of a nonce's prefix");

/*
 * Whose record crosses a multiple of this many bytes of WAL takes the counter
 * along.  Small against the 4 MB of WAL that the bits of a counter in a record
 * tell apart, large against a record.
 */
#define FOLLOW_BYTES (512 * 1024)

typedef struct NonceShared
{
	/* alone in its cache lines: whoever seals a record writes it */
	union
	{
		pg_atomic_uint64 counter;
		char		line[2 * PG_CACHE_LINE_SIZE];
	}			u;
	pg_atomic_uint32 known;
} NonceShared;

static NonceShared *shared = NULL;

/* What does not change any more while this process lives: see init_shared. */
static bool known = false;
static bool has_prefix = false;
static uint8 own_prefix[TV_WAL_PREFIX_LEN];

uint8		tv_wal_prefix_latest[TV_WAL_PREFIX_LEN];

static void
init_shared(void *memory)
{
	shared = memory;
	pg_atomic_init_u64(&shared->u.counter, 0);
	pg_atomic_init_u32(&shared->known, 0);
	known = has_prefix = false;
	tv_wal_refuse_rewound();
}

void
tv_wal_nonce_init(void)
{
	static const TvShmemArea area = {
		"tde_vault WAL", sizeof(NonceShared), init_shared
	};

	tv_shmem_add(&area);
}

bool
tv_wal_prefix_known(void)
{
	if (unlikely(!known))
		known = pg_atomic_read_u32(&shared->known) != 0;
	return known;
}

void
tv_wal_prefix_register(void)
{
	TvError		err;

	/* two processes at once do no harm; without it, trailers are longer */
	if (tv_keyring_add_prefix(tv_page_nonce_prefix(), &err) == TV_OK)
		pg_atomic_write_u32(&shared->known, 1);
}

uint64
tv_wal_next_nonce(uint8 nonce[TV_NONCE_LEN])
{
	uint64		counter = pg_atomic_fetch_add_u64(&shared->u.counter, 1);

	if (unlikely(!has_prefix))
	{
		memcpy(own_prefix, tv_page_nonce_prefix(), TV_WAL_PREFIX_LEN);
		has_prefix = true;
	}
	tv_wal_nonce(own_prefix, counter, nonce);
	return counter;
}

void
tv_wal_nonce_reach(XLogRecPtr lsn)
{
	uint64		least = tv_wal_counter_at(lsn);
	uint64		counter = pg_atomic_read_u64(&shared->u.counter);

	while (counter < least &&
		   !pg_atomic_compare_exchange_u64(&shared->u.counter, &counter, least))
		;
}

void
tv_wal_nonce_follow(XLogRecPtr start, XLogRecPtr end)
{
	if (unlikely(start / FOLLOW_BYTES != end / FOLLOW_BYTES))
		tv_wal_nonce_reach(end);
}

bool
tv_wal_prefix_try(uint32 i, uint8 *prefix)
{
	if (i > 0)
		return tv_keyring_prefix(i - 1, prefix);
	memcpy(prefix, tv_wal_prefix_latest, TV_WAL_PREFIX_LEN);
	return true;
}

void
tv_wal_prefix_right(const uint8 *prefix)
{
	memcpy(tv_wal_prefix_latest, prefix, TV_WAL_PREFIX_LEN);
}
