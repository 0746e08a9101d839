/*
 * tv_table_core.c
 *	  Finding and replacing an unexported table of function pointers.
 */
#include "attach/tv_table.h"

#include <string.h>

/* The heap grows right above the program; so much is left to it. */
#define ROOM_FOR_HEAP (UINT64_C(16) << 30)

#define TV_TABLE_HINT \
	"Another library may have taken the table: list tde_vault first in " \
	"shared_preload_libraries. Otherwise this build of the server is not one " \
	"that tde_vault knows: use the distribution's server package, or remove " \
	"tde_vault from shared_preload_libraries only if nothing is encrypted."

/*
 * Count the matches in one range, and note the first of them all.
 */
static size_t
count_matches(const TvMemoryRange *range, const void *const *pattern,
			  size_t count, void **found)
{
	const size_t bytes = count * sizeof(void *);
	const uintptr_t mask = sizeof(void *) - 1;
	uintptr_t	at = ((uintptr_t) range->start + mask) & ~mask;
	uintptr_t	end = (uintptr_t) range->start + range->size;
	size_t		matches = 0;

	for (; at < end && end - at >= bytes; at += sizeof(void *))
	{
		if (memcmp((const void *) at, pattern, bytes) != 0)
			continue;
		if (*found == NULL)
			*found = (void *) at;
		matches++;
	}
	return matches;
}

TvStatus
tv_table_find(const TvMemoryRange *ranges, size_t nranges,
			  const void *const *pattern, size_t count, void **found,
			  TvError *err)
{
	size_t		matches = 0;
	size_t		i;
	TvStatus	status;

	*found = NULL;
	/* A pattern without a single pointer would match any zeros. */
	for (i = 0; i < count && pattern[i] == NULL; i++)
		;
	if (i == count)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT,
						"the table to look for has no entry");

	for (i = 0; i < nranges; i++)
		matches += count_matches(&ranges[i], pattern, count, found);
	if (matches == 1)
		return TV_OK;

	*found = NULL;
	if (matches == 0)
		status = tv_error(err, TV_ERR_VERSION, "the table was not found");
	else
		status = tv_error(err, TV_ERR_VERSION,
						  "the table was found %zu times", matches);
	tv_error_detail(err, "The server's program must hold the expected %zu "
					"function pointers in exactly one place.", count);
	tv_error_hint(err, TV_TABLE_HINT);
	return status;
}

TvStatus
tv_table_replace(void *table, const void *const *replacement, size_t count,
				 TvError *err)
{
	return tv_memory_patch(table, replacement, count * sizeof(void *), err);
}

TvStatus
tv_table_extend(const void *table, size_t row_size, const void *rows, size_t nrows,
				uint32_t *first, TvError *err)
{
	uint64_t	reach = row_size * (uint64_t) INT32_MAX;
	size_t		size = nrows * row_size;
	char	   *page;
	size_t		skip;

	if (size + row_size > tv_memory_page_size())
		return tv_error(err, TV_ERR_INVALID_ARGUMENT, "%zu rows of %zu bytes are too many for a page",
						nrows, row_size);
	page = tv_memory_page_above(table, ROOM_FOR_HEAP, reach);
	if (page == NULL)
	{
		(void) tv_error(err, TV_ERR_NO_MEMORY, "there is no room that an index of the table reaches");
		tv_error_hint(err, "Is the address space of the server's processes limited (ulimit -v)? Lift that.");
		return TV_ERR_NO_MEMORY;
	}
	/* rows must be whole strides away */
	skip = (row_size - ((uintptr_t) page - (uintptr_t) table) % row_size) % row_size;
	memcpy(page + skip, rows, size);
	*first = ((uintptr_t) page + skip - (uintptr_t) table) / row_size;
	return tv_memory_page_freeze(page, err);
}
