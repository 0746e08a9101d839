/*
 * tv_vault_objects.h
 *	  Objects and modes as statements of the vault name them.
 */
#ifndef TV_VAULT_OBJECTS_H
#define TV_VAULT_OBJECTS_H

#include "vault/tv_vault_internal.h"

/* A table or schema that can be protected, locked (a table); throws if not. */
extern Oid	tv_vault_table_named(const char *name);
extern Oid	tv_vault_schema_named(const char *name);

/* enable, disable, simulate */
extern TvVaultMode tv_vault_mode_named(const char *mode);

#endif							/* TV_VAULT_OBJECTS_H */
