/*
 * tv_guard_planted.c
 *	  What somebody else made in the name of a role of the vault.
 *
 * Functions, views, rules and policies that such a role owns are trusted with the rows
 * that their user reads.  A superuser can SET ROLE, give an object away, or
 * replace what another owns; so while a vault is on, such objects are made and
 * changed only by the role itself, or by a member of it; and not by a function
 * of somebody else that one of these happens to run (a trigger, say), which would
 * leave things behind in their name: statements that are prepared are such, too.
 * Nor does somebody else make triggers of what they own.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/tv_report.h"
#include "guard/tv_guard_internal.h"

/* Owner of a function; InvalidOid if there is none. */
static Oid
function_owner(Oid function)
{
	TvLookup	lookup;
	HeapTuple	tuple = tv_guard_lookup(&lookup, ProcedureRelationId, ProcedureOidIndexId,
										Anum_pg_proc_oid, function);
	Oid			owner = HeapTupleIsValid(tuple) ? ((Form_pg_proc) GETSTRUCT(tuple))->proowner : InvalidOid;

	tv_guard_end_lookup(&lookup);
	return owner;
}

/* The same for a foreign server, which says where rows are sent. */
static Oid
server_owner(Oid server)
{
	TvLookup	lookup;
	HeapTuple	tuple = tv_guard_lookup(&lookup, ForeignServerRelationId, ForeignServerOidIndexId,
										Anum_pg_foreign_server_oid, server);
	Oid			owner = HeapTupleIsValid(tuple) ? ((Form_pg_foreign_server) GETSTRUCT(tuple))->srvowner : InvalidOid;

	tv_guard_end_lookup(&lookup);
	return owner;
}

/* Which relations count. */
typedef enum Kind
{
	ALL, WITH_RULES, WITH_QUERIES
} Kind;

static bool
is_of_kind(Form_pg_class form, Kind kind)
{
	return kind == ALL || form->relkind == RELKIND_VIEW || form->relkind == RELKIND_MATVIEW || form->relhasrules ||
		(kind == WITH_RULES && form->relkind == RELKIND_FOREIGN_TABLE) ||
		(kind == WITH_QUERIES && form->relrowsecurity);
}

/* Owner of a relation, if it is one of that kind; as the snapshot (NULL: of catalogs) has it. */
static Oid
relation_owner_as_of(Oid relid, Kind kind, Snapshot snapshot)
{
	TvLookup	lookup;
	HeapTuple	tuple = tv_guard_lookup_as_of(&lookup, RelationRelationId, ClassOidIndexId,
											  Anum_pg_class_oid, relid, snapshot);
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (is_of_kind(form, kind))
			owner = form->relowner;
	}
	tv_guard_end_lookup(&lookup);
	return owner;
}

/* As the command at hand has made it. */
static Oid
relation_owner(Oid relid, Kind kind)
{
	return relation_owner_as_of(relid, kind, SnapshotSelf);
}

static bool
has_policies(Oid relid)
{
	Relation	policies = table_open(PolicyRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	ScanKeyInit(&key, Anum_pg_policy_polrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(policies, PolicyPolrelidPolnameIndexId, true, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(policies, AccessShareLock);
	return found;
}

/*
 * The owner of what is made or changed, if it counts as theirs: what has rules;
 * or policies, and is given to them.
 */
static Oid
owner_of_changed(Oid relid)
{
	Oid			owner = relation_owner(relid, WITH_RULES);

	if (OidIsValid(owner))
		return owner;
	owner = relation_owner(relid, ALL);
	return relation_owner_as_of(relid, ALL, NULL) != owner && has_policies(relid) ? owner : InvalidOid;
}

Oid
tv_guard_owner_of_relation(Oid relid)
{
	return relation_owner(relid, ALL);
}

Oid
tv_guard_owner_of_queries(Oid relid)
{
	return relation_owner(relid, WITH_QUERIES);
}

/*
 * A function on the stack that has no business to do something in the name of
 * role.  Whoever has all places of role may; but the right to change who has
 * which is used by nobody else's function.
 */
static Oid
function_of_less(Oid role)
{
	Bitmapset  *realms = tv_vault_realms_of_role(role);

	return realms == NULL || tv_vault_role_governs(role) ? tv_guard_others_function() :
		tv_guard_untrusted_function_of(realms);
}

void
tv_guard_check_left(Oid role, const char *what)
{
	Oid			function = OidIsValid(tv_guard_others_function()) ? function_of_less(role) : InvalidOid;

	if (!OidIsValid(function))
		return;
	tv_guard_audit_refusal(psprintf("%s by function %s()", what, get_func_name(function)));
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_ADMIN),
			 errmsg("%s is refused within function \"%s\"", what, get_func_name(function)),
			 errdetail("What it leaves behind would be trusted as that of \"%s\", who has a place in the vault that the function's owner has not.",
					   GetUserNameFromId(role, true)),
			 errhint("Give the statement itself, or let a role own the function that is authorized for the same realms.")));
}

void
tv_guard_check_planted(Oid class, Oid object)
{
	Oid			user = GetAuthenticatedUserId();
	Oid			owner = InvalidOid;

	switch (class)
	{
		case ProcedureRelationId:
			owner = function_owner(object);
			break;
		case RelationRelationId:
			owner = owner_of_changed(object);
			break;
		case ForeignServerRelationId:
			owner = server_owner(object);
			break;
		case ForeignTableRelationId:
			owner = relation_owner(object, ALL);
			break;
		case RewriteRelationId:
		case PolicyRelationId:
			owner = relation_owner(tv_guard_relation_of(class, object), ALL);
			break;
		default:
			return;
	}
	if (!OidIsValid(owner) || tv_guard_in_script() || !tv_vault_role_protected(owner))
		return;
	if (owner == user || is_member_of_role_nosuper(user, owner))
	{
		tv_guard_check_left(owner, psprintf("making or changing a function, view, rule or policy of role \"%s\"",
											GetUserNameFromId(owner, true)));
		return;
	}
	tv_guard_refuse(psprintf("making or changing a function, view, rule or policy of role \"%s\"",
							 GetUserNameFromId(owner, true)),
					"The vault trusts what that role owns: it can do it itself, in a session of its own.");
}

/*
 * A trigger function does what it does with the rights of its user, on the table
 * that it is given, and with what it is told there: that of a role with a place in
 * realms is not for somebody else's tables.
 */
void
tv_guard_check_lent(Oid function)
{
	Oid			user = GetAuthenticatedUserId();
	Oid			owner = function_owner(function);
	Bitmapset  *realms;
	char	   *what;

	if (function < FirstNormalObjectId || !OidIsValid(owner) || tv_guard_in_script() ||
		OidIsValid(getExtensionOfObject(ProcedureRelationId, function)))
		return;
	realms = tv_vault_realms_of_role(owner);
	if (realms == NULL)
		return;
	what = psprintf("making a trigger of a function of role \"%s\"", GetUserNameFromId(owner, true));
	if (bms_is_subset(realms, tv_vault_realms_of_role(user)))
		tv_guard_check_left(owner, what);
	else
		tv_guard_refuse(what, "That role can do it itself, or somebody with a place in the same realms.");
}

/* A relation, and the schema that it is in, as the command at hand has made them. */
static void
check_namesake(Oid relid, const char *name, Oid schema, const char *schema_name)
{
	bool		temporary = isTempNamespace(schema);
	Oid			role = temporary ? GetAuthenticatedUserId() : get_role_oid(schema_name, true);
	Oid			table;
	char	   *what;

	if (temporary ? !OidIsValid(tv_guard_others_function()) || !tv_vault_user_has_place() :
		!OidIsValid(role) || !tv_vault_role_protected(role))
		return;
	table = tv_vault_namesake(name);
	if (!OidIsValid(table) || table == relid)
		return;
	what = psprintf("%s, called like %s,", quote_qualified_identifier(temporary ? NULL : schema_name, name), tv_guard_name(table));
	if (temporary || is_member_of_role_nosuper(GetAuthenticatedUserId(), role))
		tv_guard_check_left(role, what);
	else
		tv_guard_refuse(what, "What its namesake writes to the realm by that name would get there: give it another name.");
}

static void
check_namesakes_in(Oid schema, const char *schema_name)
{
	Relation	classes = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_class_relnamespace, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(schema));
	scan = systable_beginscan(classes, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		check_namesake(form->oid, NameStr(form->relname), schema, schema_name);
	}
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
}

/* The name that the command at hand has given to a schema; palloc'd, or NULL. */
static char *
name_of_schema(Oid schema)
{
	TvLookup	lookup;
	HeapTuple	tuple = tv_guard_lookup(&lookup, NamespaceRelationId, NamespaceOidIndexId,
										Anum_pg_namespace_oid, schema);
	char	   *name = HeapTupleIsValid(tuple) ? pstrdup(NameStr(((Form_pg_namespace) GETSTRUCT(tuple))->nspname)) : NULL;

	tv_guard_end_lookup(&lookup);
	return name;
}

/*
 * Whoever writes to a table of a realm by its name alone writes to another one of
 * that name, if that is in a schema which is searched before: the temporary one of
 * the session, or that which is called like the user ("$user").
 */
void
tv_guard_check_shadow(Oid class, Oid object)
{
	TvLookup	lookup;
	HeapTuple	tuple;
	char	   *name = NULL;
	char	   *schema_name;
	Oid			schema = object;

	if (tv_guard_in_script())
		return;
	if (class == RelationRelationId)
	{
		tuple = tv_guard_lookup(&lookup, class, ClassOidIndexId, Anum_pg_class_oid, object);
		schema = HeapTupleIsValid(tuple) ? ((Form_pg_class) GETSTRUCT(tuple))->relnamespace : InvalidOid;
		name = HeapTupleIsValid(tuple) ? pstrdup(NameStr(((Form_pg_class) GETSTRUCT(tuple))->relname)) : NULL;
		tv_guard_end_lookup(&lookup);
	}
	schema_name = name_of_schema(schema);
	if (schema_name == NULL)
		return;
	if (name != NULL)
		check_namesake(object, name, schema, schema_name);
	else
		check_namesakes_in(schema, schema_name);
}
