/*
 * tv_page_tablespace.h
 *	  Encrypted tablespaces: where they lie, and when they begin and end.
 */
#ifndef TV_PAGE_TABLESPACE_H
#define TV_PAGE_TABLESPACE_H

#include "postgres.h"

#include "crypto/tv_cipher.h"
#include "keyring/tv_keyring_scope.h"

/*
 * Make a directory for a tablespace that names none: below
 * tde_vault.tablespace_root, or "<data directory>_tablespaces".  Returns
 * its path, palloc'd.  Throws ERROR.
 */
extern char *tv_tablespace_make_directory(const char *name);

/*
 * Recovery is about to make a tablespace there: make the directory if it is
 * one that tv_tablespace_make_directory() would have made.  Does not throw.
 */
extern void tv_tablespace_follow_directory(const char *location);

/*
 * The scope that a new file of that place is in; false if in none.  What
 * decides whether something is written in plain asks here: throws ERROR if the
 * keyring's records of it were forged, or cannot be checked.
 */
extern bool tv_tablespace_scope_of(const RelFileNode *node, TvKeyringScope *scope);
extern bool tv_tablespace_is_encrypted(Oid tablespace);

/* The active master key of that name.  Throws ERROR if there is none. */
extern uint64 tv_tablespace_master(const char *key_id);

/*
 * From now on everything new in the tablespace is encrypted; taken back if the
 * transaction aborts.  master: the master key, or 0.  Throws ERROR.
 */
extern void tv_tablespace_encrypt(Oid tablespace, TvCipher cipher, uint64 master);

/* When the transaction commits, nothing is any more. */
extern void tv_tablespace_release(Oid tablespace);

/* The same for new tables, indexes and sequences of a database; not catalogs. */
extern void tv_database_encrypt(Oid database, TvCipher cipher);
extern void tv_database_release(Oid database);

#endif							/* TV_PAGE_TABLESPACE_H */
