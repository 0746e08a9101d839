/*
 * tv_cipher.h
 *	  The ciphers of sealed pages and records behind one small interface.
 *	  No PostgreSQL headers.
 *
 * A context is a ready key schedule.  The caller provides its memory (secret
 * memory, 64-byte aligned, tv_cipher_context_size() bytes) and wipes it with
 * tv_cipher_done(); it holds no pointers at all, so it may be copied, and it
 * may be used by every process that inherits one tv_cipher_setup().  Sealing
 * and opening allocate nothing, take no locks and never fail for lack of
 * resources, so that they can run inside the server's critical sections.
 * in and out may be the same address.
 */
#ifndef TV_CIPHER_H
#define TV_CIPHER_H

#include "base/tv_status.h"

/* Values are stored on disk: never renumber. */
typedef enum TvCipher
{
	TV_CIPHER_NONE = 0,
	TV_CIPHER_AES_256_GCM = 1,
	TV_CIPHER_CHACHA20_POLY1305 = 2,
	TV_CIPHER_AES_256_CTR = 3,
	TV_CIPHER_AES_256_XTS = 4
} TvCipher;

#define TV_KEY_LEN 32			/* bytes of a TEK, MEK or single subkey */
#define TV_CIPHER_KEY_MAX 64	/* XTS takes two AES-256 keys */
#define TV_NONCE_LEN 12			/* 96 bits: NIST SP 800-38D 8.2, RFC 8439 */
#define TV_TWEAK_LEN 16			/* XTS: IEEE 1619 data unit number, little-endian */
#define TV_TAG_LEN 16

typedef struct TvCipherContext TvCipherContext;

/* One-time, per process, before anything else: picks implementations by CPU. */
extern TvStatus tv_cipher_setup(TvError *err);

/* "aes-256-gcm" and so on; case-insensitive; "AES256" means GCM.  NONE if unknown. */
extern TvCipher tv_cipher_from_name(const char *name);
extern const char *tv_cipher_name(TvCipher cipher);
/* A comma-separated list of all known names, for hints. */
extern const char *tv_cipher_known_names(void);
/* Which library serves this cipher here, for system_info(): "OpenSSL 3.0.x", ... */
extern const char *tv_cipher_implementation(TvCipher cipher);

extern size_t tv_cipher_key_len(TvCipher cipher);	/* 32, or 64 for XTS */
extern bool tv_cipher_has_tag(TvCipher cipher); /* GCM, ChaCha20-Poly1305 */
extern bool tv_cipher_has_nonce(TvCipher cipher);	/* those and CTR */

/* Bytes of a context; it is to be aligned to 64. */
extern size_t tv_cipher_context_size(TvCipher cipher);
/* Make a context ready; keylen is tv_cipher_key_len(). */
extern TvStatus tv_cipher_init(TvCipherContext *ctx, TvCipher cipher,
							   const uint8_t *key, size_t keylen);

/*
 * Wipe a context: after this, sealing and opening with it are refused.  Every
 * key schedule lives inside the context, so nothing else is to be released,
 * and releasing the memory wiped (tv_secret_free) is as good.  NULL and an
 * already wiped context are ignored.
 */
extern void tv_cipher_done(TvCipherContext *ctx);

/*
 * Encrypt len bytes.  iv: TV_NONCE_LEN bytes, or TV_TWEAK_LEN for XTS (the
 * tweak before its own encryption).  aad and tag are used by ciphers with a
 * tag and ignored by the others (aadlen 0, tag NULL allowed there).  XTS
 * needs len >= 16 and steals ciphertext for a ragged end.  CTR: the counter
 * block is nonce || 32-bit big-endian counter that starts at 0.
 */
extern TvStatus tv_cipher_seal(const TvCipherContext *ctx, const uint8_t *iv,
							   const uint8_t *aad, size_t aadlen,
							   const uint8_t *in, uint8_t *out, size_t len,
							   uint8_t *tag);

/*
 * Decrypt; TV_ERR_AUTH when the tag does not verify, and out is then zeroed.
 * Tags are compared in constant time.
 */
extern TvStatus tv_cipher_open(const TvCipherContext *ctx, const uint8_t *iv,
							   const uint8_t *aad, size_t aadlen,
							   const uint8_t *in, uint8_t *out, size_t len,
							   const uint8_t *tag);

#endif							/* TV_CIPHER_H */
