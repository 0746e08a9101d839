/*
 * tv_keyring_store.c
 *	  The keyring file: append, sync, read one record again.
 *
 * Appends go to the end, in order, under TV_LOCK_KEYRING_FILE; a reader of a
 * single record takes it shared, so that compaction cannot move the record.
 */
#include "keyring/tv_keyring_internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "common/file_perm.h"
#include "storage/fd.h"

#include "base/tv_file.h"
#include "base/tv_shmem.h"
#include "keyring/tv_keyring_io.h"

static TvKeyringLog log_record = NULL;

void
tv_keyring_set_log(TvKeyringLog log)
{
	log_record = log;
}

/* Make an empty keyring: complete before it has its name. */
static TvStatus
create_file(TvError *err)
{
	TvKeyringShared *shared = tv_keyring_shared;
	TvKeyringHeader header;
	TvStatus	status;
	int			fd;

	if (mkdir(TV_KEYRING_DIR, pg_dir_create_mode) != 0 && errno != EEXIST)
		return tv_io_error(err, "create directory", TV_KEYRING_DIR);
	status = tv_keyring_make_header(&header, 1, err);
	if (status != TV_OK)
		return status;
	fd = open(TV_KEYRING_NEW_PATH, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, pg_file_create_mode);
	if (fd < 0)
		return tv_io_error(err, "create", TV_KEYRING_NEW_PATH);
	status = tv_keyring_write_header(fd, TV_KEYRING_NEW_PATH, &header, err);
	if (status == TV_OK)
		status = tv_keyring_sync_fd(fd, TV_KEYRING_NEW_PATH, err);
	close(fd);
	if (status != TV_OK)
		return status;
	if (rename(TV_KEYRING_NEW_PATH, TV_KEYRING_PATH) != 0)
		return tv_io_error(err, "rename", TV_KEYRING_NEW_PATH);
	status = tv_sync_directory(TV_KEYRING_DIR, err);
	if (status == TV_OK)
		status = tv_sync_directory(".", err);
	if (status != TV_OK)
		return status;
	shared->header = header;
	memcpy(shared->check, header.seed, sizeof(shared->check));
	pg_atomic_write_u64(&shared->appended, TV_KEYRING_SECTOR);
	pg_atomic_write_u64(&shared->flushed, TV_KEYRING_SECTOR);
	shared->exists = true;
	return TV_OK;
}

/*
 * The keyring file, which this process keeps open until compaction or somebody
 * else has put another in its place.  The caller holds the file's lock, at
 * least shared.
 */
static TvStatus
open_file(int *fd, TvError *err)
{
	static int	kept = -1;
	static uint64 kept_generation = 0;
	static bool reserved = false;
	struct stat st;

	if (kept >= 0 && kept_generation == tv_keyring_shared->header.generation &&
		fstat(kept, &st) == 0 && st.st_nlink > 0)
	{
		*fd = kept;
		return TV_OK;
	}
	if (!reserved)
	{
		ReserveExternalFD();	/* one for good; does not throw (fd.c) */
		reserved = true;
	}
	if (kept >= 0)
		close(kept);
	kept = open(TV_KEYRING_PATH, O_RDWR | O_CLOEXEC);
	if (kept < 0)
		return tv_io_error(err, "open", TV_KEYRING_PATH);
	kept_generation = tv_keyring_shared->header.generation;
	*fd = kept;
	return TV_OK;
}

void
tv_keyring_flush_log(void)
{
	XLogRecPtr	logged = tv_keyring_shared->logged;

	/* what is replayed came from WAL that is durable */
	if (!XLogRecPtrIsInvalid(logged) && XLogInsertAllowed())
		XLogFlush(logged);
}

static void
sync_file(int fd)
{
	TvError		failure;

	if (tv_keyring_sync_fd(fd, TV_KEYRING_PATH, &failure) != TV_OK)
		tv_keyring_panic_on_lost_sync(&failure);
}

/*
 * Sync, then note in the header how far that reaches (itself not synced).  So
 * up to there WAL has it, too: recovery takes the file as it was then, and WAL
 * for what follows, so that nothing is left that WAL does not know and that a
 * standby or a restored backup would miss.  Only when the header is written does
 * it count: who comes next would else not write it again.
 */
static TvStatus
commit_file(int fd, TvError *err)
{
	TvKeyringShared *shared = tv_keyring_shared;
	TvKeyringHeader header = shared->header;
	TvStatus	status;

	tv_keyring_flush_log();
	sync_file(fd);
	header.committed = pg_atomic_read_u64(&shared->appended);
	status = tv_keyring_write_header(fd, TV_KEYRING_PATH, &header, err);
	if (status != TV_OK)
		return status;
	shared->header.committed = header.committed;
	pg_atomic_write_u64(&shared->flushed, header.committed);
	return TV_OK;
}

/* Commit, and have the header on disk say so. */
static TvStatus
commit_header(int fd, TvError *err)
{
	TvKeyringShared *shared = tv_keyring_shared;
	TvStatus	status = TV_OK;

	if (pg_atomic_read_u64(&shared->flushed) != pg_atomic_read_u64(&shared->appended))
		status = commit_file(fd, err);
	if (status != TV_OK)
		return status;
	if (shared->header_synced != shared->header.committed)
		sync_file(fd);
	shared->header_synced = shared->header.committed;
	return TV_OK;
}

/* What a crash left behind the last good record must not follow a new one. */
static TvStatus
cut_tail(int fd, uint64 pos, TvError *err)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return tv_io_error(err, "stat", TV_KEYRING_PATH);
	if ((uint64) st.st_size > pos && ftruncate(fd, (off_t) pos) != 0)
		return tv_io_error(err, "truncate", TV_KEYRING_PATH);
	return TV_OK;
}

/*
 * Of a record that is replayed: need it not be appended?  That is so if the
 * tables say the same already.  It is also so for a file whose key is gone:
 * the keyring was copied (by a base backup) after the table had been dropped
 * and its key destroyed, and what follows drops the file.
 */
static TvStatus
check_replayed(const TvRecord *record, const void *context, bool *skip, TvError *err)
{
	*skip = tv_keyring_is_known(record) ||
		(record->type == TV_RECORD_FILE &&
		 tv_keyring_find_key(record->u.file.table_key, 0) == NULL);
	return TV_OK;
}

/*
 * The file has the record, up to end: have it count.  Who sees in the tables
 * what it says must find it in WAL (a record that is sealed under a new version
 * of a key must not come before that version), and see that there is something
 * to be committed (a page must not reach the disk before).  So all of that is
 * done behind the tables' lock.
 */
static TvStatus
publish(const TvRecord *record, uint64 pos, uint64 end, bool *registered, TvError *err)
{
	TvKeyringShared *shared = tv_keyring_shared;
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvStatus	status;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	status = tv_keyring_apply(record, pos, err);
	if (status == TV_OK)
	{
		pg_atomic_write_u64(&shared->appended, end);
		*registered = log_record == NULL || log_record(record);
		if (log_record && XLogInsertAllowed())
			shared->logged = XactLastRecEnd;
	}
	LWLockRelease(lock);
	return status;
}

/*
 * Where in WAL a new record stands: replay can then tell whether the keyring
 * has moved on from it.  Under the file's lock, so in the order of the records.
 */
static void
stamp(TvRecord *record)
{
	XLogRecPtr	lsn = RecoveryInProgress() ? GetXLogReplayRecPtr(NULL) : GetXLogInsertRecPtr();

	if (record->type == TV_RECORD_FILE)
		record->u.file.lsn = lsn;
	else if (record->type == TV_RECORD_FILE_DROPPED || record->type == TV_RECORD_FILE_FORGOTTEN ||
			 record->type == TV_RECORD_FILE_RELEASED)
		record->u.removal.lsn = lsn;
	else if (record->type == TV_RECORD_TABLE_KEY_FLOOR)
		record->u.key_floor.lsn = lsn;
	else if (record->type == TV_RECORD_ANCHOR)
		record->u.anchor.lsn = lsn;
}

/* Write a record to the end of the file fd, and have it count. */
static TvStatus
append_record(int fd, const TvRecord *record, bool sync, TvError *err)
{
	TvKeyringShared *shared = tv_keyring_shared;
	uint64		pos = pg_atomic_read_u64(&shared->appended);
	uint8		buf[TV_KEYRING_RECORD_MAX];
	uint8		check[TV_KEYRING_CHECK_LEN];
	size_t		len;
	bool		registered = true;
	TvStatus	status = TV_OK;

	memcpy(check, shared->check, sizeof(check));
	len = tv_keyring_record_encode(record, check, buf, sizeof(buf));
	if (len == 0)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT, "keyring record is too long");
	status = cut_tail(fd, pos, err);
	if (status == TV_OK)
		status = tv_keyring_write_at(fd, buf, len, pos, TV_KEYRING_PATH, err);
	if (status == TV_OK)
		status = publish(record, pos, pos + len, &registered, err);
	if (status == TV_ERR_NO_MEMORY && tv_keyring_sweep_dropped())
		status = publish(record, pos, pos + len, &registered, err);
	if (status != TV_OK)
	{
		/* leave no half record; the next append overwrites what stays */
		if (ftruncate(fd, (off_t) pos) != 0)
			elog(LOG, "could not truncate file \"%s\": %m", TV_KEYRING_PATH);
		return status;
	}
	memcpy(shared->check, check, sizeof(check));
	if (!registered)
		return commit_header(fd, err);
	return sync ? commit_file(fd, err) : TV_OK;
}

static TvStatus
append_if(TvRecord record, bool is_new, bool sync, TvAppendCheck check,
		  const void *context, bool *appended, TvError *err)
{
	LWLock	   *file_lock = tv_shmem_lock(TV_LOCK_KEYRING_FILE);
	LWLock	   *table_lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	bool		skip = false;
	TvStatus	status = TV_OK;
	int			fd;

	LWLockAcquire(file_lock, LW_EXCLUSIVE);
	if (check)
	{
		LWLockAcquire(table_lock, LW_SHARED);
		status = check(&record, context, &skip, err);
		LWLockRelease(table_lock);
	}
	if (status == TV_OK && !skip)
	{
		if (!tv_keyring_shared->exists)
			status = create_file(err);
		if (status == TV_OK)
			status = open_file(&fd, err);
		if (is_new)
			stamp(&record);
		if (status == TV_OK)
			status = append_record(fd, &record, sync, err);
		if (status == TV_OK)
			tv_keyring_tidy(fd);
	}
	LWLockRelease(file_lock);
	if (appended)
		*appended = status == TV_OK && !skip;
	return status;
}

TvStatus
tv_keyring_append_if(const TvRecord *record, bool sync, TvAppendCheck check,
					 const void *context, bool *appended, TvError *err)
{
	return append_if(*record, true, sync, check, context, appended, err);
}

TvStatus
tv_keyring_append(const TvRecord *record, bool sync, TvError *err)
{
	return tv_keyring_append_if(record, sync, NULL, NULL, NULL, err);
}

TvStatus
tv_keyring_replay(const TvRecord *record, TvError *err)
{
	return append_if(*record, false, false, check_replayed, NULL, NULL, err);
}

TvStatus
tv_keyring_checkpoint(TvError *err)
{
	TvKeyringShared *shared = tv_keyring_shared;
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_FILE);
	TvStatus	status = TV_OK;
	int			fd;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (shared->exists &&
		(shared->header_synced != shared->header.committed ||
		 pg_atomic_read_u64(&shared->flushed) != pg_atomic_read_u64(&shared->appended)))
	{
		status = open_file(&fd, err);
		if (status == TV_OK)
			status = commit_header(fd, err);
	}
	LWLockRelease(lock);
	return status;
}

TvStatus
tv_keyring_flush(TvError *err)
{
	TvKeyringShared *shared = tv_keyring_shared;
	LWLock	   *lock;
	TvStatus	status;
	int			fd;

	if (pg_atomic_read_u64(&shared->flushed) == pg_atomic_read_u64(&shared->appended))
		return TV_OK;
	lock = tv_shmem_lock(TV_LOCK_KEYRING_FILE);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	status = open_file(&fd, err);
	if (status == TV_OK &&
		pg_atomic_read_u64(&shared->flushed) != pg_atomic_read_u64(&shared->appended))
		status = commit_file(fd, err);
	LWLockRelease(lock);
	return status;
}

TvStatus
tv_keyring_read_at(uint64 pos, TvRecord *record, TvError *err)
{
	uint8		buf[TV_KEYRING_RECORD_MAX];
	uint8		before[TV_KEYRING_CHECK_LEN];
	ssize_t		got;
	size_t		used;
	TvStatus	status;
	int			fd;

	/*
	 * The record's check is chained to the one before it, which stands right
	 * before it in the file; before the first one it is the header's seed.
	 */
	status = open_file(&fd, err);
	if (status != TV_OK)
		return status;
	if (pos == TV_KEYRING_SECTOR)
		memcpy(before, tv_keyring_shared->header.seed, sizeof(before));
	else if (pg_pread(fd, before, sizeof(before), (off_t) (pos - sizeof(before))) != sizeof(before))
		status = tv_io_error(err, "read", TV_KEYRING_PATH);
	got = pg_pread(fd, buf, sizeof(buf), (off_t) pos);
	if (status == TV_OK && got < 0)
		status = tv_io_error(err, "read", TV_KEYRING_PATH);
	if (status != TV_OK)
		return status;
	status = tv_keyring_record_decode(buf, got, pos, before, record, &used);
	if (status != TV_OK)
	{
		(void) tv_error(err, TV_ERR_CORRUPT,
						"keyring was changed while the server runs, at byte " UINT64_FORMAT, pos);
		tv_error_hint(err, "Restore the file \"%s\" from a backup of the keyring.", TV_KEYRING_PATH);
		return TV_ERR_CORRUPT;
	}
	return TV_OK;
}
