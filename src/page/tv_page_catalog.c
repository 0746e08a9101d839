/*
 * tv_page_catalog.c
 *	  System catalogs of a database, which can be sealed.
 *
 * They exist before the extension does and are no tables of tde_heap, so they
 * are sealed by writing them anew, as VACUUM FULL does (cluster.c,
 * cluster_rel): with TOAST tables and indexes, in a transaction, safe in a
 * crash.  That holds for those whose file numbers are in the relation map, too:
 * pg_class, pg_attribute, pg_proc, pg_type.  Should the server crash after the
 * map was written and before the transaction is committed, then the new files
 * are in use (relmapper.c, at the top), which hold the same rows; the keyring
 * knows them since they were made.
 *
 * From then on they stay sealed through every rewrite.  Nothing else is
 * recorded: that the file of a catalog is sealed says that the next one is to
 * be.
 *
 * Sealed catalogs are read where no catalog can be: when a session starts
 * (postinit.c, relcache.c).  Opening a key reads none.
 */
#include "page/tv_page_catalog.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_largeobject.h"
#include "commands/cluster.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "keyring/tv_keyring.h"
#include "page/tv_page_statistics.h"

/* What the rewrite that is going on makes of its catalog. */
static enum
{
	KEEP, SEAL, UNSEAL
}			aim = KEEP;

bool
tv_catalog_is(Oid table)
{
	return table < FirstNormalObjectId && !IsSharedRelation(table);
}

/* The key of the file that it has; false if that is plain. */
static bool
sealed_under(Oid table, uint64 *key)
{
	Relation	rel = RelationIdGetRelation(table);
	TvKeyringFile known;
	bool		sealed;

	if (!RelationIsValid(rel))
		elog(ERROR, "could not open catalog %u", table);
	sealed = tv_keyring_lookup(&rel->rd_node, &known) && !known.plain && !known.released;
	RelationClose(rel);
	if (sealed)
		*key = known.key;
	return sealed;
}

bool
tv_catalog_is_sealed(Oid table)
{
	uint64		key;

	return sealed_under(table, &key);
}

/*
 * The catalogs of a database share one key, listed as that of pg_class: after a
 * restart a session needs most of them, and an HSM has to be asked once.  Only
 * statistics, which are sealed without the others, have their own.
 */
static void
new_key(Oid table, uint64 *key, TvCipher *cipher)
{
	TvError		err;

	if (!tv_statistics_is_catalog(table))
		table = RelationRelationId;
	if (tv_keyring_key_for_table(MyDatabaseId, table, (TvCipher) tv_setting_cipher, 0,
								 key, cipher, &err) != TV_OK)
		tv_report(ERROR, &err);
}

bool
tv_catalog_next_key(Oid table, uint64 *key, TvCipher *cipher)
{
	TvKeyringKey known;

	switch (aim)
	{
		case SEAL:
			new_key(table, key, cipher);
			return true;
		case UNSEAL:
			return false;
		case KEEP:
			break;
	}
	if (!sealed_under(table, key))
		return false;
	if (!tv_keyring_key(*key, 0, &known))
		elog(ERROR, "keyring lost a table key");
	*cipher = known.cipher;
	return true;
}

List *
tv_catalog_list(void)
{
	Relation	pg_class = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(pg_class, ClassOidIndexId, true, NULL, 0, NULL);
	List	   *found = NIL;
	HeapTuple	tuple;

	/* in the order of the index */
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->oid >= FirstNormalObjectId)
			break;
		if (form->relkind == RELKIND_RELATION && tv_catalog_is(form->oid) &&
			form->oid != LargeObjectRelationId)
			found = lappend_oid(found, form->oid);
	}
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return lappend_oid(found, LargeObjectRelationId);
}

bool
tv_catalog_some_sealed(void)
{
	List	   *all = tv_catalog_list();
	ListCell   *lc;
	bool		found = false;

	foreach(lc, all)
	{
		if (!tv_statistics_is_catalog(lfirst_oid(lc)) && tv_catalog_is_sealed(lfirst_oid(lc)))
			found = true;
	}
	list_free(all);
	return found;
}

bool
tv_catalog_rewrite(Oid table, bool seal)
{
	ClusterParams params = {0};

	LockRelationOid(table, AccessExclusiveLock);
	if (tv_catalog_is_sealed(table) == seal)
		return false;
	PushActiveSnapshot(GetTransactionSnapshot());
	aim = seal ? SEAL : UNSEAL;
	PG_TRY();
	{
		cluster_rel(table, InvalidOid, &params);
	}
	PG_FINALLY();
	{
		aim = KEEP;
	}
	PG_END_TRY();
	PopActiveSnapshot();
	CommandCounterIncrement();
	return true;
}

bool
tv_catalog_has_file(const RelFileNode *node)
{
	TvKeyringFile known;
	TvKeyringKey key;

	return OidIsValid(node->dbNode) && tv_keyring_lookup(node, &known) &&
		tv_keyring_key(known.key, 0, &key) && key.table < FirstNormalObjectId;
}
