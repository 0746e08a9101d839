/*
 * tv_keyring_table.c
 *	  The keyring in shared memory: files, table keys, master keys.
 *
 * Dense arrays with chained hashes over a mapping that is reserved at server
 * start for tde_vault.max_relation_files; pages that are not reached use no
 * memory.  Every look-up is O(1).  Callers hold TV_LOCK_KEYRING_TABLE.
 */
#include "keyring/tv_keyring_internal.h"

#include "common/hashfn.h"
#include "port/pg_bitutils.h"

#include "base/tv_secret.h"
#include "base/tv_settings.h"
#include "base/tv_shmem.h"
#include "keyring/tv_keyring_scope.h"

/*
 * How long the first wrap of a key is kept after its master key was retired.
 * A base backup that copies only as much of the file as there was when it
 * looked, and recovers from then on, finds it there; so this is longer than
 * any base backup takes.
 */
#define OUTLIVED_AFTER (INT64CONST(7) * 86400 * 1000000)	/* microseconds */

static uint32 *file_heads;
static uint32 *id_heads;
static uint32 *table_heads;
static TvFileSlot *files;
static TvKeySlot *keys;
static uint32 n_buckets;

void
tv_keyring_table_init(void)
{
	Size		max = (Size) tv_setting_max_relation_files + 1;
	Size		heads;

	n_buckets = pg_nextpower2_32(tv_setting_max_relation_files);
	heads = (Size) n_buckets * sizeof(uint32);
	file_heads = tv_shmem_region("the keyring", 3 * heads, false, NULL);
	id_heads = file_heads + n_buckets;
	table_heads = id_heads + n_buckets;
	files = tv_shmem_region("the keyring", max * sizeof(TvFileSlot), false, NULL);
	keys = tv_shmem_region("the keyring", max * sizeof(TvKeySlot), false, NULL);
	tv_keyring_master_table_init();
}

/* Shared memory was made anew: start empty. The mappings live on. */
void
tv_keyring_table_reset(void)
{
	memset(file_heads, 0, 3 * (Size) n_buckets * sizeof(uint32));
	tv_keyring_master_table_reset();
}

static uint32
file_bucket(const RelFileNode *node)
{
	return hash_bytes((const unsigned char *) node, sizeof(*node)) & (n_buckets - 1);
}

static uint32
id_bucket(uint64 id)
{
	return hash_bytes((const unsigned char *) &id, sizeof(id)) & (n_buckets - 1);
}

static uint32
table_bucket(Oid database, Oid table)
{
	Oid			pair[2] = {database, table};

	return hash_bytes((const unsigned char *) pair, sizeof(pair)) & (n_buckets - 1);
}

TvFileSlot *
tv_keyring_file_slot(uint32 slot)
{
	if (slot == TV_NO_SLOT || slot > tv_keyring_shared->file_top ||
		(files[slot].flags & TV_SLOT_FREE))
		return NULL;
	return &files[slot];
}

TvKeySlot *
tv_keyring_key_slot(uint32 slot)
{
	if (slot == TV_NO_SLOT || slot > tv_keyring_shared->key_top ||
		(keys[slot].flags & TV_KEY_FREE))
		return NULL;
	return &keys[slot];
}

TvFileSlot *
tv_keyring_find_file(const RelFileNode *node)
{
	uint32		slot = file_heads[file_bucket(node)];

	while (slot != TV_NO_SLOT)
	{
		if (RelFileNodeEquals(files[slot].node, *node))
			return &files[slot];
		slot = files[slot].next;
	}
	return NULL;
}

/* epoch 0: the newest version */
TvKeySlot *
tv_keyring_find_key(uint64 id, uint16 epoch)
{
	uint32		slot = id_heads[id_bucket(id)];
	TvKeySlot  *newest = NULL;

	for (; slot != TV_NO_SLOT; slot = keys[slot].next_id)
	{
		if (keys[slot].id != id)
			continue;
		if (keys[slot].epoch == epoch)
			return &keys[slot];
		if (newest == NULL || keys[slot].epoch > newest->epoch)
			newest = &keys[slot];
	}
	return epoch == 0 ? newest : NULL;
}

TvKeySlot *
tv_keyring_next_version(uint64 id, const TvKeySlot *before)
{
	uint32		slot = before ? before->next_id : id_heads[id_bucket(id)];

	while (slot != TV_NO_SLOT && keys[slot].id != id)
		slot = keys[slot].next_id;
	return slot == TV_NO_SLOT ? NULL : &keys[slot];
}

TvKeySlot *
tv_keyring_find_table(Oid database, Oid table)
{
	uint32		slot = table_heads[table_bucket(database, table)];
	TvKeySlot  *newest = NULL;

	for (; slot != TV_NO_SLOT; slot = keys[slot].next_table)
	{
		if (keys[slot].database == database && keys[slot].table == table &&
			(newest == NULL || keys[slot].created > newest->created ||
			 (keys[slot].id == newest->id && keys[slot].epoch > newest->epoch)))
			newest = &keys[slot];
	}
	return newest;
}

static TvStatus
no_room(TvError *err)
{
	(void) tv_error(err, TV_ERR_NO_MEMORY,
					"more than %d encrypted relation files", tv_setting_max_relation_files);
	tv_error_hint(err, "Raise tde_vault.max_relation_files and restart the server.");
	return TV_ERR_NO_MEMORY;
}

static void
link_key(uint32 slot)
{
	uint32	   *head = &id_heads[id_bucket(keys[slot].id)];

	keys[slot].next_id = *head;
	*head = slot;
	head = &table_heads[table_bucket(keys[slot].database, keys[slot].table)];
	keys[slot].next_table = *head;
	*head = slot;
}

static void
unlink_key(uint32 slot)
{
	uint32	   *link = &id_heads[id_bucket(keys[slot].id)];

	while (*link != slot)
		link = &keys[*link].next_id;
	*link = keys[slot].next_id;
	link = &table_heads[table_bucket(keys[slot].database, keys[slot].table)];
	while (*link != slot)
		link = &keys[*link].next_table;
	*link = keys[slot].next_table;
}

/* A key that this process is about to append. */
static struct
{
	uint64		id;
	uint16		epoch;
	uint8		shielded[TV_KEY_LEN];
}			staged;

void
tv_keyring_stage_opened(uint64 id, uint16 epoch, const uint8 *shielded)
{
	memset(&staged, 0, sizeof(staged));
	if (shielded == NULL)
		return;
	staged.id = id;
	staged.epoch = epoch;
	memcpy(staged.shielded, shielded, TV_KEY_LEN);
}

static TvStatus
apply_table_key(const TvTableKeyRecord *record, uint64 pos, TvError *err)
{
	TvKeySlot  *key = tv_keyring_find_key(record->id, record->epoch);
	TvKeySlot  *newest;
	uint32		slot;

	if (key != NULL)
	{
		/* wrapped anew by another master key: the key itself is the same */
		tv_keyring_count_wrapped(key->master_key, -1);
		tv_keyring_count_wrapped(record->master_key, 1);
		if (key->pos == key->first_pos)
			tv_keyring_shared->n_rewrapped++;
		else
			tv_keyring_shared->n_stale_wraps++;
		key->master_key = record->master_key;
		key->pos = pos;
		return TV_OK;
	}

	slot = tv_keyring_shared->key_free;
	if (slot != TV_NO_SLOT)
		tv_keyring_shared->key_free = keys[slot].next_id;
	else if (tv_keyring_shared->key_top < (uint32) tv_setting_max_relation_files)
		slot = ++tv_keyring_shared->key_top;
	else
		return no_room(err);

	newest = tv_keyring_find_key(record->id, 0);
	key = &keys[slot];
	memset(key, 0, sizeof(*key));
	key->id = record->id;
	key->epoch = record->epoch;
	key->database = record->database;
	key->table = record->table;
	key->cipher = record->cipher;
	key->master_key = record->master_key;
	key->created = record->created;
	key->pos = pos;
	key->first_pos = pos;
	key->first_master = record->master_key;
	key->files = newest ? newest->files : 0;
	key->dropped = newest ? newest->dropped : 0;
	if (newest)
		tv_keyring_inherit_version(key, newest);
	if (staged.id == key->id && staged.epoch == key->epoch && staged.epoch != 0)
	{
		memcpy(key->shielded, staged.shielded, TV_KEY_LEN);
		key->flags |= TV_KEY_OPEN;
	}
	link_key(slot);
	tv_keyring_count_wrapped(key->master_key, 1);
	tv_keyring_shared->n_keys++;
	return TV_OK;
}

void
tv_keyring_destroy_version(TvKeySlot *key)
{
	uint32		slot = key - keys;

	unlink_key(slot);
	tv_keyring_count_wrapped(key->master_key, -1);
	tv_keyring_shared->n_stale_wraps++;
	if (key->pos != key->first_pos)
	{
		tv_keyring_shared->n_stale_wraps++;
		tv_keyring_shared->n_rewrapped--;
	}
	tv_secret_wipe(key, sizeof(*key));
	key->flags = TV_KEY_FREE;
	key->next_id = tv_keyring_shared->key_free;
	tv_keyring_shared->key_free = slot;
	tv_keyring_shared->n_keys--;
}

/* Wipe a key, all its versions. */
static void
destroy_key(uint64 id)
{
	TvKeySlot  *key;

	while ((key = tv_keyring_find_key(id, 0)) != NULL)
		tv_keyring_destroy_version(key);
}

/* Files of a key are counted at each of its versions. */
static void
count_file(uint64 id, int live, int dropped)
{
	uint32		slot;

	for (slot = id_heads[id_bucket(id)]; slot != TV_NO_SLOT; slot = keys[slot].next_id)
	{
		if (keys[slot].id == id)
		{
			keys[slot].files += live;
			keys[slot].dropped += dropped;
		}
	}
}

static void
free_file(TvFileSlot *file)
{
	uint32		slot = file - files;
	uint32	   *link = &file_heads[file_bucket(&file->node)];

	while (*link != slot)
		link = &files[*link].next;
	*link = file->next;
	if (file->flags & TV_SLOT_DROPPED)
	{
		count_file(file->key, 0, -1);
		tv_keyring_shared->n_dropped--;
	}
	else if (!(file->flags & TV_FILE_BINDING))
		count_file(file->key, -1, 0);
	memset(file, 0, sizeof(*file));
	file->flags = TV_SLOT_FREE;
	file->next = tv_keyring_shared->file_free;
	tv_keyring_shared->file_free = slot;
	tv_keyring_shared->n_files--;
}

static TvStatus
apply_file(const TvFileRecord *record, uint64 pos, TvError *err)
{
	RelFileNode node = {record->tablespace, record->database, record->relation};
	TvFileSlot *file = tv_keyring_find_file(&node);
	uint32		slot;
	uint32	   *head;

	/*
	 * A record that outlived its key says nothing any more.  Should a file be
	 * missed because of that, the pages of an encrypted relation refuse to be
	 * read as plain ones.
	 */
	tv_keyring_promise_scopes(record->scopes);
	if (tv_keyring_find_key(record->table_key, 0) == NULL)
		return TV_OK;
	if (file != NULL)
		free_file(file);

	slot = tv_keyring_shared->file_free;
	if (slot != TV_NO_SLOT)
		tv_keyring_shared->file_free = files[slot].next;
	else if (tv_keyring_shared->file_top < (uint32) tv_setting_max_relation_files)
		slot = ++tv_keyring_shared->file_top;
	else
		return no_room(err);

	file = &files[slot];
	memset(file, 0, sizeof(*file));
	file->node = node;
	file->key = record->table_key;
	file->cipher = record->cipher;
	file->flags = record->flags & TV_FILE_FLAGS;
	file->pos = pos;
	file->lsn = record->lsn;
	head = &file_heads[file_bucket(&node)];
	file->next = *head;
	*head = slot;
	tv_keyring_shared->n_files++;
	if (!(file->flags & TV_FILE_BINDING))
		count_file(file->key, 1, 0);
	return TV_OK;
}

static void
apply_removal(const TvFileRemovalRecord *record, TvRecordType type)
{
	RelFileNode node = {record->tablespace, record->database, record->relation};
	TvFileSlot *file = tv_keyring_find_file(&node);

	if (file == NULL)
		return;
	if (type == TV_RECORD_FILE_FORGOTTEN)
	{
		free_file(file);
		return;
	}
	if (file->flags & TV_SLOT_RELEASED)
	{
		/* removed after all */
		file->flags &= ~TV_SLOT_RELEASED;
		file->dropped_at = record->lsn;
		return;
	}
	if (file->flags & (TV_SLOT_DROPPED | TV_FILE_BINDING))
		return;
	count_file(file->key, -1, 1);
	file->flags |= TV_SLOT_DROPPED;
	if (type == TV_RECORD_FILE_RELEASED)
		file->flags |= TV_SLOT_RELEASED;
	file->dropped_at = record->lsn;
	tv_keyring_shared->n_dropped++;
}

static void
changed(void)
{
	if (pg_atomic_add_fetch_u32(&tv_keyring_shared->generation, 1) == 0)
		pg_atomic_fetch_add_u32(&tv_keyring_shared->generation, 1);
}

void
tv_keyring_sweep(XLogRecPtr redo, bool unused)
{
	changed();
	(void) tv_keyring_sweep_versions(redo);
	for (uint32 slot = 1; slot <= tv_keyring_shared->file_top; slot++)
	{
		TvFileSlot *file = tv_keyring_file_slot(slot);
		TvKeySlot  *key;
		uint64		id;

		if (file == NULL)
			continue;
		id = file->key;
		key = tv_keyring_find_key(id, 0);
		if (key == NULL)
			free_file(file);	/* a binding that outlived its key */
		else if ((file->flags & (TV_SLOT_DROPPED | TV_SLOT_RELEASED)) == TV_SLOT_DROPPED &&
				 file->dropped_at < redo)
		{
			free_file(file);
			if (key->files == 0 && key->dropped == 0)
				destroy_key(id);
		}
	}
	if (!unused)
		return;
	for (uint32 slot = 1; slot <= tv_keyring_shared->key_top; slot++)
	{
		TvKeySlot  *key = tv_keyring_key_slot(slot);

		if (key != NULL && key->files == 0 && key->dropped == 0)
			destroy_key(key->id);
	}
}

TvStatus
tv_keyring_apply(const TvRecord *record, uint64 pos, TvError *err)
{
	changed();
	switch (record->type)
	{
		case TV_RECORD_MASTER_KEY:
			return tv_keyring_apply_master(&record->u.master_key, err);
		case TV_RECORD_TABLE_KEY:
			return apply_table_key(&record->u.table_key, pos, err);
		case TV_RECORD_FILE:
			return apply_file(&record->u.file, pos, err);
		case TV_RECORD_FILE_DROPPED:
		case TV_RECORD_FILE_FORGOTTEN:
		case TV_RECORD_FILE_RELEASED:
			apply_removal(&record->u.removal, record->type);
			return TV_OK;
		case TV_RECORD_TABLE_KEY_FLOOR:
			tv_keyring_apply_floor(&record->u.key_floor, pos);
			return TV_OK;
		case TV_RECORD_TABLE_KEY_WORK:
			tv_keyring_apply_work(&record->u.key_work, pos);
			return TV_OK;
		case TV_RECORD_TABLE_KEY_DESTROYED:
			destroy_key(record->u.key_removal.id);
			return TV_OK;
		case TV_RECORD_MASTER_KEY_RETIRED:
			tv_keyring_apply_retired(&record->u.key_removal);
			return TV_OK;
		case TV_RECORD_NONCE_PREFIX:
			tv_keyring_apply_prefix(&record->u.nonce_prefix);
			return TV_OK;
		case TV_RECORD_SCOPE:
			return tv_keyring_apply_scope(&record->u.scope, err);
		case TV_RECORD_ANCHOR:
			return tv_keyring_apply_anchor(&record->u.anchor, err);
	}
	return tv_error(err, TV_ERR_VERSION, "keyring holds a record of unknown type %d",
					(int) record->type);
}

/*
 * WAL that is replayed over a keyring that is ahead of it (after a crash, from
 * a base backup) has records that the keyring had, and has moved on from.  They
 * must not take it back: pages that are read again are as the keyring was when
 * they were written, a moment ago.
 */
static bool
is_past_file(const TvFileSlot *file, const TvFileRecord *record)
{
	if (file == NULL || record->lsn == 0 || file->lsn < record->lsn)
		return false;
	/* removed by what is replayed, not by what the keyring knew before */
	return !(file->flags & TV_SLOT_DROPPED) || file->dropped_at > record->lsn;
}

static bool
is_past_removal(const TvFileSlot *file, const TvFileRemovalRecord *record)
{
	return file != NULL && file->lsn > record->lsn;
}

static bool
is_known_file(const TvFileRecord *record)
{
	RelFileNode node = {record->tablespace, record->database, record->relation};
	TvFileSlot *file = tv_keyring_find_file(&node);
	TvKeySlot  *version = tv_keyring_next_version(record->table_key, NULL);

	if (is_past_file(file, record))
		return true;
	/* while a key has several versions, the MAC may be under a newer one */
	if (version != NULL && tv_keyring_next_version(record->table_key, version) != NULL)
		return false;
	return file != NULL && file->key == record->table_key &&
		file->cipher == record->cipher &&
		(file->flags & ~TV_SLOT_VERIFIED) == (record->flags & TV_FILE_FLAGS);
}

/*
 * A key moves from master key to master key in the order in which those were
 * made (tv_keyring_rotate.c).  So a wrap by an older one than it has now was
 * known once.
 */
static bool
is_known_key(const TvTableKeyRecord *record)
{
	TvKeySlot  *key = tv_keyring_find_key(record->id, record->epoch);
	TvMasterSlot *now;
	TvMasterSlot *then;

	if (key == NULL)
		return false;
	now = tv_keyring_find_master(key->master_key);
	then = tv_keyring_find_master(record->master_key);
	return now == then || (now && then && tv_keyring_master_before(then, now));
}

static bool
is_known_retirement(const TvKeyRemovalRecord *record)
{
	TvMasterSlot *master = tv_keyring_find_master(record->id);

	return master == NULL ||
		(master->retired && (master->database_dropped || record->epoch != TV_RETIRED_WITH_DATABASE));
}

bool
tv_keyring_is_known(const TvRecord *record)
{
	RelFileNode node = {record->u.removal.tablespace, record->u.removal.database,
	record->u.removal.relation};
	TvFileSlot *file;

	switch (record->type)
	{
		case TV_RECORD_MASTER_KEY:
			return tv_keyring_find_master(record->u.master_key.id) != NULL;
		case TV_RECORD_TABLE_KEY:
			return is_known_key(&record->u.table_key);
		case TV_RECORD_FILE:
			return is_known_file(&record->u.file);
		case TV_RECORD_FILE_DROPPED:
			file = tv_keyring_find_file(&node);
			return file == NULL || is_past_removal(file, &record->u.removal) ||
				(file->flags & (TV_SLOT_DROPPED | TV_SLOT_RELEASED)) == TV_SLOT_DROPPED;
		case TV_RECORD_FILE_RELEASED:
			file = tv_keyring_find_file(&node);
			return file == NULL || is_past_removal(file, &record->u.removal) ||
				(file->flags & TV_SLOT_DROPPED);
		case TV_RECORD_TABLE_KEY_FLOOR:
			return tv_keyring_knows_floor(&record->u.key_floor);
		case TV_RECORD_TABLE_KEY_WORK:
			return tv_keyring_knows_work(&record->u.key_work);
		case TV_RECORD_FILE_FORGOTTEN:
			file = tv_keyring_find_file(&node);
			return file == NULL || is_past_removal(file, &record->u.removal);
		case TV_RECORD_TABLE_KEY_DESTROYED:
			return tv_keyring_find_key(record->u.key_removal.id, 0) == NULL;
		case TV_RECORD_MASTER_KEY_RETIRED:
			return is_known_retirement(&record->u.key_removal);
		case TV_RECORD_NONCE_PREFIX:
			return tv_keyring_has_prefix(&record->u.nonce_prefix);
		case TV_RECORD_SCOPE:
			return tv_keyring_knows_scope(&record->u.scope);
		case TV_RECORD_ANCHOR:
			return tv_keyring_knows_anchor(&record->u.anchor);
	}
	return false;
}

/* Its newest record can stand in the place of its first one. */
static bool
is_outlived(const TvKeySlot *key, int64 now)
{
	TvMasterSlot *master = tv_keyring_find_master(key->first_master);

	return master == NULL ||
		(master->retired && master->retired_at < now - OUTLIVED_AFTER);
}

bool
tv_keyring_has_outlived(int64 now)
{
	bool		found = false;

	if (tv_keyring_shared->n_rewrapped == 0)
		return false;
	for (uint32 slot = 1; !found && slot <= tv_keyring_shared->key_top; slot++)
	{
		TvKeySlot  *key = tv_keyring_key_slot(slot);

		found = key != NULL && key->pos != key->first_pos && is_outlived(key, now);
	}
	return found;
}

/*
 * Of a key's records the newest counts.  The first is kept as well, as files
 * that use the key come after it, until the newest can stand in its place.
 */
static bool
is_live_key(const TvTableKeyRecord *record, uint64 pos, int64 now, uint64 *instead)
{
	TvKeySlot  *key = tv_keyring_find_key(record->id, record->epoch);
	bool		outlived;

	if (key == NULL || (pos != key->pos && pos != key->first_pos))
		return false;
	if (key->pos == key->first_pos)
		return true;
	outlived = is_outlived(key, now);
	if (pos == key->pos)
		return !outlived;
	if (outlived)
		*instead = key->pos;
	return true;
}

bool
tv_keyring_is_live(const TvRecord *record, uint64 pos, int64 now, uint64 *instead)
{
	TvMasterSlot *master;
	TvFileSlot *file;
	TvKeySlot  *key;
	RelFileNode node;

	*instead = 0;
	switch (record->type)
	{
		case TV_RECORD_MASTER_KEY:
			master = tv_keyring_find_master(record->u.master_key.id);
			return master == NULL || !tv_keyring_master_is_past(master);
		case TV_RECORD_MASTER_KEY_RETIRED:
			master = tv_keyring_find_master(record->u.key_removal.id);
			return master != NULL && !tv_keyring_master_is_past(master);
		case TV_RECORD_TABLE_KEY:
			return is_live_key(&record->u.table_key, pos, now, instead);
		case TV_RECORD_FILE:
			node.spcNode = record->u.file.tablespace;
			node.dbNode = record->u.file.database;
			node.relNode = record->u.file.relation;
			file = tv_keyring_find_file(&node);
			return file != NULL && file->pos == pos;
		case TV_RECORD_TABLE_KEY_FLOOR:
			key = tv_keyring_find_key(record->u.key_floor.id, 0);
			return key != NULL && key->floor_pos == pos;
		case TV_RECORD_TABLE_KEY_WORK:
			key = tv_keyring_find_key(record->u.key_work.id, 0);
			return key != NULL && key->work_pos == pos && record->u.key_work.flags != 0;
		case TV_RECORD_FILE_DROPPED:
		case TV_RECORD_FILE_RELEASED:
			node.spcNode = record->u.removal.tablespace;
			node.dbNode = record->u.removal.database;
			node.relNode = record->u.removal.relation;
			file = tv_keyring_find_file(&node);
			return file != NULL && (file->flags & TV_SLOT_DROPPED) &&
				file->pos < pos && file->dropped_at == record->u.removal.lsn;
		case TV_RECORD_NONCE_PREFIX:
			return tv_keyring_has_prefix(&record->u.nonce_prefix);
		case TV_RECORD_SCOPE:
			return tv_keyring_scope_is_live(&record->u.scope);
		case TV_RECORD_ANCHOR:
			return tv_keyring_is_newest_anchor(&record->u.anchor);
		case TV_RECORD_FILE_FORGOTTEN:
		case TV_RECORD_TABLE_KEY_DESTROYED:
			return false;
	}
	return true;
}

void
tv_keyring_moved(const TvRecord *record, uint64 pos)
{
	RelFileNode node;
	TvFileSlot *file;
	TvKeySlot  *key;

	if (record->type == TV_RECORD_TABLE_KEY)
	{
		key = tv_keyring_find_key(record->u.table_key.id, record->u.table_key.epoch);
		if (key == NULL)
			return;
		if (!(key->flags & TV_KEY_MOVED))
		{
			key->first_pos = pos;
			key->first_master = record->u.table_key.master_key;
		}
		key->flags |= TV_KEY_MOVED;
		key->pos = pos;
	}
	else if (record->type == TV_RECORD_TABLE_KEY_FLOOR)
		tv_keyring_apply_floor(&record->u.key_floor, pos);
	else if (record->type == TV_RECORD_TABLE_KEY_WORK)
		tv_keyring_apply_work(&record->u.key_work, pos);
	else if (record->type == TV_RECORD_FILE)
	{
		node.spcNode = record->u.file.tablespace;
		node.dbNode = record->u.file.database;
		node.relNode = record->u.file.relation;
		file = tv_keyring_find_file(&node);
		if (file != NULL)
			file->pos = pos;
	}
}

void
tv_keyring_all_moved(void)
{
	tv_keyring_shared->n_rewrapped = 0;
	tv_keyring_shared->n_stale_wraps = 0;
	for (uint32 slot = 1; slot <= tv_keyring_shared->key_top; slot++)
	{
		TvKeySlot  *key = tv_keyring_key_slot(slot);

		if (key == NULL)
			continue;
		key->flags &= ~TV_KEY_MOVED;
		if (key->pos != key->first_pos)
			tv_keyring_shared->n_rewrapped++;
	}
}
