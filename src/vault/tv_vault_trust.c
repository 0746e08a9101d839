/*
 * tv_vault_trust.c
 *	  What the vault trusts with rows of realms, because it was there before:
 *	  shown, and warned of when it begins to count.
 */
#include "vault/tv_vault_trust.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_shdepend.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "base/tv_depend.h"
#include "vault/tv_vault_show.h"

/* --- shown --- */

static char *
relation_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* Names of realms, if the user may see them all. */
static char *
names_of_realms(const Bitmapset *realms)
{
	const TvPolicy *policy = tv_vault_shown_policy();
	StringInfoData names;
	int			realm = -1;

	initStringInfo(&names);
	while ((realm = bms_next_member(realms, realm)) >= 0)
	{
		const TvRealm *entry = policy ? tv_policy_realm_by_id(policy, realm) : NULL;

		if (entry == NULL || !tv_vault_shows_realm(policy, realm))
			return NULL;
		appendStringInfo(&names, "%s%s", names.len ? ", " : "", entry->name);
	}
	return names.data;
}

/* Why are things of owner trusted?  NULL: they are not. */
static char *
trust_of_owner(Oid owner)
{
	Bitmapset  *realms = tv_vault_realms_of_role(owner);
	char	   *names;

	if (realms == NULL)
		return NULL;
	names = names_of_realms(realms);
	return names == NULL ? pstrdup("its owner has a place in the vault") :
		psprintf("its owner has a place in %s %s", bms_membership(realms) == BMS_MULTIPLE ? "realms" : "realm", names);
}

static char *
trust_of_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	Oid			extension;
	List	   *users;
	char	   *reason = NULL;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	extension = getExtensionOfObject(ProcedureRelationId, function);
	if (OidIsValid(extension))
	{
		/* what a script made of its module's code is the package's */
		if (form->prolang != ClanguageId && form->prolang != INTERNALlanguageId)
			reason = psprintf("belongs to extension %s", get_extension_name(extension));
	}
	else if ((users = tv_vault_users_of(ProcedureRelationId, function)) != NIL)
		reason = psprintf("runs for %s", relation_name(linitial_oid(users)));
	else
		reason = trust_of_owner(form->proowner);
	ReleaseSysCache(tuple);
	return reason;
}

char *
tv_vault_trust_of(Oid class, Oid object)
{
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	if (!tv_vault_on() || object < FirstNormalObjectId)
		return NULL;
	if (class == ProcedureRelationId)
		return trust_of_function(object);
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(object));
	if (class == RelationRelationId && HeapTupleIsValid(tuple))
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return OidIsValid(getExtensionOfObject(class, object)) ? NULL : trust_of_owner(owner);
}

/* --- a role is given a place --- */

/* Functions and views that role owns in this database. */
static int
count_owned(Oid role)
{
	Relation	depend = table_open(SharedDependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	int			n = 0;

	ScanKeyInit(&key[0], Anum_pg_shdepend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(AuthIdRelationId));
	ScanKeyInit(&key[1], Anum_pg_shdepend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
	scan = systable_beginscan(depend, SharedDependReferenceIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_shdepend form = (Form_pg_shdepend) GETSTRUCT(tuple);

		if (form->dbid == MyDatabaseId && form->deptype == SHARED_DEPENDENCY_OWNER &&
			(form->classid == ProcedureRelationId ||
			 (form->classid == RelationRelationId && get_rel_relkind(form->objid) == RELKIND_VIEW)))
			n++;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return n;
}

void
tv_vault_warn_of_role(Oid role, const char *realm)
{
	int			n = count_owned(role);

	if (n == 0)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 realm == NULL ?
			 errmsg("%d functions and views of role \"%s\" are trusted with rows of realms from now on",
					n, GetUserNameFromId(role, true)) :
			 errmsg("%d functions and views of role \"%s\" are trusted with rows of realm \"%s\" from now on",
					n, GetUserNameFromId(role, true), realm),
			 errdetail("They were made before the vault watched over them, perhaps by somebody else."),
			 errhint("Look through tde_vault.trusted_code.")));
}

/* --- a table joins a realm --- */

/* Is it somebody's, and not the server's or an extension's? */
static bool
is_foreign(Oid function)
{
	return function >= FirstNormalObjectId &&
		!OidIsValid(getExtensionOfObject(ProcedureRelationId, function));
}

/* Functions that an object refers to. */
static List *
add_functions(List *functions, Oid class, Oid object)
{
	TvDepend	walk = tv_dependencies(class, object, NULL);
	Form_pg_depend row;

	while ((row = tv_depend_next(&walk)) != NULL)
	{
		if (row->refclassid == ProcedureRelationId && is_foreign(row->refobjid))
			functions = list_append_unique_oid(functions, row->refobjid);
	}
	return functions;
}

static Oid
relation_of_rule(Oid rule)
{
	Relation	rewrite = table_open(RewriteRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			relid = InvalidOid;

	ScanKeyInit(&key, Anum_pg_rewrite_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(rule));
	scan = systable_beginscan(rewrite, RewriteOidIndexId, true, NULL, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
		relid = ((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class;
	systable_endscan(scan);
	table_close(rewrite, AccessShareLock);
	return relid;
}

/*
 * What hangs on the table: functions that its triggers, checks, indexes,
 * policies and defaults call; materialised views that have its rows.
 */
static void
find_dependents(Oid table, List **functions, List **copies)
{
	TvDepend	walk = tv_dependents(RelationRelationId, table, NULL);
	Form_pg_depend row;

	while ((row = tv_depend_next(&walk)) != NULL)
	{
		Oid			relid;

		if (row->classid != RewriteRelationId)
		{
			*functions = add_functions(*functions, row->classid, row->objid);
			continue;
		}
		relid = relation_of_rule(row->objid);
		if (get_rel_relkind(relid) == RELKIND_MATVIEW && !tv_vault_protects(relid))
			*copies = list_append_unique_oid(*copies, relid);
	}
}

/* A column of type lo refers to large objects (contrib/lo). */
static const char *
column_of_large_objects(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Oid			extension;

		if (attribute->attisdropped || attribute->atttypid < FirstNormalObjectId)
			continue;
		extension = getExtensionOfObject(TypeRelationId, attribute->atttypid);
		if (OidIsValid(extension) && strcmp(get_extension_name(extension), "lo") == 0)
			return NameStr(attribute->attname);
	}
	return NULL;
}

static char *
names_of(List *functions)
{
	StringInfoData names;
	ListCell   *lc;

	initStringInfo(&names);
	foreach(lc, functions)
		appendStringInfo(&names, "%s%s", names.len ? ", " : "", format_procedure(lfirst_oid(lc)));
	return names.data;
}

void
tv_vault_warn_of_table(Oid table)
{
	List	   *functions = NIL;
	List	   *copies = NIL;
	Relation	rel = RelationIdGetRelation(table);
	const char *column;
	ListCell   *lc;

	if (!RelationIsValid(rel))
		return;
	column = column_of_large_objects(rel);
	if (column != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("column \"%s\" of %s refers to large objects, which no realm protects", column, relation_name(table)),
				 errhint("Those of a role that is authorized for the realm are as open as it; or use bytea.")));
	RelationClose(rel);
	find_dependents(table, &functions, &copies);
	if (functions != NIL)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("functions that run for %s are trusted with its rows: %s", relation_name(table), names_of(functions)),
				 errdetail("They cannot be changed any more while it is in a realm."),
				 errhint("Look through tde_vault.trusted_code.")));
	foreach(lc, copies)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("materialized view %s has rows of %s, and is in no realm", relation_name(lfirst_oid(lc)),
						relation_name(table)),
				 errhint("Put it into the realm, too, or drop it.")));
}
