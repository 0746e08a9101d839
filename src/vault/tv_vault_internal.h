/*
 * tv_vault_internal.h
 *	  What the parts of the vault share among themselves.
 */
#ifndef TV_VAULT_INTERNAL_H
#define TV_VAULT_INTERNAL_H

#include "vault/tv_vault.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "utils/rel.h"

#include "vault/tv_vault_format.h"

/* --- tv_vault_shared.c: what every process knows of every policy file --- */

/* A database that has, or should have, a policy file. */
typedef struct TvVaultDatabase
{
	Oid			database;
	uint64		number;			/* of its policy; 0: there should be a file */
	uint16		flags;			/* TV_VAULT_ON, TV_VAULT_COPIED */
	bool		verified;		/* flags come from an authentic file */
	bool		broken;			/* closed until a policy is written */
} TvVaultDatabase;

extern void tv_vault_shared_init(void);

/* Copy out what is known of database; false if it has no policy. */
extern bool tv_vault_shared_get(Oid database, TvVaultDatabase *out);
/* Entry i of them all; false past the end. */
extern bool tv_vault_shared_at(uint32 i, TvVaultDatabase *out);

/*
 * A policy was written or found; the caller holds
 * TV_LOCK_VAULT_FILE exclusively.  TV_ERR_NO_MEMORY: the table is full.
 */
extern TvStatus tv_vault_shared_set(const TvVaultDatabase *entry, TvError *err);
extern void tv_vault_shared_remove(Oid database);
/* Is there room for a database that is not there yet? Same lock, shared. */
extern bool tv_vault_shared_has_room(Oid database);

/* Close a database whose policy could not be put back. */
extern void tv_vault_shared_break(Oid database);

/* What was known of a file turned out to be this, authentic, policy. */
extern void tv_vault_shared_verified(const TvVaultDatabase *known, const TvPolicy *policy);

/* --- tv_vault_file.c --- */

/*
 * Open the latest policy of database into *policy, which is the caller's.
 * TV_ERR_NO_KEY, TV_ERR_UNAVAILABLE ...: from the provider; TV_ERR_AUTH,
 * TV_ERR_CORRUPT: not what was written last.  Asks the provider if nobody did
 * since the server started.  Takes TV_LOCK_VAULT_FILE, shared.
 */
extern TvStatus tv_vault_file_read(Oid database, TvPolicy **policy, TvError *err);

/*
 * Make the key that the policy of database is sealed under, unless there is
 * one.  fallback: master key to wrap it with if neither the database nor the
 * cluster has one; 0: none.
 */
extern TvStatus tv_vault_file_make_key(Oid database, uint64 fallback, TvError *err);

/*
 * Replace the policy of database: sealed, durable, logged, known to every
 * process.  Sets policy->number.  The caller holds the database's policy lock
 * (tv_vault_change.c).  Makes the key if there is none.
 */
extern TvStatus tv_vault_file_write(Oid database, TvPolicy *policy, TvError *err);

/* Remove the policy of a database that is gone. */
extern void tv_vault_file_remove(Oid database);

/* At server start, in the postmaster: which files are there? */
extern void tv_vault_file_scan(void);

/* In _PG_init. */
extern void tv_vault_file_init(void);

/* --- tv_vault_local.c: this process's copy --- */

typedef enum TvVaultState
{
	TV_VAULT_NONE,				/* no policy, or switched off */
	TV_VAULT_ACTIVE,
	TV_VAULT_CLONE,				/* what is protected is closed until opened */
	TV_VAULT_LOST				/* policy cannot be had: all of tde_heap is closed */
} TvVaultState;

/* What is cached of a realm for the authenticated user. */
typedef struct TvRealmCache
{
	bool		known;
	bool		authorized;		/* member of an authorized role */
	int64		password_until; /* a password of the user ends then; 0: has none */
	int64		emergency_until;	/* 0: none */
} TvRealmCache;

typedef struct TvVaultLocal
{
	TvVaultState state;
	TvPolicy   *policy;			/* NULL unless ACTIVE, CLONE, or off */
	uint64		number;
	uint64		generation;		/* 0: must look */
	uint32		version;		/* moves with every change of policy or roles */
	TvRealmCache *realms;		/* policy->n_realms of them */
	TvError		why;			/* LOST: the reason */
} TvVaultLocal;

/*
 * The latest policy.  Good until the next call.  One atomic read when nothing
 * changed.  Does not throw.
 */
extern const TvVaultLocal *tv_vault_current(void);

/*
 * From now on this process sees policy, which becomes local's (NULL: the
 * shared one again).
 */
extern void tv_vault_local_replace(TvPolicy *policy);

/* What this transaction wrote is now everybody's. */
extern void tv_vault_local_settle(void);

/* Nothing of the policy at hand, which the shared one is, concerns relid. */
extern void tv_vault_local_ignore(Oid relid);

/* All of it that concerns relid is that realm, which lets the session read, until then. */
extern void tv_vault_local_open(Oid relid, uint32 realm, TimestampTz until);

/* What the session may read has changed. */
extern void tv_vault_local_close(void);

/* Access of the authenticated user to realm number i. Catalogs are read. */
extern const TvRealmCache *tv_vault_realm_access(const TvVaultLocal *local, uint32 i);

/* Is it a background worker that acts as a role which has not logged in to it? */
extern bool tv_vault_nobody_logged_in(void);

/* Is the authenticated user that role or a member, superuser or not?  Nobody is who has not logged in. */
extern bool tv_vault_has_role(Oid role);

/* The transaction has ended: names that answers pointed to are not needed any more. */
extern void tv_vault_local_end(void);

extern void tv_vault_local_init(void);

/* --- tv_vault_closure.c --- */

/* Realms and rules that concern a relation, by index into the policy. */
typedef struct TvTarget
{
	Oid			relid;
	char		status;			/* of the hash table */
	bool		sealed;			/* tde_heap, or part of a table that is */
	bool		above;			/* some of its partitions or children are in other realms, too */
	uint16		n_realms;
	uint16		n_rules;
	uint32	   *realms;
	uint32	   *rules;
} TvTarget;

/*
 * What concerns relid; NULL if it does not exist.  Good until the next call
 * from outside.  Catalogs are read the first time.
 */
extern const TvTarget *tv_vault_target(const TvVaultLocal *local, Oid relid);

/* Forget all targets, at the next moment that nobody uses one. */
extern void tv_vault_targets_forget(void);

/* Has something moved since the last target was looked up? */
extern bool tv_vault_targets_stale(void);

/* relid and the relations whose protection covers it. */
extern List *tv_vault_roots(Oid relid);

extern void tv_vault_closure_init(void);

/* --- tv_vault_change.c: changes of this transaction --- */

/*
 * The policy to change, of this session's database: locked against others
 * until the transaction ends, seen by this session at once, and by all when
 * the transaction commits.  Throws ERROR (read-only, policy lost ...).
 * create: if there is no policy, begin one.
 */
extern TvPolicy *tv_vault_change_begin(const char *command, bool create);

/* Could it be changed without waiting?  If so, the lock is taken. */
extern bool tv_vault_change_possible(void);

/* The policy has been changed. Throws when out of memory. */
extern void tv_vault_change_done(void);

/*
 * The end of the transaction concerns the vault; set by whatever is to be done
 * or undone then, and false again after it.
 */
extern bool tv_vault_at_end;

extern void tv_vault_change_init(void);

/* --- tv_vault_dropped.c: what is dropped while the policy names it --- */

/*
 * Before the transaction commits: make ready the policy without what it has
 * dropped, if nobody else is changing it.  After: write it, and return its
 * number, or 0; does not throw.  Or: it did not commit.
 */
extern void tv_vault_dropped_prepare(void);
extern uint64 tv_vault_dropped_commit(void);
extern void tv_vault_dropped_forget(void);

/* Remove roles that do not exist; owner gets their realms. */
extern void tv_vault_forget_roles(TvPolicy *policy, Oid owner);

/* An emergency that was asked for can be approved for so long. */
#define TV_EMERGENCY_WAITS (24 * USECS_PER_HOUR)

/* --- tv_vault_session.c: unlocks of this session --- */

/* Is realm unlocked in this session (or that of the parallel leader), and until when? */
extern bool tv_vault_unlocked(const TvVaultLocal *local, uint32 realm, TimestampTz *until);

/* Unlock it, by that password, for so long. Throws when there is no room. */
extern void tv_vault_session_unlock(const TvVaultPassword *password, int seconds);

/* Forget one realm's unlock. */
extern void tv_vault_session_lock(uint32 realm);

/* Has the realm's unlock, or its password, run out?  Forgets it: true once. */
extern bool tv_vault_session_ran_out(uint32 realm);

typedef struct TvUnlock
{
	int			pid;			/* 0: free */
	int			pgprocno;
	Oid			database;
	uint32		realm;
	Oid			user;			/* authenticated */
	uint64		password;		/* version */
	TimestampTz since;
	TimestampTz expires;
} TvUnlock;

/* The next entry of the database at hand from *slot; for the view. */
extern bool tv_vault_next_unlock(uint32 *slot, TvUnlock *out);

extern void tv_vault_session_init(void);

/* --- tv_vault_ask.c --- */

/*
 * ERROR if the relation may not be in a realm because it has storage that is
 * not sealed.  Nothing if it is gone.
 */
extern void tv_vault_check_may_join(Oid relid);

/* --- tv_vault_place.c --- */

/* Has role itself an office of the vault, or a realm? */
extern bool tv_vault_is_governor(const TvPolicy *policy, Oid role);

/* --- tv_vault_role.c --- */

/* role and all that it is a member of, at any distance. */
extern List *tv_vault_with_groups(Oid role);

/* --- tv_vault_rule.c --- */

/* Does rule i deny action to the session?  An error in its condition denies. */
extern bool tv_vault_rule_denies(const TvVaultLocal *local, uint32 i, TvAction action,
								 const char *realm);

#endif							/* TV_VAULT_INTERNAL_H */
