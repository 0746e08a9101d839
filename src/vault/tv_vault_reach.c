/*
 * tv_vault_reach.c
 *	  How protection reaches beyond the objects that a realm lists: what would
 *	  leave it, and views that read it.
 */
#include "vault/tv_vault_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_rewrite.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

static bool
lists(const TvPolicy *policy, uint32 realm, Oid object, TvObjectKind kind)
{
	for (uint32 i = tv_policy_find_object(policy, object, kind);
		 i < policy->n_objects && policy->objects[i].oid == object && policy->objects[i].kind == kind;
		 i++)
	{
		if (policy->objects[i].realm == realm)
			return true;
	}
	return false;
}

/* Is it, in schema, in the realm by itself? */
static bool
stays(const TvPolicy *policy, uint32 realm, Oid relid, Oid schema)
{
	return lists(policy, realm, relid, TV_OBJECT_TABLE) || lists(policy, realm, schema, TV_OBJECT_SCHEMA);
}

static bool
stays_with(const TvPolicy *policy, uint32 realm, List *owners)
{
	ListCell   *lc;

	foreach(lc, owners)
	{
		if (stays(policy, realm, lfirst_oid(lc), get_rel_namespace(lfirst_oid(lc))))
			return true;
	}
	return false;
}

const char *
tv_vault_leaves(Oid relid, Oid schema, bool alone)
{
	const TvVaultLocal *local = tv_vault_current();
	List	   *owners = alone ? NIL : list_delete_first(tv_vault_roots(relid));
	const TvTarget *target;

	if (!tv_vault_on() || local->policy == NULL)
		return NULL;
	target = tv_vault_target(local, relid);
	for (int i = 0; i < target->n_realms; i++)
	{
		const TvRealm *realm = &local->policy->realms[target->realms[i]];

		if (realm->mode == TV_MODE_ENABLED && !stays(local->policy, realm->id, relid, schema) &&
			!stays_with(local->policy, realm->id, owners))
			return realm->name;
	}
	return NULL;
}

/* --- views --- */

/* What the rules of a view refer to. */
static List *
add_read(List *relations, Relation depend, Oid rule)
{
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RewriteRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(rule));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		if (form->refclassid == RelationRelationId)
			relations = list_append_unique_oid(relations, form->refobjid);
	}
	systable_endscan(scan);
	return relations;
}

static List *
add_read_by_view(List *relations, Relation depend, Oid view)
{
	Relation	rewrite = table_open(RewriteRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_rewrite_ev_class, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(view));
	scan = systable_beginscan(rewrite, RewriteRelRulenameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		relations = add_read(relations, depend, ((Form_pg_rewrite) GETSTRUCT(tuple))->oid);
	systable_endscan(scan);
	table_close(rewrite, AccessShareLock);
	return relations;
}

bool
tv_vault_view_reads(Oid view)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	List	   *relations = list_make1_oid(view);
	bool		found = false;

	/* the list grows while it is walked */
	for (int i = 0; i < list_length(relations) && !found; i++)
	{
		Oid			relid = list_nth_oid(relations, i);

		if (tv_vault_protects(relid))
			found = true;
		else if (get_rel_relkind(relid) == RELKIND_VIEW)
			relations = add_read_by_view(relations, depend, relid);
	}
	table_close(depend, AccessShareLock);
	return found;
}
