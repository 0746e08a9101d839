/*
 * audit_format_test.c
 *	  The fixed parts of lines of the audit log, names of files, the head.
 */
#include <string.h>

#include "audit/tv_audit_format.h"
#include "crypto/tv_kdf.h"
#include "fixture.h"
#include "unit.h"

static const uint8_t zeros[TV_AUDIT_CHAIN_LEN];
static const uint8_t fixture_key[32] = "the key of the fixtures of audit";

/* The chain value of a line, as the server computes it. */
static void
chain_of(const uint8_t *before, const char *body, size_t len, uint8_t *chain)
{
	uint8_t		input[TV_AUDIT_MAC_PREFIX + 4096];

	tv_audit_mac_prefix(before, input);
	memcpy(input + TV_AUDIT_MAC_PREFIX, body, len);
	(void) tv_hmac(fixture_key, sizeof(fixture_key), input, TV_AUDIT_MAC_PREFIX + len, chain);
}

static size_t
make_line(uint64_t sequence, const TvAuditLink *link, const uint8_t *before, char *line, uint8_t *chain)
{
	size_t		len = tv_audit_line_start(UINT64_C(0x0123456789abcdef), sequence, link, line);

	strcpy(line + len, "\"event_type\":\"NOTE\"");
	len += strlen(line + len);
	chain_of(before, line, len, chain);
	return len + tv_audit_line_end(chain, line + len);
}

static void
test_lines(void)
{
	char		line[2048];
	char		changed[2048];
	uint8_t		chain[TV_AUDIT_CHAIN_LEN];
	TvAuditLine parsed;
	TvAuditLink link;
	size_t		len = make_line(42, NULL, zeros, line, chain);
	int			accepted = 0;

	ok(line[len - 1] == '\n' && memchr(line, '\n', len - 1) == NULL, "a line ends in its only line break");
	ok(tv_audit_line_parse(line, len - 1, &parsed) == TV_OK, "a line is parsed");
	ok(parsed.log_id == UINT64_C(0x0123456789abcdef) && parsed.sequence == 42 &&
	   parsed.body_len == len - TV_AUDIT_END_LEN &&
	   memcmp(parsed.chain, chain, sizeof(chain)) == 0, "and says what was written");
	ok(tv_audit_link_parse(line, len - 1, &link) == TV_ERR_CORRUPT, "it is no first line of a file");
	ok(tv_audit_line_parse(line, len, &parsed) == TV_ERR_CORRUPT, "the line break is no part of it");
	for (size_t cut = 0; cut < len - 1; cut++)
		accepted += tv_audit_line_parse(line, cut, &parsed) == TV_OK;
	ok(accepted == 0, "no part of a line is a line");

	/* every changed byte is seen: by the parser, or by the chain value */
	for (size_t i = 0; i < len - 1; i++)
	{
		uint8_t		now[TV_AUDIT_CHAIN_LEN];

		memcpy(changed, line, len);
		changed[i] ^= 1;
		if (tv_audit_line_parse(changed, len - 1, &parsed) != TV_OK)
			continue;
		chain_of(zeros, changed, parsed.body_len, now);
		accepted += memcmp(now, parsed.chain, sizeof(now)) == 0;
	}
	ok(accepted == 0, "no byte can be changed");
}

static void
test_spelling(void)
{
	char		id[TV_AUDIT_ID_LEN];
	static const char *const bad[] = {
		"{\"event_id\":\"0123456789ABCDEF-1\",",
		"{\"event_id\":\"0123456789abcdef-01\",",
		"{\"event_id\":\"0123456789abcdef-\",",
		"{\"event_id\":\"0123456789abcdef--1\",",
		"{\"event_id\":\"0123456789abcdef-18446744073709551616\",",
		"{\"event_id\": \"0123456789abcdef-1\",",
		"{\"event_id\":\"123456789abcdef-1\","
	};
	char		line[2048];
	TvAuditLine parsed;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		size_t		len = strlen(bad[i]);

		memcpy(line, bad[i], len);
		len += tv_audit_line_end(zeros, line + len);
		ok(tv_audit_line_parse(line, len - 1, &parsed) == TV_ERR_CORRUPT, "refused: %s", bad[i]);
	}
	strcpy(line, "{\"event_id\":\"0123456789abcdef-18446744073709551615\",");
	ok(tv_audit_line_parse(line, strlen(line) + tv_audit_line_end(zeros, line + strlen(line)) - 1, &parsed) == TV_OK &&
	   parsed.sequence == UINT64_MAX, "the largest number");
	tv_audit_event_id(UINT64_MAX, UINT64_MAX, id);
	ok(strcmp(id, "ffffffffffffffff-18446744073709551615") == 0, "the longest event id");
	tv_audit_event_id(0, 0, id);
	ok(strcmp(id, "0000000000000000-0") == 0, "and the shortest");
	tv_audit_event_id(0x0123456789abcdef, 10, id);
	ok(strcmp(id, "0123456789abcdef-10") == 0, "digits in their order");
}

static void
test_link(void)
{
	TvAuditLink link = {
		.version = TV_AUDIT_VERSION, .file = 7, .key = UINT64_C(0xfedcba9876543210),
		.bytes = UINT64_MAX, .torn = 3, .missing = 4, .head = TV_AUDIT_HEAD_MISSING
	};
	TvAuditLink parsed;
	TvAuditLine parsed_line;
	char		line[2048];
	uint8_t		chain[TV_AUDIT_CHAIN_LEN];
	size_t		len;

	memset(link.chain, 0xab, sizeof(link.chain));
	ok(tv_audit_line_start(UINT64_MAX, UINT64_MAX, &link, line) < TV_AUDIT_START_MAX, "the longest start fits");
	len = make_line(43, &link, zeros, line, chain);
	ok(tv_audit_link_parse(line, len - 1, &parsed) == TV_OK && memcmp(&parsed, &link, sizeof(link)) == 0,
	   "the link of a file comes back");
	len = tv_audit_line_start(1, 43, &link, line);
	len += tv_audit_line_end(chain, line + len - 1) - 1;
	ok(tv_audit_line_parse(line, len - 1, &parsed_line) == TV_OK &&
	   tv_audit_link_parse(line, len - 1, &parsed) == TV_ERR_CORRUPT,
	   "a link does not share a byte with the line's end");
	link.version = TV_AUDIT_VERSION + 1;
	len = make_line(43, &link, zeros, line, chain);
	ok(tv_audit_link_parse(line, len - 1, &parsed) == TV_ERR_VERSION, "a newer version is refused as such");
	link.version = 0;
	len = make_line(43, &link, zeros, line, chain);
	ok(tv_audit_link_parse(line, len - 1, &parsed) == TV_ERR_CORRUPT, "version 0 is none");
	link.version = 1;
	link.file = 0;
	len = make_line(43, &link, zeros, line, chain);
	ok(tv_audit_link_parse(line, len - 1, &parsed) == TV_ERR_CORRUPT, "file 0 is none");
}

static void
test_names(void)
{
	char		name[TV_AUDIT_NAME_LEN];
	uint32_t	number;
	uint64_t	log_id;

	tv_audit_file_name(0x1a2b, UINT64_C(0x0123456789abcdef), name);
	ok(strcmp(name, "00001a2b-0123456789abcdef.jsonl") == 0, "name of a file");
	ok(tv_audit_file_name_parse(name, &number, &log_id) && number == 0x1a2b &&
	   log_id == UINT64_C(0x0123456789abcdef), "and back");
	ok(!tv_audit_file_name_parse("00000000-0123456789abcdef.jsonl", &number, &log_id) &&
	   !tv_audit_file_name_parse("00000001-0123456789abcdef.jsonl~", &number, &log_id) &&
	   !tv_audit_file_name_parse("00000001-0123456789abcdef.json", &number, &log_id) &&
	   !tv_audit_file_name_parse("pgsql_tmp.head", &number, &log_id) &&
	   !tv_audit_file_name_parse("", &number, &log_id), "other names are no files of the log");
}

static void
test_head(void)
{
	TvAuditHead head = {
		.file = 9, .key = UINT64_C(0xfedcba9876543210), .log_id = UINT64_C(0x0123456789abcdef),
		.bytes = 12345, .sequence = 678
	};
	TvAuditHead parsed;
	uint8_t		bytes[TV_AUDIT_HEAD_LEN];
	uint8_t		fixture[TV_AUDIT_HEAD_LEN + 1];

	memset(head.chain, 0xcd, sizeof(head.chain));
	tv_audit_head_encode(&head, bytes);
	ok(tv_audit_head_decode(bytes, sizeof(bytes), &parsed) == TV_OK &&
	   memcmp(&parsed, &head, sizeof(head)) == 0, "the head comes back");
	ok(fixture_read("audit_head_v1.bin", fixture, sizeof(fixture)) == sizeof(bytes) &&
	   memcmp(fixture, bytes, sizeof(bytes)) == 0, "and has the bytes of version 1");
	ok(tv_audit_head_decode(bytes, sizeof(bytes) - 1, &parsed) == TV_ERR_TRUNCATED, "a short head is refused");
	bytes[8]++;
	ok(tv_audit_head_decode(bytes, sizeof(bytes), &parsed) == TV_ERR_VERSION, "so is a newer one");
	bytes[0]++;
	ok(tv_audit_head_decode(bytes, sizeof(bytes), &parsed) == TV_ERR_CORRUPT, "and anything else");
}

/* A log of version 1: first lines of two files and one of each between. */
static void
test_fixture(void)
{
	uint8_t		text[8192];
	size_t		len = fixture_read("audit_v1.jsonl", text, sizeof(text));
	const char *at = (const char *) text;
	const char *end = at + len;
	uint8_t		before[TV_AUDIT_CHAIN_LEN] = {0};
	int			lines = 0;
	int			firsts = 0;
	int			right = 0;

	while (at < end)
	{
		const char *stop = memchr(at, '\n', end - at);
		TvAuditLine line;
		TvAuditLink link;
		uint8_t		chain[TV_AUDIT_CHAIN_LEN];

		if (stop == NULL || tv_audit_line_parse(at, stop - at, &line) != TV_OK)
			break;
		firsts += tv_audit_link_parse(at, stop - at, &link) == TV_OK &&
			memcmp(link.chain, before, sizeof(before)) == 0;
		chain_of(before, at, line.body_len, chain);
		right += memcmp(chain, line.chain, sizeof(chain)) == 0;
		memcpy(before, line.chain, sizeof(before));
		lines++;
		at = stop + 1;
	}
	ok(lines == 4 && firsts == 2 && right == 4, "a log of version 1 is read and verified");
}

int
main(void)
{
	test_lines();
	test_spelling();
	test_link();
	test_names();
	test_head();
	test_fixture();
	return unit_done();
}
