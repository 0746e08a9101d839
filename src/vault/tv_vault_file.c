/*
 * tv_vault_file.c
 *	  The policy file of a database: tde_vault/vault/<oid>.
 *
 * Sealed under a key of the keyring that is made for it, wrapped by the
 * database's master key as table keys are.  In the keyring it is the key of
 * pg_database, a table that cannot be encrypted itself, and a file record of
 * that name, in no tablespace, says that the database has, or should have, a
 * policy: so a file that was deleted is missed.
 *
 * A policy is replaced by rename, after it was logged whole; a checkpoint in
 * between is held back, so the file is either on disk or in WAL that recovery
 * will read.  See contrib/doc/decisions/0023-policy-file.md.
 */
#include "vault/tv_vault_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/proc.h"

#include "base/tv_report.h"
#include "base/tv_shmem.h"
#include "crypto/tv_kdf.h"
#include "keyring/tv_keyring.h"
#include "wal/tv_wal_logged.h"

#define TOP_DIR "tde_vault"
#define VAULT_DIR "tde_vault/vault"
#define PATH_LEN 64
#define FILE_MAX (256 * 1024 * 1024)	/* bytes of a policy that can be read */

/* The keyring's "table" and "file" for the key of a policy. */
#define KEY_TABLE DatabaseRelationId
#define ANCHOR_FIRST 2000
#define ANCHOR_COUNT 10000
#define ANCHORS_KEPT 8			/* older ones that are looked for */

StaticAssertDecl(ANCHOR_FIRST + ANCHOR_COUNT < FirstNormalObjectId && ANCHOR_FIRST > KEY_TABLE,
				 "no relation has such a file record");

static void
path_of(Oid database, const char *suffix, char *path)
{
	snprintf(path, PATH_LEN, VAULT_DIR "/%u%s", database, suffix);
}

static TvStatus
io_error(TvError *err, const char *what, const char *path)
{
	TvStatus	status = tv_error(err, TV_ERR_IO, "could not %s file \"%s\": %s",
								  what, path, strerror(errno));

	if (errno == ENOSPC)
		tv_error_hint(err, "Free space on the file system that holds the data directory.");
	return status;
}

static TvStatus
damaged(TvError *err, Oid database, TvStatus status, const char *what)
{
	(void) tv_error(err, status, "vault policy of database %u %s", database, what);
	tv_error_hint(err, "Restore the file \"" VAULT_DIR "/%u\" from a backup of this server.",
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
	RelFileNode node = {InvalidOid, database, KEY_TABLE};

	return tv_keyring_lookup(&node, known) && !known->dropped;
}

TvStatus
tv_vault_file_make_key(Oid database, uint64 fallback, TvError *err)
{
	RelFileNode node = {InvalidOid, database, KEY_TABLE};
	TvKeyringFile known;
	TvCipher	cipher;
	TvStatus	status;

	if (find_key(database, &known))
		return TV_OK;
	status = tv_keyring_key_for_table(database, KEY_TABLE, TV_CIPHER_AES_256_GCM, fallback,
									  &known.key, &cipher, err);
	if (status == TV_OK)
		status = tv_keyring_assign(&node, known.key, cipher, TV_FILE_SEALED, err);
	if (status == TV_OK)
		status = tv_keyring_flush(err);
	return status;
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

/*
 * After that: those before are not.  A crash may have left one more.  A failure
 * leaves one, too, until the next change.
 */
static void
remove_anchors(Oid database, uint64 number)
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

/*
 * Seal the policy into malloc'ed memory, after TV_LOGGED_PREFIX bytes for the
 * log; *len: bytes of the file.
 */
static TvStatus
seal_policy(Oid database, const TvPolicy *policy, uint8 **record, size_t *len, TvError *err)
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

/* Open the bytes of a file, in place. */
static TvStatus
open_policy(Oid database, uint8 *file, size_t len, TvPolicy **policy, TvError *err)
{
	TvVaultHeader header;
	RelFileNode node = {InvalidOid, database, KEY_TABLE};
	TvKeyringFile known;
	const TvCipherContext *context;
	uint8	   *body = file + TV_VAULT_HEADER_LEN + TV_TAG_LEN;
	TvStatus	status = tv_vault_header_decode(file, len, &header);

	if (status == TV_ERR_VERSION)
		return damaged(err, database, status, "is of a newer version");
	if (status != TV_OK)
		return damaged(err, database, status, "is damaged");
	if (header.database != database || !find_key(database, &known) ||
		known.key != header.key)
		return damaged(err, database, TV_ERR_AUTH, "belongs to another database or server");
	status = tv_keyring_verify_file(&node, err);
	if (status != TV_OK)
		return status;
	if (!is_anchored(database, header.number))
		return damaged(err, database, TV_ERR_AUTH, "is not the latest one");
	context = key_context(header.key, header.epoch, err);
	if (context == NULL)
		return err->status;
	if (tv_cipher_open(context, header.nonce, file, TV_VAULT_HEADER_LEN, body, body,
					   header.body_len, file + TV_VAULT_HEADER_LEN) != TV_OK)
		return damaged(err, database, TV_ERR_AUTH, "was changed by somebody without its key");
	status = tv_policy_decode(body, header.body_len, policy);
	if (status == TV_ERR_NO_MEMORY)
		return tv_error(err, status, "out of memory for the vault policy");
	if (status != TV_OK)
		return damaged(err, database, status, "cannot be understood");
	(*policy)->flags = header.flags;
	(*policy)->number = header.number;
	return TV_OK;
}

/* --- reading --- */

/* The bytes of the file, malloc'ed. */
static TvStatus
read_bytes(Oid database, uint8 **data, size_t *len, TvError *err)
{
	char		path[PATH_LEN];
	struct stat st;
	ssize_t		got = -1;
	int			fd;

	path_of(database, "", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
	{
		if (errno == ENOENT)
			return damaged(err, database, TV_ERR_CORRUPT, "is missing");
		return io_error(err, "open", path);
	}
	*data = NULL;
	if (fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size <= FILE_MAX &&
		(*data = malloc(st.st_size)) != NULL)
		got = read(fd, *data, st.st_size);
	close(fd);
	if (got > 0 && got == st.st_size)
	{
		*len = got;
		return TV_OK;
	}
	free(*data);
	*data = NULL;
	return damaged(err, database, TV_ERR_CORRUPT, "could not be read whole");
}

TvStatus
tv_vault_file_read(Oid database, TvPolicy **policy, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_FILE);
	TvVaultDatabase known;
	TvVaultHeader header;
	uint8	   *data = NULL;
	size_t		len = 0;
	TvStatus	status = TV_OK;

	*policy = NULL;

	/* a rename between the two would make a good file look like an old one */
	for (uint64 generation = 0; generation != tv_vault_generation();)
	{
		generation = tv_vault_generation();
		free(data);
		data = NULL;
		if (!tv_vault_shared_get(database, &known))
			return tv_error(err, TV_ERR_NO_KEY, "database %u has no vault policy", database);
		LWLockAcquire(lock, LW_SHARED);
		status = read_bytes(database, &data, &len, err);
		LWLockRelease(lock);
	}
	if (status != TV_OK)
		return status;
	if (known.verified && tv_vault_header_decode(data, len, &header) == TV_OK &&
		header.number != known.number)
		status = damaged(err, database, TV_ERR_AUTH, "is not the latest one");
	else
		status = open_policy(database, data, len, policy, err);
	free(data);
	if (status == TV_OK && !known.verified)
		tv_vault_shared_verified(&known, *policy);
	return status;
}

/* --- writing --- */

static TvStatus
sync_directory(const char *path, TvError *err)
{
	int			fd;
	TvStatus	status = TV_OK;

	if (!enableFsync)
		return TV_OK;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return io_error(err, "open", path);
	if (fsync(fd) != 0)
		status = io_error(err, "fsync", path);
	close(fd);
	return status;
}

static TvStatus
make_directories(TvError *err)
{
	if ((mkdir(TOP_DIR, S_IRWXU) != 0 && errno != EEXIST) ||
		(mkdir(VAULT_DIR, S_IRWXU) != 0 && errno != EEXIST))
		return io_error(err, "create directory", VAULT_DIR);
	return sync_directory(TOP_DIR, err);
}

static TvStatus
write_new(Oid database, const uint8 *data, size_t len, TvError *err)
{
	char		path[PATH_LEN];
	TvStatus	status = make_directories(err);
	ssize_t		done;
	int			fd;

	if (status != TV_OK)
		return status;
	path_of(database, ".new", path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (fd < 0)
		return io_error(err, "create", path);
	errno = 0;
	done = write(fd, data, len);
	if (done != (ssize_t) len)
	{
		if (errno == 0)
			errno = ENOSPC;		/* as fd.c: a short write without errno */
		status = io_error(err, "write", path);
	}
	else if (pg_fsync(fd) != 0)
		status = io_error(err, "fsync", path);
	close(fd);
	if (status != TV_OK)
		unlink(path);
	return status;
}

static TvStatus
move_new(Oid database, TvError *err)
{
	char		from[PATH_LEN];
	char		to[PATH_LEN];

	path_of(database, ".new", from);
	path_of(database, "", to);
	if (rename(from, to) != 0)
		return io_error(err, "rename", from);
	return sync_directory(VAULT_DIR, err);
}

/*
 * The file is in place on return, or the server restarts: once the log has the
 * policy, there is no way back.  The caller holds TV_LOCK_VAULT_FILE.
 */
static void
log_and_move(Oid database, uint8 *record, size_t len)
{
	TvError		err;

	START_CRIT_SECTION();
	MyProc->delayChkptFlags |= DELAY_CHKPT_START;
	(void) tv_wal_logged_insert(TV_LOGGED_POLICY, database, record, len);
	if (move_new(database, &err) != TV_OK)
		tv_report(PANIC, &err);
	MyProc->delayChkptFlags &= ~DELAY_CHKPT_START;
	END_CRIT_SECTION();
}

TvStatus
tv_vault_file_write(Oid database, TvPolicy *policy, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_FILE);
	TvVaultDatabase entry = {0};
	uint8	   *record = NULL;
	size_t		len = 0;
	TvStatus	status;

	if (tv_vault_shared_get(database, &entry))
		policy->number = Max(entry.number, policy->number);
	policy->number++;
	status = seal_policy(database, policy, &record, &len, err);
	if (status != TV_OK)
		return status;

	entry.database = database;
	entry.number = policy->number;
	entry.flags = policy->flags;
	entry.verified = true;
	entry.broken = false;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (!tv_vault_shared_has_room(database))
		status = tv_error(err, TV_ERR_NO_MEMORY, "too many databases have a vault");
	if (status == TV_OK)
		status = write_new(database, record + TV_LOGGED_PREFIX, len, err);
	if (status == TV_OK)
	{
		log_and_move(database, record, len);
		(void) tv_vault_shared_set(&entry, err);
	}
	LWLockRelease(lock);
	free(record);
	if (status == TV_OK)
		remove_anchors(database, policy->number);
	return status;
}

/* The caller holds TV_LOCK_VAULT_FILE. */
static void
unlink_policy(Oid database)
{
	char		path[PATH_LEN];
	TvError		err;

	path_of(database, "", path);
	if (unlink(path) != 0 && errno != ENOENT)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", path)));
	else if (sync_directory(VAULT_DIR, &err) != TV_OK)
		tv_report(WARNING, &err);
	tv_vault_shared_remove(database);
}

void
tv_vault_file_remove(Oid database)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_FILE);
	RelFileNode node = {InvalidOid, database, KEY_TABLE};
	TvVaultDatabase entry;
	TvKeyringFile known;
	uint8		record[TV_LOGGED_PREFIX];
	TvError		err;

	if (!tv_vault_shared_get(database, &entry))
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	(void) tv_wal_logged_insert(TV_LOGGED_POLICY, database, record, 0);
	unlink_policy(database);
	LWLockRelease(lock);
	if (find_key(database, &known) && tv_keyring_drop(&node, &err) != TV_OK)
		tv_report(WARNING, &err);
}

/* --- recovery and start --- */

static void
policy_redo(uint32 database, const uint8 *data, size_t len)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_FILE);
	TvVaultDatabase entry = {0};
	TvVaultHeader header;
	TvError		err;
	TvStatus	status = TV_OK;

	if (len > 0 && tv_vault_header_decode(data, len, &header) != TV_OK)
		ereport(FATAL,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("WAL record of the vault policy of database %u is damaged or of a newer version",
						database)));
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (len == 0)
		unlink_policy(database);
	else
	{
		entry.database = database;
		entry.number = header.number;
		entry.flags = header.flags;
		status = write_new(database, data, len, &err);
		if (status == TV_OK)
			status = move_new(database, &err);
		if (status == TV_OK)
			status = tv_vault_shared_set(&entry, &err);
	}
	LWLockRelease(lock);
	if (status != TV_OK)
		tv_report(FATAL, &err);
}

/* What the file of database says about itself; nobody has verified it yet. */
static void
scan_file(Oid database)
{
	TvVaultDatabase entry = {0};
	TvVaultHeader header;
	uint8	   *data;
	size_t		len;
	TvError		err;

	entry.database = database;
	entry.flags = TV_VAULT_ON;
	if (read_bytes(database, &data, &len, &err) == TV_OK)
	{
		if (tv_vault_header_decode(data, len, &header) == TV_OK)
		{
			entry.number = header.number;
			entry.flags = header.flags;
		}
		free(data);
	}
	if (tv_vault_shared_set(&entry, &err) != TV_OK)
		tv_report(FATAL, &err);
}

/* In the postmaster, alone: no locks. */
void
tv_vault_file_scan(void)
{
	DIR		   *dir = opendir(VAULT_DIR);
	struct dirent *file;
	TvKeyringKey key;
	uint32		slot = 0;

	if (dir == NULL && errno != ENOENT)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not open directory \"%s\": %m", VAULT_DIR)));
	while (dir != NULL && (file = readdir(dir)) != NULL)
	{
		char	   *end;
		unsigned long database = strtoul(file->d_name, &end, 10);

		if (database > 0 && database <= PG_UINT32_MAX && *end == '\0')
			scan_file((Oid) database);
	}
	if (dir != NULL)
		closedir(dir);

	/* those that should be there */
	while (tv_keyring_next_key(&slot, &key))
	{
		if (key.table == KEY_TABLE && key.files > 0)
			scan_file(key.database);
	}
}

void
tv_vault_file_init(void)
{
	tv_wal_logged_register(TV_LOGGED_POLICY, policy_redo);
}
