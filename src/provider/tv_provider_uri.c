/*
 * tv_provider_uri.c
 *	  Parsing of pkcs11: URIs (RFC 7512), and display of any provider URI
 *	  without secrets.
 */
#include <string.h>
#include <strings.h>

#include "base/tv_secret.h"
#include "provider/tv_provider_driver.h"
#include "provider/tv_provider_hex.h"
#include "provider/tv_provider_uri.h"

#define KNOWN_ATTRIBUTES "token, serial, manufacturer, model, slot-id, object, id, type, module-path, pin-source, pin-value"

typedef enum AttrKind
{
	ATTR_TEXT,
	ATTR_SLOT_ID,
	ATTR_ID,
	ATTR_TYPE
} AttrKind;

typedef struct Attr
{
	const char *name;
	bool		query;			/* after the "?" */
	AttrKind	kind;
	size_t		offset;			/* ATTR_TEXT: where in TvPkcs11Uri */
	size_t		size;
} Attr;

#define TEXT_ATTR(name, query, field) \
	{name, query, ATTR_TEXT, offsetof(TvPkcs11Uri, field), \
		sizeof(((TvPkcs11Uri *) 0)->field)}

static const Attr attrs[] = {
	TEXT_ATTR("token", false, token),
	TEXT_ATTR("manufacturer", false, manufacturer),
	TEXT_ATTR("model", false, model),
	TEXT_ATTR("serial", false, serial),
	TEXT_ATTR("object", false, object),
	{"slot-id", false, ATTR_SLOT_ID, 0, 0},
	{"id", false, ATTR_ID, 0, 0},
	{"type", false, ATTR_TYPE, 0, 0},
	TEXT_ATTR("module-path", true, module_path),
	TEXT_ATTR("pin-source", true, pin_source),
	TEXT_ATTR("pin-value", true, pin_value),
};

#define N_ATTRS (sizeof(attrs) / sizeof(attrs[0]))

typedef struct Parser
{
	const char *start;
	TvPkcs11Uri *uri;
	bool		secret;			/* the URI mentions pin-value: quote nothing */
	uint32_t	seen;			/* bit i: attrs[i] was given */
	TvError    *err;
} Parser;

/*
 * Refuse at a place in the URI, quoting the attribute only when no secret can
 * be in it.
 */
static TvStatus
bad(const Parser *p, const char *at, size_t len, const char *why)
{
	size_t		pos = (size_t) (at - p->start) + 1 + strlen("pkcs11:");

	for (size_t i = 0; i < len; i++)
		if ((unsigned char) at[i] < 0x20 || at[i] == 0x7f)
			len = 0;
	if (p->secret || len == 0)
		tv_error(p->err, TV_ERR_BAD_URI,
				 "pkcs11 URI is invalid at position %zu: %s", pos, why);
	else
		tv_error(p->err, TV_ERR_BAD_URI,
				 "pkcs11 URI is invalid at position %zu, \"%.*s\": %s",
				 pos, (int) (len > 64 ? 64 : len), at, why);
	tv_error_hint(p->err, "Known attributes are %s. A query such as ?module-path=... separates its attributes by &, the part before it by ;.",
				  KNOWN_ATTRIBUTES);
	return TV_ERR_BAD_URI;
}

/*
 * May this character stand for itself in a value?  RFC 3986 unreserved, and
 * the reserved ones that RFC 7512 section 2.3 allows (path or query).
 */
static bool
is_plain(char c, bool query)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9'))
		return true;
	return c != '\0' && strchr(query ? "-._~:[]@!$'()*+,=/?|" :
							   "-._~:[]@!$'()*+,=&", c) != NULL;
}

/*
 * Percent-decode a value into out (NUL-terminated; cap includes the NUL).
 * Texts may not hold NUL or control characters; raw values (id) may.
 */
static TvStatus
decode(const Parser *p, const char *in, size_t len, bool query, bool raw,
	   char *out, size_t cap, size_t *outlen)
{
	size_t		n = 0;

	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) in[i];

		if (c == '%')
		{
			int			hi = i + 2 < len ? tv_provider_hex_value(in[i + 1]) : -1;
			int			lo = i + 2 < len ? tv_provider_hex_value(in[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return bad(p, in + i, 0, "% must be followed by two hexadecimal digits");
			c = (unsigned char) (hi << 4 | lo);
			i += 2;
		}
		else if (!is_plain(in[i], query))
			return bad(p, in + i, 0, "this character must be percent-encoded");
		if (!raw && (c < 0x20 || c == 0x7f))
			return bad(p, in + i, 0, "value contains a control character");
		if (n + 1 >= cap)
			return bad(p, in, 0, "value is too long");
		out[n++] = (char) c;
	}
	if (n == 0)
		return bad(p, in, 0, "value is empty");
	out[n] = '\0';
	*outlen = n;
	return TV_OK;
}

/*
 * A decimal slot number, without overflow.
 */
static TvStatus
parse_slot_id(const Parser *p, const char *in, size_t len)
{
	unsigned long v = 0;

	if (len == 0 || len > 18)
		return bad(p, in, len, "slot-id must be a decimal number");
	for (size_t i = 0; i < len; i++)
	{
		if (in[i] < '0' || in[i] > '9')
			return bad(p, in, len, "slot-id must be a decimal number");
		v = v * 10 + (unsigned long) (in[i] - '0');
	}
	p->uri->has_slot_id = true;
	p->uri->slot_id = v;
	return TV_OK;
}

/*
 * Store one attribute's value.
 */
static TvStatus
store(const Parser *p, const Attr *attr, const char *value, size_t len)
{
	char		id[TV_PKCS11_ID_MAX + 1];
	size_t		n;
	TvStatus	status;

	switch (attr->kind)
	{
		case ATTR_TEXT:
			return decode(p, value, len, attr->query, false,
						  (char *) p->uri + attr->offset, attr->size, &n);
		case ATTR_SLOT_ID:
			return parse_slot_id(p, value, len);
		case ATTR_ID:
			status = decode(p, value, len, false, true, id, sizeof(id), &n);
			if (status == TV_OK)
			{
				memcpy(p->uri->id, id, n);
				p->uri->id_len = n;
			}
			return status;
		case ATTR_TYPE:
			if (len == strlen("secret-key") &&
				strncmp(value, "secret-key", len) == 0)
				return TV_OK;
			return bad(p, value, len, "type must be secret-key");
	}
	return bad(p, value, 0, "unknown kind of attribute");
}

/*
 * One "name=value".
 */
static TvStatus
parse_attribute(Parser *p, const char *in, size_t len, bool query)
{
	const char *eq = memchr(in, '=', len);
	size_t		namelen;

	if (eq == NULL)
		return bad(p, in, len, "attribute has no \"=\"");
	namelen = (size_t) (eq - in);
	for (size_t i = 0; i < N_ATTRS; i++)
	{
		if (strlen(attrs[i].name) != namelen ||
			strncmp(in, attrs[i].name, namelen) != 0)
			continue;
		if (attrs[i].query != query)
			return bad(p, in, namelen, query ?
					   "attribute belongs before the \"?\"" :
					   "attribute belongs after the \"?\"");
		if (p->seen & (1u << i))
			return bad(p, in, namelen, "attribute is given twice");
		p->seen |= 1u << i;
		return store(p, &attrs[i], eq + 1, len - namelen - 1);
	}
	return bad(p, in, namelen, "attribute is not supported");
}

/*
 * A list of attributes, separated by sep.
 */
static TvStatus
parse_list(Parser *p, const char *in, size_t len, bool query)
{
	char		sep = query ? '&' : ';';
	const char *end = in + len;

	while (in < end)
	{
		const char *stop = memchr(in, sep, (size_t) (end - in));
		TvStatus	status;

		if (stop == NULL)
			stop = end;
		status = parse_attribute(p, in, (size_t) (stop - in), query);
		if (status != TV_OK)
			return status;
		if (stop < end && stop + 1 == end)
			return bad(p, stop, 0, "separator at the end");
		in = stop + 1;
	}
	return TV_OK;
}

/*
 * Rules that span attributes.
 */
static TvStatus
check_whole(const Parser *p)
{
	TvPkcs11Uri *uri = p->uri;
	const char *path;
	TvStatus	status;

	if (uri->module_path[0] != '/')
	{
		tv_error(p->err, TV_ERR_BAD_URI, uri->module_path[0] == '\0' ?
				 "pkcs11 URI has no module-path" :
				 "module-path of the pkcs11 URI must be absolute");
		tv_error_hint(p->err, "Add ?module-path=/path/to/the/module.so, the PKCS#11 library of the HSM's vendor.");
		return TV_ERR_BAD_URI;
	}
	if (uri->pin_value[0] != '\0' && uri->pin_source[0] != '\0')
		return tv_error(p->err, TV_ERR_BAD_URI,
						"pkcs11 URI has both pin-source and pin-value");
	if (uri->pin_source[0] == '\0')
		return TV_OK;
	path = uri->pin_source;
	if (strncmp(path, "file:", 5) == 0)
		path += 5;
	status = tv_provider_check_path("PIN file", path, &path, p->err);
	if (status == TV_OK)
		memmove(uri->pin_source, path, strlen(path) + 1);
	return status;
}

/*
 * Where a PIN may begin, however the URI was mistyped: after "pin-value" with
 * any of its characters percent-encoded.  NULL if there is none.
 */
static const char *
find_pin(const char *uri)
{
	static const char name[] = "pin-value";

	for (const char *s = uri; *s; s++)
	{
		const char *q = s;
		size_t		i = 0;

		while (name[i] != '\0')
		{
			int			c = (unsigned char) *q;
			int			step = 1;

			if (c == '%' && tv_provider_hex_value(q[1]) >= 0 && tv_provider_hex_value(q[2]) >= 0)
			{
				c = tv_provider_hex_value(q[1]) << 4 | tv_provider_hex_value(q[2]);
				step = 3;
			}
			if (c >= 'A' && c <= 'Z')
				c += 'a' - 'A';
			if (c != name[i] && !(name[i] == '-' && c == '_'))
				break;
			i++;
			q += step;
		}
		if (name[i] == '\0')
			return q;
	}
	return NULL;
}

/*
 * Parse what follows "pkcs11:"; see tv_provider_uri.h.
 */
TvStatus
tv_provider_parse_pkcs11(const char *rest, TvPkcs11Uri *uri, TvError *err)
{
	Parser		p = {.start = rest, .uri = uri, .err = err};
	const char *query = strchr(rest, '?');
	size_t		pathlen = query ? (size_t) (query - rest) : strlen(rest);
	TvStatus	status;

	memset(uri, 0, sizeof(*uri));
	p.secret = find_pin(rest) != NULL;
	status = parse_list(&p, rest, pathlen, false);
	if (status == TV_OK && query != NULL)
		status = parse_list(&p, query + 1, strlen(query + 1), true);
	if (status == TV_OK)
		status = check_whole(&p);
	if (status != TV_OK)
		tv_secret_wipe(uri, sizeof(*uri));
	return status;
}

/*
 * Does a known query attribute begin here?  Only then does a PIN end: a "&"
 * alone may be a part of a PIN that was not encoded.
 */
static bool
query_attribute_here(const char *s)
{
	for (size_t i = 0; i < N_ATTRS; i++)
	{
		size_t		n = strlen(attrs[i].name);

		if (attrs[i].query && strcmp(attrs[i].name, "pin-value") != 0 &&
			strncmp(s, attrs[i].name, n) == 0 && s[n] == '=')
			return true;
	}
	return false;
}

/*
 * The URI without anything secret: what follows pin-value is "***", control
 * characters are "?".
 */
void
tv_provider_display_uri(const char *uri, char *out, size_t outlen)
{
	const char *pin;
	size_t		n = 0;

	if (out == NULL || outlen == 0)
		return;
	if (uri == NULL)
		uri = "";
	pin = find_pin(uri);
	while (*uri && n + 1 < outlen)
	{
		unsigned char c = (unsigned char) *uri;

		if (uri == pin)
		{
			const char *mask = "=***";

			while (*mask && n + 1 < outlen)
				out[n++] = *mask++;
			while (*uri && !(*uri == '&' && query_attribute_here(uri + 1)))
				uri++;
			pin = find_pin(uri);
			continue;
		}
		out[n++] = (c < 0x20 || c == 0x7f) ? '?' : (char) c;
		uri++;
	}
	out[n] = '\0';
}
