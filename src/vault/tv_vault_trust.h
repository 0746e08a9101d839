/*
 * tv_vault_trust.h
 *	  What the vault trusts with rows of realms, because it was there before.
 */
#ifndef TV_VAULT_TRUST_H
#define TV_VAULT_TRUST_H

#include "postgres.h"

/*
 * Why may an object of pg_proc or pg_class be given rows of realms: a text in
 * the current memory context, or NULL if it may not, or is the server's own.
 */
extern char *tv_vault_trust_of(Oid class, Oid object);

/* WARNINGs: role gets a place in the realm (NULL: in those of a group); table joins one. */
extern void tv_vault_warn_of_role(Oid role, const char *realm);
extern void tv_vault_warn_of_table(Oid table);

#endif							/* TV_VAULT_TRUST_H */
