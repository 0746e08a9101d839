/*
 * tv_keyring_anchor.c
 *	  Anchors: how far what a service keeps elsewhere had got.
 *
 * The keyring keeps the newest one of each service, as it is given, with the
 * position in WAL where it was made: WAL that is replayed over a keyring that
 * is ahead of it does not take it back.
 */
#include "keyring/tv_keyring_internal.h"

#include "base/tv_shmem.h"

/* What is known of the service's; NULL: there is no such service. */
static TvAnchorRecord *
anchor_of(uint32 service)
{
	return service > 0 && service <= TV_SERVICE_LAST ? &tv_keyring_shared->anchors[service] : NULL;
}

bool
tv_keyring_knows_anchor(const TvAnchorRecord *record)
{
	TvAnchorRecord *known = anchor_of(record->service);

	return known != NULL && known->service != 0 && known->lsn >= record->lsn;
}

bool
tv_keyring_is_newest_anchor(const TvAnchorRecord *record)
{
	TvAnchorRecord *known = anchor_of(record->service);

	return known != NULL && memcmp(known->bytes, record->bytes, TV_ANCHOR_LEN) == 0;
}

TvStatus
tv_keyring_apply_anchor(const TvAnchorRecord *record, TvError *err)
{
	TvAnchorRecord *known = anchor_of(record->service);

	if (known == NULL)
		return tv_error(err, TV_ERR_VERSION, "keyring holds an anchor of unknown service %u",
						record->service);
	if (known->service == 0 || known->lsn <= record->lsn)
		*known = *record;
	return TV_OK;
}

TvStatus
tv_keyring_set_anchor(TvKeyringService service, const uint8 *bytes, TvError *err)
{
	TvRecord	record;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_ANCHOR;
	record.u.anchor.service = service;
	memcpy(record.u.anchor.bytes, bytes, TV_ANCHOR_LEN);
	return tv_keyring_append(&record, true, err);
}

bool
tv_keyring_anchor(TvKeyringService service, uint8 bytes[TV_ANCHOR_LEN])
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvAnchorRecord *known = anchor_of(service);
	bool		found;

	LWLockAcquire(lock, LW_SHARED);
	found = known->service != 0;
	memcpy(bytes, known->bytes, TV_ANCHOR_LEN);
	LWLockRelease(lock);
	return found;
}
