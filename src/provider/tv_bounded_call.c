/*
 * tv_bounded_call.c
 *	  Run a function that may hang, and wait for it only so long.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "provider/tv_bounded_call.h"

/* Enough for OpenSSL and for vendors' modules that put buffers on the stack. */
#define BOUNDED_STACK_BYTES (2 * 1024 * 1024)

struct TvBoundedCall
{
	pthread_t	thread;
	pthread_mutex_t lock;
	pthread_cond_t finished;
	bool		done;			/* under lock */
	void		(*fn) (void *);
	void	   *arg;
};

/*
 * Milliseconds of a clock that never jumps.
 */
int64_t
tv_bounded_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void *
thread_main(void *p)
{
	TvBoundedCall *call = p;

	call->fn(call->arg);
	pthread_mutex_lock(&call->lock);
	call->done = true;
	pthread_cond_signal(&call->finished);
	pthread_mutex_unlock(&call->lock);
	return NULL;
}

/*
 * Start the thread with all signals blocked: the process's handlers run in
 * the thread that called us, as they would without the helper.
 */
static int
start(TvBoundedCall *call)
{
	pthread_attr_t attr;
	sigset_t	all;
	sigset_t	old;
	int			rc;

	rc = pthread_attr_init(&attr);
	if (rc != 0)
		return rc;
	pthread_attr_setstacksize(&attr, BOUNDED_STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&call->thread, &attr, thread_main, call);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return rc;
}

static TvBoundedCall *
make_call(void (*fn) (void *), void *arg)
{
	TvBoundedCall *call = calloc(1, sizeof(*call));
	pthread_condattr_t attr;

	if (call == NULL)
		return NULL;
	call->fn = fn;
	call->arg = arg;
	pthread_mutex_init(&call->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&call->finished, &attr);
	pthread_condattr_destroy(&attr);
	return call;
}

static void
free_call(TvBoundedCall *call)
{
	pthread_cond_destroy(&call->finished);
	pthread_mutex_destroy(&call->lock);
	free(call);
}

/*
 * Run fn(arg), waiting until deadline; see tv_bounded_call.h.
 */
TvStatus
tv_bounded_run(void (*fn) (void *), void *arg, int64_t deadline,
			   TvBoundedCall **abandoned, TvError *err)
{
	TvBoundedCall *call = make_call(fn, arg);
	struct timespec until;
	int			rc;

	*abandoned = NULL;
	if (call == NULL)
		return tv_error(err, TV_ERR_INTERNAL, "out of memory");
	rc = start(call);
	if (rc != 0)
	{
		free_call(call);
		return tv_error(err, TV_ERR_INTERNAL,
						"could not start a thread: %s", strerror(rc));
	}
	until.tv_sec = (time_t) (deadline / 1000);
	until.tv_nsec = (long) (deadline % 1000) * 1000000;
	rc = 0;
	pthread_mutex_lock(&call->lock);
	while (!call->done && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&call->finished, &call->lock, &until);
	if (!call->done)
	{
		pthread_mutex_unlock(&call->lock);
		*abandoned = call;
		return tv_error(err, TV_ERR_UNAVAILABLE, "call did not return in time");
	}
	pthread_mutex_unlock(&call->lock);
	pthread_join(call->thread, NULL);
	free_call(call);
	return TV_OK;
}

/*
 * Has an abandoned call finished?
 */
bool
tv_bounded_reap(TvBoundedCall *call)
{
	bool		done;

	pthread_mutex_lock(&call->lock);
	done = call->done;
	pthread_mutex_unlock(&call->lock);
	if (!done)
		return false;
	pthread_join(call->thread, NULL);
	free_call(call);
	return true;
}
