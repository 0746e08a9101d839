/*
 * tv_guard_upgrade.c
 *	  pg_upgrade, which cannot carry what is encrypted.
 *
 * It copies or links relation files, by the names that the new cluster's
 * catalogs get; keyring, sidecars and the vault's files stay behind (file.c,
 * relfilenode.c of pg_upgrade).  The new cluster would make keys of its own
 * for the same files, read none of their pages, and know no realm.  So each of
 * the two servers, which pg_upgrade starts with -b (server.c,
 * start_postmaster), refuses by itself, before a file is touched:
 *
 *	- one whose keyring has something to lose takes no connection;
 *	- the new one does not load this module for pg_upgrade, which asks for each
 *	  library that functions of the old one are in (function.c,
 *	  check_loadable_libraries), also with --check and the old one running;
 *	- and makes no encrypted file (tv_page_decide.c), should the old one have
 *	  been started without the module.
 */
#include "guard/tv_guard_upgrade.h"

#include "base/tv_port.h"
#include "libpq/auth.h"
#include "miscadmin.h"

#include "keyring/tv_keyring.h"
#include "keyring/tv_keyring_scope.h"

#define UPGRADE_DETAIL \
	"It would leave keys, authentication tags and realms behind, and nobody could read what is encrypted."
#define UPGRADE_HINT \
	"Take the data to the new cluster by pg_dump, or by logical replication. What has no encrypted table any more can be upgraded after DROP EXTENSION tde_vault."

static ClientAuthentication_hook_type next_authentication = NULL;

/* Keys that are no database's are made anew by any cluster. */
static bool
is_encrypted_cluster(Oid *database)
{
	TvKeyringKey key;
	TvKeyringScope scope;
	uint32		slot = 0;

	while (tv_keyring_next_key(&slot, &key))
	{
		*database = key.database;
		if (OidIsValid(key.database) && key.files > 0)
			return true;
	}
	*database = InvalidOid;
	return tv_keyring_scope_at(0, &scope);
}

static void
guard_authentication(Port *port, int status)
{
	Oid			database;

	if (next_authentication)
		next_authentication(port, status);
	if (likely(!IsBinaryUpgrade) || !is_encrypted_cluster(&database))
		return;
	ereport(FATAL,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("pg_upgrade cannot be used for a cluster with encrypted tables"),
			 OidIsValid(database) ?
			 errdetail("Database %u has some. " UPGRADE_DETAIL, database) :
			 errdetail("It has a tablespace or a database in which everything new is encrypted. " UPGRADE_DETAIL),
			 errhint(UPGRADE_HINT)));
}

void
tv_guard_upgrade_load(const LoadStmt *stmt)
{
	const char *name = last_dir_separator(stmt->filename);

	name = name ? name + 1 : stmt->filename;
	if (likely(!IsBinaryUpgrade) ||
		(strcmp(name, "tde_vault") != 0 && strcmp(name, "tde_vault" DLSUFFIX) != 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("pg_upgrade cannot be used for databases with extension tde_vault"),
			 errdetail(UPGRADE_DETAIL),
			 errhint(UPGRADE_HINT)));
}

void
tv_guard_upgrade_init(void)
{
	next_authentication = ClientAuthentication_hook;
	ClientAuthentication_hook = guard_authentication;
}
