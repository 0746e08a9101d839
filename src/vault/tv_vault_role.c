/*
 * tv_vault_role.c
 *	  Separation of duties: who is what, by the authenticated user.
 *
 * While the vault of this database is on, its roles are known by OID; else by
 * name.  A superuser is a member of nothing here.
 */
#include "vault/tv_vault_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_auth_members.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "vault/tv_vault_role.h"

static Oid
role_of(uint32 recorded, const char *name)
{
	return OidIsValid(recorded) ? recorded : get_role_oid(name, true);
}

Oid
tv_vault_admin_role(void)
{
	const TvVaultLocal *local = tv_vault_current();

	return role_of(local->policy ? local->policy->admin_role : InvalidOid, "vault_admin");
}

bool
tv_vault_is_admin(void)
{
	return IsTransactionState() && tv_vault_has_role(tv_vault_admin_role());
}

bool
tv_vault_is_auditor(void)
{
	const TvVaultLocal *local = tv_vault_current();

	return IsTransactionState() &&
		tv_vault_has_role(role_of(local->policy ? local->policy->auditor_role : InvalidOid, "vault_auditor"));
}

bool
tv_vault_has_members(Oid role)
{
	CatCList   *list = SearchSysCacheList1(AUTHMEMROLEMEM, ObjectIdGetDatum(role));
	int			n = list->n_members;

	ReleaseSysCacheList(list);
	return n > 0;
}

bool
tv_vault_may_name_admin(void)
{
	const TvVaultLocal *local = tv_vault_current();

	if (tv_vault_recovering())
		return true;
	return IsTransactionState() && local->state == TV_VAULT_ACTIVE && !local->policy->has_admin &&
		local->policy->enabler == GetAuthenticatedUserId() && superuser() &&
		!tv_vault_has_members(local->policy->admin_role);
}

void
tv_vault_admin_named(void)
{
	TvPolicy   *policy = tv_vault_change_begin("GRANT", false);

	policy->has_admin = true;
	tv_vault_change_done();
}

/* Has role itself a place in the policy that does not end by itself? */
static bool
has_lasting_place(const TvPolicy *policy, Oid role)
{
	if (tv_vault_is_governor(policy, role))
		return true;
	for (uint32 i = 0; i < policy->n_roles; i++)
	{
		if (policy->roles[i].role == role)
			return true;
	}
	for (uint32 i = 0; i < policy->n_emergencies; i++)
	{
		if (policy->emergencies[i].officer == role && policy->emergencies[i].reviewed == 0)
			return true;
	}
	return false;
}

/* When does its last vault password end, perhaps long ago?  0: it has none. */
static TimestampTz
password_ends(const TvPolicy *policy, Oid role)
{
	TimestampTz end = 0;

	for (uint32 i = 0; i < policy->n_passwords; i++)
	{
		const TvVaultPassword *password = &policy->passwords[i];

		if (password->role == role)
			end = Max(end, password->valid_until ? password->valid_until : DT_NOEND);
	}
	return end;
}

/* The same for what was approved: whoever becomes the requester now has it. */
static TimestampTz
emergency_ends(const TvPolicy *policy, Oid role)
{
	TimestampTz end = 0;

	for (uint32 i = 0; i < policy->n_emergencies; i++)
	{
		const TvEmergency *emergency = &policy->emergencies[i];

		if (emergency->requester == role && emergency->approved != 0)
			end = Max(end, emergency->expires);
	}
	return end;
}

static bool
has_place(const TvPolicy *policy, Oid role)
{
	return has_lasting_place(policy, role) || password_ends(policy, role) != 0 ||
		emergency_ends(policy, role) > GetCurrentTimestamp();
}

List *
tv_vault_with_groups(Oid role)
{
	List	   *roles = list_make1_oid(role);

	/* the list grows while it is walked */
	for (int i = 0; i < list_length(roles); i++)
	{
		CatCList   *list = SearchSysCacheList1(AUTHMEMMEMROLE, ObjectIdGetDatum(list_nth_oid(roles, i)));

		for (int k = 0; k < list->n_members; k++)
		{
			HeapTuple	tuple = &list->members[k]->tuple;

			roles = list_append_unique_oid(roles, ((Form_pg_auth_members) GETSTRUCT(tuple))->roleid);
		}
		ReleaseSysCacheList(list);
	}
	return roles;
}

/* The same for a list of roles in the policy of another database. */
static bool
have_place_elsewhere(List *roles)
{
	TvVaultDatabase database;

	for (uint32 i = 0; tv_vault_shared_at(i, &database); i++)
	{
		TvPolicy   *policy;
		TvError		err;
		ListCell   *lc;
		bool		found = false;

		if (database.database == MyDatabaseId)
			continue;
		if (tv_vault_file_read(database.database, &policy, &err) != TV_OK)
			return true;		/* who knows */
		if (policy->flags & (TV_VAULT_ON | TV_VAULT_COPIED))
		{
			foreach(lc, roles)
				found |= has_place(policy, lfirst_oid(lc));
		}
		tv_policy_free(policy);
		if (found)
			return true;
	}
	return false;
}

bool
tv_vault_role_protected(Oid role)
{
	const TvVaultLocal *local;
	List	   *roles;
	ListCell   *lc;

	if (!tv_vault_on_anywhere() || !OidIsValid(role))
		return false;
	local = tv_vault_current();
	if (local->state == TV_VAULT_LOST)
		return true;
	roles = tv_vault_with_groups(role);
	foreach(lc, roles)
	{
		Oid			one = lfirst_oid(lc);

		if (one == get_role_oid("vault_admin", true) || one == get_role_oid("vault_auditor", true) ||
			one == get_role_oid("vault_operator", true) ||
			(local->policy != NULL && local->state != TV_VAULT_NONE && has_place(local->policy, one)))
			return true;
	}
	return have_place_elsewhere(roles);
}
