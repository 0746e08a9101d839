/*
 * tv_keyring.c
 *	  Table keys (TEK): made, wrapped, opened, looked up.
 */
#include "keyring/tv_keyring_internal.h"

#include "utils/timestamp.h"

#include "base/tv_hot.h"
#include "base/tv_secret.h"
#include "base/tv_shmem.h"
#include "crypto/tv_kdf.h"
#include "keyring/tv_keyring_scope.h"

TvKeyringShared *tv_keyring_shared = NULL;
TV_HOT_DATA pg_atomic_uint32 *tv_keyring_moves = NULL;

static void
init_shared(void *memory)
{
	tv_keyring_shared = memory;
	pg_atomic_init_u64(&tv_keyring_shared->appended, 0);
	pg_atomic_init_u64(&tv_keyring_shared->flushed, 0);
	pg_atomic_init_u32(&tv_keyring_shared->generation, 1);
	tv_keyring_moves = &tv_keyring_shared->generation;
	tv_keyring_shield_reset();
	tv_keyring_table_reset();
	tv_keyring_load();
}

void
tv_keyring_init(void)
{
	static const TvShmemArea area = {
		"tde_vault keyring", sizeof(TvKeyringShared), init_shared
	};

	tv_keyring_shield_init();
	tv_keyring_table_init();
	tv_keyring_scope_init();	/* first: loading fills it */
	tv_shmem_add(&area);
}

void
tv_keyring_counts(uint32 *files, uint32 *keys, uint32 *masters)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);

	LWLockAcquire(lock, LW_SHARED);
	*files = tv_keyring_shared->n_files;
	*keys = tv_keyring_shared->n_keys;
	*masters = tv_keyring_shared->n_masters;
	LWLockRelease(lock);
}

static void
copy_key(const TvKeySlot *key, TvKeyringKey *out)
{
	out->id = key->id;
	out->epoch = key->epoch;
	out->database = key->database;
	out->table = key->table;
	out->cipher = (TvCipher) key->cipher;
	out->master_key = key->master_key;
	out->created = key->created;
	out->open = (key->flags & TV_KEY_OPEN) != 0;
	out->files = key->files;
	out->floor = key->floor;
	out->floor_lsn = key->floor_lsn;
	out->work = (key->flags & TV_KEY_WORK) != 0;
	out->paused = (key->flags & TV_KEY_PAUSED) != 0;
	out->work_since = key->work_since;
	out->may_decrypt = (key->flags & TV_KEY_DECRYPT) != 0;
	out->work_flags = (out->work ? TV_WORK_PENDING : 0) | (out->paused ? TV_WORK_PAUSED : 0) |
		(out->may_decrypt ? TV_WORK_MAY_DECRYPT : 0);
	out->superseded_at = key->superseded_at;
	out->superseded = !XLogRecPtrIsInvalid(key->superseded_at);
}

bool
tv_keyring_key(uint64 id, uint16 epoch, TvKeyringKey *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvKeySlot  *key;

	LWLockAcquire(lock, LW_SHARED);
	key = tv_keyring_find_key(id, epoch);
	if (key)
		copy_key(key, out);
	LWLockRelease(lock);
	return key != NULL;
}

bool
tv_keyring_next_key(uint32 *slot, TvKeyringKey *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvKeySlot  *key = NULL;

	LWLockAcquire(lock, LW_SHARED);
	while (key == NULL && *slot < tv_keyring_shared->key_top)
		key = tv_keyring_key_slot(++(*slot));
	if (key)
		copy_key(key, out);
	LWLockRelease(lock);
	return key != NULL;
}

/* Keep an opened key, shielded, for every process. */
static TvStatus
publish_key(uint64 id, uint16 epoch, const uint8 *key, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	uint8		shielded[TV_KEY_LEN];
	TvKeySlot  *slot;
	TvStatus	status;

	status = tv_keyring_shield(id, epoch, key, shielded);
	if (status != TV_OK)
		return tv_error(err, status, "could not shield a table key");
	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = tv_keyring_find_key(id, epoch);
	if (slot)
	{
		memcpy(slot->shielded, shielded, sizeof(shielded));
		slot->flags |= TV_KEY_OPEN;
	}
	LWLockRelease(lock);
	return TV_OK;
}

/* Is it the record that the tables were filled from? */
static bool
is_record_of(const TvRecord *record, const TvKeySlot *slot)
{
	const TvTableKeyRecord *key = &record->u.table_key;

	return record->type == TV_RECORD_TABLE_KEY && key->id == slot->id &&
		key->epoch == slot->epoch && key->database == slot->database &&
		key->table == slot->table && key->cipher == slot->cipher &&
		key->master_key == slot->master_key;
}

/* Read a key's record and have its provider unwrap it. */
static TvStatus
unwrap_key(uint64 id, uint16 epoch, uint8 *key, TvError *err)
{
	LWLock	   *file_lock = tv_shmem_lock(TV_LOCK_KEYRING_FILE);
	LWLock	   *table_lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvKeySlot  *slot;
	TvKeySlot	known = {0};
	TvRecord	record;
	TvStatus	status;

	LWLockAcquire(file_lock, LW_SHARED);
	LWLockAcquire(table_lock, LW_SHARED);
	slot = tv_keyring_find_key(id, epoch);
	if (slot)
		known = *slot;
	LWLockRelease(table_lock);
	status = slot ? tv_keyring_read_at(known.pos, &record, err) :
		tv_error(err, TV_ERR_NO_KEY, "keyring does not hold version %u of table key %016" INT64_MODIFIER "x",
				 epoch, id);
	LWLockRelease(file_lock);
	if (status != TV_OK)
		return status;
	if (!is_record_of(&record, &known))
		return tv_error(err, TV_ERR_CORRUPT, "keyring was changed while the server runs");
	return tv_keyring_unwrap(&record.u.table_key, key, err);
}

/* The key as it is shared, shielded; false if nobody opened it yet. */
static bool
copy_shielded(uint64 id, uint16 epoch, uint8 *shielded)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvKeySlot  *slot;
	bool		is_open;

	LWLockAcquire(lock, LW_SHARED);
	slot = tv_keyring_find_key(id, epoch);
	is_open = slot && (slot->flags & TV_KEY_OPEN);
	if (is_open)
		memcpy(shielded, slot->shielded, TV_KEY_LEN);
	LWLockRelease(lock);
	return is_open;
}

TvStatus
tv_keyring_peek_key(uint64 id, uint16 epoch, uint8 *key, TvError *err)
{
	uint8		shielded[TV_KEY_LEN];
	TvStatus	status;

	if (copy_shielded(id, epoch, shielded))
		return tv_keyring_shield(id, epoch, shielded, key);
	status = unwrap_key(id, epoch, key, err);

	/* a provider that many ask at once may fail some: one success will do */
	if (status != TV_OK && copy_shielded(id, epoch, shielded))
		status = tv_keyring_shield(id, epoch, shielded, key);
	return status;
}

TvStatus
tv_keyring_open_key(uint64 id, uint16 epoch, uint8 *key, TvError *err)
{
	TvKeyringKey info;
	TvStatus	status = tv_keyring_peek_key(id, epoch, key, err);

	if (status == TV_OK && tv_keyring_key(id, epoch, &info) && !info.open)
		status = publish_key(id, epoch, key, err);
	return status;
}

static TvStatus
no_master_key(TvError *err)
{
	(void) tv_error(err, TV_ERR_NO_KEY, "there is no master key to encrypt with");
	tv_error_hint(err, "Set tde_vault.key_provider, then make a master key: CALL tde_vault.create_master_key('key_id').");
	return TV_ERR_NO_KEY;
}

/*
 * What wraps a new key.  preferred, or what took its place, if that is not 0;
 * else the master key of its database, or the cluster's; else fallback, or
 * what took its place.  The caller holds the table lock.
 */
static TvMasterSlot *
choose_master(Oid database, uint64 preferred, uint64 fallback)
{
	TvMasterSlot *named = tv_keyring_find_master(preferred);
	TvMasterSlot *chosen = NULL;

	if (named)
		chosen = tv_keyring_active_master(named->record.database);
	if (chosen == NULL)
		chosen = tv_keyring_master_of(database);
	named = chosen ? NULL : tv_keyring_find_master(fallback);
	return named ? tv_keyring_active_master(named->record.database) : chosen;
}

typedef struct Choice
{
	uint64		preferred;
	uint64		fallback;
} Choice;

/* Under both locks: what wraps the key has not been replaced meanwhile. */
static TvStatus
check_choice(const TvRecord *record, const void *context, bool *skip, TvError *err)
{
	const Choice *choice = context;
	const TvTableKeyRecord *key = &record->u.table_key;
	TvMasterSlot *chosen = choose_master(key->database, choice->preferred, choice->fallback);

	*skip = chosen == NULL || chosen->record.id != key->master_key;
	return TV_OK;
}

/*
 * Wrap a new key, or a new version of one, and record it.  It is wrapped by
 * master key preferred, if that is not 0; else by that of its database, or the
 * cluster's; else by fallback.  If one of those two was rotated, what took its
 * place is meant.
 */
static TvStatus
store_key(TvTableKeyRecord *key, const uint8 *secret, uint64 preferred,
		  uint64 fallback, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	Choice		choice = {preferred, fallback};
	TvRecord	record;
	bool		stored = false;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_TABLE_KEY;
	while (!stored)
	{
		TvMasterSlot *chosen;
		uint64		master = 0;
		TvStatus	status;

		LWLockAcquire(lock, LW_SHARED);
		chosen = choose_master(key->database, preferred, fallback);
		if (chosen)
			master = chosen->record.id;
		LWLockRelease(lock);
		if (chosen == NULL)
			return no_master_key(err);
		status = tv_keyring_wrap(master, key, secret, err);
		record.u.table_key = *key;
		if (status == TV_OK)
			status = tv_keyring_append_if(&record, false, check_choice, &choice, &stored, err);
		if (status != TV_OK)
			return status;
	}
	return TV_OK;
}

TvStatus
tv_keyring_make_version(Oid database, Oid table, TvCipher cipher, uint64 preferred,
						uint64 fallback, uint16 epoch, uint64 *id, TvError *err)
{
	TvTableKeyRecord record;
	uint8		shielded[TV_KEY_LEN];
	uint8	   *key;
	TvStatus	status;

	memset(&record, 0, sizeof(record));
	record.id = *id;
	record.epoch = epoch;
	record.database = database;
	record.table = table;
	record.cipher = cipher;
	record.created = GetCurrentTimestamp();

	key = tv_secret_alloc(TV_KEY_LEN);
	if (key == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY, "out of memory for keys");
	if (tv_random(key, TV_KEY_LEN) != TV_OK ||
		(*id == 0 && tv_random((uint8 *) &record.id, sizeof(uint64)) != TV_OK))
		status = tv_error(err, TV_ERR_INTERNAL, "could not get random bytes");
	else
		status = tv_keyring_shield(record.id, epoch, key, shielded) == TV_OK ? TV_OK :
			tv_error(err, TV_ERR_INTERNAL, "could not shield a table key");

	/*
	 * Whoever sees the new version may need it at once, in a critical section:
	 * it is open from the start.
	 */
	if (status == TV_OK)
	{
		tv_keyring_stage_opened(record.id, epoch, shielded);
		status = store_key(&record, key, preferred, fallback, err);
		tv_keyring_stage_opened(0, 0, NULL);
	}
	tv_secret_free(key);
	*id = record.id;
	if (status == TV_OK)
		tv_keyring_tell(TV_EVENT_KEY_CREATED, *id, database, table, NULL);
	return status;
}

static TvStatus
key_for_table(Oid database, Oid table, TvCipher cipher, uint64 preferred, uint64 fallback,
			  uint64 *key, TvCipher *key_cipher, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvKeySlot  *slot;

	LWLockAcquire(lock, LW_SHARED);
	slot = tv_keyring_find_table(database, table);
	if (slot && slot->files > 0)
	{
		*key = slot->id;
		*key_cipher = (TvCipher) slot->cipher;
	}
	else
		slot = NULL;
	LWLockRelease(lock);
	if (slot)
		return TV_OK;
	*key_cipher = cipher;
	*key = 0;
	return tv_keyring_make_version(database, table, cipher, preferred, fallback, 1, key, err);
}

TvStatus
tv_keyring_key_for_table(Oid database, Oid table, TvCipher cipher, uint64 fallback,
						 uint64 *key, TvCipher *key_cipher, TvError *err)
{
	return key_for_table(database, table, cipher, 0, fallback, key, key_cipher, err);
}

TvStatus
tv_keyring_key_in_scope(Oid database, Oid table, const TvKeyringScope *scope,
						uint64 *key, TvCipher *key_cipher, TvError *err)
{
	return key_for_table(database, table, scope->cipher, scope->master_key, 0, key, key_cipher, err);
}

uint16
tv_keyring_newest_epoch(uint64 id)
{
	TvKeyringKey key;

	return tv_keyring_key(id, 0, &key) ? key.epoch : 0;
}
