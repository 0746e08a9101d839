/*
 * tv_page_unlogged.c
 *	  Pages that the server changes without writing WAL.
 */
#include "page/tv_page_unlogged.h"

#include "access/spgist_private.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"

bool
tv_page_is_blank(const char *page)
{
	PageHeader	header = (PageHeader) page;

	/* index pages and sequences have a special area; heap pages have none */
	return XLogRecPtrIsInvalid(PageGetLSN(page)) &&
		header->pd_flags == 0 &&
		header->pd_lower == SizeOfPageHeaderData &&
		header->pd_upper == BLCKSZ &&
		header->pd_special == BLCKSZ;
}

/* The server's function, but for MarkBufferDirtyHint(). */
void
tv_page_spgist_update_meta(Relation index)
{
	SpGistCache *cache = (SpGistCache *) index->rd_amcache;
	SpGistMetaPageData *metadata;
	Buffer		buffer;
	Page		page;

	if (cache == NULL)
		return;
	buffer = ReadBuffer(index, SPGIST_METAPAGE_BLKNO);
	if (!ConditionalLockBuffer(buffer))
	{
		ReleaseBuffer(buffer);
		return;
	}
	page = BufferGetPage(buffer);
	metadata = SpGistPageGetMeta(page);
	metadata->lastUsedPages = cache->lastUsedPages;
	((PageHeader) page)->pd_lower =
		((char *) metadata + sizeof(SpGistMetaPageData)) - (char *) page;
	MarkBufferDirtyHint(buffer, true);
	UnlockReleaseBuffer(buffer);
}
