/*
 * tv_guard_utility.c
 *	  Statements that concern encryption beyond the files they touch.
 */
#include "postgres.h"

#include "guard/tv_guard_utility.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_tablespace.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "guard/tv_guard_upgrade.h"
#include "keyring/tv_keyring.h"
#include "keyring/tv_keyring_scope.h"
#include "page/tv_page_catalog.h"
#include "page/tv_page_decide.h"
#include "page/tv_page_smgr.h"
#include "page/tv_page_statistics.h"
#include "page/tv_page_tablespace.h"
#include "vault/tv_vault.h"

#define HEAP_AM_NAME "tde_heap"

/* The database that the statement at hand drops, as dropdb() told. */
static Oid	dropped_database = InvalidOid;

/* CREATE DATABASE at hand: what it copies, if a vault may be on there, and what is made. */
static Oid	template_database = InvalidOid;
static Oid	created_database = InvalidOid;

static ProcessUtility_hook_type next_utility = NULL;

static bool
is_encrypted_table(Oid relid)
{
	Relation	rel = RelationIdGetRelation(relid);
	bool		encrypted;

	if (!RelationIsValid(rel))
		return false;
	encrypted = tv_page_is_encrypted_table(rel);
	RelationClose(rel);
	return encrypted;
}

static const char *
option_string(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		/* DEFAULT comes without an argument */
		if (strcmp(option->defname, name) == 0)
			return option->arg ? defGetString(option) : NULL;
	}
	return NULL;
}

/*
 * The database of that name, locked: a name can change while one waits for
 * the lock, and what is checked must be what the statement then works on.
 */
static Oid
lock_database(const char *name, LOCKMODE mode)
{
	for (;;)
	{
		Oid			database = get_database_oid(name, true);

		if (!OidIsValid(database))
			return InvalidOid;
		LockSharedObject(DatabaseRelationId, database, 0, mode);
		if (get_database_oid(name, true) == database)
			return database;
		UnlockSharedObject(DatabaseRelationId, database, 0, mode);
	}
}

/*
 * A database whose default tablespace is encrypted would have its catalogs
 * there, and those are not sealed when they are copied or moved.
 */
static void
check_database_tablespace(List *options)
{
	const char *name = option_string(options, "tablespace");
	Oid			tablespace = name ? get_tablespace_oid(name, true) : InvalidOid;

	if (!OidIsValid(tablespace) || !tv_tablespace_is_encrypted(tablespace))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("encrypted tablespace \"%s\" cannot be the default of a database", name),
			 errdetail("The system catalogs of the database would be in it."),
			 errhint("Leave the database where it is, and set default_tablespace and temp_tablespaces for it: ALTER DATABASE ... SET default_tablespace = %s.",
					 quote_identifier(name))));
}

/*
 * A raw copy of a database's directory would hold pages that are bound to the
 * files they were copied from.
 */
static void
check_create_database(CreatedbStmt *stmt)
{
	const char *strategy = option_string(stmt->options, "strategy");
	const char *template = option_string(stmt->options, "template");
	Oid			database;

	check_database_tablespace(stmt->options);
	template_database = created_database = InvalidOid;
	if (tv_vault_on_anywhere())
		template_database = lock_database(template ? template : "template1", ShareLock);
	if (strategy == NULL || pg_strcasecmp(strategy, "file_copy") != 0)
		return;
	database = lock_database(template ? template : "template1", ShareLock);
	if (!OidIsValid(database) || !tv_keyring_database_in_use(database))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("strategy file_copy cannot copy database \"%s\": it holds encrypted tables",
					template ? template : "template1"),
			 errhint("Use STRATEGY wal_log, which encrypts the copy under keys of its own.")));
}

static void
check_alter_database(AlterDatabaseStmt *stmt)
{
	Oid			database;

	if (option_string(stmt->options, "tablespace") == NULL)
		return;
	check_database_tablespace(stmt->options);
	database = lock_database(stmt->dbname, AccessExclusiveLock);
	if (!OidIsValid(database) || !tv_keyring_database_in_use(database))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("database \"%s\" cannot be moved to another tablespace: it holds encrypted tables",
					stmt->dbname),
			 errhint("Move its tables and indexes instead: ALTER TABLE ALL IN TABLESPACE ... SET TABLESPACE ...")));
}

/* CREATE SEQUENCE or ALTER SEQUENCE: an owner may have been named. */
static void
after_sequence(RangeVar *sequence, List *options)
{
	ListCell   *lc;
	Oid			seqid;
	Oid			table;
	int32		column;

	foreach(lc, options)
	{
		if (strcmp(((DefElem *) lfirst(lc))->defname, "owned_by") == 0)
			break;
	}
	if (lc == NULL)
		return;
	seqid = RangeVarGetRelid(sequence, NoLock, true);
	if (!OidIsValid(seqid))
		return;
	CommandCounterIncrement();
	if (sequenceIsOwned(seqid, DEPENDENCY_AUTO, &table, &column) ||
		sequenceIsOwned(seqid, DEPENDENCY_INTERNAL, &table, &column))
		tv_page_adopt_sequence(seqid, table);
}

/* A table that became encrypted takes its sequences along. */
static void
after_alter_table(AlterTableStmt *stmt)
{
	ListCell   *lc;
	Oid			table;

	foreach(lc, stmt->cmds)
	{
		AlterTableType type = ((AlterTableCmd *) lfirst(lc))->subtype;

		if (type == AT_SetAccessMethod || type == AT_SetTableSpace)
			break;
	}
	if (lc == NULL)
		return;
	table = RangeVarGetRelid(stmt->relation, NoLock, true);
	if (!OidIsValid(table))
		return;
	CommandCounterIncrement();
	foreach(lc, getOwnedSequences(table))
		tv_page_adopt_sequence(lfirst_oid(lc), table);
}

/* Does the statement encrypt its table? */
static bool
encrypts(AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst(lc);

		if (cmd->subtype == AT_SetAccessMethod && strcmp(cmd->name, HEAP_AM_NAME) == 0)
			return true;
	}
	return false;
}

/* With enforce_encryption: does the command leave a permanent table plain? */
static bool
makes_plaintext(AlterTableCmd *cmd, RangeVar *table, bool encrypted)
{
	Oid			relid;

	if (cmd->subtype == AT_SetAccessMethod)
		return strcmp(cmd->name, HEAP_AM_NAME) != 0;
	if (cmd->subtype != AT_SetLogged || encrypted)
		return false;
	relid = RangeVarGetRelid(table, NoLock, true);
	return OidIsValid(relid) && get_rel_relkind(relid) != RELKIND_SEQUENCE &&
		!is_encrypted_table(relid);
}

static void
check_stays_encrypted(AlterTableStmt *stmt)
{
	bool		encrypted = encrypts(stmt);
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst(lc);

		if (!makes_plaintext(cmd, stmt->relation, encrypted))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_TV_PLAINTEXT_REFUSED),
				 cmd->subtype == AT_SetAccessMethod ?
				 errmsg("table \"%s\" must stay encrypted", stmt->relation->relname) :
				 errmsg("table \"%s\" would not be encrypted", stmt->relation->relname),
				 errdetail("tde_vault.enforce_encryption is on."),
				 errhint("Use the access method " HEAP_AM_NAME ".")));
	}
}

/*
 * REFRESH CONCURRENTLY keeps the difference in a temporary table that it makes
 * with the session's default access method (matview.c, refresh_by_match_merge).
 */
static bool
refreshes_encrypted(Node *stmt)
{
	Oid			relid;

	if (!IsA(stmt, RefreshMatViewStmt) || !((RefreshMatViewStmt *) stmt)->concurrent)
		return false;
	relid = RangeVarGetRelid(((RefreshMatViewStmt *) stmt)->relation, NoLock, true);
	return OidIsValid(relid) && is_encrypted_table(relid);
}

/* Is it a file of a relation, also of one that another session is making? */
static bool
is_in_catalog(Relation pg_class, const RelFileNode *node)
{
	Oid			tablespace = node->spcNode == MyDatabaseTableSpace ? InvalidOid : node->spcNode;
	SnapshotData snapshot;
	ScanKeyData keys[2];
	SysScanDesc scan;
	bool		found;

	ScanKeyInit(&keys[0], Anum_pg_class_reltablespace, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(tablespace));
	ScanKeyInit(&keys[1], Anum_pg_class_relfilenode, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(node->relNode));
	InitDirtySnapshot(snapshot);
	scan = systable_beginscan(pg_class, ClassTblspcRelfilenodeIndexId, true, &snapshot, 2, keys);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	return found;
}

/*
 * Does this database hold encrypted relations?  The keyring also knows files
 * that a crash left behind, as it does on a plain server: they are nobody's.
 * Who makes a relation holds a lock on pg_class from before its file is made
 * (heap.c, heap_create_with_catalog).
 */
static bool
holds_encrypted_relations(void)
{
	Relation	pg_class = table_open(RelationRelationId, ShareLock);
	uint32		slot = 0;
	RelFileNode node;
	bool		found = false;

	while (!found && tv_keyring_next_table_file(MyDatabaseId, &slot, &node))
		found = is_in_catalog(pg_class, &node);
	table_close(pg_class, ShareLock);
	return found;
}

static void
require_plain_catalogs(void)
{
	if (!tv_catalog_some_sealed())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop extension tde_vault because the system catalogs of this database are encrypted"),
			 errdetail("Without the module nobody could connect to the database any more."),
			 errhint("Decrypt them: CALL tde_vault.unseal_catalogs().")));
}

/*
 * Without the module sealed files cannot be read.  With CASCADE, tables go, but
 * a sequence that no table owns any more would stay.
 */
static void
check_drop_extension(DropStmt *stmt)
{
	ListCell   *lc;

	if (stmt->removeType != OBJECT_EXTENSION)
		return;
	foreach(lc, stmt->objects)
	{
		Oid			extension = get_extension_oid("tde_vault", true);

		/* whose it is not is refused by the server */
		if (strcmp(strVal(lfirst(lc)), "tde_vault") != 0 || !OidIsValid(extension) ||
			!pg_extension_ownercheck(extension, GetUserId()))
			continue;
		require_plain_catalogs();
		/* what the planner knows of tables that are gone may be plain again */
		if (stmt->behavior == DROP_CASCADE || !holds_encrypted_relations())
		{
			tv_statistics_seal(false);
			continue;
		}
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop extension tde_vault because this database holds encrypted files"),
				 errdetail("They could not be read any more."),
				 errhint("See tde_vault.encryption_status; decrypt tables with ALTER TABLE ... DISABLE ENCRYPTION.")));
	}
}

static void
before(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_DropStmt:
			check_drop_extension((DropStmt *) stmt);
			return;
		case T_CreatedbStmt:
			check_create_database((CreatedbStmt *) stmt);
			return;
		case T_AlterDatabaseStmt:
			check_alter_database((AlterDatabaseStmt *) stmt);
			return;
		case T_AlterTableStmt:
			if (tv_setting_enforce_encryption)
				check_stays_encrypted((AlterTableStmt *) stmt);
			return;
		case T_LoadStmt:
			tv_guard_upgrade_load((LoadStmt *) stmt);
			return;
		default:
			return;
	}
}

/* A relation that came into the schema of a realm must be one that can be in it. */
static void
after_set_schema(const AlterObjectSchemaStmt *stmt)
{
	Oid			relid;

	if (stmt->relation == NULL || !tv_vault_on())
		return;
	CommandCounterIncrement();
	relid = get_relname_relid(stmt->relation->relname, get_namespace_oid(stmt->newschema, true));
	if (OidIsValid(relid))
		tv_vault_object_created(relid);
}

static void
after(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateSeqStmt:
			after_sequence(((CreateSeqStmt *) stmt)->sequence, ((CreateSeqStmt *) stmt)->options);
			return;
		case T_AlterSeqStmt:
			after_sequence(((AlterSeqStmt *) stmt)->sequence, ((AlterSeqStmt *) stmt)->options);
			return;
		case T_AlterTableStmt:
			after_alter_table((AlterTableStmt *) stmt);
			return;
		case T_AlterObjectSchemaStmt:
			after_set_schema((AlterObjectSchemaStmt *) stmt);
			return;
		case T_DropdbStmt:
			CommandCounterIncrement();
			if (OidIsValid(dropped_database) && get_database_name(dropped_database) == NULL)
			{
				tv_vault_database_dropped(dropped_database);
				tv_page_drop_database(dropped_database);
			}
			dropped_database = InvalidOid;
			return;
		case T_CreatedbStmt:
			tv_page_copies_end();
			return;
		default:
			return;
	}
}

static void
abandon_copies(int code, Datum arg)
{
	if (OidIsValid(created_database))
	{
		/* createdb() does it only for what fails inside; without keys nobody could write them */
		DropDatabaseBuffers(created_database);
		if (OidIsValid(template_database))
			tv_vault_database_dropped(created_database);
	}
	tv_page_copies_abandon();
}

/*
 * The copy of a database with a vault is closed before anything is copied.
 * The template is locked, as createdb() locks it, so it is the one of before.
 */
static void
copy_policy(Oid database)
{
	created_database = database;
	if (OidIsValid(template_database))
		tv_vault_database_copied(template_database, database);
}

/*
 * A database that could not be copied leaves no keys behind, also when the
 * session is terminated.
 */
static void
run_create_database(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	tv_page_copies_begin();
	PG_ENSURE_ERROR_CLEANUP(abandon_copies, (Datum) 0);
	{
		next_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_END_ENSURE_ERROR_CLEANUP(abandon_copies, (Datum) 0);
}

static void
guard_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *stmt = pstmt->utilityStmt;
	int			nest = -1;

	before(stmt);
	if (IsA(stmt, DropdbStmt))
		dropped_database = InvalidOid;
	if (refreshes_encrypted(stmt))
	{
		nest = NewGUCNestLevel();
		(void) set_config_option("default_table_access_method", HEAP_AM_NAME,
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	if (IsA(stmt, CreatedbStmt))
		run_create_database(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		next_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	if (nest >= 0)
		AtEOXact_GUC(true, nest);
	after(stmt);
	if (context == PROCESS_UTILITY_TOPLEVEL)
		tv_statistics_follow();
}

static void
refuse_plaintext(Relation rel)
{
	TvKeyringScope scope;

	if ((rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_MATVIEW) ||
		rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP ||
		IsCatalogRelation(rel) || tv_page_is_encrypted_table(rel) ||
		tv_tablespace_scope_of(&rel->rd_node, &scope))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TV_PLAINTEXT_REFUSED),
			 errmsg("table \"%s\" would not be encrypted", RelationGetRelationName(rel)),
			 errdetail("tde_vault.enforce_encryption is on."),
			 errhint("Create it with USING " HEAP_AM_NAME ", or set default_table_access_method to " HEAP_AM_NAME ".")));
}

void
tv_guard_utility_access(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	Relation	rel;

	if (access == OAT_DROP && classId == TableSpaceRelationId)
		tv_tablespace_release(objectId);
	/* however it is dropped: DROP OWNED BY, too */
	if (access == OAT_DROP && classId == ExtensionRelationId &&
		objectId == get_extension_oid("tde_vault", true))
		require_plain_catalogs();
	if (access == OAT_DROP && classId == DatabaseRelationId)
		dropped_database = objectId;	/* dropdb() has locked and checked it */
	if (access == OAT_POST_CREATE && classId == DatabaseRelationId)
		copy_policy(objectId);
	if (!tv_setting_enforce_encryption || access != OAT_POST_CREATE ||
		classId != RelationRelationId || subId != 0)
		return;

	/* a rewrite of a table that is there already makes it no worse */
	if (((ObjectAccessPostCreate *) arg)->is_internal || creating_extension)
		return;
	CommandCounterIncrement();
	rel = RelationIdGetRelation(objectId);
	if (!RelationIsValid(rel))
		return;
	refuse_plaintext(rel);
	RelationClose(rel);
}

void
tv_guard_utility_init(void)
{
	next_utility = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = guard_utility;
	tv_guard_upgrade_init();
}
