/*
 * tv_keyring_master_table.c
 *	  Master keys in shared memory.
 *
 * In the order of their records, with hashes by id and by database.  They are
 * few, and are never removed while the server runs.  Callers hold
 * TV_LOCK_KEYRING_TABLE.
 */
#include "keyring/tv_keyring_internal.h"

#include "common/hashfn.h"

#include "base/tv_shmem.h"

#define N_BUCKETS 1024

static TvMasterSlot *masters;	/* from 1 */
static uint32 *id_heads;
static uint32 *database_heads;

void
tv_keyring_master_table_init(void)
{
	masters = tv_shmem_region("the keyring", (TV_MASTER_MAX + 1) * sizeof(TvMasterSlot), false, NULL);
	id_heads = tv_shmem_region("the keyring", 2 * N_BUCKETS * sizeof(uint32), false, NULL);
	database_heads = id_heads + N_BUCKETS;
}

void
tv_keyring_master_table_reset(void)
{
	memset(id_heads, 0, 2 * N_BUCKETS * sizeof(uint32));
}

static uint32
id_bucket(uint64 id)
{
	return hash_bytes((const unsigned char *) &id, sizeof(id)) % N_BUCKETS;
}

static uint32
database_bucket(Oid database)
{
	return hash_bytes((const unsigned char *) &database, sizeof(database)) % N_BUCKETS;
}

TvMasterSlot *
tv_keyring_master_slot(uint32 i)
{
	return i < tv_keyring_shared->n_masters ? &masters[i + 1] : NULL;
}

TvMasterSlot *
tv_keyring_find_master(uint64 id)
{
	for (uint32 slot = id_heads[id_bucket(id)]; slot != TV_NO_SLOT; slot = masters[slot].next_id)
	{
		if (masters[slot].record.id == id)
			return &masters[slot];
	}
	return NULL;
}

TvMasterSlot *
tv_keyring_active_master(Oid database)
{
	uint32		slot = database_heads[database_bucket(database)];

	for (; slot != TV_NO_SLOT; slot = masters[slot].next_database)
	{
		if (masters[slot].record.database == database && !masters[slot].retired)
			return &masters[slot];
	}
	return NULL;
}

TvMasterSlot *
tv_keyring_master_of(Oid database)
{
	TvMasterSlot *own = tv_keyring_active_master(database);

	return own ? own : tv_keyring_active_master(InvalidOid);
}

TvMasterSlot *
tv_keyring_earlier_master(const TvMasterSlot *of)
{
	uint32		slot = of->next_database;

	while (slot != TV_NO_SLOT && masters[slot].record.database != of->record.database)
		slot = masters[slot].next_database;
	return slot != TV_NO_SLOT ? &masters[slot] : NULL;
}

bool
tv_keyring_master_is_unfinished(const TvMasterSlot *master)
{
	const TvMasterSlot *earlier = master;

	if (master->retired || master != tv_keyring_active_master(master->record.database))
		return false;
	if (master->record.taking_over)
		return true;
	while ((earlier = tv_keyring_earlier_master(earlier)) != NULL)
	{
		if (!earlier->retired)
			return true;
	}
	return false;
}

bool
tv_keyring_master_before(const TvMasterSlot *a, const TvMasterSlot *b)
{
	return a < b;
}

TvStatus
tv_keyring_apply_master(const TvMasterKeyRecord *record, TvError *err)
{
	TvMasterSlot *known = tv_keyring_find_master(record->id);
	uint32		slot;
	uint32	   *head;

	if (known != NULL)
	{
		/* the second record of one: it has taken over */
		known->record.taking_over = known->record.taking_over && record->taking_over;
		return TV_OK;
	}
	if (tv_keyring_shared->n_masters >= TV_MASTER_MAX)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT, "more than %d master keys", TV_MASTER_MAX);
	slot = ++tv_keyring_shared->n_masters;
	memset(&masters[slot], 0, sizeof(masters[slot]));
	masters[slot].record = *record;
	head = &id_heads[id_bucket(record->id)];
	masters[slot].next_id = *head;
	*head = slot;
	head = &database_heads[database_bucket(record->database)];
	masters[slot].next_database = *head;
	*head = slot;
	return TV_OK;
}

void
tv_keyring_apply_retired(const TvKeyRemovalRecord *record)
{
	TvMasterSlot *master = tv_keyring_find_master(record->id);

	if (master == NULL)
		return;
	if (!master->retired)
		master->retired_at = record->when;
	master->retired = true;
	if (record->epoch == TV_RETIRED_WITH_DATABASE)
		master->database_dropped = true;
}

void
tv_keyring_count_wrapped(uint64 master, int change)
{
	TvMasterSlot *slot = tv_keyring_find_master(master);

	if (slot)
		slot->keys += change;
}

bool
tv_keyring_master_is_past(const TvMasterSlot *master)
{
	return master->database_dropped && master->keys == 0;
}
