/*
 * tv_provider_env.c
 *	  env:NAME, a master key in an environment variable, for development: the
 *	  environment is readable through /proc and inherited by every child.
 */
#include <stdlib.h>
#include <string.h>

#include "base/tv_secret.h"
#include "provider/tv_provider_driver.h"

static TvStatus
env_check(const char *rest, TvError *err)
{
	for (const char *p = rest; *p; p++)
	{
		bool		letter = (*p >= 'A' && *p <= 'Z') ||
			(*p >= 'a' && *p <= 'z') || *p == '_';
		bool		digit = *p >= '0' && *p <= '9';

		if (!letter && !(digit && p > rest))
			return tv_error(err, TV_ERR_BAD_URI,
							"environment variable name has an invalid character at position %zu",
							(size_t) (p - rest) + 1);
	}
	if (rest[0] == '\0')
		return tv_error(err, TV_ERR_BAD_URI,
						"environment variable name is empty");
	return TV_OK;
}

static TvStatus
env_open(const TvProviderRequest *req, TvProvider **provider, TvError *err)
{
	const char *value = getenv(req->rest);
	uint8_t    *key;
	TvStatus	status;

	if (value == NULL)
	{
		tv_error(err, TV_ERR_NO_KEY, "environment variable \"%s\" not found",
				 req->rest);
		tv_error_hint(err, "Set it to 64 hexadecimal characters in the environment that starts the server. This provider is for development only; use pkcs11: or file: in production.");
		return TV_ERR_NO_KEY;
	}
	key = tv_secret_alloc(TV_KEY_LEN);
	if (key == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY, "out of memory");
	status = tv_provider_decode_hex(value, strlen(value), key, err);
	if (status != TV_OK)
	{
		tv_error_detail(err, "Environment variable \"%s\" holds the key.",
						req->rest);
		tv_error_hint(err, "This provider is for development only; use pkcs11: or file: in production.");
		tv_secret_free(key);
		return status;
	}
	return tv_provider_local_open(&tv_provider_env_driver, key, provider, err);
}

const TvProviderDriver tv_provider_env_driver = {
	.scheme = "env",
	.check = env_check,
	.open = env_open,
	.wrap = tv_provider_local_wrap,
	.unwrap = tv_provider_local_unwrap,
	.close = tv_provider_local_close,
};
