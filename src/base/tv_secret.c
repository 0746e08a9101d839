/*
 * tv_secret.c
 *	  Memory for key material: kept out of swap and core dumps, wiped on
 *	  release.
 *
 * An arena is one mapping: a guard page without access, the slots, another
 * guard page.  All slots of an arena have one size.  The bookkeeping is kept
 * outside the mapping, so that neither an overrun nor the wipe at fork can
 * damage it.  A free slot is all zeros, always: fresh pages are, and
 * tv_secret_free() wipes.
 *
 * A child inherits the bookkeeping but finds its arenas wiped.  It retires
 * them at its first call: they stay mapped and empty, so that releasing a
 * pointer inherited from the parent is harmless and its address can never be
 * handed out again.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "base/tv_secret.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECRET_MAX		65536	/* largest request */
#define SLOT_ALIGN		64		/* a cache line, and what ciphers ask for */
#define FIRST_ARENA		16384	/* slot bytes in the first arena of a class */
#define NEXT_ARENA		65536	/* ... and in every further one */
#define MAX_SLOTS		(NEXT_ARENA / SLOT_ALIGN)

typedef struct Arena
{
	struct Arena *next;
	uint8_t    *map;			/* start of the mapping, a guard page */
	size_t		map_len;
	uint8_t    *slots;
	size_t		slot_size;
	unsigned	nslots;
	unsigned	nused;
	uint64_t	used[MAX_SLOTS / 64];	/* one bit a slot */
} Arena;

/*
 * Slot sizes.  A larger request gets an arena of its own, a whole number of
 * pages.
 */
static const size_t slot_sizes[] =
{64, 128, 192, 256, 320, 384, 512, 768, 896, 1024, 1280, 1536, 2048, 4096};

#define NCLASSES	(sizeof(slot_sizes) / sizeof(slot_sizes[0]))
#define CLASS_LARGE NCLASSES	/* list of single-slot arenas */

static Arena *arenas[NCLASSES + 1]; /* by class */
static Arena *retired;			/* inherited from the parent process */
static pid_t owner_pid;
static bool all_locked = true;

/*
 * In the first call after a fork, put the parent's arenas aside.
 */
static void
retire_inherited_arenas(void)
{
	pid_t		pid = getpid();

	if (pid == owner_pid)
		return;

	for (size_t c = 0; c <= NCLASSES; c++)
	{
		while (arenas[c] != NULL)
		{
			Arena	   *a = arenas[c];

			arenas[c] = a->next;
			a->next = retired;
			retired = a;
		}
	}
	all_locked = true;
	owner_pid = pid;
}

/*
 * Map and protect an arena of data_len bytes of slots; NULL if that fails.
 * Locking is best effort, everything else is not.
 */
static Arena *
arena_create(size_t slot_size, size_t data_len)
{
	size_t		page = (size_t) sysconf(_SC_PAGESIZE);
	Arena	   *a = calloc(1, sizeof(Arena));

	if (a == NULL)
		return NULL;

	data_len = (data_len + page - 1) / page * page;
	a->slot_size = slot_size;
	a->nslots = (unsigned) (data_len / slot_size);
	a->map_len = data_len + 2 * page;
	a->map = mmap(NULL, a->map_len, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (a->map == MAP_FAILED)
	{
		free(a);
		return NULL;
	}
	a->slots = a->map + page;
	if (mprotect(a->slots, data_len, PROT_READ | PROT_WRITE) != 0 ||
		madvise(a->slots, data_len, MADV_DONTDUMP) != 0 ||
		madvise(a->slots, data_len, MADV_WIPEONFORK) != 0)
	{
		munmap(a->map, a->map_len);
		free(a);
		return NULL;
	}
	if (mlock(a->slots, data_len) != 0)
		all_locked = false;
	return a;
}

/*
 * Take a free slot of an arena that has one.
 */
static void *
arena_take(Arena *a)
{
	for (unsigned i = 0; i < a->nslots; i++)
	{
		uint64_t	bit = UINT64_C(1) << (i % 64);

		if ((a->used[i / 64] & bit) == 0)
		{
			a->used[i / 64] |= bit;
			a->nused++;
			return a->slots + (size_t) i * a->slot_size;
		}
	}
	return NULL;
}

/*
 * Unmap an empty arena, unless it is the only one of its class with room
 * (that one is kept for the next request).  Large arenas always go.
 */
static void
arena_release(Arena **link, size_t class)
{
	Arena	   *a = *link;
	bool		keep = (class != CLASS_LARGE);

	for (Arena *o = arenas[class]; o != NULL && keep; o = o->next)
	{
		if (o != a && o->nused < o->nslots)
			keep = false;
	}
	if (keep)
		return;
	*link = a->next;
	munmap(a->map, a->map_len);
	free(a);
}

static bool
arena_holds(const Arena *a, const uint8_t *p)
{
	return p >= a->slots && p < a->slots + (size_t) a->nslots * a->slot_size;
}

/*
 * Allocate; see the header.  Not for use in a critical section.
 */
void *
tv_secret_alloc(size_t size)
{
	size_t		class = 0;
	size_t		slot_size;
	Arena	   *a;

	if (size == 0 || size > SECRET_MAX)
		return NULL;
	retire_inherited_arenas();

	while (class < NCLASSES && slot_sizes[class] < size)
		class++;
	if (class == CLASS_LARGE)
	{
		size_t		page = (size_t) sysconf(_SC_PAGESIZE);

		slot_size = (size + page - 1) / page * page;
		a = arena_create(slot_size, slot_size);
	}
	else
	{
		slot_size = slot_sizes[class];
		for (a = arenas[class]; a != NULL; a = a->next)
		{
			if (a->nused < a->nslots)
				return arena_take(a);
		}
		a = arena_create(slot_size,
						 arenas[class] == NULL ? FIRST_ARENA : NEXT_ARENA);
	}
	if (a == NULL)
		return NULL;
	a->next = arenas[class];
	arenas[class] = a;
	return arena_take(a);
}

/*
 * Wipe and release.  A pointer that is not a live allocation is a bug in the
 * caller that may have exposed a key: stop, as free() does.
 */
void
tv_secret_free(void *ptr)
{
	uint8_t    *p = ptr;

	if (p == NULL)
		return;
	retire_inherited_arenas();

	for (size_t c = 0; c <= NCLASSES; c++)
	{
		for (Arena **link = &arenas[c]; *link != NULL; link = &(*link)->next)
		{
			Arena	   *a = *link;
			size_t		slot;
			uint64_t	bit;

			if (!arena_holds(a, p))
				continue;
			slot = (size_t) (p - a->slots) / a->slot_size;
			bit = UINT64_C(1) << (slot % 64);
			if (a->slots + slot * a->slot_size != p ||
				(a->used[slot / 64] & bit) == 0)
				abort();
			tv_secret_wipe(p, a->slot_size);
			a->used[slot / 64] &= ~bit;
			if (--a->nused == 0)
				arena_release(link, c);
			return;
		}
	}
	for (Arena *a = retired; a != NULL; a = a->next)
	{
		if (arena_holds(a, p))
			return;				/* the parent's: wiped by the fork */
	}
	abort();
}

/*
 * Overwrite n bytes in a way the compiler keeps: by the C library, as sealing and
 * opening a message do it, and OPENSSL_cleanse() takes an instruction a byte or two.
 */
void
tv_secret_wipe(void *ptr, size_t n)
{
	if (ptr != NULL && n > 0)
		explicit_bzero(ptr, n);
}

/*
 * Did every page obtained so far by this process get locked?
 */
bool
tv_secret_all_locked(void)
{
	retire_inherited_arenas();
	return all_locked;
}
