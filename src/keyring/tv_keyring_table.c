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
