/*
 * tv_wal_rmgr.c
 *	  The module's resource managers.
 *
 * A sealed record is opened just before its own resource manager sees it, in
 * the reader's memory, and from then on looks as it was written.
 */
#include "wal/tv_wal_rmgr.h"

#include "postgres.h"

#include "access/hash_xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "access/xlogutils.h"
#include "commands/tablespace.h"
#include "postmaster/startup.h"
#include "replication/decode.h"
#include "replication/reorderbuffer.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#include "base/tv_report.h"
#include "page/tv_page_lost.h"
#include "page/tv_page_smgr.h"
#include "page/tv_page_tablespace.h"
#include "wal/tv_wal_ahead.h"
#include "wal/tv_wal_file.h"
#include "wal/tv_wal_keyring.h"
#include "wal/tv_wal_logged.h"
#include "wal/tv_wal_missing.h"
#include "wal/tv_wal_nonce.h"
#include "wal/tv_wal_open.h"
#include "wal/tv_wal_record.h"
#include "wal/tv_wal_seal.h"

#define RETRY_SECONDS 5

/* err in place of the server's class for what is wrong with data */
static void
report_damage(int elevel, const TvError *err)
{
	ereport(elevel,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg_internal("%s", err->message),
			 err->detail[0] ? errdetail_internal("%s", err->detail) : 0,
			 err->hint[0] ? errhint("%s", err->hint) : 0));
}

/*
 * A standby waits for a key provider that is away: what it has replayed stays
 * readable, and nothing is lost.  Crash recovery and recovery to a target end
 * with the reason, for somebody is waiting there.
 */
static TvWalResult
open_for_redo(DecodedXLogRecord *record, TvWalTrailer *trailer, TvError *err)
{
	TvWalResult result;

	while ((result = tv_wal_open(record, trailer, err)) == TV_WAL_NO_KEY &&
		   StandbyMode &&
		   (err->status == TV_ERR_UNAVAILABLE || err->status == TV_ERR_NO_TOKEN))
	{
		tv_error_hint(err, "Replay goes on by itself when the key can be had.");
		tv_report(WARNING, err);
		for (int i = 0; i < RETRY_SECONDS * 10; i++)
		{
			HandleStartupProcInterrupts();
			pg_usleep(100000L);
		}
	}
	return result;
}

/*
 * Redo of an opened record.  Records of hash indexes that clean up a bucket
 * name its primary page as block 0, without an image, when all they need of it
 * is a lock (hash_xlog.c).
 */
static void
redo_opened(XLogReaderState *reader, DecodedXLogRecord *record)
{
	uint8		info = record->header.xl_info & ~XLR_INFO_MASK;
	DecodedBkpBlock *bucket = &record->blocks[0];
	bool		is_cleanup;

	is_cleanup = record->header.xl_rmid == RM_HASH_ID &&
		(info == XLOG_HASH_DELETE || info == XLOG_HASH_SQUEEZE_PAGE ||
		 info == XLOG_HASH_MOVE_PAGE_CONTENTS) &&
		record->max_block_id >= 0 && bucket->in_use && !bucket->has_image;
	if (unlikely(is_cleanup))
		tv_page_lost_allow(&bucket->rnode, bucket->blkno);
	GetRmgr(record->header.xl_rmid).rm_redo(reader);
	if (unlikely(is_cleanup))
		tv_page_lost_allow(NULL, 0);

	for (int i = 0; tv_page_lost_any() && i <= record->max_block_id; i++)
	{
		DecodedBkpBlock *block = &record->blocks[i];

		if (block->in_use && block->forknum == MAIN_FORKNUM &&
			(block->apply_image || (block->flags & BKPBLOCK_WILL_INIT)))
			tv_page_lost_restored(&block->rnode, block->blkno);
	}
}

static void
sealed_redo(XLogReaderState *reader)
{
	DecodedXLogRecord *record = reader->record;
	/* first: what fails from here on is described by the record as it was written */
	bool		is_open = tv_wal_take_ahead(record);
	TvWalTrailer trailer;
	TvError		err;

	tv_wal_missing_check();
	if (unlikely(tv_page_lost_any()) && reachedConsistency)
		tv_page_lost_check();
	if (is_open)
	{
		redo_opened(reader, record);
		return;
	}
	switch (open_for_redo(record, &trailer, &err))
	{
		case TV_WAL_OPENED:
			tv_wal_open_ahead(record);
			redo_opened(reader, record);
			return;
		case TV_WAL_KEY_GONE:
			tv_wal_missing_note(record, trailer.key, trailer.epoch);
			/* there is nothing to compare with */
			record->header.xl_info &= ~XLR_CHECK_CONSISTENCY;
			return;
		case TV_WAL_NO_KEY:
			tv_report(FATAL, &err);
			return;
		case TV_WAL_DAMAGED:
			break;
	}
	report_damage(FATAL, &err);
}

/*
 * What cannot be opened is described by what is readable.  The startup
 * process describes the record that it fails at, so nothing may fail here.
 */
static void
sealed_desc(StringInfo buf, XLogReaderState *reader)
{
	DecodedXLogRecord *record = reader->record;
	TvWalTrailer trailer;
	TvError		err;
	const RmgrData *rmgr;
	const char *name;
	size_t		used;

	if (tv_wal_trailer_of(record, &trailer, &used) != TV_OK || !RmgrIdExists(trailer.rmid))
	{
		appendStringInfoString(buf, "damaged");
		return;
	}
	rmgr = &RmgrTable[trailer.rmid];
	name = rmgr->rm_identify(record->header.xl_info);
	appendStringInfo(buf, "%s/%s: ", rmgr->rm_name, name ? name : "UNKNOWN");
	if (!InRecovery && tv_wal_open(record, &trailer, &err) == TV_WAL_OPENED)
		rmgr->rm_desc(buf, reader);
	else
		appendStringInfo(buf, "encrypted under version %u of its key", trailer.epoch);
}

static const char *
sealed_identify(uint8 info)
{
	return "SEALED";
}

static void
sealed_decode(LogicalDecodingContext *ctx, XLogRecordBuffer *buf)
{
	DecodedXLogRecord *record = buf->record->record;
	TvWalTrailer trailer;
	TvError		err;
	size_t		used;

	/* most resource managers have nothing to tell: leave those records shut */
	if (tv_wal_trailer_of(record, &trailer, &used) == TV_OK &&
		RmgrIdExists(trailer.rmid) && RmgrTable[trailer.rmid].rm_decode == NULL)
	{
		ReorderBufferProcessXid(ctx->reorder, XLogRecGetXid(buf->record), buf->origptr);
		return;
	}
	switch (tv_wal_open(record, &trailer, &err))
	{
		case TV_WAL_OPENED:
			GetRmgr(record->header.xl_rmid).rm_decode(ctx, buf);
			return;
		case TV_WAL_KEY_GONE:
			ereport(ERROR,
					(errcode(ERRCODE_TV_KEY_MISSING),
					 errmsg("keyring does not hold the key of the WAL record at %X/%X",
							LSN_FORMAT_ARGS(record->lsn)),
					 errhint("Restore the keyring from a backup of the data directory.")));
			break;
		case TV_WAL_NO_KEY:
			tv_report(ERROR, &err);
			break;
		case TV_WAL_DAMAGED:
			break;
	}
	report_damage(ERROR, &err);
}

/* The end of recovery: now every file that is left must have its key. */
static void
sealed_cleanup(void)
{
	tv_wal_missing_finish();
	tv_page_lost_check();
	tv_keyring_recovered();
}

static void (*server_tablespace_redo) (XLogReaderState *reader);

/* A tablespace without LOCATION: its directory is made here, too. */
static void
tablespace_redo(XLogReaderState *reader)
{
	if ((XLogRecGetInfo(reader) & ~XLR_INFO_MASK) == XLOG_TBLSPC_CREATE)
		tv_tablespace_follow_directory(((xl_tblspc_create_rec *) XLogRecGetData(reader))->ts_path);
	server_tablespace_redo(reader);
}

static void (*server_xlog_redo) (XLogReaderState *reader);

/* Any restartpoint is at such a record.  Who makes it may know fsync to be off. */
static void
checkpoint_redo(XLogReaderState *reader)
{
	if (tv_wal_is_checkpoint(&reader->record->header))
		tv_wal_keyring_checkpoint(FATAL);
	server_xlog_redo(reader);
}

void
tv_wal_init(void)
{
	static RmgrData sealed = {
		.rm_name = "tde_vault_sealed",
		.rm_redo = sealed_redo,
		.rm_desc = sealed_desc,
		.rm_identify = sealed_identify,
		.rm_cleanup = sealed_cleanup,
		.rm_decode = sealed_decode
	};

	if (!tv_wal_spare_is_kept())
		ereport(FATAL,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tde_vault cannot be used with this server"),
				 errdetail("DecodeXLogRecord does not keep the padding of a record header."),
				 errhint("Use a build of PostgreSQL that the documentation names.")));
	tv_wal_nonce_init();
	server_tablespace_redo = RmgrTable[RM_TBLSPC_ID].rm_redo;
	RmgrTable[RM_TBLSPC_ID].rm_redo = tablespace_redo;
	server_xlog_redo = RmgrTable[RM_XLOG_ID].rm_redo;
	RmgrTable[RM_XLOG_ID].rm_redo = checkpoint_redo;
	RegisterCustomRmgr(TV_RMGR_SEALED, &sealed);
	tv_wal_keyring_init();
	tv_wal_logged_init();
	tv_page_set_prepare(tv_wal_prepare);
	tv_wal_seal_attach();
}
