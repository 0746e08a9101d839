/*
 * tv_guard_object.c
 *	  The middle ring, part one: objects that are made, changed and dropped.
 *
 * object_access_hook names the object itself, at the moment of the change,
 * also where a statement reaches it by CASCADE, by recursion from a parent, or
 * under a name that meant something else a moment before.  It is silent for
 * some statements; those are in tv_guard_relation.c.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_database.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_language.h"
#include "catalog/pg_largeobject.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_publication_rel.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_subscription.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/tv_hot.h"
#include "base/tv_report.h"
#include "guard/tv_guard_internal.h"
#include "guard/tv_guard_utility.h"
#include "vault/tv_vault_internal.h"

#define OUR_EXTENSION "tde_vault"

static TV_HOT_DATA object_access_hook_type next_object_access = NULL;

/* Relations that this transaction made and that nobody has looked at yet. */
static List *created = NIL;

HeapTuple
tv_guard_lookup_as_of(TvLookup *lookup, Oid catalog, Oid index, int column, Oid object, Snapshot snapshot)
{
	ScanKeyData key;

	lookup->catalog = table_open(catalog, AccessShareLock);
	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object));
	lookup->scan = systable_beginscan(lookup->catalog, index, true, snapshot, 1, &key);
	return systable_getnext(lookup->scan);
}

/* As the command at hand has made it. */
HeapTuple
tv_guard_lookup(TvLookup *lookup, Oid catalog, Oid index, int column, Oid object)
{
	return tv_guard_lookup_as_of(lookup, catalog, index, column, object, SnapshotSelf);
}

void
tv_guard_end_lookup(TvLookup *lookup)
{
	systable_endscan(lookup->scan);
	table_close(lookup->catalog, AccessShareLock);
}

#define FIELD(catalog, index, column, Form, field) \
	do { \
		HeapTuple	t_ = tv_guard_lookup(&lookup, catalog, index, column, object); \
		if (HeapTupleIsValid(t_)) \
			result = ((Form) GETSTRUCT(t_))->field; \
		tv_guard_end_lookup(&lookup); \
	} while (0)

Oid
tv_guard_relation_of(Oid class, Oid object)
{
	TvLookup	lookup;
	Oid			result = InvalidOid;

	switch (class)
	{
		case TriggerRelationId:
			FIELD(class, TriggerOidIndexId, Anum_pg_trigger_oid, Form_pg_trigger, tgrelid);
			break;
		case RewriteRelationId:
			FIELD(class, RewriteOidIndexId, Anum_pg_rewrite_oid, Form_pg_rewrite, ev_class);
			break;
		case PolicyRelationId:
			FIELD(class, PolicyOidIndexId, Anum_pg_policy_oid, Form_pg_policy, polrelid);
			break;
		case ConstraintRelationId:
			FIELD(class, ConstraintOidIndexId, Anum_pg_constraint_oid, Form_pg_constraint, conrelid);
			break;
		case AttrDefaultRelationId:
			FIELD(class, AttrDefaultOidIndexId, Anum_pg_attrdef_oid, Form_pg_attrdef, adrelid);
			break;
		case StatisticExtRelationId:
			FIELD(class, StatisticExtOidIndexId, Anum_pg_statistic_ext_oid, Form_pg_statistic_ext, stxrelid);
			break;
		case PublicationRelRelationId:
			FIELD(class, PublicationRelObjectIndexId, Anum_pg_publication_rel_oid, Form_pg_publication_rel, prrelid);
			break;
		case IndexRelationId:
			return object;
		default:
			break;
	}
	return result;
}

static Oid
table_of_index(Oid object)
{
	TvLookup	lookup;
	Oid			result = InvalidOid;

	FIELD(IndexRelationId, IndexRelidIndexId, Anum_pg_index_indexrelid, Form_pg_index, indrelid);
	return result;
}

/*
 * The other relation of a constraint trigger, which depends on it: whose function
 * it runs, as far as pg_depend tells.
 */
static Oid
other_table_of_trigger(Oid object)
{
	TvLookup	lookup;
	Oid			result = InvalidOid;

	FIELD(TriggerRelationId, TriggerOidIndexId, Anum_pg_trigger_oid, Form_pg_trigger, tgconstrrelid);
	return result;
}

static Oid
function_of_trigger(Oid object)
{
	TvLookup	lookup;
	Oid			result = InvalidOid;

	FIELD(TriggerRelationId, TriggerOidIndexId, Anum_pg_trigger_oid, Form_pg_trigger, tgfoid);
	return result;
}

static char
relkind_of(Oid object)
{
	TvLookup	lookup;
	char		result = '\0';

	FIELD(RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, Form_pg_class, relkind);
	return result;
}

/* A schema is its own; InvalidOid: objects of that kind are in none. */
static Oid
schema_of(Oid class, Oid object)
{
	TvLookup	lookup;
	HeapTuple	tuple;
	AttrNumber	column;
	bool		isnull;
	Oid			result = InvalidOid;

	if (class == NamespaceRelationId)
		return object;
	column = is_objectclass_supported(class) ? get_object_attnum_namespace(class) : InvalidAttrNumber;
	if (column == InvalidAttrNumber)
		return InvalidOid;
	tuple = tv_guard_lookup(&lookup, class, get_object_oid_index(class), get_object_attnum_oid(class), object);
	if (HeapTupleIsValid(tuple))
		result = DatumGetObjectId(fastgetattr(tuple, column, RelationGetDescr(lookup.catalog), &isnull));
	tv_guard_end_lookup(&lookup);
	return result;
}

/* --- the vault's own objects --- */

static Oid
our_extension(void)
{
	return get_extension_oid(OUR_EXTENSION, true);
}

static bool
in_our_script(void)
{
	return tv_guard_in_script() && CurrentExtensionObject == our_extension();
}

bool
tv_guard_is_ours(Oid class, Oid object)
{
	Oid			extension = our_extension();
	Oid			schema;

	if (!OidIsValid(extension))
		return false;
	if (class == ExtensionRelationId)
		return object == extension;
	schema = schema_of(class, object);
	return (OidIsValid(schema) && schema == get_namespace_oid(OUR_EXTENSION, true)) ||
		getExtensionOfObject(class, object) == extension;
}

/* The row type of a relation, or its array: made with it, also for the files of a rewrite. */
static bool
is_row_type(Oid type)
{
	TvLookup	lookup;
	HeapTuple	tuple = tv_guard_lookup(&lookup, TypeRelationId, TypeOidIndexId, Anum_pg_type_oid, type);
	bool		result = HeapTupleIsValid(tuple) &&
		(OidIsValid(((Form_pg_type) GETSTRUCT(tuple))->typrelid) ||
		 OidIsValid(((Form_pg_type) GETSTRUCT(tuple))->typelem));

	tv_guard_end_lookup(&lookup);
	return result;
}

/*
 * What only rules ON DATABASE can be about: the database's settings, and what is
 * in it and neither a relation, nor on one, nor a schema.  Large objects are rows,
 * not definitions.
 */
static bool
is_of_database_only(Oid class, Oid object)
{
	switch (class)
	{
		case DatabaseRelationId:
		case DbRoleSettingRelationId:
			return object == MyDatabaseId;
		case RelationRelationId:
		case InheritsRelationId:
		case NamespaceRelationId:
		case LargeObjectRelationId:
			return false;
		case TypeRelationId:
			return !is_row_type(object);
		default:
			return !IsSharedRelation(class) && !OidIsValid(tv_guard_relation_of(class, object));
	}
}

void
tv_guard_check_ours(Oid class, Oid object, const char *what)
{
	Oid			relid;

	if (!tv_vault_on() || in_our_script())
		return;
	/* a rule or a trigger of a view of ours is what auditors are shown */
	relid = tv_guard_relation_of(class, object);
	if (!tv_guard_is_ours(class, object) && !(OidIsValid(relid) && tv_guard_is_ours(RelationRelationId, relid)))
		return;
	tv_guard_refuse(psprintf("%s part of extension " OUR_EXTENSION, what),
					"A vault administrator can switch the vault off: ALTER DATABASE DISABLE DATABASE VAULT.");
}

/* --- functions --- */

/*
 * Native code runs with all that the server's process may.  What a module
 * installed in the server's own directory brings is made by its script.
 */
static void
check_code(Oid function)
{
	HeapTuple	tuple;
	TvLookup	lookup;
	Form_pg_proc form;
	bool		isnull;
	Datum		library;
	bool		refused = false;

	tuple = tv_guard_lookup(&lookup, ProcedureRelationId, ProcedureOidIndexId, Anum_pg_proc_oid, function);
	if (HeapTupleIsValid(tuple))
	{
		form = (Form_pg_proc) GETSTRUCT(tuple);
		if (form->prolang == ClanguageId)
		{
			/* heap_getattr, as of 15.20, calls a function that earlier servers lack: the library would not load there */
			library = fastgetattr(tuple, Anum_pg_proc_probin, RelationGetDescr(lookup.catalog), &isnull);
			refused = !tv_guard_in_script() || isnull ||
				strncmp(TextDatumGetCString(library), "$libdir/", 8) != 0 ||
				strstr(TextDatumGetCString(library), "..") != NULL;
		}
		else
			refused = tv_guard_untrusted_language(form->prolang);
	}
	tv_guard_end_lookup(&lookup);
	if (refused)
		tv_guard_refuse("a function in C or another untrusted language",
						"Install it as an extension, with CREATE EXTENSION, or write it in a trusted language.");
}

/* What the server or an extension brought is trusted: it must stay what it was. */
static void
check_replaced(Oid function)
{
	if (!tv_vault_on())
		return;
	if (function < FirstNormalObjectId)
		tv_guard_refuse("changing a function of the server", "Make a function of your own.");
	if (tv_vault_function_frozen(function))
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_ADMIN),
				 errmsg("function \"%s\" is frozen", get_func_name(function)),
				 errdetail("A table of a realm runs it."),
				 errhint("Take the table out of the realm first: ALTER REALM ... REMOVE TABLE.")));
	if (!tv_guard_in_script() && OidIsValid(getExtensionOfObject(ProcedureRelationId, function)))
		tv_guard_refuse("changing a function that belongs to an extension",
						"Update the extension, or make a function of your own.");
}

/* What is made while an extension's script runs belongs to it, and is trusted like all of it. */
static void
check_smuggled(void)
{
	if (creating_extension && !tv_guard_in_script())
		tv_guard_refuse("making or changing objects by an event trigger or function in the script of an extension",
						"Do it after CREATE EXTENSION.");
}

static void
check_language(Oid object)
{
	TvLookup	lookup;
	bool		result = true;

	FIELD(LanguageRelationId, LanguageOidIndexId, Anum_pg_language_oid, Form_pg_language, lanpltrusted);
	if (!result)
		tv_guard_refuse("an untrusted language", "Use the trusted one.");
}

/* --- types --- */

/*
 * A check of a domain is given the values of every column of that domain, a
 * member of an operator family those of every index that uses it.  New ones
 * are a change of the tables.
 */
static void
check_users(Oid class, Oid object)
{
	ListCell   *lc;

	foreach(lc, tv_vault_users_of(class, object))
		tv_guard_require(lfirst_oid(lc), TV_ACTION_ALTER);
}

/* dropped: or made */
static void
check_constraint(Oid object, bool dropped)
{
	TvLookup	lookup;
	HeapTuple	tuple = tv_guard_lookup(&lookup, ConstraintRelationId, ConstraintOidIndexId,
										Anum_pg_constraint_oid, object);
	Oid			referenced = InvalidOid;
	Oid			domain = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		referenced = ((Form_pg_constraint) GETSTRUCT(tuple))->confrelid;
		domain = ((Form_pg_constraint) GETSTRUCT(tuple))->contypid;
	}
	tv_guard_end_lookup(&lookup);

	/* a key from outside tells whether a value is there, and cascades into the realm */
	if (OidIsValid(referenced) && !dropped)
		tv_guard_require(referenced, TV_ACTION_ALTER);
	if (OidIsValid(domain))
		check_users(TypeRelationId, domain);
}

static void
check_trigger(Oid trigger)
{
	Oid			other = other_table_of_trigger(trigger);

	if (OidIsValid(other))
		tv_guard_require(other, TV_ACTION_ALTER);
	tv_guard_check_lent(function_of_trigger(trigger));
}

/* --- events --- */

static void
end_of_transaction(XactEvent event, void *arg)
{
	created = NIL;
}

static void
remember_created(Oid relid)
{
	static bool registered = false;
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	if (!registered)
		RegisterXactCallback(end_of_transaction, NULL);
	registered = true;
	created = lappend_oid(created, relid);
	MemoryContextSwitchTo(old);
}

static void
relation_created(Oid relid)
{
	switch (relkind_of(relid))
	{
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX:
			tv_guard_require(table_of_index(relid), TV_ACTION_ALTER);
			break;
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_FOREIGN_TABLE:
		case RELKIND_MATVIEW:
			if (tv_vault_is_admin())
				tv_guard_refuse("CREATE TABLE by a vault administrator",
								"Whoever guards data does not keep tables: let another role do it.");
			remember_created(relid);
			break;
		default:
			remember_created(relid);
			break;
	}
}

void
tv_guard_objects_created(void)
{
	List	   *relations = created;
	ListCell   *lc;

	if (likely(relations == NIL))
		return;
	created = NIL;
	CommandCounterIncrement();
	foreach(lc, relations)
	{
		Oid			relid = lfirst_oid(lc);

		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
			continue;
		/* it stands in a protected schema, or joins a protected hierarchy */
		tv_guard_require(relid, TV_ACTION_ALTER);
		tv_guard_check_shadow(RelationRelationId, relid);
		tv_vault_object_created(relid);
	}
}

static void
after_create(Oid class, Oid object, int column)
{
	Oid			relid;

	if (class == ProcedureRelationId)
		check_code(object);
	if (class == LanguageRelationId)
		check_language(object);
	if (!tv_vault_on())
		return;
	check_smuggled();
	if (class == NamespaceRelationId)
		tv_vault_schema_new(object);
	if (class != TypeRelationId || !is_row_type(object))
		tv_guard_check_ours(class, object, "making");
	tv_guard_check_planted(class, object);
	if (class == ProcedureRelationId)
		check_replaced(object);
	/* one that is there already is replaced: what is new is not seen yet (pg_proc.c, ProcedureCreate) */
	if (class == ProcedureRelationId && SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(object)))
		tv_guard_require_database(TV_ACTION_ALTER);
	if (class == ProcedureRelationId || class == TypeRelationId)
		tv_guard_require_schema(schema_of(class, object), TV_ACTION_ALTER);
	if (class == ConstraintRelationId)
		check_constraint(object, false);
	if (class == TriggerRelationId)
		check_trigger(object);
	if (class == AccessMethodOperatorRelationId || class == AccessMethodProcedureRelationId)
		check_users(class, object);
	if (class == RelationRelationId && column == 0)
		relation_created(object);
	if (class == RelationRelationId && column != 0)
		tv_guard_require(object, TV_ACTION_ALTER);
	relid = tv_guard_relation_of(class, object);
	if (OidIsValid(relid))
		tv_guard_require(relid, class == PublicationRelRelationId ? TV_ACTION_COPY : TV_ACTION_ALTER);
}

static void
after_alter(Oid class, Oid object, const ObjectAccessPostAlter *arg)
{
	Oid			relid;

	if (class == AuthIdRelationId)
		tv_guard_role_altered(object);
	if (!tv_vault_on())
		return;
	check_smuggled();
	tv_guard_check_ours(class, object, "changing");
	tv_guard_check_planted(class, object);
	if (class == ProcedureRelationId)
		check_replaced(object);
	if (class == TypeRelationId || class == OperatorRelationId)
		check_users(class, object);
	if (class == LargeObjectRelationId)
		tv_guard_large_object_altered(object);
	/* its owner's place in the vault is what it applies changes by */
	if (class == SubscriptionRelationId && !tv_vault_is_admin())
		tv_guard_refuse("changing a subscription", "Subscribe in a database without a vault.");
	if (class == NamespaceRelationId)
		tv_guard_require_schema(object, TV_ACTION_ALTER);
	if (class == NamespaceRelationId || class == RelationRelationId)
		tv_guard_check_shadow(class, object);
	if (class == InheritsRelationId || class == RelationRelationId)
		tv_guard_require(object, TV_ACTION_ALTER);
	if (class == InheritsRelationId && arg != NULL && OidIsValid(arg->auxiliary_id))
		tv_guard_require(arg->auxiliary_id, TV_ACTION_ALTER);
	if (is_of_database_only(class, object))
		tv_guard_require_database(TV_ACTION_ALTER);
	relid = tv_guard_relation_of(class, object);
	if (OidIsValid(relid))
		tv_guard_require(relid, TV_ACTION_ALTER);
}

static void
check_drop_database(Oid database)
{
	TvVaultDatabase known;

	if (!tv_vault_shared_get(database, &known))
		return;
	if (!known.verified)
	{
		tv_vault_verify_all();
		if (!tv_vault_shared_get(database, &known))
			return;
	}
	/* a copy is nobody's only one */
	if (known.verified && !known.broken && (known.flags & (TV_VAULT_ON | TV_VAULT_COPIED)) != TV_VAULT_ON)
		return;
	tv_guard_refuse(psprintf("dropping database \"%s\"", get_database_name(database)),
					"A vault administrator can switch the vault off there: ALTER DATABASE DISABLE DATABASE VAULT.");
}

static void
before_drop(Oid class, Oid object, int column)
{
	Oid			relid;

	if (class == DatabaseRelationId)
		check_drop_database(object);
	if (class == AuthIdRelationId)
	{
		tv_guard_role_altered(object);
		tv_vault_role_dropped(object);
	}
	if (!tv_vault_on())
		return;
	tv_guard_check_ours(class, object, "dropping");
	if (class == ProcedureRelationId)
		check_replaced(object);
	if (class == LargeObjectRelationId)
		tv_guard_large_object_altered(object);
	if (class == AccessMethodOperatorRelationId || class == AccessMethodProcedureRelationId)
		check_users(class, object);
	if (class == ConstraintRelationId)
		check_constraint(object, true);
	if (class == NamespaceRelationId)
	{
		tv_guard_require_schema(object, TV_ACTION_DROP);
		tv_vault_schema_dropped(object);
	}
	if (class == RelationRelationId)
	{
		tv_guard_require(object, column == 0 ? TV_ACTION_DROP : TV_ACTION_ALTER);
		tv_vault_object_dropped(object);
	}
	if (is_of_database_only(class, object))
		tv_guard_require_database(TV_ACTION_DROP);
	relid = tv_guard_relation_of(class, object);
	if (OidIsValid(relid))
		tv_guard_require(relid, TV_ACTION_ALTER);
}

/* What is made, changed, emptied or dropped. */
static pg_noinline void
object_changes(ObjectAccessType access, Oid class, Oid object, int column, void *arg)
{
	switch (access)
	{
		case OAT_POST_CREATE:
			if (class == RelationRelationId && column == 0)
				tv_vault_object_new(object);
			/* what the server makes for itself: TOAST tables, files of a rewrite ... */
			if (arg == NULL || !((ObjectAccessPostCreate *) arg)->is_internal)
				after_create(class, object, column);
			break;
		case OAT_POST_ALTER:
			if (arg == NULL || !((ObjectAccessPostAlter *) arg)->is_internal)
				after_alter(class, object, arg);
			break;
		case OAT_DROP:
			if (arg == NULL || !(((ObjectAccessDrop *) arg)->dropflags & PERFORM_DELETION_INTERNAL))
				before_drop(class, object, column);
			break;
		case OAT_TRUNCATE:
			if (tv_vault_on())
				tv_guard_require(object, TV_ACTION_TRUNCATE);
			break;
		case OAT_NAMESPACE_SEARCH:
		case OAT_FUNCTION_EXECUTE:
			break;
	}
}

static pg_noinline void
other_access(ObjectAccessType access, Oid class, Oid object, int column, void *arg)
{
	if (next_object_access != NULL)
		next_object_access(access, class, object, column, arg);
	if (access == OAT_NAMESPACE_SEARCH)
		return;
	if (access == OAT_FUNCTION_EXECUTE)
	{
		if (!tv_guard_is_harmless_builtin(object))
			tv_guard_function_used(object);
		return;
	}
	tv_guard_utility_access(access, class, object, column, arg);
	if (tv_vault_on_anywhere() && IsTransactionState())
		object_changes(access, class, object, column, arg);
}

/* One hook for all of this folder: each function of a query passes it. */
static TV_HOT void
object_access(ObjectAccessType access, Oid class, Oid object, int column, void *arg)
{
	if (likely(access == OAT_FUNCTION_EXECUTE && next_object_access == NULL) &&
		(likely(!tv_vault_on_anywhere()) || likely(tv_guard_is_harmless_builtin(object))))
		return;
	other_access(access, class, object, column, arg);
}

void
tv_guard_object_init(void)
{
	next_object_access = object_access_hook;
	object_access_hook = object_access;
}
