/*
 * base_cursor_test.c
 *	  Reading and writing outside bytes, inside and outside the bounds.
 */
#include <string.h>

#include "base/tv_cursor.h"
#include "unit.h"

static void
test_round_trip(void)
{
	uint8_t		buf[22];
	uint8_t		bytes[7];
	TvWriter	w;
	TvReader	r;

	tv_writer_init(&w, buf, sizeof(buf));
	tv_write_u8(&w, 0xfe);
	tv_write_u16(&w, 0x1234);
	tv_write_u32(&w, 0xdeadbeef);
	tv_write_u64(&w, UINT64_C(0x0123456789abcdef));
	tv_write_bytes(&w, "payload", 7);
	ok(!w.failed && w.pos == sizeof(buf), "everything fits exactly");
	ok(buf[1] == 0x34 && buf[2] == 0x12, "integers are little-endian");

	tv_reader_init(&r, buf, sizeof(buf));
	ok(tv_read_u8(&r) == 0xfe, "8 bits come back");
	ok(tv_read_u16(&r) == 0x1234, "16 bits come back");
	ok(tv_read_u32(&r) == 0xdeadbeef, "32 bits come back");
	ok(tv_read_u64(&r) == UINT64_C(0x0123456789abcdef), "64 bits come back");
	ok(tv_reader_left(&r) == 7, "what is left is known");
	tv_read_bytes(&r, bytes, 7);
	ok(memcmp(bytes, "payload", 7) == 0, "bytes come back");
	ok(!r.failed && tv_reader_left(&r) == 0, "reading to the end is no failure");
}

static void
test_reader_overrun(void)
{
	static const uint8_t data[3] = {1, 2, 3};
	uint8_t		out[4];
	TvReader	r;

	tv_reader_init(&r, data, sizeof(data));
	ok(tv_read_u32(&r) == 0 && r.failed, "an integer past the end is 0 and a failure");
	ok(tv_read_u8(&r) == 0, "a failure lasts, even for what would fit");
	ok(tv_reader_left(&r) == 0, "nothing is left after a failure");

	tv_reader_init(&r, data, sizeof(data));
	memset(out, 0xff, sizeof(out));
	tv_read_bytes(&r, out, sizeof(out));
	ok(r.failed && memcmp(out, "\0\0\0\0", 4) == 0, "a short copy is all zeros");

	tv_reader_init(&r, data, sizeof(data));
	(void) tv_read_u8(&r);
	ok(tv_read_ref(&r, SIZE_MAX) == NULL && r.failed, "a huge length does not wrap around");
	tv_reader_init(&r, data, sizeof(data));
	ok(tv_read_ref(&r, 3) == data, "a reference points into the data");
	ok(tv_read_ref(&r, 0) != NULL && !r.failed, "no bytes at the end are no failure");
	ok(tv_read_ref(&r, 1) == NULL && r.failed, "a reference past the end is NULL");
}

static void
test_writer_overrun(void)
{
	uint8_t		buf[4] = {0};
	TvWriter	w;

	tv_writer_init(&w, buf, 3);
	tv_write_u32(&w, 0xffffffff);
	ok(w.failed && w.pos == 0, "what does not fit is a failure");
	ok(memcmp(buf, "\0\0\0\0", 4) == 0, "and leaves no part of itself");
	tv_write_u8(&w, 1);
	ok(w.pos == 0 && buf[0] == 0, "a failure lasts");
	tv_writer_init(&w, buf, 3);
	tv_write_u8(&w, 1);
	tv_write_bytes(&w, buf, SIZE_MAX);
	ok(w.failed && w.pos == 1, "a huge length does not wrap around");
}

static void
test_empty(void)
{
	TvReader	r;
	TvWriter	w;

	tv_reader_init(&r, NULL, 0);
	ok(!r.failed && tv_read_ref(&r, 0) != NULL && !r.failed, "nothing can be read from nothing");
	ok(tv_read_u8(&r) == 0 && r.failed, "but not something");
	tv_reader_init(&r, NULL, 5);
	ok(r.failed, "no data of some length is a failure");
	tv_writer_init(&w, NULL, 0);
	tv_write_bytes(&w, NULL, 0);
	ok(!w.failed, "nothing can be written to nothing");
	tv_write_u8(&w, 1);
	ok(w.failed, "but not something");
}

int
main(void)
{
	test_round_trip();
	test_reader_overrun();
	test_writer_overrun();
	test_empty();
	return unit_done();
}
