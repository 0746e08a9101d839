/*
 * tv_wal_logged.c
 *	  WAL records that carry whole small files of the layers above.
 *
 * A record is kind (1), three zero bytes, id (4) and the file's bytes; none of
 * those means that the file is gone.
 */
#include "wal/tv_wal_logged.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"

#include "base/tv_cursor.h"
#include "wal/tv_wal_record.h"
#include "wal/tv_wal_seal.h"

#define INFO_SHIFT 4			/* xl_info: kind of the file */

static TvLoggedRedo redo_of[TV_LOGGED_KINDS];

void
tv_wal_logged_register(TvLoggedKind kind, TvLoggedRedo redo)
{
	redo_of[kind] = redo;
}

XLogRecPtr
tv_wal_logged_insert(TvLoggedKind kind, uint32 id, uint8 *record, size_t len)
{
	TvWriter	writer;
	XLogRecPtr	end;

	if (IsBootstrapProcessingMode() || !XLogInsertAllowed())
		return InvalidXLogRecPtr;
	tv_writer_init(&writer, record, TV_LOGGED_PREFIX);
	tv_write_u32(&writer, kind);
	tv_write_u32(&writer, id);
	end = tv_wal_insert(TV_RMGR_LOGGED, kind << INFO_SHIFT, record, TV_LOGGED_PREFIX + len);
	XLogFlush(end);
	return end;
}

/* Kind and id of the record; kind 0 if it is damaged or of a newer version. */
static uint32
decode(XLogReaderState *reader, uint32 *id)
{
	TvReader	bytes;
	uint32		kind;

	tv_reader_init(&bytes, XLogRecGetData(reader), XLogRecGetDataLen(reader));
	kind = tv_read_u32(&bytes);
	*id = tv_read_u32(&bytes);
	return bytes.failed || kind >= TV_LOGGED_KINDS ? 0 : kind;
}

static void
logged_redo(XLogReaderState *reader)
{
	uint32		id;
	uint32		kind = decode(reader, &id);

	if (kind == 0 || redo_of[kind] == NULL)
		ereport(FATAL,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("WAL record of a file of tde_vault at %X/%X is damaged or of a newer version",
						LSN_FORMAT_ARGS(reader->ReadRecPtr)),
				 errhint("Install the version of tde_vault that wrote it.")));
	redo_of[kind] (id, (const uint8 *) XLogRecGetData(reader) + TV_LOGGED_PREFIX,
				   XLogRecGetDataLen(reader) - TV_LOGGED_PREFIX);
}

static void
logged_desc(StringInfo buf, XLogReaderState *reader)
{
	uint32		id;
	uint32		kind = decode(reader, &id);

	if (kind == 0)
		appendStringInfoString(buf, "damaged");
	else
		appendStringInfo(buf, "file %u of kind %u; %u bytes", id, kind,
						 XLogRecGetDataLen(reader) - TV_LOGGED_PREFIX);
}

static const char *
logged_identify(uint8 info)
{
	switch ((TvLoggedKind) ((info & ~XLR_INFO_MASK) >> INFO_SHIFT))
	{
		case TV_LOGGED_POLICY:
			return "POLICY";
	}
	return NULL;
}

void
tv_wal_logged_init(void)
{
	static RmgrData logged = {
		.rm_name = "tde_vault_file",
		.rm_redo = logged_redo,
		.rm_desc = logged_desc,
		.rm_identify = logged_identify
	};

	RegisterCustomRmgr(TV_RMGR_LOGGED, &logged);
}
