/*
 * tv_wal_format.c
 *	  Bytes of a sealed WAL record.
 */
#include "wal/tv_wal_format.h"

#include <string.h>

#include "base/tv_cursor.h"

/*
 * The end of every trailer: key version and cipher (2), resource manager (1),
 * format version and form (1).
 */
#define END_LEN 4
#define KEY_LEN 8
#define SHORT_REFERENCE_LEN (2 + 1)	/* number of the salt, check of the key */
#define EPOCH_MASK 0x0fff
#define CIPHER_SHIFT 12

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

size_t
tv_wal_tag_len(TvWalForm form, TvCipher cipher)
{
	if (!tv_cipher_has_tag(cipher))
		return 0;
	return form == TV_WAL_FORM_SHORT ? TV_WAL_SHORT_TAG_LEN : TV_TAG_LEN;
}

size_t
tv_wal_trailer_len(TvWalForm form, TvCipher cipher)
{
	if (!tv_cipher_has_nonce(cipher))
		return 0;
	switch (form)
	{
		case TV_WAL_FORM_FULL:
			return tv_wal_tag_len(form, cipher) + TV_NONCE_LEN + KEY_LEN + END_LEN;
		case TV_WAL_FORM_SHORT:
			/* without a tag nothing would tell a wrong key: say it in full */
			if (!tv_cipher_has_tag(cipher))
				return 0;
			return tv_wal_tag_len(form, cipher) + TV_WAL_COUNTER_LEN +
				SHORT_REFERENCE_LEN + END_LEN;
	}
	return 0;
}

size_t
tv_wal_trailer_encode(const TvWalTrailer *trailer, uint8_t *out)
{
	TvWalForm	form = (TvWalForm) trailer->form;
	TvWriter	w;

	tv_writer_init(&w, out, TV_WAL_TRAILER_MAX);
	tv_write_bytes(&w, trailer->tag, tv_wal_tag_len(form, (TvCipher) trailer->cipher));
	if (form == TV_WAL_FORM_SHORT)
	{
		tv_write_bytes(&w, trailer->nonce + TV_WAL_SALT_LEN, TV_WAL_COUNTER_LEN);
		tv_write_u16(&w, trailer->salt);
		tv_write_u8(&w, trailer->check);
	}
	else
	{
		tv_write_bytes(&w, trailer->nonce, TV_NONCE_LEN);
		tv_write_u64(&w, trailer->key);
	}
	tv_write_u16(&w, (trailer->epoch & EPOCH_MASK) | (trailer->cipher << CIPHER_SHIFT));
	tv_write_u8(&w, trailer->rmid);
	tv_write_u8(&w, TV_WAL_VERSION << 4 | form);
	return w.failed ? 0 : w.pos;
}

TvStatus
tv_wal_trailer_decode(const uint8_t *data, size_t len, TvWalTrailer *trailer, size_t *used)
{
	TvWalForm	form;
	TvReader	r;
	uint16_t	packed;
	uint8_t		last;

	memset(trailer, 0, sizeof(*trailer));
	if (len < END_LEN)
		return TV_ERR_TRUNCATED;
	tv_reader_init(&r, data + len - END_LEN, END_LEN);
	packed = tv_read_u16(&r);
	trailer->epoch = packed & EPOCH_MASK;
	trailer->cipher = packed >> CIPHER_SHIFT;
	trailer->rmid = tv_read_u8(&r);
	last = tv_read_u8(&r);
	if (last >> 4 > TV_WAL_VERSION)
		return TV_ERR_VERSION;
	form = (TvWalForm) (last & 0x0f);
	trailer->form = form;
	*used = tv_wal_trailer_len(form, (TvCipher) trailer->cipher);
	if (last >> 4 == 0 || *used == 0 || trailer->epoch == 0)
		return TV_ERR_CORRUPT;
	if (*used > len)
		return TV_ERR_TRUNCATED;

	tv_reader_init(&r, data + len - *used, *used);
	tv_read_bytes(&r, trailer->tag, tv_wal_tag_len(form, (TvCipher) trailer->cipher));
	if (form == TV_WAL_FORM_SHORT)
	{
		tv_read_bytes(&r, trailer->nonce + TV_WAL_SALT_LEN, TV_WAL_COUNTER_LEN);
		trailer->salt = tv_read_u16(&r);
		trailer->check = tv_read_u8(&r);
	}
	else
	{
		tv_read_bytes(&r, trailer->nonce, TV_NONCE_LEN);
		trailer->key = tv_read_u64(&r);
	}
	return r.failed ? TV_ERR_TRUNCATED : TV_OK;
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
	*out++ = TV_WAL_VERSION;
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
