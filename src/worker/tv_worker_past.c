/*
 * tv_worker_past.c
 *	  WAL from before something was encrypted goes from pg_wal, and when.
 *
 * The server removes it with the first checkpoint that begins in a later
 * segment, if nothing holds it.  So that there is one soon on an idle server,
 * too, the segment is switched when an encryption has ended; a checkpoint then
 * begins by itself within checkpoint_timeout.  Files that the server only
 * renames then are overwritten here.
 *
 * Where that WAL ends, the floors of the keys tell (decision 0013), so this
 * goes on after a crash, or on a standby that was promoted.
 */
#include "worker/tv_worker_internal.h"

#include <math.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "postmaster/bgwriter.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "base/tv_report.h"
#include "base/tv_shmem.h"
#include "wal/tv_wal_past.h"

#define SWITCH_SECONDS 60		/* at most, while other tables are worked on */
#define WIPE_BYTES (128 * 1024 * 1024)	/* at a time: the launcher has more to do */
#define RETRY_SECONDS 60		/* after an error */

/* Under TV_LOCK_WORKER. */
typedef struct PastShared
{
	bool		looked;			/* the keyring was asked since the server started */
	XLogRecPtr	until;			/* WAL before may hold plaintext */
	XLogRecPtr	gone_until;		/* before that, none is in pg_wal */
	TimestampTz ended;			/* the last encryption */
	TimestampTz held;			/* something held WAL, or none was removed, when we last looked */
	TimestampTz switched;		/* the segment was switched then */
} PastShared;

static PastShared *shared = NULL;

static void
init_shared(void *memory)
{
	shared = memory;
	memset(shared, 0, sizeof(*shared));
}

void
tv_worker_past_init(void)
{
	static const TvShmemArea area = {
		"tde_vault past WAL", sizeof(PastShared), init_shared
	};

	tv_shmem_add(&area);
}

static PastShared
get_shared(void)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);
	PastShared	result;

	LWLockAcquire(lock, LW_SHARED);
	result = *shared;
	LWLockRelease(lock);
	return result;
}

void
tv_worker_past_begin(XLogRecPtr lsn)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->until = Max(shared->until, lsn);
	shared->ended = GetCurrentTimestamp();
	LWLockRelease(lock);
	tv_worker_wake();
}

/* --- after a start --------------------------------------------------------------- */

static XLogRecPtr
last_floor(void)
{
	TvKeyringKey key;
	uint32		slot = 0;
	XLogRecPtr	last = InvalidXLogRecPtr;

	while (tv_keyring_next_key(&slot, &key))
		last = Max(last, key.floor_lsn);
	return Min(last, GetXLogInsertRecPtr());
}

static void
note_past(TvWorkerOperation *operation, void *argument)
{
	operation->kind = TV_WORK_PAST;
	operation->state = TV_WORKER_DONE;
	operation->finished = GetCurrentTimestamp();
	operation->old_wal = *(XLogRecPtr *) argument;
}

/* Users see it as an operation, if there is anything to see. */
static void
look_after_start(XLogRecPtr until)
{
	TvKeyringKey none = {0};
	TvWalPast	past;
	bool		current;
	int			wiped;
	int			slot;

	if (until == 0)
	{
		/* the key went with its table; what a crash left half done is to be ended */
		(void) tv_wal_past_wipe(InvalidXLogRecPtr, PG_INT32_MAX, &wiped, &current);
		return;
	}
	tv_wal_past_look(&past);
	if (!tv_wal_past_has(&past, until) && tv_wal_past_wipe(until, 0, &wiped, &current) == 0)
		return;
	tv_worker_past_begin(until);
	slot = tv_worker_slot(&none);
	if (slot >= 0)
		tv_worker_change(slot, note_past, &until);
}

/* --- the launcher ------------------------------------------------------------------ */

static bool
is_working(void)
{
	TvWorkerOperation operation;

	for (int i = 0; tv_worker_operation(i, &operation); i++)
	{
		if (operation.pid != 0 || operation.state == TV_WORKER_WAITING ||
			operation.state == TV_WORKER_STARTING)
			return true;
	}
	return false;
}

static void
switch_segment(TimestampTz now)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);

	/* not one that checkpoints of an idle server need not mind */
	(void) RequestXLogSwitch(false);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->switched = now;
	LWLockRelease(lock);
}

/* Something holds it: what is to come is counted from when nothing does. */
static void
note_held(TimestampTz now)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->held = now;
	LWLockRelease(lock);
}

/* From then on a checkpoint has begun, and ended. */
static TimestampTz
removed_by(TimestampTz began)
{
	double		seconds = SWITCH_SECONDS + CheckPointTimeout * (1 + CheckPointCompletionTarget);

	return began + (int64) ceil(seconds) * USECS_PER_SEC;
}

/*
 * Files by their own names are the server's to remove: have it come to that.
 * Returns whether it will soon.
 */
static bool
have_removed(const PastShared *state, const TvWalPast *past)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz began = Max(state->ended, state->held);
	uint64		more;

	if (tv_wal_past_holder(past, state->until, &more) != TV_WAL_NOTHING)
	{
		note_held(now);
		return false;
	}
	if (state->switched < began &&
		(!is_working() || now >= began + SWITCH_SECONDS * USECS_PER_SEC))
		switch_segment(now);
	/* none has begun: there was nothing to be written */
	else if (now >= removed_by(began))
	{
		RequestCheckpoint(CHECKPOINT_FORCE);
		note_held(now);
	}
	return true;
}

static void
note_gone(XLogRecPtr until)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->gone_until = Max(shared->gone_until, until);
	LWLockRelease(lock);
}

static void
note_operation_gone(TvWorkerOperation *operation, void *argument)
{
	if (operation->state == TV_WORKER_DONE && operation->wal_gone == 0 &&
		operation->old_wal != 0 && operation->old_wal <= *(XLogRecPtr *) argument)
		operation->wal_gone = GetCurrentTimestamp();
}

/* Returns whether there is more to do at once. */
static bool
clear(void)
{
	PastShared	state = get_shared();
	TvWalPast	past;
	XLogRecPtr	until;
	bool		current;
	int			wiped;
	int			left;
	bool		more = false;

	if (state.until <= state.gone_until)
		return false;
	tv_wal_past_look(&past);
	if (tv_wal_past_has(&past, state.until))
		more = have_removed(&state, &past);
	/* what ended earlier need not wait for that */
	until = Min(state.until, past.oldest * wal_segment_size);
	if (until <= state.gone_until)
		return more;
	left = tv_wal_past_wipe(until, Max(1, WIPE_BYTES / wal_segment_size), &wiped, &current);
	if (wiped > 0)
		ereport(LOG,
				(errmsg("%d files in pg_wal were overwritten that held WAL from before an encryption", wiped)));
	if (left > 0)
	{
		if (current)
			(void) RequestXLogSwitch(false);
		return true;
	}
	note_gone(until);
	for (int i = 0; i < TV_WORKER_SLOTS; i++)
		tv_worker_change(i, note_operation_gone, &until);
	return more;
}

bool
tv_worker_past_clear(void)
{
	static TimestampTz next = 0;
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);
	volatile bool more = false;

	if (GetCurrentTimestamp() < next)
		return false;
	PG_TRY();
	{
		if (!get_shared().looked)
			look_after_start(last_floor());
		LWLockAcquire(lock, LW_EXCLUSIVE);
		shared->looked = true;
		LWLockRelease(lock);
		more = clear();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		EmitErrorReport();
		FlushErrorState();
		LWLockReleaseAll();
		AtEOXact_Files(false);
		next = GetCurrentTimestamp() + RETRY_SECONDS * USECS_PER_SEC;
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	return more;
}

/* --- for the user --------------------------------------------------------------------- */

static void
name_holder(const TvWalPast *past, XLogRecPtr lsn, TvWorkerPast *out)
{
	uint64		more = 0;

	switch (tv_wal_past_holder(past, lsn, &more))
	{
		case TV_WAL_SLOT:
			snprintf(out->holder, sizeof(out->holder),
					 "replication slot \"%s\" holds it", past->slot_name);
			return;
		case TV_WAL_ARCHIVER:
			snprintf(out->holder, sizeof(out->holder),
					 "it is not archived yet, see pg_stat_archiver");
			return;
		case TV_WAL_KEEP_SIZE:
			snprintf(out->holder, sizeof(out->holder),
					 "wal_keep_size holds it, until " UINT64_FORMAT " MB more are written",
					 more / (1024 * 1024) + 1);
			return;
		case TV_WAL_NOTHING:
			return;
	}
}

void
tv_worker_past(const TvWorkerOperation *operation, TvWalPast *past, TvWorkerPast *out)
{
	PastShared	state = get_shared();

	memset(out, 0, sizeof(*out));
	out->concerned = operation->state == TV_WORKER_DONE && operation->old_wal != 0 &&
		(operation->kind == TV_WORK_ENCRYPT || operation->kind == TV_WORK_PAST) &&
		!RecoveryInProgress();
	if (!out->concerned)
		return;
	out->gone = operation->wal_gone != 0;
	out->when = operation->wal_gone;
	if (out->gone)
		return;
	if (!past->looked)
		tv_wal_past_look(past);
	if (tv_wal_past_has(past, operation->old_wal))
		name_holder(past, operation->old_wal, out);
	if (out->holder[0] == '\0')
		out->when = removed_by(Max(operation->finished, state.held));
}
