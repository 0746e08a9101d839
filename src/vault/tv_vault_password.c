/*
 * tv_vault_password.c
 *	  Vault passwords: granted, revoked, used to unlock a realm.
 */
#include "vault/tv_vault_commands.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "base/tv_secret.h"
#include "vault/tv_vault_rights.h"
#include "vault/tv_vault_verifier.h"

#define GRANT "GRANT VAULT PASSWORD"
#define REVOKE "REVOKE VAULT PASSWORD"

/* --- granting --- */

static TimestampTz
end_of(const Interval *valid_for)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz end;

	if (valid_for == NULL)
		return 0;
	end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												  TimestampTzGetDatum(now),
												  PointerGetDatum(valid_for)));
	if (end <= now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(GRANT ": the time for which the password is valid must be positive")));
	return end;
}

static void
check_password(const char *password)
{
	if (password[0] == '\0' || strlen(password) > TV_PASSWORD_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PASSWORD),
				 errmsg("a vault password must have 1 to %d bytes", TV_PASSWORD_MAX)));
}

/* There is one password a realm and role. */
static void
remove_password(TvPolicy *policy, uint32 realm, Oid role, bool *found)
{
	for (uint32 i = policy->n_passwords; i-- > 0;)
	{
		if (policy->passwords[i].realm == realm && policy->passwords[i].role == role)
		{
			tv_policy_remove_password(policy, i);
			*found = true;
		}
	}
}

static void
store_password(TvPolicy *policy, uint32 realm, Oid role, const char *password, TimestampTz end)
{
	TvVaultPassword verifier = {0};
	TvVaultPassword *entry;
	bool		found;

	tv_vault_check_status(tv_verifier_make(&verifier, password), "hash the vault password");
	remove_password(policy, realm, role, &found);
	entry = tv_policy_add_password(policy);
	if (entry == NULL)
		tv_vault_out_of_memory();
	*entry = verifier;
	entry->realm = realm;
	entry->role = role;
	entry->grantor = GetAuthenticatedUserId();
	entry->version = ++policy->last_password;
	entry->created = GetCurrentTimestamp();
	entry->valid_until = end;
}

char *
tv_vault_grant_password(const char *name, const char *role_name, const char *password,
						const Interval *valid_for)
{
	TvPolicy   *policy = tv_vault_begin_command(GRANT);
	TvRealm    *realm = tv_vault_find_realm(policy, name);
	Oid			role = tv_vault_find_role(role_name);
	TimestampTz end = end_of(valid_for);
	char	   *generated = NULL;

	tv_vault_require_owner(realm, GRANT);
	if (password != NULL)
		check_password(password);
	else
	{
		generated = palloc(TV_GENERATED_LEN);
		tv_vault_check_status(tv_verifier_generate(generated), "generate a vault password");
		password = generated;
	}
	store_password(policy, realm->id, role, password, end);
	tv_vault_change_done();
	return generated;
}

void
tv_vault_revoke_password(const char *name, const char *role_name)
{
	TvPolicy   *policy = tv_vault_begin_command(REVOKE);
	TvRealm    *realm = tv_vault_find_realm(policy, name);
	Oid			role = tv_vault_find_role(role_name);
	bool		found = false;

	tv_vault_require_owner(realm, REVOKE);
	remove_password(policy, realm->id, role, &found);
	if (!found)
		ereport(NOTICE,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" has no vault password for realm \"%s\"", role_name, name)));
	tv_vault_change_done();
}

/* --- unlocking --- */

static const TvVaultLocal *
active_vault(const char *command)
{
	const TvVaultLocal *local = tv_vault_current();

	switch (local->state)
	{
		case TV_VAULT_ACTIVE:
			return local;
		case TV_VAULT_NONE:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("%s: the vault of this database is not enabled", command)));
			break;
		case TV_VAULT_CLONE:
		case TV_VAULT_LOST:
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_CLOSED),
			 errmsg("%s: the vault of this database is closed", command),
			 local->state == TV_VAULT_CLONE ?
			 errdetail("The database is a copy of one with a vault.") :
			 errdetail("%s.", local->why.message),
			 errhint("A vault administrator opens it: ALTER DATABASE ENABLE DATABASE VAULT.")));
}

static void
refuse_unlock(const char *realm)
{
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
			 errmsg("not authorized for realm \"%s\"", realm),
			 errdetail("\"%s\" has no valid vault password for it.",
					   GetUserNameFromId(GetAuthenticatedUserId(), true)),
			 errhint("The realm's owner or a vault administrator can grant one: GRANT VAULT PASSWORD.")));
}

/*
 * The next password that the user may use: the user's own, then those of
 * roles that the user is a member of.
 */
static bool
next_password(const TvPolicy *policy, uint32 realm, uint32 *i, TvVaultPassword *out)
{
	while (*i < 2 * policy->n_passwords)
	{
		const TvVaultPassword *password = &policy->passwords[*i % policy->n_passwords];
		bool		own = password->role == GetAuthenticatedUserId();
		bool		first = *i < policy->n_passwords;

		(*i)++;
		if (password->realm == realm && own == first && tv_vault_has_role(password->role) &&
			(password->valid_until == 0 || password->valid_until > GetCurrentTimestamp()))
		{
			*out = *password;
			return true;
		}
	}
	return false;
}

/* Which of the user's passwords is it?  Of none: TV_ERR_AUTH, or NO_KEY if there is none. */
static TvStatus
find_password(const TvPolicy *policy, uint32 realm, const char *password, TvVaultPassword *out)
{
	TvStatus	status = TV_ERR_NO_KEY;
	uint32		i = 0;

	while (next_password(policy, realm, &i, out))
	{
		status = tv_verifier_check(out, password);
		if (status != TV_ERR_AUTH)
			break;
	}
	return status;
}

void
tv_vault_unlock_realm(const char *name, const char *password)
{
	const TvVaultLocal *local = active_vault("UNLOCK REALM");
	TvRealm    *realm = tv_vault_find_realm(local->policy, name);
	TvVaultPassword found;
	TvStatus	status;

	if (strlen(password) > TV_PASSWORD_MAX)
		status = TV_ERR_AUTH;
	else
		status = find_password(local->policy, realm->id, password, &found);
	if (status == TV_ERR_NO_KEY)
		refuse_unlock(name);
	if (status == TV_ERR_AUTH)
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_PASSWORD),
				 errmsg("vault password for realm \"%s\" is not correct", name)));
	tv_vault_check_status(status, "check the vault password");
	tv_vault_session_unlock(&found, TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
																tv_setting_unlock_timeout * INT64CONST(1000)));
}

void
tv_vault_lock_realm(const char *name)
{
	if (name == NULL)
		tv_vault_lock_session();
	else
		tv_vault_session_lock(tv_vault_find_realm(active_vault("LOCK REALM")->policy, name)->id);
}
