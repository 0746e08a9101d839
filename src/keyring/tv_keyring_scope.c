/*
 * tv_keyring_scope.c
 *	  Scopes: tablespaces in which everything new is encrypted.
 *
 * There are few, so they are an array.  Most servers have none, and ask
 * without a lock.
 */
#include "keyring/tv_keyring_scope.h"

#include "utils/timestamp.h"

#include "base/tv_shmem.h"
#include "keyring/tv_keyring_internal.h"

typedef struct ScopeShared
{
	pg_atomic_uint32 count;		/* written under TV_LOCK_KEYRING_TABLE */
	TvScopeRecord scopes[TV_SCOPE_MAX];
} ScopeShared;

static ScopeShared *shared = NULL;

static void
init_shared(void *memory)
{
	shared = memory;
	pg_atomic_init_u32(&shared->count, 0);
}

void
tv_keyring_scope_init(void)
{
	static const TvShmemArea area = {
		"tde_vault scopes", sizeof(ScopeShared), init_shared
	};

	tv_shmem_add(&area);
}

/* The caller holds the table lock. */
static TvScopeRecord *
find(Oid tablespace, Oid database)
{
	uint32		count = pg_atomic_read_u32(&shared->count);

	for (uint32 i = 0; i < count; i++)
	{
		if (shared->scopes[i].tablespace == tablespace && shared->scopes[i].database == database)
			return &shared->scopes[i];
	}
	return NULL;
}

bool
tv_keyring_has_scope(const TvScopeRecord *record)
{
	TvScopeRecord *known = find(record->tablespace, record->database);

	if (record->cipher == TV_CIPHER_NONE)
		return known == NULL;
	return known != NULL && known->cipher == record->cipher &&
		known->master_key == record->master_key && known->created == record->created;
}

TvStatus
tv_keyring_apply_scope(const TvScopeRecord *record, TvError *err)
{
	TvScopeRecord *known = find(record->tablespace, record->database);
	uint32		count = pg_atomic_read_u32(&shared->count);

	if (record->cipher == TV_CIPHER_NONE)
	{
		if (known == NULL)
			return TV_OK;
		*known = shared->scopes[count - 1];
		pg_atomic_write_u32(&shared->count, count - 1);
		return TV_OK;
	}
	if (known == NULL)
	{
		if (count == TV_SCOPE_MAX)
			return tv_error(err, TV_ERR_NO_MEMORY, "more than %d encrypted tablespaces", TV_SCOPE_MAX);
		known = &shared->scopes[count];
		pg_atomic_write_u32(&shared->count, count + 1);
	}
	*known = *record;
	return TV_OK;
}

static void
copy_scope(const TvScopeRecord *record, TvKeyringScope *out)
{
	out->tablespace = record->tablespace;
	out->database = record->database;
	out->cipher = (TvCipher) record->cipher;
	out->master_key = record->master_key;
	out->created = record->created;
}

bool
tv_keyring_scope(Oid tablespace, Oid database, TvKeyringScope *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvScopeRecord *known;

	if (likely(pg_atomic_read_u32(&shared->count) == 0))
		return false;
	LWLockAcquire(lock, LW_SHARED);
	known = find(tablespace, database);
	if (known != NULL && out != NULL)
		copy_scope(known, out);
	LWLockRelease(lock);
	return known != NULL;
}

bool
tv_keyring_scope_of(const RelFileNode *node, TvKeyringScope *out)
{
	return tv_keyring_scope(node->spcNode, InvalidOid, out) ||
		(OidIsValid(node->dbNode) && tv_keyring_scope(InvalidOid, node->dbNode, out));
}

bool
tv_keyring_scope_at_locked(uint32 i, TvKeyringScope *out)
{
	if (i >= pg_atomic_read_u32(&shared->count))
		return false;
	copy_scope(&shared->scopes[i], out);
	return true;
}

bool
tv_keyring_scope_at(uint32 i, TvKeyringScope *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	bool		found;

	LWLockAcquire(lock, LW_SHARED);
	found = tv_keyring_scope_at_locked(i, out);
	LWLockRelease(lock);
	return found;
}

TvStatus
tv_keyring_set_scope(Oid tablespace, Oid database, TvCipher cipher,
					 uint64 master_key, TvError *err)
{
	TvRecord	record;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_SCOPE;
	record.u.scope.tablespace = tablespace;
	record.u.scope.database = database;
	record.u.scope.cipher = cipher;
	record.u.scope.master_key = master_key;
	record.u.scope.created = GetCurrentTimestamp();
	return tv_keyring_append(&record, true, err);
}
