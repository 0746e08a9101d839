/*
 * crypto_noalloc_test.c
 *	  Sealing and opening allocate nothing: they run in critical sections.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/tv_secret.h"
#include "crypto/tv_cipher.h"
#include "crypto/tv_cipher_impl.h"
#include "crypto/tv_kdf.h"
#include "unit.h"

#if defined(__SANITIZE_ADDRESS__) || defined(UNIT_VALGRIND) || !defined(__GLIBC__)

int
main(void)
{
	unit_skip("memory allocation cannot be watched in this build");
	return unit_done();
}

#else

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static volatile unsigned long calls;

void *
malloc(size_t n)
{
	calls++;
	return __libc_malloc(n);
}

void *
calloc(size_t n, size_t m)
{
	calls++;
	return __libc_calloc(n, m);
}

void *
realloc(void *p, size_t n)
{
	calls++;
	return __libc_realloc(p, n);
}

int
posix_memalign(void **p, size_t align, size_t n)
{
	calls++;
	*p = __libc_memalign(align, n);
	return *p == NULL ? 12 : 0;
}

void *
aligned_alloc(size_t align, size_t n)
{
	calls++;
	return __libc_memalign(align, n);
}

void
free(void *p)
{
	calls++;
	__libc_free(p);
}

static void
test_library(TvCipher cipher, TvCipherLibrary library)
{
	static uint8_t data[8192];
	uint8_t		key[TV_CIPHER_KEY_MAX];
	uint8_t		iv[TV_TWEAK_LEN] = {1};
	uint8_t		tag[TV_TAG_LEN];
	size_t		aadlen = tv_cipher_has_tag(cipher) ? 32 : 0;
	TvCipherContext *ctx = tv_secret_alloc(tv_cipher_context_size(cipher));
	unsigned long before;
	unsigned long after;
	bool		good = true;

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t) i;
	tv_cipher_init_with(ctx, cipher, library, key, tv_cipher_key_len(cipher));

	/* the first use counts, too */
	before = calls;
	for (size_t len = 8180; len >= 16; len -= 500)
	{
		good = good && tv_cipher_seal(ctx, iv, data, aadlen, data + 32, data + 32,
									  len - 32 < 16 ? 16 : len - 32, tag) == TV_OK;
		good = good && tv_cipher_open(ctx, iv, data, aadlen, data + 32, data + 32,
									  len - 32 < 16 ? 16 : len - 32, tag) == TV_OK;
		tag[0] ^= 1;
		(void) tv_cipher_open(ctx, iv, data, aadlen, data + 32, data + 32, 64, tag);
		if (len < 500)
			break;
	}
	after = calls;
	ok(good, "%s by library %d works", tv_cipher_name(cipher), library);
	ok(after == before, "without allocating or freeing (%lu calls)", after - before);
	tv_secret_free(ctx);
}

static void
test_hmac(void)
{
	static uint8_t data[1000];
	uint8_t		mac[TV_MAC_LEN];
	TvHmacKey	ready;
	bool		good = tv_hmac_key_init(&ready, data, 32) == TV_OK;
	unsigned long before = calls;

	for (size_t len = 0; len <= sizeof(data); len += 50)
		good = good && tv_hmac_with(&ready, data, len, mac) == TV_OK;
	ok(good && calls == before, "a MAC with a ready key, too");
}

int
main(void)
{
	unsigned long before = calls;
	void	   *volatile p = malloc(1);

	free(p);
	ok(calls == before + 2, "allocations are counted");
	ok(tv_cipher_setup(NULL) == TV_OK, "setup works");
	for (int c = 1; c < TV_CIPHER_COUNT; c++)
	{
		for (int lib = 0; lib < TV_LIBRARY_COUNT; lib++)
		{
			if (tv_cipher_has_library((TvCipher) c, (TvCipherLibrary) lib))
				test_library((TvCipher) c, (TvCipherLibrary) lib);
		}
	}
	test_hmac();
	return unit_done();
}

#endif
