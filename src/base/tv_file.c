/*
 * tv_file.c
 *	  What those who write files of their own have in common.
 */
#include "base/tv_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "miscadmin.h"

TvStatus
tv_io_error(TvError *err, const char *what, const char *path)
{
	bool		full = errno == ENOSPC || errno == EDQUOT;
	TvStatus	status = tv_error(err, TV_ERR_IO, "could not %s file \"%s\": %s",
								  what, path, strerror(errno));

	if (full)
		tv_error_hint(err, "Free space on the file system that holds it.");
	else
		tv_error_hint(err, "See to the file system that holds it.");
	return status;
}

TvStatus
tv_sync_directory(const char *path, TvError *err)
{
	int			fd;
	TvStatus	status = TV_OK;

	if (!enableFsync)
		return TV_OK;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return tv_io_error(err, "open", path);
	if (fsync(fd) != 0)
		status = tv_io_error(err, "fsync", path);
	close(fd);
	return status;
}
