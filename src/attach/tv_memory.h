/*
 * tv_memory.h
 *	  Changing bytes of the running program's own memory, with care.
 *
 * Server-free, for processes of one thread.  Code cannot run while its page is
 * patched, so the target must not share a page with what patches it: it is in
 * the main program, and this in a library.
 *
 * No page is ever writable and executable at the same time,
 * and whatever protection a page had, it has again afterwards.
 */
#ifndef TV_MEMORY_H
#define TV_MEMORY_H

#include <stdint.h>

#include "base/tv_status.h"

/* A stretch of this process's memory. */
typedef struct TvMemoryRange
{
	const unsigned char *start;
	size_t		size;
} TvMemoryRange;

/*
 * The protection (PROT_READ | ...) of [addr, addr + size), as the kernel
 * reports it.  An error if any of it is unmapped, or if it is not the same
 * all over.
 */
extern TvStatus tv_memory_protection(const void *addr, size_t size, int *prot,
									 TvError *err);

/*
 * Overwrite size bytes at dst, whatever their protection, and restore that
 * protection.  Bytes and protection are read back and compared.  On an error
 * the old bytes are there again, as far as the kernel allows.
 */
extern TvStatus tv_memory_patch(void *dst, const void *src, size_t size,
								TvError *err);

/*
 * Whether the kernel lets this process change its own code, tried out on a
 * private mapping of the program's file, so that a refusal harms nothing.
 */
extern TvStatus tv_memory_probe(TvError *err);

/*
 * One writable page that a 32-bit displacement reaches from target, or NULL.
 * The heap's room to grow, right above the program, is avoided.
 */
extern void *tv_memory_page_near(const void *target);

/* One writable page anywhere, or NULL. */
extern void *tv_memory_page_any(void);

/*
 * One writable page that begins at least least and ends at most most bytes
 * above addr, or NULL.
 */
extern void *tv_memory_page_above(const void *addr, uint64_t least, uint64_t most);

/* Make a page from the functions above readable and executable, for good. */
extern TvStatus tv_memory_page_seal(void *page, TvError *err);

/* Make it readable only. */
extern TvStatus tv_memory_page_freeze(void *page, TvError *err);

/* Bytes in a page. */
extern size_t tv_memory_page_size(void);

#endif							/* TV_MEMORY_H */
