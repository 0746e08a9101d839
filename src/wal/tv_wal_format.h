/*
 * tv_wal_format.h
 *	  Bytes of a sealed WAL record.  No PostgreSQL headers.
 *	  The layout is described in contrib/doc/formats.md.
 *
 * A sealed record keeps the server's frame: record header, block headers,
 * origin, top-level transaction id and the length of the main data stay
 * readable.  Page images, block data and main data are one message under the
 * WAL subkey of a table key; a trailer at the end of the main data holds what
 * opening it takes.  The trailer is read from its end.
 */
#ifndef TV_WAL_FORMAT_H
#define TV_WAL_FORMAT_H

#include "base/tv_status.h"
#include "crypto/tv_cipher.h"

#define TV_WAL_VERSION 1		/* newer: refuse, the server must be upgraded */

/*
 * Forms of a trailer, by how it names nonce and key.  FULL says all itself.
 * SHORT names the random part of the nonce by the number it has in the
 * keyring, and the key by the file of the record's first block; check tells
 * whether that is still the key.
 */
typedef enum TvWalForm
{
	TV_WAL_FORM_FULL = 1,
	TV_WAL_FORM_SHORT = 2
} TvWalForm;

#define TV_WAL_SHORT_TAG_LEN 12 /* NIST SP 800-38D, 5.2.1.2 */
#define TV_WAL_COUNTER_LEN 5	/* of a nonce; the rest is random, per start */
#define TV_WAL_SALT_LEN (TV_NONCE_LEN - TV_WAL_COUNTER_LEN)
#define TV_WAL_TRAILER_MAX 40

typedef struct TvWalTrailer
{
	uint8_t		form;			/* TvWalForm */
	uint8_t		cipher;			/* TvCipher of the message: never XTS */
	uint8_t		rmid;			/* resource manager that wrote the record */
	uint16_t	epoch;			/* version of the table key */
	uint64_t	key;			/* FULL: table key id */
	uint8_t		check;			/* SHORT: lowest byte of the table key id */
	uint16_t	salt;			/* SHORT: number of the nonce's random part */
	uint8_t		nonce[TV_NONCE_LEN];	/* SHORT: only the counter is stored */
	uint8_t		tag[TV_TAG_LEN];	/* SHORT: the first bytes of it */
} TvWalTrailer;

/* The cipher of WAL about files of that cipher; NONE if there is none. */
extern TvCipher tv_wal_cipher(TvCipher file_cipher);

/* How long a trailer is; 0 for what cannot be. */
extern size_t tv_wal_trailer_len(TvWalForm form, TvCipher cipher);

/* How many bytes of the tag a trailer holds. */
extern size_t tv_wal_tag_len(TvWalForm form, TvCipher cipher);

/* Write the trailer to out (TV_WAL_TRAILER_MAX bytes); returns its length. */
extern size_t tv_wal_trailer_encode(const TvWalTrailer *trailer, uint8_t *out);

/*
 * Read the trailer at the end of len bytes of main data.  *used: its length.
 * TV_ERR_TRUNCATED, TV_ERR_CORRUPT, TV_ERR_VERSION.
 */
extern TvStatus tv_wal_trailer_decode(const uint8_t *data, size_t len,
									  TvWalTrailer *trailer, size_t *used);

/* --- additional authenticated data: the readable part of a record --- */

#define TV_WAL_BLOCKS_MAX 33	/* XLR_MAX_BLOCK_ID + 1 */
#define TV_WAL_AAD_HEAD_MAX 32
#define TV_WAL_AAD_BLOCK_MAX 28
#define TV_WAL_AAD_MAX (TV_WAL_AAD_HEAD_MAX + TV_WAL_BLOCKS_MAX * TV_WAL_AAD_BLOCK_MAX)

typedef struct TvWalHead
{
	uint8_t		rmid;			/* that of the record before sealing */
	uint8_t		info;			/* xl_info */
	uint8_t		blocks;			/* number of block references */
	uint16_t	epoch;
	uint16_t	origin;
	uint32_t	xid;
	uint32_t	toplevel_xid;
	uint32_t	main_len;		/* of the main data without trailer */
	uint64_t	key;
} TvWalHead;

typedef struct TvWalBlock
{
	uint8_t		id;
	uint8_t		flags;			/* fork and BKPBLOCK_ flags */
	uint8_t		image_info;		/* BKPIMAGE_ flags */
	uint16_t	data_len;
	uint16_t	image_len;		/* 0: no image */
	uint16_t	hole_offset;
	uint16_t	hole_length;
	uint32_t	tablespace;
	uint32_t	database;
	uint32_t	relation;
	uint32_t	block;
} TvWalBlock;

/* Both append to the bytes at out and return the position after them. */
extern uint8_t *tv_wal_aad_head(const TvWalHead *head, uint8_t *out);
extern uint8_t *tv_wal_aad_block(const TvWalBlock *block, uint8_t *out);

#endif							/* TV_WAL_FORMAT_H */
