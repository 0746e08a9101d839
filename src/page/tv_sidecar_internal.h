/*
 * tv_sidecar_internal.h
 *	  What the parts of the sidecar share among themselves.
 */
#ifndef TV_SIDECAR_INTERNAL_H
#define TV_SIDECAR_INTERNAL_H

#include "page/tv_sidecar.h"

#define TV_SIDECAR_ROOT "tde_vault/sidecar"
#define TV_SIDECAR_PATH_MAX 96

/* --- tv_sidecar_segment.c: the files --- */

/* Write the path of a segment's file to path, TV_SIDECAR_PATH_MAX bytes. */
extern void tv_sidecar_segment_path(const RelFileNode *node, uint32 segment, char *path);

/* Have a segment open and its header checked; *file stays the sidecar's. */
extern TvSidecarResult tv_sidecar_open_segment(TvSidecar *sidecar, uint32 segment, File *file);

/*
 * The segment that holds block's entry.  It must be there, unless create says
 * to make it, or recovery does.  Throws ERROR.
 */
extern File tv_sidecar_segment_for_write(TvSidecar *sidecar, BlockNumber block, bool create);

/* Write len bytes at offset, all of them.  Throws ERROR. */
extern void tv_sidecar_write_bytes(TvSidecar *sidecar, uint32 segment, File file,
								   const void *data, int len, off_t offset);

/* The next checkpoint syncs the segment; throws ERROR if it must be now, and fails. */
extern void tv_sidecar_register_dirty(const TvSidecar *sidecar, uint32 segment, File file);

/* ... and need not, because the file is going. */
extern void tv_sidecar_forget_dirty(const RelFileNode *node, uint32 segment);

/* Throw ERROR from errno: could not "what" the segment's file. */
extern void tv_sidecar_throw_io(const TvSidecar *sidecar, uint32 segment, const char *what);

/* Where in its segment the entry of block is, in bytes. */
static inline off_t
tv_sidecar_entry_offset(BlockNumber block)
{
	return TV_SIDECAR_HEADER + (off_t) TV_ENTRY_SIZE * (block % RELSEG_SIZE);
}

/* --- tv_sidecar_chunk.c: entries that this process remembers --- */

typedef struct TvSidecarChunk
{
	RelFileNode node;
	BlockNumber first;			/* block of its first entry */
	uint32		stamp;			/* when it was read; 0: unused */
	uint8		data[TV_SIDECAR_CHUNK];
} TvSidecarChunk;

/* The chunk with block's entry, or NULL; good until the next one is read. */
extern TvSidecarChunk *tv_sidecar_find_chunk(const TvSidecar *sidecar, BlockNumber block);

/* Read the chunk with block's entry from file, in place of the oldest. */
extern TvSidecarResult tv_sidecar_read_chunk(File file, const TvSidecar *sidecar,
											 BlockNumber block, TvSidecarChunk **result);

/* Forget all of a relation. */
extern void tv_sidecar_forget_chunks(const RelFileNode *node);

#endif							/* TV_SIDECAR_INTERNAL_H */
