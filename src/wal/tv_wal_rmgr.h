/*
 * tv_wal_rmgr.h
 *	  The module's resource managers: sealed records, and records that carry
 *	  the keyring's changes.
 */
#ifndef TV_WAL_RMGR_H
#define TV_WAL_RMGR_H

/*
 * In _PG_init, after tv_keyring_init() and tv_page_attach(): register the
 * resource managers, seal what is written from now on, log what the keyring
 * learns.
 */
extern void tv_wal_init(void);

#endif							/* TV_WAL_RMGR_H */
