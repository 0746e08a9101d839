/*
 * tv_audit_format.c
 *	  Bytes of the audit log.
 */
#include "audit/tv_audit_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/tv_cursor.h"

#define LINE_LABEL "tde_vault audit line v1"	/* 24 with its end */
#define HEAD_MAGIC "TDEVHEAD"
#define START "{\"event_id\":\""
#define END_BEFORE ",\"chain\":\""
#define END_AFTER "\"}"
#define HEX_CHAIN (2 * TV_AUDIT_CHAIN_LEN)
#define NAME_SUFFIX ".jsonl"

static const char hex_digits[] = "0123456789abcdef";

/* What is left of a text while it is taken apart. */
typedef struct Scan
{
	const char *at;
	const char *end;
	bool		failed;
} Scan;

static void
expect(Scan *scan, const char *text)
{
	size_t		len = strlen(text);

	if (scan->failed || (size_t) (scan->end - scan->at) < len ||
		memcmp(scan->at, text, len) != 0)
	{
		scan->failed = true;
		return;
	}
	scan->at += len;
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static void
scan_hex(Scan *scan, uint8_t *out, size_t len)
{
	if (scan->failed || (size_t) (scan->end - scan->at) < 2 * len)
	{
		scan->failed = true;
		return;
	}
	for (size_t i = 0; i < len; i++)
	{
		int			high = hex_value(scan->at[2 * i]);
		int			low = hex_value(scan->at[2 * i + 1]);

		if (high < 0 || low < 0)
		{
			scan->failed = true;
			return;
		}
		out[i] = (uint8_t) (high << 4 | low);
	}
	scan->at += 2 * len;
}

/* 16 hex digits, most significant first. */
static uint64_t
scan_hex64(Scan *scan)
{
	uint8_t		bytes[8] = {0};
	uint64_t	value = 0;

	scan_hex(scan, bytes, sizeof(bytes));
	for (int i = 0; i < 8; i++)
		value = value << 8 | bytes[i];
	return value;
}

/* A decimal number up to max, without leading zeros. */
static uint64_t
scan_number(Scan *scan, uint64_t max)
{
	uint64_t	value = 0;
	const char *begin = scan->at;

	while (!scan->failed && scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
	{
		uint64_t	digit = (uint64_t) (*scan->at - '0');

		if (value > (max - digit) / 10)
			scan->failed = true;
		value = value * 10 + digit;
		scan->at++;
	}
	if (scan->at == begin || (*begin == '0' && scan->at - begin > 1))
		scan->failed = true;
	return scan->failed ? 0 : value;
}

static void
put_hex(const uint8_t *bytes, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++)
	{
		out[2 * i] = hex_digits[bytes[i] >> 4];
		out[2 * i + 1] = hex_digits[bytes[i] & 15];
	}
}

void
tv_audit_mac_prefix(const uint8_t *before, uint8_t *out)
{
	memcpy(out, LINE_LABEL, sizeof(LINE_LABEL));
	memcpy(out + sizeof(LINE_LABEL), before, TV_AUDIT_CHAIN_LEN);
}

void
tv_audit_event_id(uint64_t log_id, uint64_t sequence, char out[TV_AUDIT_ID_LEN])
{
	char		digits[20];
	int			n = 0;
	uint8_t		bytes[sizeof(log_id)];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t) (log_id >> (56 - 8 * i));
	put_hex(bytes, sizeof(bytes), out);
	out += 2 * sizeof(bytes);
	*out++ = '-';
	do
		digits[n++] = (char) ('0' + sequence % 10);
	while ((sequence /= 10) != 0);
	while (n > 0)
		*out++ = digits[--n];
	*out = '\0';
}

size_t
tv_audit_line_start(uint64_t log_id, uint64_t sequence, const TvAuditLink *link, char *out)
{
	char		chain[HEX_CHAIN + 1] = {0};
	size_t		len = sizeof(START) - 1;

	memcpy(out, START, len);
	tv_audit_event_id(log_id, sequence, out + len);
	len += strlen(out + len);
	memcpy(out + len, "\",", 3);
	len += 2;
	if (link == NULL)
		return len;
	put_hex(link->chain, TV_AUDIT_CHAIN_LEN, chain);
	len += (size_t) snprintf(out + len, TV_AUDIT_START_MAX - len,
							 "\"format\":%u,\"file\":%u,\"key\":\"%016" PRIx64 "\",\"previous\":{\"bytes\":%" PRIu64
							 ",\"torn\":%" PRIu64 ",\"missing\":%" PRIu64 ",\"head\":%u,\"chain\":\"%s\"},",
							 link->version, link->file, link->key, link->bytes,
							 link->torn, link->missing, link->head, chain);
	return len;
}

size_t
tv_audit_line_end(const uint8_t *chain, char *out)
{
	char	   *at = out;

	memcpy(at, END_BEFORE, sizeof(END_BEFORE) - 1);
	at += sizeof(END_BEFORE) - 1;
	put_hex(chain, TV_AUDIT_CHAIN_LEN, at);
	at += HEX_CHAIN;
	memcpy(at, END_AFTER "\n", sizeof(END_AFTER));
	at += sizeof(END_AFTER);
	return (size_t) (at - out);
}

static void
scan_event_id(Scan *scan, TvAuditLine *out)
{
	expect(scan, START);
	out->log_id = scan_hex64(scan);
	expect(scan, "-");
	out->sequence = scan_number(scan, UINT64_MAX);
	expect(scan, "\",");
}

TvStatus
tv_audit_line_parse(const char *line, size_t len, TvAuditLine *out)
{
	Scan		start = {line, line + len, false};
	Scan		end;

	memset(out, 0, sizeof(*out));
	if (len < TV_AUDIT_END_LEN || len >= TV_AUDIT_LINE_MAX || memchr(line, '\n', len) != NULL)
		return TV_ERR_CORRUPT;
	out->body_len = len - (TV_AUDIT_END_LEN - 1);
	start.end = line + out->body_len;
	scan_event_id(&start, out);

	end = (Scan) {line + out->body_len, line + len, start.failed};
	expect(&end, END_BEFORE);
	scan_hex(&end, out->chain, TV_AUDIT_CHAIN_LEN);
	expect(&end, END_AFTER);
	return end.failed || end.at != end.end ? TV_ERR_CORRUPT : TV_OK;
}

TvStatus
tv_audit_link_parse(const char *line, size_t len, TvAuditLink *out)
{
	Scan		scan = {line, line, false};
	TvAuditLine ignored;

	memset(out, 0, sizeof(*out));
	if (len < TV_AUDIT_END_LEN)
		return TV_ERR_CORRUPT;
	/* the end of the line is not the link's, not even the comma before it */
	scan.end = line + len - (TV_AUDIT_END_LEN - 1);
	scan_event_id(&scan, &ignored);
	expect(&scan, "\"format\":");
	out->version = (uint32_t) scan_number(&scan, UINT32_MAX);
	if (scan.failed || out->version == 0)
		return TV_ERR_CORRUPT;
	if (out->version > TV_AUDIT_VERSION)
		return TV_ERR_VERSION;
	expect(&scan, ",\"file\":");
	out->file = (uint32_t) scan_number(&scan, UINT32_MAX);
	expect(&scan, ",\"key\":\"");
	out->key = scan_hex64(&scan);
	expect(&scan, "\",\"previous\":{\"bytes\":");
	out->bytes = scan_number(&scan, UINT64_MAX);
	expect(&scan, ",\"torn\":");
	out->torn = scan_number(&scan, UINT64_MAX);
	expect(&scan, ",\"missing\":");
	out->missing = scan_number(&scan, UINT64_MAX);
	expect(&scan, ",\"head\":");
	out->head = (uint32_t) scan_number(&scan, TV_AUDIT_HEAD_REPLACED);
	expect(&scan, ",\"chain\":\"");
	scan_hex(&scan, out->chain, TV_AUDIT_CHAIN_LEN);
	expect(&scan, "\"},");
	return scan.failed || out->file == 0 ? TV_ERR_CORRUPT : TV_OK;
}

void
tv_audit_file_name(uint32_t number, uint64_t log_id, char out[TV_AUDIT_NAME_LEN])
{
	snprintf(out, TV_AUDIT_NAME_LEN, "%08" PRIx32 "-%016" PRIx64 NAME_SUFFIX, number, log_id);
}

bool
tv_audit_file_name_parse(const char *name, uint32_t *number, uint64_t *log_id)
{
	Scan		scan = {name, name + strlen(name), false};
	uint8_t		bytes[4] = {0};

	scan_hex(&scan, bytes, sizeof(bytes));
	*number = (uint32_t) bytes[0] << 24 | (uint32_t) bytes[1] << 16 |
		(uint32_t) bytes[2] << 8 | bytes[3];
	expect(&scan, "-");
	*log_id = scan_hex64(&scan);
	expect(&scan, NAME_SUFFIX);
	return !scan.failed && scan.at == scan.end && *number != 0;
}

void
tv_audit_head_encode(const TvAuditHead *head, uint8_t out[TV_AUDIT_HEAD_LEN])
{
	TvWriter	w;

	memset(out, 0, TV_AUDIT_HEAD_LEN);
	tv_writer_init(&w, out, TV_AUDIT_HEAD_COVERED);
	tv_write_bytes(&w, HEAD_MAGIC, sizeof(HEAD_MAGIC) - 1);
	tv_write_u32(&w, TV_AUDIT_VERSION);
	tv_write_u32(&w, head->file);
	tv_write_u64(&w, head->key);
	tv_write_u64(&w, head->log_id);
	tv_write_u64(&w, head->bytes);
	tv_write_u64(&w, head->sequence);
	tv_write_bytes(&w, head->chain, TV_AUDIT_CHAIN_LEN);
	tv_write_u32(&w, head->timeline);
}

TvStatus
tv_audit_head_decode(const uint8_t *data, size_t len, TvAuditHead *head)
{
	TvReader	r;
	uint8_t		magic[sizeof(HEAD_MAGIC) - 1];
	uint32_t	version;

	memset(head, 0, sizeof(*head));
	if (len < TV_AUDIT_HEAD_LEN)
		return TV_ERR_TRUNCATED;
	tv_reader_init(&r, data, TV_AUDIT_HEAD_COVERED);
	tv_read_bytes(&r, magic, sizeof(magic));
	version = tv_read_u32(&r);
	head->file = tv_read_u32(&r);
	head->key = tv_read_u64(&r);
	head->log_id = tv_read_u64(&r);
	head->bytes = tv_read_u64(&r);
	head->sequence = tv_read_u64(&r);
	tv_read_bytes(&r, head->chain, TV_AUDIT_CHAIN_LEN);
	head->timeline = tv_read_u32(&r);
	if (r.failed || memcmp(magic, HEAD_MAGIC, sizeof(magic)) != 0)
		return TV_ERR_CORRUPT;
	if (version > TV_AUDIT_VERSION)
		return TV_ERR_VERSION;
	return version == 0 || head->file == 0 ? TV_ERR_CORRUPT : TV_OK;
}
