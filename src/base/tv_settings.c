/*
 * tv_settings.c
 *	  The settings tde_vault.*
 */
#include "base/tv_settings.h"

#include <limits.h>

#include "utils/guc.h"

/*
 * Values are those of TvCipher (crypto/tv_cipher.h), which lies above this
 * layer; a static assertion in src/tde_vault.c keeps them together.
 */
#define SETTING_CIPHER_GCM 1
#define SETTING_CIPHER_CHACHA20 2
#define SETTING_CIPHER_CTR 3
#define SETTING_CIPHER_XTS 4

char	   *tv_setting_key_provider = NULL;
char	   *tv_setting_unlock_ticket = NULL;
int			tv_setting_cipher = SETTING_CIPHER_GCM;
bool		tv_setting_enforce_encryption = false;
char	   *tv_setting_tablespace_root = NULL;
int			tv_setting_max_relation_files = 1000000;
int			tv_setting_provider_timeout = 10000;
int			tv_setting_unlock_timeout = 8 * 3600;
int			tv_setting_password_memory = 64 * 1024;
int			tv_setting_max_failed_unlocks = 5;
int			tv_setting_lockout_time = 15 * 60;
char	   *tv_setting_audit_directory = NULL;
int			tv_setting_audit_file_size = 64 * 1024;
bool		tv_setting_audit_reads = false;
bool		tv_setting_audit_writes = false;
bool		tv_setting_audit_ddl = true;
bool		tv_setting_audit_realm_reads = true;

int			tv_setting_max_workers = 2;
int			tv_setting_worker_cost_limit = 500;
int			tv_setting_worker_cost_delay = 10;
int			tv_setting_key_rotation_days = 0;

static const struct config_enum_entry cipher_options[] = {
	{"aes-256-gcm", SETTING_CIPHER_GCM, false},
	{"aes256", SETTING_CIPHER_GCM, true},
	{"chacha20-poly1305", SETTING_CIPHER_CHACHA20, false},
	{"aes-256-ctr", SETTING_CIPHER_CTR, false},
	{"aes-256-xts", SETTING_CIPHER_XTS, false},
	{NULL, 0, false}
};

/* A secret, for a short time. */
static const char *
show_nothing(void)
{
	return "";
}

static void
define_encryption(void)
{
	DefineCustomStringVariable("tde_vault.key_provider",
							   "URI of the default key provider.",
							   "For example pkcs11:token=NAME?module-path=PATH&pin-source=file:PATH",
							   &tv_setting_key_provider,
							   "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomEnumVariable("tde_vault.cipher",
							 "Cipher of tables encrypted from now on.",
							 NULL,
							 &tv_setting_cipher,
							 SETTING_CIPHER_GCM, cipher_options,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("tde_vault.enforce_encryption",
							 "Refuse to create a permanent table that is not encrypted.",
							 NULL,
							 &tv_setting_enforce_encryption,
							 false,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("tde_vault.tablespace_root",
							   "Where encrypted tablespaces lie that are made without LOCATION.",
							   "Empty: in a directory beside the data directory, of its name and \"_tablespaces\".",
							   &tv_setting_tablespace_root,
							   "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("tde_vault.max_relation_files",
							"How many relation files can be encrypted in this cluster.",
							"Address space is reserved for that many; memory is used by those that exist.",
							&tv_setting_max_relation_files,
							1000000, 1000, INT_MAX / 256,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("tde_vault.provider_timeout",
							"Longest wait for one call of a key provider.",
							NULL,
							&tv_setting_provider_timeout,
							10000, 100, 600000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
}

static void
define_vault(void)
{
	DefineCustomIntVariable("tde_vault.unlock_timeout",
							"A realm that a session has unlocked locks itself again after that time.",
							NULL,
							&tv_setting_unlock_timeout,
							8 * 3600, 1, 7 * 24 * 3600,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("tde_vault.password_memory",
							"Memory that checking a vault password takes.",
							"Passwords that were stored with less are stored anew when a realm is unlocked with them.",
							&tv_setting_password_memory,
							64 * 1024, 19 * 1024, 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("tde_vault.max_failed_unlocks",
							"That many wrong vault passwords lock a user out of a realm.",
							NULL,
							&tv_setting_max_failed_unlocks,
							5, 1, 1000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("tde_vault.lockout_time",
							"For how long a user is locked out of a realm.",
							NULL,
							&tv_setting_lockout_time,
							15 * 60, 1, 30 * 24 * 3600,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomStringVariable("tde_vault.unlock_ticket",
							   "Unlock ticket, given when a session is started.",
							   "Made by tde_vault.create_unlock_ticket(), for programs such as pg_dump.",
							   &tv_setting_unlock_ticket,
							   NULL,
							   PGC_BACKEND,
							   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   NULL, NULL, show_nothing);
}

/* None is for SET: what is audited is not the session's to decide. */
static void
define_audit(void)
{
	DefineCustomStringVariable("tde_vault.audit_directory",
							   "Directory of the audit log.",
							   "A relative path is taken from the data directory.",
							   &tv_setting_audit_directory,
							   "tde_vault/audit",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("tde_vault.audit_file_size",
							"Size of a file of the audit log before the next is begun.",
							"A new day, in UTC, also begins a new one.",
							&tv_setting_audit_file_size,
							64 * 1024, 1024, 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("tde_vault.audit_reads",
							 "Audit reads of tables outside realms.",
							 "Inside realms they are, unless tde_vault.audit_realm_reads is off.",
							 &tv_setting_audit_reads,
							 false,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("tde_vault.audit_realm_reads",
							 "Audit reads that a realm allows.",
							 "Reads that it refuses, and those by an emergency unlock, always are.",
							 &tv_setting_audit_realm_reads,
							 true,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("tde_vault.audit_writes",
							 "Audit changes of rows of tables outside realms.",
							 "Inside realms everything is audited.",
							 &tv_setting_audit_writes,
							 false,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("tde_vault.audit_ddl",
							 "Audit statements that define or change objects outside realms, while a vault is on.",
							 "Inside realms everything is audited.",
							 &tv_setting_audit_ddl,
							 true,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
}

static void
define_worker(void)
{
	DefineCustomIntVariable("tde_vault.max_workers",
							"How many background workers encrypt, decrypt and rotate at a time.",
							"They count towards max_worker_processes.",
							&tv_setting_max_workers,
							2, 0, 64,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("tde_vault.worker_cost_limit",
							"Cost after which a background worker rests.",
							"Looking at a page costs 1, writing it anew 20 more.",
							&tv_setting_worker_cost_limit,
							500, 1, 1000000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("tde_vault.worker_cost_delay",
							"How long a background worker rests; 0: not at all.",
							NULL,
							&tv_setting_worker_cost_delay,
							10, 0, 10000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("tde_vault.key_rotation_days",
							"Rotate table keys that are older than so many days; 0: not by itself.",
							NULL,
							&tv_setting_key_rotation_days,
							0, 0, 36500,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
}

void
tv_settings_init(void)
{
	define_encryption();
	define_vault();
	define_audit();
	define_worker();
	MarkGUCPrefixReserved("tde_vault");
}
