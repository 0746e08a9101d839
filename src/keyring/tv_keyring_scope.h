/*
 * tv_keyring_scope.h
 *	  Scopes: tablespaces in which everything new is encrypted.
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

/* The scope that a new file of that place is in; false if in none.  O(scopes). */
extern bool tv_keyring_scope_of(const RelFileNode *node, TvKeyringScope *out);

/* Is there a scope for exactly that?  out may be NULL. */
extern bool tv_keyring_scope(Oid tablespace, Oid database, TvKeyringScope *out);

/* Copy out scope number i; false past the end. */
extern bool tv_keyring_scope_at(uint32 i, TvKeyringScope *out);

/* Make or change a scope; cipher NONE: end it.  Durable on return. */
extern TvStatus tv_keyring_set_scope(Oid tablespace, Oid database, TvCipher cipher,
									 uint64 master_key, TvError *err);

/*
 * As tv_keyring_key_for_table(), with cipher and master key of the scope; if
 * that was rotated, with what took its place.
 */
extern TvStatus tv_keyring_key_in_scope(Oid database, Oid table,
										const TvKeyringScope *scope, uint64 *key,
										TvCipher *key_cipher, TvError *err);

/* --- for the keyring; the caller holds TV_LOCK_KEYRING_TABLE --- */

/* tv_keyring_scope_at() */
extern bool tv_keyring_scope_at_locked(uint32 i, TvKeyringScope *out);
/* Does the table say what the record says? */
extern bool tv_keyring_has_scope(const TvScopeRecord *record);
extern TvStatus tv_keyring_apply_scope(const TvScopeRecord *record, TvError *err);

#endif							/* TV_KEYRING_SCOPE_H */
