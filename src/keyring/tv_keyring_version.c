/*
 * tv_keyring_version.c
 *	  Versions of a table key: a new one, what is the oldest that pages may
 *	  have, and the end of those that nothing needs.
 *
 * A key gets a new version (epoch) when it is rotated or its cipher changes.
 * From then on pages are written under the newest one, while a worker brings
 * the others up to date; that there is work is a record of the keyring, so
 * that it goes on after a crash, on a standby that is promoted, on a restored
 * backup.  When no page is left below the newest version, the key gets a
 * floor; versions below it go when no WAL needs them.
 */
#include "keyring/tv_keyring_internal.h"

#include "base/tv_shmem.h"

/* --- tables; the caller holds the table's lock ------------------------------ */

void
tv_keyring_inherit_version(TvKeySlot *key, const TvKeySlot *newest)
{
	key->floor = newest->floor;
	key->floor_lsn = newest->floor_lsn;
	key->floor_pos = newest->floor_pos;
	key->work_pos = newest->work_pos;
	key->work_since = newest->work_since;
	key->flags |= newest->flags & TV_KEY_WORK_FLAGS;
	/* replayed after it was destroyed: that holds still */
	if (key->epoch < key->floor)
		key->superseded_at = key->floor_lsn;
}

void
tv_keyring_apply_floor(const TvKeyFloorRecord *record, uint64 pos)
{
	TvKeySlot  *key = NULL;

	while ((key = tv_keyring_next_version(record->id, key)) != NULL)
	{
		key->floor = record->epoch;
		key->floor_lsn = record->lsn;
		key->floor_pos = pos;
		if (key->epoch < record->epoch && XLogRecPtrIsInvalid(key->superseded_at))
			key->superseded_at = record->lsn;
	}
}

static uint8
work_flags(uint16 record_flags)
{
	return ((record_flags & TV_WORK_PENDING) ? TV_KEY_WORK : 0) |
		((record_flags & TV_WORK_PAUSED) ? TV_KEY_PAUSED : 0) |
		((record_flags & TV_WORK_MAY_DECRYPT) ? TV_KEY_DECRYPT : 0);
}

void
tv_keyring_apply_work(const TvKeyWorkRecord *record, uint64 pos)
{
	TvKeySlot  *key = NULL;

	while ((key = tv_keyring_next_version(record->id, key)) != NULL)
	{
		key->flags &= ~TV_KEY_WORK_FLAGS;
		key->flags |= work_flags(record->flags);
		key->work_since = record->since;
		key->work_pos = pos;
	}
}

bool
tv_keyring_knows_floor(const TvKeyFloorRecord *record)
{
	TvKeySlot  *key = tv_keyring_find_key(record->id, 0);

	/* one that is past must not take it back */
	return key == NULL || key->floor_lsn >= record->lsn;
}

bool
tv_keyring_knows_work(const TvKeyWorkRecord *record)
{
	TvKeySlot  *key = tv_keyring_find_key(record->id, 0);

	return key == NULL ||
		((key->flags & TV_KEY_WORK_FLAGS) == work_flags(record->flags) &&
		 key->work_since == record->since);
}

int
tv_keyring_sweep_versions(XLogRecPtr redo)
{
	int			destroyed = 0;

	for (uint32 slot = 1; slot <= tv_keyring_shared->key_top; slot++)
	{
		TvKeySlot  *key = tv_keyring_key_slot(slot);

		if (key == NULL || XLogRecPtrIsInvalid(key->superseded_at) ||
			key->superseded_at >= redo)
			continue;
		tv_keyring_destroy_version(key);
		destroyed++;
	}
	return destroyed;
}

/* --- records ------------------------------------------------------------------ */

TvStatus
tv_keyring_add_version(uint64 id, TvCipher cipher, uint16 *epoch, TvError *err)
{
	TvKeyringKey key;

	if (!tv_keyring_key(id, 0, &key))
		return tv_error(err, TV_ERR_NO_KEY, "table key does not exist");
	if (key.epoch >= TV_EPOCH_MAX)
	{
		(void) tv_error(err, TV_ERR_INVALID_ARGUMENT, "table key has reached its last version, %d",
						TV_EPOCH_MAX);
		tv_error_hint(err, "Rewrite the table under a key of its own: ALTER TABLE ... SET ACCESS METHOD heap, then tde_heap.");
		return TV_ERR_INVALID_ARGUMENT;
	}
	*epoch = key.epoch + 1;
	return tv_keyring_make_version(key.database, key.table, cipher, 0, key.master_key,
								   *epoch, &id, err);
}

TvStatus
tv_keyring_set_floor(uint64 id, uint16 epoch, TvError *err)
{
	TvRecord	record;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_TABLE_KEY_FLOOR;
	record.u.key_floor.id = id;
	record.u.key_floor.epoch = epoch;
	return tv_keyring_append(&record, true, err);
}

TvStatus
tv_keyring_set_work(uint64 id, uint16 flags, XLogRecPtr since, TvError *err)
{
	TvRecord	record;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_TABLE_KEY_WORK;
	record.u.key_work.id = id;
	record.u.key_work.flags = flags;
	record.u.key_work.since = since;
	return tv_keyring_append(&record, true, err);
}

bool
tv_keyring_destroy_superseded(TvError *err)
{
	LWLock	   *file_lock = tv_shmem_lock(TV_LOCK_KEYRING_FILE);
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	XLogRecPtr	redo;
	int			destroyed;
	TvStatus	status = TV_OK;

	err->status = TV_OK;
	LWLockAcquire(file_lock, LW_EXCLUSIVE);
	redo = tv_keyring_horizon();
	LWLockAcquire(lock, LW_EXCLUSIVE);
	destroyed = tv_keyring_sweep_versions(redo);
	LWLockRelease(lock);
	/* the wrapped copies go, too */
	if (destroyed > 0)
		status = tv_keyring_compact_now(err);
	LWLockRelease(file_lock);
	if (status != TV_OK)
		err->status = status;
	return destroyed > 0;
}
