/*
 * tv_audit_next.c
 *	  Beginning a file of the audit log: after a start, and when the one before
 *	  is full, of another day, under another key, or could not be synced.
 */
#include "audit/tv_audit_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "base/tv_file.h"
#include "base/tv_settings.h"
#include "crypto/tv_kdf.h"
#include "keyring/tv_keyring.h"

#define NEW_NAME "new"

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
		return tv_audit_file_error(err, "create directory of", tv_setting_audit_directory);
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
		return tv_audit_file_error(err, "create", path);
	errno = 0;
	if (pg_pwrite(fd, line, len, 0) != (ssize_t) len)
	{
		if (errno == 0)
			errno = ENOSPC;
		status = tv_audit_file_error(err, "write", path);
	}
	else if (pg_fsync(fd) != 0)
		status = tv_audit_file_error(err, "fsync", path);
	else if (fstat(fd, &st) != 0)
		status = tv_audit_file_error(err, "stat", path);
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
		return tv_audit_file_error(err, "rename", new_path);
	status = tv_sync_directory(tv_setting_audit_directory, err);
	if (status != TV_OK)
		return status;

	if (start && tv_audit_write_head(&next, err) != TV_OK)
		return err->status;
	tv_audit_shared->end = next;
	tv_audit_shared->opened = GetCurrentTimestamp();
	tv_audit_shared->looked = 0;
	tv_audit_shared->partial = false;
	tv_audit_shared->reopen = false;
	tv_audit_shared->sync_failed = false;
	pg_atomic_write_u64(&tv_audit_shared->synced, next.sequence);
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

TvStatus
tv_audit_begin_log(uint64 key, TvError *err)
{
	TvAuditEnd	end = {0};
	TvAuditHead head;
	uint64		known = tv_audit_shared->end.sequence;
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
	end.file = Max(end.file, tv_audit_shared->end.file);
	missing = known > end.sequence ? known - end.sequence : 0;
	if (missing > 0)
		reason = "records are missing before this one";
	else if (end.torn > 0 && reason == NULL)
		reason = "the file before ends in a torn line";
	return begin_file(&end, true, missing, state, reason, key, err);
}

TvStatus
tv_audit_next_file(uint64 key, TvError *err)
{
	TvAuditEnd	end = tv_audit_shared->end;
	TvStatus	status = tv_audit_file_open(&end, err);
	const char *reason = NULL;
	struct stat st;

	if (status != TV_OK)
	{
		tv_audit_shared->reopen = true;
		return status;
	}
	if (tv_audit_shared->sync_failed)
		reason = "the file before could not be synced";
	else if (pg_fdatasync(tv_audit_fd) != 0)
	{
		status = tv_audit_file_error(err, "fsync", "before the next");
		tv_audit_file_failed();
		return status;
	}
	if (fstat(tv_audit_fd, &st) == 0 && (uint64) st.st_size > end.bytes)
		end.torn = (uint64) st.st_size - end.bytes;
	return begin_file(&end, false, 0, TV_AUDIT_HEAD_KNOWN, reason, key, err);
}
