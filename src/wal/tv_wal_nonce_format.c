/*
 * tv_wal_nonce_format.c
 *	  Nonces of sealed WAL records, as numbers.
 */
#include "wal/tv_wal_nonce_format.h"

#define WINDOW 65536			/* counters that 16 bits tell apart */

/*
 * How far a counter may be ahead of its record's place: attempts to insert
 * that came to nothing use up counters, but no WAL.
 */
#define AHEAD 16384

uint64_t
tv_wal_counter_at(uint64_t lsn)
{
	return lsn / TV_WAL_COUNTER_UNIT;
}

bool
tv_wal_counter_guess(uint64_t lsn, uint16_t low, uint32_t i, uint64_t *counter)
{
	int64_t		top = (int64_t) tv_wal_counter_at(lsn) + AHEAD;
	int64_t		nearest = top - (int64_t) ((uint64_t) (top - low) % WINDOW);
	int64_t		guess;

	/* the second but one: counters that are still further ahead */
	if (i == 2)
		guess = nearest + WINDOW;
	else
		guess = nearest - (int64_t) (i < 2 ? i : i - 1) * WINDOW;
	if (guess < 0 && i > 2)
		return false;
	*counter = (uint64_t) (guess < 0 ? low : guess);
	return true;
}
