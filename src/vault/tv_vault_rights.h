/*
 * tv_vault_rights.h
 *	  What the vault's statements have in common: rights, and looking up.
 */
#ifndef TV_VAULT_RIGHTS_H
#define TV_VAULT_RIGHTS_H

#include "vault/tv_vault_internal.h"

/* Throw unless the authenticated user is a vault administrator. */
extern void tv_vault_require_admin(const char *command);

/* The same, or owner of the realm. */
extern void tv_vault_require_owner(const TvRealm *realm, const char *command);

/* Begin to change the policy of an enabled vault. */
extern TvPolicy *tv_vault_begin_command(const char *command);

/* The realm of that name; throws if there is none. */
extern TvRealm *tv_vault_find_realm(TvPolicy *policy, const char *name);

/* The role of that name, never PUBLIC; throws if there is none. */
extern Oid	tv_vault_find_role(const char *name);

/*
 * Role gets a place in the policy: it is not dropped before the transaction
 * ends, and not at all after that.  Returns it; throws if it is gone.
 */
extern Oid	tv_vault_keep_role(Oid role);

/* Throw if the name cannot be that of a realm or rule. */
extern void tv_vault_check_name(const char *kind, const char *name);

/* Throw if the text is too long to be kept. */
extern void tv_vault_check_text(const char *kind, const char *text);

/* A copy in the policy's memory. */
extern char *tv_vault_keep_text(TvPolicy *policy, const char *text);

/* Throw that. */
extern void tv_vault_out_of_memory(void) pg_attribute_noreturn();

/* Throw what a status says went wrong in this or that. */
extern void tv_vault_check_status(TvStatus status, const char *what);

#endif							/* TV_VAULT_RIGHTS_H */
