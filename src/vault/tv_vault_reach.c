/*
 * tv_vault_reach.c
 *	  How protection reaches beyond the objects that a realm lists: what would
 *	  leave it, and views that read it.
 */
#include "vault/tv_vault_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_rewrite.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/tv_depend.h"

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

Oid
tv_vault_namesake(const char *name)
{
	const TvPolicy *policy = tv_vault_on() ? tv_vault_current()->policy : NULL;
	List	   *tables = NIL;
	List	   *schemas = NIL;
	ListCell   *lc;

	/* names are in catalogs: looking one up may bring another policy */
	for (uint32 i = 0; policy != NULL && i < policy->n_objects; i++)
	{
		if (policy->objects[i].kind == TV_OBJECT_TABLE)
			tables = lappend_oid(tables, policy->objects[i].oid);
		else if (policy->objects[i].kind == TV_OBJECT_SCHEMA)
			schemas = lappend_oid(schemas, policy->objects[i].oid);
	}
	foreach(lc, tables)
	{
		char	   *other = get_rel_name(lfirst_oid(lc));

		if (other != NULL && strcmp(other, name) == 0)
			return lfirst_oid(lc);
	}
	foreach(lc, schemas)
	{
		Oid			relid = get_relname_relid(name, lfirst_oid(lc));

		if (OidIsValid(relid))
			return relid;
	}
	return InvalidOid;
}

/* --- views --- */

/* What a rule or policy refers to. */
static List *
add_read(List *relations, Oid class, Oid object)
{
	TvDepend	walk = tv_dependencies(class, object, NULL);
	Form_pg_depend row;

	while ((row = tv_depend_next(&walk)) != NULL)
	{
		if (row->refclassid == RelationRelationId)
			relations = list_append_unique_oid(relations, row->refobjid);
	}
	return relations;
}

static List *
add_read_by_view(List *relations, Oid view)
{
	Relation	rewrite = table_open(RewriteRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_rewrite_ev_class, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(view));
	scan = systable_beginscan(rewrite, RewriteRelRulenameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		relations = add_read(relations, RewriteRelationId, ((Form_pg_rewrite) GETSTRUCT(tuple))->oid);
	systable_endscan(scan);
	table_close(rewrite, AccessShareLock);
	return relations;
}

/* Realms of the relations, and of what views among them read. */
static Bitmapset *
realms_read(List *relations)
{
	Bitmapset  *realms = NULL;

	/* the list grows while it is walked */
	for (int i = 0; i < list_length(relations); i++)
	{
		Oid			relid = list_nth_oid(relations, i);

		realms = bms_join(realms, tv_vault_realms_of(relid, true));
		if (get_rel_relkind(relid) == RELKIND_VIEW)
			relations = add_read_by_view(relations, relid);
	}
	return realms;
}

Bitmapset *
tv_vault_realms_of_view(Oid view)
{
	return realms_read(list_make1_oid(view));
}

/* --- row security policies --- */

static bool
has_policies(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		result = HeapTupleIsValid(tuple) && ((Form_pg_class) GETSTRUCT(tuple))->relrowsecurity;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

Bitmapset *
tv_vault_realms_of_policies(Oid relid)
{
	Relation	policies;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *relations = NIL;
	Bitmapset  *realms;

	if (likely(!has_policies(relid)))
		return NULL;
	policies = table_open(PolicyRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_policy_polrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(policies, PolicyPolrelidPolnameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		relations = add_read(relations, PolicyRelationId, ((Form_pg_policy) GETSTRUCT(tuple))->oid);
	systable_endscan(scan);
	/* each depends on its own table */
	realms = realms_read(list_delete_oid(relations, relid));
	table_close(policies, AccessShareLock);
	return realms;
}
