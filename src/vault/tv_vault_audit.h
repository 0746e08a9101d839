/*
 * tv_vault_audit.h
 *	  What the vault writes into the audit log.
 */
#ifndef TV_VAULT_AUDIT_H
#define TV_VAULT_AUDIT_H

#include "vault/tv_vault_internal.h"

#include "audit/tv_audit.h"

/*
 * A statement changes the policy, once its transaction commits: command, of
 * what realm (or NULL), about what (or NULL).  Durable; throws if that fails.
 */
extern void tv_vault_audit_change(const char *command, const char *realm, const char *object);

/*
 * The end of the transaction: the changes are in force, or are not; or those
 * since a savepoint are not.
 */
extern void tv_vault_audit_committed(uint64 number);
extern void tv_vault_audit_rolled_back(bool savepoint);

/* The user may not do that. Throws only if it cannot be written. */
extern void tv_vault_audit_refused(const char *command, const char *realm, const char *why);

/* UNLOCK and what comes of it; reason may be NULL. */
extern void tv_vault_audit_unlock(const char *realm, TvAuditSeverity severity,
								  TvAuditResult result, const char *reason);
extern void tv_vault_audit_lock(const char *realm);

/*
 * An unlock, or the emergency of that id (0: an unlock), has run out, and the
 * session was about to use it.
 */
extern void tv_vault_audit_expired(const char *realm, uint64 emergency);

/* A step of an emergency: request, approval, review; reason in the user's words. */
extern void tv_vault_audit_emergency(const char *step, const TvEmergency *emergency, const char *reason);

/* Recovery shares make somebody a vault administrator. */
extern void tv_vault_audit_recovery(const char *admin);

/* An answer that is about to be enforced. */
extern void tv_vault_audit_answer(const TvAnswer *answer, const char *object, TvAction action);

#endif							/* TV_VAULT_AUDIT_H */
