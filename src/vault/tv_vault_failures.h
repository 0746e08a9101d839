/*
 * tv_vault_failures.h
 *	  Wrong vault passwords: counted, and the user locked out.
 */
#ifndef TV_VAULT_FAILURES_H
#define TV_VAULT_FAILURES_H

#include "vault/tv_vault_internal.h"

/*
 * An attempt of the authenticated user on the realm begins: it counts as a
 * failure until it succeeds, durably, so that killing the session gains
 * nothing.  Throws when the user is locked out, or when that cannot be kept.
 * Returns how many failures there are now.
 */
extern int	tv_vault_attempt_begin(uint32 realm, const char *name);

/* It succeeded: the user starts afresh. */
extern void tv_vault_attempt_succeeded(uint32 realm);

/* The user got a new password. */
extern void tv_vault_attempts_forgive(uint32 realm, Oid user);

/* Does the attempt lock the user out? */
extern bool tv_vault_attempt_locks_out(int failures);

extern void tv_vault_failures_init(void);

#endif							/* TV_VAULT_FAILURES_H */
