/*
 * tv_vault_shared.c
 *	  What every process knows of every policy file.
 *
 * One entry a database, under TV_LOCK_VAULT_FILE; a generation and the number
 * of vaults that are on, without a lock.
 */
#include "vault/tv_vault_internal.h"

#include "storage/ipc.h"

#include "base/tv_hot.h"
#include "base/tv_shmem.h"

#define MAX_DATABASES 1024

typedef struct VaultShared
{
	TvVaultPulse pulse;
	uint32		n_databases;
	TvVaultDatabase databases[MAX_DATABASES];
} VaultShared;

static VaultShared *shared = NULL;
TV_HOT_DATA TvVaultPulse *tv_vault_pulse = NULL;

/*
 * After a crash of another process the postmaster gives shared memory back, and
 * sets settings before there is new one (postmaster.c, PostmasterStateMachine).
 */
static void
forget_shared(int code, Datum arg)
{
	shared = NULL;
	tv_vault_pulse = NULL;
}

static void
init_shared(void *memory)
{
	shared = memory;
	on_shmem_exit(forget_shared, (Datum) 0);
	pg_atomic_init_u64(&shared->pulse.generation, 1);
	pg_atomic_init_u32(&shared->pulse.n_on, 0);
	tv_vault_pulse = &shared->pulse;
	tv_vault_file_scan();
}

void
tv_vault_shared_init(void)
{
	static const TvShmemArea area = {
		"tde_vault policies", sizeof(VaultShared), init_shared
	};

	tv_shmem_add(&area);
}

static TvVaultDatabase *
find(Oid database)
{
	for (uint32 i = 0; i < shared->n_databases; i++)
	{
		if (shared->databases[i].database == database)
			return &shared->databases[i];
	}
	return NULL;
}

/* An entry has changed. */
static void
publish(void)
{
	uint32		n_on = 0;

	for (uint32 i = 0; i < shared->n_databases; i++)
	{
		const TvVaultDatabase *entry = &shared->databases[i];

		if (!entry->verified || entry->broken || (entry->flags & (TV_VAULT_ON | TV_VAULT_COPIED)))
			n_on++;
	}
	pg_atomic_write_u32(&shared->pulse.n_on, n_on);
	pg_atomic_fetch_add_u64(&shared->pulse.generation, 1);
}

bool
tv_vault_shared_get(Oid database, TvVaultDatabase *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_FILE);
	TvVaultDatabase *entry;

	LWLockAcquire(lock, LW_SHARED);
	entry = find(database);
	if (entry)
		*out = *entry;
	LWLockRelease(lock);
	return entry != NULL;
}

bool
tv_vault_shared_at(uint32 i, TvVaultDatabase *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_FILE);
	bool		found;

	LWLockAcquire(lock, LW_SHARED);
	found = i < shared->n_databases;
	if (found)
		*out = shared->databases[i];
	LWLockRelease(lock);
	return found;
}

bool
tv_vault_shared_has_room(Oid database)
{
	return find(database) != NULL || shared->n_databases < MAX_DATABASES;
}

TvStatus
tv_vault_shared_set(const TvVaultDatabase *new, TvError *err)
{
	TvVaultDatabase *entry = find(new->database);

	if (entry == NULL)
	{
		if (shared->n_databases >= MAX_DATABASES)
			return tv_error(err, TV_ERR_NO_MEMORY, "more than %d databases have a vault", MAX_DATABASES);
		entry = &shared->databases[shared->n_databases++];
	}
	*entry = *new;
	publish();
	return TV_OK;
}

void
tv_vault_shared_remove(Oid database)
{
	TvVaultDatabase *entry = find(database);

	if (entry == NULL)
		return;
	*entry = shared->databases[--shared->n_databases];
	publish();
}

void
tv_vault_shared_break(Oid database)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_FILE);
	TvVaultDatabase *entry;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	entry = find(database);
	if (entry)
	{
		entry->broken = true;
		publish();
	}
	LWLockRelease(lock);
}

void
tv_vault_shared_verified(const TvVaultDatabase *known, const TvPolicy *policy)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_FILE);
	TvVaultDatabase *entry;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	entry = find(known->database);
	/* it may have been replaced meanwhile */
	if (entry && entry->number == known->number && !entry->verified)
	{
		entry->number = policy->number;
		entry->flags = policy->flags;
		entry->verified = true;
		publish();
	}
	LWLockRelease(lock);
}

/* Number i of the databases whose flags nobody has verified. */
static Oid
next_unverified(uint32 *i)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_FILE);
	Oid			database = InvalidOid;

	LWLockAcquire(lock, LW_SHARED);
	while (!OidIsValid(database) && *i < shared->n_databases)
	{
		if (!shared->databases[*i].verified)
			database = shared->databases[*i].database;
		(*i)++;
	}
	LWLockRelease(lock);
	return database;
}

void
tv_vault_verify_all(void)
{
	uint32		i = 0;
	Oid			database;

	while (OidIsValid(database = next_unverified(&i)))
	{
		TvPolicy   *policy;
		TvError		err;

		/* reading one marks it */
		if (tv_vault_file_read(database, &policy, &err) == TV_OK)
			tv_policy_free(policy);
	}
}
