/*
 * tv_audit_file.c
 *	  Writing the audit log: append, sync for many at once, next file.
 *
 * A line is written at the known end of the file under TV_LOCK_AUDIT, because
 * its chain value takes in the line before.  Whoever needs it durable then
 * waits under TV_LOCK_AUDIT_SYNC: one process syncs for all that have written
 * by then, as XLogFlush() does.  Nothing calls a provider under these locks.
 */
#include "audit/tv_audit_internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "base/tv_file.h"
#include "base/tv_settings.h"
#include "base/tv_shmem.h"
#include "crypto/tv_kdf.h"
#include "keyring/tv_keyring.h"

#define FAILURES_KEPT 64
#define LOOK_EVERY 10000		/* us */
#define NEW_NAME "new"

typedef struct TvAuditShared
{
	/* under TV_LOCK_AUDIT */
	TvAuditEnd	end;			/* file 0: this run wrote nothing yet */
	TimestampTz opened;			/* when the file was begun */
	TimestampTz looked;			/* when it was last seen under its name */
	bool		partial;		/* part of a line may stand behind the end */
	bool		reopen;			/* changed from outside: look at the disk again */
	bool		sync_failed;	/* no more lines into this file */
	uint64		failed_at[FAILURES_KEPT];	/* what was durable when a sync failed */

	pg_atomic_uint64 synced;	/* lines up to this one are durable */
	pg_atomic_uint32 failures;	/* of syncs */
} TvAuditShared;

static TvAuditShared *shared = NULL;

/* This process's descriptor of the current file. */
static int	my_fd = -1;
static uint32 my_file = 0;
static uint64 my_log = 0;

static void
init_shared(void *memory)
{
	shared = memory;
	pg_atomic_init_u64(&shared->synced, 0);
	pg_atomic_init_u32(&shared->failures, 0);
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
	*end = shared->end;
	LWLockRelease(lock);
	return end->file != 0;
}

static TvStatus
file_error(TvError *err, const char *what, const char *path)
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
close_mine(void)
{
	if (my_fd >= 0)
		close(my_fd);
	my_fd = -1;
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

/* Have the file of end open in this process: that file, not one in its place. */
static TvStatus
open_mine(const TvAuditEnd *end, TvError *err)
{
	char		path[MAXPGPATH];
	struct stat st;
	TvStatus	status = TV_OK;

	if (my_fd >= 0 && my_file == end->file && my_log == end->log_id)
		return TV_OK;
	close_mine();
	path_of(end, path);
	my_fd = open(path, O_WRONLY | O_CLOEXEC);
	if (my_fd < 0)
		return file_error(err, "open", path);
	if (fstat(my_fd, &st) != 0)
		status = file_error(err, "stat", path);
	else if (!is_file_of(end, &st))
		status = changed_outside(path, err);
	if (status != TV_OK)
	{
		close_mine();
		return status;
	}
	my_file = end->file;
	my_log = end->log_id;
	return TV_OK;
}

/*
 * Is the file that we have open still the one under its name, and as long as
 * we left it?  A removed file would take lines that nobody ever reads.
 *
 * The file itself is looked at each time: what was cut off, written by others
 * or removed is seen at once.  Whether it was moved away, alone or with a
 * directory above it, takes a walk through them, three times as long: that is
 * done for each line that must be durable, and for others when nobody has for
 * LOOK_EVERY.  Whoever may move the file may take the lines with it that it has
 * already; those that follow it until then are counted as missing in the first
 * line of the next one.
 */
static TvStatus
check_mine(bool durable, TimestampTz now, TvError *err)
{
	const TvAuditEnd *end = &shared->end;
	TimestampTz since = now - shared->looked;	/* another's clock may be ahead */
	char		path[MAXPGPATH];
	struct stat st;
	TvStatus	status = TV_OK;

	if (!durable && since > -LOOK_EVERY && since < LOOK_EVERY &&
		fstat(my_fd, &st) == 0 && st.st_nlink > 0 &&
		((uint64) st.st_size == end->bytes || shared->partial))
		return TV_OK;
	path_of(end, path);
	if (stat(path, &st) != 0)
		status = file_error(err, "find", path);
	else if (!is_file_of(end, &st) || ((uint64) st.st_size != end->bytes && !shared->partial))
		status = changed_outside(path, err);
	if (status == TV_OK)
	{
		shared->looked = now;
		return TV_OK;
	}
	shared->reopen = true;
	close_mine();
	return status;
}

/* Make the directory; not where a log is known to have been. */
static TvStatus
make_directory(uint64 known, TvError *err)
{
	char		path[MAXPGPATH];
	struct stat st;

	if (stat(tv_setting_audit_directory, &st) == 0)
		return TV_OK;
	if (errno != ENOENT || known > 0)
	{
		(void) tv_error(err, TV_ERR_IO, "could not find audit directory \"%s\": %s",
						tv_setting_audit_directory, strerror(errno));
		tv_error_hint(err, "Bring it back with its files, or make an empty one; the loss will be recorded.");
		return TV_ERR_IO;
	}
	strlcpy(path, tv_setting_audit_directory, sizeof(path));
	if (pg_mkdir_p(path, pg_dir_create_mode) != 0)
		return file_error(err, "create directory of", tv_setting_audit_directory);
	strlcpy(path, tv_setting_audit_directory, sizeof(path));
	get_parent_directory(path);
	return tv_sync_directory(path[0] ? path : ".", err);
}

/*
 * Write the first line of a file that does not have its name yet, so that no
 * file of the log is ever without one.  Sets which file it is in end.
 */
static TvStatus
write_new(const char *path, const char *line, size_t len, TvAuditEnd *end, TvError *err)
{
	struct stat st;
	TvStatus	status = TV_OK;
	int			fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, pg_file_create_mode);

	if (fd < 0)
		return file_error(err, "create", path);
	errno = 0;
	if (pg_pwrite(fd, line, len, 0) != (ssize_t) len)
	{
		if (errno == 0)
			errno = ENOSPC;
		status = file_error(err, "write", path);
	}
	else if (pg_fsync(fd) != 0)
		status = file_error(err, "fsync", path);
	else if (fstat(fd, &st) != 0)
		status = file_error(err, "stat", path);
	else
	{
		end->device = st.st_dev;
		end->inode = st.st_ino;
	}
	close(fd);
	if (status != TV_OK)
		unlink(path);
	return status;
}

/*
 * Begin the next file after end, which becomes where the log ends.  The caller
 * holds TV_LOCK_AUDIT.
 */
static TvStatus
begin_file(TvAuditEnd *end, bool start, uint64 missing, TvAuditHeadState head,
		   const char *reason, uint64 key, TvError *err)
{
	TvAuditLink link = {
		.version = TV_AUDIT_VERSION, .file = end->file + 1, .key = key,
		.bytes = end->bytes, .torn = end->torn, .missing = missing, .head = head
	};
	TvAuditEnd	next = {.file = link.file, .log_id = end->log_id, .key = key};
	char		new_path[MAXPGPATH];
	char		path[MAXPGPATH];
	char		name[TV_AUDIT_NAME_LEN];
	char		line_start[TV_AUDIT_START_MAX];
	char		line_end[TV_AUDIT_END_LEN];
	StringInfoData body;
	StringInfoData line;
	TvStatus	status;

	memcpy(link.chain, end->chain, sizeof(link.chain));
	if (start && tv_random((uint8 *) &next.log_id, sizeof(next.log_id)) != TV_OK)
		return tv_error(err, TV_ERR_INTERNAL, "could not get random bytes");
	next.sequence = end->sequence + missing + 1;

	initStringInfo(&body);
	initStringInfo(&line);
	tv_audit_header_body(start, &link, reason, &body);
	appendBinaryStringInfo(&line, line_start,
						   tv_audit_line_start(next.log_id, next.sequence, &link, line_start));
	appendBinaryStringInfo(&line, body.data, body.len);
	status = tv_audit_chain(key, end->chain, line.data, line.len, next.chain, err);
	if (status != TV_OK)
		return status;
	appendBinaryStringInfo(&line, line_end, tv_audit_line_end(next.chain, line_end));
	next.bytes = line.len;

	tv_audit_path(NEW_NAME, new_path);
	tv_audit_file_name(next.file, next.log_id, name);
	tv_audit_path(name, path);
	status = write_new(new_path, line.data, line.len, &next, err);
	pfree(body.data);
	pfree(line.data);
	if (status != TV_OK)
		return status;
	if (rename(new_path, path) != 0)
		return file_error(err, "rename", new_path);
	status = tv_sync_directory(tv_setting_audit_directory, err);
	if (status != TV_OK)
		return status;

	if (start && tv_audit_write_head(&next, err) != TV_OK)
		return err->status;
	shared->end = next;
	shared->opened = GetCurrentTimestamp();
	shared->looked = 0;
	shared->partial = false;
	shared->reopen = false;
	shared->sync_failed = false;
	pg_atomic_write_u64(&shared->synced, next.sequence);
	return TV_OK;
}

/* Is the log that was found, and that goes on, the one that the keyring knows? */
static TvStatus
ask_keyring(TvAuditEnd *end, uint64 *known, TvAuditHeadState *state, const char **reason, TvError *err)
{
	TvAuditHead anchor;
	uint64		found = end->sequence;
	bool		holds = true;
	TvStatus	status = tv_audit_anchor_read(&anchor, err);

	if (status == TV_ERR_NO_KEY)
		return TV_OK;
	if (status == TV_ERR_AUTH)
	{
		*state = TV_AUDIT_HEAD_FORGED;
		*reason = "what the keyring knows of the log is damaged or forged";
		return TV_OK;
	}
	if (status == TV_OK && anchor.sequence <= found)
		status = tv_audit_holds(&anchor, &holds, err);
	if (status != TV_OK)
		return status;
	*known = Max(*known, anchor.sequence);
	end->file = Max(end->file, anchor.file);
	if (!holds)
	{
		*state = TV_AUDIT_HEAD_REPLACED;
		*reason = "the log is not the one that the keyring knows";
	}
	return TV_OK;
}

/* The first event after a start, or after the log was changed from outside. */
static TvStatus
open_log(uint64 key, TvError *err)
{
	TvAuditEnd	end = {0};
	TvAuditHead head;
	uint64		known = shared->end.sequence;
	uint64		missing;
	const char *reason = NULL;
	TvAuditHeadState state = TV_AUDIT_HEAD_KNOWN;
	TvStatus	status = make_directory(known, err);

	if (status == TV_OK)
		status = tv_audit_find_end(&end, err);
	if (status != TV_OK)
		return status;
	switch (tv_audit_read_head(&head, err))
	{
		case TV_OK:
			known = Max(known, head.sequence);
			end.file = Max(end.file, head.file);
			break;
		case TV_ERR_NO_KEY:
			if (end.file > 0)
			{
				state = TV_AUDIT_HEAD_MISSING;
				reason = "the head file is missing, as in a restored backup";
			}
			break;
		case TV_ERR_AUTH:
			state = TV_AUDIT_HEAD_FORGED;
			reason = "the head file is damaged or forged";
			break;
		default:
			return err->status;
	}
	status = ask_keyring(&end, &known, &state, &reason, err);
	if (status != TV_OK)
		return status;
	end.file = Max(end.file, shared->end.file);
	missing = known > end.sequence ? known - end.sequence : 0;
	if (missing > 0)
		reason = "records are missing before this one";
	else if (end.torn > 0 && reason == NULL)
		reason = "the file before ends in a torn line";
	return begin_file(&end, true, missing, state, reason, key, err);
}

/* A sync of the current file failed: what it had not made durable may be lost. */
static void
note_failure(void)
{
	uint32		n = pg_atomic_read_u32(&shared->failures);

	shared->failed_at[n % FAILURES_KEPT] = pg_atomic_read_u64(&shared->synced);
	shared->sync_failed = true;
	pg_write_barrier();
	pg_atomic_write_u32(&shared->failures, n + 1);
}

/* Go on in a new file. */
static TvStatus
next_file(uint64 key, TvError *err)
{
	TvAuditEnd	end = shared->end;
	TvStatus	status = open_mine(&end, err);
	const char *reason = NULL;
	struct stat st;

	if (status != TV_OK)
	{
		shared->reopen = true;
		return status;
	}
	if (shared->sync_failed)
		reason = "the file before could not be synced";
	else if (pg_fdatasync(my_fd) != 0)
	{
		status = file_error(err, "fsync", "before the next");
		note_failure();
		return status;
	}
	if (fstat(my_fd, &st) == 0 && (uint64) st.st_size > end.bytes)
		end.torn = (uint64) st.st_size - end.bytes;
	return begin_file(&end, false, 0, TV_AUDIT_HEAD_KNOWN, reason, key, err);
}

static bool
is_full(size_t more, TimestampTz now)
{
	if (shared->sync_failed)
		return true;
	if (shared->end.bytes + more > (uint64) tv_setting_audit_file_size * 1024)
		return true;
	return now / USECS_PER_DAY != shared->opened / USECS_PER_DAY;
}

/* Write a line at the end.  The caller holds TV_LOCK_AUDIT. */
static TvStatus
write_line(char *buf, size_t cap, const char *body, size_t len, TvError *err)
{
	TvAuditEnd *end = &shared->end;
	char	   *line = buf + TV_AUDIT_MAC_PREFIX;
	uint8		chain[TV_AUDIT_CHAIN_LEN];
	size_t		used;
	TvStatus	status;

	tv_audit_mac_prefix(end->chain, (uint8 *) buf);
	used = tv_audit_line_start(end->log_id, end->sequence + 1, NULL, line);
	memcpy(line + used, body, len);
	used += len;
	status = tv_keyring_mac_for(end->key, TV_PURPOSE_AUDIT, (uint8 *) buf,
								TV_AUDIT_MAC_PREFIX + used, chain, err);
	if (status != TV_OK)
		return status;
	used += tv_audit_line_end(chain, line + used);
	Assert(TV_AUDIT_MAC_PREFIX + used <= cap);

	if (shared->partial && ftruncate(my_fd, (off_t) end->bytes) != 0)
		return file_error(err, "truncate", "with half a line");
	shared->partial = true;
	errno = 0;
	if (pg_pwrite(my_fd, line, used, (off_t) end->bytes) != (ssize_t) used)
	{
		if (errno == 0)
			errno = ENOSPC;
		status = file_error(err, "write", tv_setting_audit_directory);
		shared->partial = ftruncate(my_fd, (off_t) end->bytes) != 0;
		return status;
	}
	end->bytes += used;
	end->sequence++;
	memcpy(end->chain, chain, sizeof(chain));
	shared->partial = false;
	return TV_OK;
}

/* Was the line lost with a sync that failed after it was written? */
static bool
is_lost(uint64 sequence, uint32 failures_before)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_AUDIT);
	uint32		now = pg_atomic_read_u32(&shared->failures);
	bool		lost;

	if (now == failures_before)
		return false;
	LWLockAcquire(lock, LW_SHARED);
	lost = now - failures_before > FAILURES_KEPT ||
		sequence > shared->failed_at[failures_before % FAILURES_KEPT];
	LWLockRelease(lock);
	return lost;
}

/* Sync what was written by now.  The caller holds TV_LOCK_AUDIT_SYNC. */
static TvStatus
sync_now(TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_AUDIT);
	TvAuditEnd	end;
	TvError		ignored;
	TvStatus	status;

	(void) tv_audit_end(&end);
	status = open_mine(&end, err);
	if (status == TV_OK && pg_fdatasync(my_fd) != 0)
		status = file_error(err, "fsync", tv_setting_audit_directory);
	if (status != TV_OK)
	{
		/*
		 * Never tried again: the kernel may report success the second time
		 * without having written anything (fd.c, data_sync_elevel).
		 */
		LWLockAcquire(lock, LW_EXCLUSIVE);
		note_failure();
		LWLockRelease(lock);
		return status;
	}
	if (pg_atomic_read_u64(&shared->synced) < end.sequence)
		pg_atomic_write_u64(&shared->synced, end.sequence);
	if (tv_audit_write_head(&end, &ignored) != TV_OK)
		elog(LOG, "%s", ignored.message);
	return TV_OK;
}

/* Return when the line is durable, by whoever's sync. */
static TvStatus
wait_durable(uint64 sequence, uint32 failures_before, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_AUDIT_SYNC);

	for (;;)
	{
		TvStatus	status = TV_OK;
		bool		done = pg_atomic_read_u64(&shared->synced) >= sequence;

		pg_read_barrier();
		if (is_lost(sequence, failures_before))
			return tv_error(err, TV_ERR_IO, "could not fsync an audit file");
		if (done)
			return TV_OK;
		if (!LWLockAcquireOrWait(lock, LW_EXCLUSIVE))
			continue;
		if (pg_atomic_read_u64(&shared->synced) < sequence &&
			pg_atomic_read_u32(&shared->failures) == failures_before)
			status = sync_now(err);
		LWLockRelease(lock);
		if (status != TV_OK)
			return status;
	}
}

/* Make ready what is not done under a lock: every key that will be used. */
static TvStatus
prepare(uint64 *key, TvError *err)
{
	static uint32 known_at = 0; /* generation of the keyring; 0: not known */
	static uint64 known;
	uint32		generation = tv_keyring_generation();
	TvAuditEnd	end;
	TvAuditHead head;
	TvError		ignored;
	TvStatus	status = TV_OK;

	if (generation != known_at)
	{
		status = tv_keyring_service_key(TV_SERVICE_AUDIT, 0, &known, err);
		known_at = status == TV_OK ? generation : 0;
	}
	*key = known;
	if (status == TV_OK)
		status = tv_keyring_mac_prepare(*key, TV_PURPOSE_AUDIT, err);
	/* read without the lock: whether to prepare, not what is done */
	if (status == TV_OK && (shared->end.file == 0 || shared->reopen))
	{
		(void) tv_audit_find_end(&end, &ignored);
		(void) tv_audit_read_head(&head, &ignored);
		(void) tv_audit_anchor_read(&head, &ignored);
	}
	return status;
}

TvStatus
tv_audit_settle(TvAuditEnd *end, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_AUDIT);
	uint32		failures;

	LWLockAcquire(lock, LW_SHARED);
	*end = shared->end;
	failures = pg_atomic_read_u32(&shared->failures);
	LWLockRelease(lock);
	return wait_durable(end->sequence, failures, err);
}

TvStatus
tv_audit_append(const char *body, size_t len, bool durable, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_AUDIT);
	size_t		cap = TV_AUDIT_MAC_PREFIX + TV_AUDIT_START_MAX + len + TV_AUDIT_END_LEN;
	char	   *buf;
	uint64		key;
	uint64		sequence;
	uint32		failures;
	TimestampTz now = GetCurrentTimestamp();
	bool		opened;
	TvStatus	status;

	if (cap > TV_AUDIT_LINE_MAX)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT, "audit event is longer than %d bytes", TV_AUDIT_LINE_MAX);
	status = prepare(&key, err);
	if (status != TV_OK)
		return status;
	buf = palloc(cap);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	opened = shared->end.file == 0 || shared->reopen;
	if (opened)
		status = open_log(key, err);
	else if (shared->end.key != key || is_full(cap, now))
		status = next_file(key, err);
	if (status == TV_OK)
		status = open_mine(&shared->end, err);
	if (status == TV_OK)
		status = check_mine(durable, now, err);
	else
		shared->reopen |= shared->end.file != 0;
	if (status == TV_OK)
		status = write_line(buf, cap, body, len, err);
	sequence = shared->end.sequence;
	failures = pg_atomic_read_u32(&shared->failures);
	LWLockRelease(lock);

	pfree(buf);
	if (status == TV_OK && durable)
		status = wait_durable(sequence, failures, err);
	/* what was lost before is on record now: from here on it is this log */
	if (status == TV_OK && opened)
		(void) tv_audit_anchor(true);
	return status;
}
