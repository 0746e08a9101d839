/*
 * tv_attach_private.h
 *	  What the files of this folder that meet the server share.
 */
#ifndef TV_ATTACH_PRIVATE_H
#define TV_ATTACH_PRIVATE_H

#include "attach/tv_attach.h"
#include "attach/tv_image.h"

/* The server's program.  FATAL if it cannot be read. */
extern const TvImage *tv_attach_image(void);

/* Report a refused seam: FATAL, which ends the server's start. */
extern void tv_attach_refuse(const char *seam, const TvError *error)
			__attribute__((noreturn));

/* FATAL unless tv_attach_check_server has passed and the time is right. */
extern void tv_attach_check_time(const char *seam);

/* Set or add the row that tv_attach_info gives for name. */
extern void tv_attach_note(const char *name, const char *fmt,...)
			pg_attribute_printf(2, 3);

/* Rows that exist before their seam is attached. */
#define TV_ATTACH_ROW_SMGR "seam: storage manager"
#define TV_ATTACH_ROW_SYNC "seam: file sync"
#define TV_ATTACH_ROW_DETOUR "seam: %s"

#endif							/* TV_ATTACH_PRIVATE_H */
