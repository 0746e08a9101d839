/*
 * tv_cipher_openssl.c
 *	  Every cipher by OpenSSL: the reference, and what serves where the
 *	  faster library does not.
 *
 * OpenSSL keeps key schedules in heap memory of its own.  So a context holds
 * the key itself, in the caller's secret memory, and one handle a cipher and
 * direction, made at setup, is keyed for every message and keyed with a
 * constant again afterwards: no key stays in ordinary memory, and neither
 * sealing nor opening allocates.
 */
#include "crypto/tv_cipher_impl.h"

#include <openssl/evp.h>
#include <openssl/opensslv.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

static EVP_CIPHER_CTX *handles[TV_CIPHER_COUNT][2]; /* [cipher][encrypt] */
static char label[64];
static bool ready;

/* Overwrites the last key in a handle.  Its halves differ, as XTS demands. */
static const uint8_t scrub_key[TV_CIPHER_KEY_MAX] = {1};
static const uint8_t scrub_iv[TV_TWEAK_LEN];

static const char *const fetch_names[TV_CIPHER_COUNT] = {
	[TV_CIPHER_AES_256_GCM] = "AES-256-GCM",
	[TV_CIPHER_CHACHA20_POLY1305] = "ChaCha20-Poly1305",
	[TV_CIPHER_AES_256_CTR] = "AES-256-CTR",
	[TV_CIPHER_AES_256_XTS] = "AES-256-XTS",
};

/*
 * Make the handle of one cipher and direction.
 */
static bool
make_handle(int cipher, int encrypt)
{
	EVP_CIPHER *type = EVP_CIPHER_fetch(NULL, fetch_names[cipher], NULL);
	EVP_CIPHER_CTX *handle = EVP_CIPHER_CTX_new();
	bool		done = type != NULL && handle != NULL &&
	EVP_CipherInit_ex2(handle, type, scrub_key, scrub_iv, encrypt, NULL) == 1;

	EVP_CIPHER_free(type);		/* the handle keeps its own reference */
	if (!done)
	{
		EVP_CIPHER_CTX_free(handle);
		return false;
	}
	handles[cipher][encrypt] = handle;
	return true;
}

/*
 * Make all handles.  They live as long as the process.
 */
TvStatus
tv_openssl_setup(TvError *err)
{
	if (ready)
		return TV_OK;
	for (int c = 1; c < TV_CIPHER_COUNT; c++)
	{
		for (int encrypt = 0; encrypt < 2; encrypt++)
		{
			if (handles[c][encrypt] == NULL && !make_handle(c, encrypt))
				return tv_error(err, TV_ERR_INTERNAL,
								"OpenSSL does not provide cipher \"%s\"",
								fetch_names[c]);
		}
	}
	snprintf(label, sizeof(label), "OpenSSL %s",
			 OpenSSL_version(OPENSSL_VERSION_STRING));
	ready = true;
	return TV_OK;
}

/* Version, for people. */
const char *
tv_openssl_label(void)
{
	return label;
}

static TvStatus
key_init(void *schedule, const uint8_t *key)
{
	memcpy(schedule, key, TV_KEY_LEN);
	return TV_OK;
}

static TvStatus
xts_key_init(void *schedule, const uint8_t *key)
{
	memcpy(schedule, key, TV_CIPHER_KEY_MAX);
	return TV_OK;
}

/*
 * Key a handle, run one message through it, and overwrite the key.
 */
static TvStatus
run_message(TvCipher cipher, int encrypt, const void *key, const uint8_t *iv,
			const uint8_t *aad, size_t aadlen,
			const uint8_t *in, uint8_t *out, size_t len, uint8_t *tag)
{
	EVP_CIPHER_CTX *h = handles[cipher][encrypt];
	bool		tagged = tv_cipher_has_tag(cipher);
	TvStatus	status = TV_ERR_INTERNAL;
	uint8_t		block[EVP_MAX_BLOCK_LENGTH];
	int			n;

	if (EVP_CipherInit_ex(h, NULL, NULL, key, iv, encrypt) != 1)
		goto scrub;
	if (tagged && aadlen > 0 &&
		EVP_CipherUpdate(h, NULL, &n, aad, (int) aadlen) != 1)
		goto scrub;
	if (tagged && !encrypt &&
		EVP_CIPHER_CTX_ctrl(h, EVP_CTRL_AEAD_SET_TAG, TV_TAG_LEN, tag) != 1)
		goto scrub;
	if (len > 0 &&
		(EVP_CipherUpdate(h, out, &n, in, (int) len) != 1 || n != (int) len))
		goto scrub;
	if (EVP_CipherFinal_ex(h, block, &n) != 1)
	{
		if (tagged && !encrypt)
			status = TV_ERR_AUTH;
		goto scrub;
	}
	if (tagged && encrypt &&
		EVP_CIPHER_CTX_ctrl(h, EVP_CTRL_AEAD_GET_TAG, TV_TAG_LEN, tag) != 1)
		goto scrub;
	status = TV_OK;

scrub:
	if (EVP_CipherInit_ex(h, NULL, NULL, scrub_key, scrub_iv, encrypt) != 1 &&
		status == TV_OK)
		status = TV_ERR_INTERNAL;
	return status;
}

/*
 * The counter block of CTR: nonce, then a counter that starts at 0.
 */
static void
ctr_block(uint8_t block[TV_AES_BLOCK], const uint8_t *iv)
{
	memset(block, 0, TV_AES_BLOCK);
	memcpy(block, iv, TV_NONCE_LEN);
}

#define DEFINE_OPS(prefix, cipher) \
static TvStatus \
prefix##_seal(const void *key, const uint8_t *iv, \
			  const uint8_t *aad, size_t aadlen, \
			  const uint8_t *in, uint8_t *out, size_t len, uint8_t *tag) \
{ \
	return run_message(cipher, 1, key, iv, aad, aadlen, in, out, len, tag); \
} \
static TvStatus \
prefix##_open(const void *key, const uint8_t *iv, \
			  const uint8_t *aad, size_t aadlen, \
			  const uint8_t *in, uint8_t *out, size_t len, const uint8_t *tag) \
{ \
	uint8_t		copy[TV_TAG_LEN] = {0}; \
\
	if (tag != NULL) \
		memcpy(copy, tag, TV_TAG_LEN); \
	return run_message(cipher, 0, key, iv, aad, aadlen, in, out, len, copy); \
}

DEFINE_OPS(gcm, TV_CIPHER_AES_256_GCM)
DEFINE_OPS(chacha, TV_CIPHER_CHACHA20_POLY1305)
DEFINE_OPS(xts, TV_CIPHER_AES_256_XTS)

static TvStatus
ctr_seal(const void *key, const uint8_t *iv,
		 const uint8_t *aad, size_t aadlen,
		 const uint8_t *in, uint8_t *out, size_t len, uint8_t *tag)
{
	uint8_t		block[TV_AES_BLOCK];

	(void) aad, (void) aadlen, (void) tag;
	ctr_block(block, iv);
	return run_message(TV_CIPHER_AES_256_CTR, 1, key, block, NULL, 0,
					   in, out, len, NULL);
}

static TvStatus
ctr_open(const void *key, const uint8_t *iv,
		 const uint8_t *aad, size_t aadlen,
		 const uint8_t *in, uint8_t *out, size_t len, const uint8_t *tag)
{
	uint8_t		block[TV_AES_BLOCK];

	(void) aad, (void) aadlen, (void) tag;
	ctr_block(block, iv);
	return run_message(TV_CIPHER_AES_256_CTR, 0, key, block, NULL, 0,
					   in, out, len, NULL);
}

const TvCipherOps tv_openssl_ops[TV_CIPHER_COUNT] = {
	[TV_CIPHER_AES_256_GCM] = {key_init, gcm_seal, gcm_open},
	[TV_CIPHER_CHACHA20_POLY1305] = {key_init, chacha_seal, chacha_open},
	[TV_CIPHER_AES_256_CTR] = {key_init, ctr_seal, ctr_open},
	[TV_CIPHER_AES_256_XTS] = {xts_key_init, xts_seal, xts_open},
};
