/*
 * tv_kdf_impl.h
 *	  Argon2id with all its inputs, as the published test vector needs it.
 *	  Only for files in this folder and for tests.
 */
#ifndef TV_KDF_IMPL_H
#define TV_KDF_IMPL_H

#include "crypto/tv_kdf.h"

typedef struct TvArgon2Input
{
	const uint8_t *password;
	size_t		passlen;
	const uint8_t *salt;
	size_t		saltlen;
	const uint8_t *secret;
	size_t		secretlen;
	const uint8_t *ad;			/* associated data */
	size_t		adlen;
	uint32_t	memory_kib;
	uint32_t	passes;
	uint32_t	lanes;
} TvArgon2Input;

extern TvStatus tv_argon2id_full(const TvArgon2Input *input,
								 uint8_t *out, size_t outlen);

#endif							/* TV_KDF_IMPL_H */
