/*
 * tv_cursor.h
 *	  Bounds-checked reading and writing of outside bytes, field by field,
 *	  little-endian.  No PostgreSQL headers.
 *
 * A reader that runs past the end turns "failed" on and from then on returns
 * zeros, and a writer that runs out of room writes nothing more; the caller
 * checks once, after the last field.
 */
#ifndef TV_CURSOR_H
#define TV_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct TvReader
{
	const uint8_t *data;
	size_t		len;
	size_t		pos;
	bool		failed;
} TvReader;

typedef struct TvWriter
{
	uint8_t    *data;
	size_t		cap;
	size_t		pos;
	bool		failed;			/* did not fit */
} TvWriter;

/* Read len bytes at data, which stay the caller's. */
extern void tv_reader_init(TvReader *r, const void *data, size_t len);
/* The next number of that many bits; 0 on failure. */
extern uint8_t tv_read_u8(TvReader *r);
extern uint16_t tv_read_u16(TvReader *r);
extern uint32_t tv_read_u32(TvReader *r);
extern uint64_t tv_read_u64(TvReader *r);
/* Copy n bytes out; dst is zero-filled on failure. */
extern void tv_read_bytes(TvReader *r, void *dst, size_t n);
/* Borrow n bytes in place; NULL on failure. */
extern const uint8_t *tv_read_ref(TvReader *r, size_t n);
/* Bytes that were not read yet. */
extern size_t tv_reader_left(const TvReader *r);

/* Write to the cap bytes at data. */
extern void tv_writer_init(TvWriter *w, void *data, size_t cap);
/* Append a number of that many bits, or n bytes, if there is room. */
extern void tv_write_u8(TvWriter *w, uint8_t v);
extern void tv_write_u16(TvWriter *w, uint16_t v);
extern void tv_write_u32(TvWriter *w, uint32_t v);
extern void tv_write_u64(TvWriter *w, uint64_t v);
extern void tv_write_bytes(TvWriter *w, const void *src, size_t n);

#endif							/* TV_CURSOR_H */
