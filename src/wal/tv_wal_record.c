/*
 * tv_wal_record.c
 *	  A WAL record between the server's forms of it and ours.
 */
#include "wal/tv_wal_record.h"

#include <stdlib.h>

uint8		tv_wal_small[TV_WAL_SMALL_LEN] pg_attribute_aligned(TV_WAL_BUFFER_ALIGN);
void	   *tv_wal_large = NULL;

uint8 *
tv_wal_large_buffer(size_t len)
{
	free(tv_wal_large);
	tv_wal_large = NULL;
	if (len <= TV_WAL_SMALL_LEN)
		return tv_wal_small;
	if (posix_memalign(&tv_wal_large, TV_WAL_BUFFER_ALIGN, len) != 0)
		tv_wal_large = NULL;
	return tv_wal_large;
}

bool
tv_wal_spare_is_kept(void)
{
	const uint16 spare = 0xa55a;
	union
	{
		XLogRecord	header;
		char		data[SizeOfXLogRecord + SizeOfXLogRecordDataHeaderShort + 1];
	}			record;
	XLogReaderState reader;
	DecodedXLogRecord *decoded;
	char	   *problem;
	bool		kept;

	memset(&record, 0, sizeof(record));
	memset(&reader, 0, sizeof(reader));
	record.header.xl_tot_len = SizeOfXLogRecord + SizeOfXLogRecordDataHeaderShort + 1;
	record.data[SizeOfXLogRecord] = (char) XLR_BLOCK_ID_DATA_SHORT;
	record.data[SizeOfXLogRecord + 1] = 1;
	tv_wal_set_spare(&record.header, spare);
	decoded = palloc0(DecodeXLogRecordRequiredSpace(record.header.xl_tot_len));
	kept = DecodeXLogRecord(&reader, decoded, &record.header, 0, &problem) &&
		tv_wal_get_spare(&decoded->header) == spare;
	pfree(decoded);
	return kept;
}

typedef struct Cursor
{
	const char *pos;
	const char *end;
	bool		failed;
} Cursor;

static void
take(Cursor *c, void *out, size_t len)
{
	if (unlikely((size_t) (c->end - c->pos) < len))
	{
		memset(out, 0, len);
		c->failed = true;
		return;
	}
	memcpy(out, c->pos, len);
	c->pos += len;
}

/* As xlogreader.c, DecodeXLogRecord. */
static void
parse_block(Cursor *c, uint8 id, RelFileNode *node, TvWalBlock *block)
{
	memset(block, 0, sizeof(*block));
	block->id = id;
	take(c, &block->flags, sizeof(uint8));
	take(c, &block->data_len, sizeof(uint16));
	if (block->flags & BKPBLOCK_HAS_IMAGE)
	{
		take(c, &block->image_len, sizeof(uint16));
		take(c, &block->hole_offset, sizeof(uint16));
		take(c, &block->image_info, sizeof(uint8));
		if (!BKPIMAGE_COMPRESSED(block->image_info))
			block->hole_length = BLCKSZ - block->image_len;
		else if (block->image_info & BKPIMAGE_HAS_HOLE)
			take(c, &block->hole_length, sizeof(uint16));
	}
	if (!(block->flags & BKPBLOCK_SAME_REL))
		take(c, node, sizeof(RelFileNode));
	block->tablespace = node->spcNode;
	block->database = node->dbNode;
	block->relation = node->relNode;
	take(c, &block->block, sizeof(BlockNumber));
}

bool
tv_wal_record_parse(const XLogRecData *rdata, TvWalRecord *record)
{
	const XLogRecord *header = (const XLogRecord *) rdata->data;
	TvWalHead  *head = &record->head;
	RelFileNode node = {0};
	Cursor		c;
	uint8		id;
	uint8		len;

	memset(head, 0, sizeof(*head));
	head->rmid = header->xl_rmid;
	head->info = header->xl_info;
	head->xid = header->xl_xid;
	head->origin = InvalidRepOriginId;
	c.pos = rdata->data + SizeOfXLogRecord;
	c.end = rdata->data + rdata->len;
	c.failed = false;
	for (;;)
	{
		record->frame_len = c.pos - rdata->data;
		if (c.pos == c.end)
			return !c.failed;
		take(&c, &id, sizeof(id));
		if (id <= XLR_MAX_BLOCK_ID)
		{
			if (head->blocks == TV_WAL_BLOCKS_MAX)
				return false;
			parse_block(&c, id, &node, &record->blocks[head->blocks++]);
		}
		else if (id == XLR_BLOCK_ID_ORIGIN)
			take(&c, &head->origin, sizeof(RepOriginId));
		else if (id == XLR_BLOCK_ID_TOPLEVEL_XID)
			take(&c, &head->toplevel_xid, sizeof(TransactionId));
		else if (id == XLR_BLOCK_ID_DATA_SHORT)
		{
			take(&c, &len, sizeof(len));
			head->main_len = len;
			return !c.failed && c.pos == c.end;
		}
		else if (id == XLR_BLOCK_ID_DATA_LONG)
		{
			take(&c, &head->main_len, sizeof(uint32));
			return !c.failed && c.pos == c.end;
		}
		else
			return false;
		if (c.failed)
			return false;
	}
}

size_t
tv_wal_record_aad(const TvWalRecord *record, uint8 *out)
{
	uint8	   *pos = tv_wal_aad_head(&record->head, out);

	for (int i = 0; i < record->head.blocks; i++)
		pos = tv_wal_aad_block(&record->blocks[i], pos);
	return pos - out;
}
