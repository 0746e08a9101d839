/*
 * tv_vault_realm.c
 *	  CREATE, ALTER and DROP REALM.
 */
#include "vault/tv_vault_commands.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "base/tv_report.h"
#include "vault/tv_vault_audit.h"
#include "vault/tv_vault_objects.h"
#include "vault/tv_vault_rights.h"
#include "vault/tv_vault_trust.h"

#define OBJECTS_PRUNED 10000	/* a realm of more keeps entries of dropped tables */

void
tv_vault_create_realm(const TvNewRealm *new)
{
	TvPolicy   *policy = tv_vault_begin_command("CREATE REALM");
	TvRealm    *realm;
	Oid			owner;

	tv_vault_require_admin("CREATE REALM");
	tv_vault_check_name("realm", new->name);
	tv_vault_check_text("description", new->description);
	owner = new->owner ? tv_vault_find_role(new->owner) : tv_vault_keep_role(GetAuthenticatedUserId());
	if (tv_policy_realm(policy, new->name) != NULL)
	{
		ereport(new->if_not_exists ? NOTICE : ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("realm \"%s\" already exists%s", new->name,
						new->if_not_exists ? ", skipping" : "")));
		return;
	}
	realm = tv_policy_add_realm(policy);
	if (realm == NULL)
		tv_vault_out_of_memory();
	realm->name = tv_vault_keep_text(policy, new->name);
	realm->description = tv_vault_keep_text(policy, new->description);
	realm->id = ++policy->last_id;
	realm->owner = owner;
	realm->mode = new->simulate ? TV_MODE_SIMULATE : TV_MODE_ENABLED;
	realm->password = new->require_password;
	realm->created = GetCurrentTimestamp();
	policy->has_admin = true;
	tv_vault_audit_change("CREATE REALM", new->name, NULL);
	tv_vault_change_done();
	tv_vault_warn_of_role(owner, new->name);
}

/* Rules ON REALM go with it; emergencies stay, they are to be reviewed. */
void
tv_vault_drop_realm(const char *name, bool if_exists)
{
	TvPolicy   *policy = tv_vault_begin_command("DROP REALM");
	TvRealm    *realm;
	uint32		id;

	tv_vault_require_admin("DROP REALM");
	realm = tv_policy_realm(policy, name);
	if (realm == NULL && if_exists)
	{
		ereport(NOTICE,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("realm \"%s\" does not exist, skipping", name)));
		return;
	}
	realm = tv_vault_find_realm(policy, name);
	id = realm->id;
	tv_policy_remove_realm(policy, realm - policy->realms);
	for (uint32 i = policy->n_objects; i-- > 0;)
	{
		if (policy->objects[i].realm == id)
			tv_policy_remove_object(policy, i);
	}
	for (uint32 i = policy->n_roles; i-- > 0;)
	{
		if (policy->roles[i].realm == id)
			tv_policy_remove_role(policy, i);
	}
	for (uint32 i = policy->n_passwords; i-- > 0;)
	{
		if (policy->passwords[i].realm == id)
			tv_policy_remove_password(policy, i);
	}
	for (uint32 i = policy->n_rules; i-- > 0;)
	{
		if (policy->rules[i].kind == TV_OBJECT_REALM && policy->rules[i].object == id)
			tv_policy_remove_rule(policy, i);
	}
	tv_vault_audit_change("DROP REALM", name, NULL);
	tv_vault_change_done();
}

/* --- tables and schemas --- */

/*
 * Find and lock the relation.  Who looks after a vault needs no right on the
 * schemas in it, which RangeVarGetRelid() would ask for; a name without schema
 * is found as everywhere.
 */
static Oid
find_relation(const char *name)
{
	RangeVar   *range = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(name)));
	Oid			schema;
	Oid			relid;

	if (range->schemaname == NULL || range->catalogname != NULL)
		return RangeVarGetRelid(range, AccessShareLock, false);
	schema = get_namespace_oid(range->schemaname, false);
	for (;;)
	{
		relid = get_relname_relid(range->relname, schema);
		if (!OidIsValid(relid))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation \"%s.%s\" does not exist", range->schemaname, range->relname)));
		LockRelationOid(relid, AccessShareLock);
		if (get_relname_relid(range->relname, schema) == relid)
			return relid;
		UnlockRelationOid(relid, AccessShareLock);
	}
}

Oid
tv_vault_table_named(const char *name)
{
	Oid			relid = find_relation(name);
	char		relkind = get_rel_relkind(relid);

	if (relkind == RELKIND_FOREIGN_TABLE)
		tv_vault_check_may_join(relid);
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE &&
		relkind != RELKIND_MATVIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", name),
				 errhint("A table's indexes, TOAST table, sequences and partitions are protected with it.")));
	if (relid < FirstNormalObjectId || get_rel_persistence(relid) == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" cannot be in a realm: it is a %s table", name,
						relid < FirstNormalObjectId ? "system" : "temporary")));
	return relid;
}

Oid
tv_vault_schema_named(const char *name)
{
	List	   *names = textToQualifiedNameList(cstring_to_text(name));
	Oid			schema;

	if (list_length(names) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" is not the name of a schema", name)));
	schema = get_namespace_oid(strVal(linitial(names)), false);
	if (IsCatalogNamespace(schema) || IsToastNamespace(schema) || isAnyTempNamespace(schema) ||
		strcmp(strVal(linitial(names)), "information_schema") == 0 ||
		strcmp(strVal(linitial(names)), "tde_vault") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("schema \"%s\" cannot be in a realm", name)));
	return schema;
}

/* The table and all that is below it must be sealed. */
static void
check_table(Oid table)
{
	List	   *members = find_all_inheritors(table, AccessShareLock, NULL);
	ListCell   *lc;

	foreach(lc, members)
		tv_vault_check_may_join(lfirst_oid(lc));
}

/* What has rows there, or may have. */
static List *
tables_of_schema(Oid schema)
{
	Relation	classes = table_open(RelationRelationId, AccessShareLock);
	List	   *relations = NIL;
	ScanKeyData key;
	TableScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_class_relnamespace, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(schema));
	scan = table_beginscan_catalog(classes, 1, &key);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relkind == RELKIND_RELATION || form->relkind == RELKIND_MATVIEW ||
			form->relkind == RELKIND_FOREIGN_TABLE || form->relkind == RELKIND_PARTITIONED_TABLE)
			relations = lappend_oid(relations, form->oid);
	}
	table_endscan(scan);
	table_close(classes, AccessShareLock);
	return relations;
}

static void
check_schema(Oid schema)
{
	ListCell   *lc;

	foreach(lc, tables_of_schema(schema))
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_PARTITIONED_TABLE)
			check_table(lfirst_oid(lc));
		else
			tv_vault_check_may_join(lfirst_oid(lc));
	}
}

/* Entries of tables and schemas that no longer exist say nothing. */
static void
prune(TvPolicy *policy, uint32 realm)
{
	uint32		n = 0;

	for (uint32 i = 0; i < policy->n_objects; i++)
		n += policy->objects[i].realm == realm;
	if (n > OBJECTS_PRUNED)
		return;
	for (uint32 i = policy->n_objects; i-- > 0;)
	{
		const TvRealmObject *object = &policy->objects[i];

		if (object->realm == realm &&
			(object->kind == TV_OBJECT_TABLE ? get_rel_relkind(object->oid) == '\0' :
			 get_namespace_name(object->oid) == NULL))
			tv_policy_remove_object(policy, i);
	}
}

/* What becomes of one table or schema of a realm; named: as the statement calls it. */
typedef void (*ObjectChange) (TvPolicy *policy, const TvRealm *realm, Oid oid,
							  TvObjectKind kind, const char *named);

static void
add_object(TvPolicy *policy, const TvRealm *realm, Oid oid, TvObjectKind kind, const char *named)
{
	if (kind == TV_OBJECT_TABLE)
		check_table(oid);
	else
		check_schema(oid);
	if (tv_policy_add_object(policy, oid, kind, realm->id) == NULL)
		tv_vault_out_of_memory();
	tv_vault_audit_change(kind == TV_OBJECT_TABLE ? "ALTER REALM ADD TABLE" : "ALTER REALM ADD SCHEMA",
						  realm->name, named);
}

static void
remove_object(TvPolicy *policy, const TvRealm *realm, Oid oid, TvObjectKind kind, const char *named)
{
	uint32		i = tv_policy_find_object(policy, oid, kind);

	while (i < policy->n_objects && policy->objects[i].oid == oid &&
		   policy->objects[i].kind == kind && policy->objects[i].realm != realm->id)
		i++;
	if (i >= policy->n_objects || policy->objects[i].oid != oid || policy->objects[i].kind != kind)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s \"%s\" is not in realm \"%s\"",
						kind == TV_OBJECT_TABLE ? "table" : "schema", named, realm->name),
				 errhint("tde_vault.realm_objects shows what is.")));
	tv_policy_remove_object(policy, i);
	tv_vault_audit_change(kind == TV_OBJECT_TABLE ? "ALTER REALM REMOVE TABLE" : "ALTER REALM REMOVE SCHEMA",
						  realm->name, named);
}

static void
change_objects(const char *name, List *tables, List *schemas, ObjectChange change)
{
	TvPolicy   *policy = tv_vault_begin_command("ALTER REALM");
	TvRealm    *realm = tv_vault_find_realm(policy, name);
	ListCell   *lc;

	tv_vault_require_owner(realm, "ALTER REALM");
	foreach(lc, tables)
		change(policy, realm, tv_vault_table_named(lfirst(lc)), TV_OBJECT_TABLE, lfirst(lc));
	foreach(lc, schemas)
		change(policy, realm, tv_vault_schema_named(lfirst(lc)), TV_OBJECT_SCHEMA, lfirst(lc));
	prune(policy, realm->id);
	tv_vault_change_done();
}

void
tv_vault_realm_add(const char *name, List *tables, List *schemas)
{
	ListCell   *lc;
	ListCell   *table;

	change_objects(name, tables, schemas, add_object);

	/* what they bring along, now that all of them are in */
	foreach(lc, tables)
		tv_vault_warn_of_table(tv_vault_table_named(lfirst(lc)));
	foreach(lc, schemas)
	{
		foreach(table, tables_of_schema(tv_vault_schema_named(lfirst(lc))))
			tv_vault_warn_of_table(lfirst_oid(table));
	}
}

void
tv_vault_realm_remove(const char *name, List *tables, List *schemas)
{
	change_objects(name, tables, schemas, remove_object);
}

/* --- properties --- */

void
tv_vault_realm_owner(const char *name, const char *owner)
{
	TvPolicy   *policy = tv_vault_begin_command("ALTER REALM");
	TvRealm    *realm = tv_vault_find_realm(policy, name);

	tv_vault_require_owner(realm, "ALTER REALM");
	realm->owner = tv_vault_find_role(owner);
	tv_vault_audit_change("ALTER REALM OWNER", name, owner);
	tv_vault_change_done();
	tv_vault_warn_of_role(realm->owner, name);
}

void
tv_vault_realm_description(const char *name, const char *description)
{
	TvPolicy   *policy = tv_vault_begin_command("ALTER REALM");
	TvRealm    *realm = tv_vault_find_realm(policy, name);

	tv_vault_require_owner(realm, "ALTER REALM");
	tv_vault_check_text("description", description);
	realm->description = tv_vault_keep_text(policy, description);
	tv_vault_audit_change("ALTER REALM DESCRIPTION", name, NULL);
	tv_vault_change_done();
}

TvVaultMode
tv_vault_mode_named(const char *mode)
{
	if (pg_strcasecmp(mode, "enable") == 0)
		return TV_MODE_ENABLED;
	if (pg_strcasecmp(mode, "disable") == 0)
		return TV_MODE_DISABLED;
	if (pg_strcasecmp(mode, "simulate") == 0)
		return TV_MODE_SIMULATE;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("mode \"%s\" is not known", mode),
			 errhint("It is one of enable, disable, simulate.")));
}

void
tv_vault_realm_mode(const char *name, const char *mode)
{
	TvPolicy   *policy = tv_vault_begin_command("ALTER REALM");
	TvRealm    *realm = tv_vault_find_realm(policy, name);

	tv_vault_require_owner(realm, "ALTER REALM");
	realm->mode = tv_vault_mode_named(mode);
	tv_vault_audit_change("ALTER REALM MODE", name, mode);
	tv_vault_change_done();
}

/* --- authorized roles --- */

static bool
is_authorized(const TvPolicy *policy, uint32 realm, Oid role)
{
	for (uint32 i = 0; i < policy->n_roles; i++)
	{
		if (policy->roles[i].realm == realm && policy->roles[i].role == role)
			return true;
	}
	return false;
}

void
tv_vault_realm_authorize(const char *name, List *roles)
{
	TvPolicy   *policy = tv_vault_begin_command("ALTER REALM");
	TvRealm    *realm = tv_vault_find_realm(policy, name);
	ListCell   *lc;

	tv_vault_require_owner(realm, "ALTER REALM");
	foreach(lc, roles)
	{
		Oid			role = tv_vault_find_role(lfirst(lc));
		TvRealmRole *entry;

		if (is_authorized(policy, realm->id, role))
			continue;
		entry = tv_policy_add_role(policy);
		if (entry == NULL)
			tv_vault_out_of_memory();
		entry->realm = realm->id;
		entry->role = role;
		entry->grantor = GetAuthenticatedUserId();
		entry->granted = GetCurrentTimestamp();
		tv_vault_audit_change("ALTER REALM AUTHORIZE", name, lfirst(lc));
		tv_vault_warn_of_role(role, name);
	}
	tv_vault_change_done();
}

/* A role that is revoked keeps nothing: its passwords go, too. */
void
tv_vault_realm_revoke(const char *name, List *roles)
{
	TvPolicy   *policy = tv_vault_begin_command("ALTER REALM");
	TvRealm    *realm = tv_vault_find_realm(policy, name);
	ListCell   *lc;

	tv_vault_require_owner(realm, "ALTER REALM");
	foreach(lc, roles)
	{
		Oid			role = tv_vault_find_role(lfirst(lc));
		bool		found = false;

		for (uint32 i = policy->n_roles; i-- > 0;)
		{
			if (policy->roles[i].realm == realm->id && policy->roles[i].role == role)
			{
				tv_policy_remove_role(policy, i);
				found = true;
			}
		}
		for (uint32 i = policy->n_passwords; i-- > 0;)
		{
			if (policy->passwords[i].realm == realm->id && policy->passwords[i].role == role)
			{
				tv_policy_remove_password(policy, i);
				found = true;
			}
		}
		if (found)
			tv_vault_audit_change("ALTER REALM REVOKE", name, lfirst(lc));
		else
			ereport(NOTICE,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("role \"%s\" is not authorized for realm \"%s\"", (char *) lfirst(lc), name)));
	}
	tv_vault_change_done();
}
