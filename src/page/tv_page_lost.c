/*
 * tv_page_lost.c
 *	  Pages that recovery cannot read yet.  Only the startup process has any.
 */
#include "page/tv_page_lost.h"

#include "common/relpath.h"
#include "storage/bufpage.h"

#define LOST_MAX 4096			/* one a bucket that was being written */

typedef struct LostPage
{
	RelFileNode node;
	BlockNumber block;
} LostPage;

static LostPage lost[LOST_MAX];
static int	n_lost = 0;
static LostPage allowed;
static bool is_allowed = false;

static int
find(const RelFileNode *node, BlockNumber block)
{
	for (int i = 0; i < n_lost; i++)
	{
		if (lost[i].block == block && RelFileNodeEquals(lost[i].node, *node))
			return i;
	}
	return -1;
}

void
tv_page_lost_allow(const RelFileNode *node, BlockNumber block)
{
	is_allowed = node != NULL;
	if (is_allowed)
	{
		allowed.node = *node;
		allowed.block = block;
	}
}

bool
tv_page_lost_accept(const RelFileNode *node, BlockNumber block, char *page)
{
	if (!is_allowed || allowed.block != block || !RelFileNodeEquals(allowed.node, *node))
		return false;
	if (find(node, block) < 0)
	{
		if (n_lost >= LOST_MAX)
			return false;
		lost[n_lost].node = *node;
		lost[n_lost++].block = block;
	}
	PageInit((Page) page, BLCKSZ, 0);
	return true;
}

bool
tv_page_lost_any(void)
{
	return n_lost > 0;
}

void
tv_page_lost_restored(const RelFileNode *node, BlockNumber block)
{
	int			i = find(node, block);

	if (i >= 0)
		lost[i] = lost[--n_lost];
}

void
tv_page_lost_truncated(const RelFileNode *node, BlockNumber nblocks)
{
	for (int i = n_lost - 1; i >= 0; i--)
	{
		if (lost[i].block >= nblocks && RelFileNodeEquals(lost[i].node, *node))
			lost[i] = lost[--n_lost];
	}
}

void
tv_page_lost_check(void)
{
	if (n_lost == 0)
		return;
	ereport(FATAL,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("block %u of file \"%s\" cannot be decrypted, and WAL does not bring it back",
					lost[0].block, relpathperm(lost[0].node, MAIN_FORKNUM)),
			 errhint("Restore the cluster from a backup.")));
}
