/*
 * tv_wal_seal.h
 *	  Seal WAL records on their way into the log.
 */
#ifndef TV_WAL_SEAL_H
#define TV_WAL_SEAL_H

#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlogdefs.h"

/*
 * Insert a record of main data only, not sealed.  Works also while another
 * record is being constructed (XLogBeginInsert), and in critical sections.
 */
extern XLogRecPtr tv_wal_insert(RmgrId rmid, uint8 info, const void *data, uint32 len);

/* In _PG_init: take the place of XLogInsertRecord.  FATAL if that fails. */
extern void tv_wal_seal_attach(void);

#endif							/* TV_WAL_SEAL_H */
