/*
 * keyring_version_test.c
 *	  Bytes of the keyring's records about versions of table keys.
 */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "unit.h"

#include "keyring/tv_keyring_format.h"

#define N_RECORDS 3

static TvRecord records[N_RECORDS];

static void
fill(void)
{
	records[0].type = TV_RECORD_TABLE_KEY_FLOOR;
	records[0].u.key_floor.id = UINT64_C(0x1112131415161718);
	records[0].u.key_floor.epoch = 2;
	records[0].u.key_floor.lsn = UINT64_C(0x16B3740);
	records[1].type = TV_RECORD_TABLE_KEY_WORK;
	records[1].u.key_work.id = UINT64_C(0x1112131415161718);
	records[1].u.key_work.flags = TV_WORK_PENDING | TV_WORK_PAUSED;
	records[1].u.key_work.since = UINT64_C(0x16B3730);
	records[2].type = TV_RECORD_FILE_RELEASED;
	records[2].u.removal.tablespace = 1663;
	records[2].u.removal.database = 16384;
	records[2].u.removal.relation = 16402;
	records[2].u.removal.lsn = UINT64_C(0x16B3748);
}

/* A file record that says where in WAL it was made; older ones do not. */
static void
test_file(void)
{
	uint8_t		want[256];
	uint8_t		got[256];
	size_t		len = fixture_read_hex("keyring_v1_file.hex", want, sizeof(want));
	uint8_t		check[TV_KEYRING_CHECK_LEN] = {0};
	TvRecord	record;
	TvRecord	back;
	size_t		used;

	memset(&record, 0, sizeof(record));
	record.type = TV_RECORD_FILE;
	record.u.file.tablespace = 1663;
	record.u.file.database = 16384;
	record.u.file.relation = 16402;
	record.u.file.table_key = UINT64_C(0x1112131415161718);
	record.u.file.cipher = 1;
	record.u.file.flags = TV_FILE_PLAIN;
	memset(record.u.file.mac, 0x5a, sizeof(record.u.file.mac));
	record.u.file.lsn = UINT64_C(0x16B3750);
	used = tv_keyring_record_encode(&record, check, got, sizeof(got));
	ok(used == len && memcmp(got, want, len) == 0, "file record has the bytes that it had");
	memset(check, 0, sizeof(check));
	ok(tv_keyring_record_decode(want, len, 0, check, &back, &used) == TV_OK && used == len &&
	   back.u.file.flags == TV_FILE_PLAIN && back.u.file.mac[31] == 0x5a &&
	   back.u.file.lsn == 0x16B3750, "and its position in WAL is read");
	record.u.file.lsn = 0;
	memset(check, 0, sizeof(check));
	ok(tv_keyring_record_encode(&record, check, got, sizeof(got)) == len - sizeof(uint64_t),
	   "without one it is as it was");
	memset(check, 0, sizeof(check));
	ok(tv_keyring_record_decode(got, len - sizeof(uint64_t), 0, check, &back, &used) == TV_OK &&
	   back.u.file.lsn == 0, "and is read");
}

int
main(void)
{
	uint8_t		want[512];
	uint8_t		got[512];
	size_t		len = fixture_read_hex("keyring_v1_versions.hex", want, sizeof(want));
	size_t		pos = 0;
	uint8_t		check[TV_KEYRING_CHECK_LEN] = {0};
	TvRecord	back;
	size_t		used;

	fill();
	for (int i = 0; i < N_RECORDS; i++)
		pos += tv_keyring_record_encode(&records[i], check, got + pos, sizeof(got) - pos);
	ok(pos == len && memcmp(got, want, len) == 0, "records have the bytes that they had");

	memset(check, 0, sizeof(check));
	pos = 0;
	ok(tv_keyring_record_decode(want, len, 0, check, &back, &used) == TV_OK &&
	   back.type == TV_RECORD_TABLE_KEY_FLOOR && back.u.key_floor.id == UINT64_C(0x1112131415161718) &&
	   back.u.key_floor.epoch == 2 && back.u.key_floor.lsn == 0x16B3740, "oldest version of a page");
	pos += used;
	ok(tv_keyring_record_decode(want + pos, len - pos, pos, check, &back, &used) == TV_OK &&
	   back.type == TV_RECORD_TABLE_KEY_WORK && back.u.key_work.flags == 3 &&
	   back.u.key_work.since == 0x16B3730, "work");
	pos += used;
	ok(tv_keyring_record_decode(want + pos, len - pos, pos, check, &back, &used) == TV_OK &&
	   back.type == TV_RECORD_FILE_RELEASED && back.u.removal.relation == 16402 &&
	   back.u.removal.lsn == 0x16B3748, "file that is released");
	ok(pos + used == len, "and that is all");
	test_file();
	return unit_done();
}
