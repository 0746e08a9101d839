/*
 * tv_cipher_impl.h
 *	  What the cipher layer and the libraries behind it share.  Only for
 *	  files in this folder and for tests that compare libraries.
 */
#ifndef TV_CIPHER_IMPL_H
#define TV_CIPHER_IMPL_H

#include "crypto/tv_cipher.h"

#define TV_AES_BLOCK 16
#define TV_XTS_MAX (TV_AES_BLOCK << 20)	/* a data unit: SP 800-38E */
#define TV_CIPHER_COUNT 5		/* TvCipher values, NONE included */

/* Which library made the schedule of a context. */
typedef enum TvCipherLibrary
{
	TV_LIBRARY_OPENSSL = 0,		/* everywhere; the reference */
	TV_LIBRARY_IPSEC_MB = 1,	/* amd64 with AES-NI */
	TV_LIBRARY_COUNT = 2
} TvCipherLibrary;

/*
 * One cipher of one library.  The caller has checked all arguments: pointers
 * are valid, key and iv have their length, XTS has at least one block.
 * seal and open keep the promises of tv_cipher.h (no allocation, no locks);
 * open returns TV_ERR_AUTH for a wrong tag and leaves clearing out to the
 * caller.
 */
typedef struct TvCipherOps
{
	TvStatus	(*init) (void *schedule, const uint8_t *key);
	TvStatus	(*seal) (const void *schedule, const uint8_t *iv,
						 const uint8_t *aad, size_t aadlen,
						 const uint8_t *in, uint8_t *out, size_t len,
						 uint8_t *tag);
	TvStatus	(*open) (const void *schedule, const uint8_t *iv,
						 const uint8_t *aad, size_t aadlen,
						 const uint8_t *in, uint8_t *out, size_t len,
						 const uint8_t *tag);
} TvCipherOps;

/*
 * Room for the schedule of any library, by cipher: fixed, so that a context's
 * size is known before setup.
 */
#define TV_SCHEDULE_GCM 1024
#define TV_SCHEDULE_CHACHA 64
#define TV_SCHEDULE_CTR 256
#define TV_SCHEDULE_XTS 768

/* OpenSSL: tv_cipher_openssl.c */
extern TvStatus tv_openssl_setup(TvError *err);
extern const char *tv_openssl_label(void);
extern const TvCipherOps tv_openssl_ops[TV_CIPHER_COUNT];

/*
 * Intel's libipsec-mb: tv_cipher_ipsec.c, and tv_cipher_xts.c for XTS.  Setup
 * reports in *usable whether this CPU has what it takes; a library that fails
 * its own self test is an error.
 */
extern TvStatus tv_ipsec_setup(bool *usable, TvError *err);
extern const char *tv_ipsec_label(void);
extern bool tv_ipsec_fast_chacha(void);
extern const TvCipherOps tv_ipsec_ops[TV_CIPHER_COUNT];

/*
 * Raw AES-256 for the XTS mode built on it.  dec may be NULL.  Lengths are
 * whole blocks; in and out may be the same address.
 */
extern void tv_ipsec_aes_keys(const uint8_t *key, void *enc, void *dec);
extern TvStatus tv_ipsec_ecb_encrypt(const void *enc, const uint8_t *in,
									 uint8_t *out, size_t len);
extern TvStatus tv_ipsec_encrypt_block(const void *enc, const uint8_t *in,
									   uint8_t *out);
extern TvStatus tv_ipsec_cbc_decrypt(const void *dec, const uint8_t *iv,
									 const uint8_t *in, uint8_t *out,
									 size_t len);
extern bool tv_ipsec_has_wide_clmul(void);

extern TvStatus tv_ipsec_xts_init(void *schedule, const uint8_t *key);
extern TvStatus tv_ipsec_xts_seal(const void *schedule, const uint8_t *iv,
								  const uint8_t *aad, size_t aadlen,
								  const uint8_t *in, uint8_t *out, size_t len,
								  uint8_t *tag);
extern TvStatus tv_ipsec_xts_open(const void *schedule, const uint8_t *iv,
								  const uint8_t *aad, size_t aadlen,
								  const uint8_t *in, uint8_t *out, size_t len,
								  const uint8_t *tag);

/*
 * Is this cipher of this library usable here?  And tv_cipher_init() with a
 * library chosen by the caller instead of by speed.
 */
extern bool tv_cipher_has_library(TvCipher cipher, TvCipherLibrary library);
extern TvStatus tv_cipher_init_with(TvCipherContext *ctx, TvCipher cipher,
									TvCipherLibrary library,
									const uint8_t *key, size_t keylen);

#endif							/* TV_CIPHER_IMPL_H */
