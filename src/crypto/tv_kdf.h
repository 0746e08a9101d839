/*
 * tv_kdf.h
 *	  Key derivation, message authentication, random numbers and key wrap.
 *	  No PostgreSQL headers.
 */
#ifndef TV_KDF_H
#define TV_KDF_H

#include "base/tv_status.h"

#define TV_MAC_LEN 32			/* HMAC-SHA-256 */

/* HKDF-SHA-256, RFC 5869 (extract and expand).  outlen <= 255 * 32. */
extern TvStatus tv_hkdf(const uint8_t *key, size_t keylen,
						const uint8_t *salt, size_t saltlen,
						const uint8_t *info, size_t infolen,
						uint8_t *out, size_t outlen);

/* HMAC-SHA-256, RFC 2104. */
extern TvStatus tv_hmac(const uint8_t *key, size_t keylen,
						const uint8_t *data, size_t len,
						uint8_t mac[TV_MAC_LEN]);

/*
 * A key ready for HMAC-SHA-256: plain memory, as secret as the key.  Zeros are
 * refused.
 */
typedef struct TvHmacKey
{
	uint64_t	opaque[28];
} TvHmacKey;

/* Make a key ready; tv_secret_wipe() ends it. */
extern TvStatus tv_hmac_key_init(TvHmacKey *ready, const uint8_t *key, size_t keylen);

/* Allocates nothing, takes no lock, makes no system call. */
extern TvStatus tv_hmac_with(const TvHmacKey *ready, const uint8_t *data, size_t len,
							 uint8_t mac[TV_MAC_LEN]);

/* SHA-256, FIPS 180-4. */
extern TvStatus tv_sha256(const uint8_t *data, size_t len, uint8_t hash[TV_MAC_LEN]);

/* Constant-time comparison. */
extern bool tv_equal_secret(const void *a, const void *b, size_t n);

/* Cryptographically secure random bytes; safe after fork. */
extern TvStatus tv_random(uint8_t *out, size_t len);

/*
 * Argon2id, RFC 9106, version 0x13: memory in KiB (at least 8), saltlen 16, lanes
 * 1, outlen at least 16.  TV_ERR_NO_MEMORY, TV_ERR_INVALID_ARGUMENT.  No core
 * dump can be had of the process meanwhile.
 */
extern TvStatus tv_argon2id(const uint8_t *password, size_t passlen,
							const uint8_t *salt, size_t saltlen,
							uint32_t memory_kib, uint32_t passes, uint32_t lanes,
							uint8_t *out, size_t outlen);

/*
 * Wrap a key of keylen (<= 64) bytes under a 32-byte wrapping key held in this
 * process: AES-256-GCM with a fresh random 96-bit nonce; aad binds what the
 * key is for.  Blob: nonce (12) || ciphertext (keylen) || tag (16).
 */
#define TV_WRAP_OVERHEAD 28
extern TvStatus tv_key_wrap(const uint8_t *kek,
							const uint8_t *aad, size_t aadlen,
							const uint8_t *key, size_t keylen,
							uint8_t *blob, size_t blobcap, size_t *bloblen);
extern TvStatus tv_key_unwrap(const uint8_t *kek,
							  const uint8_t *aad, size_t aadlen,
							  const uint8_t *blob, size_t bloblen,
							  uint8_t *key, size_t keylen);

/*
 * Known-answer tests of every cipher, HKDF, HMAC, Argon2id and wrap with
 * published vectors; run once at server start, well under 50 ms.
 */
extern TvStatus tv_crypto_self_test(TvError *err);

#endif							/* TV_KDF_H */
