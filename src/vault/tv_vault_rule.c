/*
 * tv_vault_rule.c
 *	  Command rules: does one deny?
 */
#include "vault/tv_vault_internal.h"

/* DELETE means every way to make rows disappear. */
static uint16
covered(const TvCommandRule *rule)
{
	return rule->actions & TV_ACTION_DELETE ?
		rule->actions | TV_ACTION_DROP | TV_ACTION_TRUNCATE : rule->actions;
}

static bool
concerns_user(const TvCommandRule *rule)
{
	for (uint32 i = 0; i < rule->n_roles; i++)
	{
		if (tv_vault_has_role(rule->roles[i]))
			return true;
	}
	return rule->n_roles == 0;
}

bool
tv_vault_rule_denies(const TvVaultLocal *local, uint32 i, TvAction action)
{
	const TvCommandRule *rule = &local->policy->rules[i];

	return (covered(rule) & action) && concerns_user(rule);
}
