/*
 * spill_format_test.c
 *	  Bytes of temporary files: headers, sizes, what the tag covers.
 */
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "crypto/tv_cipher.h"
#include "spill/tv_spill_format.h"

#define PATH "base/pgsql_tmp/pgsql_tmp4711.0"
#define TEXT "sealed temporary row"
#define TEXT_LEN 20

/* TEXT as unit 3 of PATH, in version 1, under the key 00 01 .. 1f. */
static const uint8_t unit_v1[TV_SPILL_HEADER + TEXT_LEN] = {
	0x54, 0x56, 0x53, 0x31, 0x14, 0x00, 0x00, 0x00, 0x08, 0x07, 0x06, 0x05,
	0x04, 0x03, 0x02, 0x01, 0xec, 0x56, 0x9a, 0x34, 0x9a, 0x85, 0xfa, 0x20,
	0x1e, 0x3e, 0xe5, 0x24, 0x5f, 0xe8, 0x4f, 0x7f, 0xcf, 0x26, 0x15, 0x53,
	0x41, 0x62, 0xf7, 0x36, 0x12, 0xf2, 0x28, 0x05, 0x77, 0x8a, 0xc6, 0x5b,
	0xef, 0x8b, 0x2c, 0x36
};

static TvCipherContext *context;

static bool
open_unit(const uint8_t *disk, size_t len, uint64_t unit, const char *path, uint8_t *out)
{
	TvSpillHeader header;
	uint8_t		nonce[TV_NONCE_LEN];
	uint8_t		aad[TV_SPILL_AAD_MAX];
	size_t		aad_len;

	if (tv_spill_header_decode(disk, len, &header) != TV_OK ||
		len != (size_t) TV_SPILL_HEADER + header.length)
		return false;
	tv_spill_nonce(&header, nonce);
	aad_len = tv_spill_aad(&header, unit, path, aad);
	return tv_cipher_open(context, nonce, aad, aad_len, disk + TV_SPILL_HEADER, out,
						  header.length, header.tag) == TV_OK;
}

static void
test_fixture(void)
{
	TvSpillHeader header = {.length = TEXT_LEN, .number = UINT64_C(0x0102030405060708)};
	uint8_t		disk[TV_SPILL_HEADER + TEXT_LEN];
	uint8_t		nonce[TV_NONCE_LEN];
	uint8_t		aad[TV_SPILL_AAD_MAX];
	uint8_t		out[TEXT_LEN];
	size_t		aad_len;
	size_t		taken = 0;

	ok(open_unit(unit_v1, sizeof(unit_v1), 3, PATH, out) && memcmp(out, TEXT, TEXT_LEN) == 0,
	   "a unit of version 1 is opened");
	tv_spill_nonce(&header, nonce);
	aad_len = tv_spill_aad(&header, 3, PATH, aad);
	ok(tv_cipher_seal(context, nonce, aad, aad_len, (const uint8_t *) TEXT,
					  disk + TV_SPILL_HEADER, TEXT_LEN, header.tag) == TV_OK, "seal");
	tv_spill_header_encode(&header, disk);
	ok(memcmp(disk, unit_v1, sizeof(disk)) == 0, "and written as it was");
	ok(!open_unit(unit_v1, sizeof(unit_v1), 2, PATH, out), "not at another place");
	ok(!open_unit(unit_v1, sizeof(unit_v1), 3, PATH "0", out), "not in another file");
	ok(!open_unit(unit_v1, sizeof(unit_v1) - 1, 3, PATH, out), "not cut");
	for (size_t i = 0; i < sizeof(unit_v1); i++)
	{
		memcpy(disk, unit_v1, sizeof(disk));
		disk[i] ^= 0x10;
		taken += open_unit(disk, sizeof(disk), 3, PATH, out);
	}
	ok(taken == 0, "not with any byte changed");
}

static void
test_header(void)
{
	TvSpillHeader header;
	uint8_t		bytes[TV_SPILL_HEADER];

	ok(tv_spill_header_decode(unit_v1, TV_SPILL_HEADER, &header) == TV_OK &&
	   header.length == TEXT_LEN && header.number == UINT64_C(0x0102030405060708), "fields");
	for (size_t len = 0; len < TV_SPILL_HEADER; len++)
	{
		if (tv_spill_header_decode(unit_v1, len, &header) != TV_ERR_TRUNCATED)
			ok(false, "%zu bytes are too few", len);
	}
	memcpy(bytes, unit_v1, sizeof(bytes));
	bytes[3] = '2';
	ok(tv_spill_header_decode(bytes, sizeof(bytes), &header) == TV_ERR_VERSION, "a newer version");
	memset(bytes, 0, sizeof(bytes));
	ok(tv_spill_header_decode(bytes, sizeof(bytes), &header) == TV_ERR_CORRUPT, "zeros are no header");
	memcpy(bytes, unit_v1, sizeof(bytes));
	bytes[4] = bytes[5] = 0;
	ok(tv_spill_header_decode(bytes, sizeof(bytes), &header) == TV_ERR_CORRUPT, "no empty unit");
	bytes[4] = 1;
	bytes[5] = 0x20;
	ok(tv_spill_header_decode(bytes, sizeof(bytes), &header) == TV_ERR_CORRUPT, "none that is too long");
}

static void
test_sizes(void)
{
	bool		same = true;
	bool		rises = true;

	for (int64_t size = 0; size < 4 * TV_SPILL_UNIT; size++)
	{
		same = same && tv_spill_visible_size(tv_spill_disk_size(size)) == size;
		rises = rises && tv_spill_disk_size(size) < tv_spill_disk_size(size + 1);
	}
	ok(same, "each size comes back");
	ok(rises, "more bytes take more room");
	ok(tv_spill_disk_size(0) == 0 && tv_spill_disk_size(1) == 33 &&
	   tv_spill_disk_size(8192) == 8224 && tv_spill_disk_size(8193) == 8224 + 33, "sizes on disk");
	ok(tv_spill_disk_size(INT64_C(0x40000000)) == INT64_C(131072) * 8224, "a whole segment");
	ok(tv_spill_visible_size(31) == 0 && tv_spill_visible_size(8224 + 32) == 8192,
	   "a header without bytes counts for nothing");
}

static void
test_nonces(void)
{
	TvSpillHeader one = {.length = 1, .number = 1};
	TvSpillHeader two = {.length = 1, .number = UINT64_C(1) << 63};
	uint8_t		a[TV_NONCE_LEN];
	uint8_t		b[TV_NONCE_LEN];
	char		path[TV_SPILL_PATH_MAX + 2];
	uint8_t		aad[TV_SPILL_AAD_MAX];

	tv_spill_nonce(&one, a);
	tv_spill_nonce(&two, b);
	ok(memcmp(a, b, sizeof(a)) != 0, "numbers make nonces");
	memset(path, 'a', sizeof(path));
	path[TV_SPILL_PATH_MAX + 1] = '\0';
	ok(tv_spill_aad(&one, 0, path, aad) == 0, "a path that is too long is refused");
	path[TV_SPILL_PATH_MAX] = '\0';
	ok(tv_spill_aad(&one, 0, path, aad) == TV_SPILL_AAD_MAX, "the longest one is not");
}

int
main(void)
{
	uint8_t		key[TV_KEY_LEN];
	size_t		size;

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t) i;
	ok(tv_cipher_setup(NULL) == TV_OK, "setup");
	size = (tv_cipher_context_size(TV_CIPHER_AES_256_GCM) + 63) / 64 * 64;
	context = aligned_alloc(64, size);
	ok(context != NULL && tv_cipher_init(context, TV_CIPHER_AES_256_GCM, key, sizeof(key)) == TV_OK, "key");
	test_fixture();
	test_header();
	test_sizes();
	test_nonces();
	tv_cipher_done(context);
	free(context);
	return unit_done();
}
