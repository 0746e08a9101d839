/*
 * tv_table.h
 *	  Finding and replacing an unexported table of function pointers.
 *
 * Server-free.
 */
#ifndef TV_TABLE_H
#define TV_TABLE_H

#include "attach/tv_memory.h"

/*
 * Find the one place in ranges that holds exactly the count pointers of
 * pattern, in order, NULLs included, aligned as pointers are.  No such place
 * and more than one are both TV_ERR_VERSION: this is not a program we know.
 */
extern TvStatus tv_table_find(const TvMemoryRange *ranges, size_t nranges,
							  const void *const *pattern, size_t count,
							  void **found, TvError *err);

/*
 * Overwrite the first count pointers of a table that tv_table_find found with
 * those of replacement; verified by reading back.
 */
extern TvStatus tv_table_replace(void *table, const void *const *replacement,
								 size_t count, TvError *err);

/*
 * Have an index beyond the end of a table lead to rows of ours: they are copied
 * to where base + index * row_size is for indexes from *first on, read-only from
 * then on.  For tables that the program indexes without a check, by a number of 32
 * bits; *first is positive as an int, too.  All rows must fit into one page.
 */
extern TvStatus tv_table_extend(const void *table, size_t row_size,
								const void *rows, size_t nrows,
								uint32_t *first, TvError *err);

#endif							/* TV_TABLE_H */
