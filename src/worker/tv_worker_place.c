/*
 * tv_worker_place.c
 *	  What lies in an encrypted tablespace or database: the switch, one relation
 *	  after the other, whatever its access method.
 */
#include "worker/tv_worker_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "page/tv_page_decide.h"

static bool
is_sealed(const RelFileNode *node)
{
	TvKeyringFile known;

	return tv_keyring_lookup(node, &known) && !known.plain && !known.released;
}

/* Is the relation one that the place has sealed, and is it not yet? */
static bool
is_due(Form_pg_class form, Oid tablespace, char relkind)
{
	RelFileNode node = {form->reltablespace, MyDatabaseId, form->relfilenode};

	if (!OidIsValid(node.spcNode))
		node.spcNode = MyDatabaseTableSpace;
	/* pages of other access methods may not be as the server's */
	return form->relkind == relkind &&
		(!RELKIND_HAS_TABLE_AM(relkind) || form->relam == HEAP_TABLE_AM_OID) &&
		(!OidIsValid(tablespace) || form->reltablespace == tablespace) &&
		form->relnamespace != PG_TOAST_NAMESPACE &&	/* come along with their table */
		form->oid >= FirstNormalObjectId && form->relpersistence != RELPERSISTENCE_TEMP &&
		!is_sealed(&node);
}

/* Those of a kind, in OID order. */
static List *
add_due(List *found, Oid tablespace, char relkind)
{
	Relation	pg_class = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(pg_class, ClassOidIndexId, true, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (is_due(form, tablespace, relkind))
			found = lappend_oid(found, form->oid);
	}
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return found;
}

List *
tv_worker_place_list(Oid tablespace)
{
	List	   *found = add_due(NIL, tablespace, RELKIND_RELATION);

	/* tables first: their indexes and sequences come along */
	found = add_due(found, tablespace, RELKIND_MATVIEW);
	found = add_due(found, tablespace, RELKIND_INDEX);
	return OidIsValid(tablespace) ? found : add_due(found, tablespace, RELKIND_SEQUENCE);
}

/* Those dropped meanwhile, or sealed already, say false. */
static bool
seal_table_in(Oid relid, TvCipher cipher)
{
	Relation	rel = try_relation_open(relid, AccessExclusiveLock);
	bool		due = rel != NULL && !is_sealed(&rel->rd_node);

	if (due)
	{
		CheckTableNotInUse(rel, "ALTER TABLESPACE");
		tv_worker_seal_family(rel, cipher);
		tv_worker_adopt_sequences(relid);
	}
	if (rel != NULL)
		relation_close(rel, NoLock);
	return due;
}

/* Alone: its table is elsewhere, and plain. */
static bool
seal_index_in(Oid relid, TvCipher cipher)
{
	Oid			tableid = IndexGetRelation(relid, true);
	Relation	table = OidIsValid(tableid) ? try_relation_open(tableid, AccessExclusiveLock) : NULL;
	Relation	rel = table ? try_relation_open(relid, AccessExclusiveLock) : NULL;
	bool		due = rel != NULL && !is_sealed(&rel->rd_node);
	TvKeyringFile known;
	uint64		key;
	TvError		err;

	if (due)
	{
		CheckTableNotInUse(table, "ALTER TABLESPACE");
		key = tv_worker_choose_key(tv_worker_has_key(&rel->rd_node, &known) ? rel : table, cipher);
		tv_worker_check(tv_keyring_set_work(key, TV_WORK_PENDING, InvalidXLogRecPtr, &err), &err);
		tv_worker_seal_file(relid, key, cipher, TV_WORK_PENDING);
		tv_worker_check(tv_keyring_flush(&err), &err);
		tv_worker_wake_at_commit();
	}
	if (rel != NULL)
		relation_close(rel, NoLock);
	if (table != NULL)
		relation_close(table, NoLock);
	return due;
}

/* One that no table owns: a page, written anew at once. */
static bool
seal_sequence_in(Oid relid)
{
	Relation	rel = try_relation_open(relid, AccessExclusiveLock);
	bool		due = rel != NULL && !is_sealed(&rel->rd_node);

	if (rel != NULL)
		relation_close(rel, NoLock);
	if (due)
		tv_page_seal_sequence(relid);
	return due;
}

bool
tv_worker_seal_in_place(Oid relid, TvCipher cipher)
{
	switch (get_rel_relkind(relid))
	{
		case RELKIND_RELATION:
		case RELKIND_MATVIEW:
			return seal_table_in(relid, cipher);
		case RELKIND_INDEX:
			return seal_index_in(relid, cipher);
		case RELKIND_SEQUENCE:
			return seal_sequence_in(relid);
		default:
			return false;		/* dropped meanwhile */
	}
}

int
tv_worker_encrypt_place(Oid tablespace)
{
	List	   *found;
	ListCell   *lc;
	int			count = 0;

	tv_worker_check_state("ENABLE ENCRYPTION");
	found = tv_worker_place_list(tablespace);
	foreach(lc, found)
	{
		Oid			relid = lfirst_oid(lc);

		/* those come along with their table */
		if (get_rel_relkind(relid) != RELKIND_INDEX ||
			!list_member_oid(found, IndexGetRelation(relid, true)))
			count++;
	}
	tv_worker_visit_databases();
	return count;
}
