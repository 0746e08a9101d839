/*
 * tv_keyring_compact.c
 *	  Keeping the keyring small: freeing what no WAL refers to any more, and
 *	  rewriting the file without it.
 *
 * Runs under TV_LOCK_KEYRING_FILE, after an append.
 */
#include "keyring/tv_keyring_internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/controldata_utils.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "utils/timestamp.h"

#include "base/tv_file.h"
#include "base/tv_report.h"
#include "base/tv_shmem.h"
#include "keyring/tv_keyring_io.h"

#define COMPACT_MIN (1024 * 1024)	/* bytes: smaller files are left alone */
#define SWEEP_MIN 1024			/* dropped files that are worth a look */
#define SWEEP_EVERY 256			/* records */
#define BYTES_PER_FILE 96
#define BYTES_PER_KEY 160
#define COPY_BUFFER (16 * TV_KEYRING_RECORD_MAX)

/* The new file while it is written. */
typedef struct Copy
{
	int			fd;
	int64		now;
	uint64		written;		/* bytes of it */
	size_t		filled;			/* and in the buffer */
	uint8		check[TV_KEYRING_CHECK_LEN];
} Copy;

static uint8 copy_buffer[COPY_BUFFER];

static TvStatus
write_buffer(Copy *copy, TvError *err)
{
	TvStatus	status = tv_keyring_write_at(copy->fd, copy_buffer, copy->filled, copy->written,
											 TV_KEYRING_NEW_PATH, err);

	copy->written += copy->filled;
	copy->filled = 0;
	return status;
}

/* Visitor of the old file: copy a record that still says something. */
static TvStatus
copy_live(const TvRecord *record, uint64 pos, size_t len, void *context, TvError *err)
{
	Copy	   *copy = context;
	TvRecord	newest;
	uint64		instead;
	TvStatus	status = TV_OK;

	if (!tv_keyring_is_live(record, pos, copy->now, &instead))
		return TV_OK;
	if (instead != 0)
	{
		status = tv_keyring_read_at(instead, &newest, err);
		if (status != TV_OK)
			return status;
		record = &newest;
	}
	if (copy->filled + TV_KEYRING_RECORD_MAX > COPY_BUFFER)
		status = write_buffer(copy, err);
	len = tv_keyring_record_encode(record, copy->check, copy_buffer + copy->filled,
								   TV_KEYRING_RECORD_MAX);
	copy->filled += len;
	if (status == TV_OK && len == 0)
		status = tv_error(err, TV_ERR_INTERNAL, "keyring record cannot be copied");
	return status;
}

/* Visitor of the new file before it has its name: does it read back? */
static TvStatus
check_record(const TvRecord *record, uint64 pos, size_t len, void *context, TvError *err)
{
	return TV_OK;
}

/* Visitor of the new file: tell the tables where the record is now. */
static TvStatus
move_position(const TvRecord *record, uint64 pos, size_t len, void *context, TvError *err)
{
	tv_keyring_moved(record, pos);
	return TV_OK;
}

/* Write the live records of the file old_fd, then the header, and sync. */
static TvStatus
write_copy(int old_fd, Copy *copy, TvKeyringHeader *header, TvError *err)
{
	TvKeyringShared *shared = tv_keyring_shared;
	TvStatus	status;

	copy->now = GetCurrentTimestamp();
	copy->written = TV_KEYRING_SECTOR;
	copy->filled = 0;
	memcpy(copy->check, header->seed, sizeof(copy->check));
	status = tv_keyring_walk(old_fd, TV_KEYRING_PATH, &shared->header,
							 pg_atomic_read_u64(&shared->appended), copy_live, copy, err);
	if (status == TV_OK)
		status = write_buffer(copy, err);
	header->committed = copy->written;
	if (status == TV_OK)
		status = tv_keyring_write_header(copy->fd, TV_KEYRING_NEW_PATH, header, err);
	if (status == TV_OK)
		status = tv_keyring_walk(copy->fd, TV_KEYRING_NEW_PATH, header, copy->written,
								 check_record, NULL, err);
	/* all of it is committed: see commit_file */
	tv_keyring_flush_log();
	if (status == TV_OK)
		status = tv_keyring_sync_fd(copy->fd, TV_KEYRING_NEW_PATH, err);
	return status;
}

/*
 * The new file has its name: from now on it is the keyring.  That it cannot
 * be followed would leave this server with positions in a file that is gone,
 * so the server starts again, reading it.
 */
static void
adopt_copy(const Copy *copy, const TvKeyringHeader *header)
{
	TvKeyringShared *shared = tv_keyring_shared;
	TvError		failure;

	if (tv_keyring_walk(copy->fd, TV_KEYRING_PATH, header, copy->written, move_position,
						NULL, &failure) != TV_OK)
		tv_report(PANIC, &failure);
	tv_keyring_all_moved();
	shared->compacted = copy->written;
	shared->header = *header;
	shared->header_synced = header->committed;
	memcpy(shared->check, copy->check, sizeof(shared->check));
	pg_atomic_write_u64(&shared->appended, copy->written);
	pg_atomic_write_u64(&shared->flushed, copy->written);
	if (tv_sync_directory(TV_KEYRING_DIR, &failure) != TV_OK)
		tv_keyring_panic_on_lost_sync(&failure);
}

/*
 * Rewrite the file with live records only.  Until the rename the old file is
 * the keyring; a failure leaves it so.  The tables change only under the
 * file's lock, which is held; they are locked against readers only while
 * positions change.
 */
static TvStatus
compact(int old_fd, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	TvKeyringHeader header;
	Copy		copy;
	TvStatus	status;

	status = tv_keyring_make_header(&header, tv_keyring_shared->header.generation + 1, err);
	if (status != TV_OK)
		return status;
	copy.fd = open(TV_KEYRING_NEW_PATH, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, pg_file_create_mode);
	if (copy.fd < 0)
		return tv_io_error(err, "create", TV_KEYRING_NEW_PATH);
	LWLockAcquire(lock, LW_SHARED);
	status = write_copy(old_fd, &copy, &header, err);
	LWLockRelease(lock);
	if (status == TV_OK && rename(TV_KEYRING_NEW_PATH, TV_KEYRING_PATH) != 0)
		status = tv_io_error(err, "rename", TV_KEYRING_NEW_PATH);
	if (status == TV_OK)
	{
		LWLockAcquire(lock, LW_EXCLUSIVE);
		adopt_copy(&copy, &header);
		LWLockRelease(lock);
	}
	close(copy.fd);
	return status;
}

/* Is most of the file about what no longer exists? */
static bool
wants_compaction(void)
{
	TvKeyringShared *shared = tv_keyring_shared;
	uint64		length = pg_atomic_read_u64(&shared->appended);
	uint64		live = (uint64) shared->n_files * BYTES_PER_FILE +
		((uint64) shared->n_keys + shared->n_rewrapped) * BYTES_PER_KEY;

	/* never twice for a few records, should the estimate be wrong */
	return length > COMPACT_MIN && length / 2 > live &&
		length - shared->compacted > length / 4;
}

XLogRecPtr
tv_keyring_completed_checkpoint(bool *clean)
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

XLogRecPtr
tv_keyring_horizon(void)
{
	bool		clean;
	XLogRecPtr	redo = tv_keyring_completed_checkpoint(&clean);
	XLogRecPtr	slots = ReplicationSlotsComputeLogicalRestartLSN();

	return XLogRecPtrIsInvalid(slots) ? redo : Min(redo, slots);
}

bool
tv_keyring_sweep_dropped(void)
{
	TvKeyringShared *shared = tv_keyring_shared;
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	XLogRecPtr	before = tv_keyring_horizon();

	shared->since_sweep = 0;
	if (before == shared->swept)
		return false;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	tv_keyring_sweep(before, false);
	LWLockRelease(lock);
	shared->swept = before;
	return true;
}

void
tv_keyring_tidy(int fd)
{
	TvKeyringShared *shared = tv_keyring_shared;
	TvError		err;

	if (shared->n_dropped > SWEEP_MIN && shared->n_dropped > shared->n_files / 4 &&
		++shared->since_sweep >= SWEEP_EVERY)
		tv_keyring_sweep_dropped();
	if (wants_compaction() && compact(fd, &err) != TV_OK)
		elog(LOG, "could not compact the keyring, will try again: %s", err.message);
}

TvStatus
tv_keyring_compact_now(TvError *err)
{
	TvStatus	status;
	int			fd = open(TV_KEYRING_PATH, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return tv_io_error(err, "open", TV_KEYRING_PATH);
	status = compact(fd, err);
	close(fd);
	return status;
}

bool
tv_keyring_shed_wraps(TvError *err)
{
	TvKeyringShared *shared = tv_keyring_shared;
	LWLock	   *file_lock = tv_shmem_lock(TV_LOCK_KEYRING_FILE);
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);
	bool		stale;

	err->status = TV_OK;
	LWLockAcquire(file_lock, LW_EXCLUSIVE);
	if (shared->n_dropped > 0)
		tv_keyring_sweep_dropped();
	LWLockAcquire(lock, LW_SHARED);
	stale = shared->exists &&
		(shared->n_stale_wraps > 0 || tv_keyring_has_outlived(GetCurrentTimestamp()));
	LWLockRelease(lock);
	if (stale)
		err->status = tv_keyring_compact_now(err);
	LWLockRelease(file_lock);
	return stale && err->status == TV_OK;
}
