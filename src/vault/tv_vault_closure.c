/*
 * tv_vault_closure.c
 *	  What a relation belongs to, and so what protects it.
 *
 * A TOAST table, an index or an owned sequence is as protected as its table, a
 * partition or child as all its ancestors.  The answer is kept by relation
 * until anything in the relation cache moves: a relation that joins or leaves
 * a hierarchy does not always invalidate itself (StoreCatalogInheritance
 * invalidates the parent only), so all answers go.
 */
#include "vault/tv_vault_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "common/hashfn.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/tv_depend.h"
#include "base/tv_hot.h"
#include "page/tv_page_decide.h"

#define SH_PREFIX targets
#define SH_ELEMENT_TYPE TvTarget
#define SH_KEY_TYPE Oid
#define SH_KEY relid
#define SH_HASH_KEY(table, key) murmurhash32(key)
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static MemoryContext memory = NULL;
static targets_hash *table = NULL;
static bool stale = false;		/* something moved since the table was begun */
static uint64 moves = 0;		/* counts what made it stale */

void
tv_vault_targets_forget(void)
{
	stale = true;
	moves++;
	tv_vault_fast.clear = 0;
	tv_vault_local_close();
}

bool
tv_vault_targets_stale(void)
{
	return stale;
}

static void
relation_changed(Datum arg, Oid relid)
{
	tv_vault_targets_forget();
}

static void
fresh_table(void)
{
	if (memory == NULL)
		memory = AllocSetContextCreate(TopMemoryContext, "tde_vault targets", ALLOCSET_DEFAULT_SIZES);
	if (table != NULL && !stale)
		return;
	if (table != NULL)
		MemoryContextReset(memory);
	stale = false;
	table = targets_create(memory, 256, NULL);
}

/* The table that a TOAST table belongs to. */
static Oid
owner_of_toast(Oid toast)
{
	TvDepend	walk = tv_dependencies(RelationRelationId, toast, NULL);
	Form_pg_depend row;
	Oid			owner = InvalidOid;

	while ((row = tv_depend_next(&walk)) != NULL)
	{
		if (row->refclassid == RelationRelationId && row->deptype == DEPENDENCY_INTERNAL)
			owner = row->refobjid;
	}
	return owner;
}

static List *
add_parents(List *relations, Oid relid)
{
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		relations = list_append_unique_oid(relations,
										   ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
	return relations;
}

static Oid
owner_of_index(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_index) GETSTRUCT(tuple))->indrelid;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/* What relid is directly part of. */
static List *
add_owners(List *relations, Oid relid)
{
	Oid			owner = InvalidOid;
	int32		column;

	switch (get_rel_relkind(relid))
	{
		case RELKIND_TOASTVALUE:
			owner = owner_of_toast(relid);
			break;
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX:
			owner = owner_of_index(relid);
			break;
		case RELKIND_SEQUENCE:
			if (!sequenceIsOwned(relid, DEPENDENCY_AUTO, &owner, &column) &&
				!sequenceIsOwned(relid, DEPENDENCY_INTERNAL, &owner, &column))
				owner = InvalidOid;
			break;
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_FOREIGN_TABLE:
			return add_parents(relations, relid);
		default:
			break;
	}
	return OidIsValid(owner) ? list_append_unique_oid(relations, owner) : relations;
}

List *
tv_vault_roots(Oid relid)
{
	List	   *relations = list_make1_oid(relid);

	/* the list grows while it is walked */
	for (int i = 0; i < list_length(relations); i++)
		relations = add_owners(relations, list_nth_oid(relations, i));
	return relations;
}

static bool
is_tde_heap(Oid relid)
{
	Relation	rel = RelationIdGetRelation(relid);
	bool		result;

	if (!RelationIsValid(rel))
		return false;
	result = rel->rd_tableam != NULL && tv_page_is_encrypted_table(rel);
	RelationClose(rel);
	return result;
}

/* --- building a target --- */

typedef struct Indexes
{
	uint32	   *items;
	int			n;
	int			room;
} Indexes;

static void
add_index(Indexes *list, uint32 item)
{
	for (int i = 0; i < list->n; i++)
	{
		if (list->items[i] == item)
			return;
	}
	if (list->n == list->room)
	{
		list->room = Max(8, list->room * 2);
		list->items = list->items == NULL ? palloc(list->room * sizeof(uint32)) :
			repalloc(list->items, list->room * sizeof(uint32));
	}
	list->items[list->n++] = item;
}

static void
add_realms(Indexes *realms, const TvPolicy *policy, Oid object, TvObjectKind kind)
{
	for (uint32 i = tv_policy_find_object(policy, object, kind);
		 i < policy->n_objects && policy->objects[i].oid == object && policy->objects[i].kind == kind;
		 i++)
	{
		const TvRealm *realm = tv_policy_realm_by_id(policy, policy->objects[i].realm);

		if (realm != NULL && realm->mode != TV_MODE_DISABLED)
			add_index(realms, realm - policy->realms);
	}
}

static bool
in_realms(const TvPolicy *policy, const Indexes *realms, uint32 id)
{
	for (int i = 0; i < realms->n; i++)
	{
		if (policy->realms[realms->items[i]].id == id)
			return true;
	}
	return false;
}

static void
add_rules(Indexes *rules, const TvPolicy *policy, List *roots, const Indexes *realms)
{
	for (uint32 i = 0; i < policy->n_rules; i++)
	{
		const TvCommandRule *rule = &policy->rules[i];
		bool		applies = false;
		ListCell   *lc;

		if (rule->mode == TV_MODE_DISABLED)
			continue;
		switch ((TvObjectKind) rule->kind)
		{
			case TV_OBJECT_TABLE:
			case TV_OBJECT_COLUMN:
				applies = list_member_oid(roots, rule->object);
				break;
			case TV_OBJECT_SCHEMA:
				foreach(lc, roots)
					applies |= get_rel_namespace(lfirst_oid(lc)) == rule->object;
				break;
			case TV_OBJECT_REALM:
				applies = in_realms(policy, realms, rule->object);
				break;
			case TV_OBJECT_DATABASE:
				applies = linitial_oid(roots) >= FirstNormalObjectId;
				break;
		}
		if (applies)
			add_index(rules, i);
	}
}

/*
 * Is a partition or child of relid, at any distance, in a realm that relid is not
 * in?  Statistics of relid have values of it.
 */
static bool
is_above(const TvPolicy *policy, Oid relid, const Indexes *realms)
{
	char		kind = get_rel_relkind(relid);
	ListCell   *lc;

	if ((kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE) || !has_subclass(relid))
		return false;
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		Indexes		below = {0};

		add_realms(&below, policy, lfirst_oid(lc), TV_OBJECT_TABLE);
		add_realms(&below, policy, get_rel_namespace(lfirst_oid(lc)), TV_OBJECT_SCHEMA);
		for (int i = 0; i < below.n; i++)
		{
			if (!in_realms(policy, realms, policy->realms[below.items[i]].id))
				return true;
		}
	}
	return false;
}

static uint32 *
keep(const Indexes *list)
{
	uint32	   *copy = list->n == 0 ? NULL :
		MemoryContextAlloc(memory, list->n * sizeof(uint32));

	if (copy)
		memcpy(copy, list->items, list->n * sizeof(uint32));
	return copy;
}

static const TvTarget *
build(const TvVaultLocal *local, Oid relid)
{
	static TvTarget uncached;
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "tde_vault closure",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	uint64		before = moves;
	Indexes		realms = {0};
	Indexes		rules = {0};
	bool		sealed = false;
	bool		above = false;
	bool		found;
	List	   *roots = tv_vault_roots(relid);
	TvTarget   *target = &uncached;
	ListCell   *lc;

	foreach(lc, roots)
	{
		Oid			root = lfirst_oid(lc);

		if (local->state == TV_VAULT_LOST)
			sealed |= is_tde_heap(root);
		else if (local->policy != NULL)
		{
			add_realms(&realms, local->policy, root, TV_OBJECT_TABLE);
			add_realms(&realms, local->policy, get_rel_namespace(root), TV_OBJECT_SCHEMA);
		}
	}
	if (local->policy != NULL)
	{
		add_rules(&rules, local->policy, roots, &realms);
		above = is_above(local->policy, relid, &realms);
	}

	/* something moved while catalogs were read: good for once */
	if (before == moves)
		target = targets_insert(table, relid, &found);
	else
		target->relid = relid;
	target->sealed = sealed;
	target->above = above;
	target->n_realms = realms.n;
	target->n_rules = rules.n;
	target->realms = keep(&realms);
	target->rules = keep(&rules);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return target;
}

TV_HOT_VAULT const TvTarget *
tv_vault_target(const TvVaultLocal *local, Oid relid)
{
	const TvTarget *target;

	fresh_table();
	target = targets_lookup(table, relid);
	if (unlikely(target == NULL))
		target = build(local, relid);
	if (!stale && target->n_realms == 0 && target->n_rules == 0 && !target->above)
		tv_vault_local_ignore(relid);
	return target;
}

void
tv_vault_closure_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}
