/*
 * tv_worker_visit.c
 *	  Visits of databases: a tablespace that is encrypted from now on holds
 *	  relations of several, and a session sees those of its own only.
 *
 * What is to be done is in the keyring (what is encrypted as a whole) and in
 * each database's catalogs (what lies there, and is not).  So there is no queue
 * that could be lost: the launcher has each database visited that may have
 * something to switch, when the server starts, is promoted, or is told that
 * there is something new.  A visit needs neither the extension in the database
 * nor that one can connect to it.  One at a time; what could not be done, as
 * somebody held a lock or the provider is away, is tried again later.
 */
#include "worker/tv_worker_internal.h"

#include "access/xact.h"
#include "common/relpath.h"
#include "commands/dbcommands.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/tv_report.h"
#include "base/tv_shmem.h"
#include "keyring/tv_keyring_scope.h"
#include "page/tv_page_statistics.h"
#include "page/tv_page_tablespace.h"
#include "worker/tv_worker_entry.h"

#define START_SECONDS 30		/* one that has not begun by then will not */
#define RETRY_SECONDS 5			/* the first time; then twice as long each time */
#define RETRY_SECONDS_MAX 300
#define LOCK_TIMEOUT "1s"		/* others wait behind us for as long */

typedef enum VisitState
{
	VISIT_NONE,
	VISIT_STARTING,
	VISIT_RUNNING,
	VISIT_DONE,
	VISIT_FAILED				/* something is left to do */
} VisitState;

/* Under TV_LOCK_WORKER. */
typedef struct VisitShared
{
	uint32		requests;
	Oid			database;
	VisitState	state;
} VisitShared;

/* A database that is to be visited; the launcher's own memory. */
typedef struct Visit
{
	Oid			database;
	TimestampTz retry_at;		/* once started: when it is given up */
	int			wait;			/* seconds that it has waited; 0: it is new */
} Visit;

static VisitShared *shared = NULL;

static void
init_shared(void *memory)
{
	shared = memory;
}

void
tv_worker_visit_init(void)
{
	static const TvShmemArea area = {
		"tde_vault visits", sizeof(VisitShared), init_shared
	};

	tv_shmem_add(&area);
}

/* --- which databases ------------------------------------------------------------ */

/* A tablespace has a directory for each database that has files in it. */
static List *
add_databases_in(List *found, Oid tablespace)
{
	char	   *path = psprintf("pg_tblspc/%u/%s", tablespace, TABLESPACE_VERSION_DIRECTORY);
	DIR		   *dir = AllocateDir(path);
	struct dirent *entry;

	while (dir != NULL && (entry = ReadDirExtended(dir, path, LOG)) != NULL)
	{
		if (strspn(entry->d_name, "0123456789") == strlen(entry->d_name))
			found = list_append_unique_oid(found, atooid(entry->d_name));
	}
	if (dir != NULL)
		FreeDir(dir);
	pfree(path);
	return found;
}

List *
tv_worker_databases_in(Oid tablespace)
{
	return list_delete_oid(add_databases_in(NIL, tablespace), MyDatabaseId);
}

static List *
databases_with_scopes(void)
{
	TvKeyringScope scope;
	List	   *found = NIL;

	for (uint32 i = 0; tv_keyring_scope_at(i, &scope); i++)
	{
		if (OidIsValid(scope.database))
			found = list_append_unique_oid(found, scope.database);
		else
			found = add_databases_in(found, scope.tablespace);
	}
	return found;
}

/* --- the launcher ------------------------------------------------------------------ */

static List *visits = NIL;
static Visit current;			/* the one that was started */

static void
add_visit(Oid database, int wait)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Visit	   *visit = palloc(sizeof(*visit));

	visit->database = database;
	visit->wait = wait;
	visit->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait * 1000);
	visits = lappend(visits, visit);
	MemoryContextSwitchTo(old);
}

/* All that there may be to do, if somebody asked since, or nobody has looked. */
static void
collect_visits(void)
{
	static bool looked = false;
	static uint32 seen = 0;
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);
	uint32		requests;
	List	   *databases;
	ListCell   *lc;

	LWLockAcquire(lock, LW_SHARED);
	requests = shared->requests;
	LWLockRelease(lock);
	if (looked && requests == seen)
		return;
	looked = true;
	seen = requests;
	list_free_deep(visits);
	visits = NIL;
	databases = databases_with_scopes();
	foreach(lc, databases)
		add_visit(lfirst_oid(lc), 0);
	list_free(databases);
}

/* What has become of the one that was started?  true while it is under way. */
static bool
is_under_way(void)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);
	VisitState	state;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	state = shared->state;
	if (state == VISIT_STARTING && GetCurrentTimestamp() > current.retry_at)
		state = VISIT_FAILED;
	if (state == VISIT_DONE || state == VISIT_FAILED)
		shared->state = VISIT_NONE;
	LWLockRelease(lock);
	if (state == VISIT_FAILED)
		add_visit(current.database, current.wait == 0 ? RETRY_SECONDS :
				  Min(2 * current.wait, RETRY_SECONDS_MAX));
	return state == VISIT_STARTING || state == VISIT_RUNNING;
}

static void
start_visit(const Visit *visit)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->database = visit->database;
	shared->state = VISIT_STARTING;
	LWLockRelease(lock);
	current = *visit;
	current.retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), START_SECONDS * 1000);
	/* if max_worker_processes is reached: taken for one that did not begin */
	(void) tv_worker_start("tv_worker_visit_main", "tde_vault visit", ObjectIdGetDatum(visit->database));
}

bool
tv_worker_start_visits(void)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	collect_visits();
	if (is_under_way())
		return true;
	foreach(lc, visits)
	{
		Visit	   *visit = lfirst(lc);

		if (visit->retry_at > now)
			continue;
		start_visit(visit);
		pfree(visit);
		visits = foreach_delete_current(visits, lc);
		return true;
	}
	return visits != NIL;
}

/* --- who asks ------------------------------------------------------------------------ */

void
tv_worker_visit_databases(void)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);

	/* sooner than the commit does no harm: it is encrypted already */
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->requests++;
	LWLockRelease(lock);
	tv_worker_wake_at_commit();
}

/* --- a visit --------------------------------------------------------------------------- */

/* false: the launcher has given this one up. */
static bool
change_state(VisitState from, VisitState to)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_WORKER);
	bool		result;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	result = shared->state == from && shared->database == MyDatabaseId;
	if (result)
		shared->state = to;
	LWLockRelease(lock);
	return result;
}

static void
leave(int code, Datum arg)
{
	(void) change_state(VISIT_RUNNING, VISIT_FAILED);
	tv_worker_wake();
}

/* In a transaction of its own; what goes wrong is for the log, and for later. */
static bool
guarded(bool (*step) (Oid relid, TvCipher cipher), Oid relid, TvCipher cipher, bool *left)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;

	PG_TRY();
	{
		StartTransactionCommand();
		done = step(relid, cipher);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		HOLD_INTERRUPTS();
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		*left = true;
		done = false;
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done;
}

static bool
seal_statistics(Oid relid, TvCipher cipher)
{
	if (tv_statistics_sealed())
		return false;
	tv_statistics_seal(true);
	return true;
}

static List *
list_place(Oid tablespace)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *list;

	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	list = tv_worker_place_list(tablespace);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return list;
}

/* Before others may have to wait: most of what has to be made on disk. */
static bool
prepare(Oid relid, TvCipher cipher)
{
	tv_worker_prepare(relid, cipher);
	return true;
}

/* Switch what lies in the scope; returns how many relations. */
static int
visit_scope(const TvKeyringScope *scope, bool *left)
{
	int			count = 0;
	ListCell   *lc;

	foreach(lc, list_place(scope->tablespace))
	{
		CHECK_FOR_INTERRUPTS();
		if (guarded(prepare, lfirst_oid(lc), scope->cipher, left))
			count += guarded(tv_worker_seal_in_place, lfirst_oid(lc), scope->cipher, left);
	}
	return count;
}

void
tv_worker_visit_main(Datum main_arg)
{
	TvKeyringScope scope;
	bool		left = false;
	int			count = 0;
	TvError		err;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(main_arg), InvalidOid,
											  BGWORKER_BYPASS_ALLOWCONN);
	if (!change_state(VISIT_STARTING, VISIT_RUNNING))
		proc_exit(0);
	before_shmem_exit(leave, (Datum) 0);
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	CurrentMemoryContext = AllocSetContextCreate(TopMemoryContext, "tde_vault visit",
												 ALLOCSET_DEFAULT_SIZES);
	/* who has forged what is encrypted does not have us write it anew */
	if (tv_keyring_check_scopes(&err) != TV_OK)
		tv_report(ERROR, &err);
	for (uint32 i = 0; tv_keyring_scope_at(i, &scope); i++)
	{
		if (!OidIsValid(scope.database) || scope.database == MyDatabaseId)
			count += visit_scope(&scope, &left);
	}
	if (count > 0)
		(void) guarded(seal_statistics, InvalidOid, TV_CIPHER_NONE, &left);
	StartTransactionCommand();
	if (count > 0)
		ereport(LOG,
				(errmsg("%d relations of database \"%s\" are being encrypted, as their tablespace or database is",
						count, get_database_name(MyDatabaseId))));
	CommitTransactionCommand();
	(void) change_state(VISIT_RUNNING, left ? VISIT_FAILED : VISIT_DONE);
}
