/*
 * tv_attach_import.c
 *	  Functions of the C library that the server calls.
 */
#include "postgres.h"

#include "attach/tv_attach_private.h"
#include "attach/tv_import.h"

void
tv_attach_import(void *function, const char *name, void *replacement)
{
	void	  **slots[TV_IMPORT_SLOTS_MAX];
	size_t		count;
	TvError		error;
	char		row[NAMEDATALEN + sizeof(TV_ATTACH_ROW_DETOUR)];

	tv_attach_check_time(name);
	if (tv_import_slots(tv_attach_image(), name, function, slots, &count, &error) != TV_OK)
		tv_attach_refuse(name, &error);
	for (size_t i = 0; i < count; i++)
	{
		if (tv_memory_patch(slots[i], &replacement, sizeof(replacement), &error) != TV_OK)
			tv_attach_refuse(name, &error);
	}
	snprintf(row, sizeof(row), TV_ATTACH_ROW_DETOUR, name);
	tv_attach_note(row, "import replaced in %zu places", count);
}
