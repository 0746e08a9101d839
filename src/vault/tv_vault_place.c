/*
 * tv_vault_place.c
 *	  Which realms a relation is in, and which ones a role has a place in.
 *
 * What somebody owns is given rows of a realm only if they have a place in that
 * realm.  Offices of the vault are no places: an administrator who wants rows
 * authorizes a role, which is in the audit log.
 */
#include "vault/tv_vault_internal.h"

#include "utils/acl.h"
#include "utils/timestamp.h"

#include "base/tv_hot.h"

/* --- relations --- */

/* NULL: there is nothing that protects it. */
static const TvTarget *
target_of(const TvVaultLocal *local, Oid relid)
{
	return local->state == TV_VAULT_NONE ? NULL : tv_vault_target(local, relid);
}

Bitmapset *
tv_vault_realms_of(Oid relid, bool simulated)
{
	const TvVaultLocal *local = tv_vault_current();
	const TvTarget *target = target_of(local, relid);
	Bitmapset  *realms = NULL;

	if (target == NULL)
		return NULL;
	if (target->sealed)
		realms = bms_add_member(realms, TV_REALM_UNKNOWN);
	for (int i = 0; i < target->n_realms; i++)
	{
		const TvRealm *realm = &local->policy->realms[target->realms[i]];

		if (simulated || realm->mode == TV_MODE_ENABLED)
			realms = bms_add_member(realms, realm->id);
	}
	return realms;
}

bool
tv_vault_in_realm(Oid relid, uint32 realm)
{
	const TvVaultLocal *local = tv_vault_current();
	const TvTarget *target = target_of(local, relid);

	if (target == NULL)
		return false;
	if (realm == TV_REALM_UNKNOWN)
		return target->sealed;
	for (int i = 0; i < target->n_realms; i++)
	{
		if (local->policy->realms[target->realms[i]].id == realm)
			return true;
	}
	return false;
}

/* --- roles --- */

bool
tv_vault_is_governor(const TvPolicy *policy, Oid role)
{
	if (role == policy->admin_role || role == policy->auditor_role || role == policy->operator_role)
		return true;
	for (uint32 i = 0; i < policy->n_realms; i++)
	{
		if (policy->realms[i].owner == role)
			return true;
	}
	return false;
}

/* Has role itself a place in the realm that does not end by itself? */
static bool
has_lasting_place(const TvPolicy *policy, uint32 realm, Oid role)
{
	for (uint32 i = 0; i < policy->n_realms; i++)
	{
		if (policy->realms[i].id == realm && policy->realms[i].owner == role)
			return true;
	}
	for (uint32 i = 0; i < policy->n_roles; i++)
	{
		if (policy->roles[i].realm == realm && policy->roles[i].role == role)
			return true;
	}
	return false;
}

/* When does what else it has there end, perhaps long ago?  0: it has nothing. */
static TimestampTz
place_ends(const TvPolicy *policy, uint32 realm, Oid role)
{
	TimestampTz end = 0;

	for (uint32 i = 0; i < policy->n_passwords; i++)
	{
		const TvVaultPassword *password = &policy->passwords[i];

		if (password->realm == realm && password->role == role)
			end = Max(end, password->valid_until ? password->valid_until : DT_NOEND);
	}
	/* whoever becomes the requester now has it */
	for (uint32 i = 0; i < policy->n_emergencies; i++)
	{
		const TvEmergency *emergency = &policy->emergencies[i];

		if (emergency->realm == realm && emergency->requester == role && emergency->approved != 0)
			end = Max(end, emergency->expires);
	}
	return end;
}

/* The policy in which roles have places; NULL: nobody has one. */
static const TvPolicy *
policy_of_places(void)
{
	const TvVaultLocal *local = tv_vault_current();

	return local->state == TV_VAULT_NONE || local->state == TV_VAULT_LOST ? NULL : local->policy;
}

static TimestampTz
trusted_until(const TvPolicy *policy, uint32 realm, List *roles)
{
	TimestampTz end = 0;
	ListCell   *lc;

	foreach(lc, roles)
	{
		if (has_lasting_place(policy, realm, lfirst_oid(lc)))
			return DT_NOEND;
		end = Max(end, place_ends(policy, realm, lfirst_oid(lc)));
	}
	return end;
}

/* The log is the cluster's, so the role is known by its name, as where the log is read. */
static bool
reads_log(Oid role)
{
	Oid			auditor = get_role_oid("vault_auditor", true);

	return OidIsValid(auditor) && is_member_of_role_nosuper(role, auditor);
}

/*
 * Groups are looked up first: that reads catalogs, after which the policy may be
 * another one.
 */
TimestampTz
tv_vault_role_trusted_until(Oid role, uint32 realm)
{
	List	   *roles;
	const TvPolicy *policy;

	if (!OidIsValid(role) || realm == TV_REALM_UNKNOWN)
		return 0;
	if (realm == TV_REALM_AUDIT_LOG)
		return reads_log(role) ? DT_NOEND : 0;
	roles = tv_vault_with_groups(role);
	policy = policy_of_places();
	return policy == NULL ? 0 : trusted_until(policy, realm, roles);
}

Bitmapset *
tv_vault_realms_of_role(Oid role)
{
	Bitmapset  *realms = NULL;
	List	   *roles;
	const TvPolicy *policy;

	if (!OidIsValid(role))
		return NULL;
	roles = tv_vault_with_groups(role);
	policy = policy_of_places();
	for (uint32 i = 0; policy != NULL && i < policy->n_realms; i++)
	{
		if (tv_vault_before(trusted_until(policy, policy->realms[i].id, roles)))
			realms = bms_add_member(realms, policy->realms[i].id);
	}
	return realms;
}

TimestampTz
tv_vault_role_trusted_everywhere_until(Oid role)
{
	List	   *roles;
	const TvPolicy *policy;
	TimestampTz end = DT_NOEND;

	if (!OidIsValid(role))
		return 0;
	roles = tv_vault_with_groups(role);
	policy = policy_of_places();
	if (policy == NULL || policy->n_realms == 0)
		return 0;
	for (uint32 i = 0; i < policy->n_realms; i++)
		end = Min(end, trusted_until(policy, policy->realms[i].id, roles));
	return end;
}

bool
tv_vault_role_governs(Oid role)
{
	List	   *roles;
	const TvPolicy *policy;
	ListCell   *lc;

	if (!OidIsValid(role))
		return false;
	roles = tv_vault_with_groups(role);
	policy = policy_of_places();
	foreach(lc, roles)
	{
		if (policy != NULL && tv_vault_is_governor(policy, lfirst_oid(lc)))
			return true;
	}
	return false;
}
