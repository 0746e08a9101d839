/*
 * tv_hmac.c
 *	  HMAC-SHA-256 with a key that is made ready once.
 *
 * EVP_MAC sets its context up anew for each message, with allocations, locks
 * and look-ups of names: a microsecond and more, several times what hashing a
 * line of the audit log takes.  OpenSSL's plain SHA-256 functions work on a
 * struct of the caller's and do nothing else.  They are deprecated in favour of
 * EVP, not withdrawn; they hash with the same instructions.
 */
#define OPENSSL_API_COMPAT 0x10100000L

#include <openssl/sha.h>
#include <string.h>

#include "base/tv_secret.h"
#include "crypto/tv_kdf.h"

#define BLOCK SHA256_CBLOCK

typedef struct Ready
{
	SHA256_CTX	inner;			/* has taken in the key's first block */
	SHA256_CTX	outer;
} Ready;

_Static_assert(sizeof(Ready) <= sizeof(TvHmacKey), "TvHmacKey is too small");
_Static_assert(_Alignof(Ready) <= _Alignof(TvHmacKey), "TvHmacKey is not aligned");

static bool
begin(SHA256_CTX *ctx, const uint8_t *key, uint8_t pad)
{
	uint8_t		block[BLOCK];
	bool		done;

	for (int i = 0; i < BLOCK; i++)
		block[i] = key[i] ^ pad;
	done = SHA256_Init(ctx) == 1 && SHA256_Update(ctx, block, BLOCK) == 1;
	tv_secret_wipe(block, sizeof(block));
	return done;
}

TvStatus
tv_hmac_key_init(TvHmacKey *ready, const uint8_t *key, size_t keylen)
{
	Ready	   *r = (Ready *) ready;
	uint8_t		block[BLOCK] = {0};
	bool		done = true;

	if (ready == NULL || key == NULL || keylen == 0)
		return TV_ERR_INVALID_ARGUMENT;
	memset(ready, 0, sizeof(*ready));
	if (keylen > BLOCK)
		done = tv_sha256(key, keylen, block) == TV_OK;
	else
		memcpy(block, key, keylen);
	done = done && begin(&r->inner, block, 0x36) && begin(&r->outer, block, 0x5c);
	tv_secret_wipe(block, sizeof(block));
	if (!done)
		tv_secret_wipe(ready, sizeof(*ready));
	return done ? TV_OK : TV_ERR_INTERNAL;
}

TvStatus
tv_hmac_with(const TvHmacKey *ready, const uint8_t *data, size_t len, uint8_t mac[TV_MAC_LEN])
{
	const Ready *r = (const Ready *) ready;
	SHA256_CTX	ctx;
	bool		done;

	/* zeros: wiped, or emptied by a fork */
	if (ready == NULL || r->inner.md_len != SHA256_DIGEST_LENGTH ||
		mac == NULL || (data == NULL && len > 0))
		return TV_ERR_INVALID_ARGUMENT;
	ctx = r->inner;
	done = (len == 0 || SHA256_Update(&ctx, data, len) == 1) && SHA256_Final(mac, &ctx) == 1;
	if (done)
	{
		ctx = r->outer;
		done = SHA256_Update(&ctx, mac, TV_MAC_LEN) == 1 && SHA256_Final(mac, &ctx) == 1;
	}
	tv_secret_wipe(&ctx, sizeof(ctx));
	if (!done)
		tv_secret_wipe(mac, TV_MAC_LEN);
	return done ? TV_OK : TV_ERR_INTERNAL;
}

/*
 * HMAC-SHA-256, once.
 */
TvStatus
tv_hmac(const uint8_t *key, size_t keylen, const uint8_t *data, size_t len,
		uint8_t mac[TV_MAC_LEN])
{
	TvHmacKey	ready;
	TvStatus	status;

	if (mac == NULL || (data == NULL && len > 0))
		return TV_ERR_INVALID_ARGUMENT;
	status = tv_hmac_key_init(&ready, key, keylen);
	if (status == TV_OK)
		status = tv_hmac_with(&ready, data, len, mac);
	tv_secret_wipe(&ready, sizeof(ready));
	return status;
}
