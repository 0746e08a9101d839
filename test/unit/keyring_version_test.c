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
	return unit_done();
}
