/*
 * tv_ddl_tag.c
 *	  Command tags of our statements.
 *
 * The server's tags are an enum and a table by it.  Ours are numbers beyond the
 * enum's last, whose rows stand where the table would have them, and the function
 * that turns a statement into a tag is led here
 * (contrib/doc/decisions/0010-statements.md).
 */
#include "postgres.h"

#include "ddl/tv_ddl_tag.h"

#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "tcop/cmdtag.h"
#include "tcop/utility.h"

#include "attach/tv_attach.h"
#include "base/tv_hot.h"
#include "ddl/tv_ddl_tree.h"

/* Procedure and tag of each statement; its number follows the server's last. */
static const struct
{
	const char *procedure;
	const char *tag;
}			our_tags[] = {
	{"create_master_key", "CREATE MASTER KEY"},
	{"rotate_master_key", "ALTER DATABASE ROTATE MASTER KEY"},
	{"enable_vault", "ALTER DATABASE"},
	{"disable_vault", "ALTER DATABASE"},
	{"create_realm", "CREATE REALM"},
	{"drop_realm", "DROP REALM"},
	{"realm_add", "ALTER REALM"},
	{"realm_remove", "ALTER REALM"},
	{"realm_owner", "ALTER REALM"},
	{"realm_description", "ALTER REALM"},
	{"realm_mode", "ALTER REALM"},
	{"realm_authorize", "ALTER REALM"},
	{"realm_revoke", "ALTER REALM"},
	{"grant_vault_password", "GRANT VAULT PASSWORD"},
	{"set_vault_password", "GRANT VAULT PASSWORD"},
	{"revoke_vault_password", "REVOKE VAULT PASSWORD"},
	{"unlock_realm", "UNLOCK REALM"},
	{"lock_realm", "LOCK REALM"},
	{"emergency_unlock", "EMERGENCY UNLOCK"},
	{"approve_emergency_unlock", "APPROVE EMERGENCY UNLOCK"},
	{"review_emergency_unlock", "REVIEW EMERGENCY UNLOCK"},
	{"create_command_rule", "CREATE COMMAND RULE"},
	{"alter_command_rule", "ALTER COMMAND RULE"},
	{"drop_command_rule", "DROP COMMAND RULE"},
	{"create_tablespace", "CREATE TABLESPACE"},
	{"encrypt_tablespace", "ALTER TABLESPACE"},
	{"decrypt_tablespace", "ALTER TABLESPACE"},
	{"encrypt_database", "ALTER DATABASE"},
	{"decrypt_database", "ALTER DATABASE"},
	{"encrypt_table", "ALTER TABLE"},
	{"decrypt_table", "ALTER TABLE"},
	{"rotate_table_key", "ALTER TABLE"}
};

/* Mirrors CommandTagBehavior of PostgreSQL 15, src/backend/tcop/cmdtag.c. */
typedef struct TagRow
{
	const char *name;
	bool		event_trigger_ok;
	bool		table_rewrite_ok;
	bool		display_rowcount;
} TagRow;

/* The tag of the first of our_tags; the others follow. */
static TV_HOT_DATA CommandTag first_tag = 0;

static TV_HOT_DATA CommandTag (*next_create_tag) (Node *tree);
static LogStmtLevel (*next_log_level) (Node *tree);

/* The statement inside the wrappings that it has at various stages. */
static Node *
unwrap(Node *tree)
{
	if (tree != NULL && IsA(tree, RawStmt))
		tree = ((RawStmt *) tree)->stmt;
	if (tree != NULL && IsA(tree, Query))
		tree = ((Query *) tree)->utilityStmt;
	else if (tree != NULL && IsA(tree, PlannedStmt))
		tree = ((PlannedStmt *) tree)->utilityStmt;
	return tree;
}

static pg_noinline CommandTag
tag_of_call(Node *tree)
{
	const char *procedure = tv_ddl_call_name(unwrap(tree));

	for (int i = 0; procedure != NULL && i < lengthof(our_tags); i++)
	{
		if (strcmp(our_tags[i].procedure, procedure) == 0)
			return first_tag + i;
	}
	return next_create_tag(tree);
}

static TV_HOT CommandTag
create_tag(Node *tree)
{
	switch (nodeTag(tree))
	{
		case T_CallStmt:
		case T_RawStmt:
		case T_Query:
		case T_PlannedStmt:
			return tag_of_call(tree);
		default:
			return next_create_tag(tree);
	}
}

/* For log_statement: what a statement of ours does is DDL. */
static LogStmtLevel
log_level(Node *tree)
{
	return tv_ddl_call_name(unwrap(tree)) != NULL ? LOGSTMT_DDL : next_log_level(tree);
}

/*
 * The server's functions take a tag for an index of their table and look nothing
 * else up, so behind its end they find ours.
 */
static void
add_rows(void)
{
	TagRow		server[COMMAND_TAG_NEXTTAG] = {0};
	TagRow		ours[lengthof(our_tags)] = {0};

	for (int tag = 0; tag < lengthof(server); tag++)
	{
		server[tag].name = GetCommandTagName(tag);
		server[tag].event_trigger_ok = command_tag_event_trigger_ok(tag);
		server[tag].table_rewrite_ok = command_tag_table_rewrite_ok(tag);
		server[tag].display_rowcount = command_tag_display_rowcount(tag);
	}
	for (int i = 0; i < lengthof(ours); i++)
		ours[i].name = our_tags[i].tag;
	first_tag = tv_attach_rows("command tags", server, lengthof(server), sizeof(TagRow), ours, lengthof(ours));
}

static void
check_rows(void)
{
	for (int i = 0; i < lengthof(our_tags); i++)
	{
		CommandTag	tag = first_tag + i;

		if (GetCommandTagName(tag) != our_tags[i].tag || command_tag_display_rowcount(tag) ||
			command_tag_event_trigger_ok(tag) || command_tag_table_rewrite_ok(tag))
			ereport(FATAL,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the server does not find tde_vault's command tags"),
					 errdetail("GetCommandTagName() is not what tde_vault knows."),
					 errhint("Use the distribution's server package.")));
	}
}

void
tv_ddl_tag_init(void)
{
	add_rows();
	check_rows();
	next_create_tag = tv_attach_detour((void *) CreateCommandTag, "CreateCommandTag", (void *) create_tag);
	next_log_level = tv_attach_detour((void *) GetCommandLogLevel, "GetCommandLogLevel", (void *) log_level);
}
