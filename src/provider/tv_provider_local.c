/*
 * tv_provider_local.c
 *	  A MEK that this process holds itself: shared by file, env and
 *	  passphrase.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/tv_secret.h"
#include "provider/tv_provider_driver.h"
#include "provider/tv_provider_hex.h"

typedef struct LocalProvider
{
	TvProvider	base;
	uint8_t    *key;			/* TV_KEY_LEN bytes of secret memory */
} LocalProvider;

/*
 * Make a handle around a key in secret memory, which it now owns.
 */
TvStatus
tv_provider_local_open(const TvProviderDriver *driver, uint8_t *key,
					   TvProvider **provider, TvError *err)
{
	LocalProvider *local = calloc(1, sizeof(*local));

	if (local == NULL)
	{
		tv_secret_free(key);
		return tv_error(err, TV_ERR_NO_MEMORY, "out of memory");
	}
	local->base.driver = driver;
	local->base.owner = getpid();
	local->key = key;
	*provider = &local->base;
	return TV_OK;
}

/*
 * Read a secret file, make a key of it, and a handle around the key.
 */
TvStatus
tv_provider_local_open_file(const TvProviderDriver *driver, const char *what,
							const char *rest, TvKeyFromFile make_key,
							const void *context, TvProvider **provider,
							TvError *err)
{
	TvSecretFile file;
	const char *path;
	uint8_t    *key;
	TvStatus	status;

	status = tv_provider_check_path(what, rest, &path, err);
	if (status != TV_OK)
		return status;
	status = tv_provider_read_secret_file(what, path, &file, err);
	if (status != TV_OK)
		return status;
	key = tv_secret_alloc(TV_KEY_LEN);
	if (key == NULL)
		status = tv_error(err, TV_ERR_NO_MEMORY, "out of memory");
	else
		status = make_key(&file, path, context, key, err);
	tv_secret_free(file.data);
	if (status != TV_OK)
	{
		tv_secret_free(key);
		return status;
	}
	return tv_provider_local_open(driver, key, provider, err);
}

/*
 * Wrap under the held key.
 */
TvStatus
tv_provider_local_wrap(TvProvider *provider, const uint8_t *aad, size_t aadlen,
					   const uint8_t *key, uint8_t *wrapped, TvError *err)
{
	LocalProvider *local = (LocalProvider *) provider;
	size_t		len = 0;
	TvStatus	status;

	status = tv_key_wrap(local->key, aad, aadlen, key, TV_KEY_LEN,
						 wrapped, TV_WRAPPED_LEN, &len);
	if (status == TV_OK && len != TV_WRAPPED_LEN)
		status = TV_ERR_INTERNAL;
	if (status != TV_OK)
		return tv_error(err, status, "could not wrap key");
	return TV_OK;
}

/*
 * Unwrap under the held key.
 */
TvStatus
tv_provider_local_unwrap(TvProvider *provider, const uint8_t *aad,
						 size_t aadlen, const uint8_t *wrapped, uint8_t *key,
						 TvError *err)
{
	LocalProvider *local = (LocalProvider *) provider;
	TvStatus	status;

	status = tv_key_unwrap(local->key, aad, aadlen, wrapped, TV_WRAPPED_LEN,
						   key, TV_KEY_LEN);
	if (status == TV_ERR_AUTH)
	{
		tv_error(err, status, "decryption failed: authentication tag verification failed");
		tv_error_detail(err, "The \"%s\" provider holds another master key than the one that wrapped this key, or the wrapped key was changed.",
						provider->driver->scheme);
		tv_error_hint(err, "Restore the master key that was in use when the key was wrapped.");
	}
	else if (status != TV_OK)
		tv_error(err, status, "could not unwrap key");
	return status;
}

/*
 * Forget the key.  In a forked child its pages are already zero and its
 * allocator does not know them.
 */
void
tv_provider_local_close(TvProvider *provider, bool foreign)
{
	LocalProvider *local = (LocalProvider *) provider;

	if (!foreign)
		tv_secret_free(local->key);
	free(local);
}

/*
 * Decode 64 hexadecimal characters.
 */
TvStatus
tv_provider_decode_hex(const char *hex, size_t len, uint8_t *key, TvError *err)
{
	if (len != 2 * TV_KEY_LEN)
		return tv_error(err, TV_ERR_BAD_KEY,
						"hex key must be %d characters (%d bytes), got %zu",
						2 * TV_KEY_LEN, TV_KEY_LEN, len);
	for (size_t i = 0; i < TV_KEY_LEN; i++)
	{
		int			hi = tv_provider_hex_value(hex[2 * i]);
		int			lo = tv_provider_hex_value(hex[2 * i + 1]);

		if (hi < 0 || lo < 0)
		{
			tv_secret_wipe(key, TV_KEY_LEN);
			return tv_error(err, TV_ERR_BAD_KEY,
							"hex key has an invalid character at position %zu",
							2 * i + (hi < 0 ? 1 : 2));
		}
		key[i] = (uint8_t) (hi << 4 | lo);
	}
	return TV_OK;
}
