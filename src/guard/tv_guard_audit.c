/*
 * tv_guard_audit.c
 *	  What happens outside realms, for the audit log, while a vault is on.
 *
 * Settings say what is wanted.  Definitions are durable in the log before they
 * are made; reads and writes of tables that nobody protected are written, and
 * reach the disk with the next event that must.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "nodes/parsenodes.h"
#include "parser/parse_type.h"
#include "tcop/utility.h"
#include "utils/builtins.h"

#include "audit/tv_audit.h"
#include "base/tv_hot.h"
#include "base/tv_settings.h"
#include "guard/tv_guard_internal.h"
#include "vault/tv_vault_internal.h"

static const char *
relation_name(const RangeVar *name)
{
	return name == NULL ? NULL : quote_qualified_identifier(name->schemaname, name->relname);
}

static bool
is_temporary(const RangeVar *name)
{
	return name != NULL && name->relpersistence == RELPERSISTENCE_TEMP;
}

static bool
is_type_name(const Node *node)
{
	return IsA(node, TypeName);
}

/* A qualified name, or of casts and transforms the type, and the other type or language. */
static void
append_name(StringInfo buf, List *name)
{
	if (!is_type_name(linitial(name)))
		appendStringInfoString(buf, NameListToString(name));
	else if (is_type_name(lsecond(name)))
		appendStringInfo(buf, "%s AS %s", TypeNameToString(linitial(name)), TypeNameToString(lsecond(name)));
	else
		appendStringInfo(buf, "%s LANGUAGE %s", TypeNameToString(linitial(name)), strVal(lsecond(name)));
}

/* What is dropped, as it was typed; names of several after each other. */
static const char *
dropped_names(const DropStmt *stmt)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, stmt->objects)
	{
		Node	   *object = lfirst(lc);

		if (buf.len > 0)
			appendStringInfoString(&buf, ", ");
		if (IsA(object, List))
			append_name(&buf, (List *) object);
		else if (is_type_name(object))
			appendStringInfoString(&buf, TypeNameToString((TypeName *) object));
		else if (IsA(object, String))
			appendStringInfoString(&buf, strVal(object));
		else if (IsA(object, ObjectWithArgs))
			appendStringInfoString(&buf, NameListToString(((ObjectWithArgs *) object)->objname));
	}
	return buf.len > 0 ? buf.data : NULL;
}

/* The object of a definition, as it was typed; NULL where there is not one. */
static const char *
object_of(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateStmt:
			return relation_name(((CreateStmt *) stmt)->relation);
		case T_CreateTableAsStmt:
			return relation_name(((CreateTableAsStmt *) stmt)->into->rel);
		case T_AlterTableStmt:
			return relation_name(((AlterTableStmt *) stmt)->relation);
		case T_RenameStmt:
			return ((RenameStmt *) stmt)->relation ? relation_name(((RenameStmt *) stmt)->relation) :
				((RenameStmt *) stmt)->subname;
		case T_IndexStmt:
			return relation_name(((IndexStmt *) stmt)->relation);
		case T_ViewStmt:
			return relation_name(((ViewStmt *) stmt)->view);
		case T_RuleStmt:
			return relation_name(((RuleStmt *) stmt)->relation);
		case T_CreateTrigStmt:
			return relation_name(((CreateTrigStmt *) stmt)->relation);
		case T_CreatePolicyStmt:
			return relation_name(((CreatePolicyStmt *) stmt)->table);
		case T_CreateSeqStmt:
			return relation_name(((CreateSeqStmt *) stmt)->sequence);
		case T_CreateFunctionStmt:
			return NameListToString(((CreateFunctionStmt *) stmt)->funcname);
		case T_CreateSchemaStmt:
			return ((CreateSchemaStmt *) stmt)->schemaname;
		case T_CreateRoleStmt:
			return ((CreateRoleStmt *) stmt)->role;
		case T_CreatedbStmt:
			return ((CreatedbStmt *) stmt)->dbname;
		case T_DropdbStmt:
			return ((DropdbStmt *) stmt)->dbname;
		case T_CreateExtensionStmt:
			return ((CreateExtensionStmt *) stmt)->extname;
		case T_DropStmt:
			return dropped_names((DropStmt *) stmt);
		default:
			return NULL;
	}
}

/* Tables of this session only: nobody else's business. */
static bool
is_private(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateStmt:
			return is_temporary(((CreateStmt *) stmt)->relation);
		case T_CreateTableAsStmt:
			return is_temporary(((CreateTableAsStmt *) stmt)->into->rel);
		case T_ViewStmt:
			return is_temporary(((ViewStmt *) stmt)->view);
		case T_CreateSeqStmt:
			return is_temporary(((CreateSeqStmt *) stmt)->sequence);
		default:
			return false;
	}
}

static void
write_truncate(const TruncateStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->relations)
	{
		Oid			relid = RangeVarGetRelid(lfirst(lc), NoLock, true);

		if (OidIsValid(relid))
			tv_guard_audit_entry(relid, TV_ACTION_TRUNCATE);
	}
}

void
tv_guard_audit_statement(Node *stmt, bool top)
{
	TvAuditEvent event = {"DDL", TV_AUDIT_INFO, TV_AUDIT_ALLOWED};

	if (!top || creating_extension || !tv_vault_on())
		return;
	if (IsA(stmt, TruncateStmt))
		write_truncate((TruncateStmt *) stmt);
	if (!tv_setting_audit_ddl || GetCommandLogLevel(stmt) != LOGSTMT_DDL || is_private(stmt))
		return;
	event.action = CreateCommandName(stmt);
	event.object = object_of(stmt);
	tv_audit(&event, true);
}

TV_HOT_VAULT void
tv_guard_audit_entry(Oid relid, int actions)
{
	static const int reads = TV_ACTION_SELECT | TV_ACTION_COPY;
	static const int writes = TV_ACTION_INSERT | TV_ACTION_UPDATE | TV_ACTION_DELETE | TV_ACTION_TRUNCATE;
	TvAuditEvent event = {.severity = TV_AUDIT_INFO, .result = TV_AUDIT_ALLOWED};

	if (likely(!tv_guard_audits_entries()) || IsParallelWorker())
		return;
	actions &= (tv_setting_audit_reads ? reads : 0) | (tv_setting_audit_writes ? writes : 0);
	if (actions == 0 || tv_vault_protects(relid))
		return;
	event.object = tv_guard_name(relid);
	for (int bit = 1; bit <= actions; bit <<= 1)
	{
		if ((actions & bit) == 0)
			continue;
		event.type = bit & reads ? "READ" : "WRITE";
		event.action = tv_vault_action_name(bit);
		tv_audit(&event, false);
	}
}
