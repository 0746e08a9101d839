/*
 * tv_cipher.c
 *	  Names, choice of library, and argument checks for sealing and opening.
 */
#include "crypto/tv_cipher.h"

#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

#include "base/tv_secret.h"
#include "crypto/tv_cipher_impl.h"

/*
 * A context: which cipher, which library, and that library's key schedule.
 * No pointers.  All zeros (wiped, or emptied by a fork) is TV_CIPHER_NONE and
 * refused everywhere.
 */
struct TvCipherContext
{
	uint32_t	cipher;
	uint32_t	library;
	uint8_t		pad[56];
	uint8_t		schedule[];
}			__attribute__((aligned(64)));

typedef struct CipherInfo
{
	const char *name;
	size_t		key_len;
	size_t		schedule_size;
	bool		has_tag;
	bool		has_nonce;
} CipherInfo;

static const CipherInfo infos[TV_CIPHER_COUNT] = {
	[TV_CIPHER_AES_256_GCM] =
	{"aes-256-gcm", TV_KEY_LEN, TV_SCHEDULE_GCM, true, true},
	[TV_CIPHER_CHACHA20_POLY1305] =
	{"chacha20-poly1305", TV_KEY_LEN, TV_SCHEDULE_CHACHA, true, true},
	[TV_CIPHER_AES_256_CTR] =
	{"aes-256-ctr", TV_KEY_LEN, TV_SCHEDULE_CTR, false, true},
	[TV_CIPHER_AES_256_XTS] =
	{"aes-256-xts", TV_CIPHER_KEY_MAX, TV_SCHEDULE_XTS, false, false},
};

static bool ready;
static bool ipsec_usable;
static TvCipherLibrary chosen[TV_CIPHER_COUNT];

static const CipherInfo *
cipher_info(uint32_t cipher)
{
	if (cipher == TV_CIPHER_NONE || cipher >= TV_CIPHER_COUNT)
		return NULL;
	return &infos[cipher];
}

/*
 * Prepare the libraries and choose one for each cipher.  What was measured to
 * be fastest (test/bench/cipher_bench.c) is preferred where the CPU has it.
 */
TvStatus
tv_cipher_setup(TvError *err)
{
	TvStatus	status;

	if (ready)
		return TV_OK;
	if ((status = tv_openssl_setup(err)) != TV_OK)
		return status;
	if ((status = tv_ipsec_setup(&ipsec_usable, err)) != TV_OK)
		return status;

	for (int c = 0; c < TV_CIPHER_COUNT; c++)
		chosen[c] = ipsec_usable ? TV_LIBRARY_IPSEC_MB : TV_LIBRARY_OPENSSL;
	if (ipsec_usable && !tv_ipsec_fast_chacha())
		chosen[TV_CIPHER_CHACHA20_POLY1305] = TV_LIBRARY_OPENSSL;
	ready = true;
	return TV_OK;
}

/*
 * Look up a cipher by name; TV_CIPHER_NONE if there is none of that name.
 */
TvCipher
tv_cipher_from_name(const char *name)
{
	if (name == NULL)
		return TV_CIPHER_NONE;
	if (strcasecmp(name, "aes256") == 0)
		return TV_CIPHER_AES_256_GCM;
	for (int c = 1; c < TV_CIPHER_COUNT; c++)
	{
		if (strcasecmp(name, infos[c].name) == 0)
			return (TvCipher) c;
	}
	return TV_CIPHER_NONE;
}

/* The canonical name; "none" for TV_CIPHER_NONE and unknown values. */
const char *
tv_cipher_name(TvCipher cipher)
{
	const CipherInfo *info = cipher_info(cipher);

	return info == NULL ? "none" : info->name;
}

/* All names, for hints. */
const char *
tv_cipher_known_names(void)
{
	return "aes-256-gcm, chacha20-poly1305, aes-256-ctr, aes-256-xts";
}

/* The library that serves this cipher here. */
const char *
tv_cipher_implementation(TvCipher cipher)
{
	if (cipher_info(cipher) == NULL || tv_cipher_setup(NULL) != TV_OK)
		return "none";
	return chosen[cipher] == TV_LIBRARY_IPSEC_MB ?
		tv_ipsec_label() : tv_openssl_label();
}

/* Key length in bytes; 0 for an unknown cipher. */
size_t
tv_cipher_key_len(TvCipher cipher)
{
	const CipherInfo *info = cipher_info(cipher);

	return info == NULL ? 0 : info->key_len;
}

/* Does the cipher authenticate? */
bool
tv_cipher_has_tag(TvCipher cipher)
{
	const CipherInfo *info = cipher_info(cipher);

	return info != NULL && info->has_tag;
}

/* Does the cipher need a fresh nonce for every message? */
bool
tv_cipher_has_nonce(TvCipher cipher)
{
	const CipherInfo *info = cipher_info(cipher);

	return info != NULL && info->has_nonce;
}

/* Bytes the caller provides for a context; 0 for an unknown cipher. */
size_t
tv_cipher_context_size(TvCipher cipher)
{
	const CipherInfo *info = cipher_info(cipher);

	return info == NULL ? 0 : sizeof(TvCipherContext) + info->schedule_size;
}

/*
 * Is this cipher of this library usable here?
 */
bool
tv_cipher_has_library(TvCipher cipher, TvCipherLibrary library)
{
	if (cipher_info(cipher) == NULL || tv_cipher_setup(NULL) != TV_OK)
		return false;
	switch (library)
	{
		case TV_LIBRARY_OPENSSL:
			return true;
		case TV_LIBRARY_IPSEC_MB:
			return ipsec_usable;
		case TV_LIBRARY_COUNT:
			break;
	}
	return false;
}

static const TvCipherOps *
library_ops(uint32_t cipher, uint32_t library)
{
	switch (library)
	{
		case TV_LIBRARY_OPENSSL:
			return &tv_openssl_ops[cipher];
		case TV_LIBRARY_IPSEC_MB:
			return &tv_ipsec_ops[cipher];
		default:
			return NULL;
	}
}

/*
 * Make a key schedule with a given library.
 */
TvStatus
tv_cipher_init_with(TvCipherContext *ctx, TvCipher cipher,
					TvCipherLibrary library,
					const uint8_t *key, size_t keylen)
{
	const CipherInfo *info = cipher_info(cipher);
	TvStatus	status;

	if (ctx == NULL || key == NULL || info == NULL)
		return TV_ERR_INVALID_ARGUMENT;
	if (keylen != info->key_len)
		return TV_ERR_BAD_KEY;
	if (((uintptr_t) ctx & 63) != 0)
		return TV_ERR_INVALID_ARGUMENT;
	if (!tv_cipher_has_library(cipher, library))
		return TV_ERR_UNAVAILABLE;

	/* Equal halves turn XTS into something weaker: SP 800-38E, FIPS 140 IG */
	if (cipher == TV_CIPHER_AES_256_XTS &&
		CRYPTO_memcmp(key, key + TV_KEY_LEN, TV_KEY_LEN) == 0)
		return TV_ERR_BAD_KEY;

	memset(ctx, 0, sizeof(*ctx));
	status = library_ops(cipher, library)->init(ctx->schedule, key);
	if (status != TV_OK)
	{
		tv_secret_wipe(ctx, sizeof(*ctx) + info->schedule_size);
		return status;
	}
	ctx->library = library;
	ctx->cipher = cipher;
	return TV_OK;
}

/*
 * Make a key schedule with the library chosen at setup.
 */
TvStatus
tv_cipher_init(TvCipherContext *ctx, TvCipher cipher,
			   const uint8_t *key, size_t keylen)
{
	TvStatus	status;

	if (cipher_info(cipher) == NULL)
		return TV_ERR_INVALID_ARGUMENT;
	if (!ready && (status = tv_cipher_setup(NULL)) != TV_OK)
		return status;
	return tv_cipher_init_with(ctx, cipher, chosen[cipher], key, keylen);
}

/*
 * Wipe a context.
 */
void
tv_cipher_done(TvCipherContext *ctx)
{
	if (ctx == NULL || cipher_info(ctx->cipher) == NULL)
		return;
	tv_secret_wipe(ctx, tv_cipher_context_size((TvCipher) ctx->cipher));
}

/*
 * The checks seal and open have in common: a live context, pointers where
 * bytes are expected, and a length the mode allows.  Inline, for its arguments
 * are more than registers hold.
 */
static inline __attribute__((always_inline)) const TvCipherOps *
checked_ops(const TvCipherContext *ctx, const uint8_t *iv,
			const uint8_t *aad, size_t aadlen,
			const uint8_t *in, const uint8_t *out, size_t len,
			const uint8_t *tag)
{
	const CipherInfo *info;

	if (ctx == NULL || !ready || (info = cipher_info(ctx->cipher)) == NULL)
		return NULL;
	if (iv == NULL || (len > 0 && (in == NULL || out == NULL)))
		return NULL;
	if (info->has_tag && (tag == NULL || (aad == NULL && aadlen > 0)))
		return NULL;
	if (ctx->cipher == TV_CIPHER_AES_256_XTS &&
		(len < TV_AES_BLOCK || len > TV_XTS_MAX))
		return NULL;
	if (len > INT32_MAX || aadlen > INT32_MAX)
		return NULL;
	return library_ops(ctx->cipher, ctx->library);
}

/*
 * Encrypt; see the header.
 */
TvStatus
tv_cipher_seal(const TvCipherContext *ctx, const uint8_t *iv,
			   const uint8_t *aad, size_t aadlen,
			   const uint8_t *in, uint8_t *out, size_t len,
			   uint8_t *tag)
{
	const TvCipherOps *ops;

	ops = checked_ops(ctx, iv, aad, aadlen, in, out, len, tag);
	if (ops == NULL)
		return TV_ERR_INVALID_ARGUMENT;
	return ops->seal(ctx->schedule, iv, aad, aadlen, in, out, len, tag);
}

/*
 * Decrypt; see the header.
 */
TvStatus
tv_cipher_open(const TvCipherContext *ctx, const uint8_t *iv,
			   const uint8_t *aad, size_t aadlen,
			   const uint8_t *in, uint8_t *out, size_t len,
			   const uint8_t *tag)
{
	const TvCipherOps *ops;
	TvStatus	status;

	ops = checked_ops(ctx, iv, aad, aadlen, in, out, len, tag);
	if (ops == NULL)
		return TV_ERR_INVALID_ARGUMENT;
	status = ops->open(ctx->schedule, iv, aad, aadlen, in, out, len, tag);
	if (status != TV_OK && len > 0)
		tv_secret_wipe(out, len);	/* nothing unverified gets out */
	return status;
}
