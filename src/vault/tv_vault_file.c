/*
 * tv_vault_file.c
 *	  The policy file of a database: tde_vault/vault/<oid>.
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

#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/proc.h"

#include "base/tv_file.h"
#include "base/tv_report.h"
#include "base/tv_shmem.h"
#include "keyring/tv_keyring.h"
#include "vault/tv_vault_seal.h"
#include "wal/tv_wal_logged.h"

#define TOP_DIR "tde_vault"
#define PATH_LEN 64
#define COPY ".copy"			/* a second file of the same bytes */
#define FILE_MAX (256 * 1024 * 1024)	/* bytes of a policy that can be read */

static void
path_of(Oid database, const char *suffix, char *path)
{
	snprintf(path, PATH_LEN, TV_VAULT_DIR "/%u%s", database, suffix);
}

/* --- reading --- */

/* The bytes of the file, or of its copy, malloc'ed. */
static TvStatus
read_bytes(Oid database, const char *suffix, uint8 **data, size_t *len, TvError *err)
{
	char		path[PATH_LEN];
	struct stat st;
	ssize_t		got = -1;
	int			fd;

	path_of(database, suffix, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
	{
		if (errno == ENOENT)
			return tv_vault_policy_damaged(err, database, TV_ERR_CORRUPT, "is missing");
		return tv_io_error(err, "open", path);
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
	return tv_vault_policy_damaged(err, database, TV_ERR_CORRUPT, "could not be read whole");
}

static TvStatus
read_once(Oid database, const char *suffix, TvPolicy **policy, TvError *err)
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
		status = read_bytes(database, suffix, &data, &len, err);
		LWLockRelease(lock);
	}
	if (status != TV_OK)
		return status;
	if (known.verified && tv_vault_header_decode(data, len, &header) == TV_OK &&
		header.number != known.number)
		status = tv_vault_policy_damaged(err, database, TV_ERR_AUTH, "is not the latest one");
	else
		status = tv_vault_policy_open(database, data, len, policy, err);
	free(data);
	if (status == TV_OK && !known.verified)
		tv_vault_shared_verified(&known, *policy);
	return status;
}

/*
 * While a file is opened that was the latest, its successor may take its place,
 * and its anchor is removed (tv_vault_seal.c): that is no damage.
 */
/* Is it the file that is not right, and not the key that is not there? */
static bool
is_of_the_file(TvStatus status)
{
	return status == TV_ERR_CORRUPT || status == TV_ERR_AUTH || status == TV_ERR_TRUNCATED ||
		status == TV_ERR_IO;
}

TvStatus
tv_vault_file_read(Oid database, TvPolicy **policy, TvError *err)
{
	uint64		generation;
	TvStatus	status;
	TvError		unused;

	do
	{
		generation = tv_vault_generation();
		status = read_once(database, "", policy, err);
		if (status != TV_OK && is_of_the_file(status) &&
			read_once(database, COPY, policy, &unused) == TV_OK)
		{
			tv_report(LOG, err);
			status = TV_OK;
		}
	} while (status != TV_OK && generation != tv_vault_generation());
	return status;
}

/* --- writing --- */

static TvStatus
make_directories(TvError *err)
{
	if ((mkdir(TOP_DIR, pg_dir_create_mode) != 0 && errno != EEXIST) ||
		(mkdir(TV_VAULT_DIR, pg_dir_create_mode) != 0 && errno != EEXIST))
		return tv_io_error(err, "create directory", TV_VAULT_DIR);
	return tv_sync_directory(TOP_DIR, err);
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
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, pg_file_create_mode);
	if (fd < 0)
		return tv_io_error(err, "create", path);
	errno = 0;
	done = write(fd, data, len);
	if (done != (ssize_t) len)
	{
		if (errno == 0)
			errno = ENOSPC;		/* as fd.c: a short write without errno */
		status = tv_io_error(err, "write", path);
	}
	else if (pg_fsync(fd) != 0)
		status = tv_io_error(err, "fsync", path);
	close(fd);
	if (status != TV_OK)
		unlink(path);
	return status;
}

static TvStatus
move_new(Oid database, const char *suffix, TvError *err)
{
	char		from[PATH_LEN];
	char		to[PATH_LEN];

	path_of(database, ".new", from);
	path_of(database, suffix, to);
	if (rename(from, to) != 0)
		return tv_io_error(err, "rename", from);
	return tv_sync_directory(TV_VAULT_DIR, err);
}

/*
 * The same bytes once more, for the day that a sector of the file cannot be
 * read.  That this fails leaves an older copy, which is not taken for the
 * policy.  The caller holds TV_LOCK_VAULT_FILE.
 */
static void
write_copy(Oid database, const uint8 *data, size_t len)
{
	TvError		err;

	if (write_new(database, data, len, &err) != TV_OK || move_new(database, COPY, &err) != TV_OK)
		tv_report(WARNING, &err);
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
	if (move_new(database, "", &err) != TV_OK)
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
	status = tv_vault_policy_seal(database, policy, &record, &len, err);
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
		write_copy(database, record + TV_LOGGED_PREFIX, len);
		(void) tv_vault_shared_set(&entry, err);
	}
	LWLockRelease(lock);
	free(record);
	if (status == TV_OK)
		tv_vault_anchors_remove(database, policy->number);
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
	else if (tv_sync_directory(TV_VAULT_DIR, &err) != TV_OK)
		tv_report(WARNING, &err);
	path_of(database, COPY, path);
	(void) unlink(path);
	tv_vault_shared_remove(database);
}

void
tv_vault_file_remove(Oid database)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_FILE);
	TvVaultDatabase entry;
	uint8		record[TV_LOGGED_PREFIX];

	if (!tv_vault_shared_get(database, &entry))
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	(void) tv_wal_logged_insert(TV_LOGGED_POLICY, database, record, 0);
	unlink_policy(database);
	LWLockRelease(lock);
	tv_vault_key_drop(database);
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
			status = move_new(database, "", &err);
		if (status == TV_OK)
			write_copy(database, data, len);
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
	if (read_bytes(database, "", &data, &len, &err) == TV_OK)
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
	DIR		   *dir = opendir(TV_VAULT_DIR);
	struct dirent *file;
	TvKeyringKey key;
	uint32		slot = 0;

	if (dir == NULL && errno != ENOENT)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not open directory \"%s\": %m", TV_VAULT_DIR)));
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
		if (key.table == TV_VAULT_KEY_TABLE && key.files > 0)
			scan_file(key.database);
	}
}

void
tv_vault_file_init(void)
{
	tv_wal_logged_register(TV_LOGGED_POLICY, policy_redo);
}
