/*
 * keyring_format_test.c
 *	  Bytes of the keyring: a keyring of version 1 is read and written as it
 *	  was, and no damage to it goes unnoticed.
 */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "unit.h"

#include "keyring/tv_keyring_format.h"

#define MASTER_ID UINT64_C(0x0102030405060708)
#define TABLE_ID UINT64_C(0x1112131415161718)
#define N_RECORDS 9
#define FIXTURE_MAX 4096

static uint8_t fixture[FIXTURE_MAX];
static size_t fixture_len;
static TvKeyringHeader header;
static TvRecord records[N_RECORDS];
static size_t starts[N_RECORDS + 1];

/* Decode a whole keyring; the status of the first problem, and where it is. */
static TvStatus
decode_all(const uint8_t *data, size_t len, TvRecord *out, size_t *pos)
{
	TvKeyringHeader h;
	uint8_t		check[TV_KEYRING_CHECK_LEN];
	TvError		err;
	TvStatus	status = tv_keyring_header_decode(data, len, &h, &err);
	int			n = 0;

	*pos = 0;
	if (status != TV_OK)
		return status;
	memcpy(check, h.seed, sizeof(check));
	*pos = TV_KEYRING_SECTOR;
	while (*pos < len)
	{
		TvRecord	record;
		size_t		used = 0;

		status = tv_keyring_record_decode(data + *pos, len - *pos, *pos, check, &record, &used);
		if (status != TV_OK)
			return status;
		if (out && n < N_RECORDS)
		{
			starts[n] = *pos;
			out[n++] = record;
			starts[n] = *pos + used;
		}
		*pos += used;
	}
	return n == N_RECORDS || out == NULL ? TV_OK : TV_ERR_TRUNCATED;
}

static void
test_read(void)
{
	TvError		err;
	size_t		pos;
	TvStatus	status = decode_all(fixture, fixture_len, records, &pos);

	ok(tv_keyring_header_decode(fixture, fixture_len, &header, &err) == TV_OK, "header is read");
	ok(header.version == 1 && header.system_identifier == UINT64_C(7300000000000000001) &&
	   header.generation == 3 && header.committed == fixture_len &&
	   header.seed[0] == 0xa0 && header.seed[15] == 0xaf, "header has its values");
	ok(status == TV_OK, "every record is read (to byte %zu)", pos);
}

static void
test_values(void)
{
	const TvMasterKeyRecord *master = &records[0].u.master_key;
	const TvTableKeyRecord *key = &records[1].u.table_key;
	const TvFileRecord *file = &records[2].u.file;
	const TvFileRecord *binding = &records[3].u.file;

	ok(records[0].type == TV_RECORD_MASTER_KEY && master->id == MASTER_ID &&
	   master->database == 16384 && master->created == INT64_C(720000000123456) &&
	   master->salt[0] == 0x30 && strcmp(master->key_id, "master_key_prod_001") == 0 &&
	   strcmp(master->uri, "file:/etc/tde_vault/mek.key") == 0 &&
	   master->check_len == 60 && master->check[59] == 0x9b, "master key");
	ok(records[1].type == TV_RECORD_TABLE_KEY && key->id == TABLE_ID && key->epoch == 1 &&
	   key->database == 16384 && key->table == 16401 && key->cipher == 1 &&
	   key->master_key == MASTER_ID && key->created == INT64_C(720000001000000) &&
	   key->wrapped_len == 60 && key->wrapped[0] == 3, "table key");
	ok(records[2].type == TV_RECORD_FILE && file->tablespace == 1663 &&
	   file->database == 16384 && file->relation == 16402 && file->table_key == TABLE_ID &&
	   file->cipher == 1 && file->flags == TV_FILE_SEALED && file->mac[0] == 1, "file");
	ok(records[3].type == TV_RECORD_FILE && binding->tablespace == 0 &&
	   binding->relation == 16410 && binding->flags == TV_FILE_BINDING, "binding");
	for (int i = 4; i <= 5; i++)
		ok(records[i].type == (i == 4 ? TV_RECORD_FILE_DROPPED : TV_RECORD_FILE_FORGOTTEN) &&
		   records[i].u.removal.tablespace == 1663 && records[i].u.removal.database == 16384 &&
		   records[i].u.removal.relation == 16402 && records[i].u.removal.lsn == 0x16B3740,
		   "file that is %s", i == 4 ? "dropped" : "forgotten");
	ok(records[6].type == TV_RECORD_TABLE_KEY_DESTROYED && records[6].u.key_removal.id == TABLE_ID &&
	   records[6].u.key_removal.epoch == 0, "table key that is destroyed");
	ok(records[7].type == TV_RECORD_MASTER_KEY_RETIRED && records[7].u.key_removal.id == MASTER_ID,
	   "master key that is retired");
	ok(records[8].type == TV_RECORD_NONCE_PREFIX &&
	   records[8].u.nonce_prefix.created == INT64_C(720000002000000) &&
	   records[8].u.nonce_prefix.prefix[0] == 0xd0 && records[8].u.nonce_prefix.prefix[6] == 0xd6,
	   "random part of nonces");
}

static void
test_write(void)
{
	uint8_t		copy[FIXTURE_MAX] = {0};
	uint8_t		check[TV_KEYRING_CHECK_LEN];
	size_t		pos = TV_KEYRING_SECTOR;

	tv_keyring_header_encode(&header, copy);
	memcpy(check, header.seed, sizeof(check));
	for (int i = 0; i < N_RECORDS; i++)
		pos += tv_keyring_record_encode(&records[i], check, copy + pos, sizeof(copy) - pos);
	ok(pos == fixture_len && memcmp(copy, fixture, pos) == 0, "written again it has the same bytes");
	ok(tv_keyring_record_encode(&records[0], check, copy, 100) == 0, "a record that does not fit is not written");
}

/* A record that the fixture is older than. */
static void
test_anchor(void)
{
	TvRecord	record;
	TvRecord	again;
	uint8_t		buf[TV_KEYRING_RECORD_MAX];
	uint8_t		check[TV_KEYRING_CHECK_LEN] = {0};
	uint8_t		before[TV_KEYRING_CHECK_LEN] = {0};
	size_t		used;
	size_t		len;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_ANCHOR;
	record.u.anchor.service = 1;
	record.u.anchor.lsn = UINT64_C(0x0102030405060708);
	memset(record.u.anchor.bytes, 0x5a, TV_ANCHOR_LEN);
	len = tv_keyring_record_encode(&record, check, buf, sizeof(buf));
	ok(len == TV_KEYRING_RECORD_HEADER + 4 + 8 + TV_ANCHOR_LEN + TV_KEYRING_CHECK_LEN && buf[4] == 13 &&
	   buf[TV_KEYRING_RECORD_HEADER] == 1 && buf[TV_KEYRING_RECORD_HEADER + 4] == 8 &&
	   buf[TV_KEYRING_RECORD_HEADER + 12] == 0x5a, "an anchor's bytes");
	ok(tv_keyring_record_decode(buf, len, TV_KEYRING_SECTOR, before, &again, &used) == TV_OK &&
	   used == len && again.type == TV_RECORD_ANCHOR && again.u.anchor.service == 1 &&
	   again.u.anchor.lsn == record.u.anchor.lsn &&
	   memcmp(again.u.anchor.bytes, record.u.anchor.bytes, TV_ANCHOR_LEN) == 0, "and back");
}

/* What keys authenticate must not change either, or nothing opens any more. */
static void
test_bound(void)
{
	uint8_t		want[3 * 64];
	uint8_t		got[3 * 64];
	size_t		len = fixture_read_hex("keyring_v1_bound.hex", want, sizeof(want));
	size_t		used = tv_keyring_file_mac_input(&records[2].u.file, got, sizeof(got));

	used += tv_keyring_table_key_aad(&records[1].u.table_key, got + used, sizeof(got) - used);
	used += tv_keyring_master_check_aad(&records[0].u.master_key, got + used, sizeof(got) - used);
	ok(used == len && memcmp(got, want, len) == 0, "MAC and wraps cover the same bytes");
	ok(tv_keyring_file_mac_input(&records[2].u.file, got, 10) == 0 &&
	   tv_keyring_table_key_aad(&records[1].u.table_key, got, 10) == 0 &&
	   tv_keyring_master_check_aad(&records[0].u.master_key, got, 10) == 0,
	   "and are not cut off to fit");
}

/* One bit anywhere, except in the part of the sector that nothing uses. */
static void
test_flips(void)
{
	uint8_t		copy[FIXTURE_MAX];
	int			unnoticed = 0;
	size_t		pos;

	for (size_t bit = 0; bit < fixture_len * 8; bit++)
	{
		if (bit / 8 >= 72 && bit / 8 < TV_KEYRING_SECTOR)
			continue;
		memcpy(copy, fixture, fixture_len);
		copy[bit / 8] ^= (uint8_t) (1 << bit % 8);
		if (decode_all(copy, fixture_len, NULL, &pos) == TV_OK)
			unnoticed++;
	}
	ok(unnoticed == 0, "no flipped bit goes unnoticed (%d do)", unnoticed);
}

/* A record may be cut off by a crash; a flipped byte is never taken for that. */
static void
test_kinds_of_damage(void)
{
	uint8_t		copy[FIXTURE_MAX];
	size_t		pos;
	size_t		last = starts[N_RECORDS - 1];
	int			wrong = 0;

	for (size_t len = last + 1; len < fixture_len; len++)
		wrong += decode_all(fixture, len, NULL, &pos) != TV_ERR_TRUNCATED || pos != last;
	ok(wrong == 0, "a record that ends early is truncated");
	for (size_t len = 0; len < TV_KEYRING_SECTOR; len++)
		wrong += decode_all(fixture, len, NULL, &pos) != TV_ERR_TRUNCATED;
	ok(wrong == 0, "and so is a header");

	memset(copy, 0, sizeof(copy));
	memcpy(copy, fixture, fixture_len);
	ok(decode_all(copy, 1024 + 512, NULL, &pos) == TV_ERR_TRUNCATED && pos == fixture_len,
	   "zeros after the last record are an append that did not arrive");

	copy[last + 20] ^= 1;
	ok(decode_all(copy, fixture_len, NULL, &pos) == TV_ERR_CORRUPT && pos == last,
	   "a flipped bit in the last record is damage, no crash");

	/* the third record taken out */
	memcpy(copy, fixture, starts[2]);
	memcpy(copy + starts[2], fixture + starts[3], fixture_len - starts[3]);
	ok(decode_all(copy, fixture_len - (starts[3] - starts[2]), NULL, &pos) == TV_ERR_CORRUPT &&
	   pos == starts[2], "a record that was taken out is noticed");

	/* two of the same length exchanged */
	memcpy(copy, fixture, fixture_len);
	memcpy(copy + starts[2], fixture + starts[3], starts[4] - starts[3]);
	memcpy(copy + starts[3], fixture + starts[2], starts[3] - starts[2]);
	ok(starts[3] - starts[2] == starts[4] - starts[3] &&
	   decode_all(copy, fixture_len, NULL, &pos) == TV_ERR_CORRUPT && pos == starts[2],
	   "records that were exchanged are noticed");
}

static void
test_versions(void)
{
	uint8_t		sector[TV_KEYRING_SECTOR];
	uint8_t		data[TV_KEYRING_RECORD_MAX];
	uint8_t		check[TV_KEYRING_CHECK_LEN] = {0};
	TvKeyringHeader newer = header;
	TvKeyringHeader h;
	TvRecord	record = records[6];
	TvError		err;
	size_t		len;
	size_t		used;

	newer.version = TV_KEYRING_VERSION + 1;
	tv_keyring_header_encode(&newer, sector);
	ok(tv_keyring_header_decode(sector, sizeof(sector), &h, &err) == TV_ERR_VERSION &&
	   strstr(err.message, "version") != NULL, "a newer header is refused, by name");
	newer.version = 0;
	tv_keyring_header_encode(&newer, sector);
	ok(tv_keyring_header_decode(sector, sizeof(sector), &h, &err) == TV_ERR_CORRUPT, "version 0 is damage");
	sector[0] ^= 0x20;
	ok(tv_keyring_header_decode(sector, sizeof(sector), &h, &err) == TV_ERR_CORRUPT &&
	   strstr(err.message, "magic") != NULL, "so is another magic number");

	/* a type that this build does not know cannot be written by it */
	record.type = (TvRecordType) (TV_RECORD_ANCHOR + 1);
	ok(tv_keyring_record_encode(&record, check, data, sizeof(data)) == 0, "an unknown type is not written");
	memset(check, 0, sizeof(check));
	len = tv_keyring_record_encode(&records[6], check, data, sizeof(data));
	memset(check, 0, sizeof(check));
	ok(len > 0 && tv_keyring_record_decode(data, len, 512, check, &record, &used) == TV_OK && used == len,
	   "a record stands alone given the check before it");
}

/* The time of a retirement may be left out, as it was at first, but is never 0. */
static void
test_retirement(void)
{
	TvRecord	record = records[7];
	TvRecord	back;
	uint8_t		data[TV_KEYRING_RECORD_MAX];
	uint8_t		check[TV_KEYRING_CHECK_LEN] = {0};
	size_t		without = tv_keyring_record_encode(&record, check, data, sizeof(data));
	size_t		len;
	size_t		used;

	record.u.key_removal.epoch = TV_RETIRED_WITH_DATABASE;
	record.u.key_removal.when = INT64_C(720000003000000);
	memset(check, 0, sizeof(check));
	len = tv_keyring_record_encode(&record, check, data, sizeof(data));
	memset(check, 0, sizeof(check));
	ok(len == without + 8 &&
	   tv_keyring_record_decode(data, len, 512, check, &back, &used) == TV_OK && used == len &&
	   back.u.key_removal.epoch == TV_RETIRED_WITH_DATABASE &&
	   back.u.key_removal.when == record.u.key_removal.when, "a retirement has its time");
	ok(records[7].u.key_removal.when == 0 && records[7].u.key_removal.epoch == TV_RETIRED_ROTATED,
	   "one of the first version has none");
	record.type = TV_RECORD_TABLE_KEY_DESTROYED;
	memset(check, 0, sizeof(check));
	ok(tv_keyring_record_encode(&record, check, data, sizeof(data)) == without,
	   "a destruction has none either");
}

/* The first master key of a database says that it is taking over, until it has. */
static void
test_taking_over(void)
{
	uint8_t		want[256];
	uint8_t		data[256];
	uint8_t		check[TV_KEYRING_CHECK_LEN] = {0};
	size_t		len = fixture_read_hex("keyring_v1_taking_over.hex", want, sizeof(want));
	TvRecord	record;
	TvRecord	back;
	size_t		used;

	ok(tv_keyring_record_decode(want, len, 512, check, &record, &used) == TV_OK && used == len &&
	   record.type == TV_RECORD_MASTER_KEY && record.u.master_key.taking_over &&
	   record.u.master_key.database == 16384 && record.u.master_key.created == INT64_C(720000004000000) &&
	   strcmp(record.u.master_key.key_id, "own") == 0 && strcmp(record.u.master_key.uri, "file:/k") == 0 &&
	   record.u.master_key.check_len == 60, "a master key that takes over is read");
	memset(check, 0, sizeof(check));
	ok(tv_keyring_record_encode(&record, check, data, sizeof(data)) == len && memcmp(data, want, len) == 0,
	   "and written as it was");
	record.u.master_key.taking_over = false;
	memset(check, 0, sizeof(check));
	ok(tv_keyring_record_encode(&record, check, data, sizeof(data)) == len - 1, "one that has is as any other");
	memset(check, 0, sizeof(check));
	ok(tv_keyring_record_decode(data, len - 1, 512, check, &back, &used) == TV_OK && !back.u.master_key.taking_over &&
	   !records[0].u.master_key.taking_over, "and so is one of the first version");
}

/* Values that a field cannot hold, in a record whose check is right. */
static void
test_limits(void)
{
	TvRecord	record = records[0];
	TvRecord	back;
	uint8_t		data[TV_KEYRING_RECORD_MAX];
	uint8_t		check[TV_KEYRING_CHECK_LEN];
	size_t		len;
	size_t		used;

	memset(record.u.master_key.key_id, 'k', TV_KEYRING_KEY_ID_MAX);
	memset(record.u.master_key.uri, 'u', TV_KEYRING_URI_MAX);
	record.u.master_key.key_id[TV_KEYRING_KEY_ID_MAX] = '\0';
	record.u.master_key.uri[TV_KEYRING_URI_MAX] = '\0';
	record.u.master_key.check_len = TV_KEYRING_WRAPPED_MAX;
	memset(check, 0, sizeof(check));
	len = tv_keyring_record_encode(&record, check, data, sizeof(data));
	memset(check, 0, sizeof(check));
	ok(len > 0 && tv_keyring_record_decode(data, len, 512, check, &back, &used) == TV_OK &&
	   strlen(back.u.master_key.key_id) == TV_KEYRING_KEY_ID_MAX &&
	   strlen(back.u.master_key.uri) == TV_KEYRING_URI_MAX &&
	   back.u.master_key.check_len == TV_KEYRING_WRAPPED_MAX, "the longest master key is read and written");

	memset(check, 0, sizeof(check));
	ok(tv_keyring_record_decode(data, TV_KEYRING_RECORD_HEADER - 1, 512, check, &back, &used) == TV_ERR_TRUNCATED,
	   "less than a record's header is truncated");
	data[0] = 0xff;
	data[1] = 0xff;
	ok(tv_keyring_record_decode(data, len, 512, check, &back, &used) == TV_ERR_CORRUPT,
	   "a length beyond the limit is damage");
}

int
main(void)
{
	fixture_len = fixture_read_hex("keyring_v1.hex", fixture, sizeof(fixture));
	test_read();
	test_values();
	test_write();
	test_anchor();
	test_bound();
	test_flips();
	test_kinds_of_damage();
	test_versions();
	test_taking_over();
	test_limits();
	test_retirement();
	return unit_done();
}
