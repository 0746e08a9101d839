/*
 * tv_guard_role.c
 *	  Roles that something of the vault hangs on: only a vault administrator
 *	  changes them, grants them, or sets their passwords.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/syscache.h"

#include "base/tv_report.h"
#include "guard/tv_guard_internal.h"
#include "vault/tv_vault_trust.h"
#include "vault/tv_vault_internal.h"
#include "vault/tv_vault_role.h"

/* The statement at hand gives the authenticated user another password. */
static bool own_password = false;

static const char *const vault_roles[] = {"vault_admin", "vault_auditor", "vault_operator"};

static bool
is_vault_role(const char *name)
{
	for (int i = 0; name != NULL && i < lengthof(vault_roles); i++)
	{
		if (strcmp(name, vault_roles[i]) == 0)
			return true;
	}
	return false;
}

static void
require_admin(Oid role, const char *what)
{
	if (!OidIsValid(role) || !tv_vault_role_protected(role))
		return;
	if (tv_vault_is_admin())
	{
		tv_vault_refuse_borrowed(what);
		return;
	}
	tv_guard_refuse(psprintf("%s role \"%s\"", what, GetUserNameFromId(role, true)),
					"The vault gives it rights: a vault administrator can do it.");
}

static Oid
role_oid(const RoleSpec *role)
{
	return role == NULL ? InvalidOid : get_rolespec_oid(role, true);
}

/* --- GRANT of roles --- */

/* Does it grant or revoke the vault's roles, and nothing else? */
static bool
grants_vault_roles(const GrantRoleStmt *stmt, bool *any)
{
	bool		only = true;
	ListCell   *lc;

	*any = false;
	foreach(lc, stmt->granted_roles)
	{
		if (is_vault_role(((AccessPriv *) lfirst(lc))->priv_name))
			*any = true;
		else
			only = false;
	}
	return only && *any;
}

static bool
grants_admin(const GrantRoleStmt *stmt)
{
	return stmt->is_grant && list_length(stmt->granted_roles) == 1 &&
		list_length(stmt->grantee_roles) == 1 &&
		strcmp(((AccessPriv *) linitial(stmt->granted_roles))->priv_name, "vault_admin") == 0;
}

/* Would nobody be vault administrator afterwards? */
static void
check_last_admin(const GrantRoleStmt *stmt)
{
	Oid			admin = get_role_oid("vault_admin", true);
	ListCell   *lc;
	CatCList   *members;
	int			leaving = 0;
	int			remaining;

	if (stmt->is_grant || !OidIsValid(admin))
		return;
	foreach(lc, stmt->granted_roles)
	{
		if (strcmp(((AccessPriv *) lfirst(lc))->priv_name, "vault_admin") == 0)
			break;
	}
	if (lc == NULL || stmt->admin_opt)
		return;
	foreach(lc, stmt->grantee_roles)
	{
		if (SearchSysCacheExists2(AUTHMEMROLEMEM, ObjectIdGetDatum(admin),
								  ObjectIdGetDatum(role_oid(lfirst(lc)))))
			leaving++;
	}
	members = SearchSysCacheList1(AUTHMEMROLEMEM, ObjectIdGetDatum(admin));
	remaining = members->n_members - leaving;
	ReleaseSysCacheList(members);
	if (leaving == 0 || remaining > 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_ADMIN),
			 errmsg("the last vault administrator cannot be removed"),
			 errhint("Grant vault_admin to somebody else first.")));
}

/* Roles that see, or reach, data wherever it is. */
static bool
reaches_data(const char *name)
{
	static const char *const roles[] = {
		"pg_read_all_data", "pg_write_all_data", "pg_read_server_files",
		"pg_write_server_files", "pg_execute_server_program"
	};

	for (int i = 0; i < lengthof(roles); i++)
	{
		if (strcmp(name, roles[i]) == 0)
			return true;
	}
	return false;
}

/*
 * Who guards data does not get at it: a vault administrator is given no role
 * that reaches all of it, and takes none from others by being one.
 */
static void
check_given(const GrantRoleStmt *stmt)
{
	ListCell   *lc;
	bool		reaches = tv_vault_is_admin();
	bool		any;

	(void) grants_vault_roles(stmt, &any);
	foreach(lc, stmt->granted_roles)
		reaches |= reaches_data(((AccessPriv *) lfirst(lc))->priv_name);
	if (!stmt->is_grant || any || !reaches || !tv_vault_on())
		return;
	foreach(lc, stmt->grantee_roles)
	{
		Oid			grantee = role_oid(lfirst(lc));

		if (OidIsValid(grantee) && is_member_of_role_nosuper(grantee, tv_vault_admin_role()))
			tv_guard_refuse("granting roles to a vault administrator",
							"Whoever guards data does not get at it: grant it to another role.");
	}
}

static void
check_grant_role(const GrantRoleStmt *stmt)
{
	ListCell   *lc;
	bool		any;

	(void) grants_vault_roles(stmt, &any);
	if (any && !tv_vault_is_admin() && !(grants_admin(stmt) && tv_vault_may_name_admin()))
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_ADMIN),
				 errmsg("only a vault administrator can grant or revoke the vault's roles"),
				 errdetail("Superusers cannot, once the first administrator was named."),
				 errhint("Ask a member of vault_admin.")));
	if (any)
		tv_vault_refuse_borrowed(stmt->is_grant ? "GRANT" : "REVOKE");
	check_last_admin(stmt);
	check_given(stmt);
	foreach(lc, stmt->granted_roles)
	{
		const char *name = ((AccessPriv *) lfirst(lc))->priv_name;

		if (!is_vault_role(name))
			require_admin(get_role_oid(name, true), stmt->is_grant ? "granting" : "revoking");
	}
}

/*
 * Members of vault_admin grant the vault's roles, though the server would want
 * ADMIN OPTION or CREATEROLE of them, which would be worth more.
 */
bool
tv_guard_role_elevated(Node *stmt)
{
	bool		any;

	return IsA(stmt, GrantRoleStmt) && tv_vault_on() &&
		grants_vault_roles((GrantRoleStmt *) stmt, &any) && tv_vault_is_admin();
}

bool
tv_guard_role_names_admin(Node *stmt)
{
	return IsA(stmt, GrantRoleStmt) && tv_vault_on() && grants_admin((GrantRoleStmt *) stmt) &&
		!tv_vault_is_admin() && tv_vault_may_name_admin();
}

bool
tv_guard_role_exists(Node *stmt)
{
	const CreateRoleStmt *create = (const CreateRoleStmt *) stmt;

	if (!IsA(stmt, CreateRoleStmt) || !is_vault_role(create->role) || create->options != NIL ||
		!OidIsValid(get_role_oid(create->role, true)))
		return false;
	ereport(NOTICE,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("role \"%s\" exists already", create->role),
			 errdetail("Extension tde_vault made it.")));
	return true;
}

/* --- CREATE, ALTER, DROP --- */

static bool
changes_only_password(const AlterRoleStmt *stmt)
{
	return list_length(stmt->options) == 1 &&
		strcmp(((DefElem *) linitial(stmt->options))->defname, "password") == 0;
}

static void
check_alter_role(const AlterRoleStmt *stmt)
{
	Oid			role = role_oid(stmt->role);

	own_password = changes_only_password(stmt) && role == GetAuthenticatedUserId();
	if (!own_password)
		require_admin(role, "changing");
	else if (tv_vault_role_protected(role))
		tv_vault_refuse_borrowed("ALTER ROLE");
}

/*
 * A superuser's RESET ALL looks at no setting (GUCArrayReset in guc.c): it would
 * take back guarded ones, too.
 */
static void
check_reset_all(const VariableSetStmt *set)
{
	if (set->kind == VAR_RESET_ALL && tv_vault_on_anywhere() && !tv_vault_is_admin())
		tv_guard_refuse("resetting all settings of a role or database",
						"Name those that are to be reset, or let a vault administrator do it.");
}

/* What the sessions of many roles begin with: ALTER ROLE ALL, ALTER DATABASE. */
static void
check_common_setting(const VariableSetStmt *set)
{
	check_reset_all(set);
	if (set->name != NULL && tv_guard_setting_misleads(set->name) && tv_vault_on_anywhere() && !tv_vault_is_admin())
		tv_guard_refuse(psprintf("setting %s for sessions of every role", set->name),
						"Set it for the roles that need it, or let a vault administrator do it.");
}

/* ALTER ROLE of a role's settings: not what another role's session does. */
static void
check_alter_role_set(const AlterRoleSetStmt *stmt)
{
	Oid			role;

	if (stmt->role == NULL)
	{
		check_common_setting(stmt->setstmt);
		return;
	}
	check_reset_all(stmt->setstmt);
	role = role_oid(stmt->role);
	if (role != GetAuthenticatedUserId())
		require_admin(role, "changing settings of");
	else if (tv_vault_role_protected(role))
		tv_vault_refuse_borrowed("ALTER ROLE");
}

static void
require_admin_for(const List *roles, const char *what)
{
	ListCell   *lc;

	foreach(lc, roles)
		require_admin(role_oid(lfirst(lc)), what);
}

/* A role that is put into protected ones by its creation. */
static void
check_create_role(const CreateRoleStmt *stmt)
{
	ListCell   *lc;
	ListCell   *name;

	foreach(lc, stmt->options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "addroleto") != 0)
			continue;
		foreach(name, (List *) option->arg)
			require_admin(role_oid(lfirst(name)), "granting");
	}
}

/* From the ring of objects: the role was changed, or is about to be dropped. */
void
tv_guard_role_altered(Oid role)
{
	if (!(own_password && role == GetAuthenticatedUserId()))
		require_admin(role, "changing");
}

void
tv_guard_role_forget(void)
{
	own_password = false;
}

void
tv_guard_role_statement(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateRoleStmt:
			check_create_role((CreateRoleStmt *) stmt);
			break;
		case T_AlterRoleStmt:
			check_alter_role((AlterRoleStmt *) stmt);
			break;
		case T_AlterRoleSetStmt:
			check_alter_role_set((AlterRoleSetStmt *) stmt);
			break;
		case T_AlterDatabaseSetStmt:
			check_common_setting(((AlterDatabaseSetStmt *) stmt)->setstmt);
			break;
		case T_DropRoleStmt:
			require_admin_for(((DropRoleStmt *) stmt)->roles, "dropping");
			break;
		case T_GrantRoleStmt:
			check_grant_role((GrantRoleStmt *) stmt);
			break;
		case T_DropOwnedStmt:
			require_admin_for(((DropOwnedStmt *) stmt)->roles, "dropping what is owned by");
			break;
		case T_ReassignOwnedStmt:
			require_admin_for(((ReassignOwnedStmt *) stmt)->roles, "reassigning what is owned by");
			break;
		case T_RenameStmt:
			if (((RenameStmt *) stmt)->renameType == OBJECT_ROLE)
				require_admin(get_role_oid(((RenameStmt *) stmt)->subname, true), "renaming");
			break;
		default:
			break;
	}
}

void
tv_guard_role_granted(Node *node)
{
	const GrantRoleStmt *stmt = (const GrantRoleStmt *) node;
	bool		of_realm = false;
	ListCell   *lc;

	if (!stmt->is_grant || !tv_vault_on())
		return;
	foreach(lc, stmt->granted_roles)
		of_realm |= tv_vault_realms_of_role(get_role_oid(((AccessPriv *) lfirst(lc))->priv_name, true)) != NULL;
	if (!of_realm)
		return;
	foreach(lc, stmt->grantee_roles)
		tv_vault_warn_of_role(get_rolespec_oid(lfirst(lc), true), NULL);
}
