/*
 * tv_audit_file.h
 *	  What those who write the audit log share: the file that it goes on in.
 */
#ifndef TV_AUDIT_FILE_H
#define TV_AUDIT_FILE_H

#include "audit/tv_audit_internal.h"

#include "port/atomics.h"

#define TV_AUDIT_FAILURES_KEPT 64

typedef struct TvAuditShared
{
	/* under TV_LOCK_AUDIT */
	TvAuditEnd	end;			/* file 0: this run wrote nothing yet */
	TimestampTz opened;			/* when the file was begun */
	TimestampTz looked;			/* when it was last seen under its name */
	bool		partial;		/* part of a line may stand behind the end */
	bool		reopen;			/* changed from outside: look at the disk again */
	bool		sync_failed;	/* no more lines into this file */
	uint64		failed_at[TV_AUDIT_FAILURES_KEPT];	/* what was durable when a sync failed */

	pg_atomic_uint64 synced;	/* lines up to this one are durable */
	pg_atomic_uint32 failures;	/* of syncs */
} TvAuditShared;

extern TvAuditShared *tv_audit_shared;

/* This process's descriptor of the current file; -1: it has none. */
extern int	tv_audit_fd;

/* --- tv_audit_file.c: the current file --- */

/* TV_ERR_IO from errno: could not "what" audit file "path". */
extern TvStatus tv_audit_file_error(TvError *err, const char *what, const char *path);

/* Have the file of end open in this process: that file, not one in its place. */
extern TvStatus tv_audit_file_open(const TvAuditEnd *end, TvError *err);

/*
 * Is the file that we have open still the one under its name, and as long as
 * we left it?  If not, it is closed, and the next event begins another.
 * durable: the line that follows must be.  The caller holds TV_LOCK_AUDIT.
 */
extern TvStatus tv_audit_file_check(bool durable, TimestampTz now, TvError *err);

/*
 * A sync of the current file failed: what it had not made durable may be lost.
 * The caller holds TV_LOCK_AUDIT.
 */
extern void tv_audit_file_failed(void);

/* --- tv_audit_next.c: beginning a file; the caller holds TV_LOCK_AUDIT --- */

/* The first event after a start, or after the log was changed from outside. */
extern TvStatus tv_audit_begin_log(uint64 key, TvError *err);

/* Go on in a new file. */
extern TvStatus tv_audit_next_file(uint64 key, TvError *err);

#endif							/* TV_AUDIT_FILE_H */
