/*
 * tv_audit_verify.h
 *	  Reading the audit log: its lines, and whether they are all there.
 */
#ifndef TV_AUDIT_VERIFY_H
#define TV_AUDIT_VERIFY_H

#include "postgres.h"

#include "base/tv_status.h"

/* What checking the whole log gave. */
typedef struct TvAuditCheck
{
	bool		ok;
	uint64		records;		/* right ones, before the first bad one */
	char		first_bad[64];	/* event id, or empty */
	char		reason[512];	/* what is bad or, if nothing is, worth knowing; or empty */
} TvAuditCheck;

/*
 * Check the chain through all files, in constant memory, while others write.
 * Fails only if files cannot be read or keys not be had.
 */
extern TvStatus tv_audit_check(TvAuditCheck *check, TvError *err);

/*
 * Called for each line.  right: its chain value is; a line that is not may say
 * anything.  The text (len bytes, UTF-8 when right) is good during the call.
 */
typedef void (*TvAuditVisit) (const char *file, uint64 offset, const char *text,
							  size_t len, bool right, void *arg);

/* Read all lines in order, up to what was written when this began. */
extern TvStatus tv_audit_read(TvAuditVisit visit, void *arg, TvError *err);

#endif							/* TV_AUDIT_VERIFY_H */
