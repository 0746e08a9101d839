/*
 * tv_vault_change.c
 *	  Changes of the policy by the transaction at hand.
 *
 * The first change takes a lock on the policy that is held until the
 * transaction ends, as DDL does, so there is one writer a database and the
 * copy that it works on is the latest policy.  The session sees its copy at
 * once.  The copy is written just before the transaction commits; if something
 * fails between the two, what was there before is written again.  A crash
 * between the two leaves the new policy, whose author had asked to commit it.
 */
#include "vault/tv_vault_internal.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/memutils.h"

#include "base/tv_hot.h"
#include "base/tv_report.h"
#include "vault/tv_vault_audit.h"

#define POLICY_LOCK 0x5456		/* objsubid of the lock; a database has no columns */

/* The policy as it was when a subtransaction first changed it. */
typedef struct Saved
{
	SubTransactionId id;
	TvPolicy   *policy;			/* NULL: there was none */
	struct Saved *next;			/* of an enclosing one */
} Saved;

static TvPolicy *working = NULL;	/* belongs to tv_vault_local.c */
static Saved *saved = NULL;
static bool dirty = false;
static bool written = false;

TV_HOT_DATA bool tv_vault_at_end = false;

static void
out_of_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory for the vault policy")));
}

static void
pop(bool release)
{
	Saved	   *top = saved;

	saved = top->next;
	if (release)
		tv_policy_free(top->policy);
	free(top);
}

static void
save(const TvPolicy *policy)
{
	Saved	   *entry;

	if (saved != NULL && saved->id == GetCurrentSubTransactionId())
		return;
	entry = calloc(1, sizeof(Saved));
	if (entry == NULL)
		out_of_memory();
	entry->id = GetCurrentSubTransactionId();
	if (policy != NULL && (entry->policy = tv_policy_copy(policy)) == NULL)
	{
		free(entry);
		out_of_memory();
	}
	entry->next = saved;
	saved = entry;
}

static void
policy_is_lost(const TvVaultLocal *local)
{
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_CLOSED),
			 errmsg("the vault of this database is closed: its policy cannot be read"),
			 errdetail("%s.", local->why.message),
			 local->why.hint[0] ? errhint("%s", local->why.hint) : 0));
}

static void
no_vault(const char *command)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s: the vault of this database is not enabled", command),
			 errhint("ALTER DATABASE ENABLE DATABASE VAULT.")));
}

bool
tv_vault_change_possible(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, DatabaseRelationId, MyDatabaseId, POLICY_LOCK);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

TvPolicy *
tv_vault_change_begin(const char *command, bool create)
{
	const TvVaultLocal *local;

	tv_require_writable(command);
	PreventCommandIfParallelMode(command);
	LockDatabaseObject(DatabaseRelationId, MyDatabaseId, POLICY_LOCK, ExclusiveLock);
	local = tv_vault_current();
	if (local->state == TV_VAULT_LOST)
		policy_is_lost(local);
	if (local->policy == NULL && !create)
		no_vault(command);
	save(local->policy);
	if (working == NULL)
	{
		working = local->policy ? tv_policy_copy(local->policy) : tv_policy_new();
		if (working == NULL)
			out_of_memory();
		tv_vault_local_replace(working);
	}
	dirty = true;
	tv_vault_at_end = true;
	return working;
}

void
tv_vault_change_done(void)
{
	tv_vault_local_replace(working);
}

/* Go back to what was there when the subtransaction began to change it. */
static void
subtransaction_ended(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (saved == NULL || saved->id != id)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		/* an enclosing one that has changed it itself goes back further */
		if (saved->next != NULL && saved->next->id == parent)
			pop(true);
		else
			saved->id = parent;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		bool		outermost = saved->next == NULL;
		TvPolicy   *before = saved->policy;

		tv_vault_audit_rolled_back(!outermost);
		pop(false);
		if (outermost)
		{
			tv_policy_free(before);
			before = NULL;
			dirty = false;
		}
		working = before;
		tv_vault_local_replace(before);
	}
}

static void
forget(void)
{
	while (saved != NULL)
		pop(true);
	working = NULL;
	dirty = false;
	written = false;
}

/* After an abort: does not throw. */
static void
put_back(void)
{
	Saved	   *first = saved;
	TvPolicy   *before;
	TvError		err;

	while (first->next != NULL)
		first = first->next;
	before = first->policy;
	if (before == NULL && (before = first->policy = tv_policy_new()) == NULL)
		tv_vault_shared_break(MyDatabaseId);
	else if (tv_vault_file_write(MyDatabaseId, before, &err) != TV_OK)
	{
		tv_vault_shared_break(MyDatabaseId);
		tv_report(WARNING, &err);
	}
}

static void
end_changes(XactEvent event)
{
	uint64		number;
	TvError		err;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (dirty)
			{
				if (tv_vault_file_write(MyDatabaseId, working, &err) != TV_OK)
					tv_report(ERROR, &err);
				written = true;
			}
			tv_vault_dropped_prepare();
			break;
		case XACT_EVENT_COMMIT:
			number = tv_vault_dropped_commit();
			if (dirty)
				number = Max(number, working->number);
			if (number > 0)
				tv_vault_audit_committed(number);
			if (!dirty)
				break;
			forget();
			tv_vault_local_settle();
			break;
		case XACT_EVENT_ABORT:
			tv_vault_dropped_forget();
			if (!dirty)
			{
				tv_vault_audit_rolled_back(false);
				break;
			}
			if (written)
				put_back();
			tv_vault_audit_rolled_back(false);
			forget();
			tv_vault_local_replace(NULL);
			break;
		case XACT_EVENT_PRE_PREPARE:
			tv_vault_dropped_forget();
			if (!dirty)
				break;
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has changed the vault"),
					 errhint("COMMIT it instead.")));
			break;
		default:
			break;
	}
}

static TV_HOT void
transaction_ends(XactEvent event, void *arg)
{
	if (likely(!tv_vault_at_end))
		return;
	end_changes(event);
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			tv_vault_local_end();
			tv_vault_at_end = false;
			break;
		default:
			break;
	}
}

void
tv_vault_change_init(void)
{
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(subtransaction_ended, NULL);
}
