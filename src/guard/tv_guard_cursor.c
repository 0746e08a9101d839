/*
 * tv_guard_cursor.c
 *	  Rows that a cursor keeps.
 *
 * A cursor WITH HOLD, and one that a loop over a COMMIT holds, runs its query to
 * the end when the transaction ends, and has rows from then on that no executor
 * is asked for.  SQL's FETCH reaches them, FETCH of PL/pgSQL, cursor_to_xml() and
 * other languages; all of them through PortalRunFetch().  The rows may have come
 * from wherever the transaction had some, also by functions of the query.
 */
#include "postgres.h"

#include "commands/portalcmds.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/memutils.h"
#include "utils/portal.h"

#include "attach/tv_attach.h"
#include "guard/tv_guard.h"
#include "guard/tv_guard_internal.h"

/* A cursor that has rows of realms, or lines of the audit log; lives as long as these. */
typedef struct Held
{
	dlist_node	node;
	Portal		portal;
	Bitmapset  *realms;
	bool		with_log;
	MemoryContextCallback gone;
} Held;

static dlist_head all_held = DLIST_STATIC_INIT(all_held);

static void (*next_persist) (Portal portal);
static uint64 (*next_fetch) (Portal portal, FetchDirection direction, long count, DestReceiver *dest);

static void
forget(void *held)
{
	dlist_delete(&((Held *) held)->node);
}

static void
remember(Portal portal)
{
	MemoryContext old = MemoryContextSwitchTo(portal->holdContext);
	Held	   *held = palloc0(sizeof(Held));
	uint32		number;

	held->portal = portal;
	held->realms = bms_copy(tv_guard_carried(&number));
	held->with_log = tv_guard_carries_log();
	held->gone.func = forget;
	held->gone.arg = held;
	MemoryContextSwitchTo(old);
	dlist_push_tail(&all_held, &held->node);
	MemoryContextRegisterResetCallback(portal->holdContext, &held->gone);
}

static void
persist(Portal portal)
{
	next_persist(portal);
	if (unlikely(tv_vault_on_anywhere()) && tv_guard_carrying())
		remember(portal);
}

static const Held *
find(Portal portal)
{
	dlist_iter	iter;

	dlist_foreach(iter, &all_held)
	{
		const Held *held = dlist_container(Held, node, iter.cur);

		if (held->portal == portal)
			return held;
	}
	return NULL;
}

/*
 * May they be read now, by what is on the stack?  If it is not held, the
 * transaction at hand has filled it.
 */
static void
check_kept(Portal portal)
{
	const Held *held = find(portal);
	uint32		number;
	Bitmapset  *realms = held ? held->realms : bms_copy(tv_guard_carried(&number));
	ListCell   *lc;

	/* held before the vault was on */
	foreach(lc, portal->stmts)
		tv_guard_check_again(lfirst(lc));
	if (held ? held->with_log : tv_guard_carries_log())
		tv_guard_require_log();
	if (realms != NULL)
		tv_guard_require_realms(realms, psprintf("cursor \"%s\"", portal->name));
}

/* MOVE returns no rows. */
static uint64
run_fetch(Portal portal, FetchDirection direction, long count, DestReceiver *dest)
{
	if (portal->holdStore != NULL && tv_vault_on() && dest->mydest != DestNone)
		check_kept(portal);
	return next_fetch(portal, direction, count, dest);
}

void
tv_guard_cursor_init(void)
{
	next_persist = tv_attach_detour((void *) PersistHoldablePortal, "PersistHoldablePortal", (void *) persist);
	next_fetch = tv_attach_detour((void *) PortalRunFetch, "PortalRunFetch", (void *) run_fetch);
}
