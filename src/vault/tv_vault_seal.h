/*
 * tv_vault_seal.h
 *	  A policy and its bytes: sealed, and known to be the latest.
 */
#ifndef TV_VAULT_SEAL_H
#define TV_VAULT_SEAL_H

#include "vault/tv_vault_internal.h"

#include "catalog/pg_database.h"

#define TV_VAULT_DIR "tde_vault/vault"

/* The keyring's "table" and "file" for the key of a policy. */
#define TV_VAULT_KEY_TABLE DatabaseRelationId

/* The policy of database "what": status, with what helps as the hint. */
extern TvStatus tv_vault_policy_damaged(TvError *err, Oid database, TvStatus status,
										const char *what);

/*
 * Seal the policy into malloc'ed memory, after TV_LOGGED_PREFIX bytes for the
 * log; *len: bytes of the file.  Makes the key if there is none, and anchors
 * the policy's number in the keyring; from then on it and the one before are
 * taken for the latest.  May call the provider.
 */
extern TvStatus tv_vault_policy_seal(Oid database, const TvPolicy *policy,
									 uint8 **record, size_t *len, TvError *err);

/*
 * After it was written: those before are not the latest any more.  A crash may
 * have left one; a failure, a WARNING, leaves one, too, until the next change.
 */
extern void tv_vault_anchors_remove(Oid database, uint64 number);

/* Open the bytes of a file, in place, into *policy, which is the caller's. */
extern TvStatus tv_vault_policy_open(Oid database, uint8 *file, size_t len,
									 TvPolicy **policy, TvError *err);

/* The database is gone, and so is the key of its policy. */
extern void tv_vault_key_drop(Oid database);

#endif							/* TV_VAULT_SEAL_H */
