/*
 * tv_self_test.c
 *	  Known-answer tests with published vectors, run at server start.
 */
#include <string.h>

#include "base/tv_secret.h"
#include "crypto/tv_cipher.h"
#include "crypto/tv_cipher_impl.h"
#include "crypto/tv_kdf.h"
#include "crypto/tv_vectors.h"

#define ROOM 512				/* the longest vector */

typedef struct TestBuffers
{
	uint8_t		key[TV_CIPHER_KEY_MAX];
	uint8_t		iv[TV_TWEAK_LEN];
	uint8_t		aad[64];
	uint8_t		plain[ROOM];
	uint8_t		cipher[ROOM];
	uint8_t		tag[TV_TAG_LEN];
	uint8_t		out[ROOM];
	uint8_t		out_tag[TV_TAG_LEN];
} TestBuffers;

static uint8_t
hex_digit(char c)
{
	return (uint8_t) (c <= '9' ? c - '0' : c - 'a' + 10);
}

/*
 * Decode a lower-case hex constant of this program.
 */
size_t
tv_vector_bytes(const char *hex, uint8_t *out, size_t cap)
{
	size_t		n = strlen(hex) / 2;

	if (n > cap)
		return 0;
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t) (hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
	return n;
}

/*
 * Seal and open one vector with a given library; also see that a flipped tag
 * is refused.  The first "skip" bytes are not compared: vectors of CTR that
 * start at another counter than 0 are placed behind whole blocks of zeros.
 */
static TvStatus
check_vector(const TvCipherVector *v, TvCipherLibrary library,
			 TvCipherContext *ctx, TestBuffers *b)
{
	size_t		keylen = tv_vector_bytes(v->key, b->key, sizeof(b->key));
	size_t		aadlen = tv_vector_bytes(v->aad, b->aad, sizeof(b->aad));
	size_t		len;
	bool		tagged = tv_cipher_has_tag(v->cipher);

	memset(b->plain, 0, v->skip);
	memset(b->cipher, 0, v->skip);
	(void) tv_vector_bytes(v->iv, b->iv, sizeof(b->iv));
	len = v->skip + tv_vector_bytes(v->plain, b->plain + v->skip, ROOM - v->skip);
	(void) tv_vector_bytes(v->ciphertext, b->cipher + v->skip, ROOM - v->skip);
	(void) tv_vector_bytes(v->tag, b->tag, sizeof(b->tag));

	if (tv_cipher_init_with(ctx, v->cipher, library, b->key, keylen) != TV_OK ||
		tv_cipher_seal(ctx, b->iv, b->aad, aadlen, b->plain, b->out, len,
					   b->out_tag) != TV_OK ||
		memcmp(b->out + v->skip, b->cipher + v->skip, len - v->skip) != 0 ||
		(tagged && memcmp(b->out_tag, b->tag, TV_TAG_LEN) != 0))
		return TV_ERR_INTERNAL;
	if (tv_cipher_open(ctx, b->iv, b->aad, aadlen, b->out, b->out, len,
					   b->tag) != TV_OK ||
		memcmp(b->out, b->plain, len) != 0)
		return TV_ERR_INTERNAL;
	if (tagged)
	{
		b->tag[0] ^= 1;
		if (tv_cipher_open(ctx, b->iv, b->aad, aadlen, b->cipher, b->out, len,
						   b->tag) != TV_ERR_AUTH)
			return TV_ERR_INTERNAL;
	}
	return TV_OK;
}

static TvStatus
test_ciphers(TvError *err, TestBuffers *b)
{
	TvCipherContext *ctx;
	TvStatus	status = TV_OK;

	ctx = tv_secret_alloc(tv_cipher_context_size(TV_CIPHER_AES_256_GCM));
	if (ctx == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY,
						"out of memory while testing ciphers");

	/* GCM's context is the largest and serves all */
	for (const TvCipherVector *v = tv_cipher_vectors; v->cipher != TV_CIPHER_NONE; v++)
	{
		for (int lib = 0; lib < TV_LIBRARY_COUNT && status == TV_OK; lib++)
		{
			if (!tv_cipher_has_library(v->cipher, (TvCipherLibrary) lib))
				continue;
			status = check_vector(v, (TvCipherLibrary) lib, ctx, b);
			if (status != TV_OK)
				tv_error(err, status,
						 "self test of cipher \"%s\" failed with vector \"%s\"",
						 tv_cipher_name(v->cipher), v->name);
		}
	}
	tv_secret_free(ctx);
	return status;
}

static TvStatus
test_hashes(TvError *err, TestBuffers *b)
{
	for (const TvHkdfVector *v = tv_hkdf_vectors; v->name != NULL; v++)
	{
		size_t		keylen = tv_vector_bytes(v->key, b->key, sizeof(b->key));
		size_t		saltlen = tv_vector_bytes(v->salt, b->iv, sizeof(b->iv));
		size_t		infolen = tv_vector_bytes(v->info, b->aad, sizeof(b->aad));
		size_t		outlen = tv_vector_bytes(v->out, b->plain, ROOM);

		if (tv_hkdf(b->key, keylen, b->iv, saltlen, b->aad, infolen,
					b->out, outlen) != TV_OK ||
			memcmp(b->out, b->plain, outlen) != 0)
			return tv_error(err, TV_ERR_INTERNAL,
							"self test of HKDF failed with vector \"%s\"", v->name);
	}
	for (const TvHmacVector *v = tv_hmac_vectors; v->name != NULL; v++)
	{
		size_t		keylen = tv_vector_bytes(v->key, b->cipher, ROOM);
		size_t		len = tv_vector_bytes(v->data, b->plain, ROOM);

		(void) tv_vector_bytes(v->mac, b->aad, sizeof(b->aad));
		if (tv_hmac(b->cipher, keylen, b->plain, len, b->out) != TV_OK ||
			memcmp(b->out, b->aad, TV_MAC_LEN) != 0)
			return tv_error(err, TV_ERR_INTERNAL,
							"self test of HMAC failed with vector \"%s\"", v->name);
	}
	return TV_OK;
}

static TvStatus
test_argon2id(TvError *err, TestBuffers *b)
{
	const TvArgon2Vector *v = &tv_argon2id_vector;
	size_t		passlen = tv_vector_bytes(v->password, b->plain, ROOM);
	size_t		saltlen = tv_vector_bytes(v->salt, b->aad, sizeof(b->aad));
	size_t		len = tv_vector_bytes(v->hash, b->cipher, ROOM);

	if (tv_argon2id(b->plain, passlen, b->aad, saltlen, v->memory_kib, v->passes, 1, b->out,
					len) != TV_OK ||
		memcmp(b->out, b->cipher, len) != 0)
		return tv_error(err, TV_ERR_INTERNAL, "self test of Argon2id failed");
	return TV_OK;
}

/*
 * Wrapping draws a nonce, so there is no vector: there and back, and no way
 * back with other associated data.
 */
static TvStatus
test_wrap(TvError *err, TestBuffers *b)
{
	size_t		len = 0;

	memset(b->key, 0x11, sizeof(b->key));
	memset(b->plain, 0x22, TV_KEY_LEN);
	memset(b->aad, 0x33, 8);
	if (tv_key_wrap(b->key, b->aad, 8, b->plain, TV_KEY_LEN,
					b->cipher, ROOM, &len) != TV_OK ||
		tv_key_unwrap(b->key, b->aad, 8, b->cipher, len,
					  b->out, TV_KEY_LEN) != TV_OK ||
		memcmp(b->out, b->plain, TV_KEY_LEN) != 0 ||
		tv_key_unwrap(b->key, b->aad, 7, b->cipher, len,
					  b->out, TV_KEY_LEN) != TV_ERR_AUTH)
		return tv_error(err, TV_ERR_INTERNAL, "self test of key wrap failed");
	return TV_OK;
}

/*
 * All known-answer tests, of every library that may serve a cipher here.
 */
TvStatus
tv_crypto_self_test(TvError *err)
{
	TestBuffers b;
	TvStatus	status;

	memset(&b, 0, sizeof(b));
	if ((status = tv_cipher_setup(err)) != TV_OK ||
		(status = test_ciphers(err, &b)) != TV_OK ||
		(status = test_hashes(err, &b)) != TV_OK ||
		(status = test_argon2id(err, &b)) != TV_OK)
		return status;
	return test_wrap(err, &b);
}
