/*
 * tv_spill.h
 *	  What the server writes to disk because it does not fit into memory.
 */
#ifndef TV_SPILL_H
#define TV_SPILL_H

#include <stdbool.h>

/* In _PG_init, before tv_shmem_init(): temporary files are sealed from now on. */
extern void tv_spill_init(void);

/* Is the key of this server start locked in memory? */
extern bool tv_spill_key_locked(void);

#endif							/* TV_SPILL_H */
