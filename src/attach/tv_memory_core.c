/*
 * tv_memory_core.c
 *	  Changing bytes of the running program's own memory, with care.
 *
 * Works in a process that has one thread.  Signals are held back while a page
 * of code cannot be executed, so that no handler can run into it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* MAP_FIXED_NOREPLACE */
#endif

#include "attach/tv_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A patch is a table of pointers or a jump: both far below this. */
#define TV_MEMORY_PATCH_MAX 512

/*
 * How far from its target a page may lie: 2 GB less what the displacement's
 * own position and the page's size may take.
 */
#define TV_MEMORY_REACH (UINT64_C(0x80000000) - UINT64_C(0x100000))

/* Distance kept from the neighbouring mapping, where there is room. */
#define TV_MEMORY_MARGIN UINT64_C(0x10000)

/* From one try of tv_memory_page_above() to the next. */
#define TV_MEMORY_STEP (UINT64_C(1) << 28)

/* The lowest address we ask for (vm.mmap_min_addr is below this). */
#define TV_MEMORY_LOWEST UINT64_C(0x20000)

/* One line of /proc/self/maps. */
typedef struct TvMapping
{
	uint64_t	start;
	uint64_t	end;
	int			prot;
} TvMapping;

#define TV_MEMORY_HINT \
	"Allow the server to change its own code: SELinux permissions execmod " \
	"and execmem, systemd's MemoryDenyWriteExecute=no, or the seccomp " \
	"profile of the container."

size_t
tv_memory_page_size(void)
{
	return (size_t) sysconf(_SC_PAGESIZE);
}

/* Read the next mapping.  False at the end, or if a line is not understood. */
static bool
next_mapping(FILE *maps, TvMapping *mapping)
{
	char		line[8192];
	char		perm[5];
	int			c;

	if (fgets(line, sizeof(line), maps) == NULL)
		return false;
	/* A name longer than the buffer: skip the rest of it. */
	if (strchr(line, '\n') == NULL)
	{
		while ((c = fgetc(maps)) != EOF && c != '\n')
			;
	}
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s",
			   &mapping->start, &mapping->end, perm) != 3)
		return false;
	mapping->prot = (perm[0] == 'r' ? PROT_READ : 0) |
		(perm[1] == 'w' ? PROT_WRITE : 0) |
		(perm[2] == 'x' ? PROT_EXEC : 0);
	return true;
}

static FILE *
open_maps(TvError *err)
{
	FILE	   *maps = fopen("/proc/self/maps", "re");

	if (maps == NULL)
	{
		tv_error(err, TV_ERR_IO, "could not open \"/proc/self/maps\": %s",
				 strerror(errno));
		tv_error_hint(err, "The server needs the /proc file system mounted.");
	}
	return maps;
}

TvStatus
tv_memory_protection(const void *addr, size_t size, int *prot, TvError *err)
{
	uint64_t	at = (uintptr_t) addr;
	uint64_t	end = at + size;
	bool		first = true;
	TvMapping	mapping;
	FILE	   *maps = open_maps(err);

	if (maps == NULL)
		return TV_ERR_IO;
	/* Mappings come in ascending order: follow them without a gap. */
	while (at < end && next_mapping(maps, &mapping))
	{
		if (mapping.end <= at)
			continue;
		if (mapping.start > at || (!first && mapping.prot != *prot))
			break;
		*prot = mapping.prot;
		first = false;
		at = mapping.end;
	}
	fclose(maps);
	if (at < end)
		return tv_error(err, TV_ERR_IO,
						"memory at %p is not mapped with one protection", addr);
	return TV_OK;
}

/* Set the protection of the pages that [addr, addr + size) touches. */
static TvStatus
protect(void *addr, size_t size, int prot, TvError *err)
{
	uintptr_t	mask = tv_memory_page_size() - 1;
	uintptr_t	start = (uintptr_t) addr & ~mask;
	uintptr_t	end = ((uintptr_t) addr + size + mask) & ~mask;
	TvStatus	status;

	if (mprotect((void *) start, end - start, prot) == 0)
		return TV_OK;
	status = tv_error(err, TV_ERR_IO,
					  "could not change the protection of memory: %s",
					  strerror(errno));
	tv_error_detail(err, "mprotect of %zu bytes at %p to %c%c%c was refused.",
					(size_t) (end - start), (void *) start,
					prot & PROT_READ ? 'r' : '-', prot & PROT_WRITE ? 'w' : '-',
					prot & PROT_EXEC ? 'x' : '-');
	tv_error_hint(err, TV_MEMORY_HINT);
	return status;
}

/* tv_memory_patch with signals held back. */
static TvStatus
patch_held(void *dst, const void *src, size_t size, int prot, TvError *err)
{
	unsigned char saved[TV_MEMORY_PATCH_MAX];
	TvStatus	status;

	status = protect(dst, size, PROT_READ | PROT_WRITE, err);
	if (status != TV_OK)
		return status;
	memcpy(saved, dst, size);
	memcpy(dst, src, size);
	status = protect(dst, size, prot, err);
	if (status != TV_OK)
	{
		/* Still writable, so the old bytes at least can be put back. */
		memcpy(dst, saved, size);
		(void) protect(dst, size, prot, NULL);
		return status;
	}
	__builtin___clear_cache((char *) dst, (char *) dst + size);
	return TV_OK;
}

TvStatus
tv_memory_patch(void *dst, const void *src, size_t size, TvError *err)
{
	sigset_t	all;
	sigset_t	old;
	int			before;
	int			after;
	TvStatus	status;

	if (size == 0 || size > TV_MEMORY_PATCH_MAX)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT,
						"a patch of %zu bytes is out of bounds", size);
	status = tv_memory_protection(dst, size, &before, err);
	if (status != TV_OK)
		return status;

	sigfillset(&all);
	if (sigprocmask(SIG_SETMASK, &all, &old) != 0)
		return tv_error(err, TV_ERR_INTERNAL, "could not block signals: %s",
						strerror(errno));
	status = patch_held(dst, src, size, before, err);
	(void) sigprocmask(SIG_SETMASK, &old, NULL);
	if (status != TV_OK)
		return status;

	status = tv_memory_protection(dst, size, &after, err);
	if (status != TV_OK)
		return status;
	if (after != before)
		return tv_error(err, TV_ERR_INTERNAL,
						"memory at %p did not get its protection back", dst);
	if (memcmp(dst, src, size) != 0)
		return tv_error(err, TV_ERR_INTERNAL,
						"memory at %p does not hold what was written", dst);
	return TV_OK;
}

TvStatus
tv_memory_probe(TvError *err)
{
	size_t		size = tv_memory_page_size();
	TvStatus	status;
	volatile unsigned char *page;
	void	   *mapped;
	int			fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return tv_error(err, TV_ERR_IO, "could not open \"/proc/self/exe\": %s",
						strerror(errno));
	mapped = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	if (mapped == MAP_FAILED)
	{
		status = tv_error(err, TV_ERR_IO,
						  "could not map the server's program file: %s",
						  strerror(errno));
		close(fd);
		return status;
	}
	close(fd);

	/* Write a byte, so that the page becomes a modified private copy. */
	status = protect(mapped, size, PROT_READ | PROT_WRITE, err);
	if (status == TV_OK)
	{
		page = mapped;
		page[0] = (unsigned char) ~page[0];
		status = protect(mapped, size, PROT_READ | PROT_EXEC, err);
	}
	munmap(mapped, size);
	return status;
}

/* Map one page exactly there, or nothing. */
static void *
page_at(uint64_t where)
{
	size_t		size = tv_memory_page_size();
	void	   *page = mmap((void *) (uintptr_t) where, size,
							PROT_READ | PROT_WRITE,
							MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
							-1, 0);

	if (page == MAP_FAILED)
		return NULL;
	/* Kernels before 4.17 take the address as a mere wish. */
	if ((uintptr_t) page != where)
	{
		munmap(page, size);
		return NULL;
	}
	return page;
}

/*
 * Where in the hole [low, high) a page would go: near its upper end, with a
 * margin if there is room.  0 if the hole is too small.
 */
static uint64_t
place_in_hole(uint64_t low, uint64_t high)
{
	uint64_t	size = tv_memory_page_size();

	low = (low + size - 1) & ~(size - 1);
	high &= ~(size - 1);
	if (high <= low || high - low < size)
		return 0;
	if (high - low >= size + 2 * TV_MEMORY_MARGIN)
		return high - TV_MEMORY_MARGIN - size;
	return high - size;
}

/*
 * Two candidates: the highest hole below the target, and failing that the
 * highest reachable place above it, which is as far from the heap as can be.
 */
void *
tv_memory_page_near(const void *target)
{
	uint64_t	at = (uintptr_t) target;
	uint64_t	low = at > TV_MEMORY_REACH ? at - TV_MEMORY_REACH : 0;
	uint64_t	high = at + TV_MEMORY_REACH;
	uint64_t	below = 0;
	uint64_t	above = 0;
	uint64_t	hole = TV_MEMORY_LOWEST;
	uint64_t	place;
	void	   *page = NULL;
	TvMapping	mapping;
	FILE	   *maps = open_maps(NULL);

	if (maps == NULL)
		return NULL;
	if (low < TV_MEMORY_LOWEST)
		low = TV_MEMORY_LOWEST;
	while (hole < high && next_mapping(maps, &mapping))
	{
		place = place_in_hole(hole < low ? low : hole,
							  mapping.start > high ? high : mapping.start);
		if (place != 0 && place < at)
			below = place;
		else if (place != 0)
			above = place;
		hole = mapping.end;
	}
	fclose(maps);
	if (below != 0)
		page = page_at(below);
	if (page == NULL && above != 0)
		page = page_at(above);
	return page;
}

void *
tv_memory_page_any(void)
{
	void	   *page = mmap(NULL, tv_memory_page_size(), PROT_READ | PROT_WRITE,
							MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? NULL : page;
}

void *
tv_memory_page_above(const void *addr, uint64_t least, uint64_t most)
{
	uint64_t	size = tv_memory_page_size();
	uint64_t	base = (uintptr_t) addr;
	uint64_t	at = (base + least + size - 1) & ~(size - 1);
	void	   *page = NULL;

	for (; page == NULL && at + size <= base + most; at += TV_MEMORY_STEP)
		page = page_at(at);
	return page;
}

TvStatus
tv_memory_page_seal(void *page, TvError *err)
{
	return protect(page, tv_memory_page_size(), PROT_READ | PROT_EXEC, err);
}

TvStatus
tv_memory_page_freeze(void *page, TvError *err)
{
	return protect(page, tv_memory_page_size(), PROT_READ, err);
}
