/*
 * tv_keyring.h
 *	  Table keys (TEK) and which relation file uses which: the life cycle.
 *
 * Truth is the keyring file; shared memory holds its content in hash tables,
 * with keys that were opened kept only shielded (see tv_keyring_shield.c).
 * Functions return a status and do not throw, except where noted.  None calls
 * a provider while it holds a lock.
 */
#ifndef TV_KEYRING_H
#define TV_KEYRING_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "port/atomics.h"
#include "storage/relfilenode.h"

#include "base/tv_status.h"
#include "crypto/tv_cipher.h"
#include "keyring/tv_keyring_format.h"

#define TV_EPOCH_MAX 4095		/* 12 bits in pd_flags */

/* What is known of a relation file, copied out. */
typedef struct TvKeyringFile
{
	uint64		key;			/* table key id */
	TvCipher	cipher;			/* of pages that are written now */
	uint16		epoch;			/* newest version of the key */
	uint16		floor;			/* oldest version of a page; 0: unsealed */
	XLogRecPtr	floor_lsn;		/* WAL position from which that holds, or 0 */
	bool		sealed;			/* no unsealed page is accepted */
	bool		always_sealed;	/* nor was one ever */
	bool		plain;			/* pages are written unsealed */
	bool		unlogged;		/* XTS, whatever the version's cipher */
	bool		dropped;		/* file removed, recovery may still need it */
	bool		released;		/* with dropped: not removed, but plain */
} TvKeyringFile;

/* Metadata of a table key version, copied out. */
typedef struct TvKeyringKey
{
	uint64		id;
	uint16		epoch;
	Oid			database;
	Oid			table;
	TvCipher	cipher;
	uint64		master_key;
	int64		created;
	bool		open;			/* unwrapped since the server started */
	uint32		files;			/* files and bindings that use it */
	uint16		floor;			/* of the key, see TvKeyringFile */
	XLogRecPtr	floor_lsn;
	bool		work;			/* its pages are to be worked on */
	bool		paused;
	bool		may_decrypt;
	uint16		work_flags;		/* those three, TV_WORK_... */
	XLogRecPtr	work_since;
	bool		superseded;		/* no page needs this version, old WAL may */
	XLogRecPtr	superseded_at;
} TvKeyringKey;

typedef enum TvMasterState
{
	TV_MASTER_ACTIVE,
	TV_MASTER_ROTATING,			/* replaced, but still wraps keys */
	TV_MASTER_RETIRED
} TvMasterState;

typedef struct TvKeyringMaster
{
	uint64		id;
	Oid			database;		/* 0: default of the cluster */
	int64		created;
	int64		retired_at;		/* 0: is not, or not known */
	TvMasterState state;
	bool		past;			/* database dropped, and wraps nothing */
	bool		unfinished;		/* active, but wraps not yet all that it is to */
	uint32		keys;			/* versions of table keys that it wraps */
	char		key_id[TV_KEYRING_KEY_ID_MAX + 1];
	char		uri[TV_KEYRING_URI_MAX + 1];
} TvKeyringMaster;

/* In _PG_init: reserve shared memory, set up the shield. */
extern void tv_keyring_init(void);

/* Number of files, keys and master keys known; for system_info(). */
extern void tv_keyring_counts(uint32 *files, uint32 *keys, uint32 *masters);

/* Is the shield page locked in memory? */
extern bool tv_keyring_shield_locked(void);

/* --- master keys (tv_keyring_master.c) --- */

/*
 * Make key_id at uri the master key of database (0: of the cluster), creating
 * the key in the provider if need be.  TV_ERR_KEY_EXISTS if there is one; of
 * several sessions that try at a time one succeeds.
 */
extern TvStatus tv_keyring_create_master(Oid database, const char *key_id,
										 const char *uri, TvError *err);
/* Copy out master key number i; false past the end. */
extern bool tv_keyring_master_at(uint32 i, TvKeyringMaster *out);
/* The master key that new table keys of database are wrapped by. */
extern bool tv_keyring_master_for(Oid database, TvKeyringMaster *out);

/* --- rotation of master keys (tv_keyring_rotate.c) --- */

/*
 * A rotation under way.  A new master key takes the place of that of database
 * (0: of the cluster); then every version of every table key that is wrapped
 * by the old one, or belongs to the database, is wrapped anew; then the old
 * one is retired.  At any moment each key is wrapped by a master key that the
 * keyring knows, so it can end anywhere, and be taken up again.
 */
typedef struct TvRotation
{
	Oid			database;
	bool		resumed;		/* took up one that had not ended */
	bool		first;			/* the database used the cluster's until now */
	bool		finished;
	uint64		master;			/* the new one */
	uint32		slot;			/* the next to look at */
	uint32		in_pass;		/* wrapped anew since it began at the first one */
	TvError		failure;		/* why a key could not be unwrapped; status OK: none */
	uint64		done;
	uint64		total;			/* as it was in the beginning */
	char		old_key_id[TV_KEYRING_KEY_ID_MAX + 1];
	char		key_id[TV_KEYRING_KEY_ID_MAX + 1];
} TvRotation;

/*
 * Make and record the new master key, or find the one that an earlier rotation
 * made and did not get to the end with.  key_id NULL: choose one; uri NULL: in
 * the provider of the old one.  The caller sees to it that there is only one
 * rotation at a time, and calls tv_keyring_rotation_end() whatever happens.
 */
extern TvStatus tv_keyring_rotation_begin(Oid database, const char *key_id, const char *uri,
										  TvRotation *rotation, TvError *err);

/*
 * Wrap some more keys anew; after the last one retire what was replaced, and
 * set finished.  Durable when finished; before that, a crash may undo some.
 * When the old provider fails, what is open in this server is still wrapped
 * anew; the last step then returns the error.
 */
extern TvStatus tv_keyring_rotation_step(TvRotation *rotation, TvError *err);
extern void tv_keyring_rotation_end(void);

/* What a running rotation has done. */
typedef struct TvRotationProgress
{
	int			pid;
	Oid			database;
	uint64		done;
	uint64		total;
	int64		started;
} TvRotationProgress;

/* False if there is none. */
extern bool tv_keyring_rotation_progress(TvRotationProgress *out);
/* How many versions of table keys the master key of database is yet to wrap. */
extern uint64 tv_keyring_rotation_left(Oid database);

/* --- table keys and files (tv_keyring.c) --- */

/* What file is node?  O(1); false if it is not encrypted. */
extern bool tv_keyring_lookup(const RelFileNode *node, TvKeyringFile *out);

/*
 * The key of table in database, made (with cipher) if there is none.  Writes
 * the keyring; may call the provider.  fallback: the master key to wrap with
 * if neither the database nor the cluster has one; 0: none.
 */
extern TvStatus tv_keyring_key_for_table(Oid database, Oid table,
										 TvCipher cipher, uint64 fallback,
										 uint64 *key,
										 TvCipher *key_cipher, TvError *err);

/* Copy out key id, its newest version (epoch 0) or that one. */
extern bool tv_keyring_key(uint64 id, uint16 epoch, TvKeyringKey *out);

/* Copy out the key at slot i (1 ..); false past the end; skips free slots. */
extern bool tv_keyring_next_key(uint32 *slot, TvKeyringKey *out);

/*
 * Record that node uses key.  The record is written, but only synced by
 * tv_keyring_flush(), which must come before a page of the file or WAL about
 * it can leave memory.  flags: TV_FILE_SEALED and others, but BINDING.
 */
extern TvStatus tv_keyring_assign(const RelFileNode *node, uint64 key,
								  TvCipher cipher, uint8 flags, TvError *err);

/* A binding: relation relid of database uses key for files yet to come. */
extern TvStatus tv_keyring_bind(Oid database, Oid relid, uint64 key, TvError *err);
extern bool tv_keyring_binding(Oid database, Oid relid, TvKeyringFile *out);

/* Bind in database "to" what is bound in "from", to the keys of the copies. */
extern TvStatus tv_keyring_copy_bindings(Oid from, Oid to, TvError *err);

/* The file was removed; recovery may need its key until the next checkpoint. */
extern TvStatus tv_keyring_drop(const RelFileNode *node, TvError *err);

/* The number is used again: forget a dropped file, durably. */
extern TvStatus tv_keyring_forget(const RelFileNode *node, TvError *err);

/* Drop every file and binding of a database. */
extern TvStatus tv_keyring_drop_database(Oid database, TvError *err);

/* Does database hold encrypted files (those removed not counted)? */
extern bool tv_keyring_database_in_use(Oid database);

/*
 * The next of those from after *slot (0 to begin), leaving out files of system
 * catalogs.  Files that a crash left behind are among them.
 */
extern bool tv_keyring_next_table_file(Oid database, uint32 *slot, RelFileNode *node);

/* --- versions of a table key (tv_keyring_version.c) --- */

/*
 * Make the next version of key id, with cipher: pages are written under it
 * from now on, also by processes that are at it.  May call the provider.
 */
extern TvStatus tv_keyring_add_version(uint64 id, TvCipher cipher, uint16 *epoch, TvError *err);

/*
 * No page of key id is below version epoch any more (0: pages may be
 * unsealed again).  Durable on return.  Versions below are superseded.
 */
extern TvStatus tv_keyring_set_floor(uint64 id, uint16 epoch, TvError *err);

/*
 * Are there pages of key id to be worked on (TV_WORK_...)?  since: those that
 * did not change after that position in WAL; 0: to be found out.  Durable on
 * return.
 */
extern TvStatus tv_keyring_set_work(uint64 id, uint16 flags, XLogRecPtr since, TvError *err);

/* The file has no sealed page any more and is plain.  Durable on return. */
extern TvStatus tv_keyring_release(const RelFileNode *node, TvError *err);

/*
 * The next file of key id from after *slot (0 to begin), bindings (spcNode 0)
 * included, those removed not.  A file that is added meanwhile may be missed.
 */
extern bool tv_keyring_next_file(uint64 id, uint32 *slot, RelFileNode *node,
								 TvKeyringFile *file);

/*
 * Write the record of a live file again.  plain: pages are written unsealed
 * from now on; or, if it was, sealed again.  Nothing happens if the file was
 * removed meanwhile.
 */
extern TvStatus tv_keyring_reassign(const RelFileNode *node, const TvKeyringFile *known,
									bool plain, TvError *err);

/*
 * Write the records of all files and bindings of key id again, so that they
 * are authenticated by its newest version.
 */
extern TvStatus tv_keyring_renew_files(uint64 id, TvError *err);

/*
 * Destroy superseded versions that no WAL needs any more, in memory and in
 * the file.  Returns whether there were any; err->status tells of a failure.
 */
extern bool tv_keyring_destroy_superseded(TvError *err);
/*
 * Destroy keys of tables that were dropped, when no WAL needs them, and write
 * the file anew if it holds wrapped keys that say nothing any more: of keys
 * that were destroyed, or by master keys that were replaced.  Returns whether
 * it was written anew; err->status tells of a failure.
 */
extern bool tv_keyring_shed_wraps(TvError *err);

/* forknum of a FileTag that means the keyring file */
#define TV_KEYRING_FORK 65

/* Sync what was appended, and its WAL. Cheap when nothing was. */
extern TvStatus tv_keyring_flush(TvError *err);

/* The same for a checkpoint, after which WAL does not bring it back. */
extern TvStatus tv_keyring_checkpoint(TvError *err);

extern pg_atomic_uint32 *tv_keyring_moves;	/* in shared memory */

/*
 * Changes whenever the tables do, so that a process can tell whether what it
 * has copied out of them still holds.  Never 0.  No lock.
 */
static inline uint32
tv_keyring_generation(void)
{
	return pg_atomic_read_u32(tv_keyring_moves);
}

/* --- what happens to keys, for the audit log (tv_keyring_watch.c) --- */

typedef enum TvKeyringEvent
{
	TV_EVENT_MASTER_CREATED,
	TV_EVENT_MASTER_ROTATED,
	TV_EVENT_KEY_CREATED,		/* table key, or a new version of it */
	TV_EVENT_KEY_DROPPED,		/* its last file is gone; destroyed when no WAL needs it */
	TV_EVENT_KEY_DESTROYED,		/* it, or old versions of it */
	TV_EVENT_PROVIDER_FAILED	/* a provider did not wrap or unwrap: err says why */
} TvKeyringEvent;

/*
 * Called after the event, without locks of the keyring, but possibly deep in
 * the server (reading a page): must not throw, look at catalogs or open
 * relations.
 */
typedef void (*TvKeyringWatch) (TvKeyringEvent what, uint64 id, Oid database,
								Oid table, const TvError *err);
extern void tv_keyring_set_watch(TvKeyringWatch callback);

/* Tell it. In critical sections and recovery: nothing. */
extern void tv_keyring_tell(TvKeyringEvent what, uint64 id, Oid database,
							Oid table, const TvError *err);

/* --- keys of the module's own services (tv_keyring_service.c) --- */

/* On disk: never renumber. */
typedef enum TvKeyringService
{
	TV_SERVICE_AUDIT = 1,		/* the audit log's chain */
	TV_SERVICE_SCOPES = 2		/* what is encrypted as a whole: tv_keyring_scope.c */
} TvKeyringService;

#define TV_SERVICE_LAST TV_SERVICE_SCOPES

/*
 * The key of a service, made if there is none: under the cluster's master key
 * or, failing that, master key fallback or (0) this database's.  Checks once per server start that its
 * record is authentic.  May call the provider.  TV_ERR_NO_KEY without a master
 * key, or on a standby that has none yet.
 */
extern TvStatus tv_keyring_service_key(TvKeyringService service, uint64 fallback,
									   uint64 *key, TvError *err);

/* Is there one? */
extern bool tv_keyring_find_service(TvKeyringService service, uint64 *key);

/* --- how far what a service keeps elsewhere had got (tv_keyring_anchor.c) --- */

/*
 * Remember bytes (TV_ANCHOR_LEN), durably, in place of what was remembered for
 * the service.  The keyring does not look into them, nor authenticate them.
 */
extern TvStatus tv_keyring_set_anchor(TvKeyringService service, const uint8 *bytes, TvError *err);
/* Copy them out; false if there are none. */
extern bool tv_keyring_anchor(TvKeyringService service, uint8 bytes[TV_ANCHOR_LEN]);

/* Did this server start from a base backup, whose files are not of one moment? */
extern bool tv_keyring_from_backup(void);

/* --- the random part of nonces (tv_keyring_nonce.c) --- */

/*
 * Remember the first bytes that all nonces of this server start share, so
 * that what is sealed with them need not repeat them.
 */
extern TvStatus tv_keyring_add_prefix(const uint8 *prefix, TvError *err);

/* Copy out the prefix of i starts before the newest known; false past the end. */
extern bool tv_keyring_prefix(uint32 i, uint8 prefix[TV_NONCE_PREFIX_LEN]);

/* --- for the write-ahead log --- */

/*
 * Called with each record appended, in order, before anything can depend on
 * it: both locks are held.  Returns whether the next checkpoint will call
 * tv_keyring_checkpoint(); if not, it is synced at once.
 */
typedef bool (*TvKeyringLog) (const TvRecord *record);
extern void tv_keyring_set_log(TvKeyringLog log);

/* Recovery has ended: keys that still have no file never get one. */
extern void tv_keyring_recovered(void);

/* Append a record that another run of the server logged, unless known. */
extern TvStatus tv_keyring_replay(const TvRecord *record, TvError *err);

/*
 * Check the MAC of node's record, once per server start: TV_ERR_AUTH if the
 * keyring was changed by somebody without the key.
 */
extern TvStatus tv_keyring_verify_file(const RelFileNode *node, TvError *err);

/* --- contexts (tv_keyring_cache.c): ready ciphers in this process --- */

/* Derived keys: one purpose, one nonce space.  Part of the derivation. */
typedef enum TvKeyPurpose
{
	TV_PURPOSE_PAGE = 1,		/* pages under the table's cipher */
	TV_PURPOSE_TWEAK = 2,		/* pages under XTS: maps, unlogged relations */
	TV_PURPOSE_WAL = 3,
	TV_PURPOSE_KEYRING = 4,		/* MACs of file records */
	TV_PURPOSE_VAULT = 5,		/* vault policy */
	TV_PURPOSE_AUDIT = 6		/* the chain of the audit log */
} TvKeyPurpose;

/*
 * Remembers a context: its owner uses it for one key, version, purpose and
 * cipher, and sets it to zeros when it is to be for others.
 */
typedef struct TvKeyHandle
{
	const TvCipherContext *context;
	uint64		releases;		/* tv_keyring_releases at that time */
} TvKeyHandle;

/* Starts at 1, and changes whenever this process gives up a context. */
extern uint64 tv_keyring_releases;

/* Is the context that the handle remembers still there? */
static inline bool
tv_keyring_has_context(const TvKeyHandle *handle)
{
	return handle->releases == tv_keyring_releases;
}

extern const TvCipherContext *tv_keyring_find_context(uint64 id, uint16 epoch,
													  TvKeyPurpose purpose,
													  TvCipher cipher,
													  TvKeyHandle *handle,
													  TvError *err);

/*
 * A ready context for version epoch of key id, by way of *handle.  The pointer
 * is good until the next call.  Opens the key at its provider if nobody did since
 * the server started.  NULL with *err set if that fails.  Uses no palloc.
 */
static inline const TvCipherContext *
tv_keyring_context(uint64 id, uint16 epoch, TvKeyPurpose purpose, TvCipher cipher,
				   TvKeyHandle *handle, TvError *err)
{
	if (likely(tv_keyring_has_context(handle)))
		return handle->context;
	return tv_keyring_find_context(id, epoch, purpose, cipher, handle, err);
}

/* MAC data under the keyring subkey of version epoch of the key. */
extern TvStatus tv_keyring_mac(uint64 id, uint16 epoch, const uint8 *data, size_t len,
							   uint8 *mac, TvError *err);

/* The same under the key's subkey for purpose, which must be one of MACs. */
extern TvStatus tv_keyring_mac_for(uint64 id, TvKeyPurpose purpose,
								   const uint8 *data, size_t len,
								   uint8 *mac, TvError *err);

/* Have that subkey at hand: the next call for it asks no provider. */
extern TvStatus tv_keyring_mac_prepare(uint64 id, TvKeyPurpose purpose, TvError *err);

/* Wipe this process's contexts of a key that no longer exists. */
extern void tv_keyring_forget_contexts(uint64 id);

#endif							/* TV_KEYRING_H */
