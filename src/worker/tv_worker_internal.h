/*
 * tv_worker_internal.h
 *	  What the parts of the background work share among themselves.
 */
#ifndef TV_WORKER_INTERNAL_H
#define TV_WORKER_INTERNAL_H

#include "worker/tv_worker.h"

#include "storage/latch.h"
#include "storage/relfilenode.h"
#include "utils/rel.h"

#include "base/tv_report.h"
#include "keyring/tv_keyring.h"

#define TV_WORKER_SLOTS 256		/* operations remembered */

static inline void
tv_worker_check(TvStatus status, const TvError *err)
{
	if (status != TV_OK)
		tv_report(ERROR, err);
}

/* --- tv_worker_shared.c --- */

extern void tv_worker_shared_init(void);

/* The launcher's latch is to be set from now on, or (NULL) not any more. */
extern void tv_worker_set_launcher(struct Latch *latch);

/* Have the launcher look: now, or when this transaction has committed. */
extern void tv_worker_wake(void);
extern void tv_worker_wake_at_commit(void);

/* The slot of key's operation, made if there is none; -1 if all are taken. */
extern int	tv_worker_slot(const TvKeyringKey *key);

/* Change slot i under the lock. */
typedef void (*TvWorkerChange) (TvWorkerOperation *operation, void *argument);
extern void tv_worker_change(int i, TvWorkerChange change, void *argument);
extern void tv_worker_set_state(int i, TvWorkerState state);

/* --- tv_worker_launcher.c --- */

/*
 * Start a process that runs function, of this module, with argument, and is
 * called name.  false if max_worker_processes is reached.
 */
extern bool tv_worker_start(const char *function, const char *name, Datum argument);

/* --- tv_worker_switch.c --- */

/* ERROR where nothing may be changed. */
extern void tv_worker_check_state(const char *what);

/* The table, its TOAST table (locked), the indexes of both. */
extern List *tv_worker_family(Relation rel, LOCKMODE lock);

/* Sequences that it owns become what the table is. */
extern void tv_worker_adopt_sequences(Oid table);

/* --- tv_worker_seal.c: relations are locked exclusively; throw ERROR --- */

/* Has the file a key of this database, or had it one? */
extern bool tv_worker_has_key(const RelFileNode *node, TvKeyringFile *known);

/*
 * What the table's files, owned sequences included, are sealed under: a palloc'd
 * TvKeyringFile for each key.  by_place: or because of where they are.
 */
extern List *tv_worker_keys_in_use(Relation rel, bool by_place);

/* The list with a copy of file, unless its key is in it. */
extern List *tv_worker_add_key(List *found, const TvKeyringFile *file);

/* Have all of them the cipher? */
extern bool tv_worker_has_cipher(Relation rel, TvCipher cipher);

extern uint64 tv_worker_key_of(Relation rel, TvCipher cipher, bool *released);
extern uint64 tv_worker_choose_key(Relation rel, TvCipher cipher);
/* work: of the key, if the file has one of its own. */
extern void tv_worker_seal_file(Oid relid, uint64 key, TvCipher cipher, uint16 work);
extern void tv_worker_seal_family(Relation rel, TvCipher cipher);

/* Users see the key's operation at once, not when the launcher has seen it. */
extern void tv_worker_show_operation(uint64 id, TvWorkerKind kind);

/* --- tv_worker_prepare.c --- */

/*
 * Make most of the sidecars that the switch of a table (or of the partitions of
 * one, or an index) will need, before it takes its lock.  Throws ERROR.
 */
extern void tv_worker_prepare(Oid relid, TvCipher cipher);

/* How many blocks of the file were prepared, under that key; from the first. */
extern BlockNumber tv_worker_prepared(const RelFileNode *node, uint64 key);

/* The key that was made for the table then; 0: none. */
extern uint64 tv_worker_prepared_key(Oid table);

/* --- tv_worker_place.c --- */

/* What is to be switched in the tablespace, 0: in the database; OIDs. */
extern List *tv_worker_place_list(Oid tablespace);
/* Switch one of them; false if there is nothing to do. */
extern bool tv_worker_seal_in_place(Oid relid, TvCipher cipher);

/* --- tv_worker_visit.c --- */

extern void tv_worker_visit_init(void);

/* For the launcher: start visits that are due.  Returns whether some wait. */
extern bool tv_worker_start_visits(void);

/* --- tv_worker_walk.c --- */

/* One pass over the files of a key. */
typedef struct TvWorkerPass
{
	uint64		stale;			/* pages that were not up to date on disk */
	uint32		hidden;			/* files that no relation owns (yet) */
} TvWorkerPass;

/* What the walk has to know of its operation. */
typedef struct TvWorkerWalk
{
	int			slot;
	uint64		key;
	XLogRecPtr	since;
	bool		(*stop) (void *argument);	/* asked between batches */
	void	   *argument;
} TvWorkerWalk;

/*
 * Read every page of every file of the key on disk; renew those that are not
 * up to date.  Each batch is a transaction of its own, with a lock on the
 * relation that lets readers and writers pass.  false: stopped.
 */
extern bool tv_worker_pass(TvWorkerWalk *walk, TvWorkerPass *pass);

/* Write out what the walk has left in shared buffers. */
extern void tv_worker_flush(uint64 key);

/* The relation that owns the file now, locked, or NULL. */
extern Relation tv_worker_open_owner(const RelFileNode *node);

/* --- tv_worker_rotation.c --- */

/*
 * For the launcher: have rotations of master keys that had not ended when the
 * server started, or was promoted, go on; again and again until they have.
 */
extern void tv_worker_resume_rotations(void);

/* --- tv_worker_lock.c --- */

/*
 * Lock the table and its partitions, without having others wait for long
 * behind a transaction that uses one of them.  A table that is not there is
 * nothing to lock.  Throws ERROR.
 */
extern void tv_worker_lock(Oid table, LOCKMODE lock);

/* --- tv_worker_release.c --- */

/*
 * Until the end of the transaction.  Exclusive: an encrypted place is to end;
 * shared: whether one encrypts is asked, and acted on.
 */
extern void tv_worker_lock_scopes(LOCKMODE lock);

/* The sequences of a table that is to be plain, or it itself, if it is one. */
extern void tv_worker_release_sequences(Oid table);

/* --- tv_worker_partition.c --- */

extern void tv_worker_partition_init(void);

/* If it is a partitioned table: partitions to come are (not) encrypted. */
extern void tv_worker_mark_partitioned(Oid table, bool encrypted);

/* --- tv_worker_past.c --- */

extern void tv_worker_past_init(void);

/* Something was encrypted: WAL before lsn may hold plaintext. */
extern void tv_worker_past_begin(XLogRecPtr lsn);

/*
 * For the launcher: see to it that such WAL goes from pg_wal.  Returns whether
 * there is more to do at once.
 */
extern bool tv_worker_past_clear(void);

#endif							/* TV_WORKER_INTERNAL_H */
