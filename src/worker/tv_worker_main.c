/*
 * tv_worker_main.c
 *	  One worker: brings the pages of one table key to where they should be.
 *
 * Where that is, the catalogs and the keyring say together.  A table whose
 * access method is tde_heap wants its pages sealed under the newest version of
 * its key; any other wants them plain.  The keyring knows no transactions, so
 * what a statement put there may have been rolled back: the worker looks under
 * a lock that waits for whoever is changing the table, and if the keyring says
 * otherwise, turns it around.
 */
#include "worker/tv_worker_internal.h"

#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/tv_settings.h"
#include "page/tv_page_catalog.h"
#include "page/tv_page_decide.h"
#include "page/tv_page_renew.h"
#include "page/tv_page_smgr.h"
#include "page/tv_page_tablespace.h"
#include "vault/tv_vault.h"
#include "worker/tv_worker_entry.h"

#define HIDDEN_WAIT_MS 500		/* before looking again for a file's owner */
#define RETRY_SECONDS 5
#define USECS_OF_DAY (INT64CONST(86400) * USECS_PER_SEC)

/* The operation of this process. */
typedef struct Work
{
	int			slot;
	uint64		key;
	uint16		epoch;			/* newest version when the walk began */
	XLogRecPtr	since;			/* all keys and files were as they are from here on */
	bool		encrypt;
	bool		changed;		/* this process changed keys or files */
	bool		complete;		/* there is nothing to be done */
} Work;

/* Is the table to be encrypted, as the catalogs have it?  It is locked. */
static bool
wants_encryption(Oid table)
{
	Relation	rel = try_relation_open(table, NoLock);
	TvKeyringScope scope;
	bool		result;

	if (rel == NULL)
		return true;			/* dropped: nothing is left to be decrypted */
	result = tv_page_is_encrypted_table(rel) || tv_tablespace_scope_of(&rel->rd_node, &scope) ||
		tv_catalog_is(table) ||	/* made plain by being written anew only */
		tv_vault_protects(table);
	relation_close(rel, NoLock);
	return result;
}

static void
get_key(uint64 id, TvKeyringKey *key)
{
	if (!tv_keyring_key(id, 0, key))
		ereport(ERROR,
				(errcode(ERRCODE_TV_KEY_MISSING),
				 errmsg("table key is gone")));
}

/* --- where things stand ------------------------------------------------------- */

typedef struct Start
{
	TvWorkerKind kind;
	uint64		total;
} Start;

static void
note_start(TvWorkerOperation *operation, void *argument)
{
	const Start *start = argument;
	TimestampTz now = GetCurrentTimestamp();

	if (operation->started == 0)
		operation->started = now;
	operation->resumed = now;
	if (operation->kind == TV_WORK_UNKNOWN || start->kind == TV_WORK_DECRYPT ||
		operation->kind == TV_WORK_DECRYPT)
		operation->kind = start->kind;
	operation->pages_done = 0;
	operation->pages_total = start->total;
	operation->state = TV_WORKER_RUNNING;
	operation->message[0] = '\0';
}

/* Is the file of a sequence that no table owns any more?  It stays as it is. */
static bool
is_sequence(const RelFileNode *node)
{
	Relation	rel = tv_worker_open_owner(node);
	bool		result;

	if (rel == NULL)
		return false;
	result = rel->rd_rel->relkind == RELKIND_SEQUENCE;
	relation_close(rel, AccessShareLock);
	return result;
}

/* Is the file to be plain?  What its place seals stays so (tablespaces). */
static bool
wants_plain(const Work *work, const RelFileNode *node)
{
	TvKeyringScope scope;

	return !work->encrypt && !tv_tablespace_scope_of(node, &scope) && !is_sequence(node);
}

/*
 * Have the keyring say of every file what the catalogs say of the table.  For
 * encryption and back that is one record a file; pages of both kinds are
 * accepted from before the first.
 */
static void
align_files(Work *work)
{
	TvKeyringKey key;
	uint32		slot = 0;
	RelFileNode node;
	TvKeyringFile known;
	TvError		err;

	while (tv_keyring_next_file(work->key, &slot, &node, &known))
	{
		bool		plain = OidIsValid(node.spcNode) && wants_plain(work, &node);

		if (!OidIsValid(node.spcNode) || known.plain == plain)
			continue;
		get_key(work->key, &key);
		if (plain && key.floor > 0)
			tv_worker_check(tv_keyring_set_floor(work->key, 0, &err), &err);
		tv_worker_check(tv_keyring_reassign(&node, &known, plain, &err), &err);
		work->changed = true;
	}
	tv_worker_check(tv_keyring_flush(&err), &err);
}

/* Room for nonces and tags, of which a crash or a promotion may have left none. */
static uint64
prepare_files(Work *work, bool *mixed)
{
	uint32		slot = 0;
	uint64		pages = 0;
	RelFileNode node;
	TvKeyringFile known;

	*mixed = false;
	while (tv_keyring_next_file(work->key, &slot, &node, &known))
	{
		Relation	rel = OidIsValid(node.spcNode) ? tv_worker_open_owner(&node) : NULL;

		if (rel == NULL)
			continue;
		*mixed = *mixed || !known.sealed;
		if (!known.plain && known.floor < known.epoch && tv_cipher_has_nonce(known.cipher))
			tv_page_reserve_sidecar(&node, known.key, 0,
									tv_page_nblocks(RelationGetSmgr(rel), MAIN_FORKNUM), false);
		for (ForkNumber fork = MAIN_FORKNUM; fork <= MAX_FORKNUM; fork++)
			pages += tv_page_nblocks(RelationGetSmgr(rel), fork);
		relation_close(rel, AccessShareLock);
	}
	return pages;
}

static TvWorkerKind
kind_of(const Work *work, const TvKeyringKey *key, bool mixed)
{
	TvKeyringKey before;

	if (!work->encrypt)
		return TV_WORK_DECRYPT;
	if (mixed)
		return TV_WORK_ENCRYPT;
	if (tv_keyring_key(key->id, key->epoch - 1, &before) && before.cipher != key->cipher)
		return TV_WORK_CIPHER;
	return TV_WORK_ROTATE;
}

static void
lock_table(Oid table)
{
	StartTransactionCommand();
	LockRelationOid(table, ShareUpdateExclusiveLock);
	tv_worker_lock_scopes(ShareLock);
}

/* Is all as it should be, by a walk that had ended? */
static bool
is_complete(const Work *work)
{
	uint32		slot = 0;
	RelFileNode node;
	TvKeyringFile known;

	if (!work->encrypt || work->changed)
		return false;
	while (tv_keyring_next_file(work->key, &slot, &node, &known))
	{
		if (OidIsValid(node.spcNode) && (known.plain || !known.sealed || known.floor < known.epoch))
			return false;
	}
	return true;
}

/* Is the key old enough to be replaced, by the setting? */
static bool
is_due(const TvKeyringKey *key)
{
	return tv_setting_key_rotation_days > 0 && key->epoch < TV_EPOCH_MAX &&
		GetCurrentTimestamp() - key->created >= tv_setting_key_rotation_days * USECS_OF_DAY;
}

/*
 * Everything is set: pages that change from here on change everywhere, on
 * standbys too, under what holds now.  A walk that goes on after a crash goes
 * on with the same position.
 */
static void
note_since(Work *work)
{
	TvKeyringKey key;
	TvError		err;

	get_key(work->key, &key);
	work->since = key.work_since;
	if (!XLogRecPtrIsInvalid(work->since) && !work->changed)
		return;
	work->since = GetXLogInsertRecPtr();
	tv_worker_check(tv_keyring_set_work(work->key, key.work_flags, work->since, &err), &err);
}

/* Begin, or begin again: what is to be done?  Locks the table for a moment. */
static void
look(Work *work)
{
	TvKeyringKey key;
	Start		start;
	bool		mixed;
	uint16		epoch;
	TvError		err;

	get_key(work->key, &key);
	lock_table(key.table);
	get_key(work->key, &key);
	work->encrypt = !key.may_decrypt || wants_encryption(key.table);
	work->changed = is_due(&key);
	if (work->changed)
		tv_worker_check(tv_keyring_add_version(work->key, key.cipher, &epoch, &err), &err);
	if (!work->encrypt)
		tv_worker_release_sequences(key.table);
	align_files(work);
	work->complete = is_complete(work);
	note_since(work);
	start.total = prepare_files(work, &mixed);
	get_key(work->key, &key);
	work->epoch = key.epoch;
	start.kind = kind_of(work, &key, mixed);
	CommitTransactionCommand();
	tv_worker_change(work->slot, note_start, &start);
}

/* --- the end -------------------------------------------------------------------- */

static void
note_end(TvWorkerOperation *operation, void *argument)
{
	operation->state = TV_WORKER_DONE;
	operation->finished = GetCurrentTimestamp();
	operation->pages_done = operation->pages_total;
	operation->old_wal = *(XLogRecPtr *) argument;
	operation->wal_gone = 0;
}

/* Files that are plain now have no key any more; returns how many do have one. */
static int
release_files(uint64 key)
{
	uint32		slot = 0;
	int			sealed = 0;
	RelFileNode node;
	TvKeyringFile known;
	TvError		err;

	while (tv_keyring_next_file(key, &slot, &node, &known))
	{
		if (OidIsValid(node.spcNode) && known.plain)
			tv_worker_check(tv_keyring_release(&node, &err), &err);
		else
			sealed++;
	}
	return sealed;
}

/*
 * No page on disk is as it should not be: say so.  false if what is wanted has
 * changed since the walk began.
 */
static bool
finish(Work *work)
{
	TvKeyringKey key;
	XLogRecPtr	end;
	TvError		err;

	get_key(work->key, &key);
	lock_table(key.table);
	get_key(work->key, &key);
	if (key.epoch != work->epoch ||
		(!key.may_decrypt || wants_encryption(key.table)) != work->encrypt)
	{
		CommitTransactionCommand();
		return false;
	}
	if (release_files(work->key) > 0 && key.floor < work->epoch)
	{
		tv_worker_check(tv_keyring_renew_files(work->key, &err), &err);
		tv_worker_check(tv_keyring_set_floor(work->key, work->epoch, &err), &err);
	}
	tv_worker_check(tv_keyring_set_work(work->key, 0, InvalidXLogRecPtr, &err), &err);
	CommitTransactionCommand();
	end = GetXLogInsertRecPtr();
	tv_worker_change(work->slot, note_end, &end);
	if (work->encrypt)
		tv_worker_past_begin(end);
	return true;
}

/* --- between -------------------------------------------------------------------- */

static bool
is_paused(void *argument)
{
	const Work *work = argument;
	TvKeyringKey key;

	get_key(work->key, &key);
	return key.paused;
}

static void
reset_progress(TvWorkerOperation *operation, void *argument)
{
	operation->pages_done = 0;
}

/*
 * Walk until a walk finds every page on disk as it should be.  The first one
 * renews; what it leaves in shared buffers is written; the next one mostly
 * only reads.  false: paused.
 */
static bool
walk_all(Work *work)
{
	TvWorkerWalk walk = {work->slot, work->key, work->since, is_paused, work};
	TvWorkerPass pass;

	for (;;)
	{
		if (!tv_worker_pass(&walk, &pass))
			return false;
		if (pass.stale == 0 && pass.hidden == 0)
			return true;
		tv_worker_flush(work->key);
		tv_worker_change(work->slot, reset_progress, NULL);
		tv_worker_set_state(work->slot, pass.stale == 0 ? TV_WORKER_BLOCKED : TV_WORKER_CHECKING);
		if (pass.stale > 0)
			continue;
		/* files of a transaction that has not ended, and nobody can read yet */
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 HIDDEN_WAIT_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
run(Work *work)
{
	TvKeyringKey key;
	TvWorkerOperation before;

	if (!tv_keyring_key(work->key, 0, &key) || !key.work ||
		!tv_worker_operation(work->slot, &before))
	{
		tv_worker_set_state(work->slot, TV_WORKER_FREE);
		return;
	}
	do
	{
		look(work);
		if (!work->complete && !walk_all(work))
		{
			tv_worker_set_state(work->slot, TV_WORKER_PAUSED);
			return;
		}
	} while (!finish(work));
	/* nobody asked for it, and nothing came of it */
	if (work->complete && before.kind == TV_WORK_UNKNOWN)
		tv_worker_set_state(work->slot, TV_WORKER_FREE);
}

static void
retry_later(TvWorkerOperation *operation)
{
	operation->state = TV_WORKER_RETRYING;
	operation->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_SECONDS * 1000);
}

static void
note_error(TvWorkerOperation *operation, void *argument)
{
	const ErrorData *error = argument;

	snprintf(operation->message, sizeof(operation->message), "%s%s%s", error->message,
			 error->detail ? " " : "", error->detail ? error->detail : "");
	retry_later(operation);
}

static void
set_pid(TvWorkerOperation *operation, void *argument)
{
	operation->pid = *(int *) argument;
	if (operation->pid != 0)
		return;
	/* terminated: somebody else goes on */
	if (operation->state == TV_WORKER_RUNNING || operation->state == TV_WORKER_CHECKING ||
		operation->state == TV_WORKER_BLOCKED)
		operation->state = TV_WORKER_WAITING;
	/* did not get into the database: the key of its catalogs may be away */
	if (operation->state == TV_WORKER_STARTING)
	{
		strlcpy(operation->message, "a worker could not connect to the database; the server's log says why",
				sizeof(operation->message));
		retry_later(operation);
	}
}

static void
leave(int code, Datum slot)
{
	int			none = 0;

	tv_worker_change(DatumGetInt32(slot), set_pid, &none);
	tv_worker_wake();
}

/* What went wrong is told in the view; the launcher has it tried again. */
static void
run_guarded(Work *work)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		run(work);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		HOLD_INTERRUPTS();
		error = CopyErrorData();
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		tv_worker_change(work->slot, note_error, error);
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
}

void
tv_worker_main(Datum main_arg)
{
	Work		work = {DatumGetInt32(main_arg)};
	TvWorkerOperation operation;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	if (!tv_worker_operation(work.slot, &operation))
		proc_exit(0);
	work.key = operation.key;
	before_shmem_exit(leave, Int32GetDatum(work.slot));
	tv_worker_change(work.slot, set_pid, &MyProcPid);
	BackgroundWorkerInitializeConnectionByOid(operation.database, InvalidOid,
											  BGWORKER_BYPASS_ALLOWCONN);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	pgstat_report_activity(STATE_RUNNING, "tde_vault: working on pages");
	run_guarded(&work);
	proc_exit(0);
}
