/*
 * tv_worker_release.c
 *	  When a tablespace or a database is not encrypted as a whole any more: what
 *	  was encrypted because it lies there is decrypted in place.
 *
 * The keyring tells which keys have files there, in whichever database; each of
 * them gets work, and may be decrypted.  Its worker, which sees the catalogs of
 * its database, decides: what is encrypted by itself (tde_heap), by another
 * place, or is in a realm, stays so.  There is nothing else to be remembered
 * over a crash.
 *
 * The keys get their work before the place ceases to be encrypted, which it
 * does at commit.  A worker that looked in between would find nothing to be
 * done; so it waits.
 */
#include "worker/tv_worker_internal.h"

#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/dependency.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "keyring/tv_keyring_scope.h"
#include "page/tv_page_catalog.h"
#include "page/tv_page_decide.h"
#include "vault/tv_vault.h"

#define SCOPES_LOCK_SUBID 2		/* 1: rotations of master keys */
#define LOCK_TIMEOUT "1s"		/* others wait behind us for as long */

void
tv_worker_lock_scopes(LOCKMODE lock)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, InvalidOid, SCOPES_LOCK_SUBID);
	(void) LockAcquire(&tag, lock, false, false);
}

/* Is the file in a place that stays encrypted? */
static bool
stays(const RelFileNode *node, Oid tablespace, Oid database)
{
	TvKeyringScope scope;

	for (uint32 i = 0; tv_keyring_scope_at(i, &scope); i++)
	{
		if (scope.tablespace == tablespace && scope.database == database)
			continue;
		if (OidIsValid(scope.tablespace) ? scope.tablespace == node->spcNode :
			scope.database == node->dbNode)
			return true;
	}
	return false;
}

/* Has the key a file that was sealed in the place, and that no other one seals? */
static bool
has_file_there(uint64 key, Oid tablespace, Oid database)
{
	uint32		slot = 0;
	RelFileNode node;
	TvKeyringFile known;

	while (tv_keyring_next_file(key, &slot, &node, &known))
	{
		if (OidIsValid(node.spcNode) && !known.plain && !known.released &&
			(OidIsValid(tablespace) ? node.spcNode == tablespace : node.dbNode == database) &&
			!stays(&node, tablespace, database))
			return true;
	}
	return false;
}

/* As far as the catalogs of this database tell; without a lock. */
static bool
is_by_itself(Oid table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			method = get_table_am_oid("tde_heap", true);
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		result = OidIsValid(method) && ((Form_pg_class) GETSTRUCT(tuple))->relam == method;
		ReleaseSysCache(tuple);
	}
	return result || tv_vault_protects(table);
}

static bool
is_newest(const TvKeyringKey *key)
{
	TvKeyringKey newest;

	return tv_keyring_key(key->id, 0, &newest) && newest.epoch == key->epoch;
}

static bool
may_be_decrypted(const TvKeyringKey *key, Oid tablespace, Oid database)
{
	return OidIsValid(key->database) && key->files > 0 && key->table >= FirstNormalObjectId &&
		is_newest(key) && has_file_there(key->id, tablespace, database) &&
		(key->database != MyDatabaseId || !is_by_itself(key->table));
}

static void
count(TvWorkerReleased *released, Oid database)
{
	if (database == MyDatabaseId)
		released->here++;
	else
	{
		released->elsewhere++;
		released->databases = list_append_unique_oid(released->databases, database);
	}
}

void
tv_worker_decrypt_place(Oid tablespace, Oid database, TvWorkerReleased *released)
{
	TvKeyringKey key;
	uint32		slot = 0;
	TvError		err;

	memset(released, 0, sizeof(*released));
	tv_worker_check_state("DISABLE ENCRYPTION");
	tv_worker_lock_scopes(ExclusiveLock);
	released->refused = tv_setting_enforce_encryption;
	if (released->refused)
		return;
	while (tv_keyring_next_key(&slot, &key))
	{
		if (!may_be_decrypted(&key, tablespace, database))
			continue;
		if (tv_keyring_set_work(key.id, key.work_flags | TV_WORK_PENDING | TV_WORK_MAY_DECRYPT,
								InvalidXLogRecPtr, &err) != TV_OK)
			tv_report(ERROR, &err);
		count(released, key.database);
	}
	tv_worker_wake_at_commit();
}

/* Who used one in a transaction has it for as long as that lasts. */
void
tv_worker_release_sequences(Oid table)
{
	char		relkind = get_rel_relkind(table);
	ListCell   *lc;

	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	/* one that is alone is written anew, in plain */
	if (relkind == RELKIND_SEQUENCE)
		tv_page_seal_sequence(table);
	else if (relkind != '\0')
		foreach(lc, getOwnedSequences(table))
			tv_page_release_sequence(lfirst_oid(lc));
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
}
