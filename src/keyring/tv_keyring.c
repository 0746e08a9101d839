/*
 * tv_keyring.c
 *	  Table keys (TEK) and which relation file uses which: the life cycle.
 */
#include "keyring/tv_keyring_internal.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "utils/timestamp.h"

#include "base/tv_secret.h"
#include "base/tv_shmem.h"
#include "crypto/tv_kdf.h"
#include "keyring/tv_keyring_scope.h"

TvKeyringShared *tv_keyring_shared = NULL;

static void
init_shared(void *memory)
{
	tv_keyring_shared = memory;
	pg_atomic_init_u64(&tv_keyring_shared->appended, 0);
	pg_atomic_init_u64(&tv_keyring_shared->flushed, 0);
	pg_atomic_init_u32(&tv_keyring_shared->generation, 1);
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

uint32
tv_keyring_generation(void)
{
	return pg_atomic_read_u32(&tv_keyring_shared->generation);
}

/* The caller holds the table lock. */
static bool
copy_file(const TvFileSlot *file, TvKeyringFile *out)
{
	TvKeySlot  *key = file ? tv_keyring_find_key(file->key, 0) : NULL;

	if (key == NULL)
		return false;
	out->key = file->key;
	out->unlogged = (file->flags & TV_FILE_UNLOGGED) != 0;
	out->cipher = out->unlogged ? TV_CIPHER_AES_256_XTS : (TvCipher) key->cipher;
	out->epoch = key->epoch;
	out->plain = (file->flags & TV_FILE_PLAIN) != 0;
	out->floor = out->plain ? 0 : Max(key->floor, (file->flags & TV_FILE_SEALED) ? 1 : 0);
	out->floor_lsn = key->floor_lsn;
	out->sealed = out->floor > 0;
	out->always_sealed = (file->flags & TV_FILE_SEALED) != 0;
	out->dropped = (file->flags & TV_SLOT_DROPPED) != 0;
	out->released = (file->flags & TV_SLOT_RELEASED) != 0;
	return true;
}

bool
tv_keyring_lookup(const RelFileNode *node, TvKeyringFile *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	bool		found;

	LWLockAcquire(lock, LW_SHARED);
	found = copy_file(tv_keyring_find_file(node), out);
	LWLockRelease(lock);
	return found;
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

TvStatus
tv_keyring_store_key(TvTableKeyRecord *key, const uint8 *secret, uint64 preferred,
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
		status = tv_keyring_store_key(&record, key, preferred, fallback, err);
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

/*
 * Should the key get a new version meanwhile, the record is written again:
 * when the old version goes, no record may depend on it.
 */
static TvStatus
append_file(TvFileRecord *file, TvAppendCheck check, TvError *err)
{
	uint8		input[TV_FILE_MAC_INPUT_MAX];
	size_t		len = tv_keyring_file_mac_input(file, input, sizeof(input));
	uint16		epoch;
	TvRecord	record;
	TvStatus	status;

	do
	{
		epoch = tv_keyring_newest_epoch(file->table_key);
		status = tv_keyring_mac(file->table_key, epoch, input, len, file->mac, err);
		if (status != TV_OK)
			return status;
		memset(&record, 0, sizeof(record));
		record.type = TV_RECORD_FILE;
		record.u.file = *file;
		status = tv_keyring_append_if(&record, false, check, NULL, NULL, err);
	} while (status == TV_OK && epoch != tv_keyring_newest_epoch(file->table_key));
	return status;
}

TvStatus
tv_keyring_assign(const RelFileNode *node, uint64 key, TvCipher cipher, uint8 flags,
				  TvError *err)
{
	TvFileRecord file;

	memset(&file, 0, sizeof(file));
	file.tablespace = node->spcNode;
	file.database = node->dbNode;
	file.relation = node->relNode;
	file.table_key = key;
	file.cipher = cipher;
	file.flags = flags;
	return append_file(&file, NULL, err);
}

TvStatus
tv_keyring_bind(Oid database, Oid relid, uint64 key, TvError *err)
{
	TvKeyringKey info;
	TvFileRecord file;

	if (!tv_keyring_key(key, 0, &info))
		return tv_error(err, TV_ERR_NO_KEY, "table key does not exist");
	memset(&file, 0, sizeof(file));
	file.database = database;
	file.relation = relid;
	file.table_key = key;
	file.cipher = info.cipher;
	file.flags = TV_FILE_BINDING;
	return append_file(&file, NULL, err);
}

bool
tv_keyring_binding(Oid database, Oid relid, TvKeyringFile *out)
{
	RelFileNode node = {InvalidOid, database, relid};

	return tv_keyring_lookup(&node, out);
}

/* The next binding of database from after *slot; its key's copy in to, or 0. */
static bool
next_binding(Oid from, Oid to, uint32 *slot, Oid *relid, uint64 *key)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	bool		found = false;

	LWLockAcquire(lock, LW_SHARED);
	while (!found && *slot < tv_keyring_shared->file_top)
	{
		TvFileSlot *file = tv_keyring_file_slot(++(*slot));
		TvKeySlot  *source;
		TvKeySlot  *copy;

		if (file == NULL || file->node.dbNode != from || !(file->flags & TV_FILE_BINDING))
			continue;
		source = tv_keyring_find_key(file->key, 0);
		copy = source ? tv_keyring_find_table(to, source->table) : NULL;
		found = true;
		*relid = file->node.relNode;
		*key = copy ? copy->id : 0;
	}
	LWLockRelease(lock);
	return found;
}

TvStatus
tv_keyring_copy_bindings(Oid from, Oid to, TvError *err)
{
	uint32		slot = 0;
	Oid			relid;
	uint64		key;

	while (next_binding(from, to, &slot, &relid, &key))
	{
		TvStatus	status = key ? tv_keyring_bind(to, relid, key, err) : TV_OK;

		if (status != TV_OK)
			return status;
	}
	return TV_OK;
}

bool
tv_keyring_next_file(uint64 id, uint32 *slot, RelFileNode *node, TvKeyringFile *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	bool		found = false;

	LWLockAcquire(lock, LW_SHARED);
	while (!found && *slot < tv_keyring_shared->file_top)
	{
		TvFileSlot *file = tv_keyring_file_slot(++(*slot));

		if (file == NULL || file->key != id || (file->flags & TV_SLOT_DROPPED))
			continue;
		found = copy_file(file, out);
		*node = file->node;
	}
	LWLockRelease(lock);
	return found;
}

/* A file that was removed meanwhile, or has another key, stays as it is. */
static TvStatus
check_still_there(const TvRecord *record, const void *context, bool *skip, TvError *err)
{
	const TvFileRecord *file = &record->u.file;
	RelFileNode node = {file->tablespace, file->database, file->relation};
	TvFileSlot *slot = tv_keyring_find_file(&node);

	*skip = slot == NULL || slot->key != file->table_key || (slot->flags & TV_SLOT_DROPPED);
	return TV_OK;
}

TvStatus
tv_keyring_reassign(const RelFileNode *node, const TvKeyringFile *known, bool plain,
					TvError *err)
{
	TvFileRecord file;

	memset(&file, 0, sizeof(file));
	file.tablespace = node->spcNode;
	file.database = node->dbNode;
	file.relation = node->relNode;
	file.table_key = known->key;
	file.cipher = known->cipher;
	if (!OidIsValid(node->spcNode))
		file.flags = TV_FILE_BINDING;
	else
		file.flags = (known->sealed && !plain ? TV_FILE_SEALED : 0) |
			(plain ? TV_FILE_PLAIN : 0) | (known->unlogged ? TV_FILE_UNLOGGED : 0);
	return append_file(&file, check_still_there, err);
}

TvStatus
tv_keyring_renew_files(uint64 id, TvError *err)
{
	uint32		slot = 0;
	RelFileNode node;
	TvKeyringFile known;

	while (tv_keyring_next_file(id, &slot, &node, &known))
	{
		TvStatus	status = tv_keyring_reassign(&node, &known, known.plain, err);

		if (status != TV_OK)
			return status;
	}
	return TV_OK;
}

static TvStatus
append_removal(TvRecordType type, const RelFileNode *node, bool sync, TvError *err)
{
	TvRecord	record;

	memset(&record, 0, sizeof(record));
	record.type = type;
	record.u.removal.tablespace = node->spcNode;
	record.u.removal.database = node->dbNode;
	record.u.removal.relation = node->relNode;
	record.u.removal.lsn = RecoveryInProgress() ? GetXLogReplayRecPtr(NULL) : GetXLogInsertRecPtr();
	return tv_keyring_append(&record, sync, err);
}

TvStatus
tv_keyring_drop(const RelFileNode *node, TvError *err)
{
	TvKeyringFile file;
	TvKeyringKey key;
	bool		known = tv_keyring_lookup(node, &file) && !file.dropped;
	TvStatus	status = append_removal(TV_RECORD_FILE_DROPPED, node, false, err);

	if (status == TV_OK && known && tv_keyring_key(file.key, 0, &key) && key.files == 0)
		tv_keyring_tell(TV_EVENT_KEY_DROPPED, key.id, key.database, key.table, NULL);
	return status;
}

TvStatus
tv_keyring_forget(const RelFileNode *node, TvError *err)
{
	return append_removal(TV_RECORD_FILE_FORGOTTEN, node, true, err);
}

/* The next file of database after *slot that is not dropped. */
static bool
next_file(Oid database, uint32 *slot, RelFileNode *node)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	bool		found = false;

	LWLockAcquire(lock, LW_SHARED);
	while (!found && *slot < tv_keyring_shared->file_top)
	{
		TvFileSlot *file = tv_keyring_file_slot(++(*slot));

		if (file && file->node.dbNode == database &&
			!(file->flags & (TV_SLOT_DROPPED | TV_FILE_BINDING)))
		{
			*node = file->node;
			found = true;
		}
	}
	LWLockRelease(lock);
	return found;
}

TvStatus
tv_keyring_drop_database(Oid database, TvError *err)
{
	uint32		slot = 0;
	RelFileNode node;

	while (next_file(database, &slot, &node))
	{
		TvStatus	status = tv_keyring_drop(&node, err);

		if (status != TV_OK)
			return status;
	}
	return tv_keyring_retire_masters(database, err);
}

/* The caller holds the table lock. */
static bool
is_of_catalog(const TvFileSlot *file)
{
	TvKeySlot  *key = tv_keyring_find_key(file->key, 0);

	return key != NULL && key->table < FirstNormalObjectId;
}

static bool
database_holds(Oid database, bool catalogs)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	bool		found = false;

	LWLockAcquire(lock, LW_SHARED);
	for (uint32 slot = 1; !found && slot <= tv_keyring_shared->file_top; slot++)
	{
		TvFileSlot *file = tv_keyring_file_slot(slot);

		found = file && file->node.dbNode == database &&
			!(file->flags & (TV_SLOT_DROPPED | TV_FILE_BINDING)) &&
			(catalogs || !is_of_catalog(file));
	}
	LWLockRelease(lock);
	return found;
}

bool
tv_keyring_database_in_use(Oid database)
{
	return database_holds(database, true);
}

bool
tv_keyring_database_holds_tables(Oid database)
{
	return database_holds(database, false);
}

/* The record of node as the file holds it. */
static TvStatus
read_file_record(const RelFileNode *node, TvRecord *record, TvError *err)
{
	LWLock	   *file_lock = tv_shmem_lock(TV_LOCK_KEYRING_FILE);
	LWLock	   *table_lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvFileSlot *file;
	uint64		pos = 0;
	TvStatus	status = TV_OK;

	LWLockAcquire(file_lock, LW_SHARED);
	LWLockAcquire(table_lock, LW_SHARED);
	file = tv_keyring_find_file(node);
	if (file && !(file->flags & (TV_SLOT_VERIFIED | TV_SLOT_DROPPED)))
		pos = file->pos;
	LWLockRelease(table_lock);
	if (pos)
		status = tv_keyring_read_at(pos, record, err);
	LWLockRelease(file_lock);
	if (pos == 0)
		record->type = 0;
	return status;
}

/*
 * The MAC of input under the version of the key that gives the one wanted, or
 * under the newest.
 */
static TvStatus
find_mac(uint64 id, const uint8 *input, size_t len, const uint8 *wanted, uint8 *mac,
		 TvError *err)
{
	TvStatus	status;

	for (uint16 epoch = tv_keyring_newest_epoch(id); epoch > 1; epoch--)
	{
		TvKeyringKey key;

		if (!tv_keyring_key(id, epoch, &key))
			continue;
		status = tv_keyring_mac(id, epoch, input, len, mac, err);
		if (status != TV_OK || tv_equal_secret(mac, wanted, TV_MAC_LEN))
			return status;
	}
	if (tv_keyring_newest_epoch(id) > 1 && !tv_keyring_key(id, 1, &(TvKeyringKey) {0}))
		return TV_OK;
	return tv_keyring_mac(id, 1, input, len, mac, err);
}

TvStatus
tv_keyring_verify_file(const RelFileNode *node, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvRecord	record;
	uint8		input[TV_FILE_MAC_INPUT_MAX];
	uint8		mac[TV_MAC_LEN];
	size_t		len;
	TvFileSlot *file;
	TvStatus	status = read_file_record(node, &record, err);

	if (status != TV_OK || record.type == 0)
		return status;
	len = tv_keyring_file_mac_input(&record.u.file, input, sizeof(input));
	status = find_mac(record.u.file.table_key, input, len, record.u.file.mac, mac, err);
	if (status != TV_OK)
		return status;
	if (record.type != TV_RECORD_FILE ||
		record.u.file.tablespace != node->spcNode ||
		record.u.file.database != node->dbNode ||
		record.u.file.relation != node->relNode ||
		!tv_equal_secret(mac, record.u.file.mac, TV_MAC_LEN))
	{
		(void) tv_error(err, TV_ERR_AUTH, "keyring record of file %u/%u/%u was forged",
						node->spcNode, node->dbNode, node->relNode);
		tv_error_hint(err, "Restore the keyring from a backup of the data directory.");
		return TV_ERR_AUTH;
	}
	LWLockAcquire(lock, LW_EXCLUSIVE);
	file = tv_keyring_find_file(node);
	if (file && file->key == record.u.file.table_key)
		file->flags |= TV_SLOT_VERIFIED;
	LWLockRelease(lock);
	return TV_OK;
}
