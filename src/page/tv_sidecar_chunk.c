/*
 * tv_sidecar_chunk.c
 *	  Entries that this process remembers, for those that read a relation from
 *	  its first page to its last.
 */
#include "page/tv_sidecar_internal.h"

#include "utils/wait_event.h"

/* chunks remembered */
#define N_CHUNKS 16

static TvSidecarChunk chunks[N_CHUNKS];
static uint32 chunk_clock = 0;

static BlockNumber
chunk_first(BlockNumber block)
{
	return block - block % TV_SIDECAR_CHUNK_ENTRIES;
}

TvSidecarChunk *
tv_sidecar_find_chunk(const TvSidecar *sidecar, BlockNumber block)
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

static TvSidecarChunk *
oldest_chunk(void)
{
	TvSidecarChunk *oldest = &chunks[0];

	for (int i = 1; i < N_CHUNKS; i++)
	{
		if (chunks[i].stamp < oldest->stamp)
			oldest = &chunks[i];
	}
	return oldest;
}

void
tv_sidecar_forget_chunks(const RelFileNode *node)
{
	for (int i = 0; i < N_CHUNKS; i++)
	{
		if (RelFileNodeEquals(chunks[i].node, *node))
			chunks[i].stamp = 0;
	}
}

TvSidecarResult
tv_sidecar_read_chunk(File file, const TvSidecar *sidecar, BlockNumber block,
					  TvSidecarChunk **result)
{
	BlockNumber first = chunk_first(block);
	TvSidecarChunk *chunk = oldest_chunk();
	int			got;

	chunk->stamp = 0;
	got = FileRead(file, (char *) chunk->data, TV_SIDECAR_CHUNK, tv_sidecar_entry_offset(first),
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
