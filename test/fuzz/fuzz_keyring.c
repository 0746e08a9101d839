/*
 * fuzz_keyring.c
 *	  Arbitrary bytes as a keyring: no crash, and what is accepted is written
 *	  back as it was.
 *
 * The checks of a keyring are unkeyed, so the fuzzer could never guess past
 * them by chance; the second half of the work therefore puts right checks
 * around the fuzzer's bytes.
 */
/* fuzz-needs: keyring */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "keyring/tv_keyring_format.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Fail loudly, also when assert() is compiled out. */
static void
require(bool condition)
{
	if (!condition)
		abort();
}

/* What the decoder accepts must be in range, and encode to the same bytes. */
static void
check_record(const TvRecord *record, const uint8_t *bytes, size_t used,
			 const uint8_t before[TV_KEYRING_CHECK_LEN],
			 const uint8_t after[TV_KEYRING_CHECK_LEN])
{
	uint8_t		check[TV_KEYRING_CHECK_LEN];
	uint8_t		again[TV_KEYRING_RECORD_MAX];
	uint8_t		input[TV_WRAP_AAD_MAX];
	size_t		len;

	require(used >= TV_KEYRING_RECORD_HEADER + TV_KEYRING_CHECK_LEN && used <= TV_KEYRING_RECORD_MAX);
	if (record->type == TV_RECORD_MASTER_KEY)
	{
		require(memchr(record->u.master_key.key_id, '\0', TV_KEYRING_KEY_ID_MAX + 1) != NULL);
		require(memchr(record->u.master_key.uri, '\0', TV_KEYRING_URI_MAX + 1) != NULL);
		require(record->u.master_key.check_len <= TV_KEYRING_WRAPPED_MAX);
		require(tv_keyring_master_check_aad(&record->u.master_key, input, sizeof(input)) > 0);
	}
	if (record->type == TV_RECORD_TABLE_KEY)
	{
		require(record->u.table_key.wrapped_len <= TV_KEYRING_WRAPPED_MAX);
		require(tv_keyring_table_key_aad(&record->u.table_key, input, sizeof(input)) > 0);
	}
	if (record->type == TV_RECORD_FILE)
		require(tv_keyring_file_mac_input(&record->u.file, input, sizeof(input)) > 0);
	if (record->type == TV_RECORD_SCOPE)
	{
		uint8_t		scopes[TV_SCOPE_MAC_INPUT_MAX(1)];
		uint16_t	first = 0;

		require(tv_keyring_scope_mac_input(record->u.scope.number, &record->u.scope, &first, 1,
										   scopes, sizeof(scopes)) > 0);
	}

	/* eight reserved bytes are not kept */
	for (int i = 8; i < TV_KEYRING_RECORD_HEADER; i++)
	{
		if (bytes[i] != 0)
			return;
	}
	memcpy(check, before, sizeof(check));
	len = tv_keyring_record_encode(record, check, again, sizeof(again));
	require(len == used && memcmp(again, bytes, used) == 0);
	require(memcmp(check, after, sizeof(check)) == 0);
}

static void
read_records(const uint8_t *data, size_t size, size_t pos, const uint8_t seed[TV_KEYRING_CHECK_LEN])
{
	uint8_t		check[TV_KEYRING_CHECK_LEN];
	uint8_t		before[TV_KEYRING_CHECK_LEN];

	memcpy(check, seed, sizeof(check));
	while (pos < size)
	{
		TvRecord	record;
		size_t		used = 0;
		TvStatus	status;

		memcpy(before, check, sizeof(before));
		status = tv_keyring_record_decode(data + pos, size - pos, pos, check, &record, &used);
		if (status != TV_OK)
		{
			require(status == TV_ERR_TRUNCATED || status == TV_ERR_CORRUPT || status == TV_ERR_VERSION);
			require(memcmp(check, before, sizeof(check)) == 0);
			return;
		}
		check_record(&record, data + pos, used, before, check);
		pos += used;
	}
}

/* As a file, checks and all. */
static void
read_file(const uint8_t *data, size_t size)
{
	TvKeyringHeader header;
	TvError		err;
	uint8_t		sector[TV_KEYRING_SECTOR];

	if (tv_keyring_header_decode(data, size, &header, &err) != TV_OK)
	{
		require(err.message[0] != '\0');
		return;
	}
	tv_keyring_header_encode(&header, sector);
	require(memcmp(sector + 16, data + 16, 72 - 16 - TV_KEYRING_CHECK_LEN) == 0);
	read_records(data, size, TV_KEYRING_SECTOR, header.seed);
}

/* As one record's type, version, reserved bytes and payload. */
static void
read_payload(const uint8_t *data, size_t size)
{
	uint8_t		input[TV_KEYRING_CHECK_LEN + TV_KEYRING_RECORD_MAX] = {0};
	uint8_t    *record = input + TV_KEYRING_CHECK_LEN;
	uint8_t		digest[SHA256_DIGEST_LENGTH];
	static const uint8_t seed[TV_KEYRING_CHECK_LEN];
	size_t		body = size < TV_KEYRING_RECORD_MAX - 4 - TV_KEYRING_CHECK_LEN ?
		size : TV_KEYRING_RECORD_MAX - 4 - TV_KEYRING_CHECK_LEN;
	size_t		total = 4 + body + TV_KEYRING_CHECK_LEN;

	record[0] = (uint8_t) total;
	record[1] = (uint8_t) (total >> 8);
	memcpy(record + 4, data, body);
	SHA256(input, TV_KEYRING_CHECK_LEN + 4 + body, digest);
	memcpy(record + 4 + body, digest, TV_KEYRING_CHECK_LEN);
	read_records(record, total, 0, seed);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_file(data, size);
	read_payload(data, size);
	return 0;
}
