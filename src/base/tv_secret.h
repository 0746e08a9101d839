/*
 * tv_secret.h
 *	  Memory for key material: kept out of swap and core dumps, wiped on
 *	  release.  Process-local; no PostgreSQL headers.
 */
#ifndef TV_SECRET_H
#define TV_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Allocate size bytes (1 .. 64 kB), zeroed, 64-byte aligned, from pages that
 * were mapped for this purpose, excluded from core dumps (MADV_DONTDUMP) and
 * locked where RLIMIT_MEMLOCK allows.  Small requests share pages.  Pages are
 * not inherited in usable form by fork: MADV_WIPEONFORK, so a child sees
 * zeros and must forget its pointers.  Returns NULL when out of memory.
 */
extern void *tv_secret_alloc(size_t size);

/* Wipe and release.  NULL is ignored. */
extern void tv_secret_free(void *ptr);

/* Overwrite n bytes in a way the compiler keeps (explicit_bzero). */
extern void tv_secret_wipe(void *ptr, size_t n);

/* Did every page obtained so far by this process get locked in memory? */
extern bool tv_secret_all_locked(void);

#endif							/* TV_SECRET_H */
