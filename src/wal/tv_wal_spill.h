/*
 * tv_wal_spill.h
 *	  What logical decoding writes to disk while it reads a large transaction.
 */
#ifndef TV_WAL_SPILL_H
#define TV_WAL_SPILL_H

/* In _PG_init: see the writes and reads of spill files. */
extern void tv_wal_spill_attach(void);

#endif							/* TV_WAL_SPILL_H */
