/*
 * tv_spill_format.c
 *	  Bytes of a temporary file.
 */
#include "spill/tv_spill_format.h"

#include <string.h>

#include "base/tv_cursor.h"

#define CLEAR_LEN (TV_SPILL_HEADER - TV_TAG_LEN)

static const uint8_t magic[4] = {'T', 'V', 'S', '0' + TV_SPILL_VERSION};

static void
encode_clear(const TvSpillHeader *header, TvWriter *w)
{
	tv_write_bytes(w, magic, sizeof(magic));
	tv_write_u16(w, header->length);
	tv_write_u16(w, 0);
	tv_write_u64(w, header->number);
}

void
tv_spill_header_encode(const TvSpillHeader *header, uint8_t out[TV_SPILL_HEADER])
{
	TvWriter	w;

	tv_writer_init(&w, out, TV_SPILL_HEADER);
	encode_clear(header, &w);
	tv_write_bytes(&w, header->tag, TV_TAG_LEN);
}

TvStatus
tv_spill_header_decode(const uint8_t *data, size_t len, TvSpillHeader *header)
{
	TvReader	r;
	uint8_t		found[sizeof(magic)];
	uint16_t	zero;

	tv_reader_init(&r, data, len);
	tv_read_bytes(&r, found, sizeof(found));
	header->length = tv_read_u16(&r);
	zero = tv_read_u16(&r);
	header->number = tv_read_u64(&r);
	tv_read_bytes(&r, header->tag, TV_TAG_LEN);
	if (r.failed)
		return TV_ERR_TRUNCATED;
	if (memcmp(found, magic, 3) != 0)
		return TV_ERR_CORRUPT;
	if (found[3] != magic[3])
		return TV_ERR_VERSION;
	if (zero != 0 || header->length == 0 || header->length > TV_SPILL_UNIT)
		return TV_ERR_CORRUPT;
	return TV_OK;
}

void
tv_spill_nonce(const TvSpillHeader *header, uint8_t nonce[TV_NONCE_LEN])
{
	TvWriter	w;

	tv_writer_init(&w, nonce, TV_NONCE_LEN);
	tv_write_bytes(&w, magic, sizeof(magic));
	tv_write_u64(&w, header->number);
}

size_t
tv_spill_aad(const TvSpillHeader *header, uint64_t unit, const char *path,
			 uint8_t aad[TV_SPILL_AAD_MAX])
{
	size_t		len = strlen(path);
	TvWriter	w;

	if (len > TV_SPILL_PATH_MAX)
		return 0;
	tv_writer_init(&w, aad, TV_SPILL_AAD_MAX);
	encode_clear(header, &w);
	tv_write_u64(&w, unit);
	tv_write_bytes(&w, path, len);
	return CLEAR_LEN + sizeof(unit) + len;
}

int64_t
tv_spill_visible_size(int64_t on_disk)
{
	int64_t		rest = on_disk % TV_SPILL_STRIDE;

	return on_disk / TV_SPILL_STRIDE * TV_SPILL_UNIT +
		(rest > TV_SPILL_HEADER ? rest - TV_SPILL_HEADER : 0);
}

int64_t
tv_spill_disk_size(int64_t visible)
{
	int64_t		rest = visible % TV_SPILL_UNIT;

	return visible / TV_SPILL_UNIT * TV_SPILL_STRIDE +
		(rest > 0 ? rest + TV_SPILL_HEADER : 0);
}
