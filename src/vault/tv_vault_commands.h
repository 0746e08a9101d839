/*
 * tv_vault_commands.h
 *	  The statements of the vault, as functions (contrib/doc/language.md).
 *
 * Each checks the rights of the authenticated user, throws ERROR when it
 * refuses, and then has changed nothing.  Changes are those of the
 * transaction (tv_vault_change.c).  Names of realms, rules and roles are plain
 * names; tables and schemas are SQL identifiers, quoted where need be.
 */
#ifndef TV_VAULT_COMMANDS_H
#define TV_VAULT_COMMANDS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"

#include "vault/tv_vault_verifier.h"

/* --- tv_vault_switch.c; database: NULL, or that of this session --- */
extern void tv_vault_enable(const char *database);
extern void tv_vault_disable(const char *database);

/* --- tv_vault_realm.c; lists are of C strings --- */
typedef struct TvNewRealm
{
	const char *name;
	const char *description;	/* or NULL */
	const char *owner;			/* NULL: the authenticated user */
	bool		require_password;
	bool		simulate;
	bool		if_not_exists;
} TvNewRealm;

extern void tv_vault_create_realm(const TvNewRealm *realm);
extern void tv_vault_drop_realm(const char *realm, bool if_exists);
extern void tv_vault_realm_add(const char *realm, List *tables, List *schemas);
extern void tv_vault_realm_remove(const char *realm, List *tables, List *schemas);
extern void tv_vault_realm_owner(const char *realm, const char *owner);
extern void tv_vault_realm_description(const char *realm, const char *description);
extern void tv_vault_realm_mode(const char *realm, const char *mode);
extern void tv_vault_realm_authorize(const char *realm, List *roles);
extern void tv_vault_realm_revoke(const char *realm, List *roles);

/* --- tv_vault_password.c --- */

/*
 * password NULL: one is generated and returned, to be wiped by the caller;
 * else NULL is returned.  valid_for NULL: without end.
 */
extern char *tv_vault_grant_password(const char *realm, const char *role,
									 const char *password, const Interval *valid_for);
extern void tv_vault_revoke_password(const char *realm, const char *role);
extern void tv_vault_unlock_realm(const char *realm, const char *password);

/* Unlock without a password in SQL; see tv_vault_verifier.h. */
typedef struct TvChallenge
{
	uint8		salt[TV_VAULT_SALT_LEN];
	uint8		nonce[TV_VERIFIER_NONCE_LEN];
	char		params[64];
} TvChallenge;

extern void tv_vault_unlock_challenge(const char *realm, TvChallenge *out);
extern void tv_vault_unlock_response(const char *realm, const uint8 *proof, size_t len);

/* realm NULL: all. */
extern void tv_vault_lock_realm(const char *realm);

/* --- tv_vault_emergency.c --- */

/* Returns the number of the request. */
extern uint64 tv_vault_emergency_unlock(const char *realm, const char *authorized_by,
										const char *reason, const Interval *valid_for);
extern void tv_vault_approve_emergency(uint64 id);
extern void tv_vault_review_emergency(uint64 id, const char *note);

/* --- tv_vault_recovery.c --- */

/* Make n shares (palloc'ed texts) of which m are needed. */
extern void tv_vault_create_shares(int m, int n, char **out);
/* With the texts of m shares: that role is vault administrator. */
extern void tv_vault_recover_admin(List *shares, const char *new_admin);

/* --- tv_vault_rule.c; lists are of C strings --- */
typedef struct TvNewRule
{
	const char *name;
	List	   *actions;
	const char *kind;			/* table, column, schema, realm, database */
	const char *object;
	List	   *roles;			/* NIL: everybody */
	const char *condition;		/* or NULL */
	const char *message;		/* or NULL */
	bool		simulate;
	bool		if_not_exists;
} TvNewRule;

extern void tv_vault_create_rule(const TvNewRule *rule);
extern void tv_vault_alter_rule(const char *rule, const char *mode);
extern void tv_vault_drop_rule(const char *rule, bool if_exists);

#endif							/* TV_VAULT_COMMANDS_H */
