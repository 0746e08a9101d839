/*
 * tv_vault_verifier_core.c
 *	  Vault passwords: what is stored, and two ways to check one.
 */
#include "vault/tv_vault_verifier.h"

#include <string.h>

#include "base/tv_secret.h"
#include "crypto/tv_kdf.h"

#define CLIENT_KEY_LABEL "tde_vault client key v1"

/* 31 characters, none of which looks like another: no 0 O 1 I L */
#define ALPHABET "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
#define ALPHABET_LEN 31
#define GROUPS 5
#define GROUP_LEN 5

/* Secrets of one check, in memory that wipes itself. */
typedef struct Scratch
{
	uint8_t		hash[TV_VAULT_HASH_LEN];
	uint8_t		client_key[TV_VAULT_HASH_LEN];
	uint8_t		stored[TV_VAULT_HASH_LEN];
	uint8_t		mask[TV_VAULT_HASH_LEN];
} Scratch;

static TvStatus
derive(const TvVaultPassword *verifier, const char *password, Scratch *scratch)
{
	TvStatus	status;

	status = tv_argon2id((const uint8_t *) password, strlen(password),
						 verifier->salt, TV_VAULT_SALT_LEN,
						 verifier->memory_kib, verifier->passes, verifier->lanes,
						 scratch->hash, TV_VAULT_HASH_LEN);
	if (status == TV_OK)
		status = tv_hmac(scratch->hash, TV_VAULT_HASH_LEN, (const uint8_t *) CLIENT_KEY_LABEL,
						 sizeof(CLIENT_KEY_LABEL) - 1, scratch->client_key);
	if (status == TV_OK)
		status = tv_sha256(scratch->client_key, TV_VAULT_HASH_LEN, scratch->stored);
	return status;
}

/* HMAC(stored, nonce || realm) */
static TvStatus
mask_of(const uint8_t *stored, const char *realm, const uint8_t *nonce, uint8_t *mask)
{
	uint8_t		message[TV_VERIFIER_NONCE_LEN + TV_VAULT_NAME_MAX];
	size_t		len = strlen(realm);

	if (len > TV_VAULT_NAME_MAX)
		return TV_ERR_INVALID_ARGUMENT;
	memcpy(message, nonce, TV_VERIFIER_NONCE_LEN);
	memcpy(message + TV_VERIFIER_NONCE_LEN, realm, len);
	return tv_hmac(stored, TV_VAULT_HASH_LEN, message, TV_VERIFIER_NONCE_LEN + len, mask);
}

TvStatus
tv_verifier_make(TvVaultPassword *verifier, const char *password, uint32_t memory_kib)
{
	Scratch    *scratch = tv_secret_alloc(sizeof(Scratch));
	TvStatus	status;

	if (scratch == NULL)
		return TV_ERR_NO_MEMORY;
	verifier->memory_kib = memory_kib;
	verifier->passes = TV_VERIFIER_PASSES;
	verifier->lanes = TV_VERIFIER_LANES;
	status = tv_random(verifier->salt, TV_VAULT_SALT_LEN);
	if (status == TV_OK)
		status = derive(verifier, password, scratch);
	if (status == TV_OK)
		memcpy(verifier->stored, scratch->stored, TV_VAULT_HASH_LEN);
	tv_secret_free(scratch);
	return status;
}

TvStatus
tv_verifier_check(const TvVaultPassword *verifier, const char *password)
{
	Scratch    *scratch = tv_secret_alloc(sizeof(Scratch));
	TvStatus	status;

	if (scratch == NULL)
		return TV_ERR_NO_MEMORY;
	status = derive(verifier, password, scratch);
	if (status == TV_OK && !tv_equal_secret(scratch->stored, verifier->stored, TV_VAULT_HASH_LEN))
		status = TV_ERR_AUTH;
	tv_secret_free(scratch);
	return status;
}

TvStatus
tv_verifier_proof(const TvVaultPassword *verifier, const char *password, const char *realm,
				  const uint8_t nonce[TV_VERIFIER_NONCE_LEN], uint8_t proof[TV_VAULT_HASH_LEN])
{
	Scratch    *scratch = tv_secret_alloc(sizeof(Scratch));
	TvStatus	status;

	if (scratch == NULL)
		return TV_ERR_NO_MEMORY;
	status = derive(verifier, password, scratch);
	if (status == TV_OK)
		status = mask_of(scratch->stored, realm, nonce, scratch->mask);
	for (int i = 0; i < TV_VAULT_HASH_LEN && status == TV_OK; i++)
		proof[i] = scratch->client_key[i] ^ scratch->mask[i];
	tv_secret_free(scratch);
	return status;
}

TvStatus
tv_verifier_check_proof(const TvVaultPassword *verifier, const char *realm,
						const uint8_t nonce[TV_VERIFIER_NONCE_LEN],
						const uint8_t proof[TV_VAULT_HASH_LEN])
{
	Scratch    *scratch = tv_secret_alloc(sizeof(Scratch));
	TvStatus	status;

	if (scratch == NULL)
		return TV_ERR_NO_MEMORY;
	status = mask_of(verifier->stored, realm, nonce, scratch->mask);
	for (int i = 0; i < TV_VAULT_HASH_LEN; i++)
		scratch->client_key[i] = proof[i] ^ scratch->mask[i];
	if (status == TV_OK)
		status = tv_sha256(scratch->client_key, TV_VAULT_HASH_LEN, scratch->stored);
	if (status == TV_OK && !tv_equal_secret(scratch->stored, verifier->stored, TV_VAULT_HASH_LEN))
		status = TV_ERR_AUTH;
	tv_secret_free(scratch);
	return status;
}

bool
tv_verifier_outdated(const TvVaultPassword *verifier, uint32_t memory_kib)
{
	return verifier->memory_kib < memory_kib || verifier->passes < TV_VERIFIER_PASSES ||
		verifier->lanes != TV_VERIFIER_LANES;
}

TvStatus
tv_verifier_generate(char out[TV_GENERATED_LEN])
{
	int			n = 0;

	for (int i = 0; i < GROUPS * GROUP_LEN; i++)
	{
		uint8_t		byte;

		do
		{
			if (tv_random(&byte, 1) != TV_OK)
				return TV_ERR_INTERNAL;
		} while (byte >= 256 / ALPHABET_LEN * ALPHABET_LEN);	/* each character as likely */
		if (i > 0 && i % GROUP_LEN == 0)
			out[n++] = '-';
		out[n++] = ALPHABET[byte % ALPHABET_LEN];
	}
	out[n] = '\0';
	return TV_OK;
}
