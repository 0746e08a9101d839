/*
 * tv_guard_relation.c
 *	  The middle ring, part two: statements about relations and schemas.
 *
 * What object_access_hook is silent for (GRANT, LOCK, COMMENT, REINDEX, ROW
 * LEVEL SECURITY, REPLICA IDENTITY ...), and what should be refused before it
 * begins.  Names are looked up as the statement will; where the name could mean
 * something else a moment later, the ring of objects or that of tables sees it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/tv_depend.h"
#include "base/tv_report.h"
#include "guard/tv_guard_internal.h"

static void
require_names(const List *names, TvAction action)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (IsA(lfirst(lc), RangeVar))
			tv_guard_require_name(lfirst(lc), action);
	}
}

/* --- what would no longer be protected --- */

/* relid, in schema (InvalidOid: where it is); alone: without what it is part of. */
static void
check_leaving(Oid relid, Oid schema, bool alone)
{
	const char *realm;

	if (!OidIsValid(relid))
		return;
	realm = tv_vault_leaves(relid, OidIsValid(schema) ? schema : get_rel_namespace(relid), alone);
	if (realm == NULL)
		return;
	tv_guard_audit_refusal(psprintf("%s leaves realm \"%s\"", tv_guard_name(relid), realm));
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_ADMIN),
			 errmsg("%s would leave realm \"%s\"", tv_guard_name(relid), realm),
			 errdetail("Everybody whom PostgreSQL lets could then read it."),
			 get_rel_relkind(relid) == RELKIND_SEQUENCE ?
			 errhint("A sequence is protected with the table that owns it.") :
			 errhint("Put it into the realm itself first: ALTER REALM %s ADD TABLE %s.",
					 quote_identifier(realm), tv_guard_name(relid))));
}

/* A realm's tables are tde_heap tables. */
static void
check_access_method(Oid relid, const char *name)
{
	if (tv_vault_protects(relid) && (name == NULL || strcmp(name, "tde_heap") != 0))
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_ADMIN),
				 errmsg("%s is in a realm: it must stay a tde_heap table", tv_guard_name(relid)),
				 errhint("Take it out of the realm first: ALTER REALM ... REMOVE TABLE.")));
}

static void
check_not_owned(List *options, const RangeVar *sequence)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "owned_by") == 0)
			check_leaving(RangeVarGetRelid(sequence, NoLock, true), InvalidOid, true);
	}
}

/*
 * ALTER TABLE: the table is locked here as the statement locks it, so that it
 * is the one that is then changed.  Not for somebody whom the server will
 * refuse, and who must not wait in front of others for a lock.
 */
static void
check_alter_table(AlterTableStmt *stmt)
{
	Oid			relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	ListCell   *lc;

	if (!OidIsValid(relid))
		return;
	tv_guard_require(relid, TV_ACTION_ALTER);
	if (pg_class_ownercheck(relid, GetUserId()))
	{
		Oid			locked = RangeVarGetRelid(stmt->relation, AlterTableGetLockLevel(stmt->cmds), true);

		if (OidIsValid(locked) && locked != relid)
			tv_guard_require(locked, TV_ACTION_ALTER);
	}
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst(lc);

		if (cmd->subtype == AT_SetAccessMethod)
			check_access_method(relid, cmd->name);
		if (cmd->subtype == AT_DropInherit)
			check_leaving(relid, InvalidOid, true);
		if (cmd->def == NULL)
			continue;
		if (cmd->subtype == AT_DetachPartition)
			check_leaving(RangeVarGetRelid(((PartitionCmd *) cmd->def)->name, NoLock, true), InvalidOid, true);
		if (IsA(cmd->def, PartitionCmd))
			tv_guard_require_name(((PartitionCmd *) cmd->def)->name, TV_ACTION_ALTER);
		else if (IsA(cmd->def, RangeVar))
			tv_guard_require_name((RangeVar *) cmd->def, TV_ACTION_ALTER);
		else if (IsA(cmd->def, Constraint))
			tv_guard_require_name(((Constraint *) cmd->def)->pktable, TV_ACTION_ALTER);
	}
}

/* An extension takes its tables with it. */
static void
check_move_extension(Oid extension, Oid schema)
{
	TvDepend	walk = tv_dependents(ExtensionRelationId, extension, NULL);
	Form_pg_depend row;

	while ((row = tv_depend_next(&walk)) != NULL)
	{
		if (row->classid == RelationRelationId && row->deptype == DEPENDENCY_EXTENSION)
			check_leaving(row->objid, schema, false);
	}
}

/* A table takes its indexes and sequences with it, but no partitions. */
static void
check_move(AlterObjectSchemaStmt *stmt)
{
	Oid			schema = get_namespace_oid(stmt->newschema, true);

	if (stmt->relation != NULL)
		check_leaving(RangeVarGetRelid(stmt->relation, NoLock, true), schema, false);
	if (stmt->objectType == OBJECT_EXTENSION)
		check_move_extension(get_extension_oid(strVal(stmt->object), true), schema);
}

static void
check_create_table(CreateStmt *stmt)
{
	require_names(stmt->inhRelations, TV_ACTION_ALTER);
	if (stmt->relation->schemaname != NULL)
		tv_guard_require_schema(get_namespace_oid(stmt->relation->schemaname, true), TV_ACTION_ALTER);
}

/* --- GRANT --- */

void
tv_guard_require_all_in(const char *name, TvAction action)
{
	Oid			schema = get_namespace_oid(name, true);
	Relation	classes;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *relations = NIL;
	ListCell   *lc;

	if (!OidIsValid(schema))
		return;
	tv_guard_require_schema(schema, action);
	classes = table_open(RelationRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_class_relnamespace, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(schema));
	scan = systable_beginscan(classes, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relkind != RELKIND_INDEX && form->relkind != RELKIND_PARTITIONED_INDEX)
			relations = lappend_oid(relations, form->oid);
	}
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	foreach(lc, relations)
		tv_guard_require(lfirst_oid(lc), action);
}

/* Auditors and users keep what the extension's script has given them. */
static void
check_revoke(const GrantStmt *stmt, Node *object)
{
	Oid			relid = InvalidOid;
	Oid			function = InvalidOid;

	if (stmt->is_grant)
		return;
	if (stmt->targtype == ACL_TARGET_ALL_IN_SCHEMA || stmt->objtype == OBJECT_SCHEMA)
		tv_guard_check_ours(NamespaceRelationId, get_namespace_oid(strVal(object), true), "REVOKE on");
	else if (IsA(object, RangeVar))
		relid = RangeVarGetRelid((RangeVar *) object, NoLock, true);
	else if (IsA(object, ObjectWithArgs) && stmt->objtype != OBJECT_AGGREGATE)
		function = LookupFuncWithArgs(stmt->objtype, (ObjectWithArgs *) object, true);
	if (OidIsValid(relid))
		tv_guard_check_ours(RelationRelationId, relid, "REVOKE on");
	if (OidIsValid(function))
		tv_guard_check_ours(ProcedureRelationId, function, "REVOKE on");
}

/* What only rules ON DATABASE can be about; of databases, this one. */
static bool
is_of_database_only(ObjectType type, const Node *name)
{
	switch (type)
	{
		case OBJECT_TABLE:
		case OBJECT_SEQUENCE:
		case OBJECT_SCHEMA:
		case OBJECT_TABLESPACE:
		case OBJECT_PARAMETER_ACL:
		case OBJECT_LARGEOBJECT:
			return false;
		case OBJECT_DATABASE:
			return get_database_oid(strVal(name), true) == MyDatabaseId;
		default:
			return true;
	}
}

static void
check_grant(GrantStmt *stmt)
{
	ListCell   *lc;

	if (stmt->targtype != ACL_TARGET_DEFAULTS && tv_vault_is_admin())
		tv_guard_refuse("GRANT and REVOKE by a vault administrator",
						"Whoever guards data does not hand it out: let the owner of the object do it.");
	foreach(lc, stmt->objects)
	{
		check_revoke(stmt, lfirst(lc));
		if (stmt->targtype == ACL_TARGET_ALL_IN_SCHEMA)
			tv_guard_require_all_in(strVal(lfirst(lc)), TV_ACTION_GRANT);
		else if (IsA(lfirst(lc), RangeVar))
			tv_guard_require_name(lfirst(lc), TV_ACTION_GRANT);
		else if (stmt->objtype == OBJECT_SCHEMA)
			tv_guard_require_schema(get_namespace_oid(strVal(lfirst(lc)), true), TV_ACTION_GRANT);
		if (is_of_database_only(stmt->objtype, lfirst(lc)))
			tv_guard_require_database(TV_ACTION_GRANT);
	}
}

static void
check_default_privileges(AlterDefaultPrivilegesStmt *stmt)
{
	ListCell   *lc;
	ListCell   *name;

	tv_guard_require_database(TV_ACTION_GRANT);
	foreach(lc, stmt->options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "schemas") != 0)
			continue;
		foreach(name, (List *) option->arg)
			tv_guard_require_schema(get_namespace_oid(strVal(lfirst(name)), true), TV_ACTION_GRANT);
	}
}

/* --- statements about an object of any kind --- */

static void
require_object(ObjectType type, Node *object, TvAction action)
{
	ObjectAddress address;
	Relation	rel = NULL;

	switch (type)
	{
		case OBJECT_TABLE:
		case OBJECT_COLUMN:
		case OBJECT_INDEX:
		case OBJECT_SEQUENCE:
		case OBJECT_VIEW:
		case OBJECT_MATVIEW:
		case OBJECT_FOREIGN_TABLE:
		case OBJECT_TABCONSTRAINT:
		case OBJECT_TRIGGER:
		case OBJECT_RULE:
		case OBJECT_POLICY:
			address = get_object_address(type, object, &rel, AccessShareLock, true);
			if (rel != NULL)
			{
				tv_guard_require(RelationGetRelid(rel), action);
				relation_close(rel, NoLock);
			}
			else if (OidIsValid(address.objectId) && address.classId == RelationRelationId)
				tv_guard_require(address.objectId, action);
			break;
		case OBJECT_SCHEMA:
			tv_guard_require_schema(get_namespace_oid(strVal(object), true), action);
			break;
		default:
			break;
	}
}

/* --- dropping --- */

static void
check_drop(DropStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->objects)
	{
		switch (stmt->removeType)
		{
			case OBJECT_TABLE:
			case OBJECT_SEQUENCE:
			case OBJECT_VIEW:
			case OBJECT_MATVIEW:
			case OBJECT_INDEX:
			case OBJECT_FOREIGN_TABLE:
				tv_guard_require_name(makeRangeVarFromNameList(lfirst(lc)), TV_ACTION_DROP);
				break;
			case OBJECT_SCHEMA:
				tv_guard_require_schema(get_namespace_oid(strVal(lfirst(lc)), true), TV_ACTION_DROP);
				break;
			default:
				break;
		}
	}
}

static void
check_lock(LockStmt *stmt)
{
	require_names(stmt->relations,
				  stmt->mode == AccessShareLock ? TV_ACTION_SELECT : TV_ACTION_ALTER);
}

/* The last option of that name counts, as in the server's ExecVacuum(). */
bool
tv_guard_is_vacuum_full(const VacuumStmt *stmt)
{
	bool		full = false;
	ListCell   *lc;

	foreach(lc, stmt->options)
	{
		if (strcmp(((DefElem *) lfirst(lc))->defname, "full") == 0)
			full = defGetBoolean(lfirst(lc));
	}
	return full;
}

static void
check_vacuum(VacuumStmt *stmt)
{
	ListCell   *lc;

	if (!tv_guard_is_vacuum_full(stmt))
		return;
	foreach(lc, stmt->rels)
		tv_guard_require_name(((VacuumRelation *) lfirst(lc))->relation, TV_ACTION_MAINTAIN);
}

static void
check_reindex(ReindexStmt *stmt)
{
	if (stmt->relation != NULL)
		tv_guard_require_name(stmt->relation, TV_ACTION_MAINTAIN);
}

static void
check_foreign_table(CreateForeignTableStmt *stmt)
{
	check_create_table(&stmt->base);
}

/* In CREATE SCHEMA: each element is a statement of its own, and comes by again. */
void
tv_guard_relation_statement(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_AlterTableStmt:
			check_alter_table((AlterTableStmt *) stmt);
			break;
		case T_CreateStmt:
			check_create_table((CreateStmt *) stmt);
			break;
		case T_CreateForeignTableStmt:
			check_foreign_table((CreateForeignTableStmt *) stmt);
			break;
		case T_IndexStmt:
			tv_guard_require_name(((IndexStmt *) stmt)->relation, TV_ACTION_ALTER);
			break;
		case T_CreateTrigStmt:
			tv_guard_require_name(((CreateTrigStmt *) stmt)->relation, TV_ACTION_ALTER);
			tv_guard_require_name(((CreateTrigStmt *) stmt)->constrrel, TV_ACTION_ALTER);
			break;
		case T_RuleStmt:
			tv_guard_require_name(((RuleStmt *) stmt)->relation, TV_ACTION_ALTER);
			break;
		case T_CreatePolicyStmt:
			tv_guard_require_name(((CreatePolicyStmt *) stmt)->table, TV_ACTION_ALTER);
			break;
		case T_AlterPolicyStmt:
			tv_guard_require_name(((AlterPolicyStmt *) stmt)->table, TV_ACTION_ALTER);
			break;
		case T_CreateStatsStmt:
			require_names(((CreateStatsStmt *) stmt)->relations, TV_ACTION_ALTER);
			break;
		case T_CreateSeqStmt:
			break;				/* OWNED BY a protected table: the ring of objects */
		case T_TruncateStmt:
			require_names(((TruncateStmt *) stmt)->relations, TV_ACTION_TRUNCATE);
			break;
		case T_DropStmt:
			check_drop((DropStmt *) stmt);
			break;
		case T_RenameStmt:
			tv_guard_require_name(((RenameStmt *) stmt)->relation, TV_ACTION_ALTER);
			/* what is written to a table by its name would go to another in its place */
			if (((RenameStmt *) stmt)->renameType == OBJECT_SCHEMA)
				tv_guard_require_all_in(((RenameStmt *) stmt)->subname, TV_ACTION_ALTER);
			break;
		case T_AlterObjectSchemaStmt:
			tv_guard_require_name(((AlterObjectSchemaStmt *) stmt)->relation, TV_ACTION_ALTER);
			tv_guard_require_schema(get_namespace_oid(((AlterObjectSchemaStmt *) stmt)->newschema, true),
									TV_ACTION_ALTER);
			check_move((AlterObjectSchemaStmt *) stmt);
			break;
		case T_AlterSeqStmt:
			tv_guard_require_name(((AlterSeqStmt *) stmt)->sequence, TV_ACTION_ALTER);
			check_not_owned(((AlterSeqStmt *) stmt)->options, ((AlterSeqStmt *) stmt)->sequence);
			break;
		case T_AlterOwnerStmt:
			if (((AlterOwnerStmt *) stmt)->objectType == OBJECT_SCHEMA)
				tv_guard_require_schema(get_namespace_oid(strVal(((AlterOwnerStmt *) stmt)->object), true),
										TV_ACTION_ALTER);
			break;
		case T_CommentStmt:
			require_object(((CommentStmt *) stmt)->objtype, ((CommentStmt *) stmt)->object, TV_ACTION_ALTER);
			break;
		case T_SecLabelStmt:
			require_object(((SecLabelStmt *) stmt)->objtype, ((SecLabelStmt *) stmt)->object, TV_ACTION_ALTER);
			break;
		case T_GrantStmt:
			check_grant((GrantStmt *) stmt);
			break;
		case T_AlterDefaultPrivilegesStmt:
			check_default_privileges((AlterDefaultPrivilegesStmt *) stmt);
			break;
		case T_LockStmt:
			check_lock((LockStmt *) stmt);
			break;
		case T_VacuumStmt:
			check_vacuum((VacuumStmt *) stmt);
			break;
		case T_ReindexStmt:
			check_reindex((ReindexStmt *) stmt);
			break;
		case T_ClusterStmt:
			tv_guard_require_name(((ClusterStmt *) stmt)->relation, TV_ACTION_MAINTAIN);
			break;
		case T_RefreshMatViewStmt:
			tv_guard_require_name(((RefreshMatViewStmt *) stmt)->relation, TV_ACTION_MAINTAIN);
			break;
		default:
			break;
	}
}
