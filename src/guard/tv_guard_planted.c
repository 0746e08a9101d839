/*
 * tv_guard_planted.c
 *	  What somebody else made in the name of a role of the vault.
 *
 * Functions, views, rules and policies that such a role owns are trusted with the rows
 * that their user reads.  A superuser can SET ROLE, give an object away, or
 * replace what another owns; so while a vault is on, such objects are made and
 * changed only by the role itself, or by a member of it; and not by a function
 * of somebody else that one of these happens to run (a trigger, say), which would
 * leave things behind in their name: statements that are prepared are such, too.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "base/tv_report.h"
#include "guard/tv_guard_internal.h"

/* Owner of a function; InvalidOid if there is none. */
static Oid
function_owner(Oid function)
{
	TvLookup	lookup;
	HeapTuple	tuple = tv_guard_lookup(&lookup, ProcedureRelationId, ProcedureOidIndexId,
										Anum_pg_proc_oid, function);
	Oid			owner = HeapTupleIsValid(tuple) ? ((Form_pg_proc) GETSTRUCT(tuple))->proowner : InvalidOid;

	tv_guard_end_lookup(&lookup);
	return owner;
}

/* Which relations count. */
typedef enum Kind
{
	ALL, WITH_RULES, WITH_QUERIES
} Kind;

static bool
is_of_kind(Form_pg_class form, Kind kind)
{
	return kind == ALL || form->relkind == RELKIND_VIEW || form->relkind == RELKIND_MATVIEW || form->relhasrules ||
		(kind == WITH_QUERIES && form->relrowsecurity);
}

/* Owner of a relation, if it is one of that kind. */
static Oid
relation_owner(Oid relid, Kind kind)
{
	TvLookup	lookup;
	HeapTuple	tuple = tv_guard_lookup(&lookup, RelationRelationId, ClassOidIndexId,
										Anum_pg_class_oid, relid);
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (is_of_kind(form, kind))
			owner = form->relowner;
	}
	tv_guard_end_lookup(&lookup);
	return owner;
}

Oid
tv_guard_owner_of_relation(Oid relid)
{
	return relation_owner(relid, ALL);
}

Oid
tv_guard_owner_of_queries(Oid relid)
{
	return relation_owner(relid, WITH_QUERIES);
}

/*
 * A function on the stack that has no business to do something in the name of
 * role.  Whoever has all places of role may; but the right to change who has
 * which is used by nobody else's function.
 */
static Oid
function_of_less(Oid role)
{
	Bitmapset  *realms = tv_vault_realms_of_role(role);

	return realms == NULL || tv_vault_role_governs(role) ? tv_guard_others_function() :
		tv_guard_untrusted_function_of(realms);
}

void
tv_guard_check_left(Oid role, const char *what)
{
	Oid			function = OidIsValid(tv_guard_others_function()) ? function_of_less(role) : InvalidOid;

	if (!OidIsValid(function))
		return;
	tv_guard_audit_refusal(psprintf("%s by function %s()", what, get_func_name(function)));
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_ADMIN),
			 errmsg("%s is refused within function \"%s\"", what, get_func_name(function)),
			 errdetail("What it leaves behind would be trusted as that of \"%s\", who has a place in the vault that the function's owner has not.",
					   GetUserNameFromId(role, true)),
			 errhint("Give the statement itself, or let a role own the function that is authorized for the same realms.")));
}

void
tv_guard_check_planted(Oid class, Oid object)
{
	Oid			user = GetAuthenticatedUserId();
	Oid			owner = InvalidOid;

	switch (class)
	{
		case ProcedureRelationId:
			owner = function_owner(object);
			break;
		case RelationRelationId:
			owner = relation_owner(object, WITH_RULES);
			break;
		case RewriteRelationId:
		case PolicyRelationId:
			owner = relation_owner(tv_guard_relation_of(class, object), ALL);
			break;
		default:
			return;
	}
	if (!OidIsValid(owner) || tv_guard_in_script() || !tv_vault_role_protected(owner))
		return;
	if (owner == user || is_member_of_role_nosuper(user, owner))
	{
		tv_guard_check_left(owner, psprintf("making or changing a function, view, rule or policy of role \"%s\"",
											GetUserNameFromId(owner, true)));
		return;
	}
	tv_guard_refuse(psprintf("making or changing a function, view, rule or policy of role \"%s\"",
							 GetUserNameFromId(owner, true)),
					"The vault trusts what that role owns: it can do it itself, in a session of its own.");
}
