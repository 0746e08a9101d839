/*
 * tv_audit_open.c
 *	  Where did the log end?  Asked by the first event after a start, and when
 *	  a file turned out to be changed from outside.
 */
#include "audit/tv_audit_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "storage/fd.h"

#include "base/tv_settings.h"
#include "crypto/tv_kdf.h"
#include "keyring/tv_keyring.h"

TvStatus
tv_audit_chain(uint64 key, const uint8 *before, const char *body, size_t len,
			   uint8 *chain, TvError *err)
{
	uint8	   *input = palloc(TV_AUDIT_MAC_PREFIX + len);
	TvStatus	status;

	tv_audit_mac_prefix(before, input);
	memcpy(input + TV_AUDIT_MAC_PREFIX, body, len);
	status = tv_keyring_mac_for(key, TV_PURPOSE_AUDIT, input, TV_AUDIT_MAC_PREFIX + len, chain, err);
	pfree(input);
	return status;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

char **
tv_audit_list(TvError *err)
{
	DIR		   *dir = opendir(tv_setting_audit_directory);
	struct dirent *entry;
	int			n = 0;
	int			room = 64;
	char	  **names = palloc(room * sizeof(char *));
	uint32		number;
	uint64		log_id;

	err->status = TV_OK;
	if (dir == NULL)
	{
		(void) tv_error(err, TV_ERR_IO, "could not open audit directory \"%s\": %s",
						tv_setting_audit_directory, strerror(errno));
		names[0] = NULL;
		return names;
	}
	while (errno = 0, (entry = readdir(dir)) != NULL)
	{
		if (!tv_audit_file_name_parse(entry->d_name, &number, &log_id))
			continue;
		if (n + 1 >= room)
			names = repalloc(names, (room *= 2) * sizeof(char *));
		names[n++] = pstrdup(entry->d_name);
	}
	if (errno != 0)
		(void) tv_error(err, TV_ERR_IO, "could not read audit directory \"%s\": %s",
						tv_setting_audit_directory, strerror(errno));
	closedir(dir);
	names[n] = NULL;
	qsort(names, n, sizeof(char *), compare_names);
	return names;
}

TvStatus
tv_audit_head_mac(uint64 key, const uint8 *bytes, uint8 *mac, TvError *err)
{
	return tv_keyring_mac_for(key, TV_PURPOSE_AUDIT, bytes, TV_AUDIT_HEAD_COVERED, mac, err);
}

TvStatus
tv_audit_write_head(const TvAuditEnd *end, TvError *err)
{
	TvAuditHead head = {
		.file = end->file, .key = end->key, .log_id = end->log_id,
		.bytes = end->bytes, .sequence = end->sequence
	};
	uint8		bytes[TV_AUDIT_HEAD_LEN];
	char		path[MAXPGPATH];
	TvStatus	status;
	int			fd;

	memcpy(head.chain, end->chain, sizeof(head.chain));
	tv_audit_head_encode(&head, bytes);
	status = tv_audit_head_mac(end->key, bytes, bytes + TV_AUDIT_HEAD_COVERED, err);
	if (status != TV_OK)
		return status;
	tv_audit_path(TV_AUDIT_HEAD_NAME, path);
	/* in place: a disk writes these few bytes at once, or not at all */
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, pg_file_create_mode);
	if (fd < 0)
		return tv_error(err, TV_ERR_IO, "could not open file \"%s\": %s", path, strerror(errno));
	if (pg_pwrite(fd, bytes, sizeof(bytes), 0) != sizeof(bytes))
		status = tv_error(err, TV_ERR_IO, "could not write file \"%s\": %s", path, strerror(errno));
	close(fd);
	return status;
}

TvStatus
tv_audit_read_head(TvAuditHead *head, TvError *err)
{
	uint8		bytes[TV_AUDIT_HEAD_LEN];
	uint8		mac[TV_MAC_LEN];
	char		path[MAXPGPATH];
	TvStatus	status;
	ssize_t		got;
	int			fd;

	tv_audit_path(TV_AUDIT_HEAD_NAME, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return tv_error(err, TV_ERR_NO_KEY, "file \"%s\" does not exist", path);
	if (fd < 0)
		return tv_error(err, TV_ERR_IO, "could not open file \"%s\": %s", path, strerror(errno));
	got = pg_pread(fd, bytes, sizeof(bytes), 0);
	close(fd);
	if (got < 0)
		return tv_error(err, TV_ERR_IO, "could not read file \"%s\": %s", path, strerror(errno));
	status = tv_audit_head_decode(bytes, got, head);
	if (status != TV_OK)
		return tv_error(err, TV_ERR_AUTH, "file \"%s\" is damaged", path);
	status = tv_audit_head_mac(head->key, bytes, mac, err);
	if (status == TV_OK && !tv_equal_secret(mac, bytes + TV_AUDIT_HEAD_COVERED, TV_MAC_LEN))
		status = tv_error(err, TV_ERR_AUTH, "file \"%s\" was forged", path);
	return status;
}

/* Follow the chain of a file as far as it is right. */
static TvStatus
follow(TvAuditLines *lines, TvAuditEnd *end, TvError *err)
{
	const char *text;
	size_t		len;

	while ((text = tv_audit_lines_next(lines, &len, err)) != NULL)
	{
		TvAuditLine line;
		TvAuditLink link;
		uint8		chain[TV_AUDIT_CHAIN_LEN];
		TvStatus	status;

		if (tv_audit_line_parse(text, len, &line) != TV_OK)
			break;
		if (end->bytes == 0)
		{
			status = tv_audit_link_parse(text, len, &link);
			if (status == TV_ERR_VERSION)
				return tv_error(err, status, "the audit log was written by a newer version of tde_vault");
			if (status != TV_OK || link.file != end->file || line.log_id != end->log_id)
				break;
			end->key = link.key;
			memcpy(end->chain, link.chain, sizeof(end->chain));
		}
		else if (line.sequence != end->sequence + 1)
			break;
		status = tv_audit_chain(end->key, end->chain, text, line.body_len, chain, err);
		if (status != TV_OK)
			return status;
		if (!tv_equal_secret(chain, line.chain, sizeof(chain)))
			break;
		memcpy(end->chain, chain, sizeof(chain));
		end->sequence = line.sequence;
		end->bytes = lines->offset;
	}
	return err->status;
}

/* The line with that number in a file, if its first one is not behind it. */
static TvStatus
look_in_file(const char *name, uint64 sequence, bool *begins_before, TvAuditLine *found, TvError *err)
{
	TvAuditLines lines;
	TvAuditLine line;
	const char *text;
	size_t		len;

	*begins_before = false;
	if (tv_audit_lines_begin(&lines, name, PG_INT64_MAX, err) != TV_OK)
		return err->status;
	while ((text = tv_audit_lines_next(&lines, &len, err)) != NULL)
	{
		if (tv_audit_line_parse(text, len, &line) != TV_OK || line.sequence > sequence)
			break;
		*begins_before = true;
		if (line.sequence == sequence)
		{
			*found = line;
			break;
		}
	}
	tv_audit_lines_end(&lines);
	return err->status;
}

TvStatus
tv_audit_holds(const TvAuditHead *head, bool *holds, TvError *err)
{
	char	  **names = tv_audit_list(err);
	TvAuditLine found = {0};
	bool		begins_before = false;
	int			n = 0;

	*holds = false;
	while (names[n] != NULL)
		n++;
	while (err->status == TV_OK && n > 0 && !begins_before)
		(void) look_in_file(names[--n], head->sequence, &begins_before, &found, err);
	*holds = found.sequence == head->sequence && found.log_id == head->log_id &&
		tv_equal_secret(found.chain, head->chain, sizeof(found.chain));
	return err->status;
}

TvStatus
tv_audit_find_end(TvAuditEnd *end, TvError *err)
{
	char	  **names = tv_audit_list(err);
	const char *last = NULL;
	TvAuditLines lines;
	struct stat st;
	TvStatus	status;

	memset(end, 0, sizeof(*end));
	if (err->status != TV_OK)
		return err->status;
	for (int i = 0; names[i] != NULL; i++)
		last = names[i];
	if (last == NULL)
		return TV_OK;
	tv_audit_file_name_parse(last, &end->file, &end->log_id);
	status = tv_audit_lines_begin(&lines, last, PG_INT64_MAX, err);
	if (status != TV_OK)
		return status;
	status = follow(&lines, end, err);
	if (status == TV_OK && fstat(lines.fd, &st) == 0)
		end->torn = (uint64) st.st_size - end->bytes;
	tv_audit_lines_end(&lines);
	return status;
}
