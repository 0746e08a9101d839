/*
 * tv_vault_frozen.c
 *	  Functions that a protected relation runs.
 *
 * Whoever replaces a function that an index expression, check, default,
 * generated column, trigger, policy or domain of a protected table calls is
 * handed the table's rows by the server.  From the function, pg_depend is
 * followed to whatever uses it, and from there to the relations that own that.
 * What a function's body calls by name is not in pg_depend, unless it was
 * written in the standard's form (BEGIN ATOMIC).
 */
#include "vault/tv_vault_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

typedef struct Search
{
	Relation	depend;
	ObjectAddresses *seen;
	List	   *queue;			/* of ObjectAddress */
	List	   *found;			/* OIDs of protected relations */
} Search;

static void
visit(Search *search, Oid class, Oid object)
{
	ObjectAddress address = {class, object, 0};
	ObjectAddress *copy;

	if (object_address_present(&address, search->seen))
		return;
	add_exact_object_address(&address, search->seen);
	if (class == RelationRelationId && tv_vault_protects(object))
	{
		search->found = lappend_oid(search->found, object);
		return;
	}
	copy = palloc(sizeof(ObjectAddress));
	*copy = address;
	search->queue = lappend(search->queue, copy);
}

/* One side of pg_depend: where the object stands, and what is seen from there. */
typedef struct Direction
{
	Oid			index;
	AttrNumber	class;
	AttrNumber	object;
	bool		owners;			/* what it is part of; else what uses it */
} Direction;

static const Direction users = {
	DependReferenceIndexId, Anum_pg_depend_refclassid, Anum_pg_depend_refobjid, false
};
static const Direction owners = {
	DependDependerIndexId, Anum_pg_depend_classid, Anum_pg_depend_objid, true
};

/*
 * What is made by the command at hand counts.  A relation that is not protected
 * is used by its row type only: what runs for it does not run for what refers
 * to it.
 */
static void
visit_neighbours(Search *search, const ObjectAddress *object, const Direction *direction)
{
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], direction->class, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object->classId));
	ScanKeyInit(&key[1], direction->object, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object->objectId));
	scan = systable_beginscan(search->depend, direction->index, true, SnapshotSelf, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		if (!direction->owners)
		{
			if (object->classId != RelationRelationId || form->classid == TypeRelationId)
				visit(search, form->classid, form->objid);
		}
		else if (form->deptype == DEPENDENCY_AUTO || form->deptype == DEPENDENCY_INTERNAL)
			visit(search, form->refclassid, form->refobjid);
	}
	systable_endscan(scan);
}

/* Protected relations that run the object; only the first one unless all. */
static List *
search_users(Oid class, Oid start, bool all)
{
	Search		search = {0};

	search.depend = table_open(DependRelationId, AccessShareLock);
	search.seen = new_object_addresses();
	visit(&search, class, start);

	/* the list grows while it is walked */
	for (int i = 0; i < list_length(search.queue) && (all || search.found == NIL); i++)
	{
		ObjectAddress *object = list_nth(search.queue, i);

		visit_neighbours(&search, object, &users);
		if (object->classId != ProcedureRelationId && object->classId != RelationRelationId)
			visit_neighbours(&search, object, &owners);
	}
	free_object_addresses(search.seen);
	table_close(search.depend, AccessShareLock);
	return search.found;
}

bool
tv_vault_function_frozen(Oid function)
{
	return tv_vault_on() && search_users(ProcedureRelationId, function, false) != NIL;
}

List *
tv_vault_users_of(Oid class, Oid object)
{
	return tv_vault_on() ? search_users(class, object, true) : NIL;
}
