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
 */
#define END_LEN 3
#define FULL_LEN (TV_NONCE_LEN + 8 + 1)
#define EPOCH_MASK 0x0fff
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
	return prefix_known && tv_cipher_has_tag(cipher) ? TV_WAL_FORM_SHORT : TV_WAL_FORM_FULL;
}

static size_t
tag_len(TvCipher cipher)
{
	return tv_cipher_has_tag(cipher) ? TV_TAG_LEN : 0;
}

size_t
tv_wal_trailer_encode(const TvWalTrailer *trailer, uint8_t *out)
{
	TvWriter	w;

	tv_writer_init(&w, out, TV_WAL_TRAILER_MAX);
	if (trailer->form == TV_WAL_FORM_SHORT)
	{
		tv_write_bytes(&w, trailer->tag, TV_TAG_LEN);
		tv_write_bytes(&w, trailer->nonce + TV_WAL_PREFIX_LEN, TV_WAL_COUNTER_LEN);
	}
	else
	{
		tv_write_bytes(&w, trailer->tag, tag_len((TvCipher) trailer->cipher));
		tv_write_bytes(&w, trailer->nonce, TV_NONCE_LEN);
		tv_write_u64(&w, trailer->key);
		tv_write_u8(&w, trailer->cipher);
	}
	tv_write_u8(&w, trailer->rmid);
	tv_write_u16(&w, (trailer->epoch & EPOCH_MASK) | (trailer->form << FORM_SHIFT));
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
tv_wal_trailer_decode(const uint8_t *data, size_t len, TvWalTrailer *trailer, size_t *used)
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
	trailer->epoch = last & EPOCH_MASK;
	trailer->form = last >> FORM_SHIFT;
	if (trailer->form == 0 || trailer->epoch == 0)
		return TV_ERR_CORRUPT;
	switch ((TvWalForm) trailer->form)
	{
		case TV_WAL_FORM_FULL:
			return decode_full(data, len, trailer, used);
		case TV_WAL_FORM_SHORT:
			return decode_short(data, len, trailer, used);
	}
	return TV_ERR_VERSION;
}

static uint8_t *
put16(uint8_t *out, uint16_t value)
{
	out[0] = (uint8_t) value;
	out[1] = (uint8_t) (value >> 8);
	return out + 2;
}

static uint8_t *
put32(uint8_t *out, uint32_t value)
{
	return put16(put16(out, (uint16_t) value), (uint16_t) (value >> 16));
}

static uint8_t *
put64(uint8_t *out, uint64_t value)
{
	return put32(put32(out, (uint32_t) value), (uint32_t) (value >> 32));
}

uint8_t *
tv_wal_aad_head(const TvWalHead *head, uint8_t *out)
{
	*out++ = head->form;
	*out++ = head->rmid;
	*out++ = head->info;
	*out++ = head->blocks;
	out = put16(out, head->epoch);
	out = put16(out, head->origin);
	out = put32(out, head->xid);
	out = put32(out, head->toplevel_xid);
	out = put32(out, head->main_len);
	return put64(out, head->key);
}

uint8_t *
tv_wal_aad_block(const TvWalBlock *block, uint8_t *out)
{
	*out++ = block->id;
	*out++ = block->flags;
	*out++ = block->image_info;
	out = put16(out, block->data_len);
	out = put16(out, block->image_len);
	out = put16(out, block->hole_offset);
	out = put16(out, block->hole_length);
	out = put32(out, block->tablespace);
	out = put32(out, block->database);
	out = put32(out, block->relation);
	return put32(out, block->block);
}
