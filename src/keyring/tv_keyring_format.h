/*
 * tv_keyring_format.h
 *	  Bytes of the keyring file.  No PostgreSQL headers.
 *	  The layout is described in contrib/doc/formats.md.
 *
 * A keyring is one header sector followed by records.  Every record ends with
 * a check value that covers the record and the check of the record before it,
 * so a flipped byte, a removed or an exchanged record is seen without any
 * key.  What must be authentic is bound by keys besides: a table key is
 * wrapped with authenticated data, and file records carry a MAC under their
 * table key.
 */
#ifndef TV_KEYRING_FORMAT_H
#define TV_KEYRING_FORMAT_H

#include "base/tv_status.h"

#define TV_KEYRING_VERSION 1	/* newer: refuse, the server must be upgraded */
#define TV_KEYRING_SECTOR 512	/* disks write this much at once, or nothing */
#define TV_KEYRING_CHECK_LEN 16
#define TV_KEYRING_RECORD_MAX 4096
#define TV_KEYRING_RECORD_HEADER 16
#define TV_KEYRING_SALT_LEN 16
#define TV_KEYRING_KEY_ID_MAX 128
#define TV_KEYRING_URI_MAX 1024
#define TV_KEYRING_WRAPPED_MAX 128
#define TV_KEYRING_MAC_LEN 32

/*
 * The header sector.  committed is a length up to which the file was synced:
 * damage below it is corruption, above it may be the trace of a crash in the
 * middle of an append.
 */
typedef struct TvKeyringHeader
{
	uint32_t	version;
	uint64_t	system_identifier;
	uint64_t	generation;		/* counts compactions */
	uint64_t	committed;		/* bytes, header included */
	uint8_t		seed[TV_KEYRING_CHECK_LEN];	/* check value before record 1 */
} TvKeyringHeader;

/* On disk: never renumber. */
typedef enum TvRecordType
{
	TV_RECORD_MASTER_KEY = 1,	/* a master key and where it lives */
	TV_RECORD_TABLE_KEY = 2,	/* one version of a table key, wrapped */
	TV_RECORD_FILE = 3,			/* a relation file belongs to a table key */
	TV_RECORD_FILE_DROPPED = 4, /* file removed; needed until no WAL refers to it */
	TV_RECORD_FILE_FORGOTTEN = 5,	/* no WAL refers to it any more */
	TV_RECORD_TABLE_KEY_DESTROYED = 6,
	TV_RECORD_MASTER_KEY_RETIRED = 7,
	TV_RECORD_NONCE_PREFIX = 8, /* random part of the nonces of a server start */
	TV_RECORD_TABLE_KEY_FLOOR = 9,	/* the oldest version that a page may have */
	TV_RECORD_TABLE_KEY_WORK = 10,	/* pages are to be brought up to date */
	TV_RECORD_FILE_RELEASED = 11,	/* file is plain; old WAL may need the key */
	TV_RECORD_SCOPE = 12,		/* everything new in a tablespace is encrypted */
	TV_RECORD_ANCHOR = 13		/* how far what is kept elsewhere had got */
} TvRecordType;

typedef struct TvMasterKeyRecord
{
	uint64_t	id;				/* random */
	uint32_t	database;		/* 0: default for the whole cluster */
	int64_t		created;		/* microseconds since 2000-01-01 UTC */
	uint8_t		salt[TV_KEYRING_SALT_LEN];
	char		key_id[TV_KEYRING_KEY_ID_MAX + 1];
	char		uri[TV_KEYRING_URI_MAX + 1];
	bool		taking_over;	/* keys of its database that another one's wraps are to be wrapped by it */
	uint16_t	check_len;		/* 32 random bytes wrapped by the key: */
	uint8_t		check[TV_KEYRING_WRAPPED_MAX];	/* tells a replaced key */
} TvMasterKeyRecord;

typedef struct TvTableKeyRecord
{
	uint64_t	id;				/* random; the same for every version */
	uint16_t	epoch;			/* version, 1 .. TV_EPOCH_MAX */
	uint32_t	database;
	uint32_t	table;			/* pg_class.oid of the base table */
	uint8_t		cipher;			/* TvCipher of its permanent files */
	uint64_t	master_key;
	int64_t		created;
	uint16_t	wrapped_len;
	uint8_t		wrapped[TV_KEYRING_WRAPPED_MAX];
} TvTableKeyRecord;

/* flags of a file record */
#define TV_FILE_SEALED 0x01		/* no unsealed page is accepted */
#define TV_FILE_BINDING 0x02	/* not a file: relation "relation" uses the key */
#define TV_FILE_UNLOGGED 0x04	/* XTS, whatever the cipher of the key's version */
#define TV_FILE_PLAIN 0x08		/* pages are written unsealed: being decrypted */
#define TV_FILE_FLAGS 0x0f

typedef struct TvFileRecord
{
	uint32_t	tablespace;
	uint32_t	database;
	uint32_t	relation;		/* relfilenode; for a binding pg_class.oid */
	uint64_t	table_key;
	uint8_t		cipher;
	uint8_t		flags;
	uint64_t	scopes;			/* newest SCOPE when it was written; 0: version 1 */
	uint8_t		mac[TV_KEYRING_MAC_LEN];	/* under the table key */
	uint64_t	lsn;			/* WAL position of the record; 0: not known */
} TvFileRecord;

/* FILE_DROPPED, FILE_FORGOTTEN and FILE_RELEASED */
typedef struct TvFileRemovalRecord
{
	uint32_t	tablespace;
	uint32_t	database;
	uint32_t	relation;
	uint64_t	lsn;			/* WAL position of the removal */
} TvFileRemovalRecord;

/* epoch of MASTER_KEY_RETIRED: why */
#define TV_RETIRED_ROTATED 0
#define TV_RETIRED_WITH_DATABASE 1	/* its database was dropped */

/* TABLE_KEY_DESTROYED (epoch 0: all) and MASTER_KEY_RETIRED */
typedef struct TvKeyRemovalRecord
{
	uint64_t	id;
	uint16_t	epoch;
	int64_t		when;			/* of MASTER_KEY_RETIRED; 0: not recorded */
} TvKeyRemovalRecord;

/*
 * TABLE_KEY_FLOOR: from WAL position lsn on, no page of a file of key id has a
 * version below epoch, nor (epoch > 0) is unsealed.
 */
typedef struct TvKeyFloorRecord
{
	uint64_t	id;
	uint16_t	epoch;
	uint64_t	lsn;
} TvKeyFloorRecord;

/* flags of TABLE_KEY_WORK */
#define TV_WORK_PENDING 0x01	/* there may be pages that are not as they should be */
#define TV_WORK_PAUSED 0x02		/* an operator said so */
#define TV_WORK_MAY_DECRYPT 0x04	/* some may be to be decrypted: the catalogs tell */

typedef struct TvKeyWorkRecord
{
	uint64_t	id;
	uint16_t	flags;
	uint64_t	since;			/* pages with a WAL position before: all of them; or 0 */
} TvKeyWorkRecord;

#define TV_NONCE_PREFIX_LEN 7

typedef struct TvNoncePrefixRecord
{
	int64_t		created;
	uint8_t		prefix[TV_NONCE_PREFIX_LEN];
} TvNoncePrefixRecord;

/* cipher 0: the scope is no more */
typedef struct TvScopeRecord
{
	uint32_t	tablespace;		/* 0: any */
	uint32_t	database;		/* 0: any; not both */
	uint8_t		cipher;			/* TvCipher of new table keys */
	uint64_t	master_key;		/* that wraps them; 0: that of their database */
	int64_t		created;
	uint64_t	number;			/* counts SCOPE records; 0: version 1, no MAC */
	uint8_t		mac[TV_KEYRING_MAC_LEN];	/* of all scopes, with this change */
} TvScopeRecord;

#define TV_ANCHOR_LEN 128

/* The last one of a service counts.  The bytes are the service's. */
typedef struct TvAnchorRecord
{
	uint32_t	service;		/* TvKeyringService */
	uint64_t	lsn;			/* WAL position where it was made */
	uint8_t		bytes[TV_ANCHOR_LEN];
} TvAnchorRecord;

typedef struct TvRecord
{
	TvRecordType type;
	union
	{
		TvMasterKeyRecord master_key;
		TvTableKeyRecord table_key;
		TvFileRecord file;
		TvFileRemovalRecord removal;
		TvKeyRemovalRecord key_removal;
		TvNoncePrefixRecord nonce_prefix;
		TvScopeRecord scope;
		TvKeyFloorRecord key_floor;
		TvKeyWorkRecord key_work;
		TvAnchorRecord anchor;
	}			u;
} TvRecord;

extern void tv_keyring_header_encode(const TvKeyringHeader *header,
									 uint8_t sector[TV_KEYRING_SECTOR]);

/*
 * Errors: TV_ERR_CORRUPT (magic, check), TV_ERR_VERSION (newer format),
 * TV_ERR_TRUNCATED (shorter than a sector).
 */
extern TvStatus tv_keyring_header_decode(const uint8_t *data, size_t len,
										 TvKeyringHeader *header, TvError *err);

/*
 * Encode a record into out (TV_KEYRING_RECORD_MAX bytes are enough), chained
 * to check, which is advanced.  Returns the length, 0 if it cannot fit.
 */
extern size_t tv_keyring_record_encode(const TvRecord *record,
									   uint8_t check[TV_KEYRING_CHECK_LEN],
									   uint8_t *out, size_t cap);

/*
 * Decode the record at data (len bytes are left in the file, starting at file
 * offset pos), verifying it against check, which is advanced on success.
 * *used is the record's length on success.
 *
 * TV_ERR_TRUNCATED: an append that a crash cut off (the record is incomplete,
 * or a whole sector's part of it is zero); TV_ERR_CORRUPT: changed bytes;
 * TV_ERR_VERSION: a record type or version that this build does not know.
 */
extern TvStatus tv_keyring_record_decode(const uint8_t *data, size_t len,
										 uint64_t pos,
										 uint8_t check[TV_KEYRING_CHECK_LEN],
										 TvRecord *record, size_t *used);

/*
 * The bytes of a file record that its MAC covers; returns their number
 * (at most TV_FILE_MAC_INPUT_MAX).
 */
#define TV_FILE_MAC_INPUT_MAX 64
extern size_t tv_keyring_file_mac_input(const TvFileRecord *file,
										uint8_t *out, size_t cap);

/*
 * The bytes that the MAC of SCOPE record number covers: all scopes that there
 * are after it, which come in order of tablespace and database.
 */
#define TV_SCOPE_BYTES 25
#define TV_SCOPE_MAC_INPUT_MAX(n) (64 + (size_t) (n) * TV_SCOPE_BYTES)
extern size_t tv_keyring_scope_mac_input(uint64_t number, const TvScopeRecord *scopes,
										 const uint16_t *order, uint32_t n,
										 uint8_t *out, size_t cap);

/* What the wrap of a table key binds; at most TV_WRAP_AAD_MAX bytes. */
#define TV_WRAP_AAD_MAX 64
extern size_t tv_keyring_table_key_aad(const TvTableKeyRecord *key,
									   uint8_t *out, size_t cap);
extern size_t tv_keyring_master_check_aad(const TvMasterKeyRecord *key,
										  uint8_t *out, size_t cap);

#endif							/* TV_KEYRING_FORMAT_H */
