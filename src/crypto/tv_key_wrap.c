/*
 * tv_key_wrap.c
 *	  Wrap and unwrap a key under a key held in this process.
 */
#include "crypto/tv_kdf.h"

#include <string.h>

#include "base/tv_secret.h"
#include "crypto/tv_cipher.h"

/*
 * A GCM context for kek in secret memory; release with tv_secret_free.
 */
static TvStatus
make_context(const uint8_t *kek, TvCipherContext **ctx)
{
	TvStatus	status;

	*ctx = tv_secret_alloc(tv_cipher_context_size(TV_CIPHER_AES_256_GCM));
	if (*ctx == NULL)
		return TV_ERR_NO_MEMORY;
	status = tv_cipher_init(*ctx, TV_CIPHER_AES_256_GCM, kek, TV_KEY_LEN);
	if (status != TV_OK)
	{
		tv_secret_free(*ctx);
		*ctx = NULL;
	}
	return status;
}

/*
 * Wrap key into blob: nonce || ciphertext || tag.
 */
TvStatus
tv_key_wrap(const uint8_t *kek,
			const uint8_t *aad, size_t aadlen,
			const uint8_t *key, size_t keylen,
			uint8_t *blob, size_t blobcap, size_t *bloblen)
{
	TvCipherContext *ctx;
	TvStatus	status;

	if (kek == NULL || key == NULL || blob == NULL || bloblen == NULL ||
		(aad == NULL && aadlen > 0) ||
		keylen == 0 || keylen > TV_CIPHER_KEY_MAX ||
		blobcap < keylen + TV_WRAP_OVERHEAD)
		return TV_ERR_INVALID_ARGUMENT;

	*bloblen = 0;
	if ((status = tv_random(blob, TV_NONCE_LEN)) != TV_OK)
		return status;
	if ((status = make_context(kek, &ctx)) != TV_OK)
		return status;
	status = tv_cipher_seal(ctx, blob, aad, aadlen,
							key, blob + TV_NONCE_LEN, keylen,
							blob + TV_NONCE_LEN + keylen);
	tv_secret_free(ctx);
	if (status == TV_OK)
		*bloblen = keylen + TV_WRAP_OVERHEAD;
	else
		tv_secret_wipe(blob, keylen + TV_WRAP_OVERHEAD);
	return status;
}

/*
 * Unwrap blob into key.  key is zeroed on any failure.
 */
TvStatus
tv_key_unwrap(const uint8_t *kek,
			  const uint8_t *aad, size_t aadlen,
			  const uint8_t *blob, size_t bloblen,
			  uint8_t *key, size_t keylen)
{
	TvCipherContext *ctx;
	TvStatus	status;

	if (kek == NULL || key == NULL || blob == NULL ||
		(aad == NULL && aadlen > 0) ||
		keylen == 0 || keylen > TV_CIPHER_KEY_MAX)
		return TV_ERR_INVALID_ARGUMENT;

	tv_secret_wipe(key, keylen);
	if (bloblen < keylen + TV_WRAP_OVERHEAD)
		return TV_ERR_TRUNCATED;
	if (bloblen > keylen + TV_WRAP_OVERHEAD)
		return TV_ERR_CORRUPT;
	if ((status = make_context(kek, &ctx)) != TV_OK)
		return status;
	status = tv_cipher_open(ctx, blob, aad, aadlen,
							blob + TV_NONCE_LEN, key, keylen,
							blob + TV_NONCE_LEN + keylen);
	tv_secret_free(ctx);
	return status;
}
