/*
 * tv_guard_utility.h
 *	  Statements that concern encryption beyond the files they touch.
 */
#ifndef TV_GUARD_UTILITY_H
#define TV_GUARD_UTILITY_H

/* Install the hooks.  In _PG_init only. */
extern void tv_guard_utility_init(void);

#endif							/* TV_GUARD_UTILITY_H */
