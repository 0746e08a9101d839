/*
 * tv_bounded_call.h
 *	  Run a function that may hang, and wait for it only so long.  Private to
 *	  src/provider.
 *
 * The function runs in a helper thread that has every signal blocked, while
 * the caller sleeps.  The thread ends with the function, so the process has
 * one thread again whenever the call returned in time.  A function that hangs
 * cannot be cancelled safely: it is abandoned, keeps its thread, and the
 * caller must leave everything it touches alone until tv_bounded_reap says
 * that it came back.
 */
#ifndef TV_BOUNDED_CALL_H
#define TV_BOUNDED_CALL_H

#include "base/tv_status.h"

typedef struct TvBoundedCall TvBoundedCall;

/* Milliseconds of a clock that never jumps. */
extern int64_t tv_bounded_now(void);

/*
 * Run fn(arg), waiting until the clock reads deadline.  TV_OK: it finished.
 * TV_ERR_UNAVAILABLE: it did not, and *abandoned stands for it; arg must stay
 * valid.  TV_ERR_INTERNAL: it was never started.
 */
extern TvStatus tv_bounded_run(void (*fn) (void *), void *arg,
							   int64_t deadline, TvBoundedCall **abandoned,
							   TvError *err);

/* Has an abandoned call finished?  If so its thread is joined and it is freed. */
extern bool tv_bounded_reap(TvBoundedCall *call);

#endif							/* TV_BOUNDED_CALL_H */
