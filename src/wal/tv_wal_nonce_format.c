/*
 * tv_wal_nonce_format.c
 *	  Nonces of sealed WAL records, as numbers.
 */
#include "wal/tv_wal_nonce_format.h"

bool
tv_wal_counter_guess(uint64_t lsn, uint16_t low, uint32_t i, uint64_t *counter)
{
	int64_t		nearest = tv_wal_counter_last(lsn, low);
	int64_t		guess;

	/* the second but one: counters that are still further ahead */
	if (i == 2)
		guess = nearest + TV_WAL_COUNTER_WINDOW;
	else
		guess = nearest - (int64_t) (i < 2 ? i : i - 1) * TV_WAL_COUNTER_WINDOW;
	if (guess < 0 && i > 2)
		return false;
	*counter = (uint64_t) (guess < 0 ? low : guess);
	return true;
}
