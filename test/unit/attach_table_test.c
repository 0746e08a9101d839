/*
 * attach_table_test.c
 *	  The search for a table of pointers, and replacing it in read-only memory.
 */
#include "attach/tv_table.h"
#include "unit.h"

#include <string.h>
#include <sys/mman.h>

#define CHECK(cond) ok((cond), "%s", #cond)

#define ENTRIES 4
#define AREA 64

static const char marks[ENTRIES + 1];
static const void *const pattern[ENTRIES] = {&marks[0], NULL, &marks[1], &marks[2]};
static const void *const other[ENTRIES] = {&marks[4], NULL, &marks[3], &marks[2]};

static const void *area[AREA];
static TvMemoryRange range = {(const unsigned char *) area, sizeof(area)};

static void
put(size_t at)
{
	memcpy(&area[at], pattern, sizeof(pattern));
}

static TvStatus
find(void **found, TvError *err)
{
	return tv_table_find(&range, 1, pattern, ENTRIES, found, err);
}

static void
test_counts(void)
{
	void	   *found;
	TvError		err;

	memset(area, 0, sizeof(area));
	CHECK(find(&found, &err) == TV_ERR_VERSION);
	CHECK(found == NULL && strstr(err.message, "not found") != NULL);
	CHECK(err.hint[0] != '\0');

	put(17);
	CHECK(find(&found, &err) == TV_OK);
	CHECK(found == &area[17]);

	/* One entry too few, or another, is not the table. */
	memcpy(&area[30], pattern, sizeof(pattern) - sizeof(void *));
	memcpy(&area[40], other, sizeof(other));
	CHECK(find(&found, &err) == TV_OK);

	put(50);
	CHECK(find(&found, &err) == TV_ERR_VERSION);
	CHECK(found == NULL && strstr(err.message, "2 times") != NULL);
}

static void
test_edges(void)
{
	static const void *const nothing[ENTRIES];
	TvMemoryRange ranges[2];
	void	   *found;
	TvError		err;

	/* At the very end, and one pointer past it. */
	memset(area, 0, sizeof(area));
	put(AREA - ENTRIES);
	CHECK(find(&found, &err) == TV_OK && found == &area[AREA - ENTRIES]);
	ranges[0].start = (const unsigned char *) area;
	ranges[0].size = sizeof(area) - 1;
	CHECK(tv_table_find(ranges, 1, pattern, ENTRIES, &found, &err) == TV_ERR_VERSION);

	/* Split over two ranges it is not one table; in the second, it is. */
	memset(area, 0, sizeof(area));
	put(30);
	ranges[0].size = 32 * sizeof(void *);
	ranges[1].start = (const unsigned char *) &area[32];
	ranges[1].size = 32 * sizeof(void *);
	CHECK(tv_table_find(ranges, 2, pattern, ENTRIES, &found, &err) == TV_ERR_VERSION);
	put(40);
	CHECK(tv_table_find(ranges, 2, pattern, ENTRIES, &found, &err) == TV_OK);
	CHECK(found == &area[40]);

	/* An unaligned start, an unaligned copy, a range smaller than a table. */
	memset(area, 0, sizeof(area));
	memcpy((char *) area + 3, pattern, sizeof(pattern));
	put(40);
	ranges[0].start = (const unsigned char *) area + 3;
	ranges[0].size = sizeof(area) - 3;
	CHECK(tv_table_find(ranges, 1, pattern, ENTRIES, &found, &err) == TV_OK);
	CHECK(found == &area[40]);
	ranges[0].size = 1;
	CHECK(tv_table_find(ranges, 1, pattern, ENTRIES, &found, &err) == TV_ERR_VERSION);
	CHECK(tv_table_find(ranges, 0, pattern, ENTRIES, &found, &err) == TV_ERR_VERSION);

	/* A pattern that any zeros would match is refused. */
	CHECK(tv_table_find(&range, 1, nothing, ENTRIES, &found, &err) ==
		  TV_ERR_INVALID_ARGUMENT);
	CHECK(tv_table_find(&range, 1, pattern, 0, &found, &err) ==
		  TV_ERR_INVALID_ARGUMENT);
}

static void
test_replace(void)
{
	size_t		size = tv_memory_page_size();
	void	  **table;
	char	   *pages;
	int			prot = 0;
	TvError		err;

	pages = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(pages != MAP_FAILED);
	if (pages == MAP_FAILED)
		return;

	/* Across a page boundary, in memory that is read-only. */
	table = (void **) (pages + size) - 2;
	memcpy(table, pattern, sizeof(pattern));
	CHECK(mprotect(pages, 2 * size, PROT_READ) == 0);
	CHECK(tv_table_replace(table, other, ENTRIES, &err) == TV_OK);
	CHECK(memcmp(table, other, sizeof(other)) == 0);
	CHECK(tv_memory_protection(pages, 2 * size, &prot, &err) == TV_OK);
	CHECK(prot == PROT_READ);

	/* Only as many entries as asked for. */
	CHECK(tv_table_replace(table, pattern, 1, &err) == TV_OK);
	CHECK(table[0] == pattern[0] && table[2] == other[2]);

	/* Pages with different protections, and unmapped ones, are refused. */
	CHECK(mprotect(pages, size, PROT_READ | PROT_WRITE) == 0);
	CHECK(tv_table_replace(table, other, ENTRIES, &err) == TV_ERR_IO);
	CHECK(munmap(pages + size, size) == 0);
	CHECK(tv_table_replace(table, other, ENTRIES, &err) == TV_ERR_IO);
	CHECK(table[0] == pattern[0]);
	CHECK(tv_table_replace(table, other, 0, &err) == TV_ERR_INVALID_ARGUMENT);
	munmap(pages, size);
}

/* What a page for a trampoline must be: near, writable, then code for good. */
static void
test_near_page(void)
{
	unsigned char *page = tv_memory_page_near((void *) test_near_page);
	intptr_t	distance;
	int			prot = 0;

	CHECK(page != NULL);
	if (page == NULL)
		return;
	distance = (intptr_t) page - (intptr_t) test_near_page;
	CHECK(distance > -INT64_C(0x7fff0000) && distance < INT64_C(0x7fff0000));
	page[0] = 0xc3;
	CHECK(tv_memory_page_seal(page, NULL) == TV_OK);
	CHECK(tv_memory_protection(page, tv_memory_page_size(), &prot, NULL) == TV_OK);
	CHECK(prot == (PROT_READ | PROT_EXEC));
	CHECK(tv_memory_probe(NULL) == TV_OK);
}

/* As a program finds a row that looks at nothing but its index. */
static const void *
row_at(const void *table, size_t row_size, uint32_t index)
{
	return (const char *) table + index * row_size;
}

static void
test_extend(void)
{
	typedef struct Row
	{
		const char *name;
		size_t		number;
	} Row;

	static Row	table[3];
	static Row	many[300];
	const Row	rows[2] = {{"first", 7}, {"second", 8}};
	const Row  *found;
	uint32_t	first = 0;
	uint32_t	second = 0;
	int			prot = 0;
	TvError		err;

	CHECK(tv_table_extend(table, sizeof(Row), rows, 2, &first, &err) == TV_OK);
	CHECK(first > 3 && first <= INT32_MAX - 2);
	found = row_at(table, sizeof(Row), first);
	CHECK(memcmp(found, rows, sizeof(rows)) == 0);
	CHECK(tv_memory_protection(found, sizeof(rows), &prot, &err) == TV_OK);
	CHECK(prot == PROT_READ);
	/* the heap has room to grow */
	CHECK((const char *) found - (const char *) table >= INT64_C(16) << 30);

	/* a second time, elsewhere; rows of another size, from a place of no particular alignment */
	CHECK(tv_table_extend(table, sizeof(Row), rows, 2, &second, &err) == TV_OK);
	CHECK(second != first);
	CHECK(tv_table_extend((const char *) table + 3, 24, rows, 1, &first, &err) == TV_OK);
	CHECK(memcmp(row_at((const char *) table + 3, 24, first), rows, 24) == 0);

	CHECK(tv_table_extend(table, sizeof(Row), many, 300, &first, &err) == TV_ERR_INVALID_ARGUMENT);
	/* an index of 32 bits does not get beyond the heap */
	CHECK(tv_table_extend(table, 1, rows, 2, &first, &err) == TV_ERR_NO_MEMORY);
	CHECK(err.hint[0] != '\0');
}

int
main(void)
{
	test_counts();
	test_edges();
	test_replace();
	test_near_page();
	test_extend();
	return unit_done();
}
