/*
 * tv_kdf.c
 *	  Key derivation, hashes and random numbers.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "crypto/tv_kdf.h"

#include <argon2.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/mman.h>

#include "base/tv_secret.h"
#include "crypto/tv_kdf_impl.h"

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
 * Argon2's memory: a mapping of its own, not in core dumps, gone after a
 * fork.  It is too large to insist on locking it.  It is read at random, a
 * kilobyte at a time: in huge pages, if the system has any, that takes two
 * thirds of the time.
 */
static int
argon2_allocate(uint8_t **memory, size_t bytes)
{
	void	   *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
						 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return ARGON2_MEMORY_ALLOCATION_ERROR;
	if (madvise(p, bytes, MADV_DONTDUMP) != 0 ||
		madvise(p, bytes, MADV_WIPEONFORK) != 0)
	{
		munmap(p, bytes);
		return ARGON2_MEMORY_ALLOCATION_ERROR;
	}
	(void) madvise(p, bytes, MADV_HUGEPAGE);
	(void) mlock(p, bytes);
	*memory = p;
	return ARGON2_OK;
}

static void
argon2_release(uint8_t *memory, size_t bytes)
{
	tv_secret_wipe(memory, bytes);
	munmap(memory, bytes);
}

/*
 * Argon2id with all its inputs, one lane after the other: glibc locks memory
 * and guards system calls for good once a thread was started, also in all that
 * is forked later, and the postmaster comes by here.
 */
TvStatus
tv_argon2id_full(const TvArgon2Input *input, uint8_t *out, size_t outlen)
{
	argon2_context ctx;
	int			rc;

	if ((input->password == NULL && input->passlen > 0) ||
		input->salt == NULL || input->saltlen < ARGON2_MIN_SALT_LENGTH ||
		input->passlen > UINT32_MAX || input->saltlen > UINT32_MAX ||
		out == NULL || outlen < ARGON2_MIN_OUTLEN || outlen > UINT32_MAX)
		return TV_ERR_INVALID_ARGUMENT;

	memset(&ctx, 0, sizeof(ctx));
	ctx.out = out;
	ctx.outlen = (uint32_t) outlen;
	ctx.pwd = (uint8_t *) input->password;
	ctx.pwdlen = (uint32_t) input->passlen;
	ctx.salt = (uint8_t *) input->salt;
	ctx.saltlen = (uint32_t) input->saltlen;
	ctx.secret = (uint8_t *) input->secret;
	ctx.secretlen = (uint32_t) input->secretlen;
	ctx.ad = (uint8_t *) input->ad;
	ctx.adlen = (uint32_t) input->adlen;
	ctx.t_cost = input->passes;
	ctx.m_cost = input->memory_kib;
	ctx.lanes = input->lanes;
	ctx.threads = 1;
	ctx.version = ARGON2_VERSION_13;
	ctx.allocate_cbk = argon2_allocate;
	ctx.free_cbk = argon2_release;
	ctx.flags = ARGON2_DEFAULT_FLAGS;	/* password and secret are the caller's */

	rc = argon2id_ctx(&ctx);
	if (rc == ARGON2_OK)
		return TV_OK;
	tv_secret_wipe(out, outlen);
	if (rc == ARGON2_MEMORY_ALLOCATION_ERROR)
		return TV_ERR_NO_MEMORY;
	return TV_ERR_INVALID_ARGUMENT;
}

/*
 * Argon2id of a password and a salt.
 */
TvStatus
tv_argon2id(const uint8_t *password, size_t passlen,
			const uint8_t *salt, size_t saltlen,
			uint32_t memory_kib, uint32_t passes, uint32_t lanes,
			uint8_t *out, size_t outlen)
{
	TvArgon2Input input = {
		.password = password, .passlen = passlen,
		.salt = salt, .saltlen = saltlen,
		.memory_kib = memory_kib, .passes = passes, .lanes = lanes,
	};

	return tv_argon2id_full(&input, out, outlen);
}
