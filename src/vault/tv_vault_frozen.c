/*
 * tv_vault_frozen.c
 *	  Functions that a protected relation runs.
 *
 * Whoever replaces a function that an index expression, check, default,
 * generated column, trigger, policy or domain of a protected table calls is
 * handed the table's rows by the server: those of its realms.  From the function,
 * pg_depend is followed to whatever uses it, and from there to the relations that
 * own that.
 * What a function's body calls by name is not in pg_depend, unless it was
 * written in the standard's form (BEGIN ATOMIC).  What is made by the command
 * at hand counts, hence SnapshotSelf.
 */
#include "vault/tv_vault_internal.h"

#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/snapmgr.h"

#include "base/tv_depend.h"

typedef struct Search
{
	ObjectAddresses *seen;
	List	   *queue;			/* of ObjectAddress */
	List	   *found;			/* OIDs of protected relations */
	bool		of_realm;		/* only those of realm count */
	uint32		realm;
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
		if (!search->of_realm || tv_vault_in_realm(object, search->realm))
			search->found = lappend_oid(search->found, object);
		return;
	}
	copy = palloc(sizeof(ObjectAddress));
	*copy = address;
	search->queue = lappend(search->queue, copy);
}

/*
 * What uses the object.  A relation that is not protected is used by its row
 * type only: what runs for it does not run for what refers to it.
 */
static void
visit_users(Search *search, const ObjectAddress *object)
{
	TvDepend	walk = tv_dependents(object->classId, object->objectId, SnapshotSelf);
	Form_pg_depend row;

	while ((row = tv_depend_next(&walk)) != NULL)
	{
		if (object->classId != RelationRelationId || row->classid == TypeRelationId)
			visit(search, row->classid, row->objid);
	}
}

/* What the object is part of. */
static void
visit_owners(Search *search, const ObjectAddress *object)
{
	TvDepend	walk = tv_dependencies(object->classId, object->objectId, SnapshotSelf);
	Form_pg_depend row;

	while ((row = tv_depend_next(&walk)) != NULL)
	{
		if (row->deptype == DEPENDENCY_AUTO || row->deptype == DEPENDENCY_INTERNAL)
			visit(search, row->refclassid, row->refobjid);
	}
}

/* Protected relations that run the object; only the first one unless all. */
static List *
search_users(Search *search, Oid class, Oid start, bool all)
{
	search->seen = new_object_addresses();
	visit(search, class, start);

	/* the list grows while it is walked */
	for (int i = 0; i < list_length(search->queue) && (all || search->found == NIL); i++)
	{
		ObjectAddress *object = list_nth(search->queue, i);

		visit_users(search, object);
		if (object->classId != ProcedureRelationId && object->classId != RelationRelationId)
			visit_owners(search, object);
	}
	free_object_addresses(search->seen);
	return search->found;
}

bool
tv_vault_function_frozen(Oid function)
{
	Search		search = {0};

	return tv_vault_on() && search_users(&search, ProcedureRelationId, function, false) != NIL;
}

bool
tv_vault_function_runs_for(Oid function, uint32 realm)
{
	Search		search = {.of_realm = true, .realm = realm};

	return tv_vault_on() && search_users(&search, ProcedureRelationId, function, false) != NIL;
}

List *
tv_vault_users_of(Oid class, Oid object)
{
	Search		search = {0};

	return tv_vault_on() ? search_users(&search, class, object, true) : NIL;
}
