/*
 * tv_worker.h
 *	  Background work on the pages of encrypted tables: encryption, decryption,
 *	  rotation of table keys, change of cipher, while the tables are in use.
 */
#ifndef TV_WORKER_H
#define TV_WORKER_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "crypto/tv_cipher.h"
#include "wal/tv_wal_past.h"

/* In _PG_init: shared memory, the launcher. */
extern void tv_worker_init(void);

/* --- what statements ask for (tv_worker_switch.c) --- */

/*
 * Make a table (materialised view, or all partitions of a partitioned table)
 * encrypted, in place; if it is already, with another cipher.  NONE: the
 * setting's, or the one that it has.  Returns after the switch: from then on
 * what is written is sealed; a worker does the rest.  Throws ERROR.
 */
extern void tv_worker_encrypt(Oid table, TvCipher cipher);

/*
 * Everything in the tablespace (0: everything of this database but its
 * catalogs), which is encrypted from now on, in place, whatever its access
 * method: tables with all that belongs to them, single indexes, sequences.
 * Visits do it, one relation after the other: here, all of them would stay
 * locked until the statement ends.  Returns how many are of this database.
 * Throws ERROR.
 */
extern int	tv_worker_encrypt_place(Oid tablespace);

/* What is to be decrypted. */
typedef struct TvWorkerReleased
{
	int			here;			/* tables, single indexes and sequences of this database */
	int			elsewhere;		/* of others, at most */
	List	   *databases;		/* those; OIDs */
	bool		refused;		/* tde_vault.enforce_encryption */
} TvWorkerReleased;

/*
 * The tablespace (0: any) or database (0: any) is to be encrypted as a whole no
 * more, when the transaction commits: then, decrypt in place what is encrypted
 * for no other reason.  Throws ERROR.
 */
extern void tv_worker_decrypt_place(Oid tablespace, Oid database, TvWorkerReleased *released);

/*
 * When the transaction commits: have a process look into each other database
 * that has relations in an encrypted tablespace, or is encrypted, and switch
 * what is not (tv_worker_visit.c).
 */
extern void tv_worker_visit_databases(void);

/* The databases, but this one, that have files in the tablespace; OIDs. */
extern List *tv_worker_databases_in(Oid tablespace);

/* The other way; a worker begins when the transaction has committed. */
extern void tv_worker_decrypt(Oid table);

/* A new version of the table's key; a worker brings its pages there. */
extern void tv_worker_rotate(Oid table);

/*
 * Replace the master key of database (0: the cluster's default), or go on with
 * a rotation that had not ended.  key_id, uri: as tv_keyring_rotation_begin().
 * One at a time in the cluster.  What it has done is not rolled back.  Throws
 * ERROR.
 */
extern void tv_worker_rotate_master(Oid database, const char *key_id, const char *uri);

/* --- what is going on (tv_worker_shared.c) --- */

typedef enum TvWorkerKind
{
	TV_WORK_UNKNOWN,			/* not looked at yet */
	TV_WORK_ENCRYPT,
	TV_WORK_DECRYPT,
	TV_WORK_ROTATE,
	TV_WORK_CIPHER,
	TV_WORK_PAST				/* WAL of what was encrypted before the server started */
} TvWorkerKind;

typedef enum TvWorkerState
{
	TV_WORKER_FREE,				/* slot is not used */
	TV_WORKER_WAITING,			/* for a worker */
	TV_WORKER_STARTING,
	TV_WORKER_RUNNING,
	TV_WORKER_CHECKING,			/* no page is left behind: reading the disk */
	TV_WORKER_BLOCKED,			/* waits for a transaction */
	TV_WORKER_RETRYING,			/* an error: tries again later */
	TV_WORKER_PAUSED,
	TV_WORKER_STANDBY,			/* the primary does it */
	TV_WORKER_DONE
} TvWorkerState;

#define TV_WORKER_TEXT_MAX 512

/* An operation, running or finished since the server started. */
typedef struct TvWorkerOperation
{
	uint64		key;			/* table key; operations have no other name */
	Oid			database;
	Oid			table;
	TvWorkerKind kind;
	TvWorkerState state;
	int			pid;
	uint64		pages_done;
	uint64		pages_total;
	uint64		rewritten;		/* pages that were not as they should be */
	TimestampTz started;		/* 0: not yet */
	TimestampTz resumed;		/* the worker at it started then */
	TimestampTz finished;
	TimestampTz retry_at;
	XLogRecPtr	old_wal;		/* when finished: WAL before is of the old way */
	TimestampTz wal_gone;		/* that is in pg_wal no more since then; 0: is */
	char		message[TV_WORKER_TEXT_MAX];	/* of the last error */
} TvWorkerOperation;

/* Copy out operation i; false past the end.  Free ones have state FREE. */
extern bool tv_worker_operation(int i, TvWorkerOperation *out);

/* The number that users know an operation by. */
extern int64 tv_worker_id(uint64 key);

/* What is left of WAL from before an encryption (tv_worker_past.c). */
typedef struct TvWorkerPast
{
	bool		concerned;		/* there is, or was, such WAL */
	bool		gone;			/* from pg_wal */
	TimestampTz when;			/* since then; or not later than that; 0: who knows */
	char		holder[NAMEDATALEN + 128];	/* what holds it, or nothing */
} TvWorkerPast;

/* past: how pg_wal stands; looked at if it was not. */
extern void tv_worker_past(const TvWorkerOperation *operation, TvWalPast *past, TvWorkerPast *out);

/* Pause or resume operation id; ERROR if there is none in this cluster. */
extern void tv_worker_pause(int64 id, bool pause);

#endif							/* TV_WORKER_H */
