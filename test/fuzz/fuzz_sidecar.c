/*
 * fuzz_sidecar.c
 *	  Arbitrary bytes as a sidecar and as a page: no crash, and what is
 *	  accepted is written back as it was.
 */
/* fuzz-needs: page */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "page/tv_page_format.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Fail loudly, also when assert() is compiled out. */
static void
require(bool condition)
{
	if (!condition)
		abort();
}

static void
read_header(const uint8_t *data, size_t size)
{
	TvSidecarHeader header;
	uint8_t		again[TV_SIDECAR_HEADER_USED];
	TvStatus	status = tv_sidecar_header_decode(data, size, &header);

	require((status == TV_ERR_TRUNCATED) == (size < TV_SIDECAR_HEADER_USED));
	require(status == TV_OK || status == TV_ERR_TRUNCATED || status == TV_ERR_CORRUPT || status == TV_ERR_VERSION);
	if (status != TV_OK)
		return;
	require(header.version <= TV_SIDECAR_VERSION);
	tv_sidecar_header_encode(&header, again);
	require(memcmp(again, data, 28) == 0);
}

/* The same bytes with a magic number and a right check. */
static void
read_checked_header(const uint8_t *data, size_t size)
{
	uint8_t		bytes[TV_SIDECAR_HEADER_USED] = {0};
	uint8_t		digest[SHA256_DIGEST_LENGTH];

	memcpy(bytes, data, size < sizeof(bytes) ? size : sizeof(bytes));
	memcpy(bytes, "TDEVSIDE", 8);
	SHA256(bytes, 32, digest);
	memcpy(bytes + 32, digest, 16);
	read_header(bytes, sizeof(bytes));
}

static void
read_entries(const uint8_t *data, size_t size)
{
	for (; size >= TV_ENTRY_SIZE; data += TV_ENTRY_SIZE, size -= TV_ENTRY_SIZE)
	{
		TvPageEntry entry;
		uint8_t		again[TV_ENTRY_SIZE];

		tv_entry_decode(data, &entry);
		tv_entry_encode(&entry, again);
		require(memcmp(again, data, sizeof(again)) == 0);
	}
}

/* The readable part of a page, under an identity from the same bytes. */
static void
read_page_header(const uint8_t *data, size_t size)
{
	uint8_t		page[TV_PAGE_SIZE] = {0};
	uint8_t		aad[TV_PAGE_AAD_LEN];
	uint8_t		tweak[TV_TWEAK_LEN];
	TvPageIdentity identity;
	TvPageEntry entry = {0};
	uint16_t	flags;

	memcpy(page, data, size < sizeof(page) ? size : sizeof(page));
	memset(&identity, 0, sizeof(identity));
	memcpy(&identity.key, page + 100, sizeof(identity.key));
	memcpy(&identity.block, page + 108, sizeof(identity.block));
	identity.fork = page[112] % 3;
	flags = tv_page_flags(page);
	require(tv_page_epoch_of(flags) <= TV_PAGE_EPOCH_MASK);
	tv_page_aad(&identity, page, &entry, aad);
	require(memcmp(aad, "TVP1", 4) == 0);
	tv_page_tweak(&identity, (flags & TV_PAGE_SECOND_TWEAK) != 0, tweak);
	tv_page_set_checksum_field(page, tv_page_checksum_field(page));
	tv_page_set_flags(page, flags);
	require(tv_page_flags(page) == flags);
	if (tv_page_is_zero(page))
		require(flags == 0 && tv_page_upper(page) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_header(data, size);
	read_checked_header(data, size);
	read_entries(data, size);
	read_page_header(data, size);
	return 0;
}
