/*
 * tv_vault_fast.h
 *	  What hot paths ask: a few instructions each, while nothing changes.
 *
 * Every answer that is kept here belongs to one generation of the policies and
 * is used only while that is the shared one: a change is seen at once, by
 * everybody.  What this process learns by itself (an invalidation, a change of
 * its own) drops them all.
 */
#ifndef TV_VAULT_FAST_H
#define TV_VAULT_FAST_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

/* In shared memory; without a lock. */
typedef struct TvVaultPulse
{
	pg_atomic_uint64 generation;	/* moves whenever a policy does; never 0 */
	pg_atomic_uint32 n_on;		/* databases whose vault is on, or not known to be off */
} TvVaultPulse;

#define TV_VAULT_CLEAR 256		/* power of two */
#define TV_VAULT_OPEN 64		/* power of two */

/* Generations; 0: not known. */
typedef struct TvVaultFast
{
	uint64		off;			/* the vault of this database is off */
	uint64		on;				/* it is on, or a clone's */
	uint64		user;			/* what tv_vault_look_at_user() found is so */
	uint64		clear;			/* no realm and no rule concerns these relations: */
	Oid			relids[TV_VAULT_CLEAR];
	uint64		open;			/* realms that the session may read have these, and no rule: */
	struct
	{
		Oid			relid;
		uint32		realm;		/* its id */
		TimestampTz until;		/* an unlock ends */
	}			opened[TV_VAULT_OPEN];
} TvVaultFast;

extern TvVaultPulse *tv_vault_pulse;	/* NULL: no shared memory yet */
extern TvVaultFast tv_vault_fast;

/*
 * Is a vault on in any database of the cluster?  One atomic read; works
 * everywhere.  After a start also true while nobody has read a policy that says
 * it is off (tv_vault_verify_all() does; it asks the key provider).
 */
static inline bool
tv_vault_on_anywhere(void)
{
	return tv_vault_pulse != NULL && pg_atomic_read_u32(&tv_vault_pulse->n_on) > 0;
}

/* There is shared memory. */
static inline uint64
tv_vault_generation(void)
{
	return pg_atomic_read_u64(&tv_vault_pulse->generation);
}

/* tv_vault_on() where the answer is not at hand. */
extern bool tv_vault_on_here(void);

/* Is the vault of this session's database on (or closed)?  No lock. */
static inline bool
tv_vault_on(void)
{
	uint64		generation;

	if (likely(!tv_vault_on_anywhere()))
		return false;
	generation = tv_vault_generation();
	if (tv_vault_fast.on == generation)
		return true;
	return tv_vault_fast.off != generation && tv_vault_on_here();
}

/*
 * Is relid known to be of no interest to the vault?  false: ask.  A vault is on
 * somewhere.
 */
static inline bool
tv_vault_ignores(Oid relid)
{
	return tv_vault_fast.clear == tv_vault_generation() &&
		tv_vault_fast.relids[relid % TV_VAULT_CLEAR] == relid;
}

/* Is it before that time? */
extern bool tv_vault_before(TimestampTz until);

/*
 * Is the answer to "may the session read relid?" known to be that it may, for no
 * emergency's sake, whatever the columns?  Then the id of the only realm that
 * relid is in; 0: ask.  What this process has been told of is taken into
 * account, so accept invalidations first where nothing did since the statement
 * began.
 */
static inline uint32
tv_vault_opens(Oid relid)
{
	uint32		slot = relid % TV_VAULT_OPEN;

	return tv_vault_on_anywhere() && tv_vault_fast.open == tv_vault_generation() &&
		tv_vault_fast.opened[slot].relid == relid && tv_vault_before(tv_vault_fast.opened[slot].until) ?
		tv_vault_fast.opened[slot].realm : 0;
}

#endif							/* TV_VAULT_FAST_H */
