/*
 * tv_page_codec.h
 *	  Seal and open one page.
 */
#ifndef TV_PAGE_CODEC_H
#define TV_PAGE_CODEC_H

#include "postgres.h"

#include "page/tv_page_format.h"

/*
 * Seal the page in place (a private copy of it).  entry is filled for ciphers
 * with a nonce (its nonce is drawn here); self-contained ciphers pass NULL.
 * context belongs to identity->cipher.  server_checksums: the server checks
 * pages (DataChecksumsEnabled()).
 */
extern TvStatus tv_page_seal(const TvCipherContext *context,
							 const TvPageIdentity *identity,
							 bool server_checksums, char *page,
							 TvPageEntry *entry);

typedef enum TvPageFault
{
	TV_PAGE_GOOD,
	TV_PAGE_BAD_TAG,			/* ciphertext or identity does not verify */
	TV_PAGE_BAD_CHECKSUM		/* no tag; checksum of the sealed page is off */
} TvPageFault;

/*
 * Open the page in place and leave it as the server wrote it: flags without
 * key version, and a pd_checksum that the server accepts.  On a fault the
 * page's content is undefined.
 */
extern TvPageFault tv_page_open(const TvCipherContext *context,
								const TvPageIdentity *identity,
								bool server_checksums, char *page,
								const TvPageEntry *entry);

#endif							/* TV_PAGE_CODEC_H */
