/* fuzz-needs: audit */
/*
 * fuzz_audit.c
 *	  Lines of the audit log and its head: what is read is written the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "audit/tv_audit_format.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool ok)
{
	if (!ok)
		abort();
}

static void
check_line(const char *text, size_t len)
{
	TvAuditLine line;
	TvAuditLink link;
	char		out[TV_AUDIT_START_MAX];
	char		end[TV_AUDIT_END_LEN];
	TvStatus	status = tv_audit_link_parse(text, len, &link);
	size_t		used;

	check(status == TV_OK || status == TV_ERR_CORRUPT || status == TV_ERR_VERSION);
	if (tv_audit_line_parse(text, len, &line) != TV_OK)
		return;
	check(line.body_len + TV_AUDIT_END_LEN - 1 == len);
	used = tv_audit_line_start(line.log_id, line.sequence, status == TV_OK ? &link : NULL, out);
	check(used <= line.body_len && memcmp(out, text, used) == 0);
	check(tv_audit_line_end(line.chain, end) == TV_AUDIT_END_LEN);
	check(memcmp(end, text + line.body_len, TV_AUDIT_END_LEN - 1) == 0);
}

static void
check_head(const uint8_t *data, size_t size)
{
	TvAuditHead head;
	uint8_t		out[TV_AUDIT_HEAD_LEN];

	if (tv_audit_head_decode(data, size, &head) != TV_OK)
		return;
	tv_audit_head_encode(&head, out);
	/* what follows the fields, the timeline last, is not looked at, but for the MAC */
	check(memcmp(out, data, 8 + 4 + 4 + 8 + 8 + 8 + 8 + TV_AUDIT_CHAIN_LEN + 4) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char		name[64] = {0};
	char		again[TV_AUDIT_NAME_LEN];
	uint32_t	number;
	uint64_t	log_id;

	check_line((const char *) data, size);
	check_head(data, size);
	memcpy(name, data, size < sizeof(name) - 1 ? size : sizeof(name) - 1);
	if (tv_audit_file_name_parse(name, &number, &log_id))
	{
		tv_audit_file_name(number, log_id, again);
		check(strcmp(name, again) == 0);
	}
	return 0;
}
