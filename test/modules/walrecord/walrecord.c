/*
 * walrecord.c
 *	  Records of any size, of a resource manager of its own, for tests.
 *
 * Every byte of a record follows from its text and lengths, so redo and
 * decoding can tell whether they got what was written.
 */
#include "postgres.h"

#include "access/bufmask.h"
#include "access/relation.h"
#include "access/xlog_internal.h"
#include "access/xloginsert.h"
#include "access/xlogutils.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/decode.h"
#include "replication/reorderbuffer.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"

PG_MODULE_MAGIC;

#define RMGR_ID RM_EXPERIMENTAL_ID
#define RECORD_INFO 0x10
#define TEXT_LEN 32

typedef struct Head
{
	uint32		main_len;		/* after this */
	uint32		data_len;		/* of each block */
	char		text[TEXT_LEN];
} Head;

static void
fill(char *out, uint32 len, const Head *head, uint32 seed)
{
	for (uint32 i = 0; i < len; i++)
		out[i] = head->text[(i + seed) % TEXT_LEN];
}

static void
check(const char *data, Size len, Size want, const Head *head, uint32 seed, const char *what)
{
	if (len != want)
		elog(PANIC, "%s has %zu bytes instead of %zu", what, len, want);
	for (Size i = 0; i < len; i++)
	{
		if (data[i] != head->text[(i + seed) % TEXT_LEN])
			elog(PANIC, "byte %zu of %s is wrong", i, what);
	}
}

static void
check_record(XLogReaderState *record)
{
	Head		head;
	char	   *data = XLogRecGetData(record);

	if (XLogRecGetRmid(record) != RMGR_ID || XLogRecGetDataLen(record) < sizeof(head))
		elog(PANIC, "not a record of walrecord");
	memcpy(&head, data, sizeof(head));
	check(data + sizeof(head), XLogRecGetDataLen(record) - sizeof(head), head.main_len,
		  &head, 0, "main data");
	for (int i = 0; i <= XLogRecMaxBlockId(record); i++)
	{
		Size		len;

		data = XLogRecGetBlockData(record, i, &len);
		check(data, data ? len : 0, head.data_len, &head, i + 1, "block data");
	}
}

static void
redo(XLogReaderState *record)
{
	check_record(record);
	for (int i = 0; i <= XLogRecMaxBlockId(record); i++)
	{
		Buffer		buffer;

		if (XLogReadBufferForRedo(record, i, &buffer) == BLK_NEEDS_REDO)
		{
			PageSetLSN(BufferGetPage(buffer), record->EndRecPtr);
			MarkBufferDirty(buffer);
		}
		if (BufferIsValid(buffer))
			UnlockReleaseBuffer(buffer);
	}
	elog(LOG, "walrecord: replayed %u bytes", XLogRecGetTotalLen(record));
}

static void
desc(StringInfo buf, XLogReaderState *record)
{
	appendStringInfo(buf, "%u bytes", XLogRecGetDataLen(record));
}

static const char *
identify(uint8 info)
{
	return "WALRECORD";
}

static void
mask(char *page, BlockNumber block)
{
	mask_page_lsn_and_checksum(page);
	mask_page_hint_bits(page);
	mask_lp_flags(page);
}

static void
decode(LogicalDecodingContext *ctx, XLogRecordBuffer *buf)
{
	check_record(buf->record);
	ReorderBufferProcessXid(ctx->reorder, XLogRecGetXid(buf->record), buf->origptr);
	elog(LOG, "walrecord: decoded %u bytes", XLogRecGetTotalLen(buf->record));
}

/*
 * walrecord(relation, forks, blocks, images, data_len, main_len, text): one
 * record about the first so many blocks of each fork; its end.
 */
PG_FUNCTION_INFO_V1(walrecord);
Datum
walrecord(PG_FUNCTION_ARGS)
{
	Relation	rel = relation_open(PG_GETARG_OID(0), RowExclusiveLock);
	int			forks = PG_GETARG_INT32(1);
	int			blocks = PG_GETARG_INT32(2);
	uint8		flags = PG_GETARG_BOOL(3) ? REGBUF_FORCE_IMAGE : REGBUF_NO_IMAGE;
	char	   *marker = text_to_cstring(PG_GETARG_TEXT_PP(6));
	Buffer		buffers[XLR_MAX_BLOCK_ID + 1];
	char	   *data[XLR_MAX_BLOCK_ID + 1];
	Head		head;
	char	   *body;
	int			n = 0;
	XLogRecPtr	lsn;

	head.data_len = PG_GETARG_INT32(4);
	head.main_len = PG_GETARG_INT32(5);
	memset(head.text, '.', TEXT_LEN);
	memcpy(head.text, marker, Min(strlen(marker), TEXT_LEN));
	body = MemoryContextAllocHuge(CurrentMemoryContext, head.main_len + 1);
	fill(body, head.main_len, &head, 0);
	for (int fork = 0; fork < forks; fork++)
	{
		for (int block = 0; block < blocks; block++)
		{
			if (n > XLR_MAX_BLOCK_ID)
				elog(ERROR, "too many blocks");
			data[n] = palloc(head.data_len + 1);
			fill(data[n], head.data_len, &head, n + 1);
			buffers[n] = ReadBufferExtended(rel, fork, block, RBM_NORMAL, NULL);
			LockBuffer(buffers[n], BUFFER_LOCK_EXCLUSIVE);
			n++;
		}
	}

	XLogEnsureRecordSpace(n - 1, 2 + n);
	START_CRIT_SECTION();
	XLogBeginInsert();
	for (int i = 0; i < n; i++)
	{
		MarkBufferDirty(buffers[i]);
		XLogRegisterBuffer(i, buffers[i], flags | REGBUF_KEEP_DATA);
		if (head.data_len > 0)
			XLogRegisterBufData(i, data[i], head.data_len);
	}
	XLogRegisterData((char *) &head, sizeof(head));
	XLogRegisterData(body, head.main_len);
	lsn = XLogInsert(RMGR_ID, RECORD_INFO);
	for (int i = 0; i < n; i++)
		PageSetLSN(BufferGetPage(buffers[i]), lsn);
	END_CRIT_SECTION();

	for (int i = 0; i < n; i++)
		UnlockReleaseBuffer(buffers[i]);
	relation_close(rel, NoLock);
	PG_RETURN_LSN(lsn);
}

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	static RmgrData rmgr = {
		.rm_name = "walrecord",
		.rm_redo = redo,
		.rm_desc = desc,
		.rm_identify = identify,
		.rm_mask = mask,
		.rm_decode = decode
	};

	if (process_shared_preload_libraries_in_progress)
		RegisterCustomRmgr(RMGR_ID, &rmgr);
}
