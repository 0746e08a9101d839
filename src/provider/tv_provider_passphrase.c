/*
 * tv_provider_passphrase.c
 *	  passphrase:/path, a master key derived from the passphrase in a file.
 */
#include "base/tv_secret.h"
#include "provider/tv_provider_driver.h"

/* RFC 9106 section 4, second recommended option, with one lane: one thread. */
#define PASSPHRASE_MEMORY_KIB 65536
#define PASSPHRASE_PASSES 3
#define PASSPHRASE_LANES 1
#define PASSPHRASE_MIN_CHARS 8

static TvStatus
passphrase_check(const char *rest, TvError *err)
{
	const char *path;

	return tv_provider_check_path("passphrase file", rest, &path, err);
}

/*
 * Characters of UTF-8 text: bytes that do not continue one.
 */
static size_t
count_chars(const uint8_t *s, size_t len)
{
	size_t		n = 0;

	for (size_t i = 0; i < len; i++)
		if ((s[i] & 0xC0) != 0x80)
			n++;
	return n;
}

static TvStatus
derive(TvSecretFile *file, const char *path, const void *salt,
	   uint8_t *key, TvError *err)
{
	TvStatus	status;

	tv_provider_chomp(file);
	if (count_chars(file->data, file->len) < PASSPHRASE_MIN_CHARS)
	{
		tv_error(err, TV_ERR_BAD_PIN,
				 "passphrase in \"%s\" must have at least %d characters", path,
				 PASSPHRASE_MIN_CHARS);
		tv_error_hint(err, "Six or more words chosen at random make a good passphrase.");
		return TV_ERR_BAD_PIN;
	}
	status = tv_argon2id(file->data, file->len, salt, TV_PROVIDER_SALT_LEN,
						 PASSPHRASE_MEMORY_KIB, PASSPHRASE_PASSES,
						 PASSPHRASE_LANES, key, TV_KEY_LEN);
	if (status != TV_OK)
	{
		tv_error(err, status, "could not derive a key from the passphrase");
		tv_error_detail(err, "Argon2id needs 64 MiB of memory for a moment.");
	}
	return status;
}

static TvStatus
passphrase_open(const TvProviderRequest *req, TvProvider **provider,
				TvError *err)
{
	if (req->salt == NULL)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT,
						"the passphrase provider needs a salt");
	return tv_provider_local_open_file(&tv_provider_passphrase_driver,
									   "passphrase file", req->rest, derive,
									   req->salt, provider, err);
}

const TvProviderDriver tv_provider_passphrase_driver = {
	.scheme = "passphrase",
	.check = passphrase_check,
	.open = passphrase_open,
	.wrap = tv_provider_local_wrap,
	.unwrap = tv_provider_local_unwrap,
	.close = tv_provider_local_close,
};
