/*
 * tv_keyring_io.c
 *	  The keyring file as bytes: writing, syncing, walking records.
 */
#include "keyring/tv_keyring_io.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "base/tv_file.h"
#include "base/tv_report.h"
#include "crypto/tv_kdf.h"

TvStatus
tv_keyring_write_at(int fd, const void *data, size_t len, uint64 pos, const char *path, TvError *err)
{
	ssize_t		done;

	errno = 0;
	done = pg_pwrite(fd, data, len, (off_t) pos);
	if (done != (ssize_t) len)
	{
		if (errno == 0)
			errno = ENOSPC;		/* as fd.c: a short write without errno */
		return tv_io_error(err, "write", path);
	}
	return TV_OK;
}

TvStatus
tv_keyring_sync_fd(int fd, const char *path, TvError *err)
{
	if (pg_fsync(fd) != 0)
		return tv_io_error(err, "fsync", path);
	return TV_OK;
}

void
tv_keyring_panic_on_lost_sync(const TvError *err)
{
	tv_report(PANIC, err);
}

TvStatus
tv_keyring_write_header(int fd, const char *path, const TvKeyringHeader *header, TvError *err)
{
	uint8		sector[TV_KEYRING_SECTOR];

	tv_keyring_header_encode(header, sector);
	return tv_keyring_write_at(fd, sector, sizeof(sector), 0, path, err);
}

TvStatus
tv_keyring_make_header(TvKeyringHeader *header, uint64 generation, TvError *err)
{
	memset(header, 0, sizeof(*header));
	header->version = TV_KEYRING_VERSION;
	header->system_identifier = GetSystemIdentifier();
	header->generation = generation;
	header->committed = TV_KEYRING_SECTOR;
	if (tv_random(header->seed, sizeof(header->seed)) != TV_OK)
		return tv_error(err, TV_ERR_INTERNAL, "could not get random bytes");
	return TV_OK;
}

#define WALK_BUFFER (16 * TV_KEYRING_RECORD_MAX)

TvStatus
tv_keyring_walk(int fd, const char *path, const TvKeyringHeader *header, uint64 end,
				TvRecordVisit visit, void *context, TvError *err)
{
	static uint8 buffer[WALK_BUFFER];	/* no palloc here; one walk at a time */
	uint64		start = TV_KEYRING_SECTOR;	/* of the buffer */
	uint64		pos = start;
	size_t		filled = 0;
	uint8		check[TV_KEYRING_CHECK_LEN];

	memcpy(check, header->seed, sizeof(check));
	while (pos < end)
	{
		TvRecord	record;
		size_t		used;
		TvStatus	status;

		/* have a whole record in the buffer, or all that there is */
		if (start + filled < Min(end, pos + TV_KEYRING_RECORD_MAX))
		{
			ssize_t		got = pg_pread(fd, buffer, Min(sizeof(buffer), end - pos), (off_t) pos);

			if (got < 0)
				return tv_io_error(err, "read", path);
			start = pos;
			filled = (size_t) got;
		}
		status = tv_keyring_record_decode(buffer + (pos - start), filled - (pos - start),
										  pos, check, &record, &used);
		if (status != TV_OK)
			return tv_error(err, status, "keyring file \"%s\" is damaged at byte " UINT64_FORMAT,
							path, pos);
		status = visit(&record, pos, used, context, err);
		if (status != TV_OK)
			return status;
		pos += used;
	}
	return TV_OK;
}
