/*
 * tv_audit_file.c
 *	  The file that the audit log goes on in: what is known of it, and whether
 *	  it is still the one under its name.
 */
#include "audit/tv_audit_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/tv_settings.h"
#include "base/tv_shmem.h"

#define LOOK_EVERY 10000		/* us */

TvAuditShared *tv_audit_shared = NULL;
int			tv_audit_fd = -1;

/* What tv_audit_fd is open on. */
static uint32 my_file = 0;
static uint64 my_log = 0;

static void
init_shared(void *memory)
{
	tv_audit_shared = memory;
	pg_atomic_init_u64(&tv_audit_shared->synced, 0);
	pg_atomic_init_u32(&tv_audit_shared->failures, 0);
}

void
tv_audit_file_init(void)
{
	static const TvShmemArea area = {
		"tde_vault audit", sizeof(TvAuditShared), init_shared
	};

	tv_shmem_add(&area);
}

void
tv_audit_path(const char *name, char path[MAXPGPATH])
{
	snprintf(path, MAXPGPATH, "%s/%s", tv_setting_audit_directory, name);
}

bool
tv_audit_end(TvAuditEnd *end)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_AUDIT);

	LWLockAcquire(lock, LW_SHARED);
	*end = tv_audit_shared->end;
	LWLockRelease(lock);
	return end->file != 0;
}

TvStatus
tv_audit_file_error(TvError *err, const char *what, const char *path)
{
	TvStatus	status = tv_error(err, TV_ERR_IO, "could not %s audit file \"%s\": %s",
								  what, path, strerror(errno));

	if (errno == ENOSPC || errno == EDQUOT)
		tv_error_hint(err, "Free space on the file system that holds tde_vault.audit_directory.");
	else
		tv_error_hint(err, "See to tde_vault.audit_directory: what cannot be audited is not done.");
	return status;
}

static void
close_file(void)
{
	if (tv_audit_fd >= 0)
		close(tv_audit_fd);
	tv_audit_fd = -1;
	my_file = 0;
}

static TvStatus
changed_outside(const char *path, TvError *err)
{
	(void) tv_error(err, TV_ERR_IO, "audit file \"%s\" was changed by somebody else", path);
	tv_error_hint(err, "What happened to it is recorded with the next event. Check the log with tde_vault.audit_verify().");
	return TV_ERR_IO;
}

static bool
is_file_of(const TvAuditEnd *end, const struct stat *st)
{
	return st->st_ino == end->inode && st->st_dev == end->device;
}

static void
path_of(const TvAuditEnd *end, char path[MAXPGPATH])
{
	char		name[TV_AUDIT_NAME_LEN];

	tv_audit_file_name(end->file, end->log_id, name);
	tv_audit_path(name, path);
}

TvStatus
tv_audit_file_open(const TvAuditEnd *end, TvError *err)
{
	char		path[MAXPGPATH];
	struct stat st;
	TvStatus	status = TV_OK;

	if (tv_audit_fd >= 0 && my_file == end->file && my_log == end->log_id)
		return TV_OK;
	close_file();
	path_of(end, path);
	tv_audit_fd = open(path, O_WRONLY | O_CLOEXEC);
	if (tv_audit_fd < 0)
		return tv_audit_file_error(err, "open", path);
	if (fstat(tv_audit_fd, &st) != 0)
		status = tv_audit_file_error(err, "stat", path);
	else if (!is_file_of(end, &st))
		status = changed_outside(path, err);
	if (status != TV_OK)
	{
		close_file();
		return status;
	}
	my_file = end->file;
	my_log = end->log_id;
	return TV_OK;
}

/*
 * A removed file would take lines that nobody ever reads.
 *
 * The file itself is looked at each time: what was cut off, written by others
 * or removed is seen at once.  Whether it was moved away, alone or with a
 * directory above it, takes a walk through them, three times as long: that is
 * done for each line that must be durable, and for others when nobody has for
 * LOOK_EVERY.  Whoever may move the file may take the lines with it that it has
 * already; those that follow it until then are counted as missing in the first
 * line of the next one.
 */
TvStatus
tv_audit_file_check(bool durable, TimestampTz now, TvError *err)
{
	const TvAuditEnd *end = &tv_audit_shared->end;
	TimestampTz since = now - tv_audit_shared->looked;	/* another's clock may be ahead */
	char		path[MAXPGPATH];
	struct stat st;
	TvStatus	status = TV_OK;

	if (!durable && since > -LOOK_EVERY && since < LOOK_EVERY &&
		fstat(tv_audit_fd, &st) == 0 && st.st_nlink > 0 &&
		((uint64) st.st_size == end->bytes || tv_audit_shared->partial))
		return TV_OK;
	path_of(end, path);
	if (stat(path, &st) != 0)
		status = tv_audit_file_error(err, "find", path);
	else if (!is_file_of(end, &st) || ((uint64) st.st_size != end->bytes && !tv_audit_shared->partial))
		status = changed_outside(path, err);
	if (status == TV_OK)
	{
		tv_audit_shared->looked = now;
		return TV_OK;
	}
	tv_audit_shared->reopen = true;
	close_file();
	return status;
}

void
tv_audit_file_failed(void)
{
	uint32		n = pg_atomic_read_u32(&tv_audit_shared->failures);

	tv_audit_shared->failed_at[n % TV_AUDIT_FAILURES_KEPT] = pg_atomic_read_u64(&tv_audit_shared->synced);
	tv_audit_shared->sync_failed = true;
	pg_write_barrier();
	pg_atomic_write_u32(&tv_audit_shared->failures, n + 1);
}
