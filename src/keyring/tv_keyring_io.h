/*
 * tv_keyring_io.h
 *	  The keyring file as bytes: paths, writing, syncing, walking records.
 *
 * Plain POSIX without palloc or throwing, because dropping a file happens
 * where the server can no longer fail.  Nothing here takes a lock.
 */
#ifndef TV_KEYRING_IO_H
#define TV_KEYRING_IO_H

#include "postgres.h"

#include "base/tv_status.h"
#include "keyring/tv_keyring_format.h"

#define TV_KEYRING_DIR "tde_vault"
#define TV_KEYRING_PATH "tde_vault/keyring"
#define TV_KEYRING_NEW_PATH "tde_vault/keyring.new"

/* Write len bytes at pos, all of them.  TV_ERR_IO if that fails. */
extern TvStatus tv_keyring_write_at(int fd, const void *data, size_t len, uint64 pos,
									const char *path, TvError *err);

/* Sync fd, which is open on path; nothing with fsync = off. */
extern TvStatus tv_keyring_sync_fd(int fd, const char *path, TvError *err);

/*
 * Data that may be lost after a failed fsync is not retried: the kernel may
 * report success the second time without having written it (fd.c,
 * data_sync_elevel).  WAL has what is lost, so recovery restores it.  So too
 * with data_sync_retry: the next record would come after a hole, and without
 * the keyring nothing can be read.
 */
extern void tv_keyring_panic_on_lost_sync(const TvError *err);

/* A header for a file that is to be made, with a new seed. */
extern TvStatus tv_keyring_make_header(TvKeyringHeader *header, uint64 generation,
									   TvError *err);
extern TvStatus tv_keyring_write_header(int fd, const char *path,
										const TvKeyringHeader *header, TvError *err);

/*
 * One record of a walk, at pos and len bytes long.  context is the walker's
 * caller's.  What it returns, if not TV_OK, ends the walk; it has set *err.
 */
typedef TvStatus (*TvRecordVisit) (const TvRecord *record, uint64 pos, size_t len,
								   void *context, TvError *err);

/*
 * Read the records of the file between its header and end, in order, and
 * visit each.  Every record must be whole: TV_ERR_CORRUPT and the like, with
 * *err set, as soon as one is not.
 */
extern TvStatus tv_keyring_walk(int fd, const char *path, const TvKeyringHeader *header,
								uint64 end, TvRecordVisit visit, void *context,
								TvError *err);

#endif							/* TV_KEYRING_IO_H */
