/*
 * tv_worker_lock.c
 *	  The lock of the switch, when the table is in use.
 *
 * Who waits for an exclusive lock has everybody else wait behind it (lock.c,
 * LockAcquireExtended), for as long as the oldest transaction that has the
 * table lasts: a report of an hour, a dump.  So the statement waits for a
 * moment only, long enough for ordinary transactions to end; then it steps
 * back, lets the others pass, and tries again.
 */
#include "worker/tv_worker_internal.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define QUEUE_MS 300			/* that others wait behind us */
#define PASS_MS 200				/* that they are let pass, doubled each time */
#define PASS_MS_MAX 6400

static void
lock_all(Oid table, LOCKMODE lock)
{
	LockRelationOid(table, lock);
	if (get_rel_relkind(table) == RELKIND_PARTITIONED_TABLE)
		list_free(find_all_inheritors(table, lock, NULL));
}

/*
 * In a subtransaction, which gives back what it got if there is one that it
 * does not get within the time.
 */
static bool
try_for(Oid table, LOCKMODE lock, int milliseconds)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int			timeout = LockTimeout;
	volatile bool locked = true;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		LockTimeout = milliseconds;
		lock_all(table, lock);
		LockTimeout = timeout;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		LockTimeout = timeout;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ReThrowError(error);
		FreeErrorData(error);
		locked = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return locked;
}

static void
let_pass(int milliseconds)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);
	long		left;

	while ((left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end)) > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

void
tv_worker_lock(Oid table, LOCKMODE lock)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LockTimeout);
	int			pass = PASS_MS;

	/*
	 * In a transaction of several statements others may be waiting for what it
	 * has locked already; only who waits in the queue is found in a deadlock.
	 */
	if (lock != AccessExclusiveLock || IsTransactionBlock())
	{
		lock_all(table, lock);
		return;
	}
	while (!try_for(table, lock, LockTimeout > 0 ? Min(QUEUE_MS, LockTimeout) : QUEUE_MS))
	{
		if (LockTimeout > 0 && GetCurrentTimestamp() >= end)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("canceling statement due to lock timeout")));
		if (pass == PASS_MS)
			ereport(NOTICE,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("waiting for transactions that use table \"%s\"", get_rel_name(table)),
					 errdetail("Others are let pass meanwhile.")));
		let_pass(pass);
		pass = Min(2 * pass, PASS_MS_MAX);
	}
}
