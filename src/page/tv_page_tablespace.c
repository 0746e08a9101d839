/*
 * tv_page_tablespace.c
 *	  Encrypted tablespaces: where they lie, and when they begin and end.
 *
 * The keyring knows no transactions.  A scope is recorded at once, when nobody
 * but this transaction can use the tablespace yet (or is better encrypted than
 * not), and taken back if that aborts; it ends only after a commit.  A crash in
 * between leaves a scope for a tablespace that is not there, which says nothing.
 */
#include "page/tv_page_tablespace.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "base/tv_hot.h"
#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "keyring/tv_keyring_scope.h"

#define DIRECTORY_SUFFIX "_tablespaces"
#define SAME_NAME_MAX 1000		/* directories of tablespaces that were renamed */

/* Scopes that end with the transaction, if it aborts or commits. */
typedef struct ScopeName
{
	Oid			tablespace;		/* one of them is 0 */
	Oid			database;
} ScopeName;

static List *begun = NIL;
static List *ended = NIL;

/* --- directories ------------------------------------------------------------ */

static void
parent_directory(char *path)
{
	if (tv_setting_tablespace_root != NULL && tv_setting_tablespace_root[0] != '\0')
		strlcpy(path, tv_setting_tablespace_root, MAXPGPATH);
	else
		snprintf(path, MAXPGPATH, "%s" DIRECTORY_SUFFIX, DataDir);
	canonicalize_path(path);
}

static void
directory_failed(const char *path)
{
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not create directory \"%s\" for a tablespace: %m", path),
			 errhint("Name a directory with LOCATION, or set tde_vault.tablespace_root to one that the server may write to.")));
}

/* A name that is fit for a directory: letters, digits, '_' and '-'. */
static void
directory_name(const char *name, char *out, size_t size)
{
	size_t		i;

	for (i = 0; name[i] != '\0' && i + 1 < size; i++)
		out[i] = isalnum((unsigned char) name[i]) || name[i] == '-' ? name[i] : '_';
	out[i] = '\0';
}

char *
tv_tablespace_make_directory(const char *name)
{
	char		parent[MAXPGPATH];
	char		below[NAMEDATALEN];
	char	   *path;

	parent_directory(parent);
	if (!is_absolute_path(parent))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tde_vault.tablespace_root must be an absolute path")));
	if (mkdir(parent, pg_dir_create_mode) != 0 && errno != EEXIST)
		directory_failed(parent);
	directory_name(name, below, sizeof(below));
	path = psprintf("%s/%s", parent, below);
	for (int i = 2; mkdir(path, pg_dir_create_mode) != 0; i++)
	{
		if (errno != EEXIST || i > SAME_NAME_MAX)
			directory_failed(path);
		path = psprintf("%s/%s_%d", parent, below, i);
	}
	fsync_fname(parent, true);
	return path;
}

void
tv_tablespace_follow_directory(const char *location)
{
	char		parent[MAXPGPATH];
	size_t		len;

	parent_directory(parent);
	len = strlen(parent);
	if (strncmp(location, parent, len) != 0 || location[len] != '/' ||
		strchr(location + len + 1, '/') != NULL)
		return;
	/* the server says what is wrong when the directory is not there */
	if ((mkdir(parent, pg_dir_create_mode) != 0 && errno != EEXIST) ||
		(mkdir(location, pg_dir_create_mode) != 0 && errno != EEXIST))
		ereport(LOG, (errmsg("could not create directory \"%s\": %m", location)));
}

/* --- scopes ----------------------------------------------------------------- */

/* After commit or abort: must not throw. */
static void
end_scopes(List *scopes)
{
	ListCell   *lc;
	TvError		err;

	foreach(lc, scopes)
	{
		ScopeName  *scope = lfirst(lc);

		if (tv_keyring_scope(scope->tablespace, scope->database, NULL) &&
			tv_keyring_set_scope(scope->tablespace, scope->database, TV_CIPHER_NONE, 0, &err) != TV_OK)
			tv_report(WARNING, &err);
	}
}

static TV_HOT_VAULT void
end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			end_scopes(ended);
			break;
		case XACT_EVENT_ABORT:
			end_scopes(begun);
			break;
		default:
			return;
	}
	/* their memory is the transaction's */
	begun = NIL;
	ended = NIL;
}

static List *
remember(List *scopes, Oid tablespace, Oid database)
{
	static bool registered = false;
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	ScopeName  *scope = palloc(sizeof(*scope));

	if (!registered)
		RegisterXactCallback(end_of_transaction, NULL);
	registered = true;
	scope->tablespace = tablespace;
	scope->database = database;
	scopes = lappend(scopes, scope);
	MemoryContextSwitchTo(old);
	return scopes;
}

static List *
forget(List *scopes, Oid tablespace, Oid database)
{
	ListCell   *lc;

	foreach(lc, scopes)
	{
		ScopeName  *scope = lfirst(lc);

		if (scope->tablespace == tablespace && scope->database == database)
			scopes = foreach_delete_current(scopes, lc);
	}
	return scopes;
}

bool
tv_tablespace_scope_of(const RelFileNode *node, TvKeyringScope *scope)
{
	TvError		err;

	if (tv_keyring_renew_scopes(&err) != TV_OK || tv_keyring_check_scopes(&err) != TV_OK)
		tv_report(ERROR, &err);
	return tv_keyring_scope_of(node, scope);
}

bool
tv_tablespace_is_encrypted(Oid tablespace)
{
	RelFileNode node = {tablespace, InvalidOid, InvalidOid};
	TvKeyringScope scope;

	return tv_tablespace_scope_of(&node, &scope);
}

uint64
tv_tablespace_master(const char *key_id)
{
	TvKeyringMaster master;
	uint64		found = 0;

	for (uint32 i = 0; tv_keyring_master_at(i, &master); i++)
	{
		if (strcmp(master.key_id, key_id) == 0 && master.state == TV_MASTER_ACTIVE && !master.past &&
			(found == 0 || master.database == MyDatabaseId))
			found = master.id;
	}
	if (found == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TV_KEY_MISSING),
				 errmsg("there is no master key \"%s\"", key_id),
				 errhint("Make it first, with CREATE MASTER KEY; tde_vault.keys lists those that exist.")));
	return found;
}

static void
begin_scope(Oid tablespace, Oid database, TvCipher cipher, uint64 master)
{
	TvError		err;

	if (!tv_keyring_scope(tablespace, database, NULL))
		begun = remember(begun, tablespace, database);
	ended = forget(ended, tablespace, database);
	if (tv_keyring_set_scope(tablespace, database, cipher, master, &err) != TV_OK)
		tv_report(ERROR, &err);
}

void
tv_tablespace_encrypt(Oid tablespace, TvCipher cipher, uint64 master)
{
	begin_scope(tablespace, InvalidOid, cipher, master);
}

/* When the transaction commits, it is too late for what may fail. */
static void
end_scope(Oid tablespace, Oid database)
{
	TvError		err;

	if (!tv_keyring_scope(tablespace, database, NULL))
		return;
	if (tv_keyring_open_scopes(&err) != TV_OK || tv_keyring_check_scopes(&err) != TV_OK)
		tv_report(ERROR, &err);
	ended = remember(ended, tablespace, database);
}

void
tv_tablespace_release(Oid tablespace)
{
	end_scope(tablespace, InvalidOid);
}

void
tv_database_encrypt(Oid database, TvCipher cipher)
{
	begin_scope(InvalidOid, database, cipher, 0);
}

void
tv_database_release(Oid database)
{
	end_scope(InvalidOid, database);
}
