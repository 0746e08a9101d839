/*
 * tv_guard_carried.c
 *	  Of which realms the transaction at hand has rows.
 *
 * What the session was allowed to read may be in whatever it hands to functions
 * until the transaction ends.
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/proc.h"
#include "utils/memutils.h"

#include "base/tv_hot.h"
#include "guard/tv_guard_internal.h"

/* The transaction in which a protected relation was last met. */
static LocalTransactionId touched = InvalidLocalTransactionId;

/* The realms, and in which transaction. */
static Bitmapset *carried = NULL;
static LocalTransactionId carrying = InvalidLocalTransactionId;
static bool log_carried = false;	/* lines of the audit log, too */
static uint32 number = 0;		/* moves with the set */

/* The transaction in which the server itself last took a realm's rows in hand. */
static LocalTransactionId serving = InvalidLocalTransactionId;

static bool handled = false;

/*
 * CALL and DO may end transactions, and their variables outlast these: what was
 * given to one is carried until the outermost statement ends.
 */
static int	block_depth = 0;

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

TV_HOT void
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

/* That of a transaction that is over is forgotten. */
static inline void
refresh(void)
{
	if (likely((carried == NULL && !log_carried) || is_now(carrying) || block_depth > 0))
		return;
	bms_free(carried);
	carried = NULL;
	log_carried = false;
}

static void
add(uint32 realm)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	carried = bms_add_member(carried, realm);
	MemoryContextSwitchTo(old);
	number++;
}

TV_HOT void
tv_guard_carry(uint32 realm)
{
	handled = true;
	refresh();
	carrying = MyProc->lxid;
	if (unlikely(!bms_is_member(realm, carried)))
		add(realm);
}

void
tv_guard_carry_log(void)
{
	refresh();
	carrying = MyProc->lxid;
	if (!log_carried)
		number++;
	log_carried = true;
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

TV_HOT const Bitmapset *
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
}

void
tv_guard_block_end(void)
{
	block_depth--;
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
	tv_guard_touch();
	tv_guard_carry_all(realms);
	handled = before;
	bms_free(realms);
}
