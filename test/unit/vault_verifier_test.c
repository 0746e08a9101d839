/*
 * vault_verifier_test.c
 *	  Vault passwords: what is stored, proofs, generated passwords.
 */
#include <string.h>

#include "crypto/tv_kdf.h"
#include "unit.h"
#include "vault/tv_vault_verifier.h"

/* Small parameters, so that a test under valgrind ends. */
static void
make_small(TvVaultPassword *verifier, const char *password)
{
	uint8_t		hash[32];
	uint8_t		client[32];

	memset(verifier, 0, sizeof(*verifier));
	verifier->memory_kib = 64;
	verifier->passes = 1;
	verifier->lanes = 1;
	memset(verifier->salt, 0x07, TV_VAULT_SALT_LEN);
	(void) tv_argon2id((const uint8_t *) password, strlen(password), verifier->salt, TV_VAULT_SALT_LEN,
					   64, 1, 1, hash, sizeof(hash));
	(void) tv_hmac(hash, sizeof(hash), (const uint8_t *) "tde_vault client key v1", 23, client);
	(void) tv_sha256(client, sizeof(client), verifier->stored);
}

static void
test_sha256(void)
{
	/* FIPS 180-4, the example "abc" */
	static const uint8_t want[32] = {
		0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
		0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad
	};
	uint8_t		hash[32];

	ok(tv_sha256((const uint8_t *) "abc", 3, hash) == TV_OK && memcmp(hash, want, 32) == 0, "SHA-256 of abc");
}

static void
test_password(void)
{
	TvVaultPassword verifier;

	make_small(&verifier, "correct horse");
	ok(tv_verifier_check(&verifier, "correct horse") == TV_OK, "the password is known, by the description in the header");
	ok(tv_verifier_check(&verifier, "correct horsf") == TV_ERR_AUTH, "another is not");
	ok(tv_verifier_check(&verifier, "correct hors") == TV_ERR_AUTH, "nor a shorter one");
	ok(tv_verifier_outdated(&verifier, TV_VERIFIER_MEMORY_KIB), "its parameters are not today's");
	verifier.salt[0] ^= 1;
	ok(tv_verifier_check(&verifier, "correct horse") == TV_ERR_AUTH, "the salt counts");
	verifier.salt[0] ^= 1;
	verifier.passes = 2;
	ok(tv_verifier_check(&verifier, "correct horse") == TV_ERR_AUTH, "and so do the parameters");
	verifier.passes = 0;
	ok(tv_verifier_check(&verifier, "correct horse") != TV_OK, "nonsensical ones are refused");
}

static void
test_proof(void)
{
	TvVaultPassword verifier;
	uint8_t		nonce[TV_VERIFIER_NONCE_LEN];
	uint8_t		proof[TV_VAULT_HASH_LEN];
	uint8_t		wrong[TV_VAULT_HASH_LEN];

	make_small(&verifier, "secret");
	memset(nonce, 0x42, sizeof(nonce));
	ok(tv_verifier_proof(&verifier, "secret", "pii", nonce, proof) == TV_OK, "a proof is made");
	ok(tv_verifier_check_proof(&verifier, "pii", nonce, proof) == TV_OK, "and taken");
	ok(tv_verifier_check_proof(&verifier, "lab", nonce, proof) == TV_ERR_AUTH, "not for another realm");
	ok(tv_verifier_proof(&verifier, "Secret", "pii", nonce, wrong) == TV_OK &&
	   tv_verifier_check_proof(&verifier, "pii", nonce, wrong) == TV_ERR_AUTH, "nor with another password");
	nonce[31] ^= 1;
	ok(tv_verifier_check_proof(&verifier, "pii", nonce, proof) == TV_ERR_AUTH, "nor for another nonce");
	nonce[31] ^= 1;
	proof[0] ^= 1;
	ok(tv_verifier_check_proof(&verifier, "pii", nonce, proof) == TV_ERR_AUTH, "nor with a flipped bit");
	/* who has the policy has the stored key: it is no proof */
	ok(tv_verifier_check_proof(&verifier, "pii", nonce, verifier.stored) == TV_ERR_AUTH,
	   "what is stored is no proof");
}

static void
test_generated(void)
{
	char		password[TV_GENERATED_LEN];
	char		other[TV_GENERATED_LEN];
	bool		seen[256] = {false};
	bool		clear = true;
	int			n = 0;

	for (int i = 0; i < 200; i++)
	{
		ok(tv_verifier_generate(password) == TV_OK && strlen(password) == 29, "a password is generated");
		for (const char *c = password; *c; c++)
		{
			clear &= *c == '-' || strchr("23456789ABCDEFGHJKMNPQRSTUVWXYZ", *c) != NULL;
			seen[(unsigned char) *c] = true;
		}
	}
	for (int c = 0; c < 256; c++)
		n += seen[c];
	ok(clear, "of characters that cannot be mistaken");
	ok(n == 32, "all of which occur");
	(void) tv_verifier_generate(other);
	ok(strcmp(password, other) != 0, "no two are alike");
}

int
main(void)
{
	test_sha256();
	test_password();
	test_proof();
	test_generated();
	return unit_done();
}
