/*
 * tv_vault_format.h
 *	  A database's policy, and its bytes.  No PostgreSQL headers.
 *	  The layout is described in contrib/doc/formats.md.
 *
 * A policy file is a header, which is readable and authenticated, and a body
 * under AES-256-GCM.  The body is what tv_policy_encode() writes.  Objects of
 * the server are named by OID only: a name can be taken over.
 */
#ifndef TV_VAULT_FORMAT_H
#define TV_VAULT_FORMAT_H

#include "base/tv_status.h"
#include "crypto/tv_cipher.h"

#define TV_VAULT_VERSION 1		/* newer: refuse, everything stays closed */
#define TV_VAULT_HEADER_LEN 64
#define TV_VAULT_SALT_LEN 16
#define TV_VAULT_HASH_LEN 32
#define TV_VAULT_NAME_MAX 63
#define TV_VAULT_TEXT_MAX 8192	/* bytes of a description, condition, reason ... */

/* --- file header --- */

#define TV_VAULT_ON 0x0001		/* flags: the vault is switched on */
#define TV_VAULT_COPIED 0x0002	/* of a clone: closed until it is opened */

typedef struct TvVaultHeader
{
	uint16_t	version;
	uint16_t	flags;
	uint32_t	database;
	uint16_t	epoch;			/* version of the key */
	uint64_t	key;			/* keyring's id of the key */
	uint64_t	number;			/* counts policies of this database, from 1 */
	uint64_t	body_len;
	uint8_t		nonce[TV_NONCE_LEN];
} TvVaultHeader;

/* All of the header is additional authenticated data. The tag follows it. */
extern void tv_vault_header_encode(const TvVaultHeader *header,
								   uint8_t out[TV_VAULT_HEADER_LEN]);

/*
 * Decode and check what can be checked without the key: TV_ERR_TRUNCATED,
 * TV_ERR_CORRUPT, TV_ERR_VERSION.  len: bytes of the whole file.
 */
extern TvStatus tv_vault_header_decode(const uint8_t *data, size_t len,
									   TvVaultHeader *header);

/* --- body; values are on disk: never renumber --- */

typedef enum TvVaultMode
{
	TV_MODE_DISABLED = 0,
	TV_MODE_ENABLED = 1,
	TV_MODE_SIMULATE = 2
} TvVaultMode;

typedef enum TvObjectKind
{
	TV_OBJECT_TABLE = 1,
	TV_OBJECT_SCHEMA = 2,
	TV_OBJECT_COLUMN = 3,		/* rules only, as are those below */
	TV_OBJECT_REALM = 4,
	TV_OBJECT_DATABASE = 5
} TvObjectKind;

typedef struct TvRealm
{
	uint32_t	id;
	uint32_t	owner;			/* role */
	uint8_t		mode;			/* TvVaultMode */
	uint8_t		password;		/* authorized roles need one */
	int64_t		created;		/* microseconds since 2000-01-01 UTC, as all times */
	char	   *name;
	char	   *description;	/* or NULL */
} TvRealm;

/* A table or schema of a realm; sorted by oid, then kind, then realm. */
typedef struct TvRealmObject
{
	uint32_t	oid;
	uint32_t	realm;
	uint8_t		kind;			/* TABLE or SCHEMA */
} TvRealmObject;

typedef struct TvRealmRole
{
	uint32_t	realm;
	uint32_t	role;
	uint32_t	grantor;
	int64_t		granted;
} TvRealmRole;

typedef struct TvVaultPassword
{
	uint32_t	realm;
	uint32_t	role;
	uint32_t	grantor;
	uint64_t	version;		/* of any password of this database, never reused */
	uint32_t	memory_kib;		/* Argon2id */
	uint32_t	passes;
	uint32_t	lanes;
	uint8_t		salt[TV_VAULT_SALT_LEN];
	uint8_t		stored[TV_VAULT_HASH_LEN];	/* see tv_vault_verifier.h */
	int64_t		created;
	int64_t		valid_until;	/* 0: no end */
} TvVaultPassword;

typedef struct TvCommandRule
{
	uint32_t	id;
	uint16_t	actions;		/* TV_ACTION_ bits */
	uint8_t		kind;			/* TvObjectKind */
	uint8_t		mode;			/* TvVaultMode */
	uint32_t	object;			/* OID; of a realm its id; of a database 0 */
	int16_t		column;			/* attribute number */
	uint32_t	n_roles;		/* 0: everybody */
	uint32_t   *roles;
	int64_t		created;
	char	   *name;
	char	   *condition;		/* or NULL */
	char	   *message;		/* or NULL */
} TvCommandRule;

typedef struct TvEmergency
{
	uint64_t	id;
	uint32_t	realm;
	uint32_t	requester;
	uint32_t	officer;
	uint32_t	reviewer;		/* 0: not reviewed */
	int64_t		valid_for;		/* microseconds from approval */
	int64_t		requested;
	int64_t		approved;		/* 0: not yet */
	int64_t		expires;
	int64_t		reviewed;
	char	   *realm_name;		/* outlives the realm */
	char	   *reason;
	char	   *note;			/* of the review, or NULL */
} TvEmergency;

/* Recovery shares: m of n of them give the secret whose hash this is. */
typedef struct TvRecovery
{
	uint8_t		m;
	uint8_t		n;				/* 0: there are none */
	int64_t		created;
	uint8_t		salt[TV_VAULT_SALT_LEN];
	uint8_t		hash[TV_VAULT_HASH_LEN];
} TvRecovery;

#define TV_POLICY_ARRAYS 6

typedef struct TvPolicy
{
	uint16_t	flags;			/* TV_VAULT_ON, TV_VAULT_COPIED */
	uint64_t	number;
	uint32_t	enabler;		/* role that switched the vault on */
	uint8_t		has_admin;		/* a vault administrator was there once */
	uint32_t	admin_role;		/* OIDs of vault_admin, vault_auditor, vault_operator */
	uint32_t	auditor_role;
	uint32_t	operator_role;
	uint32_t	last_id;		/* of realms and rules */
	uint64_t	last_emergency;
	uint64_t	last_password;
	TvRecovery	recovery;

	uint32_t	n_realms;
	uint32_t	n_objects;
	uint32_t	n_roles;
	uint32_t	n_passwords;
	uint32_t	n_rules;
	uint32_t	n_emergencies;
	TvRealm    *realms;
	TvRealmObject *objects;
	TvRealmRole *roles;
	TvVaultPassword *passwords;
	TvCommandRule *rules;
	TvEmergency *emergencies;

	uint32_t	capacity[TV_POLICY_ARRAYS];	/* of those arrays; 0: exactly what is there */
	struct TvPolicyBlock *memory;	/* everything above that is pointed to */
} TvPolicy;

/* An empty policy; NULL when out of memory.  Owned by the caller. */
extern TvPolicy *tv_policy_new(void);
/* Wipe and release it with all that it points to.  NULL is ignored. */
extern void tv_policy_free(TvPolicy *policy);

/* size bytes of the policy's memory, zeroed; NULL when out of memory. */
extern void *tv_policy_alloc(TvPolicy *policy, size_t size);
/* A copy of text (NULL stays NULL). */
extern char *tv_policy_strdup(TvPolicy *policy, const char *text, bool *failed);

/*
 * Room for one more at the end (or, of objects, in order): a zeroed entry, or
 * NULL when out of memory.  Pointers to other entries of the array are void
 * afterwards.
 */
extern TvRealm *tv_policy_add_realm(TvPolicy *policy);
extern TvRealmObject *tv_policy_add_object(TvPolicy *policy, uint32_t oid,
										   uint8_t kind, uint32_t realm);
extern TvRealmRole *tv_policy_add_role(TvPolicy *policy);
extern TvVaultPassword *tv_policy_add_password(TvPolicy *policy);
extern TvCommandRule *tv_policy_add_rule(TvPolicy *policy);
extern TvEmergency *tv_policy_add_emergency(TvPolicy *policy);

/* Take entry i away; order is kept. */
extern void tv_policy_remove_realm(TvPolicy *policy, uint32_t i);
extern void tv_policy_remove_object(TvPolicy *policy, uint32_t i);
extern void tv_policy_remove_role(TvPolicy *policy, uint32_t i);
extern void tv_policy_remove_password(TvPolicy *policy, uint32_t i);
extern void tv_policy_remove_rule(TvPolicy *policy, uint32_t i);

/* The first object entry of that oid and kind, or n_objects. */
extern uint32_t tv_policy_find_object(const TvPolicy *policy, uint32_t oid, uint8_t kind);

/* The realm or rule of that name or id; NULL if there is none. */
extern TvRealm *tv_policy_realm(const TvPolicy *policy, const char *name);
extern TvRealm *tv_policy_realm_by_id(const TvPolicy *policy, uint32_t id);
extern TvCommandRule *tv_policy_rule(const TvPolicy *policy, const char *name);

/*
 * Encode the body (flags and number are the header's) into malloc'ed memory
 * with room for extra bytes before it; *len: of the body.  NULL when out of
 * memory.  The caller frees it.
 */
extern uint8_t *tv_policy_encode(const TvPolicy *policy, size_t extra, size_t *len);

/*
 * Decode a body.  *policy is the caller's.  TV_ERR_TRUNCATED, TV_ERR_CORRUPT,
 * TV_ERR_NO_MEMORY.
 */
extern TvStatus tv_policy_decode(const uint8_t *data, size_t len, TvPolicy **policy);

/* A deep copy, or NULL when out of memory. */
extern TvPolicy *tv_policy_copy(const TvPolicy *policy);

#endif							/* TV_VAULT_FORMAT_H */
