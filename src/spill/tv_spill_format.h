/*
 * tv_spill_format.h
 *	  Bytes of a temporary file.  No PostgreSQL headers.
 *	  Key, nonce and what is authenticated: contrib/doc/formats.md.
 *
 * The server sees a file of so many bytes, and reads and writes any of them.
 * On disk it is a row of units, each TV_SPILL_UNIT of those bytes (the last
 * one may be shorter) behind a header of TV_SPILL_HEADER bytes:
 *
 *	 0	 4	magic and version, "TVS1"
 *	 4	 2	bytes in this unit, 1 to TV_SPILL_UNIT
 *	 6	 2	zero
 *	 8	 8	number of this write, never the same under one key
 *	16	16	tag
 */
#ifndef TV_SPILL_FORMAT_H
#define TV_SPILL_FORMAT_H

#include "crypto/tv_cipher.h"

#define TV_SPILL_VERSION 1		/* the magic's last character */
#define TV_SPILL_UNIT 8192
#define TV_SPILL_HEADER 32
#define TV_SPILL_STRIDE (TV_SPILL_HEADER + TV_SPILL_UNIT)
#define TV_SPILL_PATH_MAX 1024
#define TV_SPILL_AAD_MAX (16 + 8 + TV_SPILL_PATH_MAX)

typedef struct TvSpillHeader
{
	uint16_t	length;
	uint64_t	number;
	uint8_t		tag[TV_TAG_LEN];
} TvSpillHeader;

extern void tv_spill_header_encode(const TvSpillHeader *header, uint8_t out[TV_SPILL_HEADER]);

/* TV_ERR_TRUNCATED, TV_ERR_CORRUPT or TV_ERR_VERSION when it is none. */
extern TvStatus tv_spill_header_decode(const uint8_t *data, size_t len, TvSpillHeader *header);

/* The nonce of a write: "TVS1" and its number. */
extern void tv_spill_nonce(const TvSpillHeader *header, uint8_t nonce[TV_NONCE_LEN]);

/*
 * What the tag covers besides the bytes: the header before it, the place of
 * the unit and the path of the file.  Returns the length; 0 if path is too
 * long.
 */
extern size_t tv_spill_aad(const TvSpillHeader *header, uint64_t unit, const char *path,
						   uint8_t aad[TV_SPILL_AAD_MAX]);

/* Bytes that the server sees of a file, and what it takes on disk. */
extern int64_t tv_spill_visible_size(int64_t on_disk);
extern int64_t tv_spill_disk_size(int64_t visible);

#endif							/* TV_SPILL_FORMAT_H */
