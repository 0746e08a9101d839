/*
 * tv_sidecar.c
 *	  The file beside a relation that holds nonce and tag of every page.
 *
 * Truncation runs in a critical section (storage.c, RelationTruncate), so
 * nothing here uses palloc; fd.c's virtual files use malloc.
 */
#include "page/tv_sidecar_internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pgstat.h"
#include "utils/wait_event.h"

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
	tv_sidecar_forget_chunks(&sidecar->node);
}

TvSidecarResult
tv_sidecar_read(TvSidecar *sidecar, BlockNumber block, bool fresh,
				TvPageEntry *entry, bool *cached)
{
	uint8		bytes[TV_ENTRY_SIZE];
	TvSidecarChunk *chunk = fresh ? NULL : tv_sidecar_find_chunk(sidecar, block);
	bool		sequential = block == sidecar->last_read + 1;
	TvSidecarResult result;
	File		file;
	int			got;

	sidecar->last_read = block;
	*cached = chunk != NULL;
	if (chunk == NULL)
	{
		result = tv_sidecar_open_segment(sidecar, block / RELSEG_SIZE, &file);
		if (result != TV_SIDECAR_OK)
			return result;
		if (sequential && !fresh)
		{
			result = tv_sidecar_read_chunk(file, sidecar, block, &chunk);
			if (result != TV_SIDECAR_OK)
				return result;
		}
	}
	if (chunk != NULL)
	{
		tv_entry_decode(chunk->data + (block - chunk->first) * TV_ENTRY_SIZE, entry);
		return TV_SIDECAR_OK;
	}

	got = FileRead(file, (char *) bytes, sizeof(bytes), tv_sidecar_entry_offset(block),
				   WAIT_EVENT_DATA_FILE_READ);
	if (got < 0)
		return TV_SIDECAR_IO_ERROR;
	if (got < (int) sizeof(bytes))
		return TV_SIDECAR_SHORT;
	tv_entry_decode(bytes, entry);
	chunk = tv_sidecar_find_chunk(sidecar, block);
	if (chunk != NULL)
		memcpy(chunk->data + (block - chunk->first) * TV_ENTRY_SIZE, bytes, sizeof(bytes));
	return TV_SIDECAR_OK;
}

void
tv_sidecar_write(TvSidecar *sidecar, BlockNumber block, const TvPageEntry *entry,
				 bool skip_fsync)
{
	File		file = tv_sidecar_segment_for_write(sidecar, block, false);
	TvSidecarChunk *chunk = tv_sidecar_find_chunk(sidecar, block);
	uint8		bytes[TV_ENTRY_SIZE];

	tv_entry_encode(entry, bytes);
	tv_sidecar_write_bytes(sidecar, block / RELSEG_SIZE, file, bytes, sizeof(bytes), tv_sidecar_entry_offset(block));
	if (chunk)
		memcpy(chunk->data + (block - chunk->first) * TV_ENTRY_SIZE, bytes, sizeof(bytes));
	if (!skip_fsync)
		tv_sidecar_register_dirty(sidecar, block / RELSEG_SIZE, file);
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

		tv_sidecar_write_bytes(sidecar, segment, file, zeros, len, size);
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
		file = tv_sidecar_segment_for_write(sidecar, last, true);
		size = FileSize(file);
		if (size < 0)
			tv_sidecar_throw_io(sidecar, earlier, "stat");
		reserve(sidecar, earlier, file, size, tv_sidecar_entry_offset(last));
	}
}

void
tv_sidecar_extend(TvSidecar *sidecar, BlockNumber block, bool skip_fsync)
{
	static const TvPageEntry none;
	uint32		segment = block / RELSEG_SIZE;
	off_t		offset = tv_sidecar_entry_offset(block);
	File		file;
	off_t		size;

	complete_earlier(sidecar, segment);
	file = tv_sidecar_segment_for_write(sidecar, block, true);
	size = FileSize(file);
	if (size < 0)
		tv_sidecar_throw_io(sidecar, segment, "stat");
	if (size < offset + TV_ENTRY_SIZE)
	{
		reserve(sidecar, segment, file, size, offset);
		if (!skip_fsync)
			tv_sidecar_register_dirty(sidecar, segment, file);
	}
	else
		tv_sidecar_write(sidecar, block, &none, skip_fsync);
}

static void
sync_segment(File file)
{
	if (FileSync(file, WAIT_EVENT_DATA_FILE_IMMEDIATE_SYNC) < 0)
		ereport(data_sync_elevel(ERROR),
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", FilePathName(file))));
}

/*
 * Room up to and with the entry at offset.  Others may be writing entries there
 * at the same time (the sidecar of a promoted standby has holes), so nothing is
 * written.
 */
static void
allocate(TvSidecar *sidecar, uint32 segment, File file, off_t size, off_t offset)
{
	off_t		end = TYPEALIGN(TV_SIDECAR_CHUNK, offset + TV_ENTRY_SIZE);

	/* FileSize() has opened it */
	errno = posix_fallocate(FileGetRawDesc(file), size, end - size);
	if (errno != 0)
		tv_sidecar_throw_io(sidecar, segment, "extend");
}

void
tv_sidecar_reserve(TvSidecar *sidecar, BlockNumber first, BlockNumber nblocks)
{
	for (uint32 segment = first / RELSEG_SIZE; (uint64) segment * RELSEG_SIZE < nblocks; segment++)
	{
		BlockNumber last = Min((uint64) nblocks, (uint64) (segment + 1) * RELSEG_SIZE) - 1;
		File		file = tv_sidecar_segment_for_write(sidecar, last, true);
		off_t		size = FileSize(file);

		if (size < 0)
			tv_sidecar_throw_io(sidecar, segment, "stat");
		if (size > tv_sidecar_entry_offset(last))
			continue;
		allocate(sidecar, segment, file, size, tv_sidecar_entry_offset(last));
		sync_segment(file);
	}
}

static void
truncate_segment(TvSidecar *sidecar, uint32 segment, File file, BlockNumber nblocks)
{
	static const uint8 zeros[TV_SIDECAR_CHUNK];
	off_t		size = FileSize(file);
	off_t		keep = TV_SIDECAR_HEADER + (off_t) TV_ENTRY_SIZE * nblocks;
	off_t		end = TYPEALIGN(TV_SIDECAR_CHUNK, keep);

	if (size < 0)
		tv_sidecar_throw_io(sidecar, segment, "stat");
	if (size <= keep)
		return;
	if (size > end && FileTruncate(file, end, WAIT_EVENT_DATA_FILE_TRUNCATE) < 0)
		tv_sidecar_throw_io(sidecar, segment, "truncate");
	end = Min(end, size);
	if (end > keep)
		tv_sidecar_write_bytes(sidecar, segment, file, zeros, (int) (end - keep), keep);
	tv_sidecar_register_dirty(sidecar, segment, file);
}

/* Is there such a segment?  Throws ERROR if that cannot be told. */
static bool
has_segment(TvSidecar *sidecar, uint32 segment, File *file)
{
	TvSidecarResult result = tv_sidecar_open_segment(sidecar, segment, file);

	if (result == TV_SIDECAR_IO_ERROR)
		tv_sidecar_throw_io(sidecar, segment, "open");
	return result == TV_SIDECAR_OK;
}

void
tv_sidecar_truncate(TvSidecar *sidecar, BlockNumber nblocks)
{
	File		file;

	tv_sidecar_forget_chunks(&sidecar->node);
	for (uint32 segment = nblocks / RELSEG_SIZE; has_segment(sidecar, segment, &file); segment++)
	{
		BlockNumber first = segment * RELSEG_SIZE;

		truncate_segment(sidecar, segment, file, nblocks > first ? nblocks - first : 0);
	}
}

void
tv_sidecar_immedsync(TvSidecar *sidecar, BlockNumber first)
{
	File		file;

	for (uint32 segment = first / RELSEG_SIZE; has_segment(sidecar, segment, &file); segment++)
		sync_segment(file);
}

void
tv_sidecar_unlink(const RelFileNode *node)
{
	tv_sidecar_forget_chunks(node);
	for (uint32 segment = 0;; segment++)
	{
		char		path[TV_SIDECAR_PATH_MAX];

		tv_sidecar_segment_path(node, segment, path);
		/* give the space back even while others have the file open */
		if (pg_truncate(path, 0) < 0 && errno == ENOENT)
			return;
		tv_sidecar_forget_dirty(node, segment);
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
	DIR		   *dir = AllocateDir(TV_SIDECAR_ROOT);
	struct dirent *space;

	if (dir == NULL && errno == ENOENT)
		return;
	while ((space = ReadDirExtended(dir, TV_SIDECAR_ROOT, WARNING)) != NULL)
	{
		char		path[MAXPGPATH];
		struct stat st;

		if (space->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), TV_SIDECAR_ROOT "/%s/%u", space->d_name, database);
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

	tv_sidecar_segment_path(&ftag->rnode, ftag->segno, path);
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
