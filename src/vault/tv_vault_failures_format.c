/*
 * tv_vault_failures_format.c
 *	  Bytes of the file of failed unlocks.
 */
#include "vault/tv_vault_failures_format.h"

#include <string.h>

#include "base/tv_cursor.h"
#include "crypto/tv_kdf.h"

#define MAGIC "TVFAILED"
#define MAGIC_LEN 8
#define CHECK_LEN 16
#define USED_LEN 32
#define CHECKED_LEN (TV_FAILURES_ENTRY_LEN - CHECK_LEN)

void
tv_failures_header_encode(uint8_t out[TV_FAILURES_HEADER_LEN])
{
	TvWriter	writer;

	memset(out, 0, TV_FAILURES_HEADER_LEN);
	tv_writer_init(&writer, out, TV_FAILURES_HEADER_LEN);
	tv_write_bytes(&writer, MAGIC, MAGIC_LEN);
	tv_write_u16(&writer, TV_FAILURES_VERSION);
	tv_write_u16(&writer, TV_FAILURES_ENTRY_LEN);
}

TvStatus
tv_failures_header_decode(const uint8_t *data, size_t len)
{
	TvReader	reader;
	uint16_t	version;

	if (len < TV_FAILURES_HEADER_LEN)
		return TV_ERR_TRUNCATED;
	if (memcmp(data, MAGIC, MAGIC_LEN) != 0)
		return TV_ERR_CORRUPT;
	tv_reader_init(&reader, data + MAGIC_LEN, TV_FAILURES_HEADER_LEN - MAGIC_LEN);
	version = tv_read_u16(&reader);
	if (version > TV_FAILURES_VERSION)
		return TV_ERR_VERSION;
	if (version != TV_FAILURES_VERSION || tv_read_u16(&reader) != TV_FAILURES_ENTRY_LEN)
		return TV_ERR_CORRUPT;
	return TV_OK;
}

/* The first bytes of the entry's SHA-256: against a torn write, not a forger. */
static bool
check_of(const uint8_t *entry, uint8_t check[CHECK_LEN])
{
	uint8_t		hash[TV_MAC_LEN];

	if (tv_sha256(entry, CHECKED_LEN, hash) != TV_OK)
		return false;
	memcpy(check, hash, CHECK_LEN);
	return true;
}

void
tv_failures_encode(const TvFailures *entry, uint8_t out[TV_FAILURES_ENTRY_LEN])
{
	TvWriter	writer;

	memset(out, 0, TV_FAILURES_ENTRY_LEN);
	if (entry->realm == 0)
		return;
	tv_writer_init(&writer, out, CHECKED_LEN);
	tv_write_u32(&writer, entry->database);
	tv_write_u32(&writer, entry->realm);
	tv_write_u32(&writer, entry->user);
	tv_write_u32(&writer, entry->count);
	tv_write_u64(&writer, (uint64_t) entry->last);
	tv_write_u64(&writer, (uint64_t) entry->locked_until);
	if (!check_of(out, out + CHECKED_LEN))
		memset(out, 0xff, TV_FAILURES_ENTRY_LEN);	/* never taken for a good one */
}

TvStatus
tv_failures_decode(const uint8_t data[TV_FAILURES_ENTRY_LEN], TvFailures *entry)
{
	static const uint8_t zeros[TV_FAILURES_ENTRY_LEN] = {0};
	uint8_t		check[CHECK_LEN];
	TvReader	reader;

	memset(entry, 0, sizeof(*entry));
	if (memcmp(data, zeros, TV_FAILURES_ENTRY_LEN) == 0)
		return TV_OK;
	if (!check_of(data, check) || memcmp(check, data + CHECKED_LEN, CHECK_LEN) != 0)
		return TV_ERR_CORRUPT;
	tv_reader_init(&reader, data, CHECKED_LEN);
	entry->database = tv_read_u32(&reader);
	entry->realm = tv_read_u32(&reader);
	entry->user = tv_read_u32(&reader);
	entry->count = tv_read_u32(&reader);
	entry->last = (int64_t) tv_read_u64(&reader);
	entry->locked_until = (int64_t) tv_read_u64(&reader);
	if (entry->realm == 0 ||
		memcmp(data + USED_LEN, zeros, CHECKED_LEN - USED_LEN) != 0)
		return TV_ERR_CORRUPT;
	return TV_OK;
}
