/*
 * tv_vault_verifier.h
 *	  Vault passwords: what is stored, and two ways to check one.
 *	  No PostgreSQL headers.
 *
 *	H         = Argon2id(password, salt)
 *	ClientKey = HMAC-SHA-256(H, "tde_vault client key v1")
 *	StoredKey = SHA-256(ClientKey)                              kept in the policy
 *	proof     = ClientKey XOR HMAC-SHA-256(StoredKey, nonce || realm)
 *
 * as in SCRAM (RFC 5802, 3) with Argon2id in place of PBKDF2: who has the
 * policy cannot log in with it, and a proof that was overheard is of no use
 * for another nonce.
 */
#ifndef TV_VAULT_VERIFIER_H
#define TV_VAULT_VERIFIER_H

#include "vault/tv_vault_format.h"

#define TV_VERIFIER_MEMORY_KIB (64 * 1024)	/* unless the caller wants more or less */
#define TV_VERIFIER_PASSES 3
#define TV_VERIFIER_LANES 1
#define TV_VERIFIER_NONCE_LEN 32
#define TV_PASSWORD_MAX 1024	/* bytes */

/* Groups of letters and digits, and an end; see tv_verifier_generate(). */
#define TV_GENERATED_LEN 30

/* Fill parameters, salt and stored for the password; it takes memory_kib. */
extern TvStatus tv_verifier_make(TvVaultPassword *verifier, const char *password,
								 uint32_t memory_kib);

/* TV_OK, TV_ERR_AUTH (another password), or what went wrong. */
extern TvStatus tv_verifier_check(const TvVaultPassword *verifier, const char *password);
extern TvStatus tv_verifier_check_proof(const TvVaultPassword *verifier, const char *realm,
										const uint8_t nonce[TV_VERIFIER_NONCE_LEN],
										const uint8_t proof[TV_VAULT_HASH_LEN]);

/* What a client answers; for tests. */
extern TvStatus tv_verifier_proof(const TvVaultPassword *verifier, const char *password,
								  const char *realm,
								  const uint8_t nonce[TV_VERIFIER_NONCE_LEN],
								  uint8_t proof[TV_VAULT_HASH_LEN]);

/* Was it made with less than what is used today? */
extern bool tv_verifier_outdated(const TvVaultPassword *verifier, uint32_t memory_kib);

/*
 * A password of more than 120 bits, in characters that cannot be mistaken for
 * each other.
 */
extern TvStatus tv_verifier_generate(char out[TV_GENERATED_LEN]);

#endif							/* TV_VAULT_VERIFIER_H */
