/*
 * tv_ddl_suspect.h
 *	  May a text hold a statement of ours?  No PostgreSQL headers.
 */
#ifndef TV_DDL_SUSPECT_H
#define TV_DDL_SUSPECT_H

#include <stdbool.h>

/*
 * One pass over the text, without memory.  False: no statement of ours is in
 * it.  True: look closer.
 */
extern bool tv_ddl_suspect(const char *text);

#endif							/* TV_DDL_SUSPECT_H */
