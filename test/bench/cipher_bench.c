/*
 * cipher_bench.c
 *	  How long does one message take, by cipher and library?
 *
 * All candidates have their key schedules ready, except "tv/OpenSSL", the
 * fallback behind our interface, which keys its handle for each message.
 * Candidates take turns in short runs; the median over all runs is printed,
 * so that a disturbance hits none of them in particular.
 *
 * Build and run: make -C test/unit bench
 */
#include <gcrypt.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/tv_secret.h"
#include "crypto/tv_cipher.h"
#include "crypto/tv_cipher_impl.h"

#define ROUNDS 101
#define MAX_LEN 8192
#define AAD_LEN 32

typedef struct Candidate
{
	const char *name;
	void		(*run) (const struct Candidate *c, size_t len, int count);
	TvCipher	cipher;
	bool		open;
	void	   *state;
	double		samples[ROUNDS];
} Candidate;

/* laid out like pages: aligned, with a readable header before the payload */
#define HEADER 12
static uint8_t in_page[MAX_LEN + HEADER] __attribute__((aligned(8192)));
static uint8_t out_page[MAX_LEN + HEADER] __attribute__((aligned(8192)));
static uint8_t *const in = in_page + HEADER;
static uint8_t *const out = out_page + HEADER;
static uint8_t key[TV_CIPHER_KEY_MAX];
static uint8_t iv[TV_TWEAK_LEN];
static uint8_t aad[AAD_LEN];
static uint8_t tag[TV_TAG_LEN];

static double
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void
must(bool ok, const char *what)
{
	if (!ok)
	{
		fprintf(stderr, "cipher_bench: %s failed\n", what);
		exit(1);
	}
}

/* our interface; opening finds wrong tags, which costs the same but a wipe */
static void
run_tv(const Candidate *c, size_t len, int count)
{
	size_t		aadlen = tv_cipher_has_tag(c->cipher) ? AAD_LEN : 0;

	for (int i = 0; i < count; i++)
	{
		iv[0] = (uint8_t) i;
		if (c->open)
		{
			iv[0] = 0;
			must(tv_cipher_open(c->state, iv, aad, aadlen, in, out, len, tag) == TV_OK,
				 "open");
		}
		else
			must(tv_cipher_seal(c->state, iv, aad, aadlen, in, out, len, tag) == TV_OK,
				 "seal");
	}
}

static void
run_openssl(const Candidate *c, size_t len, int count)
{
	EVP_CIPHER_CTX *h = c->state;
	uint8_t		block[TV_TWEAK_LEN];
	int			n;

	for (int i = 0; i < count; i++)
	{
		iv[0] = (uint8_t) i;
		must(EVP_EncryptInit_ex(h, NULL, NULL, NULL, iv) == 1, "init");
		if (tv_cipher_has_tag(c->cipher))
			must(EVP_EncryptUpdate(h, NULL, &n, aad, AAD_LEN) == 1, "aad");
		must(EVP_EncryptUpdate(h, out, &n, in, (int) len) == 1, "update");
		must(EVP_EncryptFinal_ex(h, block, &n) == 1, "final");
		if (tv_cipher_has_tag(c->cipher))
			must(EVP_CIPHER_CTX_ctrl(h, EVP_CTRL_AEAD_GET_TAG, TV_TAG_LEN, tag) == 1,
				 "tag");
	}
}

static void
run_gcrypt(const Candidate *c, size_t len, int count)
{
	gcry_cipher_hd_t h = c->state;
	size_t		ivlen = tv_cipher_has_tag(c->cipher) ? TV_NONCE_LEN : TV_TWEAK_LEN;

	for (int i = 0; i < count; i++)
	{
		iv[0] = (uint8_t) i;
		if (c->cipher == TV_CIPHER_AES_256_CTR)
			must(gcry_cipher_setctr(h, iv, ivlen) == 0, "setctr");
		else
			must(gcry_cipher_setiv(h, iv, ivlen) == 0, "setiv");
		if (tv_cipher_has_tag(c->cipher))
			must(gcry_cipher_authenticate(h, aad, AAD_LEN) == 0, "aad");
		must(gcry_cipher_encrypt(h, out, len, in, len) == 0, "encrypt");
		if (tv_cipher_has_tag(c->cipher))
			must(gcry_cipher_gettag(h, tag, TV_TAG_LEN) == 0, "tag");
	}
}

static void *
openssl_state(TvCipher cipher)
{
	static const char *const names[TV_CIPHER_COUNT] = {
		"", "AES-256-GCM", "ChaCha20-Poly1305", "AES-256-CTR", "AES-256-XTS"
	};
	EVP_CIPHER_CTX *h = EVP_CIPHER_CTX_new();

	must(EVP_EncryptInit_ex(h, EVP_get_cipherbyname(names[cipher]), NULL, key, iv) == 1,
		 "OpenSSL key");
	return h;
}

static void *
gcrypt_state(TvCipher cipher)
{
	static const int modes[TV_CIPHER_COUNT] = {
		0, GCRY_CIPHER_MODE_GCM, GCRY_CIPHER_MODE_POLY1305,
		GCRY_CIPHER_MODE_CTR, GCRY_CIPHER_MODE_XTS
	};
	gcry_cipher_hd_t h;
	int			algo = cipher == TV_CIPHER_CHACHA20_POLY1305 ?
		GCRY_CIPHER_CHACHA20 : GCRY_CIPHER_AES256;

	must(gcry_cipher_open(&h, algo, modes[cipher], 0) == 0, "gcrypt open");
	must(gcry_cipher_setkey(h, key, tv_cipher_key_len(cipher)) == 0, "gcrypt key");
	return h;
}

static void *
tv_state(TvCipher cipher, TvCipherLibrary library)
{
	void	   *ctx = tv_secret_alloc(tv_cipher_context_size(cipher));

	must(ctx != NULL, "memory");
	if (tv_cipher_init_with(ctx, cipher, library, key,
							tv_cipher_key_len(cipher)) != TV_OK)
	{
		tv_secret_free(ctx);
		return NULL;
	}
	return ctx;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static void
bench(TvCipher cipher, size_t len)
{
	Candidate	c[] = {
		{"tv/ipsec-mb seal", run_tv, cipher, false, tv_state(cipher, TV_LIBRARY_IPSEC_MB), {0}},
		{"tv/ipsec-mb open", run_tv, cipher, true, tv_state(cipher, TV_LIBRARY_IPSEC_MB), {0}},
		{"tv/OpenSSL seal", run_tv, cipher, false, tv_state(cipher, TV_LIBRARY_OPENSSL), {0}},
		{"OpenSSL EVP", run_openssl, cipher, false, openssl_state(cipher), {0}},
		{"libgcrypt", run_gcrypt, cipher, false, gcrypt_state(cipher), {0}},
	};
	const int	n = sizeof(c) / sizeof(c[0]);
	int			count = len > 1024 ? 400 : 5000;

	for (int r = 0; r < ROUNDS; r++)
	{
		for (int i = 0; i < n; i++)
		{
			double		start;

			if (c[i].state == NULL)
				continue;
			if (c[i].open)
			{
				/* something to open: in becomes a valid message */
				iv[0] = 0;
				must(tv_cipher_seal(c[i].state, iv, aad,
									tv_cipher_has_tag(cipher) ? AAD_LEN : 0,
									in, in, len, tag) == TV_OK, "seal");
			}
			start = now_us();
			c[i].run(&c[i], len, count);
			c[i].samples[r] = (now_us() - start) / count;
		}
	}
	for (int i = 0; i < n; i++)
	{
		if (c[i].state == NULL)
			continue;
		qsort(c[i].samples, ROUNDS, sizeof(double), compare);
		printf("%-18s  %5zu  %-18s  %8.3f\n", tv_cipher_name(cipher), len,
			   c[i].name, c[i].samples[ROUNDS / 2]);
	}
}

int
main(void)
{
	must(gcry_check_version(NULL) != NULL, "libgcrypt");
	gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
	must(tv_cipher_setup(NULL) == TV_OK, "setup");
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t) i;

	printf("%-18s  %5s  %-18s  %8s\n", "cipher", "bytes", "library", "median us");
	for (int c = 1; c < TV_CIPHER_COUNT; c++)
	{
		bench((TvCipher) c, 8180);
		bench((TvCipher) c, 128);
	}
	for (int c = 1; c < TV_CIPHER_COUNT; c++)
		printf("chosen for %-18s  %s\n", tv_cipher_name((TvCipher) c),
			   tv_cipher_implementation((TvCipher) c));
	return 0;
}
