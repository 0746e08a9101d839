/*
 * tv_worker_prepare.c
 *	  What a switch needs on disk, made before it locks anybody out.
 *
 * A sidecar is 0.4 % of its file: of a table of 1 TB, 4 GB that are allocated
 * and synced.  So that is done before, in steps that hold a lock which only
 * dropping and rewriting the table conflict with; what is left for the switch
 * is the room for what was added meanwhile.
 *
 * Whoever is switching the file excludes us, so nobody writes entries while we
 * are at it.  A sidecar that was made for nothing, as the statement failed,
 * goes with its file, or is made anew by the next one.
 */
#include "worker/tv_worker_internal.h"

#include "access/relation.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/tv_settings.h"
#include "page/tv_page_decide.h"
#include "page/tv_page_renew.h"
#include "page/tv_page_smgr.h"

#define STEP_BLOCKS 32768		/* of the relation: 1 MB of its sidecar */

/* What was made for files that were not switched yet; this process's. */
typedef struct Prepared
{
	RelFileNode node;
	uint64		key;
	BlockNumber blocks;
} Prepared;

static List *all = NIL;

/* The keys that were made for tables which have none: tables, and their keys. */
static List *key_tables = NIL;
static List *keys = NIL;

static Prepared *
find(const RelFileNode *node, uint64 key)
{
	ListCell   *lc;

	foreach(lc, all)
	{
		Prepared   *one = lfirst(lc);

		if (RelFileNodeEquals(one->node, *node) && one->key == key)
			return one;
	}
	return NULL;
}

static Prepared *
add(const RelFileNode *node, uint64 key)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Prepared   *one = palloc0(sizeof(*one));

	one->node = *node;
	one->key = key;
	all = lappend(all, one);
	MemoryContextSwitchTo(old);
	return one;
}

BlockNumber
tv_worker_prepared(const RelFileNode *node, uint64 key)
{
	Prepared   *one = find(node, key);
	BlockNumber blocks = one ? one->blocks : 0;

	if (one != NULL)
	{
		all = list_delete_ptr(all, one);
		pfree(one);
	}
	return blocks;
}

static void
remember_key(Oid table, uint64 key)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	uint64	   *copy = palloc(sizeof(*copy));

	*copy = key;
	key_tables = lappend_oid(key_tables, table);
	keys = lappend(keys, copy);
	MemoryContextSwitchTo(old);
}

uint64
tv_worker_prepared_key(Oid table)
{
	ListCell   *lc;
	ListCell   *lk;
	TvKeyringKey key;

	forboth(lc, key_tables, lk, keys)
	{
		uint64		id = *(uint64 *) lfirst(lk);

		if (lfirst_oid(lc) == table && tv_keyring_key(id, 0, &key) && key.database == MyDatabaseId)
			return id;
	}
	return 0;
}

static void
forget_all(void)
{
	list_free_deep(all);
	list_free(key_tables);
	list_free_deep(keys);
	all = NIL;
	key_tables = NIL;
	keys = NIL;
}

/* Has the file a sidecar that is in use, or is another key's? */
static bool
is_in_use(const RelFileNode *node, uint64 key, bool *known)
{
	TvKeyringFile file;

	*known = tv_keyring_lookup(node, &file);
	return *known &&
		(file.key != key ||
		 (!file.plain && !file.released && !file.unlogged && tv_cipher_has_nonce(file.cipher)));
}

/* A step; returns whether there is one more to do. */
static bool
do_step(Relation rel, uint64 key, Prepared **one)
{
	RelFileNode node = rel->rd_node;
	BlockNumber nblocks = tv_page_nblocks(RelationGetSmgr(rel), MAIN_FORKNUM);
	BlockNumber first;
	bool		known;

	if (is_in_use(&node, key, &known))
		return false;
	if (*one == NULL || !RelFileNodeEquals((*one)->node, node))
		*one = NULL;			/* rewritten meanwhile */
	first = *one ? (*one)->blocks : 0;
	if (nblocks < first + STEP_BLOCKS)
		return false;
	tv_page_prepare_sidecar(&node, key, first, first + STEP_BLOCKS, first == 0 && !known);
	if (*one == NULL)
		*one = add(&node, key);
	(*one)->blocks = first + STEP_BLOCKS;
	return true;
}

static void
prepare_file(Oid relid, uint64 key)
{
	Prepared   *one = NULL;
	bool		more = true;

	while (more)
	{
		Relation	rel = try_relation_open(relid, AccessShareLock);

		CHECK_FOR_INTERRUPTS();
		if (rel == NULL)
			return;
		more = do_step(rel, key, &one);
		relation_close(rel, AccessShareLock);
	}
}

static bool
is_large(List *family)
{
	ListCell   *lc;
	bool		large = false;

	foreach(lc, family)
	{
		Relation	rel = large ? NULL : try_relation_open(lfirst_oid(lc), AccessShareLock);

		if (rel == NULL)
			continue;
		large = rel->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT &&
			tv_page_nblocks(RelationGetSmgr(rel), MAIN_FORKNUM) >= STEP_BLOCKS;
		relation_close(rel, AccessShareLock);
	}
	return large;
}

static bool
may_be_switched(Relation rel)
{
	return (rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_MATVIEW) &&
		(rel->rd_rel->relam == HEAP_TABLE_AM_OID || tv_page_is_encrypted_table(rel)) &&
		!IsSystemRelation(rel);
}

/* All files of the table, or only that of an index. */
static void
prepare_table(Oid relid, Oid index, TvCipher cipher)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	List	   *family = NIL;
	ListCell   *lc;
	bool		released;
	uint64		key = 0;

	if (rel == NULL)
		return;
	if (may_be_switched(rel))
	{
		family = OidIsValid(index) ? list_make1_oid(index) : tv_worker_family(rel, AccessShareLock);
		if (is_large(family))
			key = tv_worker_key_of(rel, cipher, &released);
		if (!OidIsValid(index) && OidIsValid(rel->rd_rel->reltoastrelid))
			UnlockRelationOid(rel->rd_rel->reltoastrelid, AccessShareLock);
	}
	relation_close(rel, AccessShareLock);
	if (key == 0)
		return;
	remember_key(relid, key);
	foreach(lc, family)
		prepare_file(lfirst_oid(lc), key);
}

void
tv_worker_prepare(Oid relid, TvCipher cipher)
{
	List	   *tables;
	ListCell   *lc;

	forget_all();
	if (cipher == TV_CIPHER_NONE)
		cipher = (TvCipher) tv_setting_cipher;
	if (!tv_cipher_has_nonce(cipher) || !pg_class_ownercheck(relid, GetUserId()))
		return;
	switch (get_rel_relkind(relid))
	{
		case RELKIND_INDEX:
			prepare_table(IndexGetRelation(relid, true), relid, cipher);
			return;
		case RELKIND_PARTITIONED_TABLE:
			tables = find_all_inheritors(relid, NoLock, NULL);
			foreach(lc, tables)
				prepare_table(lfirst_oid(lc), InvalidOid, cipher);
			return;
		default:
			prepare_table(relid, InvalidOid, cipher);
	}
}
