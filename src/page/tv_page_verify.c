/*
 * tv_page_verify.c
 *	  Check every page of a relation file on disk, not in the buffers.
 */
#include "page/tv_page_verify.h"

#include "miscadmin.h"
#include "storage/bufpage.h"

#include "base/tv_report.h"
#include "page/tv_page_open.h"
#include "page/tv_page_smgr.h"

#define RETRIES 20				/* of one page */
#define RETRIES_IN_ALL 2000		/* of a fork: a file full of damage must end */
#define RETRY_USEC 1000

/*
 * Open the page as it is on disk.  What has no tag can open to nonsense, which
 * the server's own check of a page then sees, as it does after reading.
 */
static TvPageVerdict
examine(SMgrRelation reln, ForkNumber fork, BlockNumber block)
{
	PGAlignedBlock page;
	TvPageExam	exam;
	TvPageFile *file = tv_page_file(reln->smgr_rnode);

	/* an interrupt may have closed the file since the page before */
	(void) tv_page_file_refresh(file);
	if (file->state == TV_STATE_UNRESOLVED && !tv_page_file_resolve(file))
		return TV_VERDICT_UNSEALED;
	tv_page_read_raw(reln, fork, block, page.data);
	tv_page_examine(file, fork, block, true, page.data, &exam);
	if (exam.verdict == TV_VERDICT_KEY_UNAVAILABLE)
		tv_report(ERROR, &exam.err);
	if (exam.verdict == TV_VERDICT_GOOD && !PageIsVerifiedExtended(page.data, block, 0))
		return TV_VERDICT_CHECKSUM;
	return exam.verdict;
}

/* Page and sidecar are two writes: between them a good page looks bad. */
static TvPageVerdict
check_page(SMgrRelation reln, ForkNumber fork, BlockNumber block, int *retries)
{
	TvPageVerdict verdict = examine(reln, fork, block);

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < RETRIES && *retries > 0; i++)
	{
		if (verdict == TV_VERDICT_GOOD || verdict == TV_VERDICT_NEW ||
			verdict == TV_VERDICT_PLAIN)
			break;
		(*retries)--;
		pg_usleep(RETRY_USEC);
		verdict = examine(reln, fork, block);
	}
	return verdict;
}

void
tv_page_verify_fork(SMgrRelation reln, ForkNumber fork, TvPageCounts *counts)
{
	TvPageFile *file = tv_page_file(reln->smgr_rnode);
	BlockNumber nblocks = tv_page_nblocks(reln, fork);
	int			retries = RETRIES_IN_ALL;
	TvError		err;

	(void) tv_page_file_refresh(file);
	if (file->state == TV_STATE_UNRESOLVED)
		(void) tv_page_file_resolve(file);
	counts->pages += nblocks;
	if (file->state != TV_STATE_SEALED)
	{
		counts->unsealed += nblocks;
		return;
	}
	if (tv_keyring_verify_file(&file->rnode.node, &err) != TV_OK)
		tv_report(ERROR, &err);
	for (BlockNumber block = 0; block < nblocks; block++)
	{
		switch (check_page(reln, fork, block, &retries))
		{
			case TV_VERDICT_GOOD:
			case TV_VERDICT_NEW:
				counts->sealed++;
				break;
			case TV_VERDICT_UNSEALED:
			case TV_VERDICT_PLAIN:
				counts->unsealed++;
				break;
			default:
				counts->bad++;
				break;
		}
	}
}
