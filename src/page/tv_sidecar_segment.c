/*
 * tv_sidecar_segment.c
 *	  The files that a sidecar consists of, one for each segment of its relation.
 */
#include "page/tv_sidecar_internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "utils/wait_event.h"

#define CREATE_WAITS 1000		/* milliseconds */

void
tv_sidecar_segment_path(const RelFileNode *node, uint32 segment, char *path)
{
	if (segment == 0)
		snprintf(path, TV_SIDECAR_PATH_MAX, TV_SIDECAR_ROOT "/%u/%u/%u",
				 node->spcNode, node->dbNode, node->relNode);
	else
		snprintf(path, TV_SIDECAR_PATH_MAX, TV_SIDECAR_ROOT "/%u/%u/%u.%u",
				 node->spcNode, node->dbNode, node->relNode, segment);
}

static bool
grow_files(TvSidecar *sidecar, uint32 segment)
{
	File	   *files;

	if ((int) segment < sidecar->n_files)
		return true;
	files = realloc(sidecar->files, sizeof(File) * (segment + 1));
	if (files == NULL)
	{
		errno = ENOMEM;
		return false;
	}
	for (uint32 i = sidecar->n_files; i <= segment; i++)
		files[i] = -1;
	sidecar->files = files;
	sidecar->n_files = segment + 1;
	return true;
}

static TvSidecarResult
check_header(const TvSidecar *sidecar, File file, uint32 segment)
{
	uint8		data[TV_SIDECAR_HEADER_USED];
	TvSidecarHeader header;
	int			got;

	got = FileRead(file, (char *) data, sizeof(data), 0, WAIT_EVENT_DATA_FILE_READ);
	if (got < 0)
		return TV_SIDECAR_IO_ERROR;
	switch (tv_sidecar_header_decode(data, got, &header))
	{
		case TV_OK:
			break;
		case TV_ERR_TRUNCATED:
			return TV_SIDECAR_SHORT;
		case TV_ERR_VERSION:
			return TV_SIDECAR_NEWER;
		default:
			return TV_SIDECAR_DAMAGED;
	}
	if (header.key != sidecar->key || header.relation != sidecar->node.relNode ||
		header.segment != segment)
		return TV_SIDECAR_FOREIGN;
	return TV_SIDECAR_OK;
}

TvSidecarResult
tv_sidecar_open_segment(TvSidecar *sidecar, uint32 segment, File *file)
{
	char		path[TV_SIDECAR_PATH_MAX];
	TvSidecarResult result;

	if ((int) segment < sidecar->n_files && sidecar->files[segment] >= 0)
	{
		*file = sidecar->files[segment];
		return TV_SIDECAR_OK;
	}
	tv_sidecar_segment_path(&sidecar->node, segment, path);
	*file = PathNameOpenFile(path, O_RDWR | PG_BINARY);
	if (*file < 0)
		return errno == ENOENT ? TV_SIDECAR_MISSING : TV_SIDECAR_IO_ERROR;
	result = check_header(sidecar, *file, segment);
	if (result == TV_SIDECAR_OK && !grow_files(sidecar, segment))
		result = TV_SIDECAR_IO_ERROR;
	if (result != TV_SIDECAR_OK)
	{
		FileClose(*file);
		return result;
	}
	sidecar->files[segment] = *file;
	return TV_SIDECAR_OK;
}

void
tv_sidecar_throw_io(const TvSidecar *sidecar, uint32 segment, const char *what)
{
	char		path[TV_SIDECAR_PATH_MAX];
	bool		full = errno == ENOSPC;

	tv_sidecar_segment_path(&sidecar->node, segment, path);
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not %s file \"%s\": %m", what, path),
			 full ? errhint("Check free disk space.") : 0));
}

/* false and errno if not all of it could be written */
static bool
write_all(File file, const void *data, int len, off_t offset)
{
	int			done;

	errno = 0;
	done = FileWrite(file, (char *) data, len, offset, WAIT_EVENT_DATA_FILE_WRITE);
	if (done != len && errno == 0)
		errno = ENOSPC;			/* fd.c: a short write without errno */
	return done == len;
}

void
tv_sidecar_write_bytes(TvSidecar *sidecar, uint32 segment, File file, const void *data,
					   int len, off_t offset)
{
	if (!write_all(file, data, len, offset))
		tv_sidecar_throw_io(sidecar, segment, "write");
}

/* As md.c, register_dirty_segment(). */
void
tv_sidecar_register_dirty(const TvSidecar *sidecar, uint32 segment, File file)
{
	FileTag		tag;

	memset(&tag, 0, sizeof(tag));
	tag.handler = SYNC_HANDLER_MD;
	tag.rnode = sidecar->node;
	tag.forknum = TV_SIDECAR_FORK;
	tag.segno = segment;
	if (RegisterSyncRequest(&tag, SYNC_REQUEST, false))
		return;
	if (FileSync(file, WAIT_EVENT_DATA_FILE_SYNC) < 0)
		ereport(data_sync_elevel(ERROR),
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", FilePathName(file))));
}

void
tv_sidecar_forget_dirty(const RelFileNode *node, uint32 segment)
{
	FileTag		tag;

	memset(&tag, 0, sizeof(tag));
	tag.handler = SYNC_HANDLER_MD;
	tag.rnode = *node;
	tag.forknum = TV_SIDECAR_FORK;
	tag.segno = segment;
	RegisterSyncRequest(&tag, SYNC_FORGET_REQUEST, true);
}

/*
 * mkdir and make its name durable; of a directory that is there, too, as who
 * made it may not have come so far.
 */
static bool
make_directory(const char *path, const char *parent)
{
	if (mkdir(path, pg_dir_create_mode) != 0 && errno != EEXIST)
		return false;
	if (fsync_fname_ext(parent, true, false, LOG) == 0)
		return true;
	/* or the next one to write here would find it, and not come by */
	(void) rmdir(path);
	ereport(data_sync_elevel(ERROR),
			(errcode(ERRCODE_IO_ERROR),
			 errmsg("could not make directory \"%s\" durable", path)));
	return false;
}

static bool
make_directories(const RelFileNode *node)
{
	char		space[TV_SIDECAR_PATH_MAX];
	char		database[TV_SIDECAR_PATH_MAX];

	snprintf(space, sizeof(space), TV_SIDECAR_ROOT "/%u", node->spcNode);
	snprintf(database, sizeof(database), TV_SIDECAR_ROOT "/%u/%u", node->spcNode, node->dbNode);
	return make_directory("tde_vault", ".") &&
		make_directory(TV_SIDECAR_ROOT, "tde_vault") &&
		make_directory(space, TV_SIDECAR_ROOT) &&
		make_directory(database, space);
}

/*
 * Make a segment; an existing file is made this relation's, without entries,
 * unless flags have O_EXCL: then -1 if there is one.
 */
static File
create_segment(TvSidecar *sidecar, uint32 segment, int flags)
{
	char		path[TV_SIDECAR_PATH_MAX];
	uint8		block[TV_SIDECAR_HEADER] = {0};
	TvSidecarHeader header = {TV_SIDECAR_VERSION, sidecar->key, sidecar->node.relNode, segment};
	File		file;

	tv_sidecar_segment_path(&sidecar->node, segment, path);
	file = PathNameOpenFile(path, O_RDWR | O_CREAT | flags | PG_BINARY);
	if (file < 0 && errno == ENOENT && make_directories(&sidecar->node))
		file = PathNameOpenFile(path, O_RDWR | O_CREAT | flags | PG_BINARY);
	if (file < 0 && errno == EEXIST && (flags & O_EXCL))
		return -1;
	if (file < 0)
		tv_sidecar_throw_io(sidecar, segment, "create");
	tv_sidecar_header_encode(&header, block);
	if (!write_all(file, block, sizeof(block), 0) || !grow_files(sidecar, segment))
	{
		int			save_errno = errno;

		/* not kept open: whoever tries again must find it without a header */
		FileClose(file);
		errno = save_errno;
		tv_sidecar_throw_io(sidecar, segment, "write");
	}
	sidecar->files[segment] = file;
	tv_sidecar_register_dirty(sidecar, segment, file);
	return file;
}

/*
 * A segment that is not there, when several processes may be making it: one
 * does, the others wait until it has its header.
 */
static TvSidecarResult
create_missing(TvSidecar *sidecar, uint32 segment, File *file)
{
	TvSidecarResult result = TV_SIDECAR_OK;

	*file = create_segment(sidecar, segment, O_EXCL);
	for (int i = 0; *file < 0 && i < CREATE_WAITS; i++)
	{
		result = tv_sidecar_open_segment(sidecar, segment, file);
		if (result == TV_SIDECAR_OK)
			return result;
		*file = -1;
		pg_usleep(1000L);
	}
	return *file < 0 ? result : TV_SIDECAR_OK;
}

File
tv_sidecar_segment_for_write(TvSidecar *sidecar, BlockNumber block, bool create)
{
	uint32		segment = block / RELSEG_SIZE;
	TvSidecarResult result;
	char		path[TV_SIDECAR_PATH_MAX];
	File		file;

	result = tv_sidecar_open_segment(sidecar, segment, &file);
	if (result == TV_SIDECAR_OK)
		return file;

	/*
	 * After a crash a sidecar may be missing, empty, or a leftover of a file
	 * that had the number before; recovery writes again what was in it.
	 */
	if (result == TV_SIDECAR_MISSING &&
		(create || sidecar->may_create || RecoveryInProgress()))
	{
		result = create_missing(sidecar, segment, &file);
		if (result == TV_SIDECAR_OK)
			return file;
	}
	if ((create || sidecar->may_create || RecoveryInProgress()) &&
		(result == TV_SIDECAR_MISSING || result == TV_SIDECAR_SHORT ||
		 (RecoveryInProgress() && (result == TV_SIDECAR_DAMAGED || result == TV_SIDECAR_FOREIGN))))
		return create_segment(sidecar, segment, O_TRUNC);
	if (result == TV_SIDECAR_IO_ERROR)
		tv_sidecar_throw_io(sidecar, segment, "open");
	tv_sidecar_segment_path(&sidecar->node, segment, path);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("sidecar file \"%s\" of block %u %s", path, block, tv_sidecar_problem(result)),
			 errhint("Restore the file from a backup; its relation cannot be written without it.")));
	return -1;
}
