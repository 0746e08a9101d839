/*
 * tv_image.h
 *	  The main program as the dynamic linker loaded it.
 *
 * Server-free.
 */
#ifndef TV_IMAGE_H
#define TV_IMAGE_H

#include "attach/tv_memory.h"

#define TV_IMAGE_SEGMENTS_MAX 16
#define TV_IMAGE_BUILD_ID_MAX 129	/* 64 bytes in hexadecimal, and a NUL */

typedef struct TvImage
{
	uintptr_t	base;			/* load bias: address = base + p_vaddr */
	TvMemoryRange data[TV_IMAGE_SEGMENTS_MAX];	/* readable segments */
	size_t		ndata;
	TvMemoryRange text[TV_IMAGE_SEGMENTS_MAX];	/* executable segments */
	size_t		ntext;
	char		build_id[TV_IMAGE_BUILD_ID_MAX];	/* "" if it has none */
} TvImage;

/* Describe the program this process runs. */
extern TvStatus tv_image_main(TvImage *image, TvError *err);

/*
 * The size of the exported function at target, from the program's dynamic
 * symbol table.  An error unless target is the entry of a function of the
 * main program's code.
 */
extern TvStatus tv_image_function_size(const TvImage *image, const void *target,
									   size_t *size, TvError *err);

/*
 * The code of the main program's exported function of that name.  *code is
 * empty, and that is no error, if there is none.
 */
extern TvStatus tv_image_function(const TvImage *image, const char *name,
								  TvMemoryRange *code, TvError *err);

#endif							/* TV_IMAGE_H */
