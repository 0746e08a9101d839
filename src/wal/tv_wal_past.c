/*
 * tv_wal_past.c
 *	  WAL of the past in pg_wal.
 *
 * Each page of WAL begins with its position.  So a file that was renamed for a
 * segment to come, and was not written since, is known by its pages.  Nobody
 * has such a file open for writing: XLogWrite() opens a segment when it writes
 * its first page, under WALWriteLock, and from then on the position written is
 * not before that segment.  Under the same lock a file of a later one is given
 * a name that the server does not know, and leaves alone also after a crash; then
 * its bytes are overwritten, and it is removed.  If it is missed, the server makes
 * a new one, as it does when there was nothing to be renamed.
 */
#include "wal/tv_wal_past.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogarchive.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "storage/fd.h"
#include "storage/lwlock.h"

#define NO_SEGMENT UINT64_MAX

/* Of files that were taken away: not one of temporary files, which the server removes. */
#define TAKEN_SUFFIX ".past"

/* Segment and timeline of a file's name; false if it is none of a segment. */
static bool
parse_name(const char *name, TimeLineID *tli, XLogSegNo *segno)
{
	if (!IsXLogFileName(name) && !IsPartialXLogFileName(name))
		return false;
	XLogFromFileName(name, tli, segno, wal_segment_size);
	return true;
}

/* As ReplicationSlotsComputeRequiredLSN(), with a name. */
static void
look_at_slots(TvWalPast *past)
{
	past->slot = UINT64_MAX;
	past->slot_name[0] = '\0';
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];
		XLogRecPtr	restart;

		if (!slot->in_use)
			continue;
		SpinLockAcquire(&slot->mutex);
		restart = slot->data.restart_lsn;
		SpinLockRelease(&slot->mutex);
		if (XLogRecPtrIsInvalid(restart) || restart >= past->slot)
			continue;
		past->slot = restart;
		strlcpy(past->slot_name, NameStr(slot->data.name), sizeof(past->slot_name));
	}
	LWLockRelease(ReplicationSlotControlLock);
}

void
tv_wal_past_look(TvWalPast *past)
{
	DIR		   *dir = AllocateDir(XLOGDIR);
	struct dirent *entry;

	past->looked = true;
	past->insert = GetXLogInsertRecPtr();
	past->oldest = NO_SEGMENT;
	past->unarchived = NO_SEGMENT;
	while ((entry = ReadDir(dir, XLOGDIR)) != NULL)
	{
		TimeLineID	tli;
		XLogSegNo	segno;

		if (!parse_name(entry->d_name, &tli, &segno))
			continue;
		past->oldest = Min(past->oldest, segno);
		if (segno < past->unarchived && XLogArchiveIsReady(entry->d_name))
			past->unarchived = segno;
	}
	FreeDir(dir);
	look_at_slots(past);
}

/* The last segment that has WAL from before lsn. */
static XLogSegNo
last_segment(XLogRecPtr lsn)
{
	XLogSegNo	segno;

	XLByteToPrevSeg(lsn, segno, wal_segment_size);
	return segno;
}

bool
tv_wal_past_has(const TvWalPast *past, XLogRecPtr lsn)
{
	return past->oldest <= last_segment(lsn);
}

/* As KeepLogSeg() and RemoveOldXlogFiles() would (xlog.c). */
TvWalHolder
tv_wal_past_holder(const TvWalPast *past, XLogRecPtr lsn, uint64 *more)
{
	XLogSegNo	segno = last_segment(lsn);
	uint64		keep = XLogMBVarToSegs(wal_keep_size_mb, wal_segment_size);
	XLogSegNo	now;

	XLByteToSeg(past->insert, now, wal_segment_size);
	if (past->slot / wal_segment_size <= segno)
		return TV_WAL_SLOT;
	if (past->unarchived <= segno)
		return TV_WAL_ARCHIVER;
	if (now <= segno + keep && keep > 0)
	{
		*more = (segno + keep + 1) * wal_segment_size - past->insert;
		return TV_WAL_KEEP_SIZE;
	}
	return TV_WAL_NOTHING;
}

/* --- renamed files ------------------------------------------------------------ */

static int
open_file(const char *path, int flags)
{
	int			fd = OpenTransientFile(path, flags | PG_BINARY);

	if (fd < 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	return fd;
}

/* Has the file a page of WAL from before lsn?  Or of whatever is no WAL. */
static bool
has_past(const char *path, XLogRecPtr lsn)
{
	int			fd = XLogRecPtrIsInvalid(lsn) ? -1 : open_file(path, O_RDONLY);
	bool		found = false;

	for (off_t at = 0; fd >= 0 && !found && at < wal_segment_size; at += XLOG_BLCKSZ)
	{
		XLogPageHeaderData header = {0};

		if (pg_pread(fd, &header, sizeof(header), at) < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\": %m", path)));
		found = header.xlp_pageaddr != 0 && header.xlp_pageaddr < lsn;
	}
	if (fd >= 0)
		CloseTransientFile(fd);
	return found;
}

static void
overwrite(const char *path)
{
	static const PGAlignedXLogBlock zeros;
	int			fd = open_file(path, O_RDWR);

	if (fd < 0)
		return;
	for (off_t at = 0; at < wal_segment_size; at += XLOG_BLCKSZ)
	{
		CHECK_FOR_INTERRUPTS();
		errno = 0;
		if (pg_pwrite(fd, zeros.data, XLOG_BLCKSZ, at) == XLOG_BLCKSZ)
			continue;
		if (errno == 0)
			errno = ENOSPC;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", path)));
	}
	if (pg_fsync(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", path)));
	CloseTransientFile(fd);
}

/* Nobody has written to the segment yet, so nobody has it open to write. */
static bool
is_to_come(XLogSegNo segno)
{
	return segno * wal_segment_size >= GetXLogWriteRecPtr();
}

/* false: the server has come to it meanwhile. */
static bool
take_away(const char *path, const char *to, XLogSegNo segno)
{
	bool		taken;

	LWLockAcquire(WALWriteLock, LW_EXCLUSIVE);
	taken = is_to_come(segno) && rename(path, to) == 0;
	LWLockRelease(WALWriteLock);
	return taken;
}

static bool
clear_taken(const char *path)
{
	overwrite(path);
	durable_unlink(path, ERROR);
	return true;
}

static bool
wipe(const char *name, XLogSegNo segno)
{
	char		path[MAXPGPATH];
	char		temporary[MAXPGPATH];

	snprintf(path, sizeof(path), XLOGDIR "/%s", name);
	snprintf(temporary, sizeof(temporary), XLOGDIR "/%s" TAKEN_SUFFIX, name);
	/* one that had the name before, and could not be overwritten then */
	if (access(temporary, F_OK) == 0)
		clear_taken(temporary);
	return take_away(path, temporary, segno) && clear_taken(temporary);
}

/* Was it taken away, and could not be overwritten then?  Nobody else is at it. */
static bool
is_taken(const char *name)
{
	size_t		len = strlen(name);
	size_t		suffix = strlen(TAKEN_SUFFIX);

	return len > suffix && strcmp(name + len - suffix, TAKEN_SUFFIX) == 0;
}

int
tv_wal_past_wipe(XLogRecPtr lsn, int most, int *wiped, bool *current)
{
	DIR		   *dir = AllocateDir(XLOGDIR);
	struct dirent *entry;
	int			left = 0;

	*current = false;
	*wiped = 0;
	while ((entry = ReadDir(dir, XLOGDIR)) != NULL)
	{
		char		path[MAXPGPATH];
		bool		taken = is_taken(entry->d_name);
		TimeLineID	tli = 0;
		XLogSegNo	segno = NO_SEGMENT;

		CHECK_FOR_INTERRUPTS();
		snprintf(path, sizeof(path), XLOGDIR "/%s", entry->d_name);
		if (!taken && (!parse_name(entry->d_name, &tli, &segno) || !has_past(path, lsn)))
			continue;
		if (*wiped < most &&
			(taken ? clear_taken(path) :
			 tli == GetWALInsertionTimeLine() && wipe(entry->d_name, segno)))
			(*wiped)++;
		else
		{
			left++;
			*current = *current || segno == GetXLogWriteRecPtr() / wal_segment_size;
		}
	}
	FreeDir(dir);
	return left;
}
