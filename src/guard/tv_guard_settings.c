/*
 * tv_guard_settings.c
 *	  Settings that would open a way around the vault.
 *
 * Every way to change a setting leads through set_config_option_ext() (guc.c):
 * SET, RESET, set_config(), UPDATE pg_settings, a function's SET clause, ALTER
 * ROLE and ALTER DATABASE SET (which try the value), and what a session starts
 * with.  object_access_hook_str sees two of them.  ALTER SYSTEM writes the file
 * without it, and is checked as a statement.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "attach/tv_attach.h"
#include "base/tv_report.h"
#include "guard/tv_guard_internal.h"

#define OUR_PREFIX "tde_vault."

/* What our own code sets for a statement, and what opens nothing. */
static const char *const harmless[] = {"tde_vault.cipher", "tde_vault.unlock_ticket"};

static const char *const guarded[] = {
	/* code that the server or a session loads or runs */
	"shared_preload_libraries", "session_preload_libraries", "local_preload_libraries",
	"dynamic_library_path", "jit_provider", "archive_command", "archive_library",
	"archive_cleanup_command", "recovery_end_command", "restore_command",
	"ssl_passphrase_command", "ssl_passphrase_command_supports_reload",
	"basebackup_to_shell.command", "output_plugin_libraries", "extension_destdir",
	"plperl.on_init", "plperl.on_plperl_init", "plperl.on_plperlu_init",
	"pltcl.start_proc", "pltclu.start_proc", "pljava.libjvm_location", "pljava.vmoptions",
	"pljava.module_path", "pljava.classpath", "pljava.policy_urls",
	/* files that it reads and writes as itself */
	"data_directory", "config_file", "hba_file", "ident_file", "external_pid_file",
	"log_directory", "log_filename", "krb_server_keyfile", "ssl_key_file",
	"basic_archive.archive_directory", "promote_trigger_file", "jit_dump_bitcode",
	/* rows of parallel queries in files, in the clear */
	"dynamic_shared_memory_type",
	/* who is let in as whom */
	"ssl_ca_file", "ssl_cert_file", "ssl_crl_file", "ssl_crl_dir", "db_user_namespace",
	"krb_caseins_users",
	/* a password as md5 is as good as the password, to who reads pg_authid */
	"password_encryption",
	/* who listens to a password on its way, and whose log a standby replays */
	"ssl", "ssl_min_protocol_version", "ssl_ciphers", "primary_conninfo",
	/* whether what it says is on disk is on disk: also the audit log */
	"fsync", "data_sync_retry",
	/* checks that it would leave out */
	"allow_system_table_mods", "session_replication_role", "ignore_system_indexes",
	"zero_damaged_pages", "ignore_checksum_failure", "ignore_invalid_pages",
	"composite_type_mismatch",	/* a value of one row type read as another reads any memory */
	/* what it tells of rows and statements */
	"debug_print_parse", "debug_print_rewritten", "debug_print_plan"
};

static int	(*next_set_option) (const char *name, const char *value, GucContext context,
								GucSource source, Oid srole, GucAction action, bool changeVal,
								int elevel, bool is_reload);

static bool
is_in(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (pg_strcasecmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

static bool
is_guarded(const char *name)
{
	if (pg_strncasecmp(name, OUR_PREFIX, strlen(OUR_PREFIX)) == 0)
		return !is_in(name, harmless, lengthof(harmless));
	return is_in(name, guarded, lengthof(guarded));
}

/* A safeguard that is switched on: so a database's or role's own setting goes on binding. */
static bool
is_stricter(const char *name, const char *value)
{
	bool		on;

	return value != NULL && pg_strcasecmp(name, "tde_vault.enforce_encryption") == 0 &&
		parse_bool(value, &on) && on;
}

/* Does the value come from a session, or from what is kept for roles and databases? */
static bool
is_from_sql(GucSource source)
{
	switch (source)
	{
		case PGC_S_DATABASE:
		case PGC_S_USER:
		case PGC_S_DATABASE_USER:
		case PGC_S_GLOBAL:
		case PGC_S_CLIENT:
		case PGC_S_INTERACTIVE:
		case PGC_S_TEST:
		case PGC_S_SESSION:
			return true;
		case PGC_S_DEFAULT:
		case PGC_S_DYNAMIC_DEFAULT:
		case PGC_S_ENV_VAR:
		case PGC_S_FILE:
		case PGC_S_ARGV:
		case PGC_S_OVERRIDE:
			return false;
	}
	return true;
}

/* The value that it has already is no change: scripts set what they need. */
static bool
is_same(const char *name, const char *value)
{
	const char *now = GetConfigOption(name, true, false);

	return value != NULL && now != NULL && strcmp(now, value) == 0;
}

static void
refuse(const char *name, int level)
{
	if (level >= ERROR && IsTransactionState())
		tv_guard_audit_refusal(psprintf("setting %s", name));
	ereport(level,
			(errcode(ERRCODE_TV_VAULT_ADMIN),
			 errmsg("setting \"%s\" cannot be changed while a vault is on", name),
			 errdetail("This binds superusers, too."),
			 errhint("Change the server's configuration file, or let a vault administrator do it.")));
}

static int
level_of(GucSource source, int elevel)
{
	if (elevel != 0)
		return elevel;
	switch (source)
	{
		case PGC_S_GLOBAL:
		case PGC_S_DATABASE:
		case PGC_S_USER:
		case PGC_S_DATABASE_USER:
			return WARNING;		/* as the server: a session can still begin */
		default:
			return ERROR;
	}
}

static int
set_option(const char *name, const char *value, GucContext context, GucSource source,
		   Oid srole, GucAction action, bool changeVal, int elevel, bool is_reload)
{
	if (unlikely(tv_vault_on_anywhere()) && is_from_sql(source) && !IsParallelWorker() &&
		!InitializingParallelWorker)
	{
		if (is_guarded(name) && !is_same(name, value) && !is_stricter(name, value) &&
			!(IsTransactionState() && tv_vault_is_admin()))
		{
			refuse(name, level_of(source, elevel));
			return 0;
		}
		/* a function's own SET clause ends with it */
		if (changeVal && source == PGC_S_SESSION && action != GUC_ACTION_SAVE &&
			tv_guard_setting_misleads(name) && IsTransactionState() && tv_vault_user_has_place())
			tv_guard_check_left(GetAuthenticatedUserId(), psprintf("setting %s", name));
		if (changeVal && source == PGC_S_SESSION &&
			(pg_strcasecmp(name, "role") == 0 || pg_strcasecmp(name, "session_authorization") == 0))
			tv_vault_lock_session();
	}
	return next_set_option(name, value, context, source, srole, action, changeVal, elevel, is_reload);
}

bool
tv_guard_setting_misleads(const char *name)
{
	static const char *const names[] = {"search_path", "role", "session_authorization"};

	return is_in(name, names, lengthof(names));
}

void
tv_guard_alter_system(Node *stmt)
{
	const VariableSetStmt *set = ((AlterSystemStmt *) stmt)->setstmt;

	if (tv_vault_is_admin())
		return;
	if (set->kind == VAR_RESET_ALL)
		refuse("ALL", ERROR);
	if (set->name != NULL && is_guarded(set->name))
		refuse(set->name, ERROR);
	if (set->name != NULL && tv_guard_setting_misleads(set->name))
		tv_guard_refuse(psprintf("setting %s for sessions of every role", set->name),
						"Set it for the roles that need it, or let a vault administrator do it.");
}

/*
 * The vault's settings are its administrators' to change, though the server
 * would want a superuser.
 */
bool
tv_guard_settings_elevated(Node *stmt)
{
	const VariableSetStmt *set;

	if (!IsA(stmt, AlterSystemStmt))
		return false;
	set = ((AlterSystemStmt *) stmt)->setstmt;
	return set->name != NULL && pg_strncasecmp(set->name, OUR_PREFIX, strlen(OUR_PREFIX)) == 0 &&
		pg_strcasecmp(set->name, "tde_vault.key_provider") != 0 &&	/* names a library to load */
		tv_vault_is_admin();
}

void
tv_guard_settings_init(void)
{
	next_set_option = tv_attach_detour((void *) set_config_option_ext, "set_config_option_ext",
									   (void *) set_option);
}
