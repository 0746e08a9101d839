/*
 * tv_wal_missing.h
 *	  WAL whose key no longer exists.
 *
 * A key is destroyed with its table.  A base backup may hold a keyring copied
 * after that, and WAL from before: its records about the table are skipped,
 * and its removal follows.  But a keyring that is merely too old, or not this
 * cluster's, must not lose data: so what was skipped is remembered, and once
 * the data is consistent the file must be gone.  The server treats records
 * about files that do not exist in the same way (xlogutils.c,
 * log_invalid_page).
 */
#ifndef TV_WAL_MISSING_H
#define TV_WAL_MISSING_H

#include "postgres.h"

#include "access/xlogreader.h"

/* The record was skipped, for the keyring does not hold key. May be FATAL. */
extern void tv_wal_missing_note(const DecodedXLogRecord *record, uint64 key, uint16 epoch);

/* Check, once the data is consistent; cheap.  FATAL if a file is left. */
extern void tv_wal_missing_check(void);

/* Check now: recovery ends. */
extern void tv_wal_missing_finish(void);

#endif							/* TV_WAL_MISSING_H */
