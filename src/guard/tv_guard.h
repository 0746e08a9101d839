/*
 * tv_guard.h
 *	  The vault's rings around a session's statements.
 */
#ifndef TV_GUARD_H
#define TV_GUARD_H

#include "postgres.h"

#include "fmgr.h"

/*
 * Install all rings.  In _PG_init only, after the vault's own init, and last of
 * all that installs hooks or defines settings: what runs first must be the
 * guard.
 */
extern void tv_guard_init(void);

/*
 * May the session see values of this table, or of this object of CREATE
 * STATISTICS, in the planner's statistics?  The qualification that scans of the
 * catalogs get.
 */
extern bool tv_guard_statistics_visible(Oid relid);
extern bool tv_guard_extended_statistics_visible(Oid statistics);

/*
 * The session, whose user may, is about to be given the audit log: throw if code
 * of somebody who may not has a part in that.
 */
extern void tv_guard_require_log(void);

/* Throw unless the user wrote that call: what it does uses the user's rights. */
extern void tv_guard_require_written(const FmgrInfo *flinfo, const char *command);

#endif							/* TV_GUARD_H */
