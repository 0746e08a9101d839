/*
 * tv_guard_view.c
 *	  Queries that somebody stored (views, rules, row security policies), and
 *	  foreign tables, in a statement that reads a realm.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_class.h"
#include "foreign/foreign.h"
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
	Oid			owner = tv_guard_owner_of_relation(rte->relid);

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

/*
 * A rule's statement still has the entry of the table that was to be written to,
 * and writes to others.  A function that it calls may have become part of it, so
 * that nothing tells its rows from what the user reads.
 */
static void
check_rule(const PlannedStmt *stmt, const RangeTblEntry *rte, Index rti, const Bitmapset *realms)
{
	Oid			owner;

	if ((rte->requiredPerms & (ACL_INSERT | ACL_UPDATE | ACL_DELETE)) == 0 || rte->relkind == RELKIND_VIEW ||
		stmt == NULL || list_member_int(stmt->resultRelations, rti) || tv_guard_only_locked(stmt, rti))
		return;
	owner = tv_guard_owner_of_relation(rte->relid);
	if (tv_guard_trusted_owner(owner, realms))
		return;
	tv_guard_audit_refusal(psprintf("rules of %s on rows of a realm", tv_guard_name(rte->relid)));
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
			 errmsg("rules of %s may not carry rows of a realm", tv_guard_name(rte->relid)),
			 errdetail("The owner of the table, \"%s\", has no place in the realm.",
					   GetUserNameFromId(owner, true)),
			 errhint("Let a role own the table that is authorized for the realm.")));
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
tv_guard_check_views(const PlannedStmt *stmt, const List *rtable)
{
	ListCell   *lc;
	Bitmapset  *realms = NULL;
	Index		rti = 0;

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

		rti++;
		if (rte->rtekind != RTE_RELATION)
			continue;
		if (rte->relkind == RELKIND_VIEW)
			check_view(rte, realms);
		check_rule(stmt, rte, rti, realms);
		check_policies(rte);
	}
}

/* --- foreign tables --- */

static Oid
owner_of_server(Oid table)
{
	return GetForeignServer(GetForeignTable(table)->serverid)->owner;
}

/*
 * What a foreign table is compared with is sent to where its server says, and
 * there it is whoever's.  What is written to one the user sends there.
 */
static bool
sends_elsewhere(Oid table, const Bitmapset *realms)
{
	Oid			owner = tv_guard_owner_of_relation(table);
	Oid			owner_there = owner_of_server(table);

	if (tv_guard_carries_log() && !(tv_guard_trusted_with_log(owner) && tv_guard_trusted_with_log(owner_there)))
		return true;
	return !tv_guard_trusted_owner(owner, realms) || !tv_guard_trusted_owner(owner_there, realms);
}

void
tv_guard_check_foreign(Oid table)
{
	uint32		number;
	const Bitmapset *realms = tv_guard_carried(&number);

	if ((realms == NULL && !tv_guard_carries_log()) || !sends_elsewhere(table, realms))
		return;
	tv_guard_audit_refusal(psprintf("foreign table %s with rows of a realm", tv_guard_name(table)));
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
			 errmsg("foreign table %s may not be read in a transaction that uses a realm", tv_guard_name(table)),
			 errdetail("What its rows are compared with is sent to its server, and the owner of table or server has no place in the realm."),
			 errhint("Read it in a transaction of its own, or let roles own both that are authorized for the realm.")));
}

/* Those that a statement reads. */
void
tv_guard_check_foreign_in(const PlannedStmt *stmt, const List *rtable)
{
	Index		rti = 0;
	ListCell   *lc;

	if (!tv_guard_carrying())
		return;
	foreach(lc, rtable)
	{
		const RangeTblEntry *rte = lfirst(lc);

		rti++;
		if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_FOREIGN_TABLE &&
			!(stmt != NULL && list_member_int(stmt->resultRelations, rti)))
			tv_guard_check_foreign(rte->relid);
	}
}
