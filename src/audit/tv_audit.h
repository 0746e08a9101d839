/*
 * tv_audit.h
 *	  The audit log: one entry point.
 *
 * An event is a JSON object on a line of its own in a file below
 * tde_vault.audit_directory, chained to the line before it by an HMAC.  It is
 * written outside the transaction: ROLLBACK, a crash or the end of the session
 * do not take it back.
 */
#ifndef TV_AUDIT_H
#define TV_AUDIT_H

#include "postgres.h"

typedef enum TvAuditSeverity
{
	TV_AUDIT_INFO,
	TV_AUDIT_NOTICE,
	TV_AUDIT_WARNING,
	TV_AUDIT_CRITICAL
} TvAuditSeverity;

typedef enum TvAuditResult
{
	TV_AUDIT_ALLOWED,
	TV_AUDIT_DENIED,
	TV_AUDIT_SIMULATED,			/* would have been denied */
	TV_AUDIT_FAILED,
	TV_AUDIT_SUCCESS
} TvAuditResult;

/*
 * An event.  Strings are in the database's encoding and are copied; NULL where
 * there is nothing to say.  Never holds a password, a key or a row.
 */
typedef struct TvAuditEvent
{
	const char *type;			/* upper case, e.g. REALM_ACCESS, UNLOCK, POLICY_CHANGE */
	TvAuditSeverity severity;
	TvAuditResult result;
	const char *realm;
	const char *object;			/* schema-qualified */
	const char *action;			/* SELECT, DROP, ... */
	const char *reason;			/* why allowed or denied */
	const char *detail;			/* more, as the text of a JSON object */
} TvAuditEvent;

/*
 * Write an event: user (authenticated and current), address, session, time and
 * database are added here.  Returns when it is durable (durable) or at least
 * in the server's hands.  Throws ERROR when it cannot be written, so whatever
 * it is about must not have happened yet: fail closed.  Takes
 * TV_LOCK_AUDIT; not in critical sections.
 */
extern void tv_audit(const TvAuditEvent *event, bool durable);

/*
 * The same for what has happened already, or where throwing is not possible
 * (commit callbacks, background processes): a failure is a WARNING.  False on
 * failure.
 */
extern bool tv_audit_nothrow(const TvAuditEvent *event, bool durable);

/*
 * Tell the keyring how far the log has got, so that a log that is put back as
 * it was before is noticed.  now: if that has moved; else if it is due, too.
 * Does not throw; false (and a message in the server's log) if it could not.
 * A sync of the log, one of the keyring, one of WAL.
 */
extern bool tv_audit_anchor(bool now);

/*
 * A server that was started from a base backup begins its series, so that
 * after the next start it is known which log is its own.  Does not throw.
 */
extern void tv_audit_begin_copy(void);

/* In _PG_init. */
extern void tv_audit_init(void);

#endif							/* TV_AUDIT_H */
