/*
 * tv_cursor.c
 *	  Bounds-checked reading and writing of outside bytes, little-endian.
 *
 * Invariant of both cursors: pos <= len (or cap), always.  Once failed is
 * set it stays set, pos no longer moves, and the data is not touched again.
 */
#include "base/tv_cursor.h"

#include <string.h>

/*
 * Start reading len bytes at data.  data may be NULL when len is 0.
 */
void
tv_reader_init(TvReader *r, const void *data, size_t len)
{
	r->data = data;
	r->len = (data == NULL) ? 0 : len;
	r->pos = 0;
	r->failed = (data == NULL && len > 0);
}

/*
 * How many bytes are left; 0 after a failure.
 */
size_t
tv_reader_left(const TvReader *r)
{
	return r->failed ? 0 : r->len - r->pos;
}

/*
 * Borrow n bytes in place and move past them; NULL if there are fewer.
 */
const uint8_t *
tv_read_ref(TvReader *r, size_t n)
{
	static const uint8_t nothing[1];
	const uint8_t *p;

	if (r->failed || n > r->len - r->pos)
	{
		r->failed = true;
		return NULL;
	}
	if (r->data == NULL)
		return nothing;			/* n is 0: a valid pointer, not a failure */
	p = r->data + r->pos;
	r->pos += n;
	return p;
}

/*
 * Copy n bytes out; dst is zero-filled on failure.
 */
void
tv_read_bytes(TvReader *r, void *dst, size_t n)
{
	const uint8_t *p = tv_read_ref(r, n);

	if (n == 0)
		return;
	if (p == NULL)
		memset(dst, 0, n);
	else
		memcpy(dst, p, n);
}

/*
 * Read an unsigned little-endian integer of n (<= 8) bytes; 0 on failure.
 */
static uint64_t
read_le(TvReader *r, size_t n)
{
	const uint8_t *p = tv_read_ref(r, n);
	uint64_t	v = 0;

	if (p == NULL)
		return 0;
	for (size_t i = 0; i < n; i++)
		v |= (uint64_t) p[i] << (8 * i);
	return v;
}

/* Read one byte; 0 on failure. */
uint8_t
tv_read_u8(TvReader *r)
{
	return (uint8_t) read_le(r, 1);
}

/* Read a 16-bit integer; 0 on failure. */
uint16_t
tv_read_u16(TvReader *r)
{
	return (uint16_t) read_le(r, 2);
}

/* Read a 32-bit integer; 0 on failure. */
uint32_t
tv_read_u32(TvReader *r)
{
	return (uint32_t) read_le(r, 4);
}

/* Read a 64-bit integer; 0 on failure. */
uint64_t
tv_read_u64(TvReader *r)
{
	return read_le(r, 8);
}

/*
 * Start writing into cap bytes at data.  data may be NULL when cap is 0.
 */
void
tv_writer_init(TvWriter *w, void *data, size_t cap)
{
	w->data = data;
	w->cap = (data == NULL) ? 0 : cap;
	w->pos = 0;
	w->failed = (data == NULL && cap > 0);
}

/*
 * Append n bytes, all or nothing.
 */
void
tv_write_bytes(TvWriter *w, const void *src, size_t n)
{
	if (w->failed || n > w->cap - w->pos)
	{
		w->failed = true;
		return;
	}
	if (n == 0)
		return;
	memcpy(w->data + w->pos, src, n);
	w->pos += n;
}

/*
 * Append the low n (<= 8) bytes of v, least significant first.
 */
static void
write_le(TvWriter *w, uint64_t v, size_t n)
{
	uint8_t		b[8];

	for (size_t i = 0; i < n; i++)
		b[i] = (uint8_t) (v >> (8 * i));
	tv_write_bytes(w, b, n);
}

/* Append one byte. */
void
tv_write_u8(TvWriter *w, uint8_t v)
{
	write_le(w, v, 1);
}

/* Append a 16-bit integer. */
void
tv_write_u16(TvWriter *w, uint16_t v)
{
	write_le(w, v, 2);
}

/* Append a 32-bit integer. */
void
tv_write_u32(TvWriter *w, uint32_t v)
{
	write_le(w, v, 4);
}

/* Append a 64-bit integer. */
void
tv_write_u64(TvWriter *w, uint64_t v)
{
	write_le(w, v, 8);
}
