/*
 * tv_guard_upgrade.h
 *	  pg_upgrade, which cannot carry what is encrypted.
 */
#ifndef TV_GUARD_UPGRADE_H
#define TV_GUARD_UPGRADE_H

#include "postgres.h"

#include "nodes/parsenodes.h"

/* LOAD: throw if it is pg_upgrade that asks for this module. */
extern void tv_guard_upgrade_load(const LoadStmt *stmt);

/* Install the hook.  In _PG_init only. */
extern void tv_guard_upgrade_init(void);

#endif							/* TV_GUARD_UPGRADE_H */
