/*
 * tv_sidecar.c
 *	  The file beside a relation that holds nonce and tag of every page.
 *
 * Truncation runs in a critical section (storage.c, RelationTruncate), so
 * nothing here uses palloc; fd.c's virtual files use malloc.
 */
#include "page/tv_sidecar.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlogutils.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/wait_event.h"

#define SIDECAR_ROOT "tde_vault/sidecar"
#define PATH_MAX_LEN 96

/* Chunks of entries remembered for sequential scans. */
#define N_CHUNKS 16

#define CREATE_WAITS 1000		/* milliseconds */

typedef struct Chunk
{
	RelFileNode node;
	BlockNumber first;			/* block of its first entry */
	uint32		stamp;			/* 0: unused */
	uint8		data[TV_SIDECAR_CHUNK];
} Chunk;

static Chunk chunks[N_CHUNKS];
static uint32 chunk_clock = 0;

static void
segment_path(const RelFileNode *node, uint32 segment, char *path)
{
	if (segment == 0)
		snprintf(path, PATH_MAX_LEN, SIDECAR_ROOT "/%u/%u/%u",
				 node->spcNode, node->dbNode, node->relNode);
	else
		snprintf(path, PATH_MAX_LEN, SIDECAR_ROOT "/%u/%u/%u.%u",
				 node->spcNode, node->dbNode, node->relNode, segment);
}

static off_t
entry_offset(BlockNumber block)
{
	return TV_SIDECAR_HEADER + (off_t) TV_ENTRY_SIZE * (block % RELSEG_SIZE);
}

static BlockNumber
chunk_first(BlockNumber block)
{
	return block - block % TV_SIDECAR_CHUNK_ENTRIES;
}

static Chunk *
find_chunk(const TvSidecar *sidecar, BlockNumber block)
{
	BlockNumber first = chunk_first(block);

	for (int i = 0; i < N_CHUNKS; i++)
	{
		if (chunks[i].stamp != 0 && chunks[i].first == first &&
			RelFileNodeEquals(chunks[i].node, sidecar->node))
			return &chunks[i];
	}
	return NULL;
}

static Chunk *
oldest_chunk(void)
{
	Chunk	   *oldest = &chunks[0];

	for (int i = 1; i < N_CHUNKS; i++)
	{
		if (chunks[i].stamp < oldest->stamp)
			oldest = &chunks[i];
	}
	return oldest;
}

static void
forget_chunks(const RelFileNode *node)
{
	for (int i = 0; i < N_CHUNKS; i++)
	{
		if (RelFileNodeEquals(chunks[i].node, *node))
			chunks[i].stamp = 0;
	}
}

void
tv_sidecar_init(TvSidecar *sidecar, const RelFileNode *node, uint64 key)
{
	memset(sidecar, 0, sizeof(*sidecar));
	sidecar->node = *node;
	sidecar->key = key;
	sidecar->last_read = InvalidBlockNumber;
}

void
tv_sidecar_close(TvSidecar *sidecar)
{
	for (int i = 0; i < sidecar->n_files; i++)
	{
		if (sidecar->files[i] >= 0)
			FileClose(sidecar->files[i]);
	}
	free(sidecar->files);
	sidecar->files = NULL;
	sidecar->n_files = 0;
	forget_chunks(&sidecar->node);
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

static TvSidecarResult
open_segment(TvSidecar *sidecar, uint32 segment, File *file)
{
	char		path[PATH_MAX_LEN];
	TvSidecarResult result;

	if ((int) segment < sidecar->n_files && sidecar->files[segment] >= 0)
	{
		*file = sidecar->files[segment];
		return TV_SIDECAR_OK;
	}
	segment_path(&sidecar->node, segment, path);
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

static TvSidecarResult
read_chunk(File file, const TvSidecar *sidecar, BlockNumber block, Chunk **result)
{
	BlockNumber first = chunk_first(block);
	Chunk	   *chunk = oldest_chunk();
	int			got;

	chunk->stamp = 0;
	got = FileRead(file, (char *) chunk->data, TV_SIDECAR_CHUNK, entry_offset(first),
				   WAIT_EVENT_DATA_FILE_READ);
	if (got < 0)
		return TV_SIDECAR_IO_ERROR;
	if (got < (int) (block - first + 1) * TV_ENTRY_SIZE)
		return TV_SIDECAR_SHORT;
	memset(chunk->data + got, 0, TV_SIDECAR_CHUNK - got);
	chunk->node = sidecar->node;
	chunk->first = first;
	chunk->stamp = ++chunk_clock;
	*result = chunk;
	return TV_SIDECAR_OK;
}

TvSidecarResult
tv_sidecar_read(TvSidecar *sidecar, BlockNumber block, bool fresh,
				TvPageEntry *entry, bool *cached)
{
	uint8		bytes[TV_ENTRY_SIZE];
	Chunk	   *chunk = fresh ? NULL : find_chunk(sidecar, block);
	bool		sequential = block == sidecar->last_read + 1;
	TvSidecarResult result;
	File		file;
	int			got;

	sidecar->last_read = block;
	*cached = chunk != NULL;
	if (chunk == NULL)
	{
		result = open_segment(sidecar, block / RELSEG_SIZE, &file);
		if (result != TV_SIDECAR_OK)
			return result;
		if (sequential && !fresh)
		{
			result = read_chunk(file, sidecar, block, &chunk);
			if (result != TV_SIDECAR_OK)
				return result;
		}
	}
	if (chunk != NULL)
	{
		tv_entry_decode(chunk->data + (block - chunk->first) * TV_ENTRY_SIZE, entry);
		return TV_SIDECAR_OK;
	}

	got = FileRead(file, (char *) bytes, sizeof(bytes), entry_offset(block),
				   WAIT_EVENT_DATA_FILE_READ);
	if (got < 0)
		return TV_SIDECAR_IO_ERROR;
	if (got < (int) sizeof(bytes))
		return TV_SIDECAR_SHORT;
	tv_entry_decode(bytes, entry);
	chunk = find_chunk(sidecar, block);
	if (chunk != NULL)
		memcpy(chunk->data + (block - chunk->first) * TV_ENTRY_SIZE, bytes, sizeof(bytes));
	return TV_SIDECAR_OK;
}

static void
throw_io(const TvSidecar *sidecar, uint32 segment, const char *what)
{
	char		path[PATH_MAX_LEN];
	bool		full = errno == ENOSPC;

	segment_path(&sidecar->node, segment, path);
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not %s file \"%s\": %m", what, path),
			 full ? errhint("Check free disk space.") : 0));
}

static void
write_bytes(TvSidecar *sidecar, uint32 segment, File file, const void *data,
			int len, off_t offset)
{
	int			done;

	errno = 0;
	done = FileWrite(file, (char *) data, len, offset, WAIT_EVENT_DATA_FILE_WRITE);
	if (done == len)
		return;
	if (errno == 0)
		errno = ENOSPC;			/* fd.c: a short write without errno */
	throw_io(sidecar, segment, "write");
}

/* As md.c, register_dirty_segment(). */
static void
register_dirty(const TvSidecar *sidecar, uint32 segment, File file)
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

static void
forget_dirty(const RelFileNode *node, uint32 segment)
{
	FileTag		tag;

	memset(&tag, 0, sizeof(tag));
	tag.handler = SYNC_HANDLER_MD;
	tag.rnode = *node;
	tag.forknum = TV_SIDECAR_FORK;
	tag.segno = segment;
	RegisterSyncRequest(&tag, SYNC_FORGET_REQUEST, true);
}

/* mkdir and make its name durable */
static bool
make_directory(const char *path, const char *parent)
{
	int			fd;
	int			result = 0;

	if (mkdir(path, pg_dir_create_mode) != 0)
		return errno == EEXIST;
	if (!enableFsync)
		return true;
	fd = open(parent, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	result = fsync(fd);
	close(fd);
	return result == 0;
}

static bool
make_directories(const RelFileNode *node)
{
	char		space[PATH_MAX_LEN];
	char		database[PATH_MAX_LEN];

	snprintf(space, sizeof(space), SIDECAR_ROOT "/%u", node->spcNode);
	snprintf(database, sizeof(database), SIDECAR_ROOT "/%u/%u", node->spcNode, node->dbNode);
	return make_directory("tde_vault", ".") &&
		make_directory(SIDECAR_ROOT, "tde_vault") &&
		make_directory(space, SIDECAR_ROOT) &&
		make_directory(database, space);
}

/*
 * Make a segment; an existing file is made this relation's, without entries,
 * unless flags have O_EXCL: then -1 if there is one.
 */
static File
create_segment(TvSidecar *sidecar, uint32 segment, int flags)
{
	char		path[PATH_MAX_LEN];
	uint8		block[TV_SIDECAR_HEADER] = {0};
	TvSidecarHeader header = {TV_SIDECAR_VERSION, sidecar->key, sidecar->node.relNode, segment};
	File		file;

	segment_path(&sidecar->node, segment, path);
	file = PathNameOpenFile(path, O_RDWR | O_CREAT | flags | PG_BINARY);
	if (file < 0 && errno == ENOENT && make_directories(&sidecar->node))
		file = PathNameOpenFile(path, O_RDWR | O_CREAT | flags | PG_BINARY);
	if (file < 0 && errno == EEXIST && (flags & O_EXCL))
		return -1;
	if (file < 0)
		throw_io(sidecar, segment, "create");
	if (!grow_files(sidecar, segment))
	{
		FileClose(file);
		throw_io(sidecar, segment, "open");
	}
	sidecar->files[segment] = file;
	tv_sidecar_header_encode(&header, block);
	write_bytes(sidecar, segment, file, block, sizeof(block), 0);
	register_dirty(sidecar, segment, file);
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
		result = open_segment(sidecar, segment, file);
		if (result == TV_SIDECAR_OK)
			return result;
		*file = -1;
		pg_usleep(1000L);
	}
	return *file < 0 ? result : TV_SIDECAR_OK;
}

/* The segment, which must be there unless recovery or an extension makes it. */
static File
segment_for_write(TvSidecar *sidecar, BlockNumber block, bool create)
{
	uint32		segment = block / RELSEG_SIZE;
	TvSidecarResult result;
	char		path[PATH_MAX_LEN];
	File		file;

	result = open_segment(sidecar, segment, &file);
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
		throw_io(sidecar, segment, "open");
	segment_path(&sidecar->node, segment, path);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("sidecar file \"%s\" of block %u %s", path, block, tv_sidecar_problem(result)),
			 errhint("Restore the file from a backup; its relation cannot be written without it.")));
	return -1;
}

void
tv_sidecar_write(TvSidecar *sidecar, BlockNumber block, const TvPageEntry *entry,
				 bool skip_fsync)
{
	File		file = segment_for_write(sidecar, block, false);
	Chunk	   *chunk = find_chunk(sidecar, block);
	uint8		bytes[TV_ENTRY_SIZE];

	tv_entry_encode(entry, bytes);
	write_bytes(sidecar, block / RELSEG_SIZE, file, bytes, sizeof(bytes), entry_offset(block));
	if (chunk)
		memcpy(chunk->data + (block - chunk->first) * TV_ENTRY_SIZE, bytes, sizeof(bytes));
	if (!skip_fsync)
		register_dirty(sidecar, block / RELSEG_SIZE, file);
}

/* Whole chunks of zeros up to and with the one that holds offset. */
static void
reserve(TvSidecar *sidecar, uint32 segment, File file, off_t size, off_t offset)
{
	static const uint8 zeros[TV_SIDECAR_CHUNK];

	while (size <= offset)
	{
		/* a chunk that a crash or a full disk cut off is completed first */
		int			len = TV_SIDECAR_CHUNK - size % TV_SIDECAR_CHUNK;

		write_bytes(sidecar, segment, file, zeros, len, size);
		size += len;
	}
}

/* Segments before the one that is extended are complete. */
static void
complete_earlier(TvSidecar *sidecar, uint32 segment)
{
	for (uint32 earlier = 0; earlier < segment; earlier++)
	{
		File		file;
		off_t		size;
		BlockNumber last = (earlier + 1) * RELSEG_SIZE - 1;

		if ((int) earlier < sidecar->n_files && sidecar->files[earlier] >= 0)
			continue;
		file = segment_for_write(sidecar, last, true);
		size = FileSize(file);
		if (size < 0)
			throw_io(sidecar, earlier, "stat");
		reserve(sidecar, earlier, file, size, entry_offset(last));
	}
}

void
tv_sidecar_extend(TvSidecar *sidecar, BlockNumber block, bool skip_fsync)
{
	static const TvPageEntry none;
	uint32		segment = block / RELSEG_SIZE;
	off_t		offset = entry_offset(block);
	File		file;
	off_t		size;

	complete_earlier(sidecar, segment);
	file = segment_for_write(sidecar, block, true);
	size = FileSize(file);
	if (size < 0)
		throw_io(sidecar, segment, "stat");
	if (size < offset + TV_ENTRY_SIZE)
	{
		reserve(sidecar, segment, file, size, offset);
		if (!skip_fsync)
			register_dirty(sidecar, segment, file);
	}
	else
		tv_sidecar_write(sidecar, block, &none, skip_fsync);
}

void
tv_sidecar_reserve(TvSidecar *sidecar, BlockNumber nblocks)
{
	BlockNumber last = nblocks - 1;
	uint32		segment = last / RELSEG_SIZE;
	off_t		size;
	File		file;

	if (nblocks == 0)
		return;
	complete_earlier(sidecar, segment);
	file = segment_for_write(sidecar, last, true);
	size = FileSize(file);
	if (size < 0)
		throw_io(sidecar, segment, "stat");
	reserve(sidecar, segment, file, size, entry_offset(last));
	register_dirty(sidecar, segment, file);
}

static void
truncate_segment(TvSidecar *sidecar, uint32 segment, File file, BlockNumber nblocks)
{
	static const uint8 zeros[TV_SIDECAR_CHUNK];
	off_t		size = FileSize(file);
	off_t		keep = TV_SIDECAR_HEADER + (off_t) TV_ENTRY_SIZE * nblocks;
	off_t		end = TYPEALIGN(TV_SIDECAR_CHUNK, keep);

	if (size < 0)
		throw_io(sidecar, segment, "stat");
	if (size <= keep)
		return;
	if (size > end && FileTruncate(file, end, WAIT_EVENT_DATA_FILE_TRUNCATE) < 0)
		throw_io(sidecar, segment, "truncate");
	end = Min(end, size);
	if (end > keep)
		write_bytes(sidecar, segment, file, zeros, (int) (end - keep), keep);
	register_dirty(sidecar, segment, file);
}

void
tv_sidecar_truncate(TvSidecar *sidecar, BlockNumber nblocks)
{
	uint32		segment = nblocks / RELSEG_SIZE;

	forget_chunks(&sidecar->node);
	for (;; segment++)
	{
		BlockNumber first = segment * RELSEG_SIZE;
		TvSidecarResult result;
		File		file;

		result = open_segment(sidecar, segment, &file);
		if (result == TV_SIDECAR_IO_ERROR)
			throw_io(sidecar, segment, "open");
		if (result != TV_SIDECAR_OK)
			return;
		truncate_segment(sidecar, segment, file, nblocks > first ? nblocks - first : 0);
	}
}

void
tv_sidecar_immedsync(TvSidecar *sidecar)
{
	for (uint32 segment = 0;; segment++)
	{
		TvSidecarResult result;
		File		file;

		result = open_segment(sidecar, segment, &file);
		if (result == TV_SIDECAR_IO_ERROR)
			throw_io(sidecar, segment, "open");
		if (result != TV_SIDECAR_OK)
			return;
		if (FileSync(file, WAIT_EVENT_DATA_FILE_IMMEDIATE_SYNC) < 0)
			ereport(data_sync_elevel(ERROR),
					(errcode_for_file_access(),
					 errmsg("could not fsync file \"%s\": %m", FilePathName(file))));
	}
}

void
tv_sidecar_unlink(const RelFileNode *node)
{
	forget_chunks(node);
	for (uint32 segment = 0;; segment++)
	{
		char		path[PATH_MAX_LEN];

		segment_path(node, segment, path);
		/* give the space back even while others have the file open */
		if (pg_truncate(path, 0) < 0 && errno == ENOENT)
			return;
		forget_dirty(node, segment);
		if (unlink(path) < 0)
		{
			if (errno != ENOENT)
				ereport(WARNING,
						(errcode_for_file_access(),
						 errmsg("could not remove file \"%s\": %m", path)));
			return;
		}
	}
}

void
tv_sidecar_unlink_database(Oid database)
{
	DIR		   *dir = AllocateDir(SIDECAR_ROOT);
	struct dirent *space;

	if (dir == NULL && errno == ENOENT)
		return;
	while ((space = ReadDirExtended(dir, SIDECAR_ROOT, WARNING)) != NULL)
	{
		char		path[MAXPGPATH];
		struct stat st;

		if (space->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), SIDECAR_ROOT "/%s/%u", space->d_name, database);
		if (stat(path, &st) == 0 && !rmtree(path, true))
			ereport(WARNING,
					(errcode_for_file_access(),
					 errmsg("some useless files may be left behind in directory \"%s\"", path)));
	}
	FreeDir(dir);
}

int
tv_sidecar_sync(const FileTag *ftag, char *path)
{
	int			fd;
	int			result;
	int			save_errno;

	segment_path(&ftag->rnode, ftag->segno, path);
	fd = BasicOpenFile(path, O_RDWR | PG_BINARY);
	if (fd < 0)
		return -1;
	pgstat_report_wait_start(WAIT_EVENT_DATA_FILE_SYNC);
	result = pg_fsync(fd);
	pgstat_report_wait_end();
	save_errno = errno;
	close(fd);
	errno = save_errno;
	return result;
}

const char *
tv_sidecar_problem(TvSidecarResult result)
{
	switch (result)
	{
		case TV_SIDECAR_OK:
			return "is complete";
		case TV_SIDECAR_MISSING:
			return "is missing";
		case TV_SIDECAR_SHORT:
			return "is truncated";
		case TV_SIDECAR_DAMAGED:
			return "is damaged";
		case TV_SIDECAR_FOREIGN:
			return "belongs to another relation";
		case TV_SIDECAR_NEWER:
			return "was written by a newer version of tde_vault";
		case TV_SIDECAR_IO_ERROR:
			return "cannot be read";
	}
	return "is in an unknown state";
}
