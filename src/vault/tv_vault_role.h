/*
 * tv_vault_role.h
 *	  Roles of the vault, for the statements that change it.
 */
#ifndef TV_VAULT_ROLE_H
#define TV_VAULT_ROLE_H

#include "postgres.h"

/* OID of vault_admin, or InvalidOid. */
extern Oid	tv_vault_admin_role(void);

/* Do recovery shares name an administrator at the moment (tv_vault_recovery.c)? */
extern bool tv_vault_recovering(void);

/* Is anybody a direct member of the role? */
extern bool tv_vault_has_members(Oid role);

#endif							/* TV_VAULT_ROLE_H */
