/*
 * tv_page_verify.c
 *	  Check every page of a relation file on disk, not in the buffers.
 */
#include "page/tv_page_verify.h"

#include "miscadmin.h"

#include "base/tv_report.h"
#include "page/tv_page_open.h"
#include "page/tv_page_smgr.h"

#define RETRIES 50
#define RETRY_USEC 1000

static TvPageVerdict
check_page(TvPageFile *file, SMgrRelation reln, ForkNumber fork, BlockNumber block)
{
	PGAlignedBlock page;
	TvPageExam	exam;

	/* page and sidecar are two writes: between them a good page looks bad */
	for (int i = 0; i < RETRIES; i++)
	{
		CHECK_FOR_INTERRUPTS();
		tv_page_read_raw(reln, fork, block, page.data);
		tv_page_examine(file, fork, block, true, page.data, &exam);
		if (exam.verdict == TV_VERDICT_GOOD || exam.verdict == TV_VERDICT_NEW)
			break;
		if (exam.verdict == TV_VERDICT_KEY_UNAVAILABLE)
			tv_report(ERROR, &exam.err);
		pg_usleep(RETRY_USEC);
	}
	return exam.verdict;
}

void
tv_page_verify_fork(SMgrRelation reln, ForkNumber fork, TvPageCounts *counts)
{
	TvPageFile *file = tv_page_file(reln->smgr_rnode);
	BlockNumber nblocks = tv_page_nblocks(reln, fork);
	TvError		err;

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
		switch (check_page(file, reln, fork, block))
		{
			case TV_VERDICT_GOOD:
			case TV_VERDICT_NEW:
				counts->sealed++;
				break;
			case TV_VERDICT_UNSEALED:
				counts->unsealed++;
				break;
			default:
				counts->bad++;
				break;
		}
	}
}
