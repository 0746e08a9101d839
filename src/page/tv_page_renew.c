/*
 * tv_page_renew.c
 *	  Bringing pages up to date with their key.
 */
#include "page/tv_page_renew.h"

#include "access/xloginsert.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/bufpage.h"

#include "page/tv_page_file.h"
#include "page/tv_page_format.h"
#include "page/tv_page_smgr.h"
#include "page/tv_page_unlogged.h"
#include "page/tv_sidecar.h"

/* Is what happens to the fork in WAL? */
static bool
is_logged(Relation rel, ForkNumber fork)
{
	return RelationNeedsWAL(rel) || fork == INIT_FORKNUM;
}

/* Is the page on disk sealed, or not, as pages are written now? */
static bool
has_right_version(TvPageFile *file, const char *page)
{
	return tv_page_epoch_of(tv_page_flags((const uint8_t *) page)) ==
		(file->known.plain ? 0 : file->epoch);
}

static bool
reads_right_version(Relation rel, ForkNumber fork, BlockNumber block, char *page)
{
	SMgrRelation reln = RelationGetSmgr(rel);
	TvPageFile *file = tv_page_file(reln->smgr_rnode);

	(void) tv_page_file_refresh(file);
	if (file->state == TV_STATE_UNRESOLVED && !tv_page_file_resolve(file))
		return true;
	tv_page_read_raw(reln, fork, block, page);
	return file->state != TV_STATE_SEALED || has_right_version(file, page);
}

bool
tv_page_is_current(Relation rel, ForkNumber fork, BlockNumber block, XLogRecPtr since)
{
	PGAlignedBlock page;
	bool		right;

	memset(page.data, 0, SizeOfPageHeaderData);
	right = reads_right_version(rel, fork, block, page.data);
	/* a new page may have been filled since, in its buffer or on a standby */
	if (tv_page_is_zero((const uint8_t *) page.data))
		return false;
	return right && (!is_logged(rel, fork) || PageGetLSN(page.data) >= since);
}

/* Pages of these have unused space between pd_lower and pd_upper. */
static bool
has_standard_pages(Relation rel, ForkNumber fork)
{
	return fork == MAIN_FORKNUM &&
		(rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_MATVIEW ||
		 rel->rd_rel->relkind == RELKIND_TOASTVALUE);
}

bool
tv_page_renew(Relation rel, ForkNumber fork, BlockNumber block, XLogRecPtr since,
			  BufferAccessStrategy strategy)
{
	/* maps may be torn, and are then made anew (freespace.c, visibilitymap.c) */
	ReadBufferMode mode = fork == FSM_FORKNUM || fork == VISIBILITYMAP_FORKNUM ?
		RBM_ZERO_ON_ERROR : RBM_NORMAL;
	Buffer		buffer = ReadBufferExtended(rel, fork, block, mode, strategy);
	PGAlignedBlock on_disk;
	bool		renew;

	/*
	 * Whoever writes the page holds its lock at least shared (bufmgr.c,
	 * FlushBuffer), so writes that began before the file changed are over.
	 */
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	renew = !PageIsNew(BufferGetPage(buffer)) &&
		(is_logged(rel, fork) || !tv_page_is_blank(BufferGetPage(buffer))) &&
		(!is_logged(rel, fork) || PageGetLSN(BufferGetPage(buffer)) < since ||
		 !reads_right_version(rel, fork, block, on_disk.data));
	if (renew)
	{
		START_CRIT_SECTION();
		MarkBufferDirty(buffer);
		if (is_logged(rel, fork))
			(void) log_newpage_buffer(buffer, has_standard_pages(rel, fork));
		END_CRIT_SECTION();
	}
	UnlockReleaseBuffer(buffer);
	return renew;
}

/* Room for blocks from first on; what was there from sync on is synced, too. */
static void
make_room(const RelFileNode *node, uint64 key, BlockNumber first, BlockNumber sync,
		  BlockNumber nblocks, bool fresh)
{
	TvSidecar	sidecar;

	if (fresh)
		tv_sidecar_unlink(node);
	tv_sidecar_init(&sidecar, node, key);
	sidecar.may_create = true;
	PG_TRY();
	{
		tv_sidecar_reserve(&sidecar, first, nblocks);
		tv_sidecar_immedsync(&sidecar, sync);
	}
	PG_FINALLY();
	{
		tv_sidecar_close(&sidecar);
	}
	PG_END_TRY();
}

void
tv_page_reserve_sidecar(const RelFileNode *node, uint64 key, BlockNumber prepared,
						BlockNumber nblocks, bool fresh)
{
	/* from the first: another session may have made what was prepared anew */
	make_room(node, key, 0, prepared, nblocks, fresh);
}

void
tv_page_prepare_sidecar(const RelFileNode *node, uint64 key, BlockNumber first,
						BlockNumber nblocks, bool fresh)
{
	make_room(node, key, first, first, nblocks, fresh);
}
