/*
 * tv_worker_switch.c
 *	  The moment of the switch: what the statements do, in the user's session.
 *
 * Pages of tde_heap are heap's pages, so a table changes its access method
 * without being rewritten; what changes is how its files are read and written.
 * A process looks at the keyring again whenever that has changed, so from the
 * keyring's record on every process seals (tv_page_smgr.c, resolved()).
 */
#include "worker/tv_worker_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "page/tv_page_catalog.h"
#include "page/tv_page_decide.h"
#include "page/tv_page_smgr.h"
#include "page/tv_page_tablespace.h"
#include "vault/tv_vault.h"

#define HEAP_AM_NAME "tde_heap"

/* --- which tables ------------------------------------------------------------- */

static void
check_table(Relation rel, const char *what)
{
	char		relkind = rel->rd_rel->relkind;

	if (!pg_class_ownercheck(RelationGetRelid(rel), GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(relkind),
					   RelationGetRelationName(rel));
	if (relkind != RELKIND_RELATION && relkind != RELKIND_MATVIEW &&
		relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table or materialized view", RelationGetRelationName(rel)),
				 relkind == RELKIND_FOREIGN_TABLE ?
				 errhint("The rows of a foreign table are on another server: encrypt them there.") :
				 errhint("Indexes, TOAST tables and owned sequences follow their table.")));
	if (IsSystemRelation(rel))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied: \"%s\" is a system catalog", RelationGetRelationName(rel)),
				 errhint("System catalogs are encrypted all together: CALL tde_vault.seal_catalogs().")));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s is not supported for temporary table \"%s\"", what, RelationGetRelationName(rel)),
				 errhint("Use ALTER TABLE ... SET ACCESS METHOD.")));
}

/* The table, or the leaf partitions of a partitioned one; all locked. */
static List *
tables_of(Oid table, LOCKMODE lock, const char *what)
{
	Relation	rel;
	List	   *all;
	List	   *result = NIL;
	ListCell   *lc;

	/* before anybody waits for the lock */
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table)) &&
		!pg_class_ownercheck(table, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(table)),
					   get_rel_name(table));
	tv_worker_lock(table, lock);
	rel = try_relation_open(table, lock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", table)));
	check_table(rel, what);
	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
	{
		relation_close(rel, NoLock);
		return list_make1_oid(table);
	}
	relation_close(rel, NoLock);
	all = find_all_inheritors(table, lock, NULL);
	foreach(lc, all)
	{
		rel = relation_open(lfirst_oid(lc), NoLock);
		if (rel->rd_rel->relkind == RELKIND_RELATION)
		{
			check_table(rel, what);
			result = lappend_oid(result, lfirst_oid(lc));
		}
		else if (rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
			ereport(WARNING,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("%s leaves out partition \"%s\", a foreign table", what,
							RelationGetRelationName(rel)),
					 errhint("Its rows are on another server: encrypt them there.")));
		relation_close(rel, NoLock);
	}
	return result;
}

void
tv_worker_check_state(const char *what)
{
	tv_require_writable(what);
	if (!tv_page_attached())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tde_vault was not loaded when the server started"),
				 errhint("Add tde_vault to shared_preload_libraries and restart the server.")));
}

/* --- the catalogs --------------------------------------------------------------- */

/* As ALTER TABLE SET ACCESS METHOD leaves them (cluster.c, swap_relation_files). */
static void
set_access_method(Oid relid, Oid method, bool depends)
{
	Relation	pg_class = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;
	Oid			before;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	form = (Form_pg_class) GETSTRUCT(tuple);
	before = form->relam;
	form->relam = method;
	CatalogTupleUpdate(pg_class, &tuple->t_self, tuple);
	heap_freetuple(tuple);
	table_close(pg_class, RowExclusiveLock);
	if (depends && before != method &&
		changeDependencyFor(RelationRelationId, relid, AccessMethodRelationId, before, method) != 1)
		elog(ERROR, "could not change the access method dependency of relation %u", relid);
	InvokeObjectPostAlterHook(RelationRelationId, relid, 0);
}

static void
set_access_methods(Oid table, Oid toast, const char *name)
{
	Oid			method = get_table_am_oid(name, false);

	set_access_method(table, method, true);
	if (OidIsValid(toast))
		set_access_method(toast, method, false);
	CommandCounterIncrement();
}

void
tv_worker_adopt_sequences(Oid table)
{
	ListCell   *lc;

	foreach(lc, getOwnedSequences(table))
		tv_page_adopt_sequence(lfirst_oid(lc), table);
}

List *
tv_worker_family(Relation rel, LOCKMODE lock)
{
	List	   *family = list_make1_oid(RelationGetRelid(rel));
	Oid			toast = rel->rd_rel->reltoastrelid;

	family = list_concat(family, RelationGetIndexList(rel));
	if (OidIsValid(toast))
	{
		Relation	toast_rel = relation_open(toast, lock);

		family = lappend_oid(family, toast);
		family = list_concat(family, RelationGetIndexList(toast_rel));
		relation_close(toast_rel, NoLock);
	}
	return family;
}

/* --- encryption ------------------------------------------------------------------ */

static void
encrypt_one(Oid table, TvCipher cipher)
{
	Relation	rel = relation_open(table, NoLock);
	Oid			toast = rel->rd_rel->reltoastrelid;
	TvKeyringFile known;
	bool		encrypted = tv_page_is_encrypted_table(rel);
	bool		sealed = encrypted && tv_keyring_lookup(&rel->rd_node, &known);

	CheckTableNotInUse(rel, "ALTER TABLE");
	if (!encrypted && rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("access method of table \"%s\" is not heap", RelationGetRelationName(rel)),
				 errhint("Only tables of the access method heap can be encrypted.")));
	if (sealed && (known.unlogged || cipher == TV_CIPHER_NONE || tv_worker_has_cipher(rel, cipher)))
	{
		ereport(NOTICE,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is encrypted already, skipping", RelationGetRelationName(rel))));
		relation_close(rel, NoLock);
		return;
	}
	if (cipher == TV_CIPHER_NONE)
		cipher = (TvCipher) tv_setting_cipher;
	tv_worker_seal_family(rel, cipher);
	relation_close(rel, NoLock);
	if (encrypted)
		return;
	set_access_methods(table, toast, HEAP_AM_NAME);
	tv_worker_adopt_sequences(table);
	ereport(NOTICE,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("WAL before %X/%X may hold rows of table \"%s\" that are not encrypted",
					LSN_FORMAT_ARGS(GetXLogInsertRecPtr()), get_rel_name(table)),
			 errhint("See tde_vault.encryption_progress for what is left, and when it is gone.")));
}

void
tv_worker_encrypt(Oid table, TvCipher cipher)
{
	ListCell   *lc;

	tv_worker_check_state("ALTER TABLE ENABLE ENCRYPTION");
	tv_worker_prepare(table, cipher);
	foreach(lc, tables_of(table, AccessExclusiveLock, "ENABLE ENCRYPTION"))
		encrypt_one(lfirst_oid(lc), cipher);
	tv_worker_mark_partitioned(table, true);
}

/* --- decryption ------------------------------------------------------------------ */

/*
 * The worker waits for the end of this transaction, and then looks at the
 * catalogs: until it has committed everything stays sealed.
 */
static void
decrypt_key(uint64 key, TvWorkerKind kind)
{
	TvError		err;

	tv_worker_check(tv_keyring_set_work(key, TV_WORK_PENDING | TV_WORK_MAY_DECRYPT,
							  InvalidXLogRecPtr, &err), &err);
	tv_worker_show_operation(key, kind);
}

/* The owner of a table that does not may not know. */
static void
note_index_stays(Oid relid)
{
	Relation	rel = index_open(relid, AccessShareLock);
	TvKeyringScope scope;

	if (tv_tablespace_scope_of(&rel->rd_node, &scope))
		ereport(NOTICE,
				(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
				 errmsg("index \"%s\" stays encrypted, as its tablespace is",
						RelationGetRelationName(rel))));
	index_close(rel, AccessShareLock);
}

static void
decrypt_one(Oid table)
{
	Relation	rel = relation_open(table, NoLock);
	Oid			toast = rel->rd_rel->reltoastrelid;
	List	   *keys;
	List	   *indexes;
	TvKeyringFile known;
	TvKeyringScope scope;
	bool		is_known;
	bool		sealed;
	bool		in_scope;
	ListCell   *lc;

	CheckTableNotInUse(rel, "ALTER TABLE");
	is_known = tv_keyring_lookup(&rel->rd_node, &known);
	/* a plain table can be sealed by a scope, or since one that has ended; so can an index */
	sealed = tv_page_is_encrypted_table(rel) || (is_known && !known.plain && !known.released);
	keys = tv_worker_keys_in_use(rel, false);
	if (!sealed && keys == NIL)
	{
		ereport(NOTICE,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is not encrypted, skipping", RelationGetRelationName(rel))));
		relation_close(rel, NoLock);
		return;
	}
	if (tv_setting_enforce_encryption)
		ereport(ERROR,
				(errcode(ERRCODE_TV_PLAINTEXT_REFUSED),
				 errmsg("table \"%s\" must stay encrypted", RelationGetRelationName(rel)),
				 errdetail("tde_vault.enforce_encryption is on.")));
	if (tv_vault_protects(table))
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_ADMIN),
				 errmsg("table \"%s\" is in a realm: it must stay encrypted", RelationGetRelationName(rel)),
				 errhint("Take it out of the realm first: ALTER REALM ... REMOVE TABLE.")));
	if (sealed && !is_known)
		ereport(ERROR,
				(errcode(ERRCODE_TV_KEYRING),
				 errmsg("the keyring does not know the file of table \"%s\"", RelationGetRelationName(rel)),
				 errhint("Restore the keyring from a backup of the data directory.")));
	in_scope = tv_tablespace_scope_of(&rel->rd_node, &scope);
	indexes = RelationGetIndexList(rel);
	relation_close(rel, NoLock);
	if (sealed)
		keys = tv_worker_add_key(keys, &known);
	foreach(lc, keys)
		decrypt_key(((TvKeyringFile *) lfirst(lc))->key, in_scope ? TV_WORK_UNKNOWN : TV_WORK_DECRYPT);
	set_access_methods(table, toast, "heap");
	if (in_scope)
		ereport(NOTICE,
				(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
				 errmsg("table \"%s\" stays encrypted, as its tablespace is", get_rel_name(table))));
	else
	{
		foreach(lc, indexes)
			note_index_stays(lfirst_oid(lc));
		foreach(lc, getOwnedSequences(table))
			tv_page_release_sequence(lfirst_oid(lc));
	}
	tv_worker_wake_at_commit();
}

void
tv_worker_decrypt(Oid table)
{
	ListCell   *lc;

	tv_worker_check_state("ALTER TABLE DISABLE ENCRYPTION");
	foreach(lc, tables_of(table, AccessExclusiveLock, "DISABLE ENCRYPTION"))
		decrypt_one(lfirst_oid(lc));
	tv_worker_mark_partitioned(table, false);
}

/* --- rotation -------------------------------------------------------------------- */

static void
rotate_key(uint64 id)
{
	TvKeyringKey key;
	uint16		epoch;
	TvError		err;

	if (!tv_keyring_key(id, 0, &key))
		elog(ERROR, "keyring lost a table key");
	tv_worker_check(tv_keyring_set_work(id, key.work_flags | TV_WORK_PENDING,
							  InvalidXLogRecPtr, &err), &err);
	tv_worker_check(tv_keyring_add_version(id, key.cipher, &epoch, &err), &err);
	tv_worker_show_operation(id, TV_WORK_ROTATE);
}

static void
rotate_one(Oid table)
{
	Relation	rel = relation_open(table, NoLock);
	List	   *keys = tv_worker_keys_in_use(rel, true);
	ListCell   *lc;
	TvError		err;

	if (keys == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not encrypted", RelationGetRelationName(rel)),
				 errhint("Encrypt it first: ALTER TABLE ... ENABLE ENCRYPTION.")));
	relation_close(rel, NoLock);
	foreach(lc, keys)
		rotate_key(((TvKeyringFile *) lfirst(lc))->key);
	tv_worker_check(tv_keyring_flush(&err), &err);
	tv_worker_wake_at_commit();
}

void
tv_worker_rotate(Oid table)
{
	ListCell   *lc;

	tv_worker_check_state("ALTER TABLE ROTATE ENCRYPTION KEY");
	/* the one statement that there is for a system catalog */
	if (tv_catalog_is(table) && superuser() && get_rel_relkind(table) == RELKIND_RELATION &&
		tv_catalog_is_sealed(table))
	{
		LockRelationOid(table, ShareUpdateExclusiveLock);
		rotate_one(table);
		return;
	}
	foreach(lc, tables_of(table, ShareUpdateExclusiveLock, "ROTATE ENCRYPTION KEY"))
		rotate_one(lfirst_oid(lc));
}
