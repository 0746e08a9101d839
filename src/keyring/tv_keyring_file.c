/*
 * tv_keyring_file.c
 *	  Which relation file uses which table key: the life cycle of file records.
 */
#include "keyring/tv_keyring_internal.h"

#include "access/transam.h"

#include "base/tv_shmem.h"
#include "crypto/tv_kdf.h"
#include "keyring/tv_keyring_scope.h"

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

/*
 * Should the key get a new version meanwhile, the record is written again:
 * when the old version goes, no record may depend on it.
 */
static TvStatus
append_file(TvFileRecord *file, TvAppendCheck check, TvError *err)
{
	uint8		input[TV_FILE_MAC_INPUT_MAX];
	size_t		len;
	uint16		epoch;
	TvRecord	record;
	TvStatus	status;

	file->scopes = tv_keyring_scope_number();
	len = tv_keyring_file_mac_input(file, input, sizeof(input));
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

static void
set_file(TvFileRecord *file, const RelFileNode *node, uint64 key, TvCipher cipher, uint8 flags)
{
	memset(file, 0, sizeof(*file));
	file->tablespace = node->spcNode;
	file->database = node->dbNode;
	file->relation = node->relNode;
	file->table_key = key;
	file->cipher = cipher;
	file->flags = flags;
}

TvStatus
tv_keyring_assign(const RelFileNode *node, uint64 key, TvCipher cipher, uint8 flags,
				  TvError *err)
{
	TvFileRecord file;

	set_file(&file, node, key, cipher, flags);
	return append_file(&file, NULL, err);
}

TvStatus
tv_keyring_bind(Oid database, Oid relid, uint64 key, TvError *err)
{
	RelFileNode node = {InvalidOid, database, relid};
	TvKeyringKey info;
	TvFileRecord file;

	if (!tv_keyring_key(key, 0, &info))
		return tv_error(err, TV_ERR_NO_KEY, "table key does not exist");
	set_file(&file, &node, key, info.cipher, TV_FILE_BINDING);
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
	uint8		flags = TV_FILE_BINDING;

	if (OidIsValid(node->spcNode))
		flags = (known->always_sealed && !plain ? TV_FILE_SEALED : 0) |
			(plain ? TV_FILE_PLAIN : 0) | (known->unlogged ? TV_FILE_UNLOGGED : 0);
	set_file(&file, node, known->key, known->cipher, flags);
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

TvStatus
tv_keyring_release(const RelFileNode *node, TvError *err)
{
	return append_removal(TV_RECORD_FILE_RELEASED, node, true, err);
}

/* The caller holds the table lock. */
static bool
is_of_catalog(const TvFileSlot *file)
{
	TvKeySlot  *key = tv_keyring_find_key(file->key, 0);

	return key != NULL && key->table < FirstNormalObjectId;
}

/* The next file of database after *slot that is not dropped. */
static bool
next_file(Oid database, bool catalogs, uint32 *slot, RelFileNode *node)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	bool		found = false;

	LWLockAcquire(lock, LW_SHARED);
	while (!found && *slot < tv_keyring_shared->file_top)
	{
		TvFileSlot *file = tv_keyring_file_slot(++(*slot));

		if (file && file->node.dbNode == database &&
			!(file->flags & (TV_SLOT_DROPPED | TV_FILE_BINDING)) &&
			(catalogs || !is_of_catalog(file)))
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

	while (next_file(database, true, &slot, &node))
	{
		TvStatus	status = tv_keyring_drop(&node, err);

		if (status != TV_OK)
			return status;
	}
	return tv_keyring_retire_masters(database, err);
}

bool
tv_keyring_database_in_use(Oid database)
{
	uint32		slot = 0;
	RelFileNode node;

	return next_file(database, true, &slot, &node);
}

bool
tv_keyring_next_table_file(Oid database, uint32 *slot, RelFileNode *node)
{
	return next_file(database, false, slot, node);
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
