/*
 * tv_attach_import.c
 *	  Function pointers: those of the C library's functions that the server
 *	  calls, and single ones in its own tables.
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

static bool
lies_in(const TvMemoryRange *ranges, size_t count, const void *address)
{
	for (size_t i = 0; i < count; i++)
	{
		if ((uintptr_t) address - (uintptr_t) ranges[i].start < ranges[i].size)
			return true;
	}
	return false;
}

void *
tv_attach_pointer(void **slot, const char *name, void *replacement)
{
	const TvImage *image = tv_attach_image();
	void	   *original = NULL;
	TvError		error;
	char		row[NAMEDATALEN + sizeof(TV_ATTACH_ROW_DETOUR)];

	tv_attach_check_time(name);
	if (lies_in(image->data, image->ndata, slot))
		original = *slot;
	if (!lies_in(image->text, image->ntext, original))
	{
		tv_error(&error, TV_ERR_VERSION, "the pointer is not one of the server's own");
		tv_attach_refuse(name, &error);
	}
	if (tv_memory_patch(slot, &replacement, sizeof(replacement), &error) != TV_OK)
		tv_attach_refuse(name, &error);
	snprintf(row, sizeof(row), TV_ATTACH_ROW_DETOUR, name);
	tv_attach_note(row, "pointer at 0x%zx replaced", (size_t) ((uintptr_t) slot - image->base));
	return original;
}
