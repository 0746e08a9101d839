/*
 * tv_page_smgr.c
 *	  Sealed pages behind the server's storage manager.
 *
 * Every read, write and extension of a relation page, in every process, comes
 * through here (smgr.c calls through its table).  Plain files cost one look at
 * the process's own table.
 */
#include "page/tv_page_smgr.h"

#include "access/spgist_private.h"
#include "access/xlog.h"
#include "access/xlogutils.h"
#include "catalog/storage.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/md.h"

#include "attach/tv_attach.h"
#include "base/tv_hot.h"
#include "base/tv_report.h"
#include "keyring/tv_keyring_scope.h"
#include "page/tv_heap_am.h"
#include "page/tv_page_codec.h"
#include "page/tv_page_decide.h"
#include "page/tv_page_file.h"
#include "page/tv_page_lost.h"
#include "page/tv_page_open.h"
#include "page/tv_page_statistics.h"
#include "page/tv_page_unlogged.h"

static TvSmgrCallbacks server;
static TV_HOT_DATA BlockNumber (*server_nblocks) (SMgrRelation reln, ForkNumber fork) = NULL;
static TvPagePrepare prepare = NULL;
static TvSyncCallbacks server_sync;
static bool attached = false;

/* Databases that files were copied between since tv_page_copies_begin(). */
static Oid	copied_from = InvalidOid;
static Oid	copied_into = InvalidOid;

static TV_HOT_VAULT TvPageFile *
look_up(SMgrRelation reln)
{
	TvPageFile *file = tv_page_file(reln->smgr_rnode);
	bool		changed = tv_page_file_refresh(file);

	if (file->state == TV_STATE_UNRESOLVED)
		changed = tv_page_file_resolve(file);
	if (unlikely(changed) && file->state == TV_STATE_SEALED && prepare &&
		!file->temporary && !InRecovery)
		(void) prepare(&file->rnode.node, NULL);
	return file;
}

/* The file, resolved, as the keyring has it now. */
static inline TvPageFile *
resolved(SMgrRelation reln)
{
	TvPageFile *file = tv_page_file_at_hand(&reln->smgr_rnode);

	return likely(file != NULL) ? file : look_up(reln);
}

/* Are pages of the file to be sealed when they are written? */
static bool
seals(const TvPageFile *file)
{
	return file->state == TV_STATE_SEALED && !file->known.plain;
}

/* The record that names the file must be synced before its first page is. */
static void
make_durable(TvPageFile *file)
{
	TvError		err;

	if (likely(file->durable))
		return;
	if (tv_keyring_flush(&err) != TV_OK)
		tv_report(ERROR, &err);
	file->durable = true;
}

/* The file, decided: a page of it is about to be written. */
static TvPageFile *
decided(SMgrRelation reln, ForkNumber fork)
{
	TvPageFile *file = resolved(reln);

	if (unlikely(file->state == TV_STATE_UNRESOLVED))
	{
		/* maps come after the main fork; pages that exist have decided */
		if ((fork != MAIN_FORKNUM && fork != INIT_FORKNUM) ||
			server.smgr_nblocks(reln, fork) > 0)
		{
			tv_page_require_plain(reln);
			file->state = TV_STATE_PLAIN;
		}
		else
			tv_page_decide(file, reln);
	}
	if (file->state == TV_STATE_SEALED)
		make_durable(file);
	return file;
}

/*
 * Builds of indexes log a page before they write it (nbtsort.c, gistbuild.c),
 * all after having asked for the number of blocks: the relation is open.
 */
void
tv_page_decide_logged(const RelFileNode *node)
{
	SMgrRelation reln = smgropen(*node, InvalidBackendId);

	if (resolved(reln)->state == TV_STATE_UNRESOLVED)
		(void) decided(reln, MAIN_FORKNUM);
}

/*
 * A private, sealed copy of buffer.  It is copied first because hint bits may
 * change under a shared lock while it is written (bufmgr.c, FlushBuffer).
 */
static const char *
seal(TvPageFile *file, ForkNumber fork, BlockNumber block, const char *buffer,
	 TvPageEntry *entry)
{
	static char aligned[BLCKSZ + 64] pg_attribute_aligned(64);
	char	   *scratch = aligned + 64 - TV_PAGE_CLEAR;	/* payload at a cache line */
	bool		sidecar = tv_page_has_sidecar(file, fork);
	TvPageIdentity identity;
	const TvCipherContext *context;
	TvError		err;

	memcpy(scratch, buffer, BLCKSZ);
	memset(entry, 0, sizeof(*entry));
	if (tv_page_is_blank(scratch))
		memset(scratch, 0, BLCKSZ);
	if (tv_page_is_zero((const uint8_t *) scratch))
		return scratch;			/* a new page holds nothing */

	context = tv_page_context(file, fork, block, file->epoch, &identity, &err);
	if (context == NULL)
		tv_report(ERROR, &err);
	if (tv_page_seal(context, &identity, DataChecksumsEnabled(), scratch,
					 sidecar ? entry : NULL) != TV_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not encrypt block %u of file \"%s\"", block,
						relpath(file->rnode, fork))));
	return scratch;
}

static void
page_read(SMgrRelation reln, ForkNumber fork, BlockNumber block, char *buffer)
{
	TvPageFile *file;

	server.smgr_read(reln, fork, block, buffer);
	file = resolved(reln);
	if (file->state != TV_STATE_SEALED)
	{
		if (file->state == TV_STATE_UNRESOLVED)
		{
			/* it has pages: that was decided */
			tv_page_require_plain(reln);
			file->state = TV_STATE_PLAIN;
		}
		if (unlikely(tv_page_flags((uint8_t *) buffer) & ~TV_PAGE_SERVER_FLAGS))
			tv_page_refuse_sealed(reln, fork, block, buffer);
		return;
	}
	tv_page_open_read(file, reln, fork, block, buffer);
}

static void
page_write(SMgrRelation reln, ForkNumber fork, BlockNumber block, char *buffer,
		   bool skipFsync)
{
	TvPageFile *file = decided(reln, fork);
	TvPageEntry entry;
	const char *sealed;

	if (!seals(file))
	{
		server.smgr_write(reln, fork, block, buffer, skipFsync);
		return;
	}
	sealed = seal(file, fork, block, buffer, &entry);
	server.smgr_write(reln, fork, block, (char *) sealed, skipFsync);
	if (tv_page_has_sidecar(file, fork))
		tv_sidecar_write(&file->sidecar, block, &entry, skipFsync);
}

static void
page_extend(SMgrRelation reln, ForkNumber fork, BlockNumber block, char *buffer,
			bool skipFsync)
{
	TvPageFile *file = decided(reln, fork);
	TvPageEntry entry;
	const char *sealed;
	bool		sidecar;
	TvError		err;

	if (!seals(file))
	{
		server.smgr_extend(reln, fork, block, buffer, skipFsync);
		return;
	}
	/* what follows changes the page, and logs that where nothing may fail */
	if (prepare && !file->temporary && !InRecovery &&
		prepare(&file->rnode.node, &err) != TV_OK)
		tv_report(ERROR, &err);
	/* room for the entry first: writing it can then not meet a full disk */
	sidecar = tv_page_has_sidecar(file, fork);
	if (sidecar)
		tv_sidecar_extend(&file->sidecar, block, skipFsync);
	sealed = seal(file, fork, block, buffer, &entry);
	server.smgr_extend(reln, fork, block, (char *) sealed, skipFsync);
	if (sidecar && (entry.flags & TV_ENTRY_IN_USE))
		tv_sidecar_write(&file->sidecar, block, &entry, skipFsync);
}

static void
page_close(SMgrRelation reln, ForkNumber fork)
{
	server.smgr_close(reln, fork);
	if (fork == MAIN_FORKNUM)
		tv_page_file_forget(reln->smgr_rnode);
}

/*
 * A number that is used again belongs to nobody: the server keeps the file of
 * a dropped relation until a checkpoint has passed (md.c, mdunlink), so no WAL
 * about the old one can be replayed any more.
 */
static void
page_create(SMgrRelation reln, ForkNumber fork, bool isRedo)
{
	TvKeyringFile known;
	TvError		err;

	server.smgr_create(reln, fork, isRedo);
	if (isRedo || fork != MAIN_FORKNUM || SmgrIsTemp(reln))
		return;
	tv_page_file_forget(reln->smgr_rnode);
	tv_sidecar_unlink(&reln->smgr_rnode.node);
	if (tv_keyring_lookup(&reln->smgr_rnode.node, &known) &&
		tv_keyring_forget(&reln->smgr_rnode.node, &err) != TV_OK)
		tv_report(ERROR, &err);
}

/* After commit or abort: must not throw. */
static void
page_unlink(RelFileNodeBackend rnode, ForkNumber fork, bool isRedo)
{
	TvKeyringFile known;
	TvError		err;

	server.smgr_unlink(rnode, fork, isRedo);
	if (fork != MAIN_FORKNUM && fork != InvalidForkNumber)
		return;
	if (unlikely(tv_page_lost_any()))
		tv_page_lost_truncated(&rnode.node, 0);
	if (RelFileNodeBackendIsTemp(rnode))
	{
		tv_page_temp_remove(rnode);
		return;
	}
	/* one of a file that was to be encrypted, or that recovery has made again */
	tv_sidecar_unlink(&rnode.node);
	if (!tv_keyring_lookup(&rnode.node, &known))
		return;
	if ((!known.dropped || known.released) && tv_keyring_drop(&rnode.node, &err) != TV_OK)
		tv_report(WARNING, &err);
}

static TV_HOT BlockNumber
page_nblocks(SMgrRelation reln, ForkNumber fork)
{
	/* before a truncation this is the last call outside its critical section */
	if (unlikely(tv_page_file_at_hand(&reln->smgr_rnode) == NULL))
		(void) look_up(reln);
	return server_nblocks(reln, fork);
}

static void
page_truncate(SMgrRelation reln, ForkNumber fork, BlockNumber old_blocks,
			  BlockNumber nblocks)
{
	TvPageFile *file = resolved(reln);

	server.smgr_truncate(reln, fork, old_blocks, nblocks);
	if (unlikely(tv_page_lost_any()) && fork == MAIN_FORKNUM)
		tv_page_lost_truncated(&reln->smgr_rnode.node, nblocks);
	if (file->state == TV_STATE_SEALED && tv_page_may_have_sidecar(file, fork) &&
		nblocks < old_blocks)
		tv_sidecar_truncate(&file->sidecar, nblocks);
}

static void
page_immedsync(SMgrRelation reln, ForkNumber fork)
{
	TvPageFile *file = resolved(reln);

	server.smgr_immedsync(reln, fork);
	if (file->state == TV_STATE_SEALED && tv_page_may_have_sidecar(file, fork))
		tv_sidecar_immedsync(&file->sidecar, 0);
}

/* A checkpoint passes records that WAL will then no longer bring back. */
static int
sync_keyring(char *path)
{
	TvError		err;

	strlcpy(path, "tde_vault/keyring", MAXPGPATH);
	if (tv_keyring_checkpoint(&err) == TV_OK)
		return 0;
	ereport(LOG, (errmsg_internal("%s", err.message)));
	errno = EIO;
	return -1;
}

static int
sync_file(const FileTag *ftag, char *path)
{
	if (ftag->forknum == TV_SIDECAR_FORK)
		return tv_sidecar_sync(ftag, path);
	if (ftag->forknum == TV_KEYRING_FORK)
		return sync_keyring(path);
	return server_sync.sync_syncfiletag(ftag, path);
}

/* --- functions of the server that copy files without their relation --- */

typedef void (*CopyStorage) (SMgrRelation src, SMgrRelation dst,
							 ForkNumber forkNum, char relpersistence);
typedef void (*CreateAndCopy) (RelFileNode src, RelFileNode dst, bool permanent);

static CopyStorage server_copy_storage = NULL;
static CreateAndCopy server_create_and_copy = NULL;

static void
copy_storage(SMgrRelation src, SMgrRelation dst, ForkNumber fork, char persistence)
{
	tv_page_decide_moved(src, dst, persistence);
	server_copy_storage(src, dst, fork, persistence);
}

/* CREATE DATABASE copies file by file through shared buffers. */
static void
create_and_copy(RelFileNode src, RelFileNode dst, bool permanent)
{
	RelFileNodeBackend source = {src, InvalidBackendId};
	RelFileNodeBackend target = {dst, InvalidBackendId};

	copied_from = src.dbNode;
	copied_into = dst.dbNode;
	tv_page_inheritance_begin(source, target,
							  permanent ? RELPERSISTENCE_PERMANENT : RELPERSISTENCE_UNLOGGED);
	PG_TRY();
	{
		server_create_and_copy(src, dst, permanent);
	}
	PG_FINALLY();
	{
		tv_page_inheritance_end();
	}
	PG_END_TRY();
	/* an empty file was not written, but has its table's key too */
	tv_page_inherit(source, target,
					permanent ? RELPERSISTENCE_PERMANENT : RELPERSISTENCE_UNLOGGED, true);
	tv_page_file_forget(target);
}

void
tv_page_copies_begin(void)
{
	copied_into = InvalidOid;
}

void
tv_page_copies_end(void)
{
	TvError		err;

	if (OidIsValid(copied_into) &&
		tv_keyring_copy_bindings(copied_from, copied_into, &err) != TV_OK)
		tv_report(ERROR, &err);
	copied_into = InvalidOid;
}

void
tv_page_copies_abandon(void)
{
	if (OidIsValid(copied_into))
		tv_page_drop_database(copied_into);
	copied_into = InvalidOid;
}

void
tv_page_drop_database(Oid database)
{
	TvError		err;

	if (tv_keyring_scope(InvalidOid, database, NULL) &&
		tv_keyring_set_scope(InvalidOid, database, TV_CIPHER_NONE, 0, &err) != TV_OK)
		tv_report(WARNING, &err);
	tv_sidecar_unlink_database(database);
	if (tv_keyring_drop_database(database, &err) != TV_OK)
		tv_report(WARNING, &err);
}

void
tv_page_attach(void)
{
	TvSmgrCallbacks callbacks;
	TvSyncCallbacks sync;

	/* as the server has them (smgr.c), with ours on top */
	memset(&callbacks, 0, sizeof(callbacks));
	callbacks.smgr_init = mdinit;
	callbacks.smgr_open = mdopen;
	callbacks.smgr_exists = mdexists;
	callbacks.smgr_prefetch = mdprefetch;
	callbacks.smgr_writeback = mdwriteback;
	callbacks.smgr_close = page_close;
	callbacks.smgr_create = page_create;
	callbacks.smgr_unlink = page_unlink;
	callbacks.smgr_extend = page_extend;
	callbacks.smgr_read = page_read;
	callbacks.smgr_write = page_write;
	callbacks.smgr_nblocks = page_nblocks;
	callbacks.smgr_truncate = page_truncate;
	callbacks.smgr_immedsync = page_immedsync;
	tv_attach_smgr(&callbacks, &server);
	server_nblocks = server.smgr_nblocks;

	sync.sync_syncfiletag = sync_file;
	sync.sync_unlinkfiletag = mdunlinkfiletag;
	sync.sync_filetagmatches = mdfiletagmatches;
	tv_attach_sync(&sync, &server_sync);

	server_copy_storage = (CopyStorage)
		tv_attach_detour((void *) RelationCopyStorage, "RelationCopyStorage", (void *) copy_storage);
	server_create_and_copy = (CreateAndCopy)
		tv_attach_detour((void *) CreateAndCopyRelationData, "CreateAndCopyRelationData",
						 (void *) create_and_copy);
	tv_attach_replace((void *) SpGistUpdateMetaPage, "SpGistUpdateMetaPage",
					  (void *) tv_page_spgist_update_meta);
	tv_heap_am_attach();
	tv_statistics_init();
	attached = true;
}

void
tv_page_read_raw(SMgrRelation reln, ForkNumber fork, BlockNumber block, char *buffer)
{
	server.smgr_read(reln, fork, block, buffer);
}

BlockNumber
tv_page_nblocks(SMgrRelation reln, ForkNumber fork)
{
	return server.smgr_exists(reln, fork) ? server.smgr_nblocks(reln, fork) : 0;
}

void
tv_page_set_prepare(TvPagePrepare function)
{
	prepare = function;
}

bool
tv_page_attached(void)
{
	return attached;
}
