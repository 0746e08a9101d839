/*
 * tv_guard_log.c
 *	  The audit log is for auditors, not for code of others that they run.
 *
 * Its lines are as a realm's rows, in which who may read the log has a place:
 * code of others neither reads it with an auditor's right, nor is given what the
 * auditor has read.
 */
#include "postgres.h"

#include "utils/lsyscache.h"

#include "base/tv_report.h"
#include "guard/tv_guard.h"
#include "guard/tv_guard_internal.h"

void
tv_guard_refuse_log(Oid function)
{
	const char *name = get_func_name(function);

	tv_guard_audit_refusal(psprintf("function %s() on lines of the audit log", name));
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_ADMIN),
			 errmsg("function \"%s\" may not have lines of the audit log", name),
			 errdetail("Neither is it yours, nor may its owner read the log."),
			 errhint("Call it in a transaction of its own, or let a member of vault_auditor own it.")));
}

/*
 * Where no vault is on nothing is known of the functions that run, and a
 * superuser can make anything of the log's view.
 */
static void
refuse_database(void)
{
	tv_guard_audit_refusal("reading the audit log in a database without a vault");
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_ADMIN),
			 errmsg("the audit log is not read in this database while a vault is on in another"),
			 errdetail("Code of a superuser could read it here with your right."),
			 errhint("Connect to the database of the vault.")));
}

void
tv_guard_require_log(void)
{
	Oid			function;

	if (!tv_vault_on_anywhere())
		return;
	if (!tv_vault_on())
		refuse_database();
	function = tv_guard_untrusted_function(TV_REALM_AUDIT_LOG);
	if (OidIsValid(function))
		tv_guard_refuse_log(function);
	if (tv_guard_runs_others_for_log())
	{
		tv_guard_audit_refusal("reading the audit log with a view, rule or policy of somebody else");
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_ADMIN),
				 errmsg("the audit log is not read by a statement with a view, rule or policy of somebody else"),
				 errdetail("It could take lines of the log elsewhere with your right."),
				 errhint("Read tde_vault.audit_log by itself, or let a member of vault_auditor own the view.")));
	}
	tv_guard_carry_log();
}
