/*
 * tv_vault_seal.c
 *	  A policy and its bytes: sealed, and known to be the latest.
 *
 * Sealed under a key of the keyring that is made for it, wrapped by the
 * database's master key as table keys are.  In the keyring it is the key of
 * pg_database, a table that cannot be encrypted itself, and a file record of
 * that name, in no tablespace, says that the database has, or should have, a
 * policy: so a file that was deleted is missed.
 */
#include "vault/tv_vault_seal.h"

#include "access/transam.h"

#include "base/tv_report.h"
#include "crypto/tv_kdf.h"
#include "keyring/tv_keyring.h"
#include "wal/tv_wal_logged.h"

/* The keyring's file records that name the number of the latest policy. */
#define ANCHOR_FIRST 2000
#define ANCHOR_COUNT 10000
#define ANCHORS_KEPT 8			/* older ones that are looked for */

StaticAssertDecl(ANCHOR_FIRST + ANCHOR_COUNT < FirstNormalObjectId && ANCHOR_FIRST > TV_VAULT_KEY_TABLE,
				 "no relation has such a file record");

TvStatus
tv_vault_policy_damaged(TvError *err, Oid database, TvStatus status, const char *what)
{
	(void) tv_error(err, status, "vault policy of database %u %s", database, what);
	tv_error_hint(err, "Copy \"" TV_VAULT_DIR "/%u\", as it was last, from a standby, or from a backup that was recovered to the end of WAL.",
				  database);
	return status;
}

/* --- the key --- */

static const TvCipherContext *
key_context(uint64 key, uint16 epoch, TvError *err)
{
	TvKeyHandle handle = {0};

	return tv_keyring_context(key, epoch, TV_PURPOSE_VAULT, TV_CIPHER_AES_256_GCM, &handle, err);
}

/* What the keyring says of the database's policy. */
static bool
find_key(Oid database, TvKeyringFile *known)
{
	RelFileNode node = {InvalidOid, database, TV_VAULT_KEY_TABLE};

	return tv_keyring_lookup(&node, known) && !known->dropped;
}

TvStatus
tv_vault_file_make_key(Oid database, uint64 fallback, TvError *err)
{
	RelFileNode node = {InvalidOid, database, TV_VAULT_KEY_TABLE};
	TvKeyringFile known;
	TvCipher	cipher;
	TvStatus	status;

	if (find_key(database, &known))
		return TV_OK;
	status = tv_keyring_key_for_table(database, TV_VAULT_KEY_TABLE, TV_CIPHER_AES_256_GCM, fallback,
									  &known.key, &cipher, err);
	if (status == TV_OK)
		status = tv_keyring_assign(&node, known.key, cipher, TV_FILE_SEALED, err);
	if (status == TV_OK)
		status = tv_keyring_flush(err);
	return status;
}

void
tv_vault_key_drop(Oid database)
{
	RelFileNode node = {InvalidOid, database, TV_VAULT_KEY_TABLE};
	TvKeyringFile known;
	TvError		err;

	if (find_key(database, &known) && tv_keyring_drop(&node, &err) != TV_OK)
		tv_report(WARNING, &err);
}

/*
 * The keyring also names the number of the latest policy, so that an older file
 * is known as such after a restart, too: by another file record of the same
 * key.  Nothing else has a record in no tablespace with an OID of the server's
 * own range.
 */
static RelFileNode
anchor_of(Oid database, uint64 number)
{
	RelFileNode node = {InvalidOid, database, ANCHOR_FIRST + number % ANCHOR_COUNT};

	return node;
}

static bool
is_anchored(Oid database, uint64 number)
{
	RelFileNode node = anchor_of(database, number);
	TvKeyringFile known;
	TvError		unused;

	return tv_keyring_lookup(&node, &known) && !known.dropped &&
		tv_keyring_verify_file(&node, &unused) == TV_OK;
}

/* Before a policy is written: from now on it and the one before are taken. */
static TvStatus
add_anchor(Oid database, uint64 number, uint64 key, TvError *err)
{
	RelFileNode node = anchor_of(database, number);
	TvStatus	status = tv_keyring_assign(&node, key, TV_CIPHER_AES_256_GCM, TV_FILE_SEALED, err);

	return status == TV_OK ? tv_keyring_flush(err) : status;
}

void
tv_vault_anchors_remove(Oid database, uint64 number)
{
	for (uint64 older = number - 1; older > 0 && older + ANCHORS_KEPT > number; older--)
	{
		RelFileNode node = anchor_of(database, older);
		TvKeyringFile known;
		TvError		err;

		if (tv_keyring_lookup(&node, &known) && tv_keyring_forget(&node, &err) != TV_OK)
			tv_report(WARNING, &err);
	}
}

/* The key that the database's policy is sealed under; made if there is none. */
static TvStatus
key_to_seal(Oid database, uint64 *key, uint16 *epoch, TvError *err)
{
	TvKeyringFile known;
	TvStatus	status = tv_vault_file_make_key(database, 0, err);

	if (status != TV_OK)
		return status;
	if (!find_key(database, &known))
		return tv_error(err, TV_ERR_INTERNAL, "keyring lost the key of the vault policy");
	*key = known.key;
	*epoch = known.epoch;
	return TV_OK;
}

/* --- sealing --- */

TvStatus
tv_vault_policy_seal(Oid database, const TvPolicy *policy, uint8 **record, size_t *len, TvError *err)
{
	TvVaultHeader header;
	const TvCipherContext *context;
	size_t		body_len;
	uint8	   *file;
	uint8	   *body;
	TvStatus	status;

	memset(&header, 0, sizeof(header));
	header.version = TV_VAULT_VERSION;
	header.flags = policy->flags;
	header.database = database;
	header.number = policy->number;
	status = key_to_seal(database, &header.key, &header.epoch, err);
	if (status != TV_OK)
		return status;
	if (tv_random(header.nonce, sizeof(header.nonce)) != TV_OK)
		return tv_error(err, TV_ERR_INTERNAL, "could not get random bytes");
	status = add_anchor(database, header.number, header.key, err);
	if (status != TV_OK)
		return status;
	context = key_context(header.key, header.epoch, err);
	if (context == NULL)
		return err->status;
	*record = tv_policy_encode(policy, TV_LOGGED_PREFIX + TV_VAULT_HEADER_LEN + TV_TAG_LEN, &body_len);
	if (*record == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY, "out of memory for the vault policy");
	file = *record + TV_LOGGED_PREFIX;
	body = file + TV_VAULT_HEADER_LEN + TV_TAG_LEN;
	header.body_len = body_len;
	tv_vault_header_encode(&header, file);
	status = tv_cipher_seal(context, header.nonce, file, TV_VAULT_HEADER_LEN, body, body,
							body_len, file + TV_VAULT_HEADER_LEN);
	if (status != TV_OK)
	{
		free(*record);
		*record = NULL;
		return tv_error(err, status, "could not encrypt the vault policy");
	}
	*len = TV_VAULT_HEADER_LEN + TV_TAG_LEN + body_len;
	return TV_OK;
}

TvStatus
tv_vault_policy_open(Oid database, uint8 *file, size_t len, TvPolicy **policy, TvError *err)
{
	TvVaultHeader header;
	RelFileNode node = {InvalidOid, database, TV_VAULT_KEY_TABLE};
	TvKeyringFile known;
	const TvCipherContext *context;
	uint8	   *body = file + TV_VAULT_HEADER_LEN + TV_TAG_LEN;
	TvStatus	status = tv_vault_header_decode(file, len, &header);

	if (status == TV_ERR_VERSION)
		return tv_vault_policy_damaged(err, database, status, "is of a newer version");
	if (status != TV_OK)
		return tv_vault_policy_damaged(err, database, status, "is damaged");
	if (header.database != database || !find_key(database, &known) ||
		known.key != header.key)
		return tv_vault_policy_damaged(err, database, TV_ERR_AUTH, "belongs to another database or server");
	status = tv_keyring_verify_file(&node, err);
	if (status != TV_OK)
		return status;
	if (!is_anchored(database, header.number))
		return tv_vault_policy_damaged(err, database, TV_ERR_AUTH, "is not the latest one");
	context = key_context(header.key, header.epoch, err);
	if (context == NULL)
		return err->status;
	if (tv_cipher_open(context, header.nonce, file, TV_VAULT_HEADER_LEN, body, body,
					   header.body_len, file + TV_VAULT_HEADER_LEN) != TV_OK)
		return tv_vault_policy_damaged(err, database, TV_ERR_AUTH, "was changed by somebody without its key");
	status = tv_policy_decode(body, header.body_len, policy);
	if (status == TV_ERR_NO_MEMORY)
		return tv_error(err, status, "out of memory for the vault policy");
	if (status != TV_OK)
		return tv_vault_policy_damaged(err, database, status, "cannot be understood");
	(*policy)->flags = header.flags;
	(*policy)->number = header.number;
	return TV_OK;
}
