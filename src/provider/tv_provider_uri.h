/*
 * tv_provider_uri.h
 *	  pkcs11: URIs (RFC 7512).  Private to src/provider.
 */
#ifndef TV_PROVIDER_URI_H
#define TV_PROVIDER_URI_H

#include "base/tv_status.h"
#include "provider/tv_provider.h"

#define TV_PKCS11_PIN_MAX 255
#define TV_PKCS11_ID_MAX 64

/*
 * A parsed pkcs11: URI.  Texts are decoded and NUL-terminated; an empty text
 * means that the attribute is absent.  Holds a PIN when the URI does: keep it
 * in secret memory.
 */
typedef struct TvPkcs11Uri
{
	/* which token: sizes are those of CK_TOKEN_INFO */
	char		token[32 + 1];
	char		manufacturer[32 + 1];
	char		model[16 + 1];
	char		serial[16 + 1];
	bool		has_slot_id;
	unsigned long slot_id;
	/* which key */
	char		object[TV_KEY_ID_MAX + 1];
	uint8_t		id[TV_PKCS11_ID_MAX];
	size_t		id_len;
	/* how to reach it */
	char		module_path[TV_PROVIDER_URI_MAX];
	char		pin_source[TV_PROVIDER_URI_MAX];	/* an absolute path */
	char		pin_value[TV_PKCS11_PIN_MAX + 1];
} TvPkcs11Uri;

/*
 * Parse what follows "pkcs11:".  Unknown, repeated, empty and over-long
 * attributes are refused.  On failure *uri is wiped.  Messages never hold
 * text from a URI that has a pin-value.
 */
extern TvStatus tv_provider_parse_pkcs11(const char *rest, TvPkcs11Uri *uri,
										 TvError *err);

#endif							/* TV_PROVIDER_URI_H */
