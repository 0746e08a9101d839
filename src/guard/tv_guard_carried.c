/*
 * tv_guard_carried.c
 *	  Of which realms the transaction at hand has rows.
 *
 * What the session was allowed to read may be in whatever it hands to functions
 * until the transaction ends; also in parameters of a parallel query, so workers
 * take over what their leader has.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "postmaster/postmaster.h"
#include "storage/proc.h"
#include "utils/memutils.h"

#include "base/tv_hot.h"
#include "base/tv_shmem.h"
#include "guard/tv_guard_internal.h"

#define SHOWN_REALMS 10
#define NO_REALM PG_UINT32_MAX

/*
 * What a process shows to its workers, who look once, when they begin: by then
 * what is handed to them has been read.  One for each PGPROC; a page that nobody
 * uses takes no memory.
 */
typedef struct Shown
{
	int			pid;			/* another process: nothing of this is the leader's */
	LocalTransactionId carrying;
	LocalTransactionId serving;
	uint32		in_block;
	uint32		with_log;
	uint32		n;				/* more than SHOWN_REALMS: who knows which */
	uint32		realms[SHOWN_REALMS];
} Shown;

static Shown *all_shown = NULL;
static bool imported = false;	/* parallel worker: what the leader has is here */

/* The transaction in which a protected relation was last met. */
static LocalTransactionId touched = InvalidLocalTransactionId;

/* The realms, and in which transaction. */
static Bitmapset *carried = NULL;
static LocalTransactionId carrying = InvalidLocalTransactionId;
static bool log_carried = false;	/* lines of the audit log, too */
static uint32 number = 0;		/* moves with the set */
static uint32 only = NO_REALM;	/* the realm, if there is one and nothing else */

/* The transaction in which the server itself last took a realm's rows in hand. */
static LocalTransactionId serving = InvalidLocalTransactionId;

static bool handled = false;

/*
 * CALL and DO may end transactions, and their variables outlast these: what was
 * given to one is carried until the outermost statement ends.
 */
static int	block_depth = 0;

static Shown *
own_shown(void)
{
	Shown	   *shown = &all_shown[MyProc->pgprocno];

	if (shown->pid != MyProcPid)
	{
		memset(shown, 0, sizeof(*shown));
		shown->pid = MyProcPid;
	}
	return shown;
}

static inline bool
is_now(LocalTransactionId lxid)
{
	return MyProc != NULL && LocalTransactionIdIsValid(lxid) && MyProc->lxid == lxid;
}

bool
tv_guard_touched(void)
{
	return is_now(touched);
}

TV_HOT_VAULT void
tv_guard_touch(void)
{
	touched = MyProc->lxid;
}

bool
tv_guard_handled(void)
{
	return handled;
}

/* --- the set --- */

static inline void
now_carrying(void)
{
	if (likely(carrying == MyProc->lxid))
		return;
	carrying = MyProc->lxid;
	own_shown()->carrying = carrying;
}

static void
add(uint32 realm)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Shown	   *shown = own_shown();

	only = carried == NULL && !log_carried ? realm : NO_REALM;
	carried = bms_add_member(carried, realm);
	MemoryContextSwitchTo(old);
	number++;
	if (shown->n < SHOWN_REALMS)
		shown->realms[shown->n] = realm;
	pg_write_barrier();
	shown->n = Min(shown->n, SHOWN_REALMS) + 1;
}

/* What the leader adds later was not there when this worker was given its parameters. */
static void
import_from_leader(void)
{
	PGPROC	   *leader = MyProc->lockGroupLeader;
	const Shown *shown = leader ? &all_shown[leader->pgprocno] : NULL;
	uint32		n;

	imported = true;
	if (shown == NULL || shown->pid != leader->pid ||
		!(shown->in_block || shown->carrying == leader->lxid))
		return;
	n = shown->n;
	pg_read_barrier();
	for (uint32 i = 0; i < Min(n, SHOWN_REALMS); i++)
		add(shown->realms[i]);
	if (n > SHOWN_REALMS)
		add(TV_REALM_UNKNOWN);
	log_carried = shown->with_log != 0;
	carrying = MyProc->lxid;
	if (shown->serving == leader->lxid)
		serving = MyProc->lxid;
}

/* That of a transaction that is over is forgotten. */
static inline void
refresh(void)
{
	if (unlikely(IsParallelWorker()) && !imported)
		import_from_leader();
	if (likely((carried == NULL && !log_carried) || is_now(carrying) || block_depth > 0))
		return;
	bms_free(carried);
	carried = NULL;
	only = NO_REALM;
	log_carried = false;
	own_shown()->n = 0;
	own_shown()->with_log = 0;
}

TV_HOT_VAULT void
tv_guard_carry(uint32 realm)
{
	handled = true;
	if (likely(only == realm))
	{
		/* most transactions use what the one before did: the set is that, made anew */
		now_carrying();
		return;
	}
	refresh();
	now_carrying();
	if (unlikely(!bms_is_member(realm, carried)))
		add(realm);
}

void
tv_guard_carry_log(void)
{
	refresh();
	now_carrying();
	if (!log_carried)
		number++;
	log_carried = true;
	only = NO_REALM;
	own_shown()->with_log = 1;
}

bool
tv_guard_carries_log(void)
{
	refresh();
	return log_carried;
}

void
tv_guard_carry_all(const Bitmapset *realms)
{
	int			realm = -1;

	while ((realm = bms_next_member(realms, realm)) >= 0)
		tv_guard_carry(realm);
}

TV_HOT_VAULT const Bitmapset *
tv_guard_carried(uint32 *moved)
{
	refresh();
	*moved = number;
	return carried;
}

bool
tv_guard_carrying(void)
{
	refresh();
	return carried != NULL || log_carried;
}

void
tv_guard_block_begin(void)
{
	refresh();
	block_depth++;
	own_shown()->in_block = 1;
}

void
tv_guard_block_end(void)
{
	block_depth--;
	own_shown()->in_block = block_depth > 0;
}

/* --- the server's own work --- */

bool
tv_guard_serving(void)
{
	return is_now(serving);
}

void
tv_guard_serve(Oid relid)
{
	Bitmapset  *realms = tv_vault_realms_of(relid, true);
	bool		before = handled;

	serving = MyProc->lxid;
	own_shown()->serving = serving;
	tv_guard_touch();
	tv_guard_carry_all(realms);
	handled = before;
	bms_free(realms);
}

void
tv_guard_carried_init(void)
{
	all_shown = tv_shmem_region("tde_vault carried", (MAX_BACKENDS + NUM_AUXILIARY_PROCS) * sizeof(Shown), false, NULL);
}
