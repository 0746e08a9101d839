/*
 * tv_ddl_tag.h
 *	  Command tags of our statements.
 */
#ifndef TV_DDL_TAG_H
#define TV_DDL_TAG_H

/* Teach the server our tags.  In _PG_init only. */
extern void tv_ddl_tag_init(void);

#endif							/* TV_DDL_TAG_H */
