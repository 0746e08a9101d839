/*
 * tv_import.h
 *	  Where the main program keeps the addresses of functions it imports.
 *
 * Server-free.
 */
#ifndef TV_IMPORT_H
#define TV_IMPORT_H

#include "attach/tv_image.h"

#define TV_IMPORT_SLOTS_MAX 4

/*
 * The slots through which the program calls the library function of that name,
 * from its relocations.  An error unless there is at least one and each holds
 * expected, or is not bound yet.
 */
extern TvStatus tv_import_slots(const TvImage *image, const char *name,
								const void *expected,
								void **slots[TV_IMPORT_SLOTS_MAX],
								size_t *count, TvError *err);

#endif							/* TV_IMPORT_H */
