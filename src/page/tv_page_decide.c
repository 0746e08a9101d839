/*
 * tv_page_decide.c
 *	  Which relation files are encrypted.
 */
#include "page/tv_page_decide.h"

#include "access/xact.h"
#include "access/xlogutils.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace_d.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "keyring/tv_keyring_scope.h"
#include "page/tv_heap_am.h"
#include "page/tv_page_catalog.h"
#include "page/tv_page_statistics.h"
#include "page/tv_page_tablespace.h"

static struct
{
	bool		active;
	char		persistence;
	RelFileNodeBackend source;
	RelFileNodeBackend target;
}			inheritance;

bool
tv_page_is_encrypted_table(Relation rel)
{
	return rel->rd_tableam == tv_heap_am_routine();
}

static Oid
oid_after(const char *name, const char *prefix)
{
	size_t		len = strlen(prefix);
	char	   *end;
	unsigned long value;

	if (strncmp(name, prefix, len) != 0 || name[len] < '1' || name[len] > '9')
		return InvalidOid;
	value = strtoul(name + len, &end, 10);
	return *end == '\0' && value <= PG_UINT32_MAX ? (Oid) value : InvalidOid;
}

/*
 * Is this session rewriting table for its owner?  Whoever does holds a lock
 * that a mere name cannot claim (cluster.c, tablecmds.c, matview.c).
 */
static bool
is_rewritten(Oid table, Oid owner)
{
	LOCKTAG		tag;
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	bool		same_owner;

	if (!HeapTupleIsValid(tuple))
		return false;
	same_owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner == owner;
	ReleaseSysCache(tuple);
	SET_LOCKTAG_RELATION(tag, MyDatabaseId, table);
	return same_owner && (LockHeldByMe(&tag, AccessExclusiveLock) ||
						  LockHeldByMe(&tag, ExclusiveLock));
}

/*
 * The table whose key a new table file uses.  A rewrite builds a transient
 * table pg_temp_<oid> and swaps files with the original (cluster.c,
 * make_new_heap); a TOAST table is pg_toast_<oid> (toasting.c,
 * create_toast_table), also of a transient table.
 */
static Oid
base_table(Relation rel)
{
	const char *name = RelationGetRelationName(rel);
	Oid			table = RelationGetRelid(rel);
	Oid			base;

	if (rel->rd_rel->relkind == RELKIND_TOASTVALUE)
	{
		base = oid_after(name, "pg_toast_");
		if (!OidIsValid(base))
			return table;
		table = base;
		name = get_rel_name(table);
		if (name == NULL)
			return table;
	}
	base = oid_after(name, "pg_temp_");
	return OidIsValid(base) && is_rewritten(base, rel->rd_rel->relowner) ? base : table;
}

static void
seal_file(TvPageFile *file, uint64 key, TvCipher of_key, char persistence)
{
	bool		permanent = persistence == RELPERSISTENCE_PERMANENT;
	TvError		err;

	if (unlikely(IsBinaryUpgrade))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("pg_upgrade cannot be used for a cluster with encrypted tables"),
				 errdetail("It would put a file of the old cluster in the place of the one that is being made, and nobody could read it."),
				 errhint("Load tde_vault in the old cluster again. Take the data to the new cluster by pg_dump, or by logical replication.")));

	/* unlogged files are copied raw from their init fork: no sidecar for them */
	if (tv_keyring_assign(&file->rnode.node, key, permanent ? of_key : TV_CIPHER_AES_256_XTS,
						  TV_FILE_SEALED | (permanent ? 0 : TV_FILE_UNLOGGED), &err) != TV_OK)
		tv_report(ERROR, &err);
	if (!tv_page_file_resolve(file))
		elog(ERROR, "keyring lost file %u", file->rnode.node.relNode);
	if (file->rnode.node.dbNode == MyDatabaseId)
		tv_statistics_note_sealed();
}

/* Under the key of table, made as the scope wants it if there is none. */
static void
seal_in_scope(TvPageFile *file, Oid table, char persistence, const TvKeyringScope *scope)
{
	uint64		key;
	TvCipher	cipher;
	TvError		err;

	if (tv_keyring_key_in_scope(file->rnode.node.dbNode, table, scope, &key, &cipher, &err) != TV_OK)
		tv_report(ERROR, &err);
	seal_file(file, key, cipher, persistence);
}

/*
 * The table whose key a relation in a scope uses, by what the relcache has: a
 * TOAST table's is in its name, an index's in its pg_index row.
 */
static Oid
table_of(Relation rel)
{
	Oid			table = InvalidOid;

	if (rel->rd_rel->relkind == RELKIND_TOASTVALUE)
		table = oid_after(RelationGetRelationName(rel), "pg_toast_");
	else if (rel->rd_rel->relkind == RELKIND_INDEX && rel->rd_index != NULL)
		table = rel->rd_index->indrelid;
	return OidIsValid(table) ? table : RelationGetRelid(rel);
}

/* Catalogs are in the scope of a tablespace, but not in that of a database. */
static bool
is_in_scope(const RelFileNode *node, Oid table, TvKeyringScope *scope)
{
	/* most are nowhere near one, and need not know who vouches for them */
	if (table < FirstNormalObjectId && !tv_keyring_scope(node->spcNode, InvalidOid, NULL))
		return false;
	return tv_tablespace_scope_of(node, scope) &&
		(OidIsValid(scope->tablespace) || table >= FirstNormalObjectId);
}

static void
seal_temporary(TvPageFile *file)
{
	tv_page_temp_add(file->rnode);
	(void) tv_page_file_resolve(file);
}

void
tv_page_new_table_file(Relation rel, const RelFileNode *node, char persistence)
{
	/* reads catalogs, so it comes before the file is at hand */
	Oid			table = base_table(rel);
	RelFileNodeBackend rnode;
	TvPageFile *file;
	TvKeyringScope scope;
	uint64		key;
	TvCipher	cipher;
	TvError		err;

	rnode.node = *node;
	rnode.backend = persistence == RELPERSISTENCE_TEMP ? BackendIdForTempRelations() : InvalidBackendId;
	file = tv_page_file(rnode);
	if (persistence == RELPERSISTENCE_TEMP)
	{
		seal_temporary(file);
		return;
	}
	if (tv_tablespace_scope_of(node, &scope))
	{
		scope.cipher = (TvCipher) tv_setting_cipher;
		seal_in_scope(file, table, persistence, &scope);
		return;
	}
	if (tv_keyring_key_for_table(node->dbNode, table,
								 (TvCipher) tv_setting_cipher, 0, &key, &cipher, &err) != TV_OK)
		tv_report(ERROR, &err);
	seal_file(file, key, cipher, persistence);
}

static void
new_catalog_file(RelFileNodeBackend rnode, Oid table)
{
	uint64		key;
	TvCipher	cipher;

	if (tv_catalog_next_key(table, &key, &cipher))
		seal_file(tv_page_file(rnode), key, cipher, RELPERSISTENCE_PERMANENT);
}

void
tv_page_new_plain_table_file(Relation rel, const RelFileNode *node, char persistence)
{
	RelFileNodeBackend rnode = {*node, InvalidBackendId};
	TvKeyringScope scope;
	Oid			table;

	if (persistence == RELPERSISTENCE_TEMP)
	{
		rnode.backend = BackendIdForTempRelations();
		seal_temporary(tv_page_file(rnode));
		return;
	}
	table = base_table(rel);	/* reads catalogs */
	if (is_in_scope(node, table, &scope))
		seal_in_scope(tv_page_file(rnode), table, persistence, &scope);
	else if (tv_catalog_is(table))
		new_catalog_file(rnode, table);
}

/*
 * Is it, or does it belong to, the transient table of a catalog that is
 * rewritten?  That is in the catalog's schema, where users make no tables
 * (cluster.c, make_new_heap).  Whoever writes a first page of such a relation
 * has the table open and valid in the relcache, so this reads no catalog.
 */
static bool
is_of_rewritten_catalog(Relation rel)
{
	Oid			table = table_of(rel);
	Relation	of;
	Oid			base;
	bool		result;

	if (table != RelationGetRelid(rel))
	{
		of = RelationIdGetRelation(table);
		if (!RelationIsValid(of))
			return false;
		result = is_of_rewritten_catalog(of);
		RelationClose(of);
		return result;
	}
	base = oid_after(RelationGetRelationName(rel), "pg_temp_");
	return RelationGetNamespace(rel) == PG_CATALOG_NAMESPACE &&
		OidIsValid(base) && base < FirstNormalObjectId;
}

/* Its place decides, as nothing else does. */
static void
decide_by_scope(TvPageFile *file, Relation rel)
{
	TvKeyringScope scope;
	Oid			table = is_of_rewritten_catalog(rel) ? InvalidOid : table_of(rel);

	if (is_in_scope(&file->rnode.node, table, &scope))
		seal_in_scope(file, table_of(rel), rel->rd_rel->relpersistence, &scope);
	else
		file->state = TV_STATE_PLAIN;
}

/* An index follows its table. */
static void
decide_index(TvPageFile *file, Relation index)
{
	Relation	heap;
	bool		encrypted;
	RelFileNodeBackend heap_node;
	TvKeyringFile known;
	TvKeyringKey key;

	/*
	 * Whoever writes the first page of an index has its table open and valid
	 * in the relcache (index.c, index_build), so this reads no catalog.
	 */
	heap = RelationIdGetRelation(index->rd_index->indrelid);
	if (!RelationIsValid(heap))
		ereport(ERROR,
				(errcode(ERRCODE_TV_UNDECIDED),
				 errmsg("cannot decide whether index \"%s\" is to be encrypted: its table is gone",
						RelationGetRelationName(index))));
	encrypted = tv_page_is_encrypted_table(heap);
	heap_node.node = heap->rd_node;
	heap_node.backend = heap->rd_backend;
	RelationClose(heap);

	/* the table's own file was decided before: that, not its name, counts */
	if (!tv_keyring_lookup(&heap_node.node, &known) || known.released ||
		(known.plain && !encrypted) || !tv_keyring_key(known.key, 0, &key))
	{
		if (encrypted)
			ereport(ERROR,
					(errcode(ERRCODE_TV_KEYRING),
					 errmsg("the keyring does not know the file of the table that index \"%s\" belongs to",
							RelationGetRelationName(index)),
					 errhint("Restore the keyring from a backup of the data directory.")));
		decide_by_scope(file, index);
		return;
	}
	seal_file(file, known.key, key.cipher, index->rd_rel->relpersistence);
}

static void
decide_sequence(TvPageFile *file, Relation sequence)
{
	TvKeyringFile known;
	TvKeyringKey key;

	if (tv_page_sequence_binding(RelationGetRelid(sequence), &known) &&
		tv_keyring_key(known.key, 0, &key))
		seal_file(file, known.key, key.cipher, sequence->rd_rel->relpersistence);
	else
		decide_by_scope(file, sequence);
}

/* The relcache entry that owns reln (rel.h: smgr_owner points at rd_smgr). */
static Relation
owner_of(SMgrRelation reln)
{
	Relation	rel;

	if (reln->smgr_owner == NULL)
		return NULL;
	rel = (Relation) ((char *) reln->smgr_owner - offsetof(RelationData, rd_smgr));
	if (rel->rd_smgr != reln || !RelFileNodeEquals(rel->rd_node, reln->smgr_rnode.node))
		return NULL;
	return rel;
}

static void
unknown_file(Relation rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_TV_KEYRING),
			 errmsg("the keyring does not know the file of encrypted relation \"%s\"",
					RelationGetRelationName(rel)),
			 errhint("Restore the keyring from a backup of the data directory.")));
}

void
tv_page_require_plain(SMgrRelation reln)
{
	Relation	rel = owner_of(reln);
	Relation	table;
	bool		encrypted;

	/* processes without relations work on what others have decided */
	if (rel == NULL || RelFileNodeBackendIsTemp(reln->smgr_rnode) ||
		reln->smgr_rnode.node.relNode < FirstNormalObjectId || !IsTransactionState())
		return;
	if (rel->rd_rel->relkind != RELKIND_INDEX)
	{
		if (rel->rd_tableam != NULL && tv_page_is_encrypted_table(rel))
			unknown_file(rel);
		return;
	}
	/* whoever reads an index has its table open: this finds it in the relcache */
	if (rel->rd_index == NULL || IsCatalogRelation(rel))
		return;
	table = RelationIdGetRelation(rel->rd_index->indrelid);
	if (!RelationIsValid(table))
		return;
	encrypted = tv_page_is_encrypted_table(table);
	RelationClose(table);
	if (encrypted)
		unknown_file(rel);
}

void
tv_page_decide(TvPageFile *file, SMgrRelation reln)
{
	Relation	rel = owner_of(reln);

	/* recovery writes what the keyring names, and only that, sealed */
	if (InRecovery || IsBootstrapProcessingMode() ||
		reln->smgr_rnode.node.relNode < FirstNormalObjectId)
	{
		file->state = TV_STATE_PLAIN;
		return;
	}
	if (inheritance.active && RelFileNodeBackendEquals(inheritance.target, file->rnode))
	{
		tv_page_inherit(inheritance.source, inheritance.target, inheritance.persistence, true);
		return;
	}
	if (RelFileNodeBackendIsTemp(file->rnode))
	{
		seal_temporary(file);
		return;
	}
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_TV_UNDECIDED),
				 errmsg("cannot decide whether file \"%s\" is to be encrypted",
						relpath(reln->smgr_rnode, MAIN_FORKNUM)),
				 errdetail("It is written without its relation being open."),
				 errhint("Report this with the statement that was running.")));

	switch (rel->rd_rel->relkind)
	{
		case RELKIND_INDEX:
			decide_index(file, rel);
			return;
		case RELKIND_SEQUENCE:
			decide_sequence(file, rel);
			return;
		case RELKIND_RELATION:
		case RELKIND_MATVIEW:
		case RELKIND_TOASTVALUE:
			/* their files are recorded when they are made, or have a place */
			if (!tv_page_is_encrypted_table(rel))
			{
				decide_by_scope(file, rel);
				return;
			}
			break;
		default:
			break;
	}
	unknown_file(rel);
}

/*
 * A key of the copy's own.  Copies of one database come file by file; files
 * that shared a key share the new one, found by the table it stands for.
 */
static uint64
key_of_copy(const TvKeyringKey *source, Oid database)
{
	uint64		key;
	TvCipher	cipher;
	TvError		err;

	if (tv_keyring_key_for_table(database, source->table, source->cipher,
								 source->master_key, &key, &cipher, &err) != TV_OK)
		tv_report(ERROR, &err);
	return key;
}

void
tv_page_inherit(RelFileNodeBackend source, RelFileNodeBackend target,
				char persistence, bool new_key)
{
	TvPageFile *file = tv_page_file(target);
	TvKeyringFile known;
	TvKeyringKey key;

	if (file->state == TV_STATE_SEALED || tv_page_file_resolve(file))
		return;
	if (RelFileNodeBackendIsTemp(source))
	{
		seal_temporary(file);
		return;
	}
	if (!tv_keyring_lookup(&source.node, &known) || known.dropped || known.plain)
	{
		file->state = TV_STATE_PLAIN;
		return;
	}
	if (!tv_keyring_key(known.key, 0, &key))
		elog(ERROR, "keyring lost a table key");
	seal_file(file, new_key ? key_of_copy(&key, target.node.dbNode) : known.key,
			  key.cipher, persistence);
}

/* Is the file of rel sealed wherever it is?  See tv_page_decide(). */
static bool
is_sealed_everywhere(Relation rel)
{
	TvKeyringFile known;
	Relation	table;
	bool		sealed;

	if (rel->rd_rel->relkind != RELKIND_INDEX)
		return tv_page_is_encrypted_table(rel) || tv_catalog_is(table_of(rel));
	table = RelationIdGetRelation(rel->rd_index->indrelid);
	if (!RelationIsValid(table))
		return true;			/* cannot be: then rather sealed */
	sealed = tv_page_is_encrypted_table(table) ||
		(tv_keyring_lookup(&table->rd_node, &known) && !known.plain && !known.released);
	RelationClose(table);
	return sealed;
}

void
tv_page_decide_moved(SMgrRelation source, SMgrRelation target, char persistence)
{
	Relation	rel = owner_of(source);
	RelFileNodeBackend to = target->smgr_rnode;
	TvPageFile *file = tv_page_file(to);
	TvKeyringScope scope;
	TvKeyringFile known;
	bool		temporary = RelFileNodeBackendIsTemp(to);

	if (file->state != TV_STATE_UNRESOLVED || tv_page_file_resolve(file))
		return;
	/* a copy that is no move of a relation stays what it was */
	if (temporary || rel == NULL)
		tv_page_inherit(source->smgr_rnode, to, persistence, false);
	else if (is_in_scope(&to.node, table_of(rel), &scope) &&
			 (!tv_keyring_lookup(&source->smgr_rnode.node, &known) || known.dropped ||
			  known.plain || known.released))
		seal_in_scope(file, table_of(rel), persistence, &scope);
	else if (is_in_scope(&to.node, table_of(rel), &scope) || is_sealed_everywhere(rel))
		tv_page_inherit(source->smgr_rnode, to, persistence, false);
	else
		file->state = TV_STATE_PLAIN;
}

void
tv_page_inheritance_begin(RelFileNodeBackend source, RelFileNodeBackend target,
						  char persistence)
{
	inheritance.active = true;
	inheritance.persistence = persistence;
	inheritance.source = source;
	inheritance.target = target;
}

void
tv_page_inheritance_end(void)
{
	inheritance.active = false;
}
