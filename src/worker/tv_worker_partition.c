/*
 * tv_worker_partition.c
 *	  Partitions of a partitioned table that was encrypted: those that come
 *	  later are encrypted, too.
 *
 * In PostgreSQL 15 a partitioned table has no access method.  That it is to be
 * encrypted is a dependency on tde_heap, as later versions record one, and as a
 * table of that access method has: it comes and goes with transactions, and
 * with the table.
 */
#include "worker/tv_worker_internal.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/tv_depend.h"
#include "base/tv_report.h"
#include "page/tv_page_decide.h"

#define HEAP_AM_NAME "tde_heap"

static ProcessUtility_hook_type next_utility = NULL;

/* --- the mark ------------------------------------------------------------------- */

static bool
has_mark(Oid table, Oid method)
{
	TvDepend	walk = tv_dependencies(RelationRelationId, table, NULL);
	Form_pg_depend row;
	bool		found = false;

	while ((row = tv_depend_next(&walk)) != NULL)
		found |= row->refclassid == AccessMethodRelationId && row->refobjid == method;
	return found;
}

void
tv_worker_mark_partitioned(Oid table, bool encrypted)
{
	Oid			method = get_table_am_oid(HEAP_AM_NAME, false);
	ObjectAddress depender;
	ObjectAddress referenced;

	if (get_rel_relkind(table) != RELKIND_PARTITIONED_TABLE || has_mark(table, method) == encrypted)
		return;
	ObjectAddressSet(depender, RelationRelationId, table);
	ObjectAddressSet(referenced, AccessMethodRelationId, method);
	if (encrypted)
		recordDependencyOn(&depender, &referenced, DEPENDENCY_NORMAL);
	else
		(void) deleteDependencyRecordsForSpecific(RelationRelationId, table, DEPENDENCY_NORMAL,
												  AccessMethodRelationId, method);
	CommandCounterIncrement();
}

/* The table, or one that it is a partition of, that is marked; 0: none. */
static Oid
marked_parent(Oid table)
{
	Oid			method = get_table_am_oid(HEAP_AM_NAME, true);
	List	   *parents;
	ListCell   *lc;

	if (!OidIsValid(method) || get_rel_relkind(table) != RELKIND_PARTITIONED_TABLE)
		return InvalidOid;
	parents = lcons_oid(table, get_rel_relispartition(table) ? get_partition_ancestors(table) : NIL);
	foreach(lc, parents)
	{
		if (has_mark(lfirst_oid(lc), method))
			return lfirst_oid(lc);
	}
	return InvalidOid;
}

/* The cipher of the first partition that is encrypted; NONE: the setting's. */
static TvCipher
cipher_of_partitions(Oid parent)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(parent, NoLock, NULL))
	{
		Relation	rel = get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION ?
			try_relation_open(lfirst_oid(lc), AccessShareLock) : NULL;
		TvKeyringFile known;
		bool		sealed;

		if (rel == NULL)
			continue;
		sealed = tv_page_is_encrypted_table(rel) && tv_keyring_lookup(&rel->rd_node, &known) &&
			!known.unlogged;
		relation_close(rel, AccessShareLock);
		if (sealed)
			return known.cipher;
	}
	return TV_CIPHER_NONE;
}

/* --- CREATE TABLE ... PARTITION OF -------------------------------------------------- */

/* The marked table that the one to be created will be a partition of. */
static Oid
parent_of_created(const CreateStmt *stmt)
{
	Oid			parent;

	if (stmt->partbound == NULL || list_length(stmt->inhRelations) != 1)
		return InvalidOid;
	parent = RangeVarGetRelid(linitial(stmt->inhRelations), NoLock, true);
	return OidIsValid(parent) ? marked_parent(parent) : InvalidOid;
}

static void
refuse_plain(const CreateStmt *stmt, Oid parent)
{
	if (stmt->accessMethod == NULL || strcmp(stmt->accessMethod, HEAP_AM_NAME) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TV_PLAINTEXT_REFUSED),
			 errmsg("partition \"%s\" would not be encrypted", stmt->relation->relname),
			 errdetail("Table \"%s\" is encrypted.", get_rel_name(parent)),
			 errhint("Leave out USING, or ALTER TABLE %s DISABLE ENCRYPTION first.", get_rel_name(parent))));
}

/* --- ATTACH PARTITION --------------------------------------------------------------- */

static void
encrypt_leaf(Oid table, Oid parent, TvCipher cipher)
{
	Relation	rel = relation_open(table, AccessShareLock);
	bool		due = rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_rel->relpersistence != RELPERSISTENCE_TEMP && !tv_page_is_encrypted_table(rel);

	relation_close(rel, AccessShareLock);
	if (!due)
		return;
	ereport(NOTICE,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("partition \"%s\" is being encrypted, as table \"%s\" is",
					get_rel_name(table), get_rel_name(parent)),
			 errhint("See tde_vault.encryption_progress.")));
	tv_worker_encrypt(table, cipher);
}

static void
after_attach(const AlterTableStmt *stmt, const PartitionCmd *command)
{
	Oid			table = RangeVarGetRelid(stmt->relation, NoLock, true);
	Oid			parent = OidIsValid(table) ? marked_parent(table) : InvalidOid;
	Oid			partition;
	TvCipher	cipher;
	ListCell   *lc;

	if (!OidIsValid(parent))
		return;
	CommandCounterIncrement();
	partition = RangeVarGetRelid(command->name, NoLock, false);
	cipher = cipher_of_partitions(parent);
	foreach(lc, find_all_inheritors(partition, NoLock, NULL))
		encrypt_leaf(lfirst_oid(lc), parent, cipher);
}

static void
after(const Node *stmt)
{
	ListCell   *lc;

	if (!IsA(stmt, AlterTableStmt) || ((AlterTableStmt *) stmt)->objtype != OBJECT_TABLE)
		return;
	foreach(lc, ((AlterTableStmt *) stmt)->cmds)
	{
		AlterTableCmd *command = lfirst(lc);

		if (command->subtype == AT_AttachPartition)
			after_attach((AlterTableStmt *) stmt, (PartitionCmd *) command->def);
	}
}

/* --- the hook ----------------------------------------------------------------------- */

static void
run_next(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
		 ProcessUtilityContext context, ParamListInfo params,
		 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	if (next_utility)
		next_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

static void
partition_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				  ProcessUtilityContext context, ParamListInfo params,
				  QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	CreateStmt *create = IsA(pstmt->utilityStmt, CreateStmt) ? (CreateStmt *) pstmt->utilityStmt : NULL;
	Oid			parent = create ? parent_of_created(create) : InvalidOid;
	TvCipher	cipher;
	int			nest;

	if (!OidIsValid(parent))
	{
		run_next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		after(pstmt->utilityStmt);
		return;
	}
	refuse_plain(create, parent);
	cipher = cipher_of_partitions(parent);
	nest = NewGUCNestLevel();
	if (create->partspec == NULL && create->accessMethod == NULL)
	{
		pstmt = copyObject(pstmt);
		readOnlyTree = false;
		((CreateStmt *) pstmt->utilityStmt)->accessMethod = pstrdup(HEAP_AM_NAME);
	}
	if (cipher != TV_CIPHER_NONE)
		(void) set_config_option("tde_vault.cipher", tv_cipher_name(cipher), PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	run_next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	AtEOXact_GUC(true, nest);
}

void
tv_worker_partition_init(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = partition_utility;
}
