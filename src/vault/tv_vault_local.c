/*
 * tv_vault_local.c
 *	  This process's copy of its database's policy.
 *
 * Read when the shared generation has moved, and only if it moved for this
 * database.  Names that an answer points to live in the policy that gave them,
 * so one that is replaced is kept until the transaction ends.
 */
#include "base/tv_hot.h"
#include "vault/tv_vault_internal.h"

#include <time.h>

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "replication/logicalworker.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define RETRY_AFTER_MS 5000		/* a provider that is away is asked again */

typedef struct Retired
{
	TvPolicy   *policy;
	struct Retired *next;
} Retired;

TvVaultFast tv_vault_fast;

static TvVaultLocal local;
static Retired *retired = NULL;
static bool own = false;		/* local.policy is one that this transaction changes */
static bool roles_moved = false;	/* memberships have changed */
static TimestampTz lost_at = 0;

static void
retire(TvPolicy *policy)
{
	Retired    *entry;

	if (policy == NULL)
		return;
	entry = malloc(sizeof(Retired));
	if (entry == NULL)
		return;					/* leaked, rather than freed under a reader */
	entry->policy = policy;
	entry->next = retired;
	retired = entry;
	tv_vault_at_end = true;
}

void
tv_vault_local_end(void)
{
	Retired    *entry;

	while ((entry = retired) != NULL)
	{
		retired = entry->next;
		tv_policy_free(entry->policy);
		free(entry);
	}
}

/* Room for what is cached of realms; the old content says nothing any more. */
static bool
reset_realms(void)
{
	uint32		n = local.policy ? local.policy->n_realms : 0;

	free(local.realms);
	local.realms = calloc(n + 1, sizeof(TvRealmCache));
	return local.realms != NULL;
}

/* The policy at hand was changed: forget what was derived from it. */
static void
policy_changed(void)
{
	local.version++;
	roles_moved = false;
	tv_vault_fast.on = 0;
	tv_vault_fast.off = 0;
	tv_vault_fast.user = 0;
	tv_vault_local_close();
	tv_vault_targets_forget();
	if (!reset_realms())
	{
		local.state = TV_VAULT_LOST;
		(void) tv_error(&local.why, TV_ERR_NO_MEMORY, "out of memory for the vault policy");
	}
}

static TvVaultState
state_of(const TvPolicy *policy)
{
	if (policy->flags & TV_VAULT_COPIED)
		return TV_VAULT_CLONE;
	return policy->flags & TV_VAULT_ON ? TV_VAULT_ACTIVE : TV_VAULT_NONE;
}

static void
adopt(TvPolicy *policy, TvVaultState state)
{
	if (policy != local.policy)
		retire(local.policy);
	local.policy = policy;
	local.state = state;
	local.number = policy ? policy->number : 0;
	policy_changed();
}

void
tv_vault_local_replace(TvPolicy *policy)
{
	own = policy != NULL;
	if (own)
		adopt(policy, state_of(policy));
	else
	{
		local.generation = 0;
		local.number = 0;
		adopt(NULL, TV_VAULT_LOST);
		lost_at = 0;
	}
}

void
tv_vault_local_settle(void)
{
	own = false;
	local.number = local.policy->number;
	local.generation = 0;
}

static void
load(void)
{
	TvVaultDatabase known;
	TvPolicy   *policy = NULL;
	TvStatus	status;

	if (!tv_vault_shared_get(MyDatabaseId, &known))
	{
		adopt(NULL, TV_VAULT_NONE);
		return;
	}
	if (known.broken)
		status = tv_error(&local.why, TV_ERR_IO, "the vault policy could not be put back after a transaction failed");
	else if (local.policy != NULL && known.number != 0 && known.number == local.number &&
			 local.state != TV_VAULT_LOST)
		return;
	else
		status = tv_vault_file_read(MyDatabaseId, &policy, &local.why);
	if (status == TV_OK)
		adopt(policy, state_of(policy));
	else
	{
		adopt(NULL, TV_VAULT_LOST);
		lost_at = GetCurrentTimestamp();
	}
}

TV_HOT_VAULT const TvVaultLocal *
tv_vault_current(void)
{
	uint64		generation = tv_vault_generation();

	if (unlikely(roles_moved))
		policy_changed();
	if (likely(generation == local.generation && local.state != TV_VAULT_LOST))
		return &local;
	if (own || !OidIsValid(MyDatabaseId))
		return &local;
	if (generation == local.generation &&
		!TimestampDifferenceExceeds(lost_at, GetCurrentTimestamp(), RETRY_AFTER_MS))
		return &local;
	load();
	local.generation = generation;
	return &local;
}

/* --- for hot paths --- */

/*
 * Is the policy at hand that of a generation, which it is kept under?  What a
 * transaction changes is its own, and a lost one is asked for again.
 */
static bool
is_settled(void)
{
	return !own && !roles_moved && OidIsValid(MyDatabaseId) && local.state != TV_VAULT_LOST;
}

bool
tv_vault_on_here(void)
{
	const TvVaultLocal *vault = tv_vault_current();

	if (is_settled())
	{
		if (vault->state == TV_VAULT_NONE)
			tv_vault_fast.off = vault->generation;
		else
			tv_vault_fast.on = vault->generation;
	}
	return vault->state != TV_VAULT_NONE;
}

void
tv_vault_local_ignore(Oid relid)
{
	if (!is_settled())
		return;
	if (tv_vault_fast.clear != local.generation)
		memset(tv_vault_fast.relids, 0, sizeof(tv_vault_fast.relids));
	tv_vault_fast.clear = local.generation;
	tv_vault_fast.relids[relid % TV_VAULT_CLEAR] = relid;
}

void
tv_vault_local_open(Oid relid, uint32 realm, TimestampTz until)
{
	if (!is_settled() || tv_vault_targets_stale())
		return;
	if (tv_vault_fast.open != local.generation)
		memset(tv_vault_fast.opened, 0, sizeof(tv_vault_fast.opened));
	tv_vault_fast.open = local.generation;
	tv_vault_fast.opened[relid % TV_VAULT_OPEN].relid = relid;
	tv_vault_fast.opened[relid % TV_VAULT_OPEN].realm = realm;
	tv_vault_fast.opened[relid % TV_VAULT_OPEN].until = until;
}

void
tv_vault_local_close(void)
{
	tv_vault_fast.open = 0;
}

/*
 * The clock that costs least lags behind by some milliseconds, so in the last
 * second the exact one is asked.
 */
TV_HOT_VAULT bool
tv_vault_before(TimestampTz until)
{
	struct timespec now;

	if (until == DT_NOEND)
		return true;
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return time_t_to_timestamptz(now.tv_sec + 2) < until || GetCurrentTimestamp() < until;
}

/* --- the authenticated user --- */

/*
 * A module starts background workers as whatever role it is told, by who can write
 * its tables (pg_cron).  Not so the server: a parallel worker is its leader's, and
 * a subscription's its owner's.
 */
bool
tv_vault_nobody_logged_in(void)
{
	if (likely(MyBackendType != B_BG_WORKER) || MyBgworkerEntry == NULL || IsLogicalWorker())
		return false;
	if (IsParallelWorker())
		return MyProc->lockGroupLeader != NULL && MyProc->lockGroupLeader->isBackgroundWorker;
	return strcmp(MyBgworkerEntry->bgw_library_name, "tde_vault") != 0;
}

bool
tv_vault_has_role(Oid role)
{
	return OidIsValid(role) && IsTransactionState() && !tv_vault_nobody_logged_in() &&
		is_member_of_role_nosuper(GetAuthenticatedUserId(), role);
}

static int64
password_end(const TvPolicy *policy, uint32 realm)
{
	int64		end = 0;

	for (uint32 i = 0; i < policy->n_passwords; i++)
	{
		const TvVaultPassword *password = &policy->passwords[i];

		if (password->realm == realm && tv_vault_has_role(password->role))
			end = Max(end, password->valid_until ? password->valid_until : PG_INT64_MAX);
	}
	return end;
}

static int64
emergency_end(const TvPolicy *policy, uint32 realm)
{
	int64		end = 0;

	for (uint32 i = 0; i < policy->n_emergencies; i++)
	{
		const TvEmergency *emergency = &policy->emergencies[i];

		if (emergency->realm == realm && emergency->approved != 0 &&
			emergency->requester == GetAuthenticatedUserId() && !tv_vault_nobody_logged_in())
			end = Max(end, emergency->expires);
	}
	return end;
}

TV_HOT_VAULT const TvRealmCache *
tv_vault_realm_access(const TvVaultLocal *vault, uint32 i)
{
	const TvPolicy *policy = vault->policy;
	TvRealmCache *cache = &vault->realms[i];
	TvRealmCache found = {true, false, 0, 0};
	uint32		realm = policy->realms[i].id;
	uint32		version = vault->version;

	if (likely(cache->known))
		return cache;
	for (uint32 k = 0; k < policy->n_roles && !found.authorized; k++)
		found.authorized = policy->roles[k].realm == realm &&
			tv_vault_has_role(policy->roles[k].role);
	found.password_until = password_end(policy, realm);
	found.emergency_until = emergency_end(policy, realm);
	if (!IsTransactionState() || version != vault->version)
		found.known = false;	/* asked too early: look again next time */
	*cache = found;
	return cache;
}

/* --- set-up --- */

static void
roles_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	roles_moved = true;
	tv_vault_fast.user = 0;
	tv_vault_local_close();
}

/*
 * Callbacks are registered in the postmaster and inherited: those of a
 * session's start would be too late for its first statement.
 */
void
tv_vault_local_init(void)
{
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, roles_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, roles_changed, (Datum) 0);
}
