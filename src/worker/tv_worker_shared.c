/*
 * tv_worker_shared.c
 *	  The operations in shared memory: what launcher and workers tell each
 *	  other, and the user.
 *
 * Truth is the keyring, which says whose pages are to be worked on; a slot
 * only tells how far that is.  Slots of finished operations are used again
 * when there is no free one.
 */
#include "worker/tv_worker_internal.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "base/tv_hot.h"
#include "base/tv_report.h"
#include "base/tv_shmem.h"

typedef struct WorkerShared
{
	struct Latch *launcher;		/* under TV_LOCK_WORKER */
	TvWorkerOperation operations[TV_WORKER_SLOTS];
} WorkerShared;

static WorkerShared *shared = NULL;
static bool wake_pending = false;

static void
init_shared(void *memory)
{
	shared = memory;
}

void
tv_worker_shared_init(void)
{
	static const TvShmemArea area = {
		"tde_vault workers", sizeof(WorkerShared), init_shared
	};

	tv_shmem_add(&area);
}

void
tv_worker_set_launcher(struct Latch *latch)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->launcher = latch;
	LWLockRelease(lock);
}

void
tv_worker_wake(void)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);

	LWLockAcquire(lock, LW_SHARED);
	if (shared->launcher)
		SetLatch(shared->launcher);
	LWLockRelease(lock);
}

static TV_HOT_VAULT void
end_of_transaction(XactEvent event, void *arg)
{
	/* also after an abort: then what was begun is taken back */
	if (!wake_pending || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
						  event != XACT_EVENT_PREPARE))
		return;
	wake_pending = false;
	tv_worker_wake();
}

void
tv_worker_wake_at_commit(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(end_of_transaction, NULL);
	registered = true;
	wake_pending = true;
}

bool
tv_worker_operation(int i, TvWorkerOperation *out)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);

	if (i < 0 || i >= TV_WORKER_SLOTS)
		return false;
	LWLockAcquire(lock, LW_SHARED);
	*out = shared->operations[i];
	LWLockRelease(lock);
	return true;
}

int64
tv_worker_id(uint64 key)
{
	return (int64) (key & PG_INT64_MAX);
}

/* The slot to use for key: its own, a free one, that of the oldest finished. */
static int
find_slot(uint64 key)
{
	int			best = -1;

	for (int i = 0; i < TV_WORKER_SLOTS; i++)
	{
		const TvWorkerOperation *operation = &shared->operations[i];

		if (operation->state != TV_WORKER_FREE && operation->state != TV_WORKER_DONE)
		{
			if (operation->key == key)
				return i;
			continue;
		}
		if (best < 0 || (shared->operations[best].state == TV_WORKER_DONE &&
						 (operation->state == TV_WORKER_FREE ||
						  operation->finished < shared->operations[best].finished)))
			best = i;
	}
	return best;
}

int
tv_worker_slot(const TvKeyringKey *key)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);
	TvWorkerOperation *operation;
	int			i;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	i = find_slot(key->id);
	operation = i < 0 ? NULL : &shared->operations[i];
	if (operation && (operation->state == TV_WORKER_FREE || operation->state == TV_WORKER_DONE))
	{
		memset(operation, 0, sizeof(*operation));
		operation->key = key->id;
		operation->database = key->database;
		operation->table = key->table;
		operation->state = TV_WORKER_WAITING;
	}
	LWLockRelease(lock);
	return i;
}

void
tv_worker_change(int i, TvWorkerChange change, void *argument)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	change(&shared->operations[i], argument);
	LWLockRelease(lock);
}

static void
set_state(TvWorkerOperation *operation, void *argument)
{
	operation->state = *(TvWorkerState *) argument;
}

void
tv_worker_set_state(int i, TvWorkerState state)
{
	tv_worker_change(i, set_state, &state);
}

void
tv_worker_pause(int64 id, bool pause)
{
	TvKeyringKey key;
	uint32		slot = 0;
	TvError		err;

	while (tv_keyring_next_key(&slot, &key))
	{
		if (tv_worker_id(key.id) != id || !key.work)
			continue;
		if (key.paused != pause &&
			tv_keyring_set_work(key.id, key.work_flags ^ TV_WORK_PAUSED, key.work_since, &err) != TV_OK)
			tv_report(ERROR, &err);
		tv_worker_wake();
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("there is no running operation " INT64_FORMAT, id),
			 errhint("See the column id of tde_vault.encryption_progress.")));
}
