/*
 * tv_vault_ticket.c
 *	  Tickets: the next session of the same user is unlocked, too.
 *
 * For programs that connect by themselves and can say nothing first, such as
 * pg_dump (contrib/doc/decisions/0026-unlock-tickets.md).  A ticket is a secret
 * of 256 bits that its maker has from an unlocked session and hands to the
 * program as a connection option.  It is good for the same authenticated user,
 * in the same database, for a number of sessions and a short time, and unlocks
 * what the maker had unlocked, for no longer.  In memory is only its hash.
 */
#include "vault/tv_vault_ticket.h"

#include "access/parallel.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#include "base/tv_report.h"
#include "base/tv_secret.h"
#include "base/tv_settings.h"
#include "base/tv_shmem.h"
#include "crypto/tv_kdf.h"
#include "vault/tv_vault_audit.h"

#define MAX_TICKETS 256			/* that wait, in the cluster */
#define MAX_REALMS 32			/* of one */
#define SECRET_LEN (TV_TICKET_LEN / 2)

typedef struct TicketRealm
{
	uint32		realm;
	uint64		password;		/* version */
	TimestampTz expires;		/* of the maker's unlock */
} TicketRealm;

typedef struct Ticket
{
	int			sessions;		/* left; 0: free */
	Oid			user;
	Oid			database;
	TimestampTz expires;
	uint8		hash[TV_MAC_LEN];
	int			n_realms;
	TicketRealm realms[MAX_REALMS];
} Ticket;

static Ticket *tickets = NULL;
static bool used = false;

static void
init_shared(void *memory)
{
	tickets = memory;
	memset(tickets, 0, MAX_TICKETS * sizeof(Ticket));
}

void
tv_vault_ticket_init(void)
{
	static const TvShmemArea area = {
		"tde_vault tickets", MAX_TICKETS * sizeof(Ticket), init_shared
	};

	tv_shmem_add(&area);
}

/* --- making --- */

/* What this session has unlocked, and may still use. */
static void
collect_realms(Ticket *ticket)
{
	const TvVaultLocal *local = tv_vault_current();
	uint32		slot = 0;
	TvUnlock	unlock;
	TimestampTz until;

	while (local->state == TV_VAULT_ACTIVE && tv_vault_next_unlock(&slot, &unlock))
	{
		TicketRealm *realm = &ticket->realms[ticket->n_realms];

		if (unlock.pid != MyProcPid || unlock.user != GetAuthenticatedUserId() ||
			!tv_vault_unlocked(local, unlock.realm, &until))
			continue;
		if (ticket->n_realms == MAX_REALMS)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("an unlock ticket covers at most %d realms", MAX_REALMS),
					 errhint("Lock those that are not needed: LOCK REALM.")));
		realm->realm = unlock.realm;
		realm->password = unlock.password;
		realm->expires = unlock.expires;
		ticket->n_realms++;
	}
	if (ticket->n_realms == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_LOCKED),
				 errmsg("no realm is unlocked in this session"),
				 errdetail("An unlock ticket passes on what is unlocked."),
				 errhint("UNLOCK REALM first.")));
}

static bool
keep_ticket(const Ticket *ticket)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_SESSIONS);
	TimestampTz now = GetCurrentTimestamp();
	bool		kept = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_TICKETS && !kept; i++)
	{
		if (tickets[i].sessions > 0 && tickets[i].expires > now)
			continue;
		tickets[i] = *ticket;
		kept = true;
	}
	LWLockRelease(lock);
	return kept;
}

static const char *
realm_name(uint32 id)
{
	const TvVaultLocal *local = tv_vault_current();
	const TvRealm *realm = local->policy ? tv_policy_realm_by_id(local->policy, id) : NULL;

	return realm ? realm->name : NULL;
}

void
tv_vault_create_ticket(int sessions, int seconds, char *text)
{
	Ticket		ticket = {0};
	uint8		secret[SECRET_LEN];

	tv_vault_refuse_borrowed("create_unlock_ticket()");
	collect_realms(&ticket);
	ticket.sessions = sessions;
	ticket.user = GetAuthenticatedUserId();
	ticket.database = MyDatabaseId;
	ticket.expires = GetCurrentTimestamp() + seconds * USECS_PER_SEC;
	if (tv_random(secret, sizeof(secret)) != TV_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not get random bytes")));
	for (int i = 0; i < SECRET_LEN; i++)
		snprintf(text + 2 * i, 3, "%02x", secret[i]);
	tv_secret_wipe(secret, sizeof(secret));
	(void) tv_sha256((const uint8 *) text, TV_TICKET_LEN, ticket.hash);
	for (int i = 0; i < ticket.n_realms; i++)
		tv_vault_audit_unlock(realm_name(ticket.realms[i].realm), TV_AUDIT_NOTICE, TV_AUDIT_SUCCESS,
							  "an unlock ticket was made");
	if (!keep_ticket(&ticket))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many unlock tickets wait to be used"),
				 errdetail("There is room for %d.", MAX_TICKETS),
				 errhint("Use them, or wait until they have expired.")));
}

/* --- using --- */

bool
tv_vault_ticket_waits(void)
{
	return !used && tv_setting_unlock_ticket != NULL && tv_setting_unlock_ticket[0] != '\0' &&
		!IsParallelWorker();
}

/* Take one session off the ticket; false if there is none for this one. */
static bool
take_session(const uint8 *hash, Ticket *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_SESSIONS);
	TimestampTz now = GetCurrentTimestamp();
	bool		found = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_TICKETS && !found; i++)
	{
		Ticket	   *ticket = &tickets[i];

		if (ticket->sessions == 0 || ticket->expires <= now || ticket->database != MyDatabaseId ||
			ticket->user != GetAuthenticatedUserId() ||
			memcmp(ticket->hash, hash, TV_MAC_LEN) != 0)
			continue;
		*out = *ticket;
		ticket->sessions--;
		found = true;
	}
	LWLockRelease(lock);
	return found;
}

/* The password by which the realm was unlocked, if it is still there. */
static const TvVaultPassword *
find_password(const TicketRealm *realm)
{
	const TvVaultLocal *local = tv_vault_current();

	for (uint32 i = 0; local->policy != NULL && i < local->policy->n_passwords; i++)
	{
		const TvVaultPassword *password = &local->policy->passwords[i];

		if (password->version == realm->password && password->realm == realm->realm)
			return password;
	}
	return NULL;
}

void
tv_vault_redeem_ticket(void)
{
	Ticket		ticket;
	uint8		hash[TV_MAC_LEN];

	used = true;
	(void) tv_sha256((const uint8 *) tv_setting_unlock_ticket, strlen(tv_setting_unlock_ticket), hash);
	if (!take_session(hash, &ticket))
	{
		tv_vault_audit_unlock(NULL, TV_AUDIT_WARNING, TV_AUDIT_FAILED, "unlock ticket is not valid");
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_PASSWORD),
				 errmsg("unlock ticket is not valid"),
				 errdetail("It is unknown here, is another user's, has expired or was used up."),
				 errhint("Make another one in an unlocked session: SELECT tde_vault.create_unlock_ticket().")));
	}
	for (int i = 0; i < ticket.n_realms; i++)
	{
		const TicketRealm *realm = &ticket.realms[i];
		TvVaultPassword password = {.realm = realm->realm, .version = realm->password};

		int64		seconds = (realm->expires - GetCurrentTimestamp()) / USECS_PER_SEC;

		if (find_password(realm) == NULL || seconds <= 0)
			continue;
		tv_vault_audit_unlock(realm_name(realm->realm), TV_AUDIT_NOTICE, TV_AUDIT_SUCCESS, "by an unlock ticket");
		tv_vault_session_unlock(&password, (int) seconds);
	}
}
