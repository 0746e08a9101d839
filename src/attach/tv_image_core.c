/*
 * tv_image_core.c
 *	  The main program as the dynamic linker loaded it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* dl_iterate_phdr, dladdr1 */
#endif

#include "attach/tv_image.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

/* Notes are padded to four bytes (ELF-64 in practice, as in ELF-32). */
#define NOTE_ALIGN(n) (((size_t) (n) + 3) & ~(size_t) 3)

static bool
add_range(TvMemoryRange *ranges, size_t *count, const void *start, size_t size)
{
	if (*count == TV_IMAGE_SEGMENTS_MAX)
		return false;
	ranges[*count].start = start;
	ranges[*count].size = size;
	(*count)++;
	return true;
}

/* Take the GNU build id out of a note segment, if it is there. */
static void
read_build_id(TvImage *image, const unsigned char *at, size_t size)
{
	while (size >= sizeof(ElfW(Nhdr)))
	{
		ElfW(Nhdr) note;
		size_t		body;
		size_t		i;

		memcpy(&note, at, sizeof(note));
		body = NOTE_ALIGN(note.n_namesz) + NOTE_ALIGN(note.n_descsz);
		if (body > size - sizeof(note))
			return;
		at += sizeof(note);
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
			memcmp(at, "GNU", 4) == 0 &&
			note.n_descsz * 2 < sizeof(image->build_id))
		{
			at += NOTE_ALIGN(note.n_namesz);
			for (i = 0; i < note.n_descsz; i++)
				snprintf(image->build_id + 2 * i, 3, "%02x", at[i]);
			return;
		}
		at += body;
		size -= sizeof(note) + body;
	}
}

/* Called for the first object only, which is the main program. */
static int
describe_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	TvImage    *image = arg;
	int			i;

	(void) size;
	image->base = info->dlpi_addr;
	for (i = 0; i < info->dlpi_phnum; i++)
	{
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		const void *start = (const void *) (image->base + segment->p_vaddr);
		bool		fits = true;

		if (segment->p_type == PT_NOTE && image->build_id[0] == '\0')
			read_build_id(image, start, segment->p_filesz);
		if (segment->p_type != PT_LOAD)
			continue;

		/*
		 * A constant table of pointers is in .data.rel.ro of a relocatable
		 * program, in .rodata of one that is not; the latter may be linked
		 * into the code's segment.  Hence every readable segment.
		 */
		if ((segment->p_flags & PF_R) != 0)
			fits = add_range(image->data, &image->ndata, start,
							 segment->p_filesz);
		if ((segment->p_flags & PF_X) != 0)
			fits = fits && add_range(image->text, &image->ntext, start,
									 segment->p_filesz);
		if (!fits)
			return -1;
	}
	return 1;
}

TvStatus
tv_image_main(TvImage *image, TvError *err)
{
	memset(image, 0, sizeof(*image));
	if (dl_iterate_phdr(describe_object, image) != 1 || image->ntext == 0)
		return tv_error(err, TV_ERR_VERSION,
						"the program's segments could not be read");
	return TV_OK;
}

TvStatus
tv_image_function_size(const TvImage *image, const void *target, size_t *size,
					   TvError *err)
{
	uintptr_t	at = (uintptr_t) target;
	const ElfW(Sym) *symbol = NULL;
	Dl_info		info;
	size_t		i;

	for (i = 0; i < image->ntext; i++)
	{
		if (at >= (uintptr_t) image->text[i].start &&
			at - (uintptr_t) image->text[i].start < image->text[i].size)
			break;
	}
	if (i == image->ntext)
		return tv_error(err, TV_ERR_VERSION,
						"the function is not in the server's program");
	if (dladdr1(target, &info, (void **) &symbol, RTLD_DL_SYMENT) == 0 ||
		symbol == NULL || info.dli_saddr != target ||
		ELF64_ST_TYPE(symbol->st_info) != STT_FUNC ||
		symbol->st_size == 0 ||
		symbol->st_size > image->text[i].size -
		(at - (uintptr_t) image->text[i].start))
		return tv_error(err, TV_ERR_VERSION,
						"the function is not one the server's program exports");
	*size = symbol->st_size;
	return TV_OK;
}

TvStatus
tv_image_function(const TvImage *image, const char *name, TvMemoryRange *code,
				  TvError *err)
{
	code->size = 0;
	code->start = dlsym(RTLD_DEFAULT, name);
	if (code->start == NULL)
		return TV_OK;
	return tv_image_function_size(image, code->start, &code->size, err);
}
