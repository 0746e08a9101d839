/*
 * tv_wal_seal.c
 *	  Seal WAL records on their way into the log.
 *
 * Runs before the server takes its first WAL lock, mostly in critical
 * sections: nothing here allocates with palloc, waits for a lock that is held
 * for long, or throws while there is a way to go on.  When a record cannot be
 * sealed, the server must not go on (the page may be changed already, and the
 * record must not be written in plaintext): in a critical section that is a
 * PANIC, and recovery then finds no record, as if the crash had come before.
 */
#include "wal/tv_wal_seal.h"

#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"

#include "attach/tv_attach.h"
#include "base/tv_report.h"
#include "page/tv_page_smgr.h"
#include "wal/tv_wal_file.h"
#include "wal/tv_wal_keyring.h"
#include "wal/tv_wal_nonce.h"
#include "wal/tv_wal_record.h"

#define FRAME_MAX \
	(SizeOfXLogRecord + TV_WAL_BLOCKS_MAX * MaxSizeOfXLogRecordBlockHeader + \
	 sizeof(uint8) + sizeof(RepOriginId) + sizeof(uint8) + sizeof(TransactionId) + \
	 SizeOfXLogRecordDataHeaderLong)

typedef XLogRecPtr (*InsertRecord) (XLogRecData *rdata, XLogRecPtr fpw_lsn, uint8 flags,
									int num_fpi, bool topxid_included);

static InsertRecord server_insert = NULL;

/*
 * The file that the record is sealed for; NULL if it touches none such.
 *
 * A file that the keyring does not know is plain if its page is in a buffer,
 * as it was decided when the file was extended by that page; such a page
 * changes, and is logged, in a critical section.  Elsewhere the file may be
 * undecided yet.  Catalogs never are.
 */
static TvWalFile *
sealed_file(const TvWalRecord *record)
{
	RelFileNode node;
	TvWalFile  *file;

	for (int i = 0; i < record->head.blocks; i++)
	{
		if (record->blocks[i].flags & BKPBLOCK_SAME_REL)
			continue;
		node.spcNode = record->blocks[i].tablespace;
		node.dbNode = record->blocks[i].database;
		node.relNode = record->blocks[i].relation;
		file = tv_wal_file(&node);
		if (!file->sealed && CritSectionCount == 0 &&
			node.relNode >= FirstNormalObjectId)
		{
			tv_page_decide_logged(&node);
			file = tv_wal_file(&node);
		}
		if (file->sealed)
			return file;
	}
	return NULL;
}

/* Copy the payload, the chain after its first link, to out. */
static void
gather(const XLogRecData *rdata, uint8 *out)
{
	for (rdata = rdata->next; rdata != NULL; rdata = rdata->next)
	{
		memcpy(out, rdata->data, rdata->len);
		out += rdata->len;
	}
}

/* Write the header of main data; returns the position after it. */
static char *
write_main_header(char *pos, uint32 main_len)
{
	if (main_len <= PG_UINT8_MAX)
	{
		*pos++ = (char) XLR_BLOCK_ID_DATA_SHORT;
		*pos++ = (char) main_len;
	}
	else
	{
		*pos++ = (char) XLR_BLOCK_ID_DATA_LONG;
		memcpy(pos, &main_len, sizeof(uint32));
		pos += sizeof(uint32);
	}
	return pos;
}

/* The checksum as the server assembles it: all but the record header. */
static void
finish_header(char *frame, uint32 frame_len, RmgrId rmid, uint16 spare,
			  const void *payload, uint32 len)
{
	XLogRecord *header = (XLogRecord *) frame;
	pg_crc32c	crc;

	header->xl_rmid = rmid;
	header->xl_tot_len = frame_len + len;
	tv_wal_set_spare(header, spare);
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, frame + SizeOfXLogRecord, frame_len - SizeOfXLogRecord);
	COMP_CRC32C(crc, payload, len);
	header->xl_crc = crc;
}

static void
make_links(XLogRecData links[2], char *frame, uint32 frame_len, void *payload, uint32 len)
{
	links[0].next = &links[1];
	links[0].data = frame;
	links[0].len = frame_len;
	links[1].next = NULL;
	links[1].data = payload;
	links[1].len = len;
}

static TvStatus
cannot_seal(const TvWalFile *file, TvStatus status, TvError *err)
{
	return tv_error(err, status, "could not encrypt a WAL record about file %u/%u/%u",
					file->node.spcNode, file->node.dbNode, file->node.relNode);
}

/* Seal the record into two new links.  Their memory is good until next time. */
static TvStatus
seal(const XLogRecData *rdata, TvWalRecord *record, TvWalFile *file,
	 XLogRecData links[2], TvError *err)
{
	static union
	{
		XLogRecord	header;
		char		data[FRAME_MAX];
	}			frame;
	const TvCipherContext *context;
	uint32		len = ((const XLogRecord *) rdata->data)->xl_tot_len - rdata->len;
	uint8		aad[TV_WAL_AAD_MAX];
	TvWalTrailer trailer;
	uint32		frame_len;
	uint32		trailer_len;
	uint16		spare;
	uint8	   *payload = tv_wal_buffer(len + TV_WAL_TRAILER_MAX);
	TvStatus	status;

	if (payload == NULL)
		return cannot_seal(file, TV_ERR_NO_MEMORY, err);
	context = tv_wal_file_context(file, err);
	if (context == NULL)
		return err->status;
	gather(rdata, payload);

	memset(&trailer, 0, sizeof(trailer));
	trailer.form = record->head.form =
		tv_wal_form((TvCipher) file->cipher, tv_wal_prefix_known());
	trailer.cipher = file->cipher;
	trailer.rmid = record->head.rmid;
	trailer.epoch = record->head.epoch = file->epoch;
	trailer.key = record->head.key = file->key;
	trailer.counter = (uint16) tv_wal_next_nonce(trailer.nonce);
	status = tv_cipher_seal(context, trailer.nonce, aad, tv_wal_record_aad(record, aad),
							payload, payload, len, trailer.tag);
	if (status != TV_OK)
		return cannot_seal(file, status, err);

	trailer_len = tv_wal_trailer_encode(&trailer, payload + len, &spare);
	memcpy(frame.data, rdata->data, record->frame_len);
	frame_len = write_main_header(frame.data + record->frame_len,
								  record->head.main_len + trailer_len) - frame.data;
	finish_header(frame.data, frame_len, TV_RMGR_SEALED, spare, payload, len + trailer_len);
	make_links(links, frame.data, frame_len, payload, len + trailer_len);
	return TV_OK;
}

/*
 * The server reads a record of any length only if it has memory for it in one
 * piece, and writes longer ones without a word: recovery could never pass them.
 * So they are refused while there is nothing of them in WAL, those without
 * trailer, too.
 */
static void
refuse_unreadable(const XLogRecData *rdata)
{
	uint32		len = ((const XLogRecord *) rdata->data)->xl_tot_len;

	if (likely(len <= TV_WAL_RECORD_MAX))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("WAL record of %u bytes is too long", len),
			 errdetail("Neither recovery nor a standby could read one of more than %u bytes.",
					   (uint32) TV_WAL_RECORD_MAX)));
}

/*
 * Every record of this server passes here, so whichever crosses the mark takes
 * the counter of nonces along.
 */
static XLogRecPtr
insert_and_follow(XLogRecData *rdata, XLogRecPtr fpw_lsn, uint8 flags, int num_fpi,
				  bool topxid_included)
{
	XLogRecPtr	end = server_insert(rdata, fpw_lsn, flags, num_fpi, topxid_included);

	/* a record that is to be assembled again went nowhere */
	if (likely(end != InvalidXLogRecPtr))
		tv_wal_nonce_follow(ProcLastRecPtr, end);
	return end;
}

/* What is left of the segment is skipped, though end does not say so. */
static XLogRecPtr
insert_switch(XLogRecData *rdata, XLogRecPtr fpw_lsn, uint8 flags, int num_fpi,
			  bool topxid_included)
{
	XLogRecPtr	end = server_insert(rdata, fpw_lsn, flags, num_fpi, topxid_included);
	XLogSegNo	segment;

	XLByteToPrevSeg(end, segment, wal_segment_size);
	tv_wal_nonce_reach((segment + 1) * wal_segment_size);
	return end;
}

/*
 * A checkpoint that synced asked the keyring itself.  The checkpointer looks at
 * its configuration before it syncs, and not again before this record.
 */
static XLogRecPtr
insert_without_blocks(XLogRecData *rdata, XLogRecPtr fpw_lsn, uint8 flags, int num_fpi,
					  bool topxid_included)
{
	if (unlikely(!enableFsync) && tv_wal_is_checkpoint((const XLogRecord *) rdata->data))
		tv_wal_keyring_checkpoint(ERROR);
	return insert_and_follow(rdata, fpw_lsn, flags, num_fpi, topxid_included);
}

static XLogRecPtr
insert_record(XLogRecData *rdata, XLogRecPtr fpw_lsn, uint8 flags, int num_fpi,
			  bool topxid_included)
{
	static TvWalRecord record;
	XLogRecData links[2];
	TvWalFile  *file;
	TvError		err;

	/* only an XLOG_SWITCH record has no data (xlog.c, XLogInsertRecord) */
	if (unlikely(rdata->len <= SizeOfXLogRecord))
		return insert_switch(rdata, fpw_lsn, flags, num_fpi, topxid_included);
	refuse_unreadable(rdata);
	/* block references come first (xloginsert.c, XLogRecordAssemble) */
	if ((uint8) rdata->data[SizeOfXLogRecord] > XLR_MAX_BLOCK_ID)
		return insert_without_blocks(rdata, fpw_lsn, flags, num_fpi, topxid_included);

	if (unlikely(!tv_wal_record_parse(rdata, &record)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("WAL record of resource manager %d has headers that tde_vault does not know",
						record.head.rmid)));
	file = sealed_file(&record);
	if (file == NULL)
		return insert_and_follow(rdata, fpw_lsn, flags, num_fpi, topxid_included);
	if (unlikely(seal(rdata, &record, file, links, &err) != TV_OK))
		tv_report(ERROR, &err);
	refuse_unreadable(links);
	return insert_and_follow(links, fpw_lsn, flags, num_fpi, topxid_included);
}

XLogRecPtr
tv_wal_insert(RmgrId rmid, uint8 info, const void *data, uint32 len)
{
	union
	{
		XLogRecord	header;
		char		data[SizeOfXLogRecord + SizeOfXLogRecordDataHeaderLong];
	}			frame;
	uint32		frame_len;
	XLogRecData links[2];
	XLogRecPtr	end;

	memset(&frame, 0, sizeof(frame));
	frame.header.xl_xid = GetCurrentTransactionIdIfAny();
	frame.header.xl_info = info;
	frame_len = write_main_header(frame.data + SizeOfXLogRecord, len) - frame.data;
	do
	{
		finish_header(frame.data, frame_len, rmid, 0, data, len);
		make_links(links, frame.data, frame_len, unconstify(void *, data), len);
		end = server_insert(links, InvalidXLogRecPtr, 0, 0, false);
	} while (end == InvalidXLogRecPtr);
	tv_wal_nonce_reach(end);
	return end;
}

void
tv_wal_seal_attach(void)
{
	server_insert = (InsertRecord)
		tv_attach_detour((void *) XLogInsertRecord, "XLogInsertRecord", (void *) insert_record);
}
