/*
 * tv_vault_session.c
 *	  Realms that this session has unlocked.
 *
 * The session's own list is what counts for it; the copies in shared memory
 * are for its parallel workers and for the view.  An unlock holds while its
 * password is in the policy unchanged, the user still has the password's role,
 * and neither the password nor the unlock has run out.
 */
#include "vault/tv_vault_internal.h"

#include "access/parallel.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/tv_hot.h"
#include "base/tv_report.h"
#include "base/tv_shmem.h"

#define MAX_UNLOCKS 8192		/* in all sessions */

typedef struct Shared
{
	uint32		top;			/* slots ever used */
	TvUnlock	unlocks[MAX_UNLOCKS];
} Shared;

/* An unlock, as this process knows it. */
typedef struct Own
{
	uint32		realm;
	Oid			user;
	uint64		password;
	TimestampTz expires;
	TimestampTz until;			/* that, or the end of the password */
	uint32		version;		/* of the policy that until was found in */
} Own;

static Shared *shared = NULL;
static Own *own = NULL;
static int	n_own = 0;
static int	own_room = 0;
static bool imported = false;	/* parallel worker: the leader's are here */

static void
init_shared(void *memory)
{
	shared = memory;
}

void
tv_vault_session_init(void)
{
	static const TvShmemArea area = {
		"tde_vault unlocks", sizeof(Shared), init_shared
	};

	tv_shmem_add(&area);
}

/* --- shared memory; the caller holds TV_LOCK_VAULT_SESSIONS --- */

static void
clear(uint32 realm, bool all)
{
	for (uint32 i = 0; i < shared->top; i++)
	{
		TvUnlock   *unlock = &shared->unlocks[i];

		if (unlock->pid == MyProcPid && (all || unlock->realm == realm))
			memset(unlock, 0, sizeof(*unlock));
	}
	while (shared->top > 0 && shared->unlocks[shared->top - 1].pid == 0)
		shared->top--;
}

static TvUnlock *
free_slot(void)
{
	for (uint32 i = 0; i < shared->top; i++)
	{
		if (shared->unlocks[i].pid == 0)
			return &shared->unlocks[i];
	}
	return shared->top < MAX_UNLOCKS ? &shared->unlocks[shared->top++] : NULL;
}

bool
tv_vault_next_unlock(uint32 *slot, TvUnlock *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_SESSIONS);
	bool		found = false;

	LWLockAcquire(lock, LW_SHARED);
	while (!found && *slot < shared->top)
	{
		*out = shared->unlocks[(*slot)++];
		found = out->pid != 0 && out->database == MyDatabaseId;
	}
	LWLockRelease(lock);
	return found;
}

/* --- this process --- */

static Own *
own_slot(uint32 realm)
{
	for (int i = 0; i < n_own; i++)
	{
		if (own[i].realm == realm)
			return &own[i];
	}
	if (n_own == own_room)
	{
		int			room = Max(8, own_room * 2);

		own = own == NULL ? MemoryContextAlloc(TopMemoryContext, room * sizeof(Own)) :
			repalloc(own, room * sizeof(Own));
		own_room = room;
	}
	memset(&own[n_own], 0, sizeof(Own));
	own[n_own].realm = realm;
	return &own[n_own++];
}

static void
forget_own(uint32 realm)
{
	for (int i = 0; i < n_own; i++)
	{
		if (own[i].realm == realm)
			own[i--] = own[--n_own];
	}
}

/* A parallel worker takes over what its leader has unlocked. */
static void
import_from_leader(void)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_SESSIONS);
	PGPROC	   *leader = MyProc->lockGroupLeader;

	imported = true;
	if (leader == NULL)
		return;
	LWLockAcquire(lock, LW_SHARED);
	for (uint32 i = 0; i < shared->top; i++)
	{
		TvUnlock	unlock = shared->unlocks[i];
		Own		   *entry;

		if (unlock.pid == 0 || unlock.pid != leader->pid || unlock.pgprocno != leader->pgprocno ||
			unlock.database != MyDatabaseId)
			continue;
		entry = own_slot(unlock.realm);
		entry->user = unlock.user;
		entry->password = unlock.password;
		entry->expires = unlock.expires;
	}
	LWLockRelease(lock);
}

/* Until when does the unlock hold under this policy? */
static TimestampTz
valid_until(const TvPolicy *policy, const Own *entry)
{
	for (uint32 i = 0; i < policy->n_passwords; i++)
	{
		const TvVaultPassword *password = &policy->passwords[i];

		if (password->version != entry->password || password->realm != entry->realm)
			continue;
		if (!tv_vault_has_role(password->role))
			return 0;
		return password->valid_until ? Min(entry->expires, password->valid_until) : entry->expires;
	}
	return 0;
}

TV_HOT_VAULT bool
tv_vault_unlocked(const TvVaultLocal *local, uint32 realm, TimestampTz *until)
{
	if (unlikely(IsParallelWorker() && !imported))
		import_from_leader();
	for (int i = 0; i < n_own; i++)
	{
		Own		   *entry = &own[i];

		if (entry->realm != realm)
			continue;
		if (unlikely(entry->version != local->version))
		{
			entry->until = valid_until(local->policy, entry);
			entry->version = local->version;
		}
		*until = entry->until;
		return entry->user == GetAuthenticatedUserId() && tv_vault_before(entry->until);
	}
	return false;
}

bool
tv_vault_session_ran_out(uint32 realm)
{
	for (int i = 0; i < n_own; i++)
	{
		Own		   *entry = &own[i];

		/* until is 0 where the password was taken away: that is no expiry */
		if (entry->realm == realm && entry->user == GetAuthenticatedUserId() &&
			entry->until != 0 && entry->until <= GetCurrentTimestamp())
		{
			tv_vault_session_lock(realm);
			return true;
		}
	}
	return false;
}

static void
end_of_session(int code, Datum arg)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_SESSIONS);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	clear(0, true);
	LWLockRelease(lock);
}

void
tv_vault_session_unlock(const TvVaultPassword *password, int seconds)
{
	static bool registered = false;
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_SESSIONS);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz expires = now + seconds * USECS_PER_SEC;
	TvUnlock   *unlock;
	Own		   *entry = own_slot(password->realm);

	tv_vault_local_close();
	if (!registered)
		before_shmem_exit(end_of_session, (Datum) 0);
	registered = true;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	clear(password->realm, false);
	unlock = free_slot();
	if (unlock != NULL)
	{
		unlock->pid = MyProcPid;
		unlock->pgprocno = MyProc->pgprocno;
		unlock->database = MyDatabaseId;
		unlock->realm = password->realm;
		unlock->user = GetAuthenticatedUserId();
		unlock->password = password->version;
		unlock->since = now;
		unlock->expires = expires;
	}
	LWLockRelease(lock);
	if (unlock == NULL)
	{
		forget_own(password->realm);
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many realms are unlocked in this cluster"),
				 errdetail("There is room for %d, in all sessions together.", MAX_UNLOCKS),
				 errhint("LOCK REALM ALL in sessions that need none, or end them.")));
	}
	entry->user = GetAuthenticatedUserId();
	entry->password = password->version;
	entry->expires = expires;
	entry->version = 0;
}

void
tv_vault_session_lock(uint32 realm)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_SESSIONS);

	forget_own(realm);
	tv_vault_local_close();
	LWLockAcquire(lock, LW_EXCLUSIVE);
	clear(realm, false);
	LWLockRelease(lock);
}

void
tv_vault_lock_session(void)
{
	if (n_own == 0)
		return;
	n_own = 0;
	tv_vault_local_close();
	end_of_session(0, (Datum) 0);
}
