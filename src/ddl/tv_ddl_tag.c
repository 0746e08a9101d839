/*
 * tv_ddl_tag.c
 *	  Command tags of our statements.
 *
 * The server's tags are an enum and a table by it.  Ours are numbered after
 * the enum's last, and the functions that turn a statement into a tag and a
 * tag into a name are led here (contrib/doc/decisions/0010-statements.md).
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

/* The server's own table, as its functions gave it. */
static struct
{
	const char *name;
	bool		rowcount;
}			server_tags[COMMAND_TAG_NEXTTAG];

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

static TV_HOT CommandTag
create_tag(Node *tree)
{
	const char *procedure = tv_ddl_call_name(unwrap(tree));

	for (int i = 0; procedure != NULL && i < lengthof(our_tags); i++)
	{
		if (strcmp(our_tags[i].procedure, procedure) == 0)
			return (CommandTag) (COMMAND_TAG_NEXTTAG + i);
	}
	return next_create_tag(tree);
}

static TV_HOT const char *
tag_name(CommandTag tag)
{
	if (tag < COMMAND_TAG_NEXTTAG)
		return server_tags[tag].name;
	if (tag - COMMAND_TAG_NEXTTAG < lengthof(our_tags))
		return our_tags[tag - COMMAND_TAG_NEXTTAG].tag;
	return server_tags[CMDTAG_UNKNOWN].name;
}

static TV_HOT bool
tag_rowcount(CommandTag tag)
{
	return tag < COMMAND_TAG_NEXTTAG && server_tags[tag].rowcount;
}

/* For log_statement: what a statement of ours does is DDL. */
static LogStmtLevel
log_level(Node *tree)
{
	return tv_ddl_call_name(unwrap(tree)) != NULL ? LOGSTMT_DDL : next_log_level(tree);
}

void
tv_ddl_tag_init(void)
{
	for (int tag = 0; tag < COMMAND_TAG_NEXTTAG; tag++)
	{
		server_tags[tag].name = GetCommandTagName(tag);
		server_tags[tag].rowcount = command_tag_display_rowcount(tag);
	}
	next_create_tag = tv_attach_detour((void *) CreateCommandTag, "CreateCommandTag", (void *) create_tag);
	next_log_level = tv_attach_detour((void *) GetCommandLogLevel, "GetCommandLogLevel", (void *) log_level);
	tv_attach_replace((void *) GetCommandTagName, "GetCommandTagName", (void *) tag_name);
	tv_attach_replace((void *) command_tag_display_rowcount, "command_tag_display_rowcount",
					  (void *) tag_rowcount);
}
