/*
 * crypto_cipher_test.c
 *	  Every cipher of every library against OpenSSL, at all kinds of lengths
 *	  and places; tampering; refused arguments; use after fork.
 */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/tv_secret.h"
#include "crypto/tv_cipher.h"
#include "crypto/tv_cipher_impl.h"
#include "unit.h"

#define MAX_LEN 20000
#if defined(UNIT_VALGRIND)
#define TRIALS 330				/* every short length, and the special ones */
#else
#define TRIALS 1500
#endif

static const char *const library_names[TV_LIBRARY_COUNT] = {"OpenSSL", "libipsec-mb"};

static uint8_t key[TV_CIPHER_KEY_MAX];
static uint8_t iv[TV_TWEAK_LEN];
static uint8_t aad[100];
static uint8_t plain[MAX_LEN];
static uint8_t expected[MAX_LEN];
static uint8_t expected_tag[TV_TAG_LEN];
static uint8_t work[MAX_LEN + 128];

static void
fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t) (rand() >> 7);
}

/*
 * The reference: OpenSSL used directly.
 */
static bool
reference(TvCipher cipher, size_t aadlen, size_t len)
{
	static const char *const names[TV_CIPHER_COUNT] = {
		"", "AES-256-GCM", "ChaCha20-Poly1305", "AES-256-CTR", "AES-256-XTS"
	};
	EVP_CIPHER_CTX *h = EVP_CIPHER_CTX_new();
	uint8_t		block[TV_TWEAK_LEN] = {0};
	uint8_t		rest[32];
	int			n = 0;
	bool		good;

	memcpy(block, iv, cipher == TV_CIPHER_AES_256_XTS ? TV_TWEAK_LEN : TV_NONCE_LEN);
	good = EVP_EncryptInit_ex(h, EVP_get_cipherbyname(names[cipher]), NULL, key, block) == 1;
	if (tv_cipher_has_tag(cipher) && aadlen > 0)
		good = good && EVP_EncryptUpdate(h, NULL, &n, aad, (int) aadlen) == 1;
	if (len > 0)
		good = good && EVP_EncryptUpdate(h, expected, &n, plain, (int) len) == 1;
	good = good && EVP_EncryptFinal_ex(h, rest, &n) == 1;
	if (tv_cipher_has_tag(cipher))
		good = good && EVP_CIPHER_CTX_ctrl(h, EVP_CTRL_AEAD_GET_TAG, TV_TAG_LEN, expected_tag) == 1;
	EVP_CIPHER_CTX_free(h);
	return good;
}

/*
 * One message, sealed and opened, in place or not, at any alignment, with a
 * look at the bytes after the output.
 */
static bool
one_trial(TvCipherContext *ctx, TvCipher cipher, size_t aadlen, size_t len)
{
	bool		in_place = rand() % 2;
	uint8_t    *out = work + rand() % 64;
	uint8_t		tag[TV_TAG_LEN] = {0};
	bool		tagged = tv_cipher_has_tag(cipher);

	fill(work, sizeof(work));
	if (!reference(cipher, aadlen, len))
		return false;
	memset(out + len, 0xee, 32);
	if (in_place)
		memcpy(out, plain, len);
	if (tv_cipher_seal(ctx, iv, aad, aadlen, in_place ? out : plain, out, len,
					   tagged ? tag : NULL) != TV_OK)
		return false;
	if (memcmp(out, expected, len) != 0 ||
		(tagged && memcmp(tag, expected_tag, TV_TAG_LEN) != 0))
		return false;
	if (tv_cipher_open(ctx, iv, aad, aadlen, in_place ? out : expected, out, len,
					   tagged ? tag : NULL) != TV_OK)
		return false;
	if (memcmp(out, plain, len) != 0)
		return false;
	for (int i = 0; i < 32; i++)
	{
		if (out[len + i] != 0xee)
			return false;
	}
	return true;
}

static size_t
trial_length(TvCipher cipher, int trial)
{
	static const size_t special[] =
	{8180, 8192, 8191, 8176, 8193, 8208, 16384, 19999, 512, 128, 4096, 256, 255, 272, 1024};
	size_t		len;

	if (trial < 300)
		len = (size_t) trial;
	else if (trial < 300 + (int) (sizeof(special) / sizeof(special[0])))
		len = special[trial - 300];
	else
		len = 1 + (size_t) rand() % 8192;
	if (cipher == TV_CIPHER_AES_256_XTS && len < TV_AES_BLOCK)
		len = TV_AES_BLOCK;
	return len;
}

static void
test_against_openssl(TvCipher cipher, TvCipherLibrary library)
{
	TvCipherContext *ctx = tv_secret_alloc(tv_cipher_context_size(cipher));
	int			bad = 0;

	for (int t = 0; t < TRIALS && bad == 0; t++)
	{
		size_t		len = trial_length(cipher, t);
		size_t		aadlen = (size_t) rand() % sizeof(aad);

		fill(key, sizeof(key));
		fill(iv, sizeof(iv));
		fill(aad, sizeof(aad));
		fill(plain, len);
		if (tv_cipher_init_with(ctx, cipher, library, key, tv_cipher_key_len(cipher)) != TV_OK ||
			!one_trial(ctx, cipher, tv_cipher_has_tag(cipher) ? aadlen : 0, len))
		{
			printf("# trial %d, %zu bytes\n", t, len);
			bad++;
		}
	}
	ok(bad == 0, "%s by %s agrees with OpenSSL", tv_cipher_name(cipher), library_names[library]);
	tv_secret_free(ctx);
}

static void
test_tampering(TvCipher cipher, TvCipherLibrary library)
{
	TvCipherContext *ctx = tv_secret_alloc(tv_cipher_context_size(cipher));
	const size_t len = 200;
	uint8_t		tag[TV_TAG_LEN];
	uint8_t		zero[200] = {0};
	uint8_t		sealed[200];
	int			missed = 0;
	int			leaked = 0;

	tv_cipher_init_with(ctx, cipher, library, key, tv_cipher_key_len(cipher));
	tv_cipher_seal(ctx, iv, aad, 32, plain, sealed, len, tag);
	for (size_t i = 0; i < len + TV_TAG_LEN + 32 + TV_NONCE_LEN; i++)
	{
		uint8_t    *victim = i < len ? &sealed[i] :
			i < len + TV_TAG_LEN ? &tag[i - len] :
			i < len + TV_TAG_LEN + 32 ? &aad[i - len - TV_TAG_LEN] :
			&iv[i - len - TV_TAG_LEN - 32];

		*victim ^= (uint8_t) (1 << (i % 8));
		memset(work, 0xee, len);
		if (tv_cipher_open(ctx, iv, aad, 32, sealed, work, len, tag) != TV_ERR_AUTH)
			missed++;
		if (memcmp(work, zero, len) != 0)
			leaked++;
		*victim ^= (uint8_t) (1 << (i % 8));
	}
	ok(missed == 0, "%s by %s notices a flipped bit anywhere", tv_cipher_name(cipher), library_names[library]);
	ok(leaked == 0, "and gives nothing away");
	ok(tv_cipher_open(ctx, iv, aad, 32, sealed, work, len, tag) == TV_OK &&
	   memcmp(work, plain, len) == 0, "and opens what is whole");
	tv_secret_free(ctx);
}

static void
test_arguments(TvCipher cipher, TvCipherLibrary library)
{
	TvCipherContext *ctx = tv_secret_alloc(tv_cipher_context_size(cipher) + 64);
	size_t		keylen = tv_cipher_key_len(cipher);
	uint8_t		tag[TV_TAG_LEN];

	ok(tv_cipher_seal(ctx, iv, NULL, 0, plain, work, 64, tag) == TV_ERR_INVALID_ARGUMENT,
	   "%s by %s: a context of zeros is refused", tv_cipher_name(cipher), library_names[library]);
	ok(tv_cipher_init_with(ctx, cipher, library, key, keylen - 1) == TV_ERR_BAD_KEY,
	   "a short key is refused");
	ok(tv_cipher_init_with((TvCipherContext *) ((uint8_t *) ctx + 8), cipher, library, key, keylen) ==
	   TV_ERR_INVALID_ARGUMENT, "an unaligned context is refused");
	ok(tv_cipher_init_with(ctx, cipher, library, key, keylen) == TV_OK, "a good key is taken");
	ok(tv_cipher_seal(ctx, NULL, NULL, 0, plain, work, 64, tag) == TV_ERR_INVALID_ARGUMENT,
	   "no nonce is refused");
	ok(tv_cipher_open(ctx, iv, NULL, 0, NULL, work, 64, tag) == TV_ERR_INVALID_ARGUMENT,
	   "no input is refused");
	if (tv_cipher_has_tag(cipher))
	{
		ok(tv_cipher_open(ctx, iv, NULL, 0, plain, work, 64, NULL) == TV_ERR_INVALID_ARGUMENT,
		   "opening without a tag is refused");
		ok(tv_cipher_seal(ctx, iv, NULL, 5, plain, work, 64, tag) == TV_ERR_INVALID_ARGUMENT,
		   "associated data without bytes are refused");
	}
	if (cipher == TV_CIPHER_AES_256_XTS)
	{
		uint8_t		same[TV_CIPHER_KEY_MAX];

		memset(same, 9, sizeof(same));
		ok(tv_cipher_seal(ctx, iv, NULL, 0, plain, work, 15, NULL) == TV_ERR_INVALID_ARGUMENT,
		   "less than a block is refused");
		ok(tv_cipher_init_with(ctx, cipher, library, same, keylen) == TV_ERR_BAD_KEY,
		   "equal halves of a key are refused");
		tv_cipher_init_with(ctx, cipher, library, key, keylen);
	}
	tv_cipher_done(ctx);
	ok(tv_cipher_open(ctx, iv, NULL, 0, plain, work, 64, tag) == TV_ERR_INVALID_ARGUMENT,
	   "a context that is done is refused");
	tv_cipher_done(ctx);
	tv_cipher_done(NULL);
	tv_secret_free(ctx);
}

/*
 * A context in shared memory, used by parent and child in turns and at once.
 */
static void
test_fork(TvCipher cipher, TvCipherLibrary library)
{
	size_t		size = tv_cipher_context_size(cipher);
	TvCipherContext *ctx = mmap(NULL, size, PROT_READ | PROT_WRITE,
								MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size_t		aadlen = tv_cipher_has_tag(cipher) ? 32 : 0;
	bool		good;
	int			status = -1;
	pid_t		pid;

	good = tv_cipher_init_with(ctx, cipher, library, key, tv_cipher_key_len(cipher)) == TV_OK &&
		one_trial(ctx, cipher, aadlen, 8180);
	fflush(stdout);
	pid = fork();
	for (int i = 0; i < 200 && good; i++)
		good = one_trial(ctx, cipher, aadlen, 16 + (size_t) i * 40);
	if (pid == 0)
		_exit(good ? 0 : 1);
	waitpid(pid, &status, 0);
	ok(good && status == 0, "%s by %s works on both sides of a fork",
	   tv_cipher_name(cipher), library_names[library]);
	munmap(ctx, size);
}

static void
test_names(void)
{
	bool		good = true;

	for (int c = 1; c < TV_CIPHER_COUNT; c++)
	{
		const char *name = tv_cipher_name((TvCipher) c);

		good = good && tv_cipher_from_name(name) == (TvCipher) c &&
			strstr(tv_cipher_known_names(), name) != NULL;
		printf("# %s: %s\n", name, tv_cipher_implementation((TvCipher) c));
	}
	ok(good, "every cipher is found by its name");
	ok(tv_cipher_from_name("AES-256-XTS") == TV_CIPHER_AES_256_XTS, "in capitals, too");
	ok(tv_cipher_from_name("AES256") == TV_CIPHER_AES_256_GCM, "AES256 means GCM");
	ok(tv_cipher_from_name("rot13") == TV_CIPHER_NONE &&
	   tv_cipher_from_name(NULL) == TV_CIPHER_NONE, "others are not found");
	ok(tv_cipher_key_len((TvCipher) 99) == 0 && tv_cipher_context_size((TvCipher) 99) == 0 &&
	   !tv_cipher_has_tag((TvCipher) 99) && !tv_cipher_has_nonce(TV_CIPHER_NONE) &&
	   strcmp(tv_cipher_name((TvCipher) 99), "none") == 0, "unknown values are harmless");
	ok(tv_cipher_init((TvCipherContext *) work, (TvCipher) 99, key, 32) == TV_ERR_INVALID_ARGUMENT,
	   "and refused");
}

int
main(void)
{
	TvError		err;

	srand(20240229);
	if (!ok(tv_cipher_setup(&err) == TV_OK, "setup works"))
		printf("# %s\n", err.message);
	ok(tv_cipher_setup(NULL) == TV_OK, "and may be repeated");
	test_names();
	for (int c = 1; c < TV_CIPHER_COUNT; c++)
	{
		for (int lib = 0; lib < TV_LIBRARY_COUNT; lib++)
		{
			TvCipher	cipher = (TvCipher) c;
			TvCipherLibrary library = (TvCipherLibrary) lib;

			if (!tv_cipher_has_library(cipher, library))
			{
				unit_skip("library not usable on this CPU");
				continue;
			}
			test_against_openssl(cipher, library);
			if (tv_cipher_has_tag(cipher))
				test_tampering(cipher, library);
			test_arguments(cipher, library);
			test_fork(cipher, library);
		}
	}
	return unit_done();
}
