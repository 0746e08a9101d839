/*
 * tv_vault_switch.c
 *	  ALTER DATABASE ENABLE and DISABLE DATABASE VAULT.
 */
#include "vault/tv_vault_commands.h"

#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/acl.h"

#include "base/tv_report.h"
#include "keyring/tv_keyring.h"
#include "vault/tv_vault_audit.h"
#include "vault/tv_vault_rights.h"
#include "vault/tv_vault_role.h"

#define ENABLE "ALTER DATABASE ENABLE DATABASE VAULT"
#define DISABLE "ALTER DATABASE DISABLE DATABASE VAULT"

static void
check_database(const char *database, const char *command)
{
	char	   *own = get_database_name(MyDatabaseId);

	if (database == NULL || strcmp(database, own) == 0)
		return;
	(void) get_database_oid(database, false);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s works on the database of the session only", command),
			 errhint("Connect to database \"%s\".", database)));
}

static void
check_prerequisites(void)
{
	TvKeyringMaster master;

	/* a policy that is there has its key: that of a copy may have come with its template */
	if (tv_vault_current()->policy != NULL || tv_keyring_master_for(MyDatabaseId, &master))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TV_KEY_MISSING),
			 errmsg(ENABLE ": database \"%s\" has no master key", get_database_name(MyDatabaseId)),
			 errdetail("The vault's policy is encrypted, and so are the tables that it protects."),
			 errhint("Make one: CREATE MASTER KEY, or CALL tde_vault.create_master_key('key_id').")));
}

/*
 * Where a vault is on already, a superuser who enabled another would become
 * one that may name vault administrators: their role is the cluster's.
 */
static void
check_enable_right(const TvPolicy *policy)
{
	if (tv_vault_is_admin())
		return;
	if (policy->flags & TV_VAULT_COPIED || policy->has_admin)
		tv_vault_require_admin(ENABLE);
	tv_vault_verify_all();
	if (tv_vault_on_anywhere())
		tv_vault_require_admin(ENABLE);
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg(ENABLE ": permission denied"),
				 errhint("A superuser or a vault administrator can enable the vault.")));
}

void
tv_vault_enable(const char *database)
{
	TvPolicy   *policy;

	check_database(database, ENABLE);
	check_prerequisites();

	/* before the policy is locked: anybody may ask */
	if (tv_vault_current()->state == TV_VAULT_ACTIVE)
	{
		ereport(NOTICE,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("the vault of this database is enabled already")));
		return;
	}
	tv_vault_refuse_borrowed(ENABLE);
	policy = tv_vault_change_begin(ENABLE, true);
	check_enable_right(policy);
	policy->admin_role = get_role_oid("vault_admin", false);
	policy->auditor_role = get_role_oid("vault_auditor", false);
	policy->operator_role = get_role_oid("vault_operator", false);
	policy->has_admin |= tv_vault_has_members(policy->admin_role);
	policy->enabler = GetAuthenticatedUserId();
	tv_vault_forget_roles(policy, policy->enabler);
	policy->flags = TV_VAULT_ON;
	tv_vault_audit_change(ENABLE, NULL, NULL);
	tv_vault_change_done();
}

void
tv_vault_disable(const char *database)
{
	TvPolicy   *policy;

	check_database(database, DISABLE);
	policy = tv_vault_begin_command(DISABLE);
	tv_vault_require_admin(DISABLE);
	policy->flags &= ~TV_VAULT_ON;
	tv_vault_audit_change(DISABLE, NULL, NULL);
	tv_vault_change_done();
}

/* --- databases that come and go --- */

/*
 * The copy has the same policy, under a key of its own, and is closed: whoever
 * copied it need not be a vault administrator.
 */
void
tv_vault_database_copied(Oid from, Oid to)
{
	TvVaultDatabase known;
	TvKeyringMaster master;
	TvPolicy   *policy;
	TvError		err;
	TvStatus	status;

	if (!tv_vault_shared_get(from, &known))
		return;
	status = tv_vault_file_make_key(to, tv_keyring_master_for(from, &master) ? master.id : 0, &err);
	if (status == TV_OK)
		status = tv_vault_file_read(from, &policy, &err);
	if (status == TV_OK)
	{
		if (policy->flags & (TV_VAULT_ON | TV_VAULT_COPIED))
			policy->flags = TV_VAULT_ON | TV_VAULT_COPIED;
		policy->number = 0;
		status = tv_vault_file_write(to, policy, &err);
		tv_policy_free(policy);
	}
	if (status != TV_OK)
		tv_report(ERROR, &err);
}

void
tv_vault_database_dropped(Oid database)
{
	tv_vault_file_remove(database);
}
