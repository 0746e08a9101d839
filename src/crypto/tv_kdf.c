/*
 * tv_kdf.c
 *	  Key derivation, hashes and random numbers.
 */
#include "crypto/tv_kdf.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <sodium.h>
#include <sys/prctl.h>

#include "base/tv_secret.h"

#define HKDF_MAX (255 * TV_MAC_LEN)

/*
 * HKDF-SHA-256, extract and expand.
 */
TvStatus
tv_hkdf(const uint8_t *key, size_t keylen,
		const uint8_t *salt, size_t saltlen,
		const uint8_t *info, size_t infolen,
		uint8_t *out, size_t outlen)
{
	EVP_KDF    *kdf;
	EVP_KDF_CTX *ctx = NULL;
	OSSL_PARAM	params[5];
	OSSL_PARAM *p = params;
	TvStatus	status = TV_ERR_INTERNAL;

	if (key == NULL || keylen == 0 || out == NULL || outlen == 0 ||
		outlen > HKDF_MAX ||
		(salt == NULL && saltlen > 0) || (info == NULL && infolen > 0))
		return TV_ERR_INVALID_ARGUMENT;

	*p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, "SHA256", 0);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY,
											 (void *) key, keylen);
	if (saltlen > 0)
		*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT,
												 (void *) salt, saltlen);
	if (infolen > 0)
		*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO,
												 (void *) info, infolen);
	*p = OSSL_PARAM_construct_end();

	kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	if (kdf != NULL)
		ctx = EVP_KDF_CTX_new(kdf);
	if (ctx != NULL && EVP_KDF_derive(ctx, out, outlen, params) == 1)
		status = TV_OK;
	else
		tv_secret_wipe(out, outlen);
	EVP_KDF_CTX_free(ctx);		/* wipes its copy of the key */
	EVP_KDF_free(kdf);
	return status;
}

/*
 * SHA-256.
 */
TvStatus
tv_sha256(const uint8_t *data, size_t len, uint8_t hash[TV_MAC_LEN])
{
	unsigned int hashlen = 0;

	if (data == NULL || hash == NULL)
		return TV_ERR_INVALID_ARGUMENT;
	if (EVP_Digest(data, len, hash, &hashlen, EVP_sha256(), NULL) != 1 || hashlen != TV_MAC_LEN)
		return TV_ERR_INTERNAL;
	return TV_OK;
}

/*
 * Constant-time comparison.
 */
bool
tv_equal_secret(const void *a, const void *b, size_t n)
{
	return n == 0 || CRYPTO_memcmp(a, b, n) == 0;
}

/*
 * Random bytes from OpenSSL's DRBG, which reseeds itself in a child.
 */
TvStatus
tv_random(uint8_t *out, size_t len)
{
	if (len == 0)
		return TV_OK;
	if (out == NULL || len > INT32_MAX)
		return TV_ERR_INVALID_ARGUMENT;
	if (RAND_bytes(out, (int) len) != 1)
	{
		tv_secret_wipe(out, len);
		return TV_ERR_INTERNAL;
	}
	return TV_OK;
}

/*
 * While a password is stretched, memory that would let guesses at it be tried
 * without that work is the library's, and would be in a core dump.  So there is
 * none meanwhile (prctl(2), PR_SET_DUMPABLE).
 */
static bool
forbid_core_dump(void)
{
	return prctl(PR_GET_DUMPABLE) == 1 && prctl(PR_SET_DUMPABLE, 0) == 0;
}

static void
allow_core_dump(bool allowed)
{
	if (allowed)
		(void) prctl(PR_SET_DUMPABLE, 1);
}

/*
 * Argon2id by libsodium, which has the instructions of newer processors for it,
 * and starts no thread: glibc locks memory and guards system calls for good once
 * one was started, also in all that is forked later, and the postmaster comes by
 * here.  See decision 0040.
 */
TvStatus
tv_argon2id(const uint8_t *password, size_t passlen,
			const uint8_t *salt, size_t saltlen,
			uint32_t memory_kib, uint32_t passes, uint32_t lanes,
			uint8_t *out, size_t outlen)
{
	size_t		memory = (size_t) memory_kib * 1024;
	bool		dumpable;
	int			rc;

	if ((password == NULL && passlen > 0) || passlen > crypto_pwhash_argon2id_PASSWD_MAX ||
		salt == NULL || saltlen != crypto_pwhash_argon2id_SALTBYTES || lanes != 1 ||
		passes < crypto_pwhash_argon2id_OPSLIMIT_MIN ||
		memory < crypto_pwhash_argon2id_MEMLIMIT_MIN ||
		out == NULL || outlen < crypto_pwhash_argon2id_BYTES_MIN)
		return TV_ERR_INVALID_ARGUMENT;
	if (sodium_init() < 0)
		return TV_ERR_INTERNAL;
	dumpable = forbid_core_dump();
	rc = crypto_pwhash_argon2id(out, outlen, (const char *) password, passlen, salt, passes,
								memory, crypto_pwhash_argon2id_ALG_ARGON2ID13);
	allow_core_dump(dumpable);
	if (rc == 0)
		return TV_OK;
	tv_secret_wipe(out, outlen);
	return TV_ERR_NO_MEMORY;	/* the arguments are good */
}
