/*
 * tv_vault_show.c
 *	  What the authenticated user may see of the policy.
 */
#include "vault/tv_vault_show.h"

#include "miscadmin.h"

const TvPolicy *
tv_vault_shown_policy(void)
{
	return tv_vault_current()->policy;
}

bool
tv_vault_shows_realm(const TvPolicy *policy, uint32 id)
{
	const TvRealm *realm = tv_policy_realm_by_id(policy, id);

	return tv_vault_is_admin() || tv_vault_is_auditor() ||
		(realm != NULL && tv_vault_has_role(realm->owner));
}

bool
tv_vault_shows_emergency(const TvPolicy *policy, const TvEmergency *emergency)
{
	return GetAuthenticatedUserId() == emergency->requester ||
		GetAuthenticatedUserId() == emergency->officer ||
		tv_vault_shows_realm(policy, emergency->realm);
}
