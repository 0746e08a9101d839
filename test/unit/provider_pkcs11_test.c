/*
 * provider_pkcs11_test.c
 *	  The pkcs11 provider at a real SoftHSM token: keys, wrapping, and every
 *	  way to be refused.
 */
#include "provider_softhsm.h"

static const uint8_t aad[] = "relation 16384 epoch 1";

static TvStatus
try_open(const char *uri, const char *key_id, bool create, TvError *err)
{
	TvProvider *p = NULL;
	TvStatus	status;

	memset(err, 0, sizeof(*err));
	status = tv_provider_open(uri, key_id, NULL, create, &p, err);
	tv_provider_close(p);
	return status;
}

static void
test_wrap(void)
{
	TvProvider *p = NULL;
	TvError		err;
	uint8_t		key[32];
	uint8_t		back[32];
	uint8_t		zero[32] = {0};
	uint8_t		wrapped[TV_WRAPPED_MAX];
	uint8_t		other[TV_WRAPPED_MAX];
	size_t		len = 0;
	size_t		len2 = 0;
	int			caught = 0;

	ok_status(try_open(hsm_uri("alpha"), "mek-1", false, &err),
			  TV_ERR_NO_KEY, &err, "a key that is not there");
	ok_status(tv_provider_open(hsm_uri("alpha"), "mek-1", NULL, true, &p, &err),
			  TV_OK, &err, "create a key");
	for (int i = 0; i < 32; i++)
		key[i] = (uint8_t) (i * 7 + 1);
	ok_status(tv_provider_wrap(p, aad, sizeof(aad), key, wrapped, &len, &err),
			  TV_OK, &err, "wrap");
	ok(len == 60, "wrapped length is 60");
	tv_provider_wrap(p, aad, sizeof(aad), key, other, &len2, &err);
	ok(memcmp(wrapped, other, 12) != 0, "nonces differ");
	ok_status(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err),
			  TV_OK, &err, "unwrap");
	ok(memcmp(key, back, 32) == 0, "the same key comes back");
	ok_status(tv_provider_unwrap(p, aad, sizeof(aad) - 1, wrapped, len, back, &err),
			  TV_ERR_AUTH, &err, "wrong AAD");
	ok(memcmp(back, zero, 32) == 0, "nothing comes back then");
	for (size_t i = 0; i < len; i++)
	{
		wrapped[i] ^= 0x10;
		if (tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err) ==
			TV_ERR_AUTH)
			caught++;
		wrapped[i] ^= 0x10;
	}
	ok(caught == 60, "every flipped byte is caught (%d of 60)", caught);
	ok(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err) == TV_OK,
	   "the session is still good");
	ok(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, 59, back, &err) ==
	   TV_ERR_TRUNCATED, "too short");
	ok(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, 61, back, &err) ==
	   TV_ERR_CORRUPT, "too long");
	ok(tv_provider_wrap(p, NULL, 0, key, wrapped, &len, &err) == TV_OK &&
	   tv_provider_unwrap(p, NULL, 0, wrapped, len, back, &err) == TV_OK,
	   "no AAD at all");
	tv_provider_close(p);
	ok_status(try_open(hsm_uri("alpha"), "mek-1", true, &err), TV_OK, &err,
			  "create again adopts the key");
	ok(hsm_direct("alpha", hsm_exactly_one, "mek-1"), "and makes no second one");
}

static void
test_wire_format(void)
{
	TvProvider *p = NULL;
	TvProvider *f = NULL;
	TvError		err;
	char		path[128];
	char		uri[160];
	uint8_t		raw[32] = {1, 2, 3};
	uint8_t		key[32] = {42};
	uint8_t		back[32];
	uint8_t		wrapped[TV_WRAPPED_MAX];
	size_t		len;

	ok(hsm_direct("alpha", hsm_import, "imported"), "a key from a backup");
	ok_status(tv_provider_open(hsm_uri("alpha"), "imported", NULL, false, &p, &err),
			  TV_OK, &err, "an imported key may be opened");
	snprintf(path, sizeof(path), "%s/raw", hsm_dir);
	snprintf(uri, sizeof(uri), "file:%s", path);
	write_file(path, raw, 32, 0600);
	ok_status(tv_provider_open(uri, "imported", NULL, false, &f, &err),
			  TV_OK, &err, "the same key in a file");
	tv_provider_wrap(p, aad, sizeof(aad), key, wrapped, &len, &err);
	ok(tv_provider_unwrap(f, aad, sizeof(aad), wrapped, len, back, &err) == TV_OK &&
	   memcmp(key, back, 32) == 0, "token wraps, file unwraps");
	tv_provider_wrap(f, aad, sizeof(aad), key, wrapped, &len, &err);
	ok(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err) == TV_OK &&
	   memcmp(key, back, 32) == 0, "file wraps, token unwraps");
	tv_provider_close(f);
	tv_provider_close(p);
}

static void
test_unsuitable_keys(void)
{
	TvError		err;

	ok(hsm_direct("alpha", hsm_make_extractable, "leaky"), "extractable key made");
	ok_status(try_open(hsm_uri("alpha"), "leaky", false, &err),
			  TV_ERR_INSECURE, &err, "extractable key refused");
	ok_status(try_open(hsm_uri("alpha"), "leaky", true, &err),
			  TV_ERR_KEY_EXISTS, &err, "and not adopted");
	ok(hsm_direct("alpha", hsm_make_short, "short"), "128-bit key made");
	ok_status(try_open(hsm_uri("alpha"), "short", false, &err),
			  TV_ERR_BAD_KEY, &err, "128-bit key refused");
	ok(hsm_direct("alpha", hsm_make_public, "open"), "non-private key made");
	ok_status(try_open(hsm_uri("alpha"), "open", false, &err),
			  TV_ERR_INSECURE, &err, "non-private key refused");
	ok(hsm_direct("alpha", hsm_make_good, "twin") &&
	   hsm_direct("alpha", hsm_make_good, "twin"), "two keys of one label made");
	ok_status(try_open(hsm_uri("alpha"), "twin", false, &err),
			  TV_ERR_BAD_KEY, &err, "two keys: not a guess");
	ok_status(try_open(hsm_uri("alpha"), "twin", true, &err),
			  TV_ERR_KEY_EXISTS, &err, "nor a third one");
}

static void
test_replaced_key(void)
{
	TvProvider *p = NULL;
	TvError		err;
	uint8_t		key[32] = {9};
	uint8_t		back[32];
	uint8_t		wrapped[TV_WRAPPED_MAX];
	uint8_t		fresh[TV_WRAPPED_MAX];
	size_t		len;
	size_t		fresh_len;

	ok(tv_provider_open(hsm_uri("alpha"), "mek-2", NULL, true, &p, &err) == TV_OK,
	   "create a key");
	tv_provider_wrap(p, aad, sizeof(aad), key, wrapped, &len, &err);
	ok(hsm_direct("alpha", hsm_destroy, "mek-2"), "destroy it elsewhere");
	ok_status(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err),
			  TV_ERR_NO_KEY, &err, "an open handle notices");
	ok(hsm_direct("alpha", hsm_make_good, "mek-2"), "make another of that label");
	ok_status(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err),
			  TV_ERR_AUTH, &err, "an open handle notices that too");
	ok_status(tv_provider_wrap(p, aad, sizeof(aad), key, fresh, &fresh_len, &err),
			  TV_ERR_AUTH, &err, "and does not wrap under the other key");
	tv_provider_close(p);
	p = NULL;
	ok(tv_provider_open(hsm_uri("alpha"), "mek-2", NULL, false, &p, &err) == TV_OK,
	   "a new handle opens the new key");
	ok_status(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err),
			  TV_ERR_AUTH, &err, "which unwraps nothing of the old one");
	tv_provider_close(p);
}

static void
test_pin(void)
{
	TvError		err;
	TvProvider *p = NULL;
	char		uri[512];

	hsm_write_pin("11111111\n", 0600);
	ok_status(try_open(hsm_uri("alpha"), "mek-1", false, &err),
			  TV_ERR_BAD_PIN, &err, "wrong PIN");
	ok(strstr(err.message, "was refused") && !strstr(err.message, "before") &&
	   strstr(err.detail, "CKR_PIN_INCORRECT"), "the token refused it");
	ok_status(try_open(hsm_uri("alpha"), "mek-1", false, &err),
			  TV_ERR_BAD_PIN, &err, "wrong PIN again");
	ok(strstr(err.message, "refused before") != NULL, "and was not asked again");
	hsm_write_pin(HSM_PIN, 0600);
	ok_status(try_open(hsm_uri("alpha"), "mek-1", false, &err), TV_OK, &err,
			  "a corrected PIN file, without newline");
	hsm_write_pin(HSM_PIN "\n", 0640);
	ok_status(try_open(hsm_uri("alpha"), "mek-1", false, &err),
			  TV_ERR_INSECURE, &err, "PIN file that the group can read");
	hsm_write_pin("\n", 0600);
	ok_status(try_open(hsm_uri("alpha"), "mek-1", false, &err),
			  TV_ERR_BAD_PIN, &err, "empty PIN file");
	shell("rm %s/pin", hsm_dir);
	ok_status(try_open(hsm_uri("alpha"), "mek-1", false, &err),
			  TV_ERR_IO, &err, "no PIN file");
	hsm_write_pin(HSM_PIN "\n", 0400);
	snprintf(uri, sizeof(uri), "pkcs11:token=alpha?module-path=%s", SOFTHSM_MODULE);
	ok_status(try_open(uri, "mek-1", false, &err), TV_ERR_BAD_PIN, &err,
			  "no PIN in the URI");
	snprintf(uri, sizeof(uri), "pkcs11:token=alpha?module-path=%s&pin-value=%s",
			 SOFTHSM_MODULE, HSM_PIN);
	ok_status(tv_provider_open(uri, "mek-1", NULL, false, &p, &err), TV_OK, &err,
			  "pin-value");
	tv_provider_close(p);
}

static void
test_token(void)
{
	TvError		err;
	char		uri[512];

	ok_status(try_open(hsm_uri("gamma"), "mek-1", false, &err),
			  TV_ERR_NO_TOKEN, &err, "a token that is not there");
	ok(strstr(err.message, "\"gamma\"") && strstr(err.detail, "\"alpha\""),
	   "the error names the tokens that are");
	ok(hsm_init_token("beta one"), "a second token");
	ok_status(try_open(hsm_uri("beta%20one"), "mek-1", true, &err), TV_OK, &err,
			  "a label with a space");
	snprintf(uri, sizeof(uri), "pkcs11:?module-path=%s&pin-source=%s/pin",
			 SOFTHSM_MODULE, hsm_dir);
	ok_status(try_open(uri, "mek-1", false, &err), TV_ERR_BAD_URI, &err,
			  "two tokens match");
	snprintf(uri, sizeof(uri),
			 "pkcs11:token=alpha;serial=00?module-path=%s&pin-source=%s/pin",
			 SOFTHSM_MODULE, hsm_dir);
	ok_status(try_open(uri, "mek-1", false, &err), TV_ERR_NO_TOKEN, &err,
			  "right label, wrong serial");
	snprintf(uri, sizeof(uri),
			 "pkcs11:token=alpha;object=other?module-path=%s&pin-source=%s/pin",
			 SOFTHSM_MODULE, hsm_dir);
	ok_status(try_open(uri, "mek-1", false, &err), TV_ERR_INVALID_ARGUMENT, &err,
			  "object contradicts the key id");
	snprintf(uri, sizeof(uri),
			 "pkcs11:token=alpha;id=%%01%%00%%02?module-path=%s&pin-source=%s/pin",
			 SOFTHSM_MODULE, hsm_dir);
	ok_status(try_open(uri, "with-id", true, &err), TV_OK, &err, "create with an id");
	ok_status(try_open(uri, "with-id", false, &err), TV_OK, &err, "find by id");
	ok_status(try_open(uri, "mek-1", false, &err), TV_ERR_NO_KEY, &err,
			  "another id");
}

static void
test_module(void)
{
	TvError		err;
	char		path[128];
	char		uri[512];

	snprintf(path, sizeof(path), "%s/module.so", hsm_dir);
	snprintf(uri, sizeof(uri), "pkcs11:token=alpha?module-path=%s&pin-source=%s/pin",
			 path, hsm_dir);
	ok_status(try_open(uri, "k", false, &err), TV_ERR_UNAVAILABLE, &err,
			  "no such module");
	write_file(path, "not a library", 13, 0755);
	ok_status(try_open(uri, "k", false, &err), TV_ERR_UNAVAILABLE, &err,
			  "not a library");
	chmod(path, 0777);
	ok_status(try_open(uri, "k", false, &err), TV_ERR_INSECURE, &err,
			  "a module that anybody may write");
	shell("rm %s; cp /usr/lib/x86_64-linux-gnu/libp11.so.3 %s || "
		  "cp $(ldconfig -p | sed -n 's/.*libp11.so.3.*=> //p' | head -1) %s",
		  path, path, path);
	ok_status(try_open(uri, "k", false, &err), TV_ERR_UNAVAILABLE, &err,
			  "a library that is no PKCS#11 module");
	setenv("SOFTHSM2_CONF", "/nonexistent", 1);
	ok_status(try_open(hsm_uri("alpha"), "mek-1", false, &err),
			  TV_ERR_UNAVAILABLE, &err, "a module that cannot initialize");
	snprintf(path, sizeof(path), "%s/conf", hsm_dir);
	setenv("SOFTHSM2_CONF", path, 1);
	ok_status(try_open(hsm_uri("alpha"), "mek-1", false, &err), TV_OK, &err,
			  "and can, later");
}

int
main(void)
{
	hsm_start();
	test_wrap();
	test_wire_format();
	test_unsuitable_keys();
	test_replaced_key();
	test_pin();
	test_token();
	test_module();
	hsm_stop();
	return unit_done();
}
