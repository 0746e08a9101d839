/*
 * tv_worker_launcher.c
 *	  The launcher: looks which keys have work, and has workers started.
 *
 * One process for the server.  On a standby it starts nobody, until the
 * standby is promoted; there and everywhere it destroys versions of keys that
 * nothing needs any more.
 */
#include "worker/tv_worker_internal.h"

#include "access/xlog.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "audit/tv_audit.h"
#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "worker/tv_worker_entry.h"

#define NAP_MS 5000				/* between looks that nobody asked for */
#define NAP_BUSY_MS 1000		/* while something waits */
#define START_SECONDS 30		/* a worker that has not come by then will not */
#define AGE_CHECK_SECONDS 60
#define SHED_SECONDS 600		/* between looks for wrapped keys of no use */
#define USECS_OF_DAY (INT64CONST(86400) * USECS_PER_SEC)

/* What to do about an operation, decided under the lock. */
typedef struct Turn
{
	const TvKeyringKey *key;
	bool		standby;
	bool		room;			/* one more worker may run */
	bool		active;			/* out: one runs */
	bool		start;			/* out: start one */
} Turn;

static void
take_turn(TvWorkerOperation *operation, void *argument)
{
	Turn	   *turn = argument;
	TimestampTz now = GetCurrentTimestamp();

	turn->active = operation->pid != 0;
	turn->start = false;
	if (turn->active)
		return;
	if (operation->state == TV_WORKER_STARTING)
	{
		turn->active = now < operation->retry_at;
		if (turn->active)
			return;
	}
	if (turn->key->paused)
		operation->state = TV_WORKER_PAUSED;
	else if (turn->standby)
		operation->state = TV_WORKER_STANDBY;
	else if (operation->state == TV_WORKER_RETRYING && now < operation->retry_at)
		return;
	else if (!turn->room)
		operation->state = TV_WORKER_WAITING;
	else
	{
		operation->state = TV_WORKER_STARTING;
		operation->retry_at = TimestampTzPlusMilliseconds(now, START_SECONDS * 1000);
		turn->start = true;
	}
}

/* A slot for a key that has no work any more. */
static void
discard(TvWorkerOperation *operation, void *argument)
{
	if (operation->pid == 0 && operation->started == 0 &&
		(operation->state == TV_WORKER_WAITING || operation->state == TV_WORKER_STARTING))
		operation->state = TV_WORKER_FREE;
}

bool
tv_worker_start(const char *function, const char *name, Datum argument)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "tde_vault", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, function, BGW_MAXLEN);
	strlcpy(worker.bgw_name, name, BGW_MAXLEN);
	strlcpy(worker.bgw_type, "tde_vault worker", BGW_MAXLEN);
	worker.bgw_main_arg = argument;
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

static int
count_active(void)
{
	TvWorkerOperation operation;
	int			active = 0;

	for (int i = 0; tv_worker_operation(i, &operation); i++)
	{
		if (operation.pid != 0 ||
			(operation.state == TV_WORKER_STARTING &&
			 GetCurrentTimestamp() < operation.retry_at))
			active++;
	}
	return active;
}

/* Give every key that has work its turn; returns whether some wait. */
static bool
start_workers(bool standby)
{
	TvKeyringKey key;
	TvKeyringKey newest;
	uint32		slot = 0;
	int			active = count_active();
	bool		waiting = false;

	while (tv_keyring_next_key(&slot, &key))
	{
		Turn		turn = {&key, standby, active < tv_setting_max_workers};
		int			i;

		if (!key.work || key.files == 0 || !tv_keyring_key(key.id, 0, &newest) ||
			newest.epoch != key.epoch)
			continue;
		i = tv_worker_slot(&key);
		if (i < 0)
		{
			waiting = true;
			break;
		}
		/* a worker may have finished just now */
		if (!tv_keyring_key(key.id, 0, &newest) || !newest.work)
		{
			tv_worker_change(i, discard, NULL);
			continue;
		}
		tv_worker_change(i, take_turn, &turn);
		if (turn.start && tv_worker_start("tv_worker_main", "tde_vault worker", Int32GetDatum(i)))
			active++;
		else if (turn.start)
			tv_worker_set_state(i, TV_WORKER_WAITING);	/* max_worker_processes */
		waiting = waiting || !key.paused;
	}
	return waiting;
}

/* Operations of keys that are gone: tables or databases were dropped. */
static void
forget_dropped(void)
{
	TvWorkerOperation operation;
	TvKeyringKey key;

	for (int i = 0; tv_worker_operation(i, &operation); i++)
	{
		if (operation.state != TV_WORKER_FREE && operation.state != TV_WORKER_DONE &&
			operation.pid == 0 &&
			(!tv_keyring_key(operation.key, 0, &key) || key.files == 0))
			tv_worker_set_state(i, TV_WORKER_FREE);
	}
}

/* Keys older than the setting allows: a worker rotates them. */
static void
find_old_keys(void)
{
	static TimestampTz next = 0;
	TimestampTz now = GetCurrentTimestamp();
	TvKeyringKey key;
	TvKeyringKey newest;
	uint32		slot = 0;
	TvError		err;

	if (tv_setting_key_rotation_days <= 0 || now < next)
		return;
	next = now + AGE_CHECK_SECONDS * USECS_PER_SEC;
	while (tv_keyring_next_key(&slot, &key))
	{
		if (key.work || key.superseded || key.files == 0 || !OidIsValid(key.database) ||
			key.epoch >= TV_EPOCH_MAX ||
			now - key.created < tv_setting_key_rotation_days * USECS_OF_DAY ||
			!tv_keyring_key(key.id, 0, &newest) || newest.epoch != key.epoch)
			continue;
		if (tv_keyring_set_work(key.id, TV_WORK_PENDING, InvalidXLogRecPtr, &err) != TV_OK)
			tv_report(ERROR, &err);
	}
}

/* Versions that no page needs go when no WAL does. */
static void
destroy_old_versions(void)
{
	TvKeyringKey key;
	uint32		slot = 0;
	bool		found = false;
	TvError		err;

	while (!found && tv_keyring_next_key(&slot, &key))
		found = key.superseded;
	if (!found)
		return;
	if (tv_keyring_destroy_superseded(&err))
		ereport(LOG, (errmsg("versions of table keys that were replaced are destroyed")));
	if (err.status != TV_OK)
		tv_report(WARNING, &err);
}

/* Wrapped keys that are of no use any more go, too. */
static void
shed_wraps(void)
{
	static TimestampTz next = 0;
	TimestampTz now = GetCurrentTimestamp();
	TvError		err;

	if (now < next)
		return;
	next = now + SHED_SECONDS * USECS_PER_SEC;
	if (tv_keyring_shed_wraps(&err))
		ereport(LOG, (errmsg("the keyring was written anew without wrapped keys that nothing needs")));
	if (err.status != TV_OK)
		tv_report(WARNING, &err);
}

static void
forget_latch(int code, Datum arg)
{
	tv_worker_set_launcher(NULL);
}

/* The server stops: the audit log that it goes on with later is this one. */
static void
anchor_audit(int code, Datum arg)
{
	(void) tv_audit_anchor(true);
}

void
tv_worker_launcher_main(Datum main_arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	before_shmem_exit(forget_latch, (Datum) 0);
	before_shmem_exit(anchor_audit, (Datum) 0);
	tv_worker_set_launcher(MyLatch);
	for (;;)
	{
		bool		standby = RecoveryInProgress();
		bool		busy = false;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (!standby)
		{
			find_old_keys();
			tv_worker_resume_rotations();
			busy = tv_worker_start_visits();
			busy = tv_worker_past_clear() || busy;
			tv_audit_begin_copy();
			(void) tv_audit_anchor(false);
		}
		forget_dropped();
		busy = start_workers(standby) || busy;
		destroy_old_versions();
		shed_wraps();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 busy ? NAP_BUSY_MS : NAP_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

void
tv_worker_init(void)
{
	BackgroundWorker worker;

	tv_worker_shared_init();
	tv_worker_visit_init();
	tv_worker_past_init();
	tv_worker_partition_init();
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = 5;
	strlcpy(worker.bgw_library_name, "tde_vault", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "tv_worker_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "tde_vault launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "tde_vault launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
