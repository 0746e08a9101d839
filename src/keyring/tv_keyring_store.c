/*
 * tv_keyring_store.c
 *	  The keyring file: load, append, sync, compact.
 *
 * Appends go to the end, in order, under TV_LOCK_KEYRING_FILE; a reader of a
 * single record takes it shared, so that compaction cannot move the record.
 * File access is plain POSIX without palloc or throwing, because dropping a
 * file happens where the server can no longer fail.
 */
#include "keyring/tv_keyring_internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "base/tv_report.h"
#include "base/tv_shmem.h"
#include "crypto/tv_kdf.h"

#define KEYRING_DIR "tde_vault"
#define KEYRING_PATH "tde_vault/keyring"
#define KEYRING_NEW_PATH "tde_vault/keyring.new"
#define COMPACT_MIN (1024 * 1024)	/* bytes: smaller files are left alone */
#define SWEEP_MIN 1024			/* dropped files that are worth a look */
#define SWEEP_EVERY 256			/* records */
#define BYTES_PER_FILE 96
#define BYTES_PER_KEY 160

static TvKeyringLog log_record = NULL;

void
tv_keyring_set_log(TvKeyringLog log)
{
	log_record = log;
}

static TvStatus
io_error(TvError *err, const char *what, const char *path)
{
	TvStatus	status = tv_error(err, TV_ERR_IO, "could not %s file \"%s\": %s",
								  what, path, strerror(errno));

	if (errno == ENOSPC)
		tv_error_hint(err, "Free space on the file system that holds the data directory.");
	return status;
}

static TvStatus
write_at(int fd, const void *data, size_t len, uint64 pos, const char *path, TvError *err)
{
	ssize_t		done;

	errno = 0;
	done = pg_pwrite(fd, data, len, (off_t) pos);
	if (done != (ssize_t) len)
	{
		if (errno == 0)
			errno = ENOSPC;		/* as fd.c: a short write without errno */
		return io_error(err, "write", path);
	}
	return TV_OK;
}

static TvStatus
sync_fd(int fd, const char *path, TvError *err)
{
	if (pg_fsync(fd) != 0)
		return io_error(err, "fsync", path);
	return TV_OK;
}

/*
 * Data that may be lost after a failed fsync is not retried: the kernel may
 * report success the second time without having written it (fd.c,
 * data_sync_elevel).  WAL has what is lost, so recovery restores it.
 */
static void
panic_on_lost_sync(const TvError *err)
{
	if (data_sync_elevel(WARNING) == PANIC)
		tv_report(PANIC, err);
}

static TvStatus
sync_directory(const char *path, TvError *err)
{
	int			fd;
	TvStatus	status;

	if (!enableFsync)
		return TV_OK;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return io_error(err, "open", path);
	status = fsync(fd) == 0 ? TV_OK : io_error(err, "fsync", path);
	close(fd);
	return status;
}

static TvStatus
write_header(int fd, const char *path, const TvKeyringHeader *header, TvError *err)
{
	uint8		sector[TV_KEYRING_SECTOR];

	tv_keyring_header_encode(header, sector);
	return write_at(fd, sector, sizeof(sector), 0, path, err);
}

static TvStatus
make_header(TvKeyringHeader *header, uint64 generation)
{
	memset(header, 0, sizeof(*header));
	header->version = TV_KEYRING_VERSION;
	header->system_identifier = GetSystemIdentifier();
	header->generation = generation;
	header->committed = TV_KEYRING_SECTOR;
	return tv_random(header->seed, sizeof(header->seed));
}

/* Make an empty keyring: complete before it has its name. */
static TvStatus
create_file(TvError *err)
{
	TvKeyringShared *shared = tv_keyring_shared;
	TvKeyringHeader header;
	TvStatus	status;
	int			fd;

	if (mkdir(KEYRING_DIR, S_IRWXU) != 0 && errno != EEXIST)
		return io_error(err, "create directory", KEYRING_DIR);
	status = make_header(&header, 1);
	if (status != TV_OK)
		return tv_error(err, status, "could not get random bytes");
	fd = open(KEYRING_NEW_PATH, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (fd < 0)
		return io_error(err, "create", KEYRING_NEW_PATH);
	status = write_header(fd, KEYRING_NEW_PATH, &header, err);
	if (status == TV_OK)
		status = sync_fd(fd, KEYRING_NEW_PATH, err);
	close(fd);
	if (status != TV_OK)
		return status;
	if (rename(KEYRING_NEW_PATH, KEYRING_PATH) != 0)
		return io_error(err, "rename", KEYRING_NEW_PATH);
	status = sync_directory(KEYRING_DIR, err);
	if (status == TV_OK)
		status = sync_directory(".", err);
	if (status != TV_OK)
		return status;
	shared->header = header;
	memcpy(shared->check, header.seed, sizeof(shared->check));
	pg_atomic_write_u64(&shared->appended, TV_KEYRING_SECTOR);
	pg_atomic_write_u64(&shared->flushed, TV_KEYRING_SECTOR);
	shared->exists = true;
	return TV_OK;
}

static TvStatus
open_file(int *fd, TvError *err)
{
	*fd = open(KEYRING_PATH, O_RDWR | O_CLOEXEC);
	if (*fd < 0)
		return io_error(err, "open", KEYRING_PATH);
	return TV_OK;
}

/* Sync, then note in the header how far that reaches (itself not synced). */
static TvStatus
commit_file(int fd, TvError *err)
{
	TvKeyringShared *shared = tv_keyring_shared;
	TvError		failure;
	TvStatus	status = sync_fd(fd, KEYRING_PATH, &failure);

	if (status != TV_OK)
	{
		panic_on_lost_sync(&failure);
		if (err)
			*err = failure;
		return status;
	}
	shared->header.committed = pg_atomic_read_u64(&shared->appended);
	pg_atomic_write_u64(&shared->flushed, shared->header.committed);
	return write_header(fd, KEYRING_PATH, &shared->header, err);
}

/* Copy the live records from one file to the other; positions into the tables. */
static TvStatus
copy_live(int from, int to, TvKeyringHeader *header, uint8 *check, uint64 *length, TvError *err)
{
	uint64		end = pg_atomic_read_u64(&tv_keyring_shared->appended);
	uint64		pos = TV_KEYRING_SECTOR;
	uint64		out = TV_KEYRING_SECTOR;
	uint8		old_check[TV_KEYRING_CHECK_LEN];

	memcpy(old_check, tv_keyring_shared->header.seed, sizeof(old_check));
	memcpy(check, header->seed, TV_KEYRING_CHECK_LEN);
	while (pos < end)
	{
		uint8		buf[TV_KEYRING_RECORD_MAX];
		uint8		encoded[TV_KEYRING_RECORD_MAX];
		ssize_t		got = pg_pread(from, buf, Min(sizeof(buf), end - pos), (off_t) pos);
		TvRecord	record;
		size_t		used;
		size_t		len;
		TvStatus	status;

		if (got <= 0)
			return io_error(err, "read", KEYRING_PATH);
		status = tv_keyring_record_decode(buf, got, pos, old_check, &record, &used);
		if (status != TV_OK)
			return tv_error(err, status, "keyring is damaged at byte " UINT64_FORMAT, pos);
		if (tv_keyring_is_live(&record, pos))
		{
			len = tv_keyring_record_encode(&record, check, encoded, sizeof(encoded));
			status = write_at(to, encoded, len, out, KEYRING_NEW_PATH, err);
			if (status != TV_OK)
				return status;
			out += len;
		}
		pos += used;
	}
	*length = out;
	return TV_OK;
}

/* After the rename: tell the tables where the records are now. */
static void
move_positions(int from)
{
	uint64		end = pg_atomic_read_u64(&tv_keyring_shared->appended);
	uint64		pos = TV_KEYRING_SECTOR;
	uint64		out = TV_KEYRING_SECTOR;
	uint8		check[TV_KEYRING_CHECK_LEN];

	memcpy(check, tv_keyring_shared->header.seed, sizeof(check));
	while (pos < end)
	{
		uint8		buf[TV_KEYRING_RECORD_MAX];
		ssize_t		got = pg_pread(from, buf, Min(sizeof(buf), end - pos), (off_t) pos);
		TvRecord	record;
		size_t		used;

		if (got <= 0 ||
			tv_keyring_record_decode(buf, got, pos, check, &record, &used) != TV_OK)
			return;
		if (tv_keyring_is_live(&record, pos))
		{
			tv_keyring_moved(&record, pos, out);
			out += used;
		}
		pos += used;
	}
}

/* Read the new file as a server that starts would. */
static TvStatus
check_copy(int fd, const TvKeyringHeader *header, uint64 length, TvError *err)
{
	uint64		pos = TV_KEYRING_SECTOR;
	uint8		check[TV_KEYRING_CHECK_LEN];

	memcpy(check, header->seed, sizeof(check));
	while (pos < length)
	{
		uint8		buf[TV_KEYRING_RECORD_MAX];
		ssize_t		got = pg_pread(fd, buf, Min(sizeof(buf), length - pos), (off_t) pos);
		TvRecord	record;
		size_t		used;
		TvStatus	status;

		if (got <= 0)
			return io_error(err, "read", KEYRING_NEW_PATH);
		status = tv_keyring_record_decode(buf, got, pos, check, &record, &used);
		if (status != TV_OK)
			return tv_error(err, status, "compacted keyring does not read back");
		pos += used;
	}
	return TV_OK;
}

/*
 * Rewrite the file with live records only.  Both locks are held exclusively.
 * Until the rename the old file is the keyring; a failure leaves it so.
 */
static TvStatus
compact(int old_fd, TvError *err)
{
	TvKeyringShared *shared = tv_keyring_shared;
	TvKeyringHeader header;
	uint8		check[TV_KEYRING_CHECK_LEN];
	uint64		length = 0;
	TvStatus	status;
	int			fd;

	status = make_header(&header, shared->header.generation + 1);
	if (status != TV_OK)
		return tv_error(err, status, "could not get random bytes");
	fd = open(KEYRING_NEW_PATH, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (fd < 0)
		return io_error(err, "create", KEYRING_NEW_PATH);
	status = copy_live(old_fd, fd, &header, check, &length, err);
	header.committed = length;
	if (status == TV_OK)
		status = write_header(fd, KEYRING_NEW_PATH, &header, err);
	if (status == TV_OK)
		status = check_copy(fd, &header, length, err);
	if (status == TV_OK)
		status = sync_fd(fd, KEYRING_NEW_PATH, err);
	if (status == TV_OK && rename(KEYRING_NEW_PATH, KEYRING_PATH) != 0)
		status = io_error(err, "rename", KEYRING_NEW_PATH);
	if (status == TV_OK)
	{
		move_positions(old_fd);
		shared->header = header;
		memcpy(shared->check, check, sizeof(check));
		pg_atomic_write_u64(&shared->appended, length);
		pg_atomic_write_u64(&shared->flushed, length);
		status = sync_directory(KEYRING_DIR, err);
		if (status != TV_OK && err)
			panic_on_lost_sync(err);
	}
	close(fd);
	return status;
}

/* Is most of the file about what no longer exists? */
static bool
wants_compaction(void)
{
	uint64		length = pg_atomic_read_u64(&tv_keyring_shared->appended);
	uint64		live = (uint64) tv_keyring_shared->n_files * BYTES_PER_FILE +
		(uint64) tv_keyring_shared->n_keys * BYTES_PER_KEY;

	return length > COMPACT_MIN && length / 2 > live;
}

/*
 * Where crash recovery would start now: the last checkpoint that is complete.
 * (GetRedoRecPtr() already tells of one in progress.)  0 if that cannot be
 * known; does not throw.  *clean: the server was shut down, no WAL follows.
 */
static XLogRecPtr
completed_checkpoint(bool *clean)
{
	MemoryContext context = CurrentMemoryContext;
	volatile XLogRecPtr redo = InvalidXLogRecPtr;

	*clean = false;
	PG_TRY();
	{
		bool		crc_ok;
		ControlFileData *control = get_controlfile(DataDir, &crc_ok);

		if (crc_ok)
			redo = control->checkPointCopy.redo;
		*clean = crc_ok && control->state == DB_SHUTDOWNED;
		pfree(control);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return redo;
}

/* No WAL before this will be read again: not by recovery, not by decoding. */
static XLogRecPtr
horizon(void)
{
	bool		clean;
	XLogRecPtr	redo = completed_checkpoint(&clean);
	XLogRecPtr	slots = ReplicationSlotsComputeLogicalRestartLSN();

	return XLogRecPtrIsInvalid(slots) ? redo : Min(redo, slots);
}

/* Free what no WAL refers to any more, if that can have become more. */
static bool
sweep_dropped(void)
{
	TvKeyringShared *shared = tv_keyring_shared;
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	XLogRecPtr	before = horizon();

	shared->since_sweep = 0;
	if (before == shared->swept)
		return false;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	tv_keyring_sweep(before, false);
	LWLockRelease(lock);
	shared->swept = before;
	return true;
}

static void
tidy(int fd)
{
	TvKeyringShared *shared = tv_keyring_shared;
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvError		err;

	if (shared->n_dropped > SWEEP_MIN && shared->n_dropped > shared->n_files / 4 &&
		++shared->since_sweep >= SWEEP_EVERY)
		sweep_dropped();
	if (!wants_compaction())
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (compact(fd, &err) != TV_OK)
		elog(LOG, "could not compact the keyring, will try again: %s", err.message);
	LWLockRelease(lock);
}

/* What a crash left behind the last good record must not follow a new one. */
static TvStatus
cut_tail(int fd, uint64 pos, TvError *err)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return io_error(err, "stat", KEYRING_PATH);
	if ((uint64) st.st_size > pos && ftruncate(fd, (off_t) pos) != 0)
		return io_error(err, "truncate", KEYRING_PATH);
	return TV_OK;
}

/*
 * Need the record not be appended?  That is so if the tables say the same
 * already.  It is also so for a file whose key is gone: the keyring was copied
 * (by a base backup) after the table had been dropped and its key destroyed,
 * and what follows drops the file.
 */
static bool
says_nothing(const TvRecord *record)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	bool		result;

	LWLockAcquire(lock, LW_SHARED);
	result = tv_keyring_is_known(record) ||
		(record->type == TV_RECORD_FILE &&
		 tv_keyring_find_key(record->u.file.table_key, 0) == NULL);
	LWLockRelease(lock);
	return result;
}

/* As tv_keyring_append(); with unless_known, only if that changes something. */
static TvStatus
append(const TvRecord *record, bool sync, bool unless_known, TvError *err)
{
	TvKeyringShared *shared = tv_keyring_shared;
	LWLock	   *file_lock = tv_shmem_lock(TV_LOCK_KEYRING_FILE);
	LWLock	   *table_lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	uint8		buf[TV_KEYRING_RECORD_MAX];
	uint8		check[TV_KEYRING_CHECK_LEN];
	uint64		pos;
	size_t		len;
	int			fd = -1;
	TvStatus	status = TV_OK;

	LWLockAcquire(file_lock, LW_EXCLUSIVE);
	if (unless_known && says_nothing(record))
	{
		LWLockRelease(file_lock);
		return TV_OK;
	}
	if (!shared->exists)
		status = create_file(err);
	if (status == TV_OK)
		status = open_file(&fd, err);
	if (status != TV_OK)
	{
		LWLockRelease(file_lock);
		return status;
	}

	pos = pg_atomic_read_u64(&shared->appended);
	memcpy(check, shared->check, sizeof(check));
	len = tv_keyring_record_encode(record, check, buf, sizeof(buf));
	if (len == 0)
		status = tv_error(err, TV_ERR_INVALID_ARGUMENT, "keyring record is too long");
	if (status == TV_OK)
		status = cut_tail(fd, pos, err);
	if (status == TV_OK)
		status = write_at(fd, buf, len, pos, KEYRING_PATH, err);
	if (status == TV_OK)
	{
		LWLockAcquire(table_lock, LW_EXCLUSIVE);
		status = tv_keyring_apply(record, pos, err);
		LWLockRelease(table_lock);
	}
	if (status == TV_ERR_NO_MEMORY && sweep_dropped())
	{
		LWLockAcquire(table_lock, LW_EXCLUSIVE);
		status = tv_keyring_apply(record, pos, err);
		LWLockRelease(table_lock);
	}
	if (status != TV_OK)
	{
		/* leave no half record; the next append overwrites what stays */
		if (ftruncate(fd, (off_t) pos) != 0)
			elog(LOG, "could not truncate file \"%s\": %m", KEYRING_PATH);
	}
	else
	{
		memcpy(shared->check, check, sizeof(check));
		pg_atomic_write_u64(&shared->appended, pos + len);
		if (log_record && !log_record(record, sync))
			sync = true;
		if (sync)
			status = commit_file(fd, err);
		tidy(fd);
	}
	close(fd);
	LWLockRelease(file_lock);
	return status;
}

TvStatus
tv_keyring_append(const TvRecord *record, bool sync, TvError *err)
{
	return append(record, sync, false, err);
}

TvStatus
tv_keyring_replay(const TvRecord *record, TvError *err)
{
	return append(record, false, true, err);
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
	if (status == TV_OK)
	{
		if (pg_atomic_read_u64(&shared->flushed) != pg_atomic_read_u64(&shared->appended))
			status = commit_file(fd, err);
		close(fd);
	}
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
		status = io_error(err, "read", KEYRING_PATH);
	got = pg_pread(fd, buf, sizeof(buf), (off_t) pos);
	if (status == TV_OK && got < 0)
		status = io_error(err, "read", KEYRING_PATH);
	close(fd);
	if (status != TV_OK)
		return status;
	status = tv_keyring_record_decode(buf, got, pos, before, record, &used);
	if (status != TV_OK)
	{
		(void) tv_error(err, TV_ERR_CORRUPT,
						"keyring was changed while the server runs, at byte " UINT64_FORMAT, pos);
		tv_error_hint(err, "Restore the file \"%s\" from a backup of the keyring.", KEYRING_PATH);
		return TV_ERR_CORRUPT;
	}
	return TV_OK;
}

static void
load_failed(const char *path, TvError *err)
{
	if (err->hint[0] == '\0')
		tv_error_hint(err, "Do not delete it: it holds the wrapped keys of every encrypted table. Restore \"%s\" from a backup of the data directory.",
					  path);
	tv_report(FATAL, err);
}

/* Records from the header to the end; returns where good records end. */
static uint64
load_records(const uint8 *data, size_t len, const TvKeyringHeader *header,
			 XLogRecPtr redo, bool clean)
{
	uint64		pos = TV_KEYRING_SECTOR;
	TvError		err;

	while (pos < len)
	{
		TvRecord	record;
		size_t		used;
		TvStatus	status;

		status = tv_keyring_record_decode(data + pos, len - pos, pos,
										  tv_keyring_shared->check, &record, &used);
		/* above that nothing was synced; after a crash, WAL has what is missing */
		if (pos >= header->committed &&
			(status == TV_ERR_TRUNCATED || (status == TV_ERR_CORRUPT && !clean)))
		{
			ereport(LOG,
					(errmsg("keyring ends in a record that a crash cut off, at byte " UINT64_FORMAT, pos),
					 errdetail("Nothing depends on it yet: it is dropped.")));
			return pos;
		}
		if (status == TV_ERR_VERSION)
		{
			(void) tv_error(&err, status, "keyring holds a record of a newer version, at byte " UINT64_FORMAT, pos);
			tv_error_hint(&err, "Install the version of tde_vault that wrote it.");
			load_failed(KEYRING_PATH, &err);
		}
		if (status == TV_ERR_TRUNCATED)
		{
			(void) tv_error(&err, status, "keyring is truncated at byte " UINT64_FORMAT, pos);
			tv_error_detail(&err, UINT64_FORMAT " bytes had been written durably.", header->committed);
			load_failed(KEYRING_PATH, &err);
		}
		if (status == TV_OK)
			status = tv_keyring_apply(&record, pos, &err);
		else
			(void) tv_error(&err, status, "keyring is damaged: the record at byte " UINT64_FORMAT " was changed", pos);
		if (status == TV_ERR_NO_MEMORY)
		{
			/* most of what is read may have been dropped since */
			tv_keyring_sweep(redo, false);
			status = tv_keyring_apply(&record, pos, &err);
		}
		if (status != TV_OK)
			load_failed(KEYRING_PATH, &err);
		pos += used;
	}
	return pos;
}

/* Is there a replication slot?  They are not in shared memory yet. */
static bool
has_slots(void)
{
	DIR		   *dir = AllocateDir("pg_replslot");
	struct dirent *entry;
	bool		found = false;

	while ((entry = ReadDirExtended(dir, "pg_replslot", LOG)) != NULL)
		found = found || entry->d_name[0] != '.';
	if (dir)
		FreeDir(dir);
	return found;
}

/* The whole file, palloc'd; false if there is none. */
static bool
read_whole(uint8 **data, size_t *len)
{
	int			fd = open(KEYRING_PATH, O_RDONLY | O_CLOEXEC);
	struct stat st;
	TvError		err;

	if (fd < 0 && errno == ENOENT)
		return false;
	if (fd < 0 || fstat(fd, &st) != 0)
	{
		(void) io_error(&err, "open", KEYRING_PATH);
		load_failed(KEYRING_PATH, &err);
	}
	*data = MemoryContextAllocHuge(CurrentMemoryContext, st.st_size + 1);
	*len = st.st_size;
	if (pg_pread(fd, *data, *len, 0) != (ssize_t) *len)
	{
		(void) io_error(&err, "read", KEYRING_PATH);
		load_failed(KEYRING_PATH, &err);
	}
	close(fd);
	return true;
}

void
tv_keyring_load(void)
{
	TvKeyringShared *shared = tv_keyring_shared;
	TvKeyringHeader header;
	TvError		err;
	uint8	   *data;
	size_t		len;
	bool		clean;
	XLogRecPtr	redo = completed_checkpoint(&clean);
	struct stat st;

	if (!read_whole(&data, &len))
	{
		if (stat("tde_vault/sidecar", &st) == 0)
			ereport(FATAL,
					(errcode(ERRCODE_TV_KEYRING),
					 errmsg("keyring file \"%s\" is missing, but the cluster holds encrypted tables", KEYRING_PATH),
					 errhint("Restore it from a backup of the data directory; without it the encrypted tables cannot be read.")));
		return;
	}
	if (tv_keyring_header_decode(data, len, &header, &err) != TV_OK)
		load_failed(KEYRING_PATH, &err);
	if (header.system_identifier != GetSystemIdentifier())
	{
		(void) tv_error(&err, TV_ERR_CORRUPT, "keyring belongs to another database cluster");
		tv_error_detail(&err, "Its system identifier is " UINT64_FORMAT ", this cluster's is " UINT64_FORMAT ".",
						header.system_identifier, GetSystemIdentifier());
		load_failed(KEYRING_PATH, &err);
	}
	if (header.committed > len)
	{
		(void) tv_error(&err, TV_ERR_TRUNCATED, "keyring is truncated: %zu bytes of " UINT64_FORMAT " are left",
						len, header.committed);
		load_failed(KEYRING_PATH, &err);
	}

	shared->header = header;
	memcpy(shared->check, header.seed, sizeof(shared->check));
	/* a backup is recovered from where its label says, slots may read before */
	if (stat("backup_label", &st) == 0)
		clean = false;
	if (stat("backup_label", &st) == 0 || has_slots())
		redo = InvalidXLogRecPtr;
	pg_atomic_write_u64(&shared->appended, load_records(data, len, &header, redo, clean));
	/* what a crash left unsynced is synced before it is relied on */
	pg_atomic_write_u64(&shared->flushed, 0);
	shared->exists = true;
	pfree(data);
	tv_keyring_sweep(redo, clean);
}

void
tv_keyring_recovered(void)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	tv_keyring_sweep(InvalidXLogRecPtr, true);
	LWLockRelease(lock);
}
