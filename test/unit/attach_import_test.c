/*
 * attach_import_test.c
 *	  Functions of the C library that the program calls, led elsewhere.
 */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>

#include "attach/tv_import.h"
#include "unit.h"

static int	calls = 0;

static int
replacement(int fd)
{
	calls++;
	return fd == -7 ? 77 : -1;
}

int
main(void)
{
	TvImage		image;
	TvError		err;
	void	  **slots[TV_IMPORT_SLOTS_MAX];
	void	   *with = (void *) replacement;
	void	   *expected = (void *) fsync;
	size_t		count = 0;
	int			(*volatile through) (int) = fsync;
	TvStatus	status;

	ok(fsync(-7) == -1, "a call before");
	ok(tv_image_main(&image, &err) == TV_OK, "the program is described");
	status = tv_import_slots(&image, "fsync", expected, slots, &count, &err);
	ok(status == TV_OK && count >= 1, "its import is found: %s", status == TV_OK ? "" : err.message);
	for (size_t i = 0; i < count; i++)
		ok(tv_memory_patch(slots[i], &with, sizeof(with), &err) == TV_OK, "slot %zu is changed", i);
	ok(fsync(-7) == 77 && calls == 1, "a call goes to the replacement");
	ok(through(-7) == -1 && calls == 1, "the function's own address still calls it");
	ok(tv_import_slots(&image, "fsync", expected, slots, &count, &err) == TV_OK || count == 0 ||
	   err.status == TV_ERR_VERSION, "a second look does no harm");
	ok(tv_import_slots(&image, "no_such_function", expected, slots, &count, &err) == TV_ERR_VERSION,
	   "a function that is not imported is refused");
	ok(tv_import_slots(&image, "memcmp", expected, slots, &count, &err) == TV_ERR_VERSION,
	   "one that is not what is expected is refused");
	return unit_done();
}
