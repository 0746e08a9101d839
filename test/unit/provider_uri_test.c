/*
 * provider_uri_test.c
 *	  Provider URIs: what is understood, what is refused, and that no PIN is
 *	  ever shown.
 */
#include <string.h>

#include "base/tv_status.h"
#include "provider/tv_provider.h"
#include "provider/tv_provider_uri.h"
#include "unit.h"

#define PKCS11 "pkcs11:token=a?module-path=/m.so"

static void
test_fields(void)
{
	TvPkcs11Uri u;
	TvError		err;

	ok(tv_provider_parse_pkcs11("token=My%20Token;serial=0001;model=M;"
								"manufacturer=Acme%2C%20Inc.;slot-id=42;object=mek%3b1;"
								"id=%00%ff%41;type=secret-key"
								"?module-path=/usr/lib/m.so&pin-source=file:/run/p%3Fn",
								&u, &err) == TV_OK, "a full URI");
	ok(strcmp(u.token, "My Token") == 0, "token");
	ok(strcmp(u.serial, "0001") == 0, "serial");
	ok(strcmp(u.model, "M") == 0, "model");
	ok(strcmp(u.manufacturer, "Acme, Inc.") == 0, "manufacturer");
	ok(u.has_slot_id && u.slot_id == 42, "slot-id");
	ok(strcmp(u.object, "mek;1") == 0, "object");
	ok(u.id_len == 3 && memcmp(u.id, "\0\377A", 3) == 0, "id");
	ok(strcmp(u.module_path, "/usr/lib/m.so") == 0, "module-path");
	ok(strcmp(u.pin_source, "/run/p?n") == 0, "pin-source");
	ok(tv_provider_parse_pkcs11("?module-path=/m.so&pin-source=file:///run/pin",
								&u, &err) == TV_OK &&
	   strcmp(u.pin_source, "/run/pin") == 0, "file:///");
	ok(tv_provider_parse_pkcs11("?pin-value=a%26b?/|&module-path=/m.so",
								&u, &err) == TV_OK &&
	   strcmp(u.pin_value, "a&b?/|") == 0, "pin-value");
	ok(tv_provider_parse_pkcs11("token=a&b?module-path=/m.so", &u, &err) == TV_OK &&
	   strcmp(u.token, "a&b") == 0, "& may stand in the path part");
}

static void
test_accepted(void)
{
	static const char *const good[] = {
		PKCS11, PKCS11 "&pin-source=/p", "PKCS11:?module-path=/m.so",
		"pkcs11:token=%41?module-path=/m.so", "file:/k", "file:///k",
		"File:/k k", "env:A", "env:_a9", "passphrase:/p",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		TvError		err = {0};

		ok(tv_provider_check_uri(good[i], &err) == TV_OK, "good: %s %s", good[i],
		   err.message);
	}
}

static void
test_refused(void)
{
	static const char *const bad[] = {
		"", ":", "pkcs11", "vault:/x", "fil:/k", "pkcs11x:?module-path=/m.so",
		"pkcs11:", "pkcs11:token=a", "pkcs11:?module-path=m.so",
		"pkcs11:token=a;?module-path=/m.so", "pkcs11:;token=a?module-path=/m.so",
		PKCS11 "&", PKCS11 "&&pin-source=/p", PKCS11 "&pin-source=p",
		PKCS11 "&pin-source=|cmd", PKCS11 "&pin-source=https://h/p",
		PKCS11 "&pin-source=", PKCS11 "&pin-value=", PKCS11 "&token=b",
		PKCS11 "&pin-value=1234&pin-source=/p", PKCS11 "&module-path=/n.so",
		PKCS11 "&module-name=m", "pkcs11:module-path=/m.so",
		"pkcs11:token=a;token=b?module-path=/m.so",
		"pkcs11:token=%4?module-path=/m.so", "pkcs11:token=%?module-path=/m.so",
		"pkcs11:token=%zz?module-path=/m.so", "pkcs11:token=a%00?module-path=/m.so",
		"pkcs11:token=a%0A?module-path=/m.so", "pkcs11:token=a b?module-path=/m.so",
		"pkcs11:token=\303\244?module-path=/m.so", "pkcs11:token?module-path=/m.so",
		"pkcs11:=a?module-path=/m.so", "pkcs11:Token=a?module-path=/m.so",
		"pkcs11:token=123456789012345678901234567890123?module-path=/m.so",
		"pkcs11:serial=12345678901234567?module-path=/m.so",
		"pkcs11:slot-id=x?module-path=/m.so", "pkcs11:slot-id=-1?module-path=/m.so",
		"pkcs11:slot-id=99999999999999999999?module-path=/m.so",
		"pkcs11:type=cert?module-path=/m.so", "pkcs11:token=a#f?module-path=/m.so",
		"file:", "file:k", "file:./k", "file://host/k", "file:/", "file:/k\n",
		"env:", "env:9", "env:A B", "env:A=B", "passphrase:p", "passphrase:",
	};
	char		longuri[TV_PROVIDER_URI_MAX + 10];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		TvError		err = {0};

		ok(tv_provider_check_uri(bad[i], &err) == TV_ERR_BAD_URI &&
		   err.message[0] != '\0', "bad: %s -> %s", *bad[i] == 'f' ? "" : bad[i],
		   err.message);
	}
	memset(longuri, 'a', sizeof(longuri) - 1);
	memcpy(longuri, "file:/", 6);
	longuri[sizeof(longuri) - 1] = '\0';
	ok(tv_provider_check_uri(longuri, NULL) == TV_ERR_BAD_URI, "too long");
	ok(tv_provider_check_uri(NULL, NULL) == TV_ERR_BAD_URI, "NULL");
}

static void
test_display(void)
{
	static const struct
	{
		const char *uri;
		const char *shown;
	}			cases[] = {
		{"file:/k", "file:/k"},
		{PKCS11 "&pin-source=/p", PKCS11 "&pin-source=/p"},
		{PKCS11 "&pin-value=s3cret", PKCS11 "&pin-value=***"},
		{"pkcs11:?pin-value=s3cret&module-path=/m.so",
		"pkcs11:?pin-value=***&module-path=/m.so"},
		{"pkcs11:?pin-value=s3&cret&module-path=/m.so",
		"pkcs11:?pin-value=***&module-path=/m.so"},
		{"pkcs11:token=a;pin-value=s3cret;object=s3cret",
		"pkcs11:token=a;pin-value=***"},
		{"pkcs11:?PIN_VALUE=s3cret", "pkcs11:?PIN_VALUE=***"},
		{"pkcs11:?pin%2Dvalue=s3cret", "pkcs11:?pin%2Dvalue=***"},
		{"pkcs11:?pin-value s3cret", "pkcs11:?pin-value=***"},
		{"pkcs11:?pin-value=s3cret&pin-value=s3cret", "pkcs11:?pin-value=***"},
		{"file:/a\nb", "file:/a?b"},
		{"", ""},
	};
	char		out[256];
	char		tiny[4];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		TvError		err = {0};

		tv_provider_display_uri(cases[i].uri, out, sizeof(out));
		ok(strcmp(out, cases[i].shown) == 0, "shown as %s", out);
		(void) tv_provider_check_uri(cases[i].uri, &err);
		ok(!strstr(err.message, "s3") && !strstr(err.message, "cret") &&
		   !strstr(err.detail, "cret") && !strstr(err.hint, "cret"),
		   "no secret in: %s", err.message);
	}
	tv_provider_display_uri(PKCS11, tiny, sizeof(tiny));
	ok(strcmp(tiny, "pkc") == 0, "cut to fit");
	tv_provider_display_uri(NULL, tiny, sizeof(tiny));
	ok(tiny[0] == '\0', "NULL");
}

int
main(void)
{
	test_fields();
	test_accepted();
	test_refused();
	test_display();
	return unit_done();
}
