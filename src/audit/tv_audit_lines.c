/*
 * tv_audit_lines.c
 *	  Reading a file of the audit log line by line, in constant memory.
 */
#include "audit/tv_audit_internal.h"

#include <fcntl.h>
#include <unistd.h>

#include "storage/fd.h"

TvStatus
tv_audit_lines_begin(TvAuditLines *lines, const char *name, uint64 limit, TvError *err)
{
	char		path[MAXPGPATH];

	memset(lines, 0, sizeof(*lines));
	tv_audit_path(name, path);
	lines->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (lines->fd < 0)
		return tv_error(err, TV_ERR_IO, "could not open audit file \"%s\": %s",
						path, strerror(errno));
	lines->buf = palloc(TV_AUDIT_LINE_MAX);
	lines->limit = limit;
	return TV_OK;
}

/* Read more behind what is there; false at the end or on error. */
static bool
read_more(TvAuditLines *lines, TvError *err)
{
	uint64		pos = lines->offset + lines->have;
	size_t		room;
	ssize_t		got;

	memmove(lines->buf, lines->buf + lines->from, lines->have);
	lines->from = 0;
	room = Min(TV_AUDIT_LINE_MAX - lines->have, lines->limit > pos ? lines->limit - pos : 0);
	if (room == 0)
		return false;
	got = pg_pread(lines->fd, lines->buf + lines->have, room, (off_t) pos);
	if (got < 0)
		(void) tv_error(err, TV_ERR_IO, "could not read an audit file: %s", strerror(errno));
	if (got <= 0)
		return false;
	lines->have += got;
	return true;
}

const char *
tv_audit_lines_next(TvAuditLines *lines, size_t *len, TvError *err)
{
	size_t		searched = 0;

	err->status = TV_OK;
	for (;;)
	{
		char	   *line = lines->buf + lines->from;
		char	   *end = memchr(line + searched, '\n', lines->have - searched);

		if (end != NULL)
		{
			size_t		used = end - line + 1;

			lines->from += used;
			lines->have -= used;
			lines->offset += used;
			*len = used - 1;
			return line;
		}
		searched = lines->have;
		if (!read_more(lines, err))
		{
			*len = lines->have;
			return NULL;
		}
	}
}

void
tv_audit_lines_end(TvAuditLines *lines)
{
	if (lines->buf != NULL)
	{
		close(lines->fd);
		pfree(lines->buf);
	}
	lines->buf = NULL;
}
