/*
 * tv_keyring_nonce.c
 *	  The random part of nonces: one for each server start.
 *
 * The newest TV_PREFIX_MAX are kept, in a ring.
 */
#include "keyring/tv_keyring_internal.h"

#include "utils/timestamp.h"

#include "base/tv_shmem.h"

/* The i-th before the newest; NULL past the end. */
static uint8 *
prefix_at(uint32 i)
{
	uint32		n = tv_keyring_shared->n_prefixes;

	if (i >= Min(n, TV_PREFIX_MAX))
		return NULL;
	return tv_keyring_shared->prefixes[(n - 1 - i) % TV_PREFIX_MAX];
}

bool
tv_keyring_has_prefix(const TvNoncePrefixRecord *record)
{
	uint8	   *prefix;

	for (uint32 i = 0; (prefix = prefix_at(i)) != NULL; i++)
	{
		if (memcmp(prefix, record->prefix, TV_NONCE_PREFIX_LEN) == 0)
			return true;
	}
	return false;
}

void
tv_keyring_apply_prefix(const TvNoncePrefixRecord *record)
{
	if (tv_keyring_has_prefix(record))
		return;
	memcpy(tv_keyring_shared->prefixes[tv_keyring_shared->n_prefixes % TV_PREFIX_MAX],
		   record->prefix, TV_NONCE_PREFIX_LEN);
	tv_keyring_shared->n_prefixes++;
}

TvStatus
tv_keyring_add_prefix(const uint8 *prefix, TvError *err)
{
	TvRecord	record;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_NONCE_PREFIX;
	record.u.nonce_prefix.created = GetCurrentTimestamp();
	memcpy(record.u.nonce_prefix.prefix, prefix, TV_NONCE_PREFIX_LEN);
	return tv_keyring_append(&record, false, err);
}

bool
tv_keyring_prefix(uint32 i, uint8 prefix[TV_NONCE_PREFIX_LEN])
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	uint8	   *found;

	LWLockAcquire(lock, LW_SHARED);
	found = prefix_at(i);
	if (found)
		memcpy(prefix, found, TV_NONCE_PREFIX_LEN);
	LWLockRelease(lock);
	return found != NULL;
}
