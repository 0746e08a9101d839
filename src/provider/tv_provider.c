/*
 * tv_provider.c
 *	  The registry of key providers: finds the driver of a URI and checks
 *	  arguments once for all drivers.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/tv_secret.h"
#include "provider/tv_provider_driver.h"
#include "provider/tv_provider_uri.h"

int			tv_provider_timeout_ms = TV_PROVIDER_TIMEOUT_DEFAULT_MS;

static const TvProviderDriver *const drivers[] = {
	&tv_provider_pkcs11_driver,
	&tv_provider_file_driver,
	&tv_provider_env_driver,
	&tv_provider_passphrase_driver,
};

#define N_DRIVERS (sizeof(drivers) / sizeof(drivers[0]))

/*
 * Split a URI into its driver and the part after "scheme:".
 */
static TvStatus
find_driver(const char *uri, const TvProviderDriver **driver,
			const char **rest, TvError *err)
{
	const char *colon;
	size_t		len;

	if (uri == NULL || uri[0] == '\0')
	{
		tv_error(err, TV_ERR_BAD_URI, "key provider URI is empty");
		tv_error_hint(err, "Known providers are pkcs11:, file:, passphrase: and env:.");
		return TV_ERR_BAD_URI;
	}
	if (strlen(uri) >= TV_PROVIDER_URI_MAX)
		return tv_error(err, TV_ERR_BAD_URI,
						"key provider URI is longer than %d bytes",
						TV_PROVIDER_URI_MAX - 1);
	colon = strchr(uri, ':');
	len = colon ? (size_t) (colon - uri) : 0;
	for (size_t i = 0; i < N_DRIVERS; i++)
	{
		if (strlen(drivers[i]->scheme) == len &&
			strncasecmp(uri, drivers[i]->scheme, len) == 0)
		{
			*driver = drivers[i];
			*rest = colon + 1;
			return TV_OK;
		}
	}
	tv_error(err, TV_ERR_BAD_URI, "key provider URI has an unknown scheme");
	tv_error_hint(err, "Known providers are pkcs11:, file:, passphrase: and env:.");
	return TV_ERR_BAD_URI;
}

/*
 * A key id becomes a PKCS#11 label and part of messages: 1 to TV_KEY_ID_MAX
 * bytes, no control characters.
 */
static TvStatus
check_key_id(const char *key_id, TvError *err)
{
	size_t		len = key_id ? strlen(key_id) : 0;

	if (len == 0 || len > TV_KEY_ID_MAX)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT,
						"key id must have 1 to %d bytes, got %zu",
						TV_KEY_ID_MAX, len);
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) key_id[i];

		if (c < 0x20 || c == 0x7f)
			return tv_error(err, TV_ERR_INVALID_ARGUMENT,
							"key id contains a control character at position %zu",
							i + 1);
	}
	return TV_OK;
}

/*
 * Common checks of wrap and unwrap.
 */
static TvStatus
check_use(const TvProvider *provider, const uint8_t *aad, size_t aadlen,
		  TvError *err)
{
	if (provider == NULL || (aad == NULL && aadlen > 0) ||
		aadlen > TV_PROVIDER_AAD_MAX)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT,
						"invalid argument to key provider");
	if (provider->owner != getpid())
		return tv_error(err, TV_ERR_INVALID_ARGUMENT,
						"key provider handle was opened by another process");
	return TV_OK;
}

/*
 * Is this a URI that a driver could open?  Syntax only.
 */
TvStatus
tv_provider_check_uri(const char *uri, TvError *err)
{
	const TvProviderDriver *driver;
	const char *rest;
	TvStatus	status;

	status = find_driver(uri, &driver, &rest, err);
	if (status != TV_OK)
		return status;
	return driver->check(rest, err);
}

/*
 * Open the MEK key_id at uri; see tv_provider.h.
 */
TvStatus
tv_provider_open(const char *uri, const char *key_id, const uint8_t *salt,
				 bool create, TvProvider **provider, TvError *err)
{
	const TvProviderDriver *driver;
	TvProviderRequest req;
	TvStatus	status;

	if (provider == NULL)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT,
						"invalid argument to key provider");
	*provider = NULL;
	status = find_driver(uri, &driver, &req.rest, err);
	if (status == TV_OK)
		status = driver->check(req.rest, err);
	if (status == TV_OK)
		status = check_key_id(key_id, err);
	if (status != TV_OK)
		return status;
	req.key_id = key_id;
	req.salt = salt;
	req.create = create;
	return driver->open(&req, provider, err);
}

/*
 * Wrap a 32-byte key: nonce || ciphertext || tag.
 */
TvStatus
tv_provider_wrap(TvProvider *provider, const uint8_t *aad, size_t aadlen,
				 const uint8_t *key, uint8_t *wrapped, size_t *wrappedlen,
				 TvError *err)
{
	TvStatus	status = check_use(provider, aad, aadlen, err);

	if (status != TV_OK)
		return status;
	if (key == NULL || wrapped == NULL || wrappedlen == NULL)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT,
						"invalid argument to key provider");
	*wrappedlen = 0;
	status = provider->driver->wrap(provider, aad, aadlen, key, wrapped, err);
	if (status == TV_OK)
		*wrappedlen = TV_WRAPPED_LEN;
	else
		memset(wrapped, 0, TV_WRAPPED_LEN);
	return status;
}

/*
 * Unwrap a 32-byte key; on any failure key is zeroed.
 */
TvStatus
tv_provider_unwrap(TvProvider *provider, const uint8_t *aad, size_t aadlen,
				   const uint8_t *wrapped, size_t wrappedlen,
				   uint8_t *key, TvError *err)
{
	TvStatus	status = check_use(provider, aad, aadlen, err);

	if (status != TV_OK)
		return status;
	if (key == NULL || wrapped == NULL)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT,
						"invalid argument to key provider");
	if (wrappedlen != TV_WRAPPED_LEN)
		status = tv_error(err, wrappedlen < TV_WRAPPED_LEN ?
						  TV_ERR_TRUNCATED : TV_ERR_CORRUPT,
						  "wrapped key must be %d bytes, got %zu",
						  TV_WRAPPED_LEN, wrappedlen);
	else
		status = provider->driver->unwrap(provider, aad, aadlen, wrapped,
										  key, err);
	if (status != TV_OK)
		tv_secret_wipe(key, TV_KEY_LEN);
	return status;
}

/*
 * Close, wiping what the process holds.
 */
void
tv_provider_close(TvProvider *provider)
{
	if (provider != NULL)
		provider->driver->close(provider, provider->owner != getpid());
}
