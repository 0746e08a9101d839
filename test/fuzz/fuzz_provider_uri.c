/*
 * fuzz_provider_uri.c
 *	  Arbitrary bytes as a provider URI: no crash, bounded output, and a PIN
 *	  is never shown.
 */
/* fuzz-needs: provider */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/tv_status.h"
#include "provider/tv_provider.h"
#include "provider/tv_provider_uri.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Fail loudly, also when assert() is compiled out. */
static void
require(int condition)
{
	if (!condition)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char prefix[] = "pkcs11:?module-path=/m&pin-value=";
	char		uri[2 * TV_PROVIDER_URI_MAX];
	char		shown[TV_PROVIDER_URI_MAX + 64];
	TvPkcs11Uri parsed;
	TvError		err;
	size_t		n;

	if (size >= TV_PROVIDER_URI_MAX)
		size = TV_PROVIDER_URI_MAX - 1;
	memcpy(uri, data, size);
	uri[size] = '\0';
	memset(&err, 0, sizeof(err));
	if (tv_provider_check_uri(uri, &err) != TV_OK)
		require(err.message[0] != '\0');
	for (n = 1; n < 40; n++)
	{
		memset(shown, 'x', sizeof(shown));
		tv_provider_display_uri(uri, shown, n);
		require(memchr(shown, '\0', n) != NULL && shown[n] == 'x');
	}

	/* the same bytes as the rest of a pkcs11 URI: fields stay terminated */
	if (tv_provider_parse_pkcs11(uri, &parsed, &err) == TV_OK)
	{
		require(memchr(parsed.token, '\0', sizeof(parsed.token)) != NULL);
		require(memchr(parsed.object, '\0', sizeof(parsed.object)) != NULL);
		require(parsed.module_path[0] == '/');
		require(parsed.id_len <= TV_PKCS11_ID_MAX);
		require(parsed.pin_value[0] == '\0' || parsed.pin_source[0] == '\0');
		require(parsed.pin_source[0] == '\0' || parsed.pin_source[0] == '/');
	}

	/* and as a PIN that somebody forgot to encode: nothing of it is shown */
	memcpy(uri, prefix, sizeof(prefix) - 1);
	for (n = 0; n < size && n < 200; n++)
		uri[sizeof(prefix) - 1 + n] = data[n] == '\0' || data[n] == '&' ? '%' : (char) data[n];
	uri[sizeof(prefix) - 1 + n] = '\0';
	tv_provider_display_uri(uri, shown, sizeof(shown));
	require(strcmp(shown, "pkcs11:?module-path=/m&pin-value=***") == 0);
	return 0;
}
