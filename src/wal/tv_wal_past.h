/*
 * tv_wal_past.h
 *	  WAL of the past in pg_wal: what is there of it, what holds it, and
 *	  overwriting what the server has only renamed.
 *
 * A checkpoint removes files that nothing needs, or gives them the names of
 * segments to come; those keep their bytes until they are written again, which
 * may be never.
 */
#ifndef TV_WAL_PAST_H
#define TV_WAL_PAST_H

#include "postgres.h"

#include "access/xlog_internal.h"

/* What holds WAL, or may. */
typedef enum TvWalHolder
{
	TV_WAL_NOTHING,				/* the next checkpoint that begins removes it */
	TV_WAL_SLOT,
	TV_WAL_ARCHIVER,
	TV_WAL_KEEP_SIZE
} TvWalHolder;

/* How things stand, looked at once. */
typedef struct TvWalPast
{
	bool		looked;
	XLogSegNo	oldest;			/* first segment that has a file by its name */
	XLogSegNo	unarchived;		/* first that is to be archived yet; max: none */
	XLogRecPtr	slot;			/* first position that a slot needs; max: none */
	char		slot_name[NAMEDATALEN];
	XLogRecPtr	insert;
} TvWalPast;

/* Look.  Not in recovery.  Throws ERROR. */
extern void tv_wal_past_look(TvWalPast *past);

/* Is there a file by the name of a segment that has WAL from before lsn? */
extern bool tv_wal_past_has(const TvWalPast *past, XLogRecPtr lsn);

/* What holds that?  *more: for KEEP_SIZE, bytes of WAL to come until it does not. */
extern TvWalHolder tv_wal_past_holder(const TvWalPast *past, XLogRecPtr lsn, uint64 *more);

/*
 * Overwrite and remove files for segments to come that hold WAL from before
 * lsn, and those with which that failed earlier, or was cut off by a crash; at
 * most so many; *wiped: how many.  Returns how many files, whatever their
 * names, hold such WAL still; *current: the one that is being written is among
 * them, whose rest a switch fills with zeros.  Throws ERROR.
 */
extern int	tv_wal_past_wipe(XLogRecPtr lsn, int most, int *wiped, bool *current);

#endif							/* TV_WAL_PAST_H */
