/*
 * tv_keyring_scope.h
 *	  Scopes: tablespaces and databases in which everything new is encrypted.
 *
 * Whoever could take a scope out of the keyring would have new tables written
 * in plain.  So each SCOPE record has a number and a MAC of all scopes that
 * there are after it, under a key of its own; the newest one vouches for all
 * of them.  That it is the newest, the MACs of file records say, which name
 * the number that was the newest when they were written.
 */
#ifndef TV_KEYRING_SCOPE_H
#define TV_KEYRING_SCOPE_H

#include "keyring/tv_keyring.h"

#define TV_SCOPE_MAX 1024

typedef struct TvKeyringScope
{
	Oid			tablespace;		/* 0: any */
	Oid			database;		/* 0: any */
	TvCipher	cipher;			/* of keys that are made for it */
	uint64		master_key;		/* that wraps them; 0: that of their database */
	int64		created;
} TvKeyringScope;

/* Before the keyring's own area is set up. */
extern void tv_keyring_scope_init(void);

/*
 * Are the scopes what those said who made them?  TV_ERR_AUTH: the keyring was
 * changed by somebody without its keys.  Before an answer about scopes decides
 * whether something is written in plain.  Cheap once it has been found out; the
 * first time after a change it opens a key, and may call the provider.
 */
extern TvStatus tv_keyring_check_scopes(TvError *err);

/* The scope that a new file of that place is in; false if in none.  O(scopes). */
extern bool tv_keyring_scope_of(const RelFileNode *node, TvKeyringScope *out);

/* Is there a scope for exactly that?  out may be NULL. */
extern bool tv_keyring_scope(Oid tablespace, Oid database, TvKeyringScope *out);

/* Copy out scope number i; false past the end. */
extern bool tv_keyring_scope_at(uint32 i, TvKeyringScope *out);

/*
 * Make or change a scope; cipher NONE: end it.  Durable on return.  May call
 * the provider, unless tv_keyring_open_scopes() came before it.
 */
extern TvStatus tv_keyring_set_scope(Oid tablespace, Oid database, TvCipher cipher,
									 uint64 master_key, TvError *err);

/* Have at hand what tv_keyring_set_scope() will need. */
extern TvStatus tv_keyring_open_scopes(TvError *err);

/* If versions of before made the scopes, without a MAC: make one. */
extern TvStatus tv_keyring_renew_scopes(TvError *err);

/*
 * As tv_keyring_key_for_table(), with cipher and master key of the scope; if
 * that was rotated, with what took its place.
 */
extern TvStatus tv_keyring_key_in_scope(Oid database, Oid table,
										const TvKeyringScope *scope, uint64 *key,
										TvCipher *key_cipher, TvError *err);

/* --- for the keyring --- */

/* How often scopes were changed; 0: never, or by versions that had no MAC. */
extern uint64 tv_keyring_scope_number(void);

/* The rest: the caller holds TV_LOCK_KEYRING_TABLE. */

/* tv_keyring_scope_at() */
extern bool tv_keyring_scope_at_locked(uint32 i, TvKeyringScope *out);
/* A file record says that there were so many changes. */
extern void tv_keyring_promise_scopes(uint64 number);
/* Would applying the record change nothing? */
extern bool tv_keyring_knows_scope(const TvScopeRecord *record);
/* Does it still say something? */
extern bool tv_keyring_scope_is_live(const TvScopeRecord *record);
extern TvStatus tv_keyring_apply_scope(const TvScopeRecord *record, TvError *err);

#endif							/* TV_KEYRING_SCOPE_H */
