/*
 * tv_page_format.c
 *	  Bytes of a sealed page and of its sidecar.
 */
#include "page/tv_page_format.h"

#include <string.h>
#include <openssl/sha.h>

#include "base/tv_cursor.h"

#define OFFSET_CHECKSUM 8		/* bufpage.h, PageHeaderData */
#define OFFSET_FLAGS 10
#define OFFSET_UPPER 14

static const uint8_t sidecar_magic[8] = {'T', 'D', 'E', 'V', 'S', 'I', 'D', 'E'};

#define SIDECAR_CHECKED 32		/* header bytes its check covers */
#define SIDECAR_CHECK_LEN 16

void
tv_entry_encode(const TvPageEntry *entry, uint8_t out[TV_ENTRY_SIZE])
{
	memcpy(out, entry->nonce, TV_NONCE_LEN);
	memcpy(out + 12, entry->tag, TV_TAG_LEN);
	out[28] = (uint8_t) entry->checksum;
	out[29] = (uint8_t) (entry->checksum >> 8);
	out[30] = (uint8_t) entry->flags;
	out[31] = (uint8_t) (entry->flags >> 8);
}

void
tv_entry_decode(const uint8_t in[TV_ENTRY_SIZE], TvPageEntry *entry)
{
	memcpy(entry->nonce, in, TV_NONCE_LEN);
	memcpy(entry->tag, in + 12, TV_TAG_LEN);
	entry->checksum = (uint16_t) (in[28] | in[29] << 8);
	entry->flags = (uint16_t) (in[30] | in[31] << 8);
}

void
tv_page_aad(const TvPageIdentity *identity, const uint8_t *page,
			const TvPageEntry *entry, uint8_t aad[TV_PAGE_AAD_LEN])
{
	TvWriter	w;

	memset(aad, 0, TV_PAGE_AAD_LEN);
	tv_writer_init(&w, aad, TV_PAGE_AAD_LEN);
	tv_write_bytes(&w, "TVP1", 4);
	tv_write_u64(&w, identity->key);
	tv_write_u16(&w, identity->epoch);
	tv_write_u8(&w, identity->fork);
	tv_write_u8(&w, identity->cipher);
	tv_write_u32(&w, identity->relation);
	tv_write_u32(&w, identity->block);
	tv_write_bytes(&w, page, OFFSET_CHECKSUM);
	tv_write_bytes(&w, page + OFFSET_FLAGS, 2);
	tv_write_u16(&w, entry->checksum);
	tv_write_u16(&w, entry->flags);
}

void
tv_page_tweak(const TvPageIdentity *identity, bool second, uint8_t tweak[TV_TWEAK_LEN])
{
	TvWriter	w;

	memset(tweak, 0, TV_TWEAK_LEN);
	tv_writer_init(&w, tweak, TV_TWEAK_LEN);
	tv_write_u32(&w, identity->block);
	tv_write_u32(&w, identity->relation);
	tv_write_u8(&w, identity->fork);
	tv_write_u8(&w, second ? 1 : 0);
}

uint16_t
tv_page_flags(const uint8_t *page)
{
	uint16_t	flags;

	memcpy(&flags, page + OFFSET_FLAGS, sizeof(flags));
	return flags;
}

void
tv_page_set_flags(uint8_t *page, uint16_t flags)
{
	memcpy(page + OFFSET_FLAGS, &flags, sizeof(flags));
}

uint16_t
tv_page_checksum_field(const uint8_t *page)
{
	uint16_t	checksum;

	memcpy(&checksum, page + OFFSET_CHECKSUM, sizeof(checksum));
	return checksum;
}

void
tv_page_set_checksum_field(uint8_t *page, uint16_t checksum)
{
	memcpy(page + OFFSET_CHECKSUM, &checksum, sizeof(checksum));
}

uint16_t
tv_page_upper(const uint8_t *page)
{
	uint16_t	upper;

	memcpy(&upper, page + OFFSET_UPPER, sizeof(upper));
	return upper;
}

bool
tv_page_is_zero(const uint8_t *page)
{
	/* comparing a page with itself, shifted, is memcmp at full speed */
	return page[0] == 0 && memcmp(page, page + 1, TV_PAGE_SIZE - 1) == 0;
}

static void
sidecar_check(const uint8_t *data, uint8_t check[SIDECAR_CHECK_LEN])
{
	uint8_t		digest[SHA256_DIGEST_LENGTH];

	SHA256(data, SIDECAR_CHECKED, digest);
	memcpy(check, digest, SIDECAR_CHECK_LEN);
}

void
tv_sidecar_header_encode(const TvSidecarHeader *header, uint8_t out[TV_SIDECAR_HEADER_USED])
{
	TvWriter	w;

	memset(out, 0, TV_SIDECAR_HEADER_USED);
	tv_writer_init(&w, out, TV_SIDECAR_HEADER_USED);
	tv_write_bytes(&w, sidecar_magic, sizeof(sidecar_magic));
	tv_write_u32(&w, header->version);
	tv_write_u64(&w, header->key);
	tv_write_u32(&w, header->relation);
	tv_write_u32(&w, header->segment);
	sidecar_check(out, out + SIDECAR_CHECKED);
}

TvStatus
tv_sidecar_header_decode(const uint8_t *data, size_t len, TvSidecarHeader *header)
{
	TvReader	r;
	uint8_t		magic[sizeof(sidecar_magic)];
	uint8_t		check[SIDECAR_CHECK_LEN];

	memset(header, 0, sizeof(*header));
	if (len < TV_SIDECAR_HEADER_USED)
		return TV_ERR_TRUNCATED;
	tv_reader_init(&r, data, TV_SIDECAR_HEADER_USED);
	tv_read_bytes(&r, magic, sizeof(magic));
	header->version = tv_read_u32(&r);
	header->key = tv_read_u64(&r);
	header->relation = tv_read_u32(&r);
	header->segment = tv_read_u32(&r);
	sidecar_check(data, check);
	if (memcmp(magic, sidecar_magic, sizeof(magic)) != 0)
		return TV_ERR_CORRUPT;
	if (header->version > TV_SIDECAR_VERSION)
		return TV_ERR_VERSION;
	if (memcmp(check, data + SIDECAR_CHECKED, SIDECAR_CHECK_LEN) != 0)
		return TV_ERR_CORRUPT;
	return TV_OK;
}
