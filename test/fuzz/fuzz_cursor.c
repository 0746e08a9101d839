/*
 * fuzz_cursor.c
 *	  The bounds-checked cursors against a plain model of them.
 *
 * The first half of the input is a program: what to read or write next.  The
 * second half is the data.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/tv_cursor.h"

static void
check(bool ok)
{
	if (!ok)
		abort();
}

static uint64_t
read_integer(TvReader *r, size_t n)
{
	switch (n)
	{
		case 1:
			return tv_read_u8(r);
		case 2:
			return tv_read_u16(r);
		case 4:
			return tv_read_u32(r);
		default:
			return tv_read_u64(r);
	}
}

static void
write_integer(TvWriter *w, size_t n, uint64_t v)
{
	switch (n)
	{
		case 1:
			tv_write_u8(w, (uint8_t) v);
			break;
		case 2:
			tv_write_u16(w, (uint16_t) v);
			break;
		case 4:
			tv_write_u32(w, (uint32_t) v);
			break;
		default:
			tv_write_u64(w, v);
			break;
	}
}

/*
 * Read a field of n bytes, write it to the copy, and compare with the model:
 * the first "done" bytes of data were read, and that succeeds while they fit.
 */
static void
step(TvReader *r, TvWriter *w, uint8_t op, size_t n, const uint8_t *data,
	 size_t len, size_t *done, bool *failed)
{
	static uint8_t scratch[256];
	const uint8_t *ref;
	uint64_t	v;

	if (*failed || n > len - *done)
		*failed = true;
	if (op % 3 == 0)
	{
		v = read_integer(r, n);
		check(!*failed || v == 0);
		write_integer(w, n, v);
	}
	else if (op % 3 == 1)
	{
		memset(scratch, 0xee, sizeof(scratch));
		tv_read_bytes(r, scratch, n);
		for (size_t i = 0; i < n && *failed; i++)
			check(scratch[i] == 0);
		check(*failed || n == 0 || memcmp(scratch, data + *done, n) == 0);
		tv_write_bytes(w, scratch, n);
	}
	else
	{
		ref = tv_read_ref(r, n);
		check((ref == NULL) == *failed);
		if (ref != NULL)
			tv_write_bytes(w, ref, n);
	}
	if (!*failed)
		*done += n;
	check(r->failed == *failed);
	check(tv_reader_left(r) == (*failed ? 0 : len - *done));
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	const size_t program = size / 2;
	const uint8_t *data = input + program;
	const size_t len = size - program;
	uint8_t    *copy = malloc(len + 1);
	TvReader	r;
	TvWriter	w;
	size_t		done = 0;
	bool		failed = false;

	if (copy == NULL)
		return 0;
	tv_reader_init(&r, data, len);
	tv_writer_init(&w, copy, len);
	for (size_t i = 0; i < program && !failed; i++)
	{
		uint8_t		op = input[i];
		size_t		n = op % 3 == 0 ? (size_t) 1 << (op / 3 % 4) : op / 3;

		step(&r, &w, op, n, data, len, &done, &failed);
		if (!failed)
			check(!w.failed && w.pos == done && memcmp(copy, data, done) == 0);
	}
	free(copy);
	return 0;
}
