/*
 * tv_keyring_master.c
 *	  Master keys: where they live, and wrapping table keys with them.
 *
 * Each process opens the providers it needs for itself and keeps them open;
 * PKCS#11 modules must not be shared across fork (PKCS #11 v2.40, 6.7.1).
 * No lock is held while a provider works.
 */
#include "keyring/tv_keyring_internal.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "base/tv_secret.h"
#include "base/tv_settings.h"
#include "base/tv_shmem.h"
#include "crypto/tv_kdf.h"
#include "provider/tv_provider.h"

#define OPEN_MAX 16				/* master keys open in one process */
#define OPEN_ATTEMPTS 5
#define OPEN_WAIT_USEC 20000	/* doubled before each further attempt */
#define AWAY_MSEC 1000			/* after a failure: one attempt, without waiting */

typedef struct OpenMaster
{
	uint64		id;
	TvProvider *provider;
	int			pid;
} OpenMaster;

static OpenMaster opened[OPEN_MAX];
static int	next_victim = 0;
static bool exit_registered = false;

static void
close_all(int code, Datum arg)
{
	for (int i = 0; i < OPEN_MAX; i++)
	{
		if (opened[i].provider != NULL && opened[i].pid == MyProcPid)
			tv_provider_close(opened[i].provider);
		opened[i].provider = NULL;
	}
}

static void
close_one(OpenMaster *slot)
{
	if (slot->provider != NULL && slot->pid == MyProcPid)
		tv_provider_close(slot->provider);
	slot->provider = NULL;
}

/* Is the key behind the handle the one that the keyring was made with? */
static TvStatus
check_master(const TvMasterKeyRecord *record, TvProvider *provider, TvError *err)
{
	uint8		aad[TV_WRAP_AAD_MAX];
	size_t		aadlen = tv_keyring_master_check_aad(record, aad, sizeof(aad));
	uint8	   *value = tv_secret_alloc(TV_KEY_LEN);
	char		display[TV_PROVIDER_URI_MAX];
	TvStatus	status;

	if (value == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY, "out of memory for keys");
	status = tv_provider_unwrap(provider, aad, aadlen, record->check,
								record->check_len, value, err);
	tv_secret_free(value);
	if (status != TV_ERR_AUTH)
		return status;
	tv_provider_display_uri(record->uri, display, sizeof(display));
	(void) tv_error(err, TV_ERR_AUTH,
					"master key \"%s\" is not the key that this cluster was encrypted with",
					record->key_id);
	tv_error_detail(err, "The key that provider \"%s\" holds under that name was replaced.", display);
	tv_error_hint(err, "Bring back the original key, from the backup of the HSM or of the key file.");
	return TV_ERR_AUTH;
}

/*
 * Open a provider and see that it holds the right key.  Modules that keep
 * tokens in files (SoftHSM) can miss one for a moment while another process
 * updates it, so that is tried again; a refused PIN never is.  Whoever needs the
 * key many times while its provider is away (an audit event for each key of a
 * database that is dropped) waits that long once and not each time.
 */
TvStatus
tv_keyring_open_master(const TvMasterKeyRecord *record, TvProvider **provider, TvError *err)
{
	static uint64 away = 0;		/* the last one whose provider was not there */
	static TimestampTz away_at = 0;
	int			attempts = OPEN_ATTEMPTS;
	TvStatus	status = TV_OK;

	if (record->id == away && !TimestampDifferenceExceeds(away_at, GetCurrentTimestamp(), AWAY_MSEC))
		attempts = 1;
	tv_provider_timeout_ms = tv_setting_provider_timeout;
	for (int attempt = 0; attempt < attempts; attempt++)
	{
		if (attempt > 0)
			pg_usleep(OPEN_WAIT_USEC << attempt);
		status = tv_provider_open(record->uri, record->key_id, record->salt, false, provider, err);
		if (status == TV_OK)
		{
			status = check_master(record, *provider, err);
			if (status != TV_OK)
				tv_provider_close(*provider);
		}
		if (status != TV_ERR_UNAVAILABLE && status != TV_ERR_NO_TOKEN && status != TV_ERR_INTERNAL)
		{
			away = 0;
			return status;
		}
	}
	away = record->id;
	away_at = GetCurrentTimestamp();
	return status;
}

bool
tv_keyring_is_same_master(TvProvider *provider, const TvMasterKeyRecord *record)
{
	uint8		aad[TV_WRAP_AAD_MAX];
	size_t		aadlen = tv_keyring_master_check_aad(record, aad, sizeof(aad));
	uint8	   *value = tv_secret_alloc(TV_KEY_LEN);
	bool		same;

	same = value != NULL &&
		tv_provider_unwrap(provider, aad, aadlen, record->check, record->check_len,
						   value, NULL) == TV_OK;
	tv_secret_free(value);
	return same;
}

/* The open provider of master key id, opening it if need be. */
static TvStatus
get_provider(uint64 id, TvProvider **provider, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvMasterKeyRecord record;
	TvMasterSlot *known;
	OpenMaster *slot;
	TvStatus	status;

	for (int i = 0; i < OPEN_MAX; i++)
	{
		if (opened[i].provider != NULL && opened[i].id == id && opened[i].pid == MyProcPid)
		{
			*provider = opened[i].provider;
			return TV_OK;
		}
	}

	LWLockAcquire(lock, LW_SHARED);
	known = tv_keyring_find_master(id);
	if (known)
		record = known->record;
	LWLockRelease(lock);
	if (known == NULL)
		return tv_error(err, TV_ERR_CORRUPT, "keyring does not hold master key %016" INT64_MODIFIER "x", id);

	if (!exit_registered)
	{
		/* not before_shmem_exit(): PG_ENSURE_ERROR_CLEANUP may be open there */
		on_proc_exit(close_all, (Datum) 0);
		exit_registered = true;
	}
	status = tv_keyring_open_master(&record, provider, err);
	if (status != TV_OK)
		return status;
	slot = &opened[next_victim];
	next_victim = (next_victim + 1) % OPEN_MAX;
	close_one(slot);
	slot->id = id;
	slot->provider = *provider;
	slot->pid = MyProcPid;
	return TV_OK;
}

TvStatus
tv_keyring_wrap(uint64 master, TvTableKeyRecord *record, const uint8 *key, TvError *err)
{
	TvProvider *provider;
	uint8		aad[TV_WRAP_AAD_MAX];
	size_t		aadlen = tv_keyring_table_key_aad(record, aad, sizeof(aad));
	size_t		len = sizeof(record->wrapped);
	TvStatus	status = get_provider(master, &provider, err);

	if (status != TV_OK)
	{
		tv_keyring_tell(TV_EVENT_PROVIDER_FAILED, master, record->database, record->table, err);
		return status;
	}
	status = tv_provider_wrap(provider, aad, aadlen, key, record->wrapped, &len, err);
	if (status != TV_OK)
		tv_keyring_tell(TV_EVENT_PROVIDER_FAILED, master, record->database, record->table, err);
	record->wrapped_len = (uint16_t) len;
	record->master_key = master;
	return status;
}

TvStatus
tv_keyring_unwrap(const TvTableKeyRecord *record, uint8 *key, TvError *err)
{
	TvProvider *provider;
	uint8		aad[TV_WRAP_AAD_MAX];
	size_t		aadlen = tv_keyring_table_key_aad(record, aad, sizeof(aad));
	TvStatus	status = get_provider(record->master_key, &provider, err);

	if (status != TV_OK)
	{
		tv_keyring_tell(TV_EVENT_PROVIDER_FAILED, record->master_key, record->database, record->table, err);
		return status;
	}
	status = tv_provider_unwrap(provider, aad, aadlen, record->wrapped,
								record->wrapped_len, key, err);
	if (status == TV_ERR_AUTH)
	{
		(void) tv_error(err, status, "wrapped key of table %u in database %u was changed",
						record->table, record->database);
		tv_error_detail(err, "The master key is the right one, but the key's authentication tag does not verify.");
		tv_error_hint(err, "Restore the keyring from a backup of the data directory.");
	}
	if (status != TV_OK)
		tv_keyring_tell(TV_EVENT_PROVIDER_FAILED, record->master_key, record->database, record->table, err);
	return status;
}

/* Give a master key's record its check value. */
static TvStatus
add_check(TvMasterKeyRecord *record, TvProvider *provider, TvError *err)
{
	uint8		aad[TV_WRAP_AAD_MAX];
	size_t		aadlen = tv_keyring_master_check_aad(record, aad, sizeof(aad));
	size_t		len = sizeof(record->check);
	uint8	   *value = tv_secret_alloc(TV_KEY_LEN);
	TvStatus	status;

	if (value == NULL || tv_random(value, TV_KEY_LEN) != TV_OK)
		status = tv_error(err, TV_ERR_NO_MEMORY, "out of memory for keys");
	else
		status = tv_provider_wrap(provider, aad, aadlen, value, record->check, &len, err);
	record->check_len = (uint16_t) len;
	tv_secret_free(value);
	return status;
}

static TvStatus
check_names(const char *key_id, const char *uri, TvError *err)
{
	if (strlen(key_id) == 0 || strlen(key_id) > TV_KEYRING_KEY_ID_MAX)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT,
						"key id must have 1 to %d bytes, got %zu",
						TV_KEYRING_KEY_ID_MAX, strlen(key_id));
	if (strlen(uri) > TV_KEYRING_URI_MAX)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT,
						"key provider URI is longer than %d bytes", TV_KEYRING_URI_MAX);
	return tv_provider_check_uri(uri, err);
}

TvStatus
tv_keyring_make_master(TvMasterKeyRecord *record, const char *key_id, const char *uri,
					   TvError *err)
{
	TvProvider *provider;
	TvStatus	status = check_names(key_id, uri, err);

	if (status != TV_OK)
		return status;
	strlcpy(record->key_id, key_id, sizeof(record->key_id));
	strlcpy(record->uri, uri, sizeof(record->uri));
	if (tv_random((uint8 *) &record->id, sizeof(record->id)) != TV_OK ||
		tv_random(record->salt, sizeof(record->salt)) != TV_OK)
		return tv_error(err, TV_ERR_INTERNAL, "could not get random bytes");
	record->created = GetCurrentTimestamp();
	tv_provider_timeout_ms = tv_setting_provider_timeout;
	status = tv_provider_open(record->uri, record->key_id, record->salt, true, &provider, err);
	if (status != TV_OK)
		return status;
	status = add_check(record, provider, err);
	tv_provider_close(provider);
	return status;
}

/* Under both locks: nobody else has made one meanwhile. */
static TvStatus
check_has_none(const TvRecord *record, const void *context, bool *skip, TvError *err)
{
	Oid			database = record->u.master_key.database;

	if (tv_keyring_active_master(database) == NULL)
		return TV_OK;
	(void) tv_error(err, TV_ERR_KEY_EXISTS, "%s has a master key already",
					database ? "this database" : "this cluster");
	tv_error_hint(err, "To replace it: CALL tde_vault.rotate_master_key(%s).",
				  database ? "" : "for_cluster => true");
	return TV_ERR_KEY_EXISTS;
}

TvStatus
tv_keyring_create_master(Oid database, const char *key_id, const char *uri, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvRecord	record;
	bool		skip;
	TvStatus	status;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_MASTER_KEY;
	record.u.master_key.database = database;
	LWLockAcquire(lock, LW_SHARED);
	status = check_has_none(&record, NULL, &skip, err);
	LWLockRelease(lock);
	if (status == TV_OK)
		status = tv_keyring_make_master(&record.u.master_key, key_id, uri, err);
	if (status != TV_OK)
		return status;
	status = tv_keyring_append_if(&record, true, check_has_none, NULL, NULL, err);
	if (status == TV_OK)
		tv_keyring_tell(TV_EVENT_MASTER_CREATED, record.u.master_key.id, database, InvalidOid, NULL);
	return status;
}

static void
copy_master(const TvMasterSlot *slot, TvKeyringMaster *out)
{
	TvMasterSlot *active = tv_keyring_active_master(slot->record.database);

	out->id = slot->record.id;
	out->database = slot->record.database;
	out->created = slot->record.created;
	out->retired_at = slot->retired_at;
	out->keys = slot->keys;
	out->state = slot->retired ? TV_MASTER_RETIRED :
		slot == active ? TV_MASTER_ACTIVE : TV_MASTER_ROTATING;
	out->past = tv_keyring_master_is_past(slot);
	out->unfinished = tv_keyring_master_is_unfinished(slot);
	strlcpy(out->key_id, slot->record.key_id, sizeof(out->key_id));
	strlcpy(out->uri, slot->record.uri, sizeof(out->uri));
}

bool
tv_keyring_master_at(uint32 i, TvKeyringMaster *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvMasterSlot *slot;

	LWLockAcquire(lock, LW_SHARED);
	slot = tv_keyring_master_slot(i);
	if (slot)
		copy_master(slot, out);
	LWLockRelease(lock);
	return slot != NULL;
}

bool
tv_keyring_master_for(Oid database, TvKeyringMaster *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvMasterSlot *slot;

	LWLockAcquire(lock, LW_SHARED);
	slot = tv_keyring_master_of(database);
	if (slot)
		copy_master(slot, out);
	LWLockRelease(lock);
	return slot != NULL;
}

/* A master key of database that is not known to go with it; 0: none. */
static uint64
next_to_retire(Oid database)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvMasterSlot *slot;
	uint64		id = 0;

	LWLockAcquire(lock, LW_SHARED);
	for (uint32 i = 0; id == 0 && (slot = tv_keyring_master_slot(i)) != NULL; i++)
	{
		if (slot->record.database == database && !slot->database_dropped)
			id = slot->record.id;
	}
	LWLockRelease(lock);
	return id;
}

TvStatus
tv_keyring_retire_masters(Oid database, TvError *err)
{
	TvRecord	record;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_MASTER_KEY_RETIRED;
	record.u.key_removal.epoch = TV_RETIRED_WITH_DATABASE;
	record.u.key_removal.when = GetCurrentTimestamp();
	while ((record.u.key_removal.id = next_to_retire(database)) != 0)
	{
		TvStatus	status = tv_keyring_append(&record, false, err);

		if (status != TV_OK)
			return status;
	}
	return TV_OK;
}
