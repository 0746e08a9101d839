/*
 * keyring_scope_test.c
 *	  The record of an encrypted tablespace, byte for byte.
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
	for (size_t i = 0; i < len; i++)
	{
		memset(before, 0, sizeof(before));
		out[i] ^= 1;
		if (tv_keyring_record_decode(out, len, 0, before, &again, &used) == TV_OK)
			ok(false, "byte %zu is not covered", i);
		out[i] ^= 1;
	}
	ok(true, "every byte is covered");
	return unit_done();
}
