/*
 * crypto_kdf_test.c
 *	  Derivation, authentication, random numbers, key wrap, and the self test
 *	  that holds the published vectors.
 */
#include <argon2.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/single_threaded.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/tv_kdf.h"
#include "crypto/tv_vectors.h"
#include "unit.h"

static void
test_self_test(void)
{
	TvError		err = {0};

	if (!ok(tv_crypto_self_test(&err) == TV_OK, "the self test passes"))
		printf("# %s\n", err.message);
	ok(tv_crypto_self_test(NULL) == TV_OK, "and passes again, without error text");
	ok(__libc_single_threaded, "no thread was started: what is forked from here stays fast");
}

static void
test_hkdf(void)
{
	uint8_t		a[64];
	uint8_t		b[64];
	static uint8_t large[255 * 32 + 1];

	ok(tv_hkdf((const uint8_t *) "key", 3, NULL, 0, (const uint8_t *) "main", 4, a, 64) == TV_OK &&
	   tv_hkdf((const uint8_t *) "key", 3, NULL, 0, (const uint8_t *) "wal", 3, b, 64) == TV_OK &&
	   memcmp(a, b, 64) != 0, "labels separate keys");
	ok(tv_hkdf((const uint8_t *) "key", 3, NULL, 0, NULL, 0, large, sizeof(large) - 1) == TV_OK,
	   "the longest output works");
	ok(tv_hkdf((const uint8_t *) "key", 3, NULL, 0, NULL, 0, large, sizeof(large)) ==
	   TV_ERR_INVALID_ARGUMENT, "a longer one is refused");
	ok(tv_hkdf(NULL, 0, NULL, 0, NULL, 0, a, 32) == TV_ERR_INVALID_ARGUMENT, "no key is refused");
	ok(tv_hkdf((const uint8_t *) "key", 3, NULL, 4, NULL, 0, a, 32) == TV_ERR_INVALID_ARGUMENT,
	   "a salt without bytes is refused");
}

/* One key for many messages gives what it gives for each. */
static void
test_hmac_ready(void)
{
	static const size_t keys[] = {1, 31, 32, 63, 64, 65, 131};
	uint8_t		key[131];
	uint8_t		message[300];
	uint8_t		a[TV_MAC_LEN];
	uint8_t		b[TV_MAC_LEN];
	TvHmacKey	ready;
	int			wrong = 0;

	memset(key, 0x5a, sizeof(key));
	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (uint8_t) i;
	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
	{
		wrong += tv_hmac_key_init(&ready, key, keys[k]) != TV_OK;
		for (size_t len = 0; len <= sizeof(message); len++)
		{
			wrong += tv_hmac_with(&ready, message, len, a) != TV_OK ||
				tv_hmac(key, keys[k], message, len, b) != TV_OK || memcmp(a, b, TV_MAC_LEN) != 0 ||
				HMAC(EVP_sha256(), key, (int) keys[k], message, len, b, NULL) == NULL ||
				memcmp(a, b, TV_MAC_LEN) != 0;
		}
	}
	ok(wrong == 0, "a key that is made ready once serves every message, as OpenSSL's HMAC does");
	memset(&ready, 0, sizeof(ready));
	ok(tv_hmac_with(&ready, message, 1, a) == TV_ERR_INVALID_ARGUMENT, "a key of zeros is refused");
	ok(tv_hmac_key_init(&ready, key, 0) == TV_ERR_INVALID_ARGUMENT &&
	   tv_hmac_key_init(&ready, NULL, 3) == TV_ERR_INVALID_ARGUMENT, "so is none");
}

static void
test_hmac(void)
{
	uint8_t		a[TV_MAC_LEN];
	uint8_t		b[TV_MAC_LEN];

	ok(tv_hmac((const uint8_t *) "k", 1, NULL, 0, a) == TV_OK &&
	   tv_hmac((const uint8_t *) "k", 1, (const uint8_t *) "", 0, b) == TV_OK &&
	   tv_equal_secret(a, b, TV_MAC_LEN), "an empty message has a MAC");
	b[31] ^= 1;
	ok(!tv_equal_secret(a, b, TV_MAC_LEN), "a difference in the last bit is seen");
	ok(tv_equal_secret(a, b, 0), "nothing equals nothing");
	ok(tv_hmac(NULL, 0, a, 1, b) == TV_ERR_INVALID_ARGUMENT, "no key is refused");
	test_hmac_ready();
}

static void
test_random(void)
{
	uint8_t		mine[32];
	uint8_t		theirs[32] = {0};
	uint8_t		zero[32] = {0};
	int			fds[2];
	pid_t		pid;

	ok(tv_random(mine, 32) == TV_OK && memcmp(mine, zero, 32) != 0, "random bytes come");
	ok(tv_random(NULL, 0) == TV_OK, "no bytes are no problem");
	ok(tv_random(NULL, 1) == TV_ERR_INVALID_ARGUMENT, "no place for them is");

	/* right after a fork, both sides draw from the same inherited state */
	if (pipe(fds) != 0)
		return;
	fflush(stdout);
	pid = fork();
	(void) tv_random(mine, 32);
	if (pid == 0)
		_exit(write(fds[1], mine, 32) == 32 ? 0 : 1);
	ok(read(fds[0], theirs, 32) == 32 && memcmp(mine, theirs, 32) != 0,
	   "a child draws other bytes than its parent");
	waitpid(pid, NULL, 0);
	close(fds[0]);
	close(fds[1]);
}

static void
test_argon2id(void)
{
	static const uint8_t salt[16] = "0123456789abcde";
	const uint8_t *pw = (const uint8_t *) "correct horse";
	uint8_t		a[32];
	uint8_t		b[32];

	ok(tv_argon2id(pw, 13, salt, 16, 1024, 2, 1, a, 32) == TV_OK &&
	   tv_argon2id(pw, 13, salt, 16, 1024, 2, 1, b, 32) == TV_OK &&
	   memcmp(a, b, 32) == 0, "Argon2id is deterministic");
	ok(__libc_single_threaded, "no thread is started for it");
	ok(prctl(PR_GET_DUMPABLE) == 1, "core dumps are as they were");
	ok(tv_argon2id(pw, 12, salt, 16, 1024, 2, 1, b, 32) == TV_OK &&
	   memcmp(a, b, 32) != 0, "another password gives another key");
	ok(tv_argon2id(pw, 13, salt, 16, 1024, 3, 1, b, 32) == TV_OK &&
	   memcmp(a, b, 32) != 0, "so do other costs");
	ok(tv_argon2id(pw, 13, salt, 4, 1024, 2, 1, b, 32) == TV_ERR_INVALID_ARGUMENT, "a short salt is refused");
	ok(tv_argon2id(pw, 13, salt, 16, 1, 2, 1, b, 32) == TV_ERR_INVALID_ARGUMENT, "too little memory is refused");
	ok(tv_argon2id(pw, 13, salt, 16, 1024, 0, 1, b, 32) == TV_ERR_INVALID_ARGUMENT, "no passes are refused");
	ok(tv_argon2id(pw, 13, salt, 16, 1024, 1, 2, b, 32) == TV_ERR_INVALID_ARGUMENT, "two lanes are refused");
	ok(argon2id_hash_raw(2, 1024, 1, pw, 13, salt, 16, b, 32) == ARGON2_OK && memcmp(a, b, 32) == 0,
	   "another library says the same");
}

static void
test_wrap(void)
{
	uint8_t		kek[32];
	uint8_t		key[64];
	uint8_t		blob[64 + TV_WRAP_OVERHEAD + 1];
	uint8_t		other[sizeof(blob)];
	uint8_t		out[64];
	uint8_t		zero[64] = {0};
	const uint8_t *aad = (const uint8_t *) "key 7, epoch 2";
	size_t		len = 0;
	size_t		len2 = 0;
	int			missed = 0;

	tv_random(kek, 32);
	tv_random(key, 64);
	ok(tv_key_wrap(kek, aad, 14, key, 64, blob, sizeof(blob), &len) == TV_OK &&
	   len == 64 + TV_WRAP_OVERHEAD, "a key is wrapped");
	ok(tv_key_unwrap(kek, aad, 14, blob, len, out, 64) == TV_OK &&
	   memcmp(out, key, 64) == 0, "and unwrapped");
	ok(tv_key_wrap(kek, aad, 14, key, 64, other, sizeof(other), &len2) == TV_OK &&
	   memcmp(blob, other, len) != 0, "wrapping again gives another blob");
	for (size_t i = 0; i < len; i++)
	{
		blob[i] ^= 0x40;
		if (tv_key_unwrap(kek, aad, 14, blob, len, out, 64) != TV_ERR_AUTH ||
			memcmp(out, zero, 64) != 0)
			missed++;
		blob[i] ^= 0x40;
	}
	ok(missed == 0, "a flipped bit anywhere is noticed, and no key comes out");
	ok(tv_key_unwrap(kek, aad, 13, blob, len, out, 64) == TV_ERR_AUTH, "so is other associated data");
	kek[0] ^= 1;
	ok(tv_key_unwrap(kek, aad, 14, blob, len, out, 64) == TV_ERR_AUTH, "so is another wrapping key");
	ok(tv_key_unwrap(kek, aad, 14, blob, len - 1, out, 64) == TV_ERR_TRUNCATED, "a short blob is truncated");
	ok(tv_key_unwrap(kek, aad, 14, blob, len + 1, out, 64) == TV_ERR_CORRUPT, "a long one is corrupt");
	ok(tv_key_unwrap(kek, aad, 14, blob, 0, out, 64) == TV_ERR_TRUNCATED, "an empty one is truncated");
	ok(tv_key_wrap(kek, aad, 14, key, 64, blob, 64 + TV_WRAP_OVERHEAD - 1, &len) ==
	   TV_ERR_INVALID_ARGUMENT, "a small buffer is refused");
	ok(tv_key_wrap(kek, aad, 14, key, 65, blob, sizeof(blob), &len) ==
	   TV_ERR_INVALID_ARGUMENT, "a key too long is refused");
}

int
main(void)
{
	test_self_test();
	test_hkdf();
	test_hmac();
	test_random();
	test_argon2id();
	test_wrap();
	return unit_done();
}
