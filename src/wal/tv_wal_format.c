/*
 * tv_wal_format.c
 *	  Bytes of a sealed WAL record.
 */
#include "wal/tv_wal_format.h"

#include <string.h>

#include "base/tv_cursor.h"

/*
 * FULL:  tag (16, if the cipher has one), nonce (12), key (8), cipher (1)
 * SHORT: tag (16), counter of the nonce (5)
 *
 * and at the end of either: resource manager (1), version of the key (12 bits)
 * and form (4 bits).
 *
 * COMPACT: tag (16); version of the key (2) if it is not in the header; resource
 * manager (1) if it is not there; bits 8 to 15 of the counter (1).  In the header:
 * bits 0 to 7 of the counter (8 bits), version of the key (4 bits; 0: in the
 * trailer), resource manager (4 bits).
 */
#define END_LEN 3
#define FULL_LEN (TV_NONCE_LEN + 8 + 1)
#define FORM_SHIFT 12

TvCipher
tv_wal_cipher(TvCipher file_cipher)
{
	switch (file_cipher)
	{
		case TV_CIPHER_AES_256_GCM:
		case TV_CIPHER_CHACHA20_POLY1305:
		case TV_CIPHER_AES_256_CTR:
			return file_cipher;
		case TV_CIPHER_AES_256_XTS:
			/* a record has room for nonce and tag, unlike such a file */
			return TV_CIPHER_AES_256_GCM;
		case TV_CIPHER_NONE:
			break;
	}
	return TV_CIPHER_NONE;
}

TvWalForm
tv_wal_form(TvCipher cipher, bool prefix_known)
{
	return prefix_known && tv_cipher_has_tag(cipher) ? TV_WAL_FORM_COMPACT : TV_WAL_FORM_FULL;
}

static size_t
tag_len(TvCipher cipher)
{
	return tv_cipher_has_tag(cipher) ? TV_TAG_LEN : 0;
}

static void
encode_compact(const TvWalTrailer *trailer, TvWriter *w, uint16_t *spare)
{
	uint8_t		code = tv_wal_rmgr_code(trailer->rmid);
	uint16_t	epoch = trailer->epoch <= TV_WAL_SPARE_EPOCH_MAX ? trailer->epoch : 0;

	tv_write_bytes(w, trailer->tag, TV_TAG_LEN);
	if (epoch == 0)
		tv_write_u16(w, trailer->epoch);
	if (code == TV_WAL_RMGR_IN_TRAILER)
		tv_write_u8(w, trailer->rmid);
	tv_write_u8(w, trailer->counter >> 8);
	*spare = (uint16_t) ((trailer->counter & 0xff) | (epoch << TV_WAL_SPARE_EPOCH_SHIFT) |
						 (code << TV_WAL_SPARE_RMGR_SHIFT));
}

size_t
tv_wal_trailer_encode(const TvWalTrailer *trailer, uint8_t *out, uint16_t *spare)
{
	TvWriter	w;

	*spare = 0;
	tv_writer_init(&w, out, TV_WAL_TRAILER_MAX);
	switch ((TvWalForm) trailer->form)
	{
		case TV_WAL_FORM_COMPACT:
			encode_compact(trailer, &w, spare);
			return w.failed ? 0 : w.pos;
		case TV_WAL_FORM_SHORT:
			tv_write_bytes(&w, trailer->tag, TV_TAG_LEN);
			tv_write_bytes(&w, trailer->nonce + TV_WAL_PREFIX_LEN, TV_WAL_COUNTER_LEN);
			break;
		case TV_WAL_FORM_FULL:
			tv_write_bytes(&w, trailer->tag, tag_len((TvCipher) trailer->cipher));
			tv_write_bytes(&w, trailer->nonce, TV_NONCE_LEN);
			tv_write_u64(&w, trailer->key);
			tv_write_u8(&w, trailer->cipher);
			break;
	}
	tv_write_u8(&w, trailer->rmid);
	tv_write_u16(&w, (trailer->epoch & TV_WAL_EPOCH_MAX) | (trailer->form << FORM_SHIFT));
	return w.failed ? 0 : w.pos;
}

/* The part before the end, of a trailer whose form is known. */
static TvStatus
decode_full(const uint8_t *data, size_t len, TvWalTrailer *trailer, size_t *used)
{
	TvReader	r;
	size_t		tag;

	if (len < FULL_LEN + END_LEN)
		return TV_ERR_TRUNCATED;
	tv_reader_init(&r, data + len - FULL_LEN - END_LEN, FULL_LEN);
	tv_read_bytes(&r, trailer->nonce, TV_NONCE_LEN);
	trailer->key = tv_read_u64(&r);
	trailer->cipher = tv_read_u8(&r);
	if (tv_wal_cipher((TvCipher) trailer->cipher) != (TvCipher) trailer->cipher ||
		trailer->cipher == TV_CIPHER_NONE)
		return TV_ERR_CORRUPT;
	tag = tag_len((TvCipher) trailer->cipher);
	*used = tag + FULL_LEN + END_LEN;
	if (len < *used)
		return TV_ERR_TRUNCATED;
	memcpy(trailer->tag, data + len - *used, tag);
	return TV_OK;
}

static TvStatus
decode_short(const uint8_t *data, size_t len, TvWalTrailer *trailer, size_t *used)
{
	TvReader	r;

	*used = TV_TAG_LEN + TV_WAL_COUNTER_LEN + END_LEN;
	if (len < *used)
		return TV_ERR_TRUNCATED;
	tv_reader_init(&r, data + len - *used, *used);
	tv_read_bytes(&r, trailer->tag, TV_TAG_LEN);
	tv_read_bytes(&r, trailer->nonce + TV_WAL_PREFIX_LEN, TV_WAL_COUNTER_LEN);
	return TV_OK;
}

TvStatus
tv_wal_trailer_decode_long(const uint8_t *data, size_t len, TvWalTrailer *trailer,
						   size_t *used)
{
	TvReader	r;
	uint16_t	last;

	memset(trailer, 0, sizeof(*trailer));
	*used = 0;
	if (len < END_LEN)
		return TV_ERR_TRUNCATED;
	tv_reader_init(&r, data + len - END_LEN, END_LEN);
	trailer->rmid = tv_read_u8(&r);
	last = tv_read_u16(&r);
	trailer->epoch = last & TV_WAL_EPOCH_MAX;
	trailer->form = last >> FORM_SHIFT;
	if (trailer->form == 0 || trailer->epoch == 0)
		return TV_ERR_CORRUPT;
	switch ((TvWalForm) trailer->form)
	{
		case TV_WAL_FORM_FULL:
			return decode_full(data, len, trailer, used);
		case TV_WAL_FORM_SHORT:
			return decode_short(data, len, trailer, used);
		case TV_WAL_FORM_COMPACT:
			return TV_ERR_CORRUPT;	/* it is not told by a trailer's end */
	}
	return TV_ERR_VERSION;
}
