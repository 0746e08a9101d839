/*
 * tv_redirect.h
 *	  Leading single calls of a function to another one.
 *
 * Server-free.  A compiler may turn a call through a constant table into a
 * direct call.  Replacing the table's entry does not reach such a call; here
 * the call itself is changed.  The function called stays as it is, and so do
 * all calls of it from elsewhere.
 */
#ifndef TV_REDIRECT_H
#define TV_REDIRECT_H

#include "attach/tv_memory.h"

/*
 * Redirect all direct calls of callee, and tail jumps to it, in one function,
 * given as a whole; *sites is their number.  A function that cannot be decoded
 * is refused, with nothing changed.
 */
extern TvStatus tv_redirect_calls(const TvMemoryRange *function,
								  const void *callee, const void *replacement,
								  size_t *sites, TvError *err);

/* Count the instructions of a function that refer to an address in data. */
extern TvStatus tv_redirect_references(const TvMemoryRange *function,
									   const TvMemoryRange *data,
									   size_t *count, TvError *err);

#endif							/* TV_REDIRECT_H */
