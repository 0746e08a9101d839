/*
 * tv_wal_keyring.h
 *	  WAL records that carry the keyring's changes.
 */
#ifndef TV_WAL_KEYRING_H
#define TV_WAL_KEYRING_H

/* In _PG_init: register the resource manager, have the keyring logged. */
extern void tv_wal_keyring_init(void);

/*
 * A checkpoint's record is about to be inserted, or was read: have the keyring's
 * file durable up to here.  While fsync is off a checkpoint syncs nothing (sync.c,
 * ProcessSyncRequests), and a restartpoint neither, so the file's header would
 * not know what WAL no longer brings back after a crash, and it would be cut off.
 */
extern void tv_wal_keyring_checkpoint(int elevel);

#endif							/* TV_WAL_KEYRING_H */
