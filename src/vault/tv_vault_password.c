/*
 * tv_vault_password.c
 *	  Vault passwords: granted, revoked, used to unlock a realm.
 */
#include "vault/tv_vault_commands.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "crypto/tv_kdf.h"
#include "vault/tv_vault_audit.h"
#include "vault/tv_vault_failures.h"
#include "vault/tv_vault_rights.h"
#include "vault/tv_vault_trust.h"
#include "vault/tv_vault_verifier.h"

#define GRANT "GRANT VAULT PASSWORD"
#define REVOKE "REVOKE VAULT PASSWORD"
#define CHALLENGE_SECONDS 60

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

	tv_vault_check_status(tv_verifier_make(&verifier, password, tv_setting_password_memory), "hash the vault password");
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
	bool		known;

	tv_vault_require_owner(realm, GRANT);
	if (password != NULL)
		check_password(password);
	else
	{
		generated = palloc(TV_GENERATED_LEN);
		tv_vault_check_status(tv_verifier_generate(generated), "generate a vault password");
		password = generated;
	}
	known = tv_vault_before(tv_vault_role_trusted_until(role, realm->id));
	store_password(policy, realm->id, role, password, end);
	tv_vault_attempts_forgive(realm->id, role);
	tv_vault_audit_change(GRANT, name, role_name);
	tv_vault_change_done();
	if (!known)
		tv_vault_warn_of_role(role, name);
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
	if (found)
		tv_vault_audit_change(REVOKE, name, role_name);
	else
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
refuse_password(const char *realm, int failures)
{
	tv_vault_audit_unlock(realm, tv_vault_attempt_locks_out(failures) ? TV_AUDIT_CRITICAL : TV_AUDIT_WARNING,
						  TV_AUDIT_DENIED, tv_vault_attempt_locks_out(failures) ?
						  "wrong vault password; the user is locked out" : "wrong vault password");
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_PASSWORD),
			 errmsg("vault password for realm \"%s\" is not correct", realm),
			 tv_vault_attempt_locks_out(failures) ?
			 errdetail("\"%s\" is locked out of the realm now.",
					   GetUserNameFromId(GetAuthenticatedUserId(), true)) : 0));
}

static void
refuse_unlock(const char *realm)
{
	tv_vault_audit_unlock(realm, TV_AUDIT_WARNING, TV_AUDIT_DENIED, "no valid vault password");
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

/*
 * Which of the user's passwords is it?  Of none: TV_ERR_AUTH.  proof: instead
 * of the password, an answer to nonce for the first of them.
 */
static TvStatus
find_password(const TvPolicy *policy, const TvRealm *realm, const char *password,
			  const uint8 *nonce, const uint8 *proof, TvVaultPassword *out)
{
	TvStatus	status = TV_ERR_AUTH;
	uint32		i = 0;

	while (status == TV_ERR_AUTH && next_password(policy, realm->id, &i, out))
	{
		if (proof != NULL)
			return tv_verifier_check_proof(out, realm->name, nonce, proof);
		status = tv_verifier_check(out, password);
	}
	return status;
}

static bool
has_password(const TvPolicy *policy, uint32 realm)
{
	TvVaultPassword unused;
	uint32		i = 0;

	return next_password(policy, realm, &i, &unused);
}

/* Hash the password again with today's parameters, unless somebody changes the policy now. */
static void
upgrade(const TvVaultPassword *old, const char *password)
{
	TvVaultPassword fresh = *old;
	TvPolicy   *policy;

	if (password == NULL || !tv_verifier_outdated(old, tv_setting_password_memory) || RecoveryInProgress() || XactReadOnly ||
		IsInParallelMode() || !tv_vault_change_possible())
		return;
	tv_vault_check_status(tv_verifier_make(&fresh, password, tv_setting_password_memory), "hash the vault password");
	policy = tv_vault_change_begin("UNLOCK REALM", false);
	for (uint32 i = 0; i < policy->n_passwords; i++)
	{
		if (policy->passwords[i].version == old->version)
			policy->passwords[i] = fresh;
	}
	tv_vault_change_done();
}

/* By password, or by proof for nonce. */
static void
unlock(const char *name, const char *password, const uint8 *nonce, const uint8 *proof)
{
	const TvVaultLocal *local = active_vault("UNLOCK REALM");
	TvRealm    *realm = tv_vault_find_realm(local->policy, name);
	TvVaultPassword found;
	TvStatus	status = TV_ERR_AUTH;
	uint32		id = realm->id;
	int			failures;

	/* else a trojan could open the realm for its own like, or use up the user's attempts */
	tv_vault_refuse_borrowed("UNLOCK REALM");
	if (!has_password(local->policy, id))
		refuse_unlock(name);
	failures = tv_vault_attempt_begin(id, name);
	if (password == NULL || strlen(password) <= TV_PASSWORD_MAX)
		status = find_password(local->policy, realm, password, nonce, proof, &found);
	if (status == TV_ERR_AUTH)
		refuse_password(name, failures);
	tv_vault_check_status(status, "check the vault password");
	tv_vault_audit_unlock(name, TV_AUDIT_NOTICE, TV_AUDIT_SUCCESS,
						  proof ? "challenge and response" : "vault password");
	tv_vault_session_unlock(&found, tv_setting_unlock_timeout);
	tv_vault_attempt_succeeded(id);
	upgrade(&found, password);
}

void
tv_vault_unlock_realm(const char *name, const char *password)
{
	unlock(name, password, NULL, NULL);
}

/* --- challenge and response: no password in SQL --- */

/* What was asked last; good for one answer, soon. */
static struct
{
	uint32		realm;			/* 0: nothing */
	TimestampTz asked;
	uint8		nonce[TV_VERIFIER_NONCE_LEN];
}			challenge;

void
tv_vault_unlock_challenge(const char *name, TvChallenge *out)
{
	const TvVaultLocal *local = active_vault("UNLOCK REALM");
	TvRealm    *realm = tv_vault_find_realm(local->policy, name);
	TvVaultPassword password;
	uint32		i = 0;

	tv_vault_refuse_borrowed("UNLOCK REALM");
	if (!next_password(local->policy, realm->id, &i, &password))
		refuse_unlock(name);
	tv_vault_check_status(tv_random(challenge.nonce, sizeof(challenge.nonce)), "make a challenge");
	challenge.realm = realm->id;
	challenge.asked = GetCurrentTimestamp();
	memcpy(out->nonce, challenge.nonce, sizeof(out->nonce));
	memcpy(out->salt, password.salt, sizeof(out->salt));
	snprintf(out->params, sizeof(out->params), "argon2id$v=19$m=%u,t=%u,p=%u",
			 password.memory_kib, password.passes, password.lanes);
}

void
tv_vault_unlock_response(const char *name, const uint8 *proof, size_t len)
{
	const TvVaultLocal *local = active_vault("UNLOCK REALM");
	uint32		realm = tv_vault_find_realm(local->policy, name)->id;
	bool		asked = challenge.realm == realm &&
		challenge.asked + CHALLENGE_SECONDS * USECS_PER_SEC > GetCurrentTimestamp();

	challenge.realm = 0;
	if (!asked)
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_PASSWORD),
				 errmsg("there is no challenge for realm \"%s\" to respond to", name),
				 errdetail("A challenge is good for one response within %d seconds.", CHALLENGE_SECONDS),
				 errhint("CALL tde_vault.unlock_challenge() in this session first.")));
	if (len != TV_VAULT_HASH_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a proof has %d bytes, not %zu", TV_VAULT_HASH_LEN, len)));
	unlock(name, NULL, challenge.nonce, proof);
}

void
tv_vault_lock_realm(const char *name)
{
	tv_vault_audit_lock(name);
	if (name == NULL)
		tv_vault_lock_session();
	else
		tv_vault_session_lock(tv_vault_find_realm(active_vault("LOCK REALM")->policy, name)->id);
}
