/*
 * tv_worker_walk.c
 *	  Walking the files of a table key, page by page.
 *
 * What is to be done is in the pages themselves: each says under which version
 * of the key it is sealed.  So a walk that was cut off begins anew and only
 * reads what it has done before.
 */
#include "worker/tv_worker_internal.h"

#include "access/relation.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/guc.h"
#include "utils/relfilenodemap.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/tv_settings.h"
#include "page/tv_page_renew.h"
#include "page/tv_page_smgr.h"

#define COST_LOOK 1				/* a page that is up to date */
#define COST_RENEW 20			/* one that is not: read, logged, written */
#define BATCH_USEC 100000		/* longest time with a lock on a relation */
#define BATCH_LOOK 4096			/* pages, at most */

static int	cost_balance = 0;

/* As vacuum_delay_point(): rest when enough was done. */
static void
rest(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	if (tv_setting_worker_cost_delay <= 0 || cost_balance < tv_setting_worker_cost_limit)
		return;
	cost_balance = 0;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 tv_setting_worker_cost_delay, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

Relation
tv_worker_open_owner(const RelFileNode *node)
{
	Oid			relid = RelidByRelfilenode(node->spcNode, node->relNode);
	Relation	rel;

	if (!OidIsValid(relid))
		return NULL;
	rel = try_relation_open(relid, AccessShareLock);
	if (rel != NULL && !RelFileNodeEquals(rel->rd_node, *node))
	{
		relation_close(rel, AccessShareLock);
		return NULL;
	}
	return rel;
}

typedef struct Progress
{
	uint64		looked;
	uint64		renewed;
} Progress;

static void
add_progress(TvWorkerOperation *operation, void *argument)
{
	const Progress *progress = argument;

	operation->pages_done += progress->looked;
	if (operation->pages_done > operation->pages_total)
		operation->pages_total = operation->pages_done;
	operation->rewritten += progress->renewed;
}

/* Blocks of fork from *block on, for a while; true when the end was reached. */
static bool
do_batch(Relation rel, ForkNumber fork, BlockNumber *block, XLogRecPtr since,
		 BufferAccessStrategy strategy, Progress *progress)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BATCH_USEC / 1000);
	BlockNumber nblocks = tv_page_nblocks(RelationGetSmgr(rel), fork);

	for (int looked = 0; *block < nblocks; looked++, (*block)++)
	{
		if (looked >= BATCH_LOOK || (looked % 16 == 15 && GetCurrentTimestamp() >= end) ||
			(tv_setting_worker_cost_delay > 0 && cost_balance >= tv_setting_worker_cost_limit))
			return false;
		CHECK_FOR_INTERRUPTS();
		progress->looked++;
		cost_balance += COST_LOOK;
		if (tv_page_is_current(rel, fork, *block, since) ||
			!tv_page_renew(rel, fork, *block, since, strategy))
			continue;
		progress->renewed++;
		cost_balance += COST_RENEW;
	}
	return true;
}

/* Walk one file.  false: the walk is to stop. */
static bool
walk_file(TvWorkerWalk *walk, const RelFileNode *node, BufferAccessStrategy strategy,
		  TvWorkerPass *pass)
{
	ForkNumber	fork = MAIN_FORKNUM;
	BlockNumber block = 0;

	while (fork <= MAX_FORKNUM)
	{
		Progress	progress = {0, 0};
		Relation	rel;
		bool		end;

		if (walk->stop(walk->argument))
			return false;
		StartTransactionCommand();
		rel = tv_worker_open_owner(node);
		if (rel == NULL)
		{
			CommitTransactionCommand();
			pass->hidden++;
			return true;
		}
		end = do_batch(rel, fork, &block, walk->since, strategy, &progress);
		relation_close(rel, AccessShareLock);
		CommitTransactionCommand();
		if (end)
		{
			fork++;
			block = 0;
		}
		pass->stale += progress.renewed;
		tv_worker_change(walk->slot, add_progress, &progress);
		rest();
	}
	return true;
}

bool
tv_worker_pass(TvWorkerWalk *walk, TvWorkerPass *pass)
{
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKWRITE);
	uint32		slot = 0;
	RelFileNode node;
	TvKeyringFile known;
	bool		result = true;

	memset(pass, 0, sizeof(*pass));
	while (result && tv_keyring_next_file(walk->key, &slot, &node, &known))
	{
		if (OidIsValid(node.spcNode))
			result = walk_file(walk, &node, strategy, pass);
	}
	FreeAccessStrategy(strategy);
	return result;
}

void
tv_worker_flush(uint64 key)
{
	uint32		slot = 0;
	RelFileNode node;
	TvKeyringFile known;

	while (tv_keyring_next_file(key, &slot, &node, &known))
	{
		Relation	rel;

		if (!OidIsValid(node.spcNode))
			continue;
		StartTransactionCommand();
		rel = tv_worker_open_owner(&node);
		if (rel != NULL)
		{
			FlushRelationBuffers(rel);
			relation_close(rel, AccessShareLock);
		}
		CommitTransactionCommand();
		rest();
	}
}
