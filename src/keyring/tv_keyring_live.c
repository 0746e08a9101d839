/*
 * tv_keyring_live.c
 *	  What a record says still, now that others came after it: whether the
 *	  tables have it already (replay), whether it is to be kept (compaction),
 *	  and where it is afterwards.
 *
 * Callers hold TV_LOCK_KEYRING_TABLE.
 */
#include "keyring/tv_keyring_internal.h"

#include "keyring/tv_keyring_scope.h"

/*
 * How long the first wrap of a key is kept after its master key was retired.
 * A base backup that copies only as much of the file as there was when it
 * looked, and recovers from then on, finds it there; so this is longer than
 * any base backup takes.
 */
#define OUTLIVED_AFTER (INT64CONST(7) * 86400 * 1000000)	/* microseconds */

/* --- replay: known already? ------------------------------------------------------- */

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
	TvMasterSlot *master;
	TvFileSlot *file;

	switch (record->type)
	{
		case TV_RECORD_MASTER_KEY:
			master = tv_keyring_find_master(record->u.master_key.id);
			return master != NULL && (record->u.master_key.taking_over || !master->record.taking_over);
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

/* --- compaction: to be kept? --------------------------------------------------------- */

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

/* --- the file was rewritten ------------------------------------------------------------ */

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
