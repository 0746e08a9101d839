/*
 * tv_import_core.c
 *	  Where the main program keeps the addresses of functions it imports.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* dl_iterate_phdr */
#endif

#include "attach/tv_import.h"

#include <link.h>
#include <string.h>

#ifdef __x86_64__
#define RELOC_CALL R_X86_64_JUMP_SLOT
#define RELOC_ADDRESS R_X86_64_GLOB_DAT
#endif

/* What the dynamic section says about relocations. */
typedef struct Dynamic
{
	uintptr_t	base;
	const ElfW(Dyn) *entries;
	const ElfW(Sym) *symbols;
	const char *names;
	const ElfW(Rela) *relocations[2];
	size_t		count[2];
} Dynamic;

/* Called for the first object only, which is the main program. */
static int
find_dynamic(struct dl_phdr_info *info, size_t size, void *arg)
{
	Dynamic    *dynamic = arg;

	(void) size;
	dynamic->base = info->dlpi_addr;
	for (int i = 0; i < info->dlpi_phnum; i++)
	{
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			dynamic->entries = (const ElfW(Dyn) *) (info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	}
	return 1;
}

/* The dynamic linker has made some of these absolute, and others not. */
static const void *
pointer(const Dynamic *dynamic, ElfW(Addr) value)
{
	return (const void *) (value < dynamic->base ? value + dynamic->base : value);
}

static bool
read_dynamic(Dynamic *dynamic)
{
	memset(dynamic, 0, sizeof(*dynamic));
	if (dl_iterate_phdr(find_dynamic, dynamic) != 1 || dynamic->entries == NULL)
		return false;
	for (const ElfW(Dyn) *entry = dynamic->entries; entry->d_tag != DT_NULL; entry++)
	{
		switch (entry->d_tag)
		{
			case DT_SYMTAB:
				dynamic->symbols = pointer(dynamic, entry->d_un.d_ptr);
				break;
			case DT_STRTAB:
				dynamic->names = pointer(dynamic, entry->d_un.d_ptr);
				break;
			case DT_JMPREL:
				dynamic->relocations[0] = pointer(dynamic, entry->d_un.d_ptr);
				break;
			case DT_PLTRELSZ:
				dynamic->count[0] = entry->d_un.d_val / sizeof(ElfW(Rela));
				break;
			case DT_RELA:
				dynamic->relocations[1] = pointer(dynamic, entry->d_un.d_ptr);
				break;
			case DT_RELASZ:
				dynamic->count[1] = entry->d_un.d_val / sizeof(ElfW(Rela));
				break;
			default:
				break;
		}
	}
	return dynamic->symbols != NULL && dynamic->names != NULL;
}

static bool
imports(const Dynamic *dynamic, const ElfW(Rela) *relocation, const char *name)
{
	unsigned long type = ELF64_R_TYPE(relocation->r_info);
	const ElfW(Sym) *symbol = dynamic->symbols + ELF64_R_SYM(relocation->r_info);

	return (type == RELOC_CALL || type == RELOC_ADDRESS) &&
		strcmp(dynamic->names + symbol->st_name, name) == 0;
}

/* Not bound yet: the slot leads back into the program, to its linkage table. */
static bool
is_unbound(const TvImage *image, const void *value)
{
	uintptr_t	at = (uintptr_t) value;

	for (size_t i = 0; i < image->ntext; i++)
	{
		if (at >= (uintptr_t) image->text[i].start &&
			at - (uintptr_t) image->text[i].start < image->text[i].size)
			return true;
	}
	return false;
}

TvStatus
tv_import_slots(const TvImage *image, const char *name, const void *expected,
				void **slots[TV_IMPORT_SLOTS_MAX], size_t *count, TvError *err)
{
	Dynamic		dynamic;

	*count = 0;
	if (!read_dynamic(&dynamic) || dynamic.base != image->base)
		return tv_error(err, TV_ERR_VERSION, "the program's dynamic section could not be read");
	for (int table = 0; table < 2; table++)
	{
		for (size_t i = 0; i < dynamic.count[table]; i++)
		{
			const ElfW(Rela) *relocation = &dynamic.relocations[table][i];
			void	  **slot = (void **) (dynamic.base + relocation->r_offset);

			if (!imports(&dynamic, relocation, name))
				continue;
			if ((*slot != expected && !is_unbound(image, *slot)) ||
				*count == TV_IMPORT_SLOTS_MAX)
				return tv_error(err, TV_ERR_VERSION,
								"the program's import of it is not what the C library exports");
			slots[(*count)++] = slot;
		}
	}
	if (*count == 0)
		return tv_error(err, TV_ERR_VERSION, "the program does not import it");
	return TV_OK;
}
