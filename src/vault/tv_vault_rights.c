/*
 * tv_vault_rights.c
 *	  What the vault's statements have in common: rights, and looking up.
 */
#include "vault/tv_vault_rights.h"

#include "catalog/dependency.h"
#include "catalog/pg_authid.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#include "base/tv_report.h"
#include "vault/tv_vault_audit.h"

static const char *
user_name(void)
{
	return GetUserNameFromId(GetAuthenticatedUserId(), true);
}

void
tv_vault_require_admin(const char *command)
{
	if (tv_vault_is_admin())
		return;
	tv_vault_audit_refused(command, NULL, NULL);
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_ADMIN),
			 errmsg("%s: only a vault administrator may do that", command),
			 errdetail("\"%s\" is not a member of vault_admin, superuser or not.", user_name()),
			 errhint("A vault administrator can do it, or GRANT vault_admin.")));
}

void
tv_vault_require_owner(const TvRealm *realm, const char *command)
{
	if (tv_vault_is_admin() || tv_vault_has_role(realm->owner))
		return;
	tv_vault_audit_refused(command, realm->name, NULL);
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_ADMIN),
			 errmsg("%s: only a vault administrator or the owner of realm \"%s\" may do that",
					command, realm->name),
			 errdetail("\"%s\" is neither, superuser or not.", user_name()),
			 errhint("The realm's owner is \"%s\".", GetUserNameFromId(realm->owner, true))));
}

static TvBorrower borrower = NULL;

void
tv_vault_set_borrower(TvBorrower function)
{
	borrower = function;
}

void
tv_vault_refuse_borrowed(const char *command)
{
	Oid			function = borrower ? borrower() : InvalidOid;

	if (!OidIsValid(function))
		return;
	tv_vault_audit_refused(command, NULL, "by a function of somebody else");
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_ADMIN),
			 errmsg("%s: not from within function \"%s\"", command, get_func_name(function)),
			 errdetail("It belongs to somebody else than \"%s\", whose rights it would use.", user_name()),
			 errhint("Give the statement itself, or from a function of your own.")));
}

static TvPolicy *
begin_command(const char *command)
{
	TvPolicy   *policy = tv_vault_change_begin(command, false);

	if (tv_vault_current()->state == TV_VAULT_ACTIVE)
		return policy;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s: the vault of this database is %s", command,
					policy->flags & TV_VAULT_COPIED ? "closed" : "not enabled"),
			 policy->flags & TV_VAULT_COPIED ?
			 errdetail("The database is a copy of one with a vault.") : 0,
			 errhint("ALTER DATABASE ENABLE DATABASE VAULT.")));
}

TvPolicy *
tv_vault_begin_command(const char *command)
{
	tv_vault_refuse_borrowed(command);
	return begin_command(command);
}

TvRealm *
tv_vault_find_realm(TvPolicy *policy, const char *name)
{
	TvRealm    *realm = tv_policy_realm(policy, name);

	if (realm == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("realm \"%s\" does not exist", name),
				 errhint("tde_vault.realms shows the realms that you may see.")));
	return realm;
}

Oid
tv_vault_find_role(const char *name)
{
	if (strcmp(name, "public") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a realm cannot be opened to PUBLIC"),
				 errhint("Name the roles.")));
	return tv_vault_keep_role(get_role_oid(name, false));
}

Oid
tv_vault_keep_role(Oid role)
{
	shdepLockAndCheckObject(AuthIdRelationId, role);
	return role;
}

void
tv_vault_check_name(const char *kind, const char *name)
{
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of a %s must not be empty", kind)));
	if (strlen(name) > TV_VAULT_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("the name of a %s must be at most %d bytes long", kind, TV_VAULT_NAME_MAX)));
}

void
tv_vault_check_text(const char *kind, const char *text)
{
	if (text != NULL && strlen(text) > TV_VAULT_TEXT_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("a %s must be at most %d bytes long", kind, TV_VAULT_TEXT_MAX)));
}

void
tv_vault_out_of_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory for the vault policy")));
}

char *
tv_vault_keep_text(TvPolicy *policy, const char *text)
{
	bool		failed = false;
	char	   *copy = tv_policy_strdup(policy, text, &failed);

	if (failed)
		tv_vault_out_of_memory();
	return copy;
}

void
tv_vault_check_status(TvStatus status, const char *what)
{
	TvError		err;

	if (status == TV_OK)
		return;
	(void) tv_error(&err, status, "could not %s", what);
	tv_report(ERROR, &err);
}
