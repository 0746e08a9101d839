/*
 * tv_vault_failures.c
 *	  Wrong vault passwords: counted, and the user locked out.
 *
 * Counted in shared memory and in a file of this server, tde_vault/failures,
 * before the password is looked at: so neither ROLLBACK nor a crash, a
 * restart or pg_terminate_backend() takes a failure back, and attempts in
 * parallel are no way around.  The file is no part of the policy, as a standby
 * counts, too.
 */
#include "vault/tv_vault_failures.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "base/tv_file.h"
#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "base/tv_shmem.h"
#include "vault/tv_vault_audit.h"
#include "vault/tv_vault_failures_format.h"

#define FAILURES_DIR "tde_vault"
#define FAILURES_PATH FAILURES_DIR "/failures"
#define MAX_ENTRIES 4096

typedef struct Shared
{
	uint32		top;			/* entries ever used */
	TvFailures	entries[MAX_ENTRIES];
} Shared;

static Shared *shared = NULL;

/* --- the file --- */

static off_t
place_of(uint32 i)
{
	return TV_FAILURES_HEADER_LEN + (off_t) i * TV_FAILURES_ENTRY_LEN;
}

/*
 * The name of a new file is made durable with its header; else it is made anew,
 * because a sync that failed once may succeed without having done anything.
 */
static bool
write_header(int fd)
{
	uint8		header[TV_FAILURES_HEADER_LEN];
	TvError		err;
	bool		done;

	tv_failures_header_encode(header);
	done = pg_pwrite(fd, header, sizeof(header), 0) == sizeof(header) &&
		tv_sync_directory(FAILURES_DIR, &err) == TV_OK;
	if (!done)
		unlink(FAILURES_PATH);
	return done;
}

/* The caller holds TV_LOCK_VAULT_SESSIONS. */
static bool
write_entry(uint32 i)
{
	uint8		bytes[TV_FAILURES_ENTRY_LEN];
	int			fd = open(FAILURES_PATH, O_RDWR | O_CREAT | O_CLOEXEC, pg_file_create_mode);
	struct stat st;
	bool		done;

	if (fd < 0)
		return false;
	tv_failures_encode(&shared->entries[i], bytes);
	done = fstat(fd, &st) == 0 &&
		(st.st_size >= TV_FAILURES_HEADER_LEN || write_header(fd)) &&
		pg_pwrite(fd, bytes, sizeof(bytes), place_of(i)) == sizeof(bytes) &&
		pg_fsync(fd) == 0;
	close(fd);
	return done;
}

static void
load_entries(int fd)
{
	uint8		bytes[TV_FAILURES_ENTRY_LEN];

	while (shared->top < MAX_ENTRIES &&
		   pg_pread(fd, bytes, sizeof(bytes), place_of(shared->top)) == sizeof(bytes))
	{
		if (tv_failures_decode(bytes, &shared->entries[shared->top]) != TV_OK)
			ereport(LOG,
					(errmsg("entry %u of file \"%s\" is damaged: an unlock that failed is forgotten",
							shared->top, FAILURES_PATH)));
		shared->top++;
	}
}

/* In the postmaster, before anybody else. */
static void
init_shared(void *memory)
{
	uint8		header[TV_FAILURES_HEADER_LEN];
	ssize_t		got;
	int			fd;

	shared = memory;
	fd = open(FAILURES_PATH, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	got = pg_pread(fd, header, sizeof(header), 0);
	if (got > 0)
	{
		if (tv_failures_header_decode(header, got) != TV_OK)
			ereport(FATAL,
					(errcode(ERRCODE_TV_KEYRING),
					 errmsg("file \"%s\" is damaged or of a newer version", FAILURES_PATH),
					 errhint("It holds who is locked out of which realm. If its loss is acceptable, move it away.")));
		load_entries(fd);
	}
	close(fd);
}

void
tv_vault_failures_init(void)
{
	static const TvShmemArea area = {
		"tde_vault failures", sizeof(Shared), init_shared
	};

	tv_shmem_add(&area);
}

/* --- counting; the caller holds TV_LOCK_VAULT_SESSIONS --- */

static bool
is_over(const TvFailures *entry, TimestampTz now)
{
	return entry->realm == 0 ||
		(entry->locked_until <= now &&
		 entry->last + tv_setting_lockout_time * USECS_PER_SEC < now);
}

/* The user's entry, or a free one for it; NULL: all are in use. */
static TvFailures *
entry_for(uint32 realm, TimestampTz now)
{
	TvFailures *unused = NULL;

	for (uint32 i = 0; i < shared->top; i++)
	{
		TvFailures *entry = &shared->entries[i];

		if (entry->realm == realm && entry->database == MyDatabaseId &&
			entry->user == GetAuthenticatedUserId())
			return entry;
		if (unused == NULL && is_over(entry, now))
			unused = entry;
	}
	if (unused == NULL && shared->top < MAX_ENTRIES)
		unused = &shared->entries[shared->top++];
	if (unused != NULL)
	{
		memset(unused, 0, sizeof(*unused));
		unused->database = MyDatabaseId;
		unused->realm = realm;
		unused->user = GetAuthenticatedUserId();
	}
	return unused;
}

static void
refuse_locked_out(const char *name, TimestampTz until)
{
	tv_vault_audit_unlock(name, TV_AUDIT_CRITICAL, TV_AUDIT_DENIED, "the user is locked out");
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_LOCKED_OUT),
			 errmsg("locked out of realm \"%s\" after too many wrong vault passwords", name),
			 errdetail("Until %s.", timestamptz_to_str(until)),
			 errhint("Try again then, or have the realm's owner grant a new vault password.")));
}

int
tv_vault_attempt_begin(uint32 realm, const char *name)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_SESSIONS);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = 0;
	bool		kept = false;
	int			count = 0;
	TvFailures *entry;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	entry = entry_for(realm, now);
	if (entry != NULL && entry->locked_until > now)
		until = entry->locked_until;
	else if (entry != NULL)
	{
		if (entry->locked_until != 0)
			entry->count = 0;	/* the lockout is over */
		entry->locked_until = 0;
		entry->last = now;
		count = ++entry->count;
		if (count >= tv_setting_max_failed_unlocks)
			entry->locked_until = TimestampTzPlusMilliseconds(now, tv_setting_lockout_time * INT64CONST(1000));
		kept = write_entry(entry - shared->entries);
	}
	LWLockRelease(lock);
	if (until != 0)
		refuse_locked_out(name, until);
	if (!kept)
		ereport(ERROR,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("UNLOCK REALM: the attempt cannot be counted in file \"%s\"", FAILURES_PATH),
				 errhint("Free space on the file system that holds the data directory.")));
	return count;
}

static void
forget(uint32 realm, Oid user)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_VAULT_SESSIONS);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (uint32 i = 0; i < shared->top; i++)
	{
		TvFailures *entry = &shared->entries[i];

		if (entry->realm == realm && entry->database == MyDatabaseId &&
			entry->user == user)
		{
			memset(entry, 0, sizeof(*entry));
			(void) write_entry(i);
		}
	}
	LWLockRelease(lock);
}

void
tv_vault_attempt_succeeded(uint32 realm)
{
	forget(realm, GetAuthenticatedUserId());
}

void
tv_vault_attempts_forgive(uint32 realm, Oid user)
{
	forget(realm, user);
}

bool
tv_vault_attempt_locks_out(int failures)
{
	return failures >= tv_setting_max_failed_unlocks;
}
