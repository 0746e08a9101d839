/*
 * tv_page_statistics.h
 *	  The planner's statistics, which hold values of encrypted tables.
 */
#ifndef TV_PAGE_STATISTICS_H
#define TV_PAGE_STATISTICS_H

#include "postgres.h"

#include "access/tableam.h"
#include "utils/rel.h"

/* In _PG_init: plans are made without statistics while their key is away. */
extern void tv_statistics_init(void);

/* They could be read once, so they can for as long as the server runs: keys that are open stay so. */
extern bool tv_statistics_were_readable;

/* tv_statistics_readable() where they were not yet. */
extern bool tv_statistics_become_readable(void);

/*
 * Can the planner read them?  If not, a WARNING says so, and it is tried again
 * in the next transaction.
 */
static inline bool
tv_statistics_readable(void)
{
	return likely(tv_statistics_were_readable) || tv_statistics_become_readable();
}

/* Are they sealed in this database?  Throws ERROR. */
extern bool tv_statistics_sealed(void);

/*
 * Seal them, or unseal them, if they are not: their catalogs are written anew,
 * in this transaction, which locks them until it ends.  Throws ERROR.
 */
extern void tv_statistics_seal(bool seal);

/*
 * Seal them if that is due: a file of this database was sealed since the last
 * call, and the transaction is a single statement's.  At the end of a
 * statement.  Throws ERROR.
 */
extern void tv_statistics_follow(void);

/* A file of this database was sealed. */
extern void tv_statistics_note_sealed(void);

/* Is table one of these catalogs? */
extern bool tv_statistics_is_catalog(Oid table);

/* Rows of rel are about to be sampled. */
extern void tv_statistics_before_analyze(Relation rel);

#endif							/* TV_PAGE_STATISTICS_H */
