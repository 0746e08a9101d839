/*
 * tv_wal_nonce_format.h
 *	  Nonces of sealed WAL records, as numbers.  No PostgreSQL headers.
 *
 * A server start draws 56 random bits, the prefix; each record that is sealed
 * takes the next number of a 64-bit counter, and the nonce is prefix * 2^40 +
 * counter (modulo 2^96).  The counter never goes back, so within one start no
 * nonce comes twice.  It is also kept from falling behind a 64th of the position
 * in WAL: a sealed record takes at least 64 bytes, so it does not run ahead,
 * either.  So a record's place tells its counter but for the lowest bits, and
 * only those need be written.
 */
#ifndef TV_WAL_NONCE_FORMAT_H
#define TV_WAL_NONCE_FORMAT_H

#include <stdbool.h>

#include "wal/tv_wal_format.h"

#define TV_WAL_COUNTER_UNIT 64	/* bytes of WAL; on disk, so to say */
#define TV_WAL_COUNTER_WINDOW 65536 /* counters that 16 bits tell apart */

/*
 * How far a counter may be ahead of its record's place: attempts to insert
 * that came to nothing use up counters, but no WAL.
 */
#define TV_WAL_COUNTER_AHEAD 16384

_Static_assert(TV_WAL_PREFIX_LEN == 7 && TV_WAL_COUNTER_LEN == 5 && TV_NONCE_LEN == 12,
			   "layout of a nonce");

/*
 * The nonce of that number of the server start with that prefix.  Inline, as it
 * is part of each record that is written or read.
 */
static inline void
tv_wal_nonce(const uint8_t prefix[TV_WAL_PREFIX_LEN], uint64_t counter,
			 uint8_t nonce[TV_NONCE_LEN])
{
	uint64_t	high = 0;

	memcpy(&high, prefix, TV_WAL_PREFIX_LEN);
	high = le64toh(high) + (counter >> 40);
	(void) tv_wal_put64(nonce, (high & 0xffffffffffffff) | counter << 56);
	(void) tv_wal_put32(nonce + 8, (uint32_t) (counter >> 8));
}

/* The counter that a position in WAL is to have reached. */
static inline uint64_t
tv_wal_counter_at(uint64_t lsn)
{
	return lsn / TV_WAL_COUNTER_UNIT;
}

/*
 * The last counter that ends in the 16 bits low, and is not too far ahead of its
 * record's place.  Negative at the very beginning of WAL.
 */
static inline int64_t
tv_wal_counter_last(uint64_t lsn, uint16_t low)
{
	int64_t		top = (int64_t) tv_wal_counter_at(lsn) + TV_WAL_COUNTER_AHEAD;

	return top - (int64_t) ((uint64_t) (top - low) % TV_WAL_COUNTER_WINDOW);
}

/* Candidate 0 of tv_wal_counter_guess(). */
static inline uint64_t
tv_wal_counter_nearest(uint64_t lsn, uint16_t low)
{
	int64_t		last = tv_wal_counter_last(lsn, low);

	return (uint64_t) (last < 0 ? low : last);
}

/*
 * Candidate i (from 0) for the counter of the record at lsn that ends in the 16
 * bits low: the likeliest first, then those of records whose sealing came ever
 * longer before their insertion.  False past the last one.
 */
extern bool tv_wal_counter_guess(uint64_t lsn, uint16_t low, uint32_t i, uint64_t *counter);

#endif							/* TV_WAL_NONCE_FORMAT_H */
