/*
 * tv_page_codec.c
 *	  Seal and open one page.
 */
#include "page/tv_page_codec.h"

#include "page/tv_page_checksum.h"
#include "page/tv_page_nonce.h"

static TvStatus
seal_with_nonce(const TvCipherContext *context, const TvPageIdentity *identity,
				uint8_t *page, TvPageEntry *entry)
{
	uint8_t		plain[TV_PAGE_PAYLOAD];
	uint8_t		aad[TV_PAGE_AAD_LEN];
	size_t		aadlen = tv_cipher_has_tag((TvCipher) identity->cipher) ? sizeof(aad) : 0;
	TvStatus	status;

	tv_page_aad(identity, page, entry, aad);
	tv_page_next_nonce(entry->nonce);
	status = tv_cipher_seal(context, entry->nonce, aad, aadlen,
							page + TV_PAGE_CLEAR, page + TV_PAGE_CLEAR,
							TV_PAGE_PAYLOAD, entry->tag);

	/* one page in 65536: see TV_PAGE_SECOND_TWEAK */
	while (status == TV_OK && unlikely(tv_page_upper(page) == 0))
	{
		status = tv_cipher_open(context, entry->nonce, aad, aadlen,
								page + TV_PAGE_CLEAR, plain, TV_PAGE_PAYLOAD,
								entry->tag);
		if (status != TV_OK)
			break;
		tv_page_next_nonce(entry->nonce);
		status = tv_cipher_seal(context, entry->nonce, aad, aadlen, plain,
								page + TV_PAGE_CLEAR, TV_PAGE_PAYLOAD, entry->tag);
	}
	/* without a tag, remember bytes that no other write of the page has */
	if (aadlen == 0)
		memcpy(entry->tag, page + TV_PAGE_CLEAR, TV_TAG_LEN);
	return status;
}

static TvStatus
seal_with_tweak(const TvCipherContext *context, const TvPageIdentity *identity,
				uint8_t *page)
{
	uint8_t		plain[TV_PAGE_PAYLOAD];
	uint8_t		tweak[TV_TWEAK_LEN];
	TvStatus	status;

	tv_page_tweak(identity, false, tweak);
	status = tv_cipher_seal(context, tweak, NULL, 0, page + TV_PAGE_CLEAR,
							page + TV_PAGE_CLEAR, TV_PAGE_PAYLOAD, NULL);
	if (status != TV_OK || likely(tv_page_upper(page) != 0))
		return status;

	status = tv_cipher_open(context, tweak, NULL, 0, page + TV_PAGE_CLEAR, plain,
							TV_PAGE_PAYLOAD, NULL);
	if (status != TV_OK)
		return status;
	tv_page_tweak(identity, true, tweak);
	tv_page_set_flags(page, tv_page_flags(page) | TV_PAGE_SECOND_TWEAK);
	return tv_cipher_seal(context, tweak, NULL, 0, plain, page + TV_PAGE_CLEAR,
						  TV_PAGE_PAYLOAD, NULL);
}

TvStatus
tv_page_seal(const TvCipherContext *context, const TvPageIdentity *identity,
			 bool server_checksums, char *page, TvPageEntry *entry)
{
	uint8_t    *bytes = (uint8_t *) page;
	bool		has_tag = tv_cipher_has_tag((TvCipher) identity->cipher);
	TvStatus	status;

	if (entry)
	{
		entry->checksum = server_checksums ? tv_page_checksum_field(bytes) : 0;
		entry->flags = TV_ENTRY_IN_USE | (server_checksums ? TV_ENTRY_CHECKSUM_REAL : 0);
	}
	tv_page_set_flags(bytes, (tv_page_flags(bytes) & TV_PAGE_SERVER_FLAGS) |
					  (identity->epoch << TV_PAGE_EPOCH_SHIFT));
	tv_page_set_checksum_field(bytes, 0);
	status = entry ? seal_with_nonce(context, identity, bytes, entry) :
		seal_with_tweak(context, identity, bytes);
	if (status != TV_OK)
		return status;

	/*
	 * Tools check this if the server does; where no tag guards the page it is
	 * what finds damage.
	 */
	if (server_checksums || !has_tag)
		tv_page_set_checksum_field(bytes, tv_page_checksum(page, identity->block));
	return TV_OK;
}

TvPageFault
tv_page_open(const TvCipherContext *context, const TvPageIdentity *identity,
			 bool server_checksums, char *page, const TvPageEntry *entry)
{
	uint8_t    *bytes = (uint8_t *) page;
	uint8_t		aad[TV_PAGE_AAD_LEN];
	uint8_t		tweak[TV_TWEAK_LEN];
	uint16_t	flags = tv_page_flags(bytes);
	bool		has_tag = tv_cipher_has_tag((TvCipher) identity->cipher);
	TvStatus	status;

	/* under a tag it is 0 unless the server or a tool has set it */
	if ((!has_tag || server_checksums || tv_page_checksum_field(bytes) != 0) &&
		tv_page_checksum_field(bytes) != tv_page_checksum(page, identity->block))
		return TV_PAGE_BAD_CHECKSUM;
	if (entry && !has_tag && memcmp(entry->tag, bytes + TV_PAGE_CLEAR, TV_TAG_LEN) != 0)
		return TV_PAGE_BAD_TAG;

	if (entry)
	{
		tv_page_aad(identity, bytes, entry, aad);
		status = tv_cipher_open(context, entry->nonce, aad, has_tag ? sizeof(aad) : 0,
								bytes + TV_PAGE_CLEAR, bytes + TV_PAGE_CLEAR,
								TV_PAGE_PAYLOAD, entry->tag);
	}
	else
	{
		tv_page_tweak(identity, (flags & TV_PAGE_SECOND_TWEAK) != 0, tweak);
		status = tv_cipher_open(context, tweak, NULL, 0, bytes + TV_PAGE_CLEAR,
								bytes + TV_PAGE_CLEAR, TV_PAGE_PAYLOAD, NULL);
	}
	if (status != TV_OK)
		return TV_PAGE_BAD_TAG;

	tv_page_set_flags(bytes, flags & TV_PAGE_SERVER_FLAGS);
	if (entry && (entry->flags & TV_ENTRY_CHECKSUM_REAL))
		tv_page_set_checksum_field(bytes, entry->checksum);
	else if (server_checksums)
		tv_page_set_checksum_field(bytes, tv_page_checksum(page, identity->block));
	else
		tv_page_set_checksum_field(bytes, 0);
	return TV_PAGE_GOOD;
}
