/*
 * tv_page_checksum.c
 *	  The server's page checksum, compiled for the CPU at hand.
 *
 * The server's own copy is built for plain SSE2; the algorithm is meant to be
 * vectorised (storage/checksum_impl.h), and sealed pages need it once more
 * than plain ones.
 */
#include "page/tv_page_checksum.h"

#include "storage/bufpage.h"
#define pg_checksum_page tv_unused_checksum_page
extern uint16 tv_unused_checksum_page(char *page, BlockNumber blkno);
#include "storage/checksum_impl.h"
#undef pg_checksum_page

__attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
static uint32
checksum_block(const PGChecksummablePage *page)
{
	uint32		sums[N_SUMS];
	uint32		result = 0;

	memcpy(sums, checksumBaseOffsets, sizeof(checksumBaseOffsets));
	for (uint32 i = 0; i < (uint32) (BLCKSZ / (sizeof(uint32) * N_SUMS)); i++)
		for (uint32 j = 0; j < N_SUMS; j++)
			CHECKSUM_COMP(sums[j], page->data[i][j]);
	for (uint32 i = 0; i < 2; i++)
		for (uint32 j = 0; j < N_SUMS; j++)
			CHECKSUM_COMP(sums[j], 0);
	for (uint32 i = 0; i < N_SUMS; i++)
		result ^= sums[i];
	return result;
}

uint16
tv_page_checksum(const char *page, BlockNumber block)
{
	PageHeader	header = (PageHeader) page;
	uint16		saved = header->pd_checksum;
	uint32		checksum;

	/* the caller's page is private to it, so the field can be cleared */
	header->pd_checksum = 0;
	checksum = checksum_block((const PGChecksummablePage *) page);
	header->pd_checksum = saved;
	checksum ^= block;
	return (uint16) ((checksum % 65535) + 1);
}
