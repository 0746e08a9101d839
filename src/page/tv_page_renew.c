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
#include "page/tv_sidecar.h"

bool
tv_page_is_current(SMgrRelation reln, ForkNumber fork, BlockNumber block)
{
	PGAlignedBlock page;
	TvPageFile *file = tv_page_file(reln->smgr_rnode);
	uint16		epoch;

	(void) tv_page_file_refresh(file);
	if (file->state == TV_STATE_UNRESOLVED && !tv_page_file_resolve(file))
		return true;
	if (file->state != TV_STATE_SEALED)
		return true;
	tv_page_read_raw(reln, fork, block, page.data);
	epoch = tv_page_epoch_of(tv_page_flags((const uint8_t *) page.data));
	return epoch == (file->known.plain ? 0 : file->epoch) ||
		(epoch == 0 && tv_page_is_zero((const uint8_t *) page.data));
}

/* Pages of these have unused space between pd_lower and pd_upper. */
static bool
has_standard_pages(Relation rel, ForkNumber fork)
{
	return fork == MAIN_FORKNUM &&
		(rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_MATVIEW ||
		 rel->rd_rel->relkind == RELKIND_TOASTVALUE);
}

void
tv_page_renew(Relation rel, ForkNumber fork, BlockNumber block,
			  BufferAccessStrategy strategy)
{
	/* maps may be torn, and are then made anew (freespace.c, visibilitymap.c) */
	ReadBufferMode mode = fork == FSM_FORKNUM || fork == VISIBILITYMAP_FORKNUM ?
		RBM_ZERO_ON_ERROR : RBM_NORMAL;
	Buffer		buffer = ReadBufferExtended(rel, fork, block, mode, strategy);

	/*
	 * Whoever writes the page holds its lock at least shared (bufmgr.c,
	 * FlushBuffer), so writes that began before the file changed are over.
	 */
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	if (!PageIsNew(BufferGetPage(buffer)))
	{
		START_CRIT_SECTION();
		MarkBufferDirty(buffer);
		if (RelationNeedsWAL(rel) || fork == INIT_FORKNUM)
			(void) log_newpage_buffer(buffer, has_standard_pages(rel, fork));
		END_CRIT_SECTION();
	}
	UnlockReleaseBuffer(buffer);
}

void
tv_page_reserve_sidecar(const RelFileNode *node, uint64 key, BlockNumber nblocks,
						bool fresh)
{
	TvSidecar	sidecar;

	if (fresh)
		tv_sidecar_unlink(node);
	tv_sidecar_init(&sidecar, node, key);
	sidecar.may_create = true;
	PG_TRY();
	{
		tv_sidecar_reserve(&sidecar, nblocks);
		tv_sidecar_immedsync(&sidecar);
	}
	PG_FINALLY();
	{
		tv_sidecar_close(&sidecar);
	}
	PG_END_TRY();
}
