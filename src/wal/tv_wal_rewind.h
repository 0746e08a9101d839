/*
 * tv_wal_rewind.h
 *	  Was the data directory made by pg_rewind, and can that work?
 */
#ifndef TV_WAL_REWIND_H
#define TV_WAL_REWIND_H

/*
 * In the postmaster, before recovery, once the keyring is loaded.  FATAL if
 * pg_rewind has put together files that do not belong together.
 */
extern void tv_wal_refuse_rewound(void);

#endif							/* TV_WAL_REWIND_H */
