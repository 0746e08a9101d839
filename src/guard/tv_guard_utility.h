/*
 * tv_guard_utility.h
 *	  Statements that concern encryption beyond the files they touch.
 */
#ifndef TV_GUARD_UTILITY_H
#define TV_GUARD_UTILITY_H

#include "postgres.h"

#include "catalog/objectaccess.h"

/* What object_access_hook tells of objects that are made, changed or dropped. */
extern void tv_guard_utility_access(ObjectAccessType access, Oid classId, Oid objectId,
									int subId, void *arg);

/* Install the hooks.  In _PG_init only. */
extern void tv_guard_utility_init(void);

#endif							/* TV_GUARD_UTILITY_H */
