/*
 * tv_wal_ahead.h
 *	  Open sealed records before it is their turn to be replayed.
 */
#ifndef TV_WAL_AHEAD_H
#define TV_WAL_AHEAD_H

#include "postgres.h"

#include "access/xlogreader.h"

/*
 * In recovery, with the record that is being replayed: open those after it that
 * have been decoded already, as far as they are small and common.  What cannot be
 * opened stays as it is, and nothing is reported.
 */
extern void tv_wal_open_ahead(DecodedXLogRecord *record);

/*
 * It is this record's turn.  True: it was opened, and looks as its resource manager
 * wrote it, until the next call of tv_wal_open_ahead().  False: it is as it was read.
 */
extern bool tv_wal_take_ahead(DecodedXLogRecord *record);

#endif							/* TV_WAL_AHEAD_H */
