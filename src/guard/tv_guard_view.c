/*
 * tv_guard_view.c
 *	  Queries that somebody stored (views, rules, row security policies), in a
 *	  statement that reads a realm.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"

#include "base/tv_report.h"
#include "guard/tv_guard_internal.h"

/*
 * Somebody's rule or view makes the authorized user's statement read rows, and
 * hands them to whatever functions it calls: they are not for who wrote it.
 */
void
tv_guard_check_borrowed(const PlannedStmt *stmt, const RangeTblEntry *rte)
{
	Bitmapset  *realms;
	bool		trusted;

	if (stmt == NULL || !OidIsValid(rte->checkAsUser) || rte->checkAsUser == GetAuthenticatedUserId())
		return;
	realms = tv_vault_realms_of(rte->relid, true);
	trusted = tv_guard_trusted_owner(rte->checkAsUser, realms);
	bms_free(realms);
	if (trusted)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
			 errmsg("a view or rule may not carry rows of %s elsewhere", tv_guard_name(rte->relid)),
			 errdetail("Its owner, \"%s\", has no place in the realm.",
					   GetUserNameFromId(rte->checkAsUser, true)),
			 errhint("Name the table itself, or let a role own the view that is authorized for the realm.")));
}

/*
 * A view hands rows to the functions that it calls, also to those of the server
 * (pg_notify, lo_put ...).  Whose it is counts, not as whom it reads: one with
 * security_invoker reads as its user.  realms: those that the statement reads.
 */
static void
check_view(const RangeTblEntry *rte, const Bitmapset *realms)
{
	Oid			owner;

	if (rte->relkind != RELKIND_VIEW)
		return;
	owner = tv_guard_owner_of_relation(rte->relid);
	if (tv_guard_trusted_owner(owner, realms) ||
		tv_guard_trusted_owner(owner, tv_vault_realms_of_view(rte->relid)))
		return;
	tv_guard_audit_refusal(psprintf("view %s on rows of a realm", tv_guard_name(rte->relid)));
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
			 errmsg("view %s may not carry rows of a realm", tv_guard_name(rte->relid)),
			 errdetail("Its owner, \"%s\", has no place in the realm.", GetUserNameFromId(owner, true)),
			 errhint("Name the table itself, or let a role own the view that is authorized for the realm.")));
}

/* The same for a table's row security policies, which read as whoever uses the table. */
static void
check_policies(const RangeTblEntry *rte)
{
	Bitmapset  *realms;
	Oid			owner;

	if (rte->relid < FirstNormalObjectId)
		return;
	/* with rows of its own realms a table's policies are as trusted as all that it runs */
	realms = bms_del_members(tv_vault_realms_of_policies(rte->relid), tv_vault_realms_of(rte->relid, true));
	if (realms == NULL)
		return;
	owner = tv_guard_owner_of_relation(rte->relid);
	if (tv_guard_trusted_owner(owner, realms))
		return;
	tv_guard_audit_refusal(psprintf("policies of %s on rows of a realm", tv_guard_name(rte->relid)));
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
			 errmsg("row security policies of %s may not carry rows of a realm", tv_guard_name(rte->relid)),
			 errdetail("The owner of the table, \"%s\", has no place in the realm.",
					   GetUserNameFromId(owner, true)),
			 errhint("Let a role own the table that is authorized for the realm.")));
}

void
tv_guard_check_views(const List *rtable)
{
	ListCell   *lc;
	Bitmapset  *realms = NULL;

	foreach(lc, rtable)
	{
		const RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_RELATION && rte->relid >= FirstUnpinnedObjectId && !tv_vault_ignores(rte->relid))
			realms = bms_join(realms, tv_vault_realms_of(rte->relid, true));
	}
	if (realms == NULL)
		return;
	foreach(lc, rtable)
	{
		const RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind != RTE_RELATION)
			continue;
		check_view(rte, realms);
		check_policies(rte);
	}
}
