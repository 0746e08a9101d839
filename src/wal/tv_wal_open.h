/*
 * tv_wal_open.h
 *	  Open sealed WAL records that the server has read.
 */
#ifndef TV_WAL_OPEN_H
#define TV_WAL_OPEN_H

#include "postgres.h"

#include "access/xlogreader.h"

#include "base/tv_status.h"
#include "wal/tv_wal_format.h"
#include "wal/tv_wal_record.h"

typedef enum TvWalResult
{
	TV_WAL_OPENED,
	TV_WAL_KEY_GONE,			/* the keyring does not hold its key */
	TV_WAL_NO_KEY,				/* err: the key cannot be had now */
	TV_WAL_DAMAGED				/* err: record is not what was written */
} TvWalResult;

/*
 * Open the record in its own memory, and make it look as its resource manager
 * wrote it.  trailer: what it said about itself.  Unless OPENED, the record
 * is unchanged.
 */
extern TvWalResult tv_wal_open(DecodedXLogRecord *record, TvWalTrailer *trailer,
							   TvError *err);

/* Only read its trailer. */
static inline TvStatus
tv_wal_trailer_of(const DecodedXLogRecord *record, TvWalTrailer *trailer, size_t *used)
{
	return tv_wal_trailer_decode((const uint8_t *) record->main_data,
								 record->main_data_len, tv_wal_get_spare(&record->header),
								 trailer, used);
}

#endif							/* TV_WAL_OPEN_H */
