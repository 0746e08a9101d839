/*
 * tv_wal_prefix.h
 *	  The first bytes of nonces, which short trailers leave out.
 */
#ifndef TV_WAL_PREFIX_H
#define TV_WAL_PREFIX_H

#include "postgres.h"

/* In _PG_init: reserve shared memory. */
extern void tv_wal_prefix_init(void);

/*
 * May trailers leave out the prefix of this server start?  That is so once
 * the keyring has it, and WAL, so that all who read later WAL know it.
 */
extern bool tv_wal_prefix_known(void);

/* Make it known.  Outside critical sections, not in recovery. */
extern void tv_wal_prefix_register(void);

/*
 * Put candidate i (from 0) for the prefix of a record's nonce at its start:
 * the one that was right last time, then all, newest first.  False past the
 * end.
 */
extern bool tv_wal_prefix_try(uint32 i, uint8 *nonce);

/* The prefix at the start of nonce was right. */
extern void tv_wal_prefix_right(const uint8 *nonce);

#endif							/* TV_WAL_PREFIX_H */
