/*
 * tv_keyring_internal.h
 *	  What the parts of the keyring share among themselves.
 */
#ifndef TV_KEYRING_INTERNAL_H
#define TV_KEYRING_INTERNAL_H

#include "keyring/tv_keyring.h"

#include "access/xlogdefs.h"
#include "port/atomics.h"

#define TV_MASTER_MAX 1024
#define TV_PREFIX_MAX 4096		/* server starts; see tv_page_nonce.c */
#define TV_NO_SLOT 0			/* slots count from 1 */

/* A relation file or a binding (node.spcNode 0).  48 bytes. */
typedef struct TvFileSlot
{
	RelFileNode node;
	uint32		next;			/* chain, or free list */
	uint64		key;			/* id of its table key */
	uint64		pos;			/* its record in the keyring file */
	XLogRecPtr	dropped_at;		/* if dropped */
	uint8		cipher;
	uint8		flags;
} TvFileSlot;

#define TV_SLOT_VERIFIED 0x80	/* flags: MAC was checked */
#define TV_SLOT_DROPPED 0x40
#define TV_SLOT_FREE 0x20

/* One version of a table key.  Never holds the key itself. */
typedef struct TvKeySlot
{
	uint64		id;
	uint64		master_key;
	uint64		pos;
	int64		created;
	Oid			database;
	Oid			table;
	uint32		next_id;		/* chain by id, or free list */
	uint32		next_table;		/* chain by (database, table) */
	uint32		files;			/* that use it */
	uint32		dropped;		/* removed, but recovery may need them */
	uint16		epoch;
	uint8		cipher;
	uint8		flags;
	uint8		shielded[TV_KEY_LEN];
} TvKeySlot;

#define TV_KEY_OPEN 0x01		/* shielded is valid */
#define TV_KEY_FREE 0x20

typedef struct TvKeyringShared
{
	/* under TV_LOCK_KEYRING_FILE */
	uint8		check[TV_KEYRING_CHECK_LEN];
	TvKeyringHeader header;
	bool		exists;			/* the file was made */
	/* written under TV_LOCK_KEYRING_FILE */
	pg_atomic_uint64 appended;	/* file length */
	pg_atomic_uint64 flushed;
	/* written under TV_LOCK_KEYRING_TABLE */
	pg_atomic_uint32 generation;

	/* under TV_LOCK_KEYRING_TABLE */
	uint32		n_files;
	uint32		n_keys;
	uint32		n_masters;
	uint32		n_dropped;		/* of n_files */
	uint32		n_prefixes;		/* ever applied; the newest are kept */
	uint8		prefixes[TV_PREFIX_MAX][TV_NONCE_PREFIX_LEN];
	uint32		file_top;		/* slots ever used */
	uint32		key_top;
	uint32		file_free;
	uint32		key_free;
	uint32		since_sweep;	/* records appended since the last attempt */
	XLogRecPtr	swept;			/* horizon of the last sweep */
} TvKeyringShared;

extern TvKeyringShared *tv_keyring_shared;

/* --- tv_keyring_table.c; the caller holds TV_LOCK_KEYRING_TABLE --- */
extern void tv_keyring_table_init(void);
extern void tv_keyring_table_reset(void);
extern TvFileSlot *tv_keyring_find_file(const RelFileNode *node);
extern TvKeySlot *tv_keyring_find_key(uint64 id, uint16 epoch);
extern TvKeySlot *tv_keyring_find_table(Oid database, Oid table);
extern TvKeySlot *tv_keyring_key_slot(uint32 slot);
extern TvFileSlot *tv_keyring_file_slot(uint32 slot);
extern TvMasterKeyRecord *tv_keyring_find_master(uint64 id);
extern TvMasterKeyRecord *tv_keyring_master_slot(uint32 i);
extern bool tv_keyring_master_retired(const TvMasterKeyRecord *master);
/* Bring the tables up to date with a record at pos of the file. Idempotent. */
extern TvStatus tv_keyring_apply(const TvRecord *record, uint64 pos, TvError *err);
/* Does the record still say something? (compaction keeps those that do) */
extern bool tv_keyring_is_live(const TvRecord *record, uint64 pos);
/* The record is now at pos of a file that was rewritten. */
extern void tv_keyring_moved(const TvRecord *record, uint64 pos);
/*
 * Free dropped files that were removed before redo, and keys that no file
 * uses any more; unused: also keys that never got a file.
 */
extern void tv_keyring_sweep(XLogRecPtr redo, bool unused);
/* Would applying the record change nothing? */
extern bool tv_keyring_is_known(const TvRecord *record);

/* --- tv_keyring_nonce.c; the caller holds TV_LOCK_KEYRING_TABLE --- */
extern bool tv_keyring_has_prefix(const TvNoncePrefixRecord *record);
extern void tv_keyring_apply_prefix(const TvNoncePrefixRecord *record);

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
/*
 * Free what no WAL refers to any more, if that can have become more.  The
 * caller holds TV_LOCK_KEYRING_FILE.
 */
extern bool tv_keyring_sweep_dropped(void);
/* After an append to the file fd, under TV_LOCK_KEYRING_FILE: sweep, compact. */
extern void tv_keyring_tidy(int fd);

/* --- tv_keyring_store.c --- */
/* Append, then apply.  sync: durable on return. */
extern TvStatus tv_keyring_append(const TvRecord *record, bool sync, TvError *err);
/* Read the record at pos again. */
extern TvStatus tv_keyring_read_at(uint64 pos, TvRecord *record, TvError *err);

/* --- tv_keyring_master.c --- */
/* Wrap and unwrap table keys; they call the provider. */
extern TvStatus tv_keyring_wrap(uint64 master, TvTableKeyRecord *record,
								const uint8 *key, TvError *err);
extern TvStatus tv_keyring_unwrap(const TvTableKeyRecord *record, uint8 *key,
								  TvError *err);

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

#endif							/* TV_KEYRING_INTERNAL_H */
