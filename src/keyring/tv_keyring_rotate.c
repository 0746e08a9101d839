/*
 * tv_keyring_rotate.c
 *	  Rotation of master keys.
 *
 * Order is what makes it safe: the new master key is recorded, and durable,
 * before anything is wrapped by it; keys that are made from then on are
 * wrapped by it; a key that is wrapped anew keeps its old record until the new
 * one counts; the old master key is retired last, when it wraps nothing.  Each
 * step is a record of its own in file and WAL, so after a crash, or on a
 * standby that is promoted, there is a prefix of them.  No lock is held while
 * a provider works.
 */
#include "keyring/tv_keyring_internal.h"

#include <ctype.h>
#include <time.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/tv_secret.h"
#include "base/tv_shmem.h"
#include "keyring/tv_keyring_scope.h"

#define STEP_KEYS 32			/* wrapped anew at a time */
#define STEP_SLOTS 8192			/* looked at with the lock held */
#define FLUSH_KEYS 4096			/* wrapped anew between two syncs */
#define DATE_LEN 8				/* YYYYMMDD */
#define SUFFIX_MAX 16			/* _YYYYMMDD_NNNNN */

/* --- the new master key ------------------------------------------------------- */

/* What the keyring says before the rotation; copied out. */
typedef struct Before
{
	bool		found;
	bool		own;			/* of the database itself */
	bool		unfinished;		/* it does not wrap all that it is to */
	TvMasterKeyRecord active;
} Before;

static void
look_before(Oid database, Before *before)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvMasterSlot *slot;

	memset(before, 0, sizeof(*before));
	LWLockAcquire(lock, LW_SHARED);
	slot = tv_keyring_master_of(database);
	if (slot)
	{
		before->found = true;
		before->own = slot->record.database == database;
		before->active = slot->record;
		before->unfinished = before->own && tv_keyring_master_is_unfinished(slot);
	}
	LWLockRelease(lock);
}

/* Has the keyring a master key of that name in that provider? */
static bool
is_used(const char *key_id, const char *uri)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvMasterSlot *slot;
	bool		used = false;

	LWLockAcquire(lock, LW_SHARED);
	for (uint32 i = 0; !used && (slot = tv_keyring_master_slot(i)) != NULL; i++)
		used = strcmp(slot->record.key_id, key_id) == 0 && strcmp(slot->record.uri, uri) == 0;
	LWLockRelease(lock);
	return used;
}

/* The length of key_id without "_YYYYMMDD" or "_YYYYMMDD_N" at its end. */
static int
base_length(const char *key_id)
{
	int			len = strlen(key_id);
	int			end = len;
	int			digits = 0;

	while (end > 0 && isdigit((unsigned char) key_id[end - 1]))
		end--;
	if (len - end < DATE_LEN && len > end && end > 0 && key_id[end - 1] == '_')
		len = end - 1;
	while (digits < DATE_LEN && digits < len && isdigit((unsigned char) key_id[len - 1 - digits]))
		digits++;
	if (digits == DATE_LEN && len > DATE_LEN + 1 && key_id[len - DATE_LEN - 1] == '_')
		return len - DATE_LEN - 1;
	return strlen(key_id);
}

/* A name for the successor of old: its own with today's date. */
static void
derive_key_id(const char *old, const char *uri, char *key_id)
{
	time_t		now = time(NULL);
	struct tm	utc;
	char		date[DATE_LEN + 1];
	int			len = pg_mbcliplen(old, base_length(old), TV_KEYRING_KEY_ID_MAX - SUFFIX_MAX);

	gmtime_r(&now, &utc);
	strftime(date, sizeof(date), "%Y%m%d", &utc);
	snprintf(key_id, TV_KEYRING_KEY_ID_MAX + 1, "%.*s_%s", len, old, date);
	for (int n = 2; is_used(key_id, uri); n++)
		snprintf(key_id, TV_KEYRING_KEY_ID_MAX + 1, "%.*s_%s_%d", len, old, date, n);
}

/* Copy out the n-th master key that was made for database before the newest. */
static bool
earlier_record(Oid database, int n, TvMasterKeyRecord *record)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvMasterSlot *slot;

	LWLockAcquire(lock, LW_SHARED);
	slot = tv_keyring_active_master(database);
	while (slot && n-- > 0)
		slot = tv_keyring_earlier_master(slot);
	if (slot)
		*record = slot->record;
	LWLockRelease(lock);
	return slot != NULL;
}

/*
 * The same key under another name, or in a copy of its file, would make the
 * rotation one in name only.  Opening it again also shows that the provider
 * has kept it.
 */
static TvStatus
check_differs(const TvMasterKeyRecord *record, const TvMasterKeyRecord *active, TvError *err)
{
	TvMasterKeyRecord earlier = *active;
	TvProvider *provider;
	TvStatus	status = tv_keyring_open_master(record, &provider, err);

	if (status != TV_OK)
		return status;
	for (int n = 1; status == TV_OK; n++)
	{
		if (tv_keyring_is_same_master(provider, &earlier))
		{
			if (strcmp(record->key_id, earlier.key_id) == 0)
				status = tv_error(err, TV_ERR_KEY_EXISTS,
								  "key \"%s\" is, or was, the master key", record->key_id);
			else
				status = tv_error(err, TV_ERR_KEY_EXISTS,
								  "key \"%s\" is the same key as master key \"%s\"",
								  record->key_id, earlier.key_id);
			tv_error_hint(err, "Name a key that is not in the provider yet, and it is made; or for a key file, one with another key in it.");
		}
		if (!earlier_record(active->database, n, &earlier))
			break;
	}
	tv_provider_close(provider);
	return status;
}

/* Under both locks: it still takes the place of what was looked at. */
static TvStatus
check_successor(const TvRecord *record, const void *context, bool *skip, TvError *err)
{
	const uint64 *expected = context;
	TvMasterSlot *slot = tv_keyring_active_master(record->u.master_key.database);

	if ((slot ? slot->record.id : 0) == *expected)
		return TV_OK;
	(void) tv_error(err, TV_ERR_KEY_EXISTS, "another session has made a master key meanwhile");
	tv_error_hint(err, "Try again.");
	return TV_ERR_KEY_EXISTS;
}

static TvStatus
make_successor(Oid database, const Before *before, const char *key_id, const char *uri,
			   TvRotation *rotation, TvError *err)
{
	char		derived[TV_KEYRING_KEY_ID_MAX + 1];
	uint64		replaced = before->own ? before->active.id : 0;
	TvRecord	record;
	TvStatus	status;

	if (key_id == NULL)
	{
		derive_key_id(before->active.key_id, uri, derived);
		key_id = derived;
	}
	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_MASTER_KEY;
	record.u.master_key.database = database;
	record.u.master_key.taking_over = !before->own;
	status = tv_keyring_make_master(&record.u.master_key, key_id, uri, err);
	if (status == TV_OK)
		status = check_differs(&record.u.master_key, &before->active, err);
	if (status != TV_OK)
		return status;
	status = tv_keyring_append_if(&record, true, check_successor, &replaced, NULL, err);
	if (status != TV_OK)
		return status;
	rotation->master = record.u.master_key.id;
	strlcpy(rotation->key_id, key_id, sizeof(rotation->key_id));
	tv_keyring_tell(TV_EVENT_MASTER_CREATED, rotation->master, database, InvalidOid, NULL);
	return TV_OK;
}

static TvStatus
nothing_to_rotate(Oid database, TvError *err)
{
	(void) tv_error(err, TV_ERR_NO_KEY, "%s has no master key to rotate",
					database ? "this database" : "this cluster");
	tv_error_hint(err, "Make one: CALL tde_vault.create_master_key('key_id'%s).",
				  database ? "" : ", for_cluster => true");
	return TV_ERR_NO_KEY;
}

/* --- wrapping table keys anew --------------------------------------------------- */

/* Is it the master key that a scope names, or what took its place? */
static bool
is_of_scope(const TvMasterSlot *master)
{
	TvKeyringScope scope;

	for (uint32 i = 0; tv_keyring_scope_at_locked(i, &scope); i++)
	{
		TvMasterSlot *named = tv_keyring_find_master(scope.master_key);

		if (named != NULL && named->record.database == master->record.database)
			return true;
	}
	return false;
}

/*
 * What a key is to be wrapped by, if the rotation of the master key of database
 * is about it and it is not; else 0.  The caller holds the lock.
 *
 * It is about what an earlier master key of the database wraps, and about keys
 * of the database that another one's wraps (the cluster's, from the time before
 * the database had one), unless that was chosen for its place.  A key only ever
 * goes to a master key that was made later than the one it has; replaying WAL
 * relies on that (tv_keyring_table.c, is_known_key).
 */
static uint64
new_master_of(const TvKeySlot *key, Oid database)
{
	TvMasterSlot *now = tv_keyring_find_master(key->master_key);
	TvMasterSlot *target = tv_keyring_active_master(database);

	if (now == NULL || target == NULL || !tv_keyring_master_before(now, target))
		return 0;
	if (now->record.database != database &&
		(key->database != database || is_of_scope(now)))
		return 0;
	return target->record.id;
}

/* Copy out the next keys that are to be wrapped anew; their records lack that. */
static int
collect(TvRotation *rotation, TvTableKeyRecord *keys, int max)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	int			n = 0;

	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; n < max && i < STEP_SLOTS && rotation->slot < tv_keyring_shared->key_top; i++)
	{
		TvKeySlot  *slot = tv_keyring_key_slot(++rotation->slot);
		uint64		master = slot ? new_master_of(slot, rotation->database) : 0;

		if (master == 0)
			continue;
		memset(&keys[n], 0, sizeof(keys[n]));
		keys[n].id = slot->id;
		keys[n].epoch = slot->epoch;
		keys[n].database = slot->database;
		keys[n].table = slot->table;
		keys[n].cipher = slot->cipher;
		keys[n].created = slot->created;
		keys[n].master_key = master;
		n++;
	}
	LWLockRelease(lock);
	return n;
}

uint64
tv_keyring_rotation_left(Oid database)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	uint64		n = 0;
	uint32		slot = 0;
	bool		more = true;

	while (more)
	{
		LWLockAcquire(lock, LW_SHARED);
		for (int i = 0; i < STEP_SLOTS && (more = slot < tv_keyring_shared->key_top); i++)
		{
			TvKeySlot  *key = tv_keyring_key_slot(++slot);

			if (key && new_master_of(key, database) != 0)
				n++;
		}
		LWLockRelease(lock);
	}
	return n;
}

/* Under both locks: the key is there, and nobody has wrapped it anew. */
static TvStatus
check_still_stale(const TvRecord *record, const void *context, bool *skip, TvError *err)
{
	const Oid  *database = context;
	const TvTableKeyRecord *key = &record->u.table_key;
	TvKeySlot  *slot = tv_keyring_find_key(key->id, key->epoch);

	*skip = slot == NULL || new_master_of(slot, *database) != key->master_key;
	return TV_OK;
}

/*
 * The plaintext of a key into secret; false if there is none.  Once the old
 * provider has failed it is not asked again, as each time may take long.
 */
static bool
get_secret(TvRotation *rotation, const TvTableKeyRecord *key, uint8 *secret)
{
	TvKeyringKey info;
	TvError		failure;

	if (rotation->failure.status != TV_OK &&
		!(tv_keyring_key(key->id, key->epoch, &info) && info.open))
		return false;
	if (tv_keyring_peek_key(key->id, key->epoch, secret, &failure) == TV_OK)
		return true;
	/* its table may have been dropped meanwhile */
	if (tv_keyring_key(key->id, key->epoch, &info))
		rotation->failure = failure;
	return false;
}

static TvStatus
wrap_anew(TvRotation *rotation, const TvTableKeyRecord *key, uint8 *secret, TvError *err)
{
	TvRecord	record;
	bool		done;
	TvStatus	status;

	if (!get_secret(rotation, key, secret))
		return TV_OK;
	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_TABLE_KEY;
	record.u.table_key = *key;
	status = tv_keyring_wrap(key->master_key, &record.u.table_key, secret, err);
	if (status == TV_OK)
		status = tv_keyring_append_if(&record, false, check_still_stale, &rotation->database,
									  &done, err);
	if (status == TV_OK && done)
	{
		rotation->done++;
		rotation->in_pass++;
	}
	return status;
}

static void
report_progress(const TvRotation *rotation)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvRotationProgress *progress = &tv_keyring_shared->rotation;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (progress->pid != MyProcPid)
		progress->started = GetCurrentTimestamp();
	progress->pid = MyProcPid;
	progress->database = rotation->database;
	progress->done = rotation->done;
	progress->total = Max(rotation->total, rotation->done);
	LWLockRelease(lock);
}

/* --- the end ------------------------------------------------------------------- */

/* A master key of database that was replaced and is not retired; 0: none. */
static uint64
next_replaced(Oid database)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvMasterSlot *slot;
	uint64		id = 0;

	LWLockAcquire(lock, LW_SHARED);
	slot = tv_keyring_active_master(database);
	while (id == 0 && slot && (slot = tv_keyring_earlier_master(slot)) != NULL)
	{
		if (!slot->retired)
			id = slot->record.id;
	}
	LWLockRelease(lock);
	return id;
}

/* Under both locks: nothing is wrapped by it. */
static TvStatus
check_wraps_nothing(const TvRecord *record, const void *context, bool *skip, TvError *err)
{
	TvMasterSlot *slot = tv_keyring_find_master(record->u.key_removal.id);

	*skip = slot == NULL || slot->retired || slot->keys > 0;
	return TV_OK;
}

/* Under both locks: it has not been recorded that it has taken over. */
static TvStatus
check_taking_over(const TvRecord *record, const void *context, bool *skip, TvError *err)
{
	TvMasterSlot *slot = tv_keyring_find_master(record->u.master_key.id);

	*skip = slot == NULL || slot->retired || !slot->record.taking_over;
	return TV_OK;
}

/* Every key was looked at: if nothing is left, the first one of a database has taken over. */
static TvStatus
end_taking_over(const TvRotation *rotation, bool *ended, TvError *err)
{
	TvRecord	record;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_MASTER_KEY;
	if (!earlier_record(rotation->database, 0, &record.u.master_key) || !record.u.master_key.taking_over)
		return TV_OK;
	*ended = tv_keyring_rotation_left(rotation->database) == 0;
	if (!*ended)
		return TV_OK;
	record.u.master_key.taking_over = false;
	return tv_keyring_append_if(&record, true, check_taking_over, NULL, NULL, err);
}

/* Every key was looked at: retire what was replaced. */
static TvStatus
retire_replaced(TvRotation *rotation, TvError *err)
{
	TvRecord	record;
	bool		retired = true;
	TvStatus	status = tv_keyring_flush(err);

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_MASTER_KEY_RETIRED;
	record.u.key_removal.epoch = TV_RETIRED_ROTATED;
	record.u.key_removal.when = GetCurrentTimestamp();
	while (status == TV_OK && retired &&
		   (record.u.key_removal.id = next_replaced(rotation->database)) != 0)
		status = tv_keyring_append_if(&record, true, check_wraps_nothing, NULL, &retired, err);
	if (status == TV_OK && retired)
		status = end_taking_over(rotation, &retired, err);
	if (status != TV_OK)
		return status;
	rotation->finished = retired;
	if (retired)
		tv_keyring_tell(TV_EVENT_MASTER_ROTATED, rotation->master, rotation->database, InvalidOid, NULL);
	if (!retired && rotation->in_pass == 0)
		return tv_error(err, TV_ERR_INTERNAL, "a master key that master key \"%s\" takes the place of still wraps table keys",
						rotation->key_id);
	rotation->slot = 0;
	rotation->in_pass = 0;
	return TV_OK;
}

TvStatus
tv_keyring_rotation_begin(Oid database, const char *key_id, const char *uri,
						  TvRotation *rotation, TvError *err)
{
	Before		before;
	TvStatus	status = TV_OK;
	bool		same_name;
	bool		same_uri;

	memset(rotation, 0, sizeof(*rotation));
	rotation->database = database;
	look_before(database, &before);
	if (!before.found)
		return nothing_to_rotate(database, err);
	same_name = key_id == NULL || strcmp(key_id, before.active.key_id) == 0;
	same_uri = uri == NULL || strcmp(uri, before.active.uri) == 0;
	if (uri == NULL)
		uri = before.active.uri;
	rotation->first = !before.own;
	strlcpy(rotation->old_key_id, before.active.key_id, sizeof(rotation->old_key_id));
	/* also what the cluster's wraps that was there before its own was made */
	if (same_name && same_uri &&
		(before.unfinished || (before.own && key_id != NULL && tv_keyring_rotation_left(database) > 0)))
	{
		rotation->resumed = true;
		rotation->master = before.active.id;
		strlcpy(rotation->key_id, before.active.key_id, sizeof(rotation->key_id));
	}
	else if (key_id != NULL && before.own && same_name && same_uri)
	{
		(void) tv_error(err, TV_ERR_KEY_EXISTS, "\"%s\" is the master key already", key_id);
		tv_error_hint(err, "Give the new key a name of its own, or none.");
		return TV_ERR_KEY_EXISTS;
	}
	else
		status = make_successor(database, &before, key_id, uri, rotation, err);
	if (status != TV_OK)
		return status;
	rotation->total = tv_keyring_rotation_left(database);
	report_progress(rotation);
	return TV_OK;
}

TvStatus
tv_keyring_rotation_step(TvRotation *rotation, TvError *err)
{
	TvTableKeyRecord keys[STEP_KEYS];
	int			n = collect(rotation, keys, STEP_KEYS);
	uint64		before = rotation->done;
	uint8	   *secret = tv_secret_alloc(TV_KEY_LEN);
	TvStatus	status = TV_OK;

	if (secret == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY, "out of memory for keys");
	for (int i = 0; status == TV_OK && i < n; i++)
		status = wrap_anew(rotation, &keys[i], secret, err);
	tv_secret_free(secret);
	report_progress(rotation);
	if (status == TV_OK && before / FLUSH_KEYS != rotation->done / FLUSH_KEYS)
		status = tv_keyring_flush(err);
	if (status != TV_OK || n > 0 || rotation->slot < tv_keyring_shared->key_top)
		return status;
	if (rotation->failure.status == TV_OK)
		return retire_replaced(rotation, err);
	status = tv_keyring_flush(err);
	if (status != TV_OK)
		return status;
	*err = rotation->failure;
	return err->status;
}

void
tv_keyring_rotation_end(void)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (tv_keyring_shared->rotation.pid == MyProcPid)
		tv_keyring_shared->rotation.pid = 0;
	LWLockRelease(lock);
}

bool
tv_keyring_rotation_progress(TvRotationProgress *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);

	LWLockAcquire(lock, LW_SHARED);
	*out = tv_keyring_shared->rotation;
	LWLockRelease(lock);
	return out->pid != 0;
}
