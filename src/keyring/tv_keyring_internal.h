/*
 * tv_keyring_internal.h
 *	  What the parts of the keyring share among themselves.
 */
#ifndef TV_KEYRING_INTERNAL_H
#define TV_KEYRING_INTERNAL_H

#include "keyring/tv_keyring.h"

#include "access/xlogdefs.h"
#include "port/atomics.h"

#include "provider/tv_provider.h"

#define TV_MASTER_MAX 16384
#define TV_PREFIX_MAX 4096		/* server starts; see tv_page_nonce.c */
#define TV_NO_SLOT 0			/* slots count from 1 */

/* A relation file or a binding (node.spcNode 0).  56 bytes. */
typedef struct TvFileSlot
{
	RelFileNode node;
	uint32		next;			/* chain, or free list */
	uint64		key;			/* id of its table key */
	uint64		pos;			/* its record in the keyring file */
	XLogRecPtr	lsn;			/* of its record; 0: not known */
	XLogRecPtr	dropped_at;		/* if dropped */
	uint8		cipher;
	uint8		flags;
} TvFileSlot;

#define TV_SLOT_VERIFIED 0x80	/* flags: MAC was checked */
#define TV_SLOT_DROPPED 0x40
#define TV_SLOT_FREE 0x20
#define TV_SLOT_RELEASED 0x10	/* with DROPPED: the file is there, and plain */

/* One version of a table key.  Never holds the key itself. */
typedef struct TvKeySlot
{
	uint64		id;
	uint64		master_key;
	uint64		pos;			/* its newest record in the keyring file */
	uint64		first_pos;		/* its first one; differs if wrapped anew */
	uint64		first_master;	/* which that one is wrapped by */
	int64		created;
	Oid			database;
	Oid			table;
	uint32		next_id;		/* chain by id, or free list */
	uint32		next_table;		/* chain by (database, table) */
	uint32		files;			/* that use it */
	uint32		dropped;		/* removed, but recovery may need them */
	uint16		epoch;
	uint16		floor;			/* of the key; the same at each of its versions */
	XLogRecPtr	floor_lsn;
	uint64		floor_pos;		/* record that says so, or 0 */
	XLogRecPtr	work_since;
	uint64		work_pos;		/* record of TV_KEY_WORK_FLAGS, or 0 */
	XLogRecPtr	superseded_at;	/* this version; 0: it is not */
	uint8		cipher;
	uint8		flags;
	uint8		shielded[TV_KEY_LEN];
} TvKeySlot;

#define TV_KEY_OPEN 0x01		/* shielded is valid */
#define TV_KEY_MOVED 0x02		/* while a rewritten file is adopted */
#define TV_KEY_WORK 0x08		/* the key's pages are to be worked on */
#define TV_KEY_PAUSED 0x10
#define TV_KEY_DECRYPT 0x40
#define TV_KEY_WORK_FLAGS (TV_KEY_WORK | TV_KEY_PAUSED | TV_KEY_DECRYPT)
#define TV_KEY_FREE 0x20

/* A master key.  Slots are in the order of their records. */
typedef struct TvMasterSlot
{
	TvMasterKeyRecord record;
	bool		retired;
	bool		database_dropped;
	int64		retired_at;		/* 0: not known */
	uint32		keys;			/* versions of table keys that it wraps */
	uint32		next_id;		/* chain by id */
	uint32		next_database;	/* chain by database, newest first */
} TvMasterSlot;

typedef struct TvKeyringShared
{
	/* under TV_LOCK_KEYRING_FILE */
	uint8		check[TV_KEYRING_CHECK_LEN];
	TvKeyringHeader header;
	bool		exists;			/* the file was made */
	uint64		compacted;		/* length after the last compaction, or 0 */
	uint64		header_synced;	/* what the header on disk says at least */
	XLogRecPtr	logged;			/* end of the WAL record of the last one logged */
	/* written under TV_LOCK_KEYRING_FILE */
	pg_atomic_uint64 appended;	/* file length */
	pg_atomic_uint64 flushed;
	/* written under TV_LOCK_KEYRING_TABLE */
	pg_atomic_uint32 generation;

	/* under TV_LOCK_KEYRING_TABLE */
	uint32		n_files;
	uint32		n_keys;
	uint32		n_masters;
	uint32		n_rewrapped;	/* of n_keys: with a first and a newest record */
	uint32		n_stale_wraps;	/* wrapped keys in the file that say nothing any more */
	uint32		n_dropped;		/* of n_files */
	uint32		n_prefixes;		/* ever applied; the newest are kept */
	uint8		prefixes[TV_PREFIX_MAX][TV_NONCE_PREFIX_LEN];
	TvAnchorRecord anchors[TV_SERVICE_LAST + 1];	/* by service; service 0: none */
	uint32		file_top;		/* slots ever used */
	uint32		key_top;
	uint32		file_free;
	uint32		key_free;
	TvRotationProgress rotation;	/* pid 0: none */
	uint32		since_sweep;	/* records appended since the last attempt */
	XLogRecPtr	swept;			/* horizon of the last sweep */
} TvKeyringShared;

extern TvKeyringShared *tv_keyring_shared;

/* --- tv_keyring_table.c; the caller holds TV_LOCK_KEYRING_TABLE --- */
/* In _PG_init: shared memory.  At each start: empty. */
extern void tv_keyring_table_init(void);
extern void tv_keyring_table_reset(void);
/* The slot of a file, or of a version of a key (0: the newest); NULL if unknown. */
extern TvFileSlot *tv_keyring_find_file(const RelFileNode *node);
extern TvKeySlot *tv_keyring_find_key(uint64 id, uint16 epoch);
/* The version of key id that was found after before; NULL: the first one. */
extern TvKeySlot *tv_keyring_next_version(uint64 id, const TvKeySlot *before);
/*
 * A version of a key that is about to be appended is open from the start;
 * shielded NULL: no longer.
 */
extern void tv_keyring_stage_opened(uint64 id, uint16 epoch, const uint8 *shielded);
/* Wipe one version of a key. */
extern void tv_keyring_destroy_version(TvKeySlot *key);
/* The newest version of the key of a table; NULL if it has none. */
extern TvKeySlot *tv_keyring_find_table(Oid database, Oid table);
/* A slot by its number; NULL if it is not in use. */
extern TvKeySlot *tv_keyring_key_slot(uint32 slot);
extern TvFileSlot *tv_keyring_file_slot(uint32 slot);
/* Bring the tables up to date with a record at pos of the file. Idempotent. */
extern TvStatus tv_keyring_apply(const TvRecord *record, uint64 pos, TvError *err);
/*
 * Free dropped files that were removed before redo, and keys that no file
 * uses any more; unused: also keys that never got a file.
 */
extern void tv_keyring_sweep(XLogRecPtr redo, bool unused);

/* --- tv_keyring_live.c; the caller holds TV_LOCK_KEYRING_TABLE --- */
/* Would applying the record change nothing? */
extern bool tv_keyring_is_known(const TvRecord *record);
/*
 * Does the record at pos still say something?  Compaction keeps those that
 * do, in their order: a tool that copies a file only as far as it reached when
 * the tool first looked then has all that was there, whatever happened since.
 * *instead: if not 0, the place of the record that takes this one's.
 */
extern bool tv_keyring_is_live(const TvRecord *record, uint64 pos, int64 now,
							   uint64 *instead);
/*
 * A file that was rewritten is adopted: moved for each of its records, in
 * order, then all_moved.
 */
extern void tv_keyring_moved(const TvRecord *record, uint64 pos);
extern void tv_keyring_all_moved(void);
/*
 * Is the first wrap of a key of no use any more, because its master key was
 * retired long ago?
 */
extern bool tv_keyring_has_outlived(int64 now);

/* --- tv_keyring_master_table.c; the caller holds TV_LOCK_KEYRING_TABLE --- */
/* In _PG_init: shared memory.  At each start: empty. */
extern void tv_keyring_master_table_init(void);
extern void tv_keyring_master_table_reset(void);
/* NULL if unknown. */
extern TvMasterSlot *tv_keyring_find_master(uint64 id);
/* Master key i in the order of their records; NULL past the end. */
extern TvMasterSlot *tv_keyring_master_slot(uint32 i);
/* The newest master key of exactly that database that is not retired. */
extern TvMasterSlot *tv_keyring_active_master(Oid database);
/* What wraps new keys of database: its own master key, or the cluster's. */
extern TvMasterSlot *tv_keyring_master_of(Oid database);
/* The master key of that database that was made before slot; NULL: none. */
extern TvMasterSlot *tv_keyring_earlier_master(const TvMasterSlot *slot);
/* Was a made before b? */
extern bool tv_keyring_master_before(const TvMasterSlot *a, const TvMasterSlot *b);
/* Is it the newest of its database, and wraps not yet all that it is to? */
extern bool tv_keyring_master_is_unfinished(const TvMasterSlot *master);
/* What tv_keyring_apply() does with records of master keys. */
extern TvStatus tv_keyring_apply_master(const TvMasterKeyRecord *record, TvError *err);
extern void tv_keyring_apply_retired(const TvKeyRemovalRecord *record);
/* One version of a table key more, or less, is wrapped by it. */
extern void tv_keyring_count_wrapped(uint64 master, int change);
/* Its database is gone, and nothing is wrapped by it. */
extern bool tv_keyring_master_is_past(const TvMasterSlot *master);

/* --- tv_keyring_version.c; the caller holds TV_LOCK_KEYRING_TABLE --- */
/* What tv_keyring_apply() and tv_keyring_is_known() do with records of versions. */
extern void tv_keyring_apply_floor(const TvKeyFloorRecord *record, uint64 pos);
extern void tv_keyring_apply_work(const TvKeyWorkRecord *record, uint64 pos);
extern bool tv_keyring_knows_floor(const TvKeyFloorRecord *record);
extern bool tv_keyring_knows_work(const TvKeyWorkRecord *record);
/* A new version starts with what holds for its key. */
extern void tv_keyring_inherit_version(TvKeySlot *key, const TvKeySlot *newest);
/* Destroy versions that neither pages nor WAL from redo on need; how many. */
extern int	tv_keyring_sweep_versions(XLogRecPtr redo);

/* --- tv_keyring_nonce.c; the caller holds TV_LOCK_KEYRING_TABLE --- */
/* The same of NONCE_PREFIX. */
extern bool tv_keyring_has_prefix(const TvNoncePrefixRecord *record);
extern void tv_keyring_apply_prefix(const TvNoncePrefixRecord *record);

/* --- tv_keyring_anchor.c; the caller holds TV_LOCK_KEYRING_TABLE --- */
/* The same of ANCHOR; and is it the one to be kept? */
extern bool tv_keyring_knows_anchor(const TvAnchorRecord *record);
extern bool tv_keyring_is_newest_anchor(const TvAnchorRecord *record);
extern TvStatus tv_keyring_apply_anchor(const TvAnchorRecord *record, TvError *err);

/* --- tv_keyring_load.c --- */
/* Read the whole file into the tables; in the postmaster, throws FATAL. */
extern void tv_keyring_load(void);

/* --- tv_keyring_compact.c --- */
/*
 * Where crash recovery would start now: the last checkpoint that is complete.
 * (GetRedoRecPtr() already tells of one in progress.)  0 if that cannot be
 * known; does not throw.  *clean: the server was shut down, no WAL follows.
 */
extern XLogRecPtr tv_keyring_completed_checkpoint(bool *clean);
/* No WAL before this will be read again: not by recovery, not by decoding. */
extern XLogRecPtr tv_keyring_horizon(void);
/*
 * Free what no WAL refers to any more, if that can have become more.  The
 * caller holds TV_LOCK_KEYRING_FILE.
 */
extern bool tv_keyring_sweep_dropped(void);
/* Rewrite the file now, so that what was destroyed is gone from it. */
extern TvStatus tv_keyring_compact_now(TvError *err);
/* After an append to the file fd, under TV_LOCK_KEYRING_FILE: sweep, compact. */
extern void tv_keyring_tidy(int fd);

/* --- tv_keyring_store.c --- */
/* Append, then apply.  sync: durable on return. */
extern TvStatus tv_keyring_append(const TvRecord *record, bool sync, TvError *err);
/*
 * The same if check allows it, which is asked under both locks, so that what
 * it sees still holds when the record is appended.  It returns an error, with
 * *err set, or says in *skip that the record is not to be appended.
 * *appended: whether it was.
 */
typedef TvStatus (*TvAppendCheck) (const TvRecord *record, const void *context,
								   bool *skip, TvError *err);
extern TvStatus tv_keyring_append_if(const TvRecord *record, bool sync,
									 TvAppendCheck check, const void *context,
									 bool *appended, TvError *err);
/* WAL has what was appended, durably.  The caller holds TV_LOCK_KEYRING_FILE. */
extern void tv_keyring_flush_log(void);
/* Read the record at pos again. */
extern TvStatus tv_keyring_read_at(uint64 pos, TvRecord *record, TvError *err);

/* --- tv_keyring_master.c --- */
/*
 * Fill the record (its database is set) of a new master key, making the key in
 * the provider, or adopting it.
 */
extern TvStatus tv_keyring_make_master(TvMasterKeyRecord *record, const char *key_id,
									   const char *uri, TvError *err);
/* The database is dropped: so are its master keys' uses. */
extern TvStatus tv_keyring_retire_masters(Oid database, TvError *err);
/* Wrap and unwrap table keys; they call the provider. */
extern TvStatus tv_keyring_wrap(uint64 master, TvTableKeyRecord *record,
								const uint8 *key, TvError *err);
extern TvStatus tv_keyring_unwrap(const TvTableKeyRecord *record, uint8 *key,
								  TvError *err);

/* Open the provider of a master key, and see that it holds the right one. */
extern TvStatus tv_keyring_open_master(const TvMasterKeyRecord *record,
									   TvProvider **provider, TvError *err);
/* Is the key that provider has open the one of record? */
extern bool tv_keyring_is_same_master(TvProvider *provider, const TvMasterKeyRecord *record);

/* --- tv_keyring_shield.c --- */
extern void tv_keyring_shield_init(void);
/* New shield; every key in shared memory must be opened again. */
extern void tv_keyring_shield_reset(void);
/* Shield or unshield (the same operation) a key of id and epoch. */
extern TvStatus tv_keyring_shield(uint64 id, uint16 epoch,
								  const uint8 *in, uint8 *out);

/* --- tv_keyring.c --- */
/*
 * The plaintext of version epoch of key id into key (TV_KEY_LEN bytes of
 * secret memory), asking the provider if nobody did yet.
 */
extern TvStatus tv_keyring_open_key(uint64 id, uint16 epoch, uint8 *key, TvError *err);
/* The same, but not kept open for other processes. */
extern TvStatus tv_keyring_peek_key(uint64 id, uint16 epoch, uint8 *key, TvError *err);

/*
 * Make version epoch of the key of table, wrapped by master key preferred, or
 * the database's, or fallback (0: none of that).  *id: 0 for a new key, whose id it is then.
 */
extern TvStatus tv_keyring_make_version(Oid database, Oid table, TvCipher cipher,
										uint64 preferred, uint64 fallback,
										uint16 epoch, uint64 *id, TvError *err);
/* The newest version of key id; 0 if there is none. */
extern uint16 tv_keyring_newest_epoch(uint64 id);

#endif							/* TV_KEYRING_INTERNAL_H */
