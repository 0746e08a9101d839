/*
 * tv_page_catalog.h
 *	  System catalogs of a database, which can be sealed.
 *
 * "Catalog" is here every table that initdb made and that is not shared by all
 * databases: those of pg_catalog, and those of information_schema.
 */
#ifndef TV_PAGE_CATALOG_H
#define TV_PAGE_CATALOG_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "storage/relfilenode.h"

#include "crypto/tv_cipher.h"

/* Is table (or a TOAST table, given itself) one of them?  Reads nothing. */
extern bool tv_catalog_is(Oid table);

/* Is the file that it has sealed?  Throws ERROR if it cannot be opened. */
extern bool tv_catalog_is_sealed(Oid table);

/*
 * Is the next file of catalog table to be sealed, and with what?  It stays what
 * it is, unless being changed, and keeps its key.  Throws ERROR.
 */
extern bool tv_catalog_next_key(Oid table, uint64 *key, TvCipher *cipher);

/*
 * All of them in the order in which they are to be sealed, large objects last;
 * a list in the caller's memory.  Locks pg_class for the moment.
 */
extern List *tv_catalog_list(void);

/* Are some sealed, beyond the planner's statistics? */
extern bool tv_catalog_some_sealed(void);

/*
 * Write table anew, with its TOAST table and indexes, sealed or plain; nothing
 * happens if it is so already.  Locks it until the transaction ends, and takes
 * back all with it.  Not in a subtransaction if its file is mapped.  Returns
 * whether it was written.  Throws ERROR.
 */
extern bool tv_catalog_rewrite(Oid table, bool seal);

/* Does node belong, by the key that it has, to a catalog? */
extern bool tv_catalog_has_file(const RelFileNode *node);

#endif							/* TV_PAGE_CATALOG_H */
