/*
 * tv_provider_secretfile.c
 *	  Reading files that hold a key, a PIN or a passphrase.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/tv_secret.h"
#include "provider/tv_provider_driver.h"

/*
 * The path part of "/p" and "///p".
 */
TvStatus
tv_provider_check_path(const char *what, const char *rest, const char **path,
					   TvError *err)
{
	if (strncmp(rest, "///", 3) == 0)
		rest += 2;
	if (rest[0] != '/' || rest[1] == '\0' || rest[1] == '/')
	{
		tv_error(err, TV_ERR_BAD_URI,
				 "path of %s must be absolute, got \"%s\"", what, rest);
		tv_error_hint(err, "Write the whole path, for example file:/etc/tde_vault/mek.key.");
		return TV_ERR_BAD_URI;
	}
	for (const char *p = rest; *p; p++)
	{
		if ((unsigned char) *p < 0x20 || *p == 0x7f)
			return tv_error(err, TV_ERR_BAD_URI,
							"path of %s contains a control character", what);
	}
	*path = rest;
	return TV_OK;
}

static TvStatus
read_failed(const char *what, const char *path, int errnum, TvError *err)
{
	tv_error(err, TV_ERR_IO, "failed to read %s \"%s\": %s", what, path,
			 strerror(errnum));
	if (errnum == EACCES)
		tv_error_hint(err, "The file must be owned by the server's operating system user, and every directory above it must be searchable by that user.");
	else if (errnum == ENOENT)
		tv_error_hint(err, "Check the path in the provider URI and that its volume is mounted. A lost file must be restored from its backup.");
	return TV_ERR_IO;
}

/*
 * Is this inode one that only we (or root) could have written and can read?
 */
static TvStatus
check_inode(const char *what, const char *path, const struct stat *st,
			TvError *err)
{
	if (!S_ISREG(st->st_mode))
		return tv_error(err, TV_ERR_INSECURE, "%s \"%s\" is not a regular file",
						what, path);
	if (st->st_uid != geteuid() && st->st_uid != 0)
	{
		tv_error(err, TV_ERR_INSECURE, "%s \"%s\" has insecure permissions",
				 what, path);
		tv_error_detail(err, "The file is owned by user ID %ld; it must be owned by the server's user (ID %ld) or root.",
						(long) st->st_uid, (long) geteuid());
		tv_error_hint(err, "Run chown on the file.");
		return TV_ERR_INSECURE;
	}
	if ((st->st_mode & 07777 & ~(mode_t) 0600) != 0)
	{
		tv_error(err, TV_ERR_INSECURE, "%s \"%s\" has insecure permissions",
				 what, path);
		tv_error_detail(err, "The file has mode %04o; it must be 0600 or less.",
						(unsigned) (st->st_mode & 07777));
		tv_error_hint(err, "Run chmod 0600 on the file.");
		return TV_ERR_INSECURE;
	}
	if (st->st_size > TV_SECRET_FILE_MAX)
		return tv_error(err, TV_ERR_BAD_KEY,
						"%s \"%s\" has %lld bytes, more than %d", what, path,
						(long long) st->st_size, TV_SECRET_FILE_MAX);
	return TV_OK;
}

static TvStatus
read_descriptor(int fd, const char *what, const char *path,
				TvSecretFile *file, TvError *err)
{
	struct stat st;
	TvStatus	status;
	ssize_t		n;

	if (fstat(fd, &st) != 0)
		return read_failed(what, path, errno, err);
	status = check_inode(what, path, &st, err);
	if (status != TV_OK)
		return status;
	file->data = tv_secret_alloc(TV_SECRET_FILE_MAX + 1);
	if (file->data == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY, "out of memory");
	file->changed_sec = st.st_ctim.tv_sec;
	file->changed_nsec = st.st_ctim.tv_nsec;
	do
	{
		n = read(fd, file->data + file->len, TV_SECRET_FILE_MAX - file->len);
		if (n > 0)
			file->len += (size_t) n;
	} while ((n > 0 && file->len < TV_SECRET_FILE_MAX) ||
			 (n < 0 && errno == EINTR));
	if (n < 0)
	{
		int			errnum = errno;

		tv_secret_free(file->data);
		memset(file, 0, sizeof(*file));
		return read_failed(what, path, errnum, err);
	}
	return TV_OK;
}

/*
 * Read a whole secret file; see tv_provider_driver.h.
 *
 * The checks are made on the opened file, so that it cannot be exchanged
 * between check and use.  O_NONBLOCK: a FIFO must not hang the server.
 */
TvStatus
tv_provider_read_secret_file(const char *what, const char *path,
							 TvSecretFile *file, TvError *err)
{
	TvStatus	status;
	int			fd;

	memset(file, 0, sizeof(*file));
	do
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return read_failed(what, path, errno, err);
	status = read_descriptor(fd, what, path, file, err);
	close(fd);
	return status;
}

/*
 * Take one trailing newline off.
 */
void
tv_provider_chomp(TvSecretFile *file)
{
	if (file->len > 0 && file->data[file->len - 1] == '\n')
		file->data[--file->len] = '\0';
}
