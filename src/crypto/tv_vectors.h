/*
 * tv_vectors.h
 *	  Published test vectors, as lower-case hex.  Only for the self test and
 *	  for unit tests.
 */
#ifndef TV_VECTORS_H
#define TV_VECTORS_H

#include "crypto/tv_cipher.h"

typedef struct TvCipherVector
{
	TvCipher	cipher;			/* TV_CIPHER_NONE ends the list */
	const char *name;
	size_t		skip;			/* bytes of zeros to put before plain */
	const char *key;
	const char *iv;
	const char *aad;
	const char *plain;
	const char *ciphertext;
	const char *tag;
} TvCipherVector;

typedef struct TvHkdfVector
{
	const char *name;			/* NULL ends the list */
	const char *key;
	const char *salt;
	const char *info;
	const char *out;
} TvHkdfVector;

typedef struct TvHmacVector
{
	const char *name;			/* NULL ends the list */
	const char *key;
	const char *data;
	const char *mac;
} TvHmacVector;

/* Argon2id with one lane; hex. */
typedef struct TvArgon2Vector
{
	const char *password;
	const char *salt;
	uint32_t	memory_kib;
	uint32_t	passes;
	const char *hash;
} TvArgon2Vector;

extern const TvCipherVector tv_cipher_vectors[];
extern const TvHkdfVector tv_hkdf_vectors[];
extern const TvHmacVector tv_hmac_vectors[];
extern const TvArgon2Vector tv_argon2id_vector;

/* Decode; returns the number of bytes, 0 if they do not fit. */
extern size_t tv_vector_bytes(const char *hex, uint8_t *out, size_t cap);

#endif							/* TV_VECTORS_H */
