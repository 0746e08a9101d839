/*
 * tv_worker_rotation.c
 *	  Rotation of master keys: one at a time, in the session that asks for it,
 *	  or in a process of its own that goes on with what a crash cut off.
 *
 * That a rotation has not ended is seen from the keyring alone (a master key
 * that was replaced is not retired, the first one of a database is still
 * taking over), so it goes on after a crash, on a standby
 * that is promoted, on a restored backup.  One that its session gave up, by
 * cancel or error, waits for the operator, who was told what to type; or for
 * the next start of the server.
 */
#include "worker/tv_worker_internal.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/timestamp.h"

#include "base/tv_report.h"
#include "worker/tv_worker_entry.h"

/* Whether a rotation runs is a lock, so that it ends with its transaction. */
#define ROTATION_LOCK_SUBID 1
#define RESUME_SECONDS 30		/* between attempts to go on */

/* What a rotation does now, for the messages. */
typedef struct Rotation
{
	TvRotation	state;
	const char *owner;			/* whose master key */
	int			elevel;			/* of what is no error */
} Rotation;

static bool
lock_rotation(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, InvalidOid, ROTATION_LOCK_SUBID);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
rotation_context(void *arg)
{
	Rotation   *rotation = arg;

	errcontext("rotation of the master key of %s: " UINT64_FORMAT " of " UINT64_FORMAT " table keys are wrapped by \"%s\"; the same command goes on from there",
			   rotation->owner, rotation->state.done,
			   Max(rotation->state.done, rotation->state.total), rotation->state.key_id);
}

static void
end_rotation(int code, Datum arg)
{
	tv_keyring_rotation_end();
}

static void
wrap_all_anew(Rotation *rotation)
{
	ErrorContextCallback context = {error_context_stack, rotation_context, rotation};
	TvError		err;

	error_context_stack = &context;
	while (!rotation->state.finished)
	{
		CHECK_FOR_INTERRUPTS();
		if (tv_keyring_rotation_step(&rotation->state, &err) != TV_OK)
			tv_report(ERROR, &err);
	}
	error_context_stack = context.previous;
}

/* The caller holds the lock. */
static void
rotate(Oid database, const char *key_id, const char *uri, int elevel)
{
	Rotation	rotation;
	TvError		err;

	rotation.elevel = elevel;
	rotation.owner = OidIsValid(database) ?
		psprintf("database \"%s\"", get_database_name(database)) : "the cluster";
	if (tv_keyring_rotation_begin(database, key_id, uri, &rotation.state, &err) != TV_OK)
		tv_report(ERROR, &err);
	if (rotation.state.resumed)
		ereport(elevel,
				(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
				 errmsg("the rotation of the master key of %s to master key \"%s\" had not ended, and goes on",
						rotation.owner, rotation.state.key_id)));
	if (rotation.state.first)
		ereport(elevel,
				(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
				 errmsg("%s has a master key of its own now: \"%s\"",
						rotation.owner, rotation.state.key_id),
				 errdetail("Until now it used the cluster's, \"%s\", which stays as it is.",
						   rotation.state.old_key_id)));
	PG_ENSURE_ERROR_CLEANUP(end_rotation, (Datum) 0);
	{
		wrap_all_anew(&rotation);
	}
	PG_END_ENSURE_ERROR_CLEANUP(end_rotation, (Datum) 0);
	tv_keyring_rotation_end();
	ereport(elevel,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("master key of %s is \"%s\" now", rotation.owner, rotation.state.key_id),
			 errdetail_plural(UINT64_FORMAT " table key was wrapped anew.",
							  UINT64_FORMAT " table keys were wrapped anew.",
							  rotation.state.done, rotation.state.done)));
}

void
tv_worker_rotate_master(Oid database, const char *key_id, const char *uri)
{
	if (!lock_rotation())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("a master key is being rotated already"),
				 errhint("Wait until that has ended; see tde_vault.master_key_rotation().")));
	rotate(database, key_id, uri, NOTICE);
}

/* --- going on after a crash ----------------------------------------------------- */

/* A database (0: the cluster) whose rotation has not ended. */
static bool
find_unfinished(Oid *database)
{
	TvKeyringMaster master;

	for (uint32 i = 0; tv_keyring_master_at(i, &master); i++)
	{
		if (master.unfinished)
		{
			*database = master.database;
			return true;
		}
	}
	return false;
}

void
tv_worker_rotation_main(Datum main_arg)
{
	Oid			database;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(InvalidOid, InvalidOid, 0);
	while (find_unfinished(&database))
	{
		StartTransactionCommand();
		/* if somebody is at it: they end it, or hear why not */
		if (!lock_rotation())
			break;
		if (find_unfinished(&database))
			rotate(database, NULL, NULL, LOG);
		CommitTransactionCommand();
	}
}

void
tv_worker_resume_rotations(void)
{
	static bool ended = false;
	static TimestampTz next = 0;
	TimestampTz now = GetCurrentTimestamp();
	Oid			database;

	if (ended || now < next)
		return;
	next = now + RESUME_SECONDS * USECS_PER_SEC;
	ended = !find_unfinished(&database);
	if (ended)
		return;
	if (!tv_worker_start("tv_worker_rotation_main", "tde_vault master key rotation", (Datum) 0))
		ereport(LOG,
				(errmsg("a rotation of a master key has not ended, and no process can be started to go on with it"),
				 errhint("Raise max_worker_processes, or give the command again: ALTER DATABASE ROTATE MASTER KEY.")));
}
