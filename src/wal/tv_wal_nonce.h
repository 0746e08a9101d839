/*
 * tv_wal_nonce.h
 *	  Nonces of sealed WAL records: those of this server start, and finding
 *	  those of records that were read (see tv_wal_nonce_format.h).
 */
#ifndef TV_WAL_NONCE_H
#define TV_WAL_NONCE_H

#include "postgres.h"

#include "access/xlogdefs.h"

#include "wal/tv_wal_nonce_format.h"

/* In _PG_init: reserve shared memory. */
extern void tv_wal_nonce_init(void);

/*
 * May trailers leave out the prefix of this server start?  That is so once
 * the keyring has it, and WAL, so that all who read later WAL know it.
 */
extern bool tv_wal_prefix_known(void);

/* Make it known.  Outside critical sections, not in recovery. */
extern void tv_wal_prefix_register(void);

/*
 * The next nonce; returns its counter.  No lock, no system call; safe in
 * critical sections.  Each attempt to insert a record takes a new one.
 */
extern uint64 tv_wal_next_nonce(uint8 nonce[TV_NONCE_LEN]);

/* The counter is to be no lower than this position in WAL asks for. */
extern void tv_wal_nonce_reach(XLogRecPtr lsn);

/* A record was inserted from start to end. */
extern void tv_wal_nonce_follow(XLogRecPtr start, XLogRecPtr end);

/* The right one of the latest record opened; reading mostly stays with it. */
extern uint8 tv_wal_prefix_latest[TV_WAL_PREFIX_LEN];

/*
 * Put candidate i (from 0) for the prefix of a record's nonce at prefix: the
 * one that was right last time, then all, newest first.  False past the end.
 */
extern bool tv_wal_prefix_try(uint32 i, uint8 *prefix);

/* The prefix was right. */
extern void tv_wal_prefix_right(const uint8 *prefix);

#endif							/* TV_WAL_NONCE_H */
