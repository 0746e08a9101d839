/*
 * tv_wal_logged.h
 *	  WAL records that carry whole small files of the layers above.
 *
 * A file that is no relation's (a vault policy, say) is logged as a whole, so
 * that a standby, a base backup and recovery to a point in time have it.  The
 * bytes are the owner's, sealed by it; this layer moves them.
 */
#ifndef TV_WAL_LOGGED_H
#define TV_WAL_LOGGED_H

#include "postgres.h"

#include "access/xlogdefs.h"

/* On disk: never renumber. */
typedef enum TvLoggedKind
{
	TV_LOGGED_POLICY = 1		/* vault policy; id is the database */
} TvLoggedKind;

#define TV_LOGGED_KINDS 2		/* highest and one */

/*
 * Called in recovery: make the file number id hold data (len 0: remove it).
 * data is good during the call.  May throw: recovery ends.
 */
typedef void (*TvLoggedRedo) (uint32 id, const uint8 *data, size_t len);

/* In _PG_init: who replays that kind. */
extern void tv_wal_logged_register(TvLoggedKind kind, TvLoggedRedo redo);

/* Bytes of a record before the file's. */
#define TV_LOGGED_PREFIX 8

/*
 * Log the file and flush WAL; returns the end of the log record, or
 * InvalidXLogRecPtr while WAL cannot be written (bootstrap, recovery).
 * record: TV_LOGGED_PREFIX bytes for this function, then len of the file.  The
 * caller holds back checkpoints (DELAY_CHKPT_START) until the file itself is
 * durable, else a crash could lose it.  Safe in critical sections.
 */
extern XLogRecPtr tv_wal_logged_insert(TvLoggedKind kind, uint32 id,
									   uint8 *record, size_t len);

/* In _PG_init: the resource manager. */
extern void tv_wal_logged_init(void);

#endif							/* TV_WAL_LOGGED_H */
