/*
 * tv_audit_append.c
 *	  Writing lines of the audit log: append, and one sync for many.
 *
 * A line is written at the known end of the file under TV_LOCK_AUDIT, because
 * its chain value takes in the line before.  Whoever needs it durable then
 * waits under TV_LOCK_AUDIT_SYNC: one process syncs for all that have written
 * by then, as XLogFlush() does.  Nothing calls a provider under these locks.
 */
#include "audit/tv_audit_file.h"

#include <unistd.h>

#include "storage/fd.h"
#include "utils/timestamp.h"

#include "base/tv_settings.h"
#include "base/tv_shmem.h"
#include "keyring/tv_keyring.h"

static bool
is_full(size_t more, TimestampTz now)
{
	if (tv_audit_shared->sync_failed)
		return true;
	if (tv_audit_shared->end.bytes + more > (uint64) tv_setting_audit_file_size * 1024)
		return true;
	return now / USECS_PER_DAY != tv_audit_shared->opened / USECS_PER_DAY;
}

/* Write a line at the end.  The caller holds TV_LOCK_AUDIT. */
static TvStatus
write_line(char *buf, size_t cap, const char *body, size_t len, TvError *err)
{
	TvAuditEnd *end = &tv_audit_shared->end;
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

	if (tv_audit_shared->partial && ftruncate(tv_audit_fd, (off_t) end->bytes) != 0)
		return tv_audit_file_error(err, "truncate", "with half a line");
	tv_audit_shared->partial = true;
	errno = 0;
	if (pg_pwrite(tv_audit_fd, line, used, (off_t) end->bytes) != (ssize_t) used)
	{
		if (errno == 0)
			errno = ENOSPC;
		status = tv_audit_file_error(err, "write", tv_setting_audit_directory);
		tv_audit_shared->partial = ftruncate(tv_audit_fd, (off_t) end->bytes) != 0;
		return status;
	}
	end->bytes += used;
	end->sequence++;
	memcpy(end->chain, chain, sizeof(chain));
	tv_audit_shared->partial = false;
	return TV_OK;
}

/* Was the line lost with a sync that failed after it was written? */
static bool
is_lost(uint64 sequence, uint32 failures_before)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_AUDIT);
	uint32		now = pg_atomic_read_u32(&tv_audit_shared->failures);
	bool		lost;

	if (now == failures_before)
		return false;
	LWLockAcquire(lock, LW_SHARED);
	lost = now - failures_before > TV_AUDIT_FAILURES_KEPT ||
		sequence > tv_audit_shared->failed_at[failures_before % TV_AUDIT_FAILURES_KEPT];
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
	status = tv_audit_file_open(&end, err);
	if (status == TV_OK && pg_fdatasync(tv_audit_fd) != 0)
		status = tv_audit_file_error(err, "fsync", tv_setting_audit_directory);
	if (status != TV_OK)
	{
		/*
		 * Never tried again: the kernel may report success the second time
		 * without having written anything (fd.c, data_sync_elevel).
		 */
		LWLockAcquire(lock, LW_EXCLUSIVE);
		tv_audit_file_failed();
		LWLockRelease(lock);
		return status;
	}
	if (pg_atomic_read_u64(&tv_audit_shared->synced) < end.sequence)
		pg_atomic_write_u64(&tv_audit_shared->synced, end.sequence);
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
		bool		done = pg_atomic_read_u64(&tv_audit_shared->synced) >= sequence;

		pg_read_barrier();
		if (is_lost(sequence, failures_before))
			return tv_error(err, TV_ERR_IO, "could not fsync an audit file");
		if (done)
			return TV_OK;
		if (!LWLockAcquireOrWait(lock, LW_EXCLUSIVE))
			continue;
		if (pg_atomic_read_u64(&tv_audit_shared->synced) < sequence &&
			pg_atomic_read_u32(&tv_audit_shared->failures) == failures_before)
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
	if (status == TV_OK && (tv_audit_shared->end.file == 0 || tv_audit_shared->reopen))
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
	*end = tv_audit_shared->end;
	failures = pg_atomic_read_u32(&tv_audit_shared->failures);
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
	opened = tv_audit_shared->end.file == 0 || tv_audit_shared->reopen;
	if (opened)
		status = tv_audit_begin_log(key, err);
	else if (tv_audit_shared->end.key != key || is_full(cap, now))
		status = tv_audit_next_file(key, err);
	if (status == TV_OK)
		status = tv_audit_file_open(&tv_audit_shared->end, err);
	if (status == TV_OK)
		status = tv_audit_file_check(durable, now, err);
	else
		tv_audit_shared->reopen |= tv_audit_shared->end.file != 0;
	if (status == TV_OK)
		status = write_line(buf, cap, body, len, err);
	sequence = tv_audit_shared->end.sequence;
	failures = pg_atomic_read_u32(&tv_audit_shared->failures);
	LWLockRelease(lock);

	pfree(buf);
	if (status == TV_OK && durable)
		status = wait_durable(sequence, failures, err);
	/* what was lost before is on record now: from here on it is this log */
	if (status == TV_OK && opened)
		(void) tv_audit_anchor(true);
	return status;
}
