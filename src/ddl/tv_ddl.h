/*
 * tv_ddl.h
 *	  Statements of our own.
 */
#ifndef TV_DDL_H
#define TV_DDL_H

/* Attach the grammar, the tags and the hook.  In _PG_init, after guard. */
extern void tv_ddl_init(void);

#endif							/* TV_DDL_H */
