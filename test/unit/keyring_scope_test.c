/*
 * keyring_scope_test.c
 *	  The records of an encrypted tablespace, and of files beside it, byte for byte.
 */
#include <string.h>

#include "unit.h"

#include "crypto/tv_cipher.h"
#include "keyring/tv_keyring_format.h"

/* after length, type, version, 8 zero bytes; before the check */
static const uint8_t payload[] = {
	0x05, 0x40, 0, 0,
	0, 0, 0, 0,
	1,
	0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,
	0x40, 0xe2, 0xae, 0x04, 0xd7, 0x8e, 0x02, 0x00
};

/* version 2: then number and MAC */
static const uint8_t payload_v2[] = {
	0x05, 0x40, 0, 0,
	0, 0, 0, 0,
	1,
	0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,
	0x40, 0xe2, 0xae, 0x04, 0xd7, 0x8e, 0x02, 0x00,
	7, 0, 0, 0, 0, 0, 0, 0,
	0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
	0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf
};

/* a file record that names a scope's number, before its MAC */
static const uint8_t file_v2[] = {
	0x7f, 0x06, 0, 0,
	0x00, 0x40, 0, 0,
	0x12, 0x40, 0, 0,
	0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
	4,
	3,
	7, 0, 0, 0, 0, 0, 0, 0
};

static void
test_every_byte(uint8_t *out, size_t len, const char *what)
{
	TvRecord	again;
	uint8_t		before[TV_KEYRING_CHECK_LEN];
	size_t		used;
	bool		covered = true;

	for (size_t i = 0; i < len; i++)
	{
		memset(before, 0, sizeof(before));
		out[i] ^= 1;
		covered = covered && tv_keyring_record_decode(out, len, 0, before, &again, &used) != TV_OK;
		out[i] ^= 1;
	}
	ok(covered, "%s: every byte is covered", what);
}

static void
test_version_2(const TvScopeRecord *scope)
{
	TvRecord	record;
	TvRecord	again;
	uint8_t		out[TV_KEYRING_RECORD_MAX];
	uint8_t		check[TV_KEYRING_CHECK_LEN] = {0};
	uint8_t		before[TV_KEYRING_CHECK_LEN] = {0};
	size_t		len;
	size_t		used = 0;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_SCOPE;
	record.u.scope = *scope;
	record.u.scope.number = 7;
	for (int i = 0; i < TV_KEYRING_MAC_LEN; i++)
		record.u.scope.mac[i] = 0xa0 + i;
	len = tv_keyring_record_encode(&record, check, out, sizeof(out));
	ok(len == TV_KEYRING_RECORD_HEADER + sizeof(payload_v2) + TV_KEYRING_CHECK_LEN && out[4] == 12 &&
	   out[6] == 2, "version 2: length, type, version");
	ok(memcmp(out + TV_KEYRING_RECORD_HEADER, payload_v2, sizeof(payload_v2)) == 0, "version 2: payload");
	ok(tv_keyring_record_decode(out, len, 0, before, &again, &used) == TV_OK && used == len &&
	   memcmp(&again, &record, sizeof(record)) == 0, "version 2: read back");
	test_every_byte(out, len, "version 2");
}

static void
test_file(void)
{
	TvRecord	record;
	TvRecord	again;
	uint8_t		out[TV_KEYRING_RECORD_MAX];
	uint8_t		input[TV_FILE_MAC_INPUT_MAX];
	uint8_t		old_input[TV_FILE_MAC_INPUT_MAX];
	uint8_t		check[TV_KEYRING_CHECK_LEN] = {0};
	uint8_t		before[TV_KEYRING_CHECK_LEN] = {0};
	size_t		len;
	size_t		used = 0;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_FILE;
	record.u.file.tablespace = 1663;
	record.u.file.database = 16384;
	record.u.file.relation = 16402;
	record.u.file.table_key = UINT64_C(0x1112131415161718);
	record.u.file.cipher = TV_CIPHER_AES_256_XTS;
	record.u.file.flags = TV_FILE_SEALED | TV_FILE_BINDING;
	ok(tv_keyring_file_mac_input(&record.u.file, old_input, sizeof(old_input)) == 40 &&
	   memcmp(old_input, "tde_vault file v1", 18) == 0, "file: what its MAC covers");
	record.u.file.scopes = 7;
	ok(tv_keyring_file_mac_input(&record.u.file, input, sizeof(input)) == 48 &&
	   memcmp(input, "tde_vault file v2", 18) == 0 &&
	   memcmp(input + 18, file_v2, sizeof(file_v2)) == 0, "file, version 2: what its MAC covers");
	memset(record.u.file.mac, 0x5a, TV_KEYRING_MAC_LEN);
	len = tv_keyring_record_encode(&record, check, out, sizeof(out));
	ok(len == TV_KEYRING_RECORD_HEADER + sizeof(file_v2) + TV_KEYRING_MAC_LEN + TV_KEYRING_CHECK_LEN &&
	   out[6] == 2 && memcmp(out + TV_KEYRING_RECORD_HEADER, file_v2, sizeof(file_v2)) == 0,
	   "file, version 2: bytes");
	ok(tv_keyring_record_decode(out, len, 0, before, &again, &used) == TV_OK &&
	   memcmp(&again, &record, sizeof(record)) == 0, "file, version 2: read back");
	test_every_byte(out, len, "file, version 2");
}

static void
test_mac_input(const TvScopeRecord *scope)
{
	TvScopeRecord scopes[2] = {*scope, *scope};
	uint16_t	order[2] = {1, 0};
	uint8_t		out[TV_SCOPE_MAC_INPUT_MAX(2)];
	size_t		len;

	scopes[1].tablespace = 3;
	len = tv_keyring_scope_mac_input(7, scopes, order, 2, out, sizeof(out));
	ok(len == 20 + 8 + 2 * TV_SCOPE_BYTES && memcmp(out, "tde_vault scopes v1", 20) == 0 &&
	   out[20] == 7 && out[28] == 3 && memcmp(out + 28 + TV_SCOPE_BYTES, payload, TV_SCOPE_BYTES) == 0,
	   "what a MAC covers: number, and all scopes in order");
	ok(tv_keyring_scope_mac_input(7, scopes, order, 2, out, len - 1) == 0, "no room");
}

int
main(void)
{
	TvRecord	record;
	TvRecord	again;
	uint8_t		out[TV_KEYRING_RECORD_MAX];
	uint8_t		check[TV_KEYRING_CHECK_LEN] = {0};
	uint8_t		before[TV_KEYRING_CHECK_LEN] = {0};
	size_t		len;
	size_t		used = 0;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_SCOPE;
	record.u.scope.tablespace = 16389;
	record.u.scope.cipher = TV_CIPHER_AES_256_GCM;
	record.u.scope.master_key = UINT64_C(0x0102030405060708);
	record.u.scope.created = INT64_C(0x00028ed704aee240);
	len = tv_keyring_record_encode(&record, check, out, sizeof(out));
	ok(len == TV_KEYRING_RECORD_HEADER + sizeof(payload) + TV_KEYRING_CHECK_LEN && out[4] == 12,
	   "length and type");
	ok(memcmp(out + TV_KEYRING_RECORD_HEADER, payload, sizeof(payload)) == 0, "payload");

	memset(&again, 0, sizeof(again));
	ok(tv_keyring_record_decode(out, len, 0, before, &again, &used) == TV_OK && used == len &&
	   again.type == TV_RECORD_SCOPE && again.u.scope.tablespace == 16389 &&
	   again.u.scope.database == 0 && again.u.scope.cipher == TV_CIPHER_AES_256_GCM &&
	   again.u.scope.master_key == UINT64_C(0x0102030405060708) &&
	   again.u.scope.created == record.u.scope.created, "read back");
	test_every_byte(out, len, "version 1");
	test_version_2(&record.u.scope);
	test_file();
	test_mac_input(&record.u.scope);
	return unit_done();
}
