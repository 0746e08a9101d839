/*
 * tv_wal_keyring.h
 *	  WAL records that carry the keyring's changes.
 */
#ifndef TV_WAL_KEYRING_H
#define TV_WAL_KEYRING_H

/* In _PG_init: register the resource manager, have the keyring logged. */
extern void tv_wal_keyring_init(void);

#endif							/* TV_WAL_KEYRING_H */
