/*
 * tv_settings.h
 *	  The settings tde_vault.*
 */
#ifndef TV_SETTINGS_H
#define TV_SETTINGS_H

#include "postgres.h"

/* URI of the provider of master keys that name none of their own. */
extern char *tv_setting_key_provider;

/* Cipher (TvCipher) of tables encrypted from now on. */
extern int	tv_setting_cipher;

/* Refuse to create a permanent table that is not encrypted. */
extern bool tv_setting_enforce_encryption;

/* Where tablespaces lie that name no place; empty: beside the data directory. */
extern char *tv_setting_tablespace_root;

/* How many relation files can be encrypted in this cluster. */
extern int	tv_setting_max_relation_files;

/* Longest wait for one call of a key provider, in milliseconds. */
extern int	tv_setting_provider_timeout;

/* A realm that was unlocked locks itself again after that many seconds. */
extern int	tv_setting_unlock_timeout;

/* Memory that checking a vault password takes, in kB. */
extern int	tv_setting_password_memory;

/* That many wrong passwords lock a user out of a realm, for seconds. */
extern int	tv_setting_max_failed_unlocks;
extern int	tv_setting_lockout_time;

/* Where the audit log is; relative to the data directory, or absolute. */
extern char *tv_setting_audit_directory;

/* Size of a file of the audit log before the next is begun, in kB. */
extern int	tv_setting_audit_file_size;

/* Audit what happens to tables outside realms? */
extern bool tv_setting_audit_reads;
extern bool tv_setting_audit_writes;
extern bool tv_setting_audit_ddl;

/* Audit reads that a realm allows?  Refusals and emergencies always are. */
extern bool tv_setting_audit_realm_reads;

/* Background work: workers at a time, and how they rest, as vacuum does. */
extern int	tv_setting_max_workers;
extern int	tv_setting_worker_cost_limit;
extern int	tv_setting_worker_cost_delay;

/* Table keys older than that many days are rotated; 0: not. */
extern int	tv_setting_key_rotation_days;

/* With which a session was started, or NULL: tde_vault.create_unlock_ticket(). */
extern char *tv_setting_unlock_ticket;

/* Define the settings.  In _PG_init only. */
extern void tv_settings_init(void);

#endif							/* TV_SETTINGS_H */
