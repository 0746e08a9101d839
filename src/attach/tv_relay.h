/*
 * tv_relay.h
 *	  Jumps from the program to what is too far away for a near one.
 *
 * Server-free.  Relays of all detours share a page near the program: every
 * statement passes several of them, and a page each takes a place in the
 * processor's tables of pages, and lines at the same place in its caches.
 */
#ifndef TV_RELAY_H
#define TV_RELAY_H

#include "base/tv_status.h"

typedef struct TvRelay
{
	const unsigned char *entry; /* jumps to the destination */
	void	   *trampoline;		/* what was moved, then back; NULL: nothing was */
} TvRelay;

/*
 * Make a relay to destination that a near jump in the size bytes at target, and
 * back from behind them, can reach.  Those are moved to its trampoline, if
 * "moved": they must mean the same there.  TV_ERR_NO_MEMORY: no page is to be
 * had near target.
 */
extern TvStatus tv_relay_make(const unsigned char *target, size_t size, bool moved,
							  const void *destination, TvRelay *relay, TvError *err);

#endif							/* TV_RELAY_H */
