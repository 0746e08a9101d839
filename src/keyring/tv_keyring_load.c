/*
 * tv_keyring_load.c
 *	  Reading the keyring file when the server starts, in the postmaster.
 *
 * What cannot be read whole ends the start: a server must not run without
 * keys that it had.
 */
#include "keyring/tv_keyring_internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "base/tv_file.h"
#include "base/tv_report.h"
#include "base/tv_shmem.h"
#include "keyring/tv_keyring_io.h"

static void
load_failed(const char *path, TvError *err)
{
	if (err->hint[0] == '\0')
		tv_error_hint(err, "Do not delete it: it holds the wrapped keys of every encrypted table. Restore \"%s\" from a backup of the data directory.",
					  path);
	tv_report(FATAL, err);
}

/*
 * The file is a base backup's.  Tools copy a file only as far as it reached
 * when they first looked (pg_basebackup a moment before, pgBackRest when it
 * makes its list), and fill up with zeros what has become shorter.  All that
 * was there when the backup began comes before that, as compaction keeps
 * records in order; what came after is in the WAL that follows.
 */
static bool
ends_here(const uint8 *data, size_t len, uint64 pos)
{
	for (size_t i = pos + TV_KEYRING_RECORD_MAX; i < len; i++)
	{
		if (data[i] != 0)
			return false;
	}
	return true;
}

/* Records from the header to the end; returns where good records end. */
static uint64
load_records(const uint8 *data, size_t len, const TvKeyringHeader *header,
			 XLogRecPtr redo, bool clean, bool from_backup)
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
		if (from_backup && status == TV_ERR_TRUNCATED && ends_here(data, len, pos))
			return pos;
		if (status == TV_ERR_VERSION)
		{
			(void) tv_error(&err, status, "keyring holds a record of a newer version, at byte " UINT64_FORMAT, pos);
			tv_error_hint(&err, "Install the version of tde_vault that wrote it.");
			load_failed(TV_KEYRING_PATH, &err);
		}
		if (status == TV_ERR_TRUNCATED)
		{
			(void) tv_error(&err, status, "keyring is truncated at byte " UINT64_FORMAT, pos);
			tv_error_detail(&err, UINT64_FORMAT " bytes had been written durably.", header->committed);
			load_failed(TV_KEYRING_PATH, &err);
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
			load_failed(TV_KEYRING_PATH, &err);
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
	int			fd = open(TV_KEYRING_PATH, O_RDONLY | O_CLOEXEC);
	struct stat st;
	TvError		err;

	if (fd < 0 && errno == ENOENT)
		return false;
	if (fd < 0 || fstat(fd, &st) != 0)
	{
		(void) tv_io_error(&err, "open", TV_KEYRING_PATH);
		load_failed(TV_KEYRING_PATH, &err);
	}
	*data = MemoryContextAllocHuge(CurrentMemoryContext, st.st_size + 1);
	*len = st.st_size;
	if (pg_pread(fd, *data, *len, 0) != (ssize_t) *len)
	{
		(void) tv_io_error(&err, "read", TV_KEYRING_PATH);
		load_failed(TV_KEYRING_PATH, &err);
	}
	close(fd);
	return true;
}

/*
 * Cut the file to what was read of it: what follows must not count at a later
 * start, when it is no longer known why it did not.
 */
static void
cut_file(uint64 end)
{
	TvError		err;
	int			fd = open(TV_KEYRING_PATH, O_RDWR | O_CLOEXEC);

	tv_keyring_shared->header.committed = end;
	if (fd < 0 || ftruncate(fd, (off_t) end) != 0)
	{
		(void) tv_io_error(&err, "truncate", TV_KEYRING_PATH);
		load_failed(TV_KEYRING_PATH, &err);
	}
	if (tv_keyring_write_header(fd, TV_KEYRING_PATH, &tv_keyring_shared->header, &err) != TV_OK ||
		tv_keyring_sync_fd(fd, TV_KEYRING_PATH, &err) != TV_OK)
		load_failed(TV_KEYRING_PATH, &err);
	close(fd);
}

static void
cut_uncommitted(uint64 end, bool from_backup)
{
	cut_file(end);
	if (from_backup)
		ereport(LOG,
				(errmsg("keyring of the base backup ends at byte " UINT64_FORMAT, end),
				 errdetail("It grew, or was rewritten, while it was copied. The write-ahead log has what is missing.")));
	else
		ereport(LOG,
				(errmsg("keyring was cut to the " UINT64_FORMAT " bytes that were committed before the crash", end),
				 errdetail("The write-ahead log has what is missing.")));
}

/* Of this postmaster; its children inherit it. */
static bool from_backup = false;

bool
tv_keyring_from_backup(void)
{
	return from_backup;
}

void
tv_keyring_load(void)
{
	TvKeyringShared *shared = tv_keyring_shared;
	TvKeyringHeader header;
	TvError		err;
	uint8	   *data;
	size_t		len;
	size_t		counts;			/* bytes of it that do */
	bool		clean;
	uint64		end;
	XLogRecPtr	redo = tv_keyring_completed_checkpoint(&clean);
	struct stat st;

	if (!read_whole(&data, &len))
	{
		if (stat("tde_vault/sidecar", &st) == 0)
			ereport(FATAL,
					(errcode(ERRCODE_TV_KEYRING),
					 errmsg("keyring file \"%s\" is missing, but the cluster holds encrypted tables", TV_KEYRING_PATH),
					 errhint("Restore it from a backup of the data directory; without it the encrypted tables cannot be read.")));
		return;
	}
	if (tv_keyring_header_decode(data, len, &header, &err) != TV_OK)
		load_failed(TV_KEYRING_PATH, &err);
	if (header.system_identifier != GetSystemIdentifier())
	{
		(void) tv_error(&err, TV_ERR_CORRUPT, "keyring belongs to another database cluster");
		tv_error_detail(&err, "Its system identifier is " UINT64_FORMAT ", this cluster's is " UINT64_FORMAT ".",
						header.system_identifier, GetSystemIdentifier());
		load_failed(TV_KEYRING_PATH, &err);
	}
	from_backup = stat("backup_label", &st) == 0;
	if (header.committed > len && !from_backup)
	{
		(void) tv_error(&err, TV_ERR_TRUNCATED, "keyring is truncated: %zu bytes of " UINT64_FORMAT " are left",
						len, header.committed);
		load_failed(TV_KEYRING_PATH, &err);
	}

	shared->header = header;
	memcpy(shared->check, header.seed, sizeof(shared->check));
	/* a backup is recovered from where its label says, slots may read before */
	if (from_backup)
		clean = false;
	if (from_backup || has_slots())
		redo = InvalidXLogRecPtr;
	/*
	 * What was appended and not committed may be missing in WAL.  It must not
	 * count then: a standby would not have it.  Else WAL brings it back.
	 */
	counts = clean ? len : Min(len, header.committed);
	end = load_records(data, counts, &header, redo, clean, from_backup);
	if (!clean && end < Max(header.committed, len))
		cut_uncommitted(end, from_backup);
	pg_atomic_write_u64(&shared->appended, end);
	/* what a crash left unsynced is synced before it is relied on */
	pg_atomic_write_u64(&shared->flushed, 0);
	shared->exists = true;
	pfree(data);
	tv_keyring_sweep(redo, clean);
}

void
tv_keyring_recovered(void)
{
	LWLock	   *file_lock = tv_shmem_lock(TV_LOCK_KEYRING_FILE);
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_TABLE);

	LWLockAcquire(file_lock, LW_EXCLUSIVE);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	tv_keyring_sweep(InvalidXLogRecPtr, true);
	LWLockRelease(lock);
	LWLockRelease(file_lock);
}
