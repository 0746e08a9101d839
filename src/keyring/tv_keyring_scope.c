/*
 * tv_keyring_scope.c
 *	  Scopes: tablespaces and databases in which everything new is encrypted.
 *
 * There are few, so they are an array.  Most servers have none, and ask
 * without a lock.
 */
#include "keyring/tv_keyring_scope.h"

#include "utils/timestamp.h"

#include "base/tv_shmem.h"
#include "crypto/tv_kdf.h"
#include "keyring/tv_keyring_internal.h"

typedef struct ScopeShared
{
	/* written under TV_LOCK_KEYRING_TABLE */
	pg_atomic_uint32 count;
	pg_atomic_uint32 checked;	/* the MAC is right, or there is none */
	pg_atomic_uint64 number;	/* of the newest record with a MAC */
	/* under it */
	uint64		promised;		/* the highest number that a file record names */
	uint32		changes;		/* records applied */
	uint8		mac[TV_KEYRING_MAC_LEN];	/* of the newest record */
	TvScopeRecord scopes[TV_SCOPE_MAX];
} ScopeShared;

static ScopeShared *shared = NULL;

static void
init_shared(void *memory)
{
	shared = memory;
	pg_atomic_init_u32(&shared->count, 0);
	pg_atomic_init_u32(&shared->checked, 1);
	pg_atomic_init_u64(&shared->number, 0);
}

void
tv_keyring_scope_init(void)
{
	static const TvShmemArea area = {
		"tde_vault scopes", sizeof(ScopeShared), init_shared
	};

	tv_shmem_add(&area);
}

/* --- the table; the caller holds its lock --------------------------------------- */

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

static bool
has_scope(const TvScopeRecord *record)
{
	TvScopeRecord *known = find(record->tablespace, record->database);

	if (record->cipher == TV_CIPHER_NONE)
		return known == NULL;
	return known != NULL && known->cipher == record->cipher &&
		known->master_key == record->master_key && known->created == record->created;
}

bool
tv_keyring_knows_scope(const TvScopeRecord *record)
{
	if (record->number != 0)
		return record->number <= pg_atomic_read_u64(&shared->number);
	return has_scope(record);
}

bool
tv_keyring_scope_is_live(const TvScopeRecord *record)
{
	return (record->number != 0 && record->number == pg_atomic_read_u64(&shared->number)) ||
		(record->cipher != TV_CIPHER_NONE && has_scope(record));
}

/* What vouches for the scopes is to be looked at again. */
static void
changed(void)
{
	shared->changes++;
	if (shared->promised > 0 || pg_atomic_read_u64(&shared->number) > 0)
		pg_atomic_write_u32(&shared->checked, 0);
}

void
tv_keyring_promise_scopes(uint64 number)
{
	if (likely(number <= shared->promised))
		return;
	shared->promised = number;
	changed();
}

TvStatus
tv_keyring_apply_scope(const TvScopeRecord *record, TvError *err)
{
	TvScopeRecord *known = find(record->tablespace, record->database);
	uint32		count = pg_atomic_read_u32(&shared->count);

	if (record->cipher == TV_CIPHER_NONE && known != NULL)
	{
		*known = shared->scopes[count - 1];
		pg_atomic_write_u32(&shared->count, count - 1);
	}
	else if (record->cipher != TV_CIPHER_NONE)
	{
		if (known == NULL && count == TV_SCOPE_MAX)
			return tv_error(err, TV_ERR_NO_MEMORY, "more than %d encrypted tablespaces", TV_SCOPE_MAX);
		if (known == NULL)
		{
			known = &shared->scopes[count];
			pg_atomic_write_u32(&shared->count, count + 1);
		}
		*known = *record;
	}
	if (record->number != 0)
	{
		pg_atomic_write_u64(&shared->number, record->number);
		memcpy(shared->mac, record->mac, sizeof(shared->mac));
	}
	changed();
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
tv_keyring_scope_at_locked(uint32 i, TvKeyringScope *out)
{
	if (i >= pg_atomic_read_u32(&shared->count))
		return false;
	copy_scope(&shared->scopes[i], out);
	return true;
}

/* --- questions -------------------------------------------------------------------- */

uint64
tv_keyring_scope_number(void)
{
	return pg_atomic_read_u64(&shared->number);
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
tv_keyring_scope_at(uint32 i, TvKeyringScope *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	bool		found;

	LWLockAcquire(lock, LW_SHARED);
	found = tv_keyring_scope_at_locked(i, out);
	LWLockRelease(lock);
	return found;
}

/* --- what vouches for them ---------------------------------------------------------- */

/* All scopes, with change (if not NULL) applied, in order. */
typedef struct ScopeSet
{
	uint32		n;
	uint16		order[TV_SCOPE_MAX];
	TvScopeRecord scopes[TV_SCOPE_MAX + 1];
} ScopeSet;

static bool
is_before(const TvScopeRecord *a, const TvScopeRecord *b)
{
	return a->tablespace != b->tablespace ? a->tablespace < b->tablespace : a->database < b->database;
}

static void
add_to_set(ScopeSet *set, const TvScopeRecord *scope, uint32 slot)
{
	uint32		at = set->n;

	if (set->n == TV_SCOPE_MAX)
		return;					/* it is refused when it is applied */
	set->scopes[slot] = *scope;
	while (at > 0 && is_before(scope, &set->scopes[set->order[at - 1]]))
	{
		set->order[at] = set->order[at - 1];
		at--;
	}
	set->order[at] = slot;
	set->n++;
}

/* What a MAC covers; the caller holds the table's lock.  Good until the next call. */
static const uint8 *
mac_input(uint64 number, const TvScopeRecord *change, size_t *len)
{
	static ScopeSet set;
	static uint8 input[TV_SCOPE_MAC_INPUT_MAX(TV_SCOPE_MAX)];
	uint32		count = pg_atomic_read_u32(&shared->count);

	set.n = 0;
	for (uint32 i = 0; i < count; i++)
	{
		if (change == NULL || shared->scopes[i].tablespace != change->tablespace ||
			shared->scopes[i].database != change->database)
			add_to_set(&set, &shared->scopes[i], i);
	}
	if (change != NULL && change->cipher != TV_CIPHER_NONE)
		add_to_set(&set, change, TV_SCOPE_MAX);
	*len = tv_keyring_scope_mac_input(number, set.scopes, set.order, set.n, input, sizeof(input));
	return input;
}

static TvStatus
was_forged(TvError *err)
{
	(void) tv_error(err, TV_ERR_AUTH, "keyring records of what is encrypted as a whole were forged or removed");
	tv_error_detail(err, "Tablespaces and databases may be encrypted that do not seem so.");
	tv_error_hint(err, "Restore the keyring from a backup of the data directory.");
	return TV_ERR_AUTH;
}

TvStatus
tv_keyring_check_scopes(TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	const uint8 *input;
	size_t		len;
	uint8		wanted[TV_KEYRING_MAC_LEN];
	uint8		mac[TV_KEYRING_MAC_LEN];
	uint64		number;
	uint64		promised;
	uint32		changes;
	uint64		key;
	TvStatus	status;

	if (likely(pg_atomic_read_u32(&shared->checked) != 0))
		return TV_OK;
	LWLockAcquire(lock, LW_SHARED);
	number = pg_atomic_read_u64(&shared->number);
	promised = shared->promised;
	changes = shared->changes;
	memcpy(wanted, shared->mac, sizeof(wanted));
	input = mac_input(number, NULL, &len);
	LWLockRelease(lock);
	if (promised > number || !tv_keyring_find_service(TV_SERVICE_SCOPES, &key))
		return was_forged(err);
	status = tv_keyring_service_key(TV_SERVICE_SCOPES, 0, &key, err);
	if (status == TV_OK)
		status = tv_keyring_mac(key, 1, input, len, mac, err);
	if (status != TV_OK)
		return status;
	if (!tv_equal_secret(mac, wanted, sizeof(mac)))
		return was_forged(err);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (shared->changes == changes)
		pg_atomic_write_u32(&shared->checked, 1);
	LWLockRelease(lock);
	return TV_OK;
}

/* --- changes ---------------------------------------------------------------------- */

TvStatus
tv_keyring_open_scopes(TvError *err)
{
	uint64		key;

	return tv_keyring_find_service(TV_SERVICE_SCOPES, &key) ?
		tv_keyring_service_key(TV_SERVICE_SCOPES, 0, &key, err) : TV_OK;
}

/* What wraps the key that vouches for scopes, if the cluster has no master key. */
static uint64
fallback_of(const TvScopeRecord *scope)
{
	TvKeyringMaster master;

	if (scope->master_key != 0)
		return scope->master_key;
	return OidIsValid(scope->database) && tv_keyring_master_for(scope->database, &master) ? master.id : 0;
}

/* Under both locks: no other change came in between. */
static TvStatus
check_number(const TvRecord *record, const void *context, bool *skip, TvError *err)
{
	const uint32 *changes = context;

	*skip = shared->changes != *changes;
	return TV_OK;
}

TvStatus
tv_keyring_set_scope(Oid tablespace, Oid database, TvCipher cipher,
					 uint64 master_key, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvRecord	record;
	TvScopeRecord *scope = &record.u.scope;
	bool		appended = false;
	uint64		key;
	TvStatus	status;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_SCOPE;
	scope->tablespace = tablespace;
	scope->database = database;
	scope->cipher = cipher;
	scope->master_key = master_key;
	scope->created = GetCurrentTimestamp();
	status = tv_keyring_service_key(TV_SERVICE_SCOPES, fallback_of(scope), &key, err);
	while (status == TV_OK && !appended)
	{
		const uint8 *input;
		size_t		len;
		uint32		changes;

		/* what somebody else has put there is not vouched for */
		status = tv_keyring_check_scopes(err);
		if (status != TV_OK)
			break;
		LWLockAcquire(lock, LW_SHARED);
		changes = shared->changes;
		scope->number = pg_atomic_read_u64(&shared->number) + 1;
		input = mac_input(scope->number, scope, &len);
		LWLockRelease(lock);
		status = tv_keyring_mac(key, 1, input, len, scope->mac, err);
		if (status == TV_OK)
			status = tv_keyring_append_if(&record, true, check_number, &changes, &appended, err);
	}
	return status;
}

TvStatus
tv_keyring_renew_scopes(TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvKeyringScope old;
	bool		found;

	if (likely(pg_atomic_read_u32(&shared->count) == 0 || tv_keyring_scope_number() > 0))
		return TV_OK;
	LWLockAcquire(lock, LW_SHARED);
	found = tv_keyring_scope_at_locked(0, &old);
	LWLockRelease(lock);
	return found ? tv_keyring_set_scope(old.tablespace, old.database, old.cipher, old.master_key, err) : TV_OK;
}
