/*
 * tv_wal_record.h
 *	  A WAL record between the server's forms of it and ours.
 */
#ifndef TV_WAL_RECORD_H
#define TV_WAL_RECORD_H

#include "postgres.h"

#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogrecord.h"
#include "catalog/pg_control.h"
#include "replication/origin.h"
#include "storage/relfilenode.h"
#include "utils/memutils.h"

#include "wal/tv_wal_format.h"

/*
 * Resource managers.  Sealed records keep their xl_info and carry the number
 * of their own resource manager in the trailer; so a server without this
 * module refuses them, rather than replay ciphertext.
 */
#define TV_RMGR_KEYRING 216
#define TV_RMGR_SEALED 217
#define TV_RMGR_LOGGED 218

StaticAssertDecl(TV_WAL_BLOCKS_MAX == XLR_MAX_BLOCK_ID + 1,
				 "number of blocks in a record");

/*
 * Two bytes of padding in XLogRecord, before the checksum.  The server writes
 * zeros, covers them by the checksum, and otherwise leaves them alone; a reader
 * gets them with the header (xlogreader.c, DecodeXLogRecord).
 */
#define TV_WAL_SPARE_OFFSET (offsetof(XLogRecord, xl_rmid) + sizeof(RmgrId))

StaticAssertDecl(TV_WAL_SPARE_OFFSET + sizeof(uint16) == offsetof(XLogRecord, xl_crc),
				 "padding of a record header");

/* As a number, lowest byte first. */
static inline uint16
tv_wal_get_spare(const XLogRecord *header)
{
	const uint8 *at = (const uint8 *) header + TV_WAL_SPARE_OFFSET;

	return at[0] | (at[1] << 8);
}

static inline void
tv_wal_set_spare(XLogRecord *header, uint16 spare)
{
	uint8	   *at = (uint8 *) header + TV_WAL_SPARE_OFFSET;

	at[0] = spare & 0xff;
	at[1] = spare >> 8;
}

/*
 * The longest record that can be read: palloc'd by the server in whole WAL
 * pages, always one more than needed (xlogreader.c, allocate_recordbuf).
 */
#define TV_WAL_RECORD_MAX (MaxAllocSize / XLOG_BLCKSZ * XLOG_BLCKSZ - 1)

/* A record that recovery may start from. */
static inline bool
tv_wal_is_checkpoint(const XLogRecord *header)
{
	uint8		info = header->xl_info & ~XLR_INFO_MASK;

	return header->xl_rmid == RM_XLOG_ID &&
		(info == XLOG_CHECKPOINT_SHUTDOWN || info == XLOG_CHECKPOINT_ONLINE);
}

/* Does this server's reader keep them?  Without, nothing sealed can be read. */
extern bool tv_wal_spare_is_kept(void);

/* The headers of a record about to be inserted, parsed. */
typedef struct TvWalRecord
{
	TvWalHead	head;
	TvWalBlock	blocks[TV_WAL_BLOCKS_MAX];
	uint32		frame_len;		/* bytes of headers without that of the main data */
} TvWalRecord;

/*
 * Parse the headers of the record that rdata, assembled by the server, starts
 * with.  False if they are not as we know them.  Key and epoch stay 0.
 */
extern bool tv_wal_record_parse(const XLogRecData *rdata, TvWalRecord *record);

/* AAD (TV_WAL_AAD_MAX bytes); returns its length. */
extern size_t tv_wal_record_aad(const TvWalRecord *record, uint8 *out);

/* --- memory for the payload of one record --- */

/*
 * A record of 33 page images with as much block data, and main data: larger
 * ones exist (logical messages, commits with many relations), but not about
 * blocks.  Pages of the array that are never touched take no memory.
 */
#define TV_WAL_SMALL_LEN (1024 * 1024)
#define TV_WAL_BUFFER_ALIGN 64

extern uint8 tv_wal_small[TV_WAL_SMALL_LEN];
extern void *tv_wal_large;
extern uint8 *tv_wal_large_buffer(size_t len);

/*
 * Memory for len bytes of payload, aligned, and good until the next call.  No
 * palloc: up to 1 MB it is there from the start.  NULL when out of memory.
 */
static inline uint8 *
tv_wal_buffer(size_t len)
{
	return likely(len <= TV_WAL_SMALL_LEN && tv_wal_large == NULL) ?
		tv_wal_small : tv_wal_large_buffer(len);
}

#endif							/* TV_WAL_RECORD_H */
