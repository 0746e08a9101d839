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

#include <endian.h>
#include <string.h>

#include "base/tv_status.h"
#include "crypto/tv_cipher.h"

/*
 * Forms of a trailer, by how it names key and nonce.  FULL says all itself.
 * SHORT and COMPACT leave to the reader what the keyring can tell: the key is
 * that of the first encrypted file among the record's blocks, and the nonce
 * starts with the bytes of one of the server's starts.  COMPACT also leaves out
 * what the record's place tells (see tv_wal_nonce_format.h), and puts part of
 * the rest into two bytes of the record's header that the server does not use.
 * The tag tells whether the reader found the right ones, so a cipher without tag
 * takes FULL.  SHORT is only read, not written any more.  On disk: never
 * renumber; a form that is not here is of a newer version.
 */
typedef enum TvWalForm
{
	TV_WAL_FORM_FULL = 1,
	TV_WAL_FORM_SHORT = 2,
	TV_WAL_FORM_COMPACT = 3
} TvWalForm;

#define TV_WAL_FORM_NEWEST TV_WAL_FORM_COMPACT

#define TV_WAL_COUNTER_LEN 5	/* bytes of a nonce after its start's prefix */
#define TV_WAL_PREFIX_LEN (TV_NONCE_LEN - TV_WAL_COUNTER_LEN)
#define TV_WAL_TRAILER_MAX 40

typedef struct TvWalTrailer
{
	uint8_t		form;			/* TvWalForm */
	uint8_t		rmid;			/* resource manager that wrote the record */
	uint16_t	epoch;			/* version of the table key */
	uint8_t		cipher;			/* FULL: TvCipher of the message, never XTS */
	uint64_t	key;			/* FULL: table key id */
	uint8_t		nonce[TV_NONCE_LEN];	/* SHORT: without the prefix; COMPACT: no */
	uint16_t	counter;		/* COMPACT: the lowest bits of the nonce's counter */
	uint8_t		tag[TV_TAG_LEN];	/* none with AES-256-CTR */
} TvWalTrailer;

/* The cipher of WAL about files of that cipher; NONE if there is none. */
extern TvCipher tv_wal_cipher(TvCipher file_cipher);

/* The form for a cipher; prefix_known: the keyring knows this start's prefix. */
extern TvWalForm tv_wal_form(TvCipher cipher, bool prefix_known);

/*
 * Write the trailer to out (TV_WAL_TRAILER_MAX bytes); returns its length.
 * *spare: what the header's two bytes are to be, 0 but for COMPACT.
 */
extern size_t tv_wal_trailer_encode(const TvWalTrailer *trailer, uint8_t *out,
									uint16_t *spare);

/* --- the compact form: inline, as it is that of each record that is read --- */

#define TV_WAL_EPOCH_MAX 0x0fff

/* The header's two bytes, from bit 0: the counter's, then these. */
#define TV_WAL_SPARE_EPOCH_SHIFT 8
#define TV_WAL_SPARE_EPOCH_MAX 15	/* 0: in the trailer */
#define TV_WAL_SPARE_RMGR_SHIFT 12

/*
 * Resource managers in 4 bits.  0 is none, so that the header's bytes are never
 * 0.  The numbers are the server's (rmgrlist.h), those about blocks.
 */
#define TV_WAL_RMGR_XLOG 1		/* number 0 */
#define TV_WAL_RMGR_FIRST 2		/* number 9, and on */
#define TV_WAL_RMGR_LAST 14
#define TV_WAL_RMGR_IN_TRAILER 15
#define TV_WAL_RMGR_OFFSET 7

static inline uint8_t
tv_wal_rmgr_code(uint8_t rmid)
{
	if (rmid == 0)
		return TV_WAL_RMGR_XLOG;
	if (rmid >= TV_WAL_RMGR_FIRST + TV_WAL_RMGR_OFFSET &&
		rmid <= TV_WAL_RMGR_LAST + TV_WAL_RMGR_OFFSET)
		return rmid - TV_WAL_RMGR_OFFSET;
	return TV_WAL_RMGR_IN_TRAILER;
}

/*
 * tv_wal_trailer_decode() for a header's two bytes that are not 0.  Leaves the
 * nonce alone.  What has one spelling is accepted in no other.
 */
static inline TvStatus
tv_wal_trailer_decode_compact(const uint8_t *data, size_t len, uint16_t spare,
							  TvWalTrailer *trailer, size_t *used)
{
	uint8_t		code = spare >> TV_WAL_SPARE_RMGR_SHIFT;
	uint16_t	epoch = (spare >> TV_WAL_SPARE_EPOCH_SHIFT) & TV_WAL_SPARE_EPOCH_MAX;
	const uint8_t *at;

	trailer->form = TV_WAL_FORM_COMPACT;
	trailer->cipher = TV_CIPHER_NONE;
	trailer->key = 0;
	*used = TV_TAG_LEN + 1;
	if (epoch == 0)
		*used += 2;
	if (code == TV_WAL_RMGR_IN_TRAILER)
		*used += 1;
	if (code == 0)
		return TV_ERR_VERSION;
	if (len < *used)
		return TV_ERR_TRUNCATED;
	at = data + len - *used;
	memcpy(trailer->tag, at, TV_TAG_LEN);
	at += TV_TAG_LEN;
	if (epoch == 0)
	{
		epoch = (uint16_t) (at[0] | at[1] << 8);
		at += 2;
		if (epoch <= TV_WAL_SPARE_EPOCH_MAX || epoch > TV_WAL_EPOCH_MAX)
			return TV_ERR_CORRUPT;
	}
	if (code == TV_WAL_RMGR_IN_TRAILER)
	{
		trailer->rmid = *at++;
		if (tv_wal_rmgr_code(trailer->rmid) != TV_WAL_RMGR_IN_TRAILER)
			return TV_ERR_CORRUPT;
	}
	else
		trailer->rmid = code == TV_WAL_RMGR_XLOG ? 0 : code + TV_WAL_RMGR_OFFSET;
	trailer->epoch = epoch;
	trailer->counter = (uint16_t) ((spare & 0xff) | *at << 8);
	return TV_OK;
}

/* tv_wal_trailer_decode() for the other forms. */
extern TvStatus tv_wal_trailer_decode_long(const uint8_t *data, size_t len,
										   TvWalTrailer *trailer, size_t *used);

/*
 * Read the trailer at the end of len bytes of main data.  spare: the header's
 * two bytes.  *used: its length.  TV_ERR_TRUNCATED, TV_ERR_CORRUPT,
 * TV_ERR_VERSION.
 */
static inline TvStatus
tv_wal_trailer_decode(const uint8_t *data, size_t len, uint16_t spare,
					  TvWalTrailer *trailer, size_t *used)
{
	return spare != 0 ? tv_wal_trailer_decode_compact(data, len, spare, trailer, used) :
		tv_wal_trailer_decode_long(data, len, trailer, used);
}

/* --- additional authenticated data: the readable part of a record --- */

#define TV_WAL_BLOCKS_MAX 33	/* XLR_MAX_BLOCK_ID + 1 */
#define TV_WAL_AAD_HEAD_LEN 28
#define TV_WAL_AAD_BLOCK_MAX 28
#define TV_WAL_AAD_MAX (TV_WAL_AAD_HEAD_LEN + TV_WAL_BLOCKS_MAX * TV_WAL_AAD_BLOCK_MAX)

typedef struct TvWalHead
{
	uint8_t		form;			/* TvWalForm */
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

static inline uint8_t *
tv_wal_put16(uint8_t *out, uint16_t value)
{
	value = htole16(value);
	memcpy(out, &value, sizeof(value));
	return out + sizeof(value);
}

static inline uint8_t *
tv_wal_put32(uint8_t *out, uint32_t value)
{
	value = htole32(value);
	memcpy(out, &value, sizeof(value));
	return out + sizeof(value);
}

static inline uint8_t *
tv_wal_put64(uint8_t *out, uint64_t value)
{
	value = htole64(value);
	memcpy(out, &value, sizeof(value));
	return out + sizeof(value);
}

/*
 * Both append to the bytes at out and return the position after them.  Inline,
 * as they are part of each record that is written or read.
 */
static inline uint8_t *
tv_wal_aad_head(const TvWalHead *head, uint8_t *out)
{
	*out++ = head->form;
	*out++ = head->rmid;
	*out++ = head->info;
	*out++ = head->blocks;
	out = tv_wal_put16(out, head->epoch);
	out = tv_wal_put16(out, head->origin);
	out = tv_wal_put32(out, head->xid);
	out = tv_wal_put32(out, head->toplevel_xid);
	out = tv_wal_put32(out, head->main_len);
	return tv_wal_put64(out, head->key);
}

static inline uint8_t *
tv_wal_aad_block(const TvWalBlock *block, uint8_t *out)
{
	*out++ = block->id;
	*out++ = block->flags;
	*out++ = block->image_info;
	out = tv_wal_put16(out, block->data_len);
	out = tv_wal_put16(out, block->image_len);
	out = tv_wal_put16(out, block->hole_offset);
	out = tv_wal_put16(out, block->hole_length);
	out = tv_wal_put32(out, block->tablespace);
	out = tv_wal_put32(out, block->database);
	out = tv_wal_put32(out, block->relation);
	return tv_wal_put32(out, block->block);
}

#endif							/* TV_WAL_FORMAT_H */
