/*
 * tv_vault_rule.c
 *	  Command rules: made, changed, asked.
 *
 * Conditions are compiled once a session and policy.
 */
#include "vault/tv_vault_commands.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/varlena.h"

#include "base/tv_report.h"
#include "vault/tv_vault_audit.h"
#include "vault/tv_vault_condition.h"
#include "vault/tv_vault_objects.h"
#include "vault/tv_vault_rights.h"

/* --- asking --- */

static MemoryContext memory = NULL;
static TvCondition **compiled = NULL;	/* by number of the rule; NULL: not yet */
static uint32 compiled_version = 0;

/* DELETE means every way to make rows disappear. */
static uint16
covered(const TvCommandRule *rule)
{
	return rule->actions & TV_ACTION_DELETE ?
		rule->actions | TV_ACTION_DROP | TV_ACTION_TRUNCATE : rule->actions;
}

static bool
concerns_user(const TvCommandRule *rule)
{
	for (uint32 i = 0; i < rule->n_roles; i++)
	{
		if (tv_vault_has_role(rule->roles[i]))
			return true;
	}
	return rule->n_roles == 0;
}

static TvCondition *
condition_of(const TvVaultLocal *local, uint32 i)
{
	MemoryContext old;

	if (memory == NULL)
		memory = AllocSetContextCreate(TopMemoryContext, "tde_vault conditions", ALLOCSET_SMALL_SIZES);
	if (compiled == NULL || compiled_version != local->version)
	{
		MemoryContextReset(memory);
		compiled = MemoryContextAllocZero(memory, (local->policy->n_rules + 1) * sizeof(TvCondition *));
		compiled_version = local->version;
	}
	if (compiled[i] == NULL)
	{
		old = MemoryContextSwitchTo(memory);
		compiled[i] = tv_condition_compile(local->policy->rules[i].condition);
		MemoryContextSwitchTo(old);
	}
	return compiled[i];
}

/* Errors that are not the condition's. */
static bool
is_interruption(int sqlstate)
{
	return sqlstate == ERRCODE_QUERY_CANCELED || sqlstate == ERRCODE_ADMIN_SHUTDOWN ||
		sqlstate == ERRCODE_CRASH_SHUTDOWN;
}

/*
 * An error in the condition, or NULL, counts as true.  An error is caught
 * without a subtransaction, which parallel workers cannot have: what runs is
 * the server's own functions of values, and what they took of the caches is
 * given back with a resource owner of their own.
 */
static bool
condition_denies(const TvVaultLocal *local, uint32 i, const char *realm)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ResourceOwner own = ResourceOwnerCreate(owner, "tde_vault condition");
	volatile bool denies = true;
	volatile bool failed = false;

	CurrentResourceOwner = own;
	PG_TRY();
	{
		bool		isnull;
		bool		holds = tv_condition_holds(condition_of(local, i), realm, &isnull);

		denies = holds || isnull;
	}
	PG_CATCH();
	{
		failed = true;
		CurrentResourceOwner = owner;
		if (is_interruption(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	CurrentResourceOwner = owner;
	ResourceOwnerRelease(own, RESOURCE_RELEASE_BEFORE_LOCKS, !failed, false);
	ResourceOwnerRelease(own, RESOURCE_RELEASE_LOCKS, !failed, false);
	ResourceOwnerRelease(own, RESOURCE_RELEASE_AFTER_LOCKS, !failed, false);
	ResourceOwnerDelete(own);
	return denies;
}

bool
tv_vault_rule_denies(const TvVaultLocal *local, uint32 i, TvAction action, const char *realm)
{
	const TvCommandRule *rule = &local->policy->rules[i];

	if (!(covered(rule) & action) || !concerns_user(rule))
		return false;
	if (rule->condition == NULL)
		return true;
	/* a worker's client is the leader's, who has asked */
	if (IsParallelWorker())
		return false;
	return condition_denies(local, i, realm);
}

/* --- statements --- */

static uint16
actions_named(List *names)
{
	uint16		actions = 0;
	ListCell   *lc;

	foreach(lc, names)
	{
		TvAction	action = tv_vault_action_named(lfirst(lc));

		if (action == TV_ACTION_MAINTAIN)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a command rule cannot be made for %s", (char *) lfirst(lc))));
		actions |= action;
	}
	if (actions == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a command rule must name an action"),
				 errhint("SELECT, INSERT, UPDATE, DELETE, TRUNCATE, COPY, DROP, ALTER, GRANT or ALL.")));
	return actions;
}

static void
object_missing(const char *kind)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a command rule ON %s must name one", kind)));
}

static void
set_column(TvCommandRule *rule, const char *name)
{
	List	   *names = textToQualifiedNameList(cstring_to_text(name));
	char	   *column;

	if (list_length(names) < 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" does not name a column of a table", name),
				 errhint("Write it as table.column.")));
	column = strVal(llast(names));
	rule->object = tv_vault_table_named(NameListToQuotedString(list_truncate(list_copy(names), list_length(names) - 1)));
	rule->column = get_attnum(rule->object, column);
	if (rule->column == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist", column,
						get_rel_name(rule->object))));
}

static void
set_object(TvPolicy *policy, TvCommandRule *rule, const char *kind, const char *object)
{
	if (pg_strcasecmp(kind, "database") == 0)
	{
		rule->kind = TV_OBJECT_DATABASE;
		if (object != NULL && strcmp(object, get_database_name(MyDatabaseId)) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a command rule is about the database of the session only")));
		return;
	}
	if (object == NULL)
		object_missing(kind);
	if (pg_strcasecmp(kind, "table") == 0)
	{
		rule->kind = TV_OBJECT_TABLE;
		rule->object = tv_vault_table_named(object);
	}
	else if (pg_strcasecmp(kind, "column") == 0)
	{
		rule->kind = TV_OBJECT_COLUMN;
		set_column(rule, object);
	}
	else if (pg_strcasecmp(kind, "schema") == 0)
	{
		rule->kind = TV_OBJECT_SCHEMA;
		rule->object = tv_vault_schema_named(object);
	}
	else if (pg_strcasecmp(kind, "realm") == 0)
	{
		rule->kind = TV_OBJECT_REALM;
		rule->object = tv_vault_find_realm(policy, object)->id;
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("object kind \"%s\" is not known", kind),
				 errhint("It is one of table, column, schema, realm, database.")));
}

static void
set_roles(TvPolicy *policy, TvCommandRule *rule, List *roles)
{
	ListCell   *lc;

	if (roles == NIL)
		return;
	rule->roles = tv_policy_alloc(policy, list_length(roles) * sizeof(uint32_t));
	if (rule->roles == NULL)
		tv_vault_out_of_memory();
	foreach(lc, roles)
		rule->roles[rule->n_roles++] = tv_vault_find_role(lfirst(lc));
}

static void
check_condition(const char *condition)
{
	MemoryContext scratch;
	MemoryContext old;

	if (condition == NULL)
		return;
	tv_vault_check_text("condition", condition);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "tde_vault condition", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(scratch);
	(void) tv_condition_compile(condition);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

void
tv_vault_create_rule(const TvNewRule *new)
{
	TvPolicy   *policy = tv_vault_begin_command("CREATE COMMAND RULE");
	TvCommandRule rule = {0};
	TvCommandRule *entry;

	tv_vault_require_admin("CREATE COMMAND RULE");
	tv_vault_check_name("command rule", new->name);
	tv_vault_check_text("message", new->message);
	if (tv_policy_rule(policy, new->name) != NULL)
	{
		ereport(new->if_not_exists ? NOTICE : ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("command rule \"%s\" already exists%s", new->name,
						new->if_not_exists ? ", skipping" : "")));
		return;
	}
	rule.actions = actions_named(new->actions);
	set_object(policy, &rule, new->kind, new->object);
	set_roles(policy, &rule, new->roles);
	check_condition(new->condition);
	rule.mode = new->simulate ? TV_MODE_SIMULATE : TV_MODE_ENABLED;
	rule.name = tv_vault_keep_text(policy, new->name);
	rule.condition = tv_vault_keep_text(policy, new->condition);
	rule.message = tv_vault_keep_text(policy, new->message);
	rule.created = GetCurrentTimestamp();
	entry = tv_policy_add_rule(policy);
	if (entry == NULL)
		tv_vault_out_of_memory();
	rule.id = ++policy->last_id;
	*entry = rule;
	tv_vault_audit_change("CREATE COMMAND RULE", NULL, new->name);
	tv_vault_change_done();
}

static TvCommandRule *
find_rule(TvPolicy *policy, const char *name)
{
	TvCommandRule *rule = tv_policy_rule(policy, name);

	if (rule == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("command rule \"%s\" does not exist", name)));
	return rule;
}

void
tv_vault_alter_rule(const char *name, const char *mode)
{
	TvPolicy   *policy = tv_vault_begin_command("ALTER COMMAND RULE");

	tv_vault_require_admin("ALTER COMMAND RULE");
	find_rule(policy, name)->mode = tv_vault_mode_named(mode);
	tv_vault_audit_change(psprintf("ALTER COMMAND RULE %s", mode), NULL, name);
	tv_vault_change_done();
}

void
tv_vault_drop_rule(const char *name, bool if_exists)
{
	TvPolicy   *policy = tv_vault_begin_command("DROP COMMAND RULE");

	tv_vault_require_admin("DROP COMMAND RULE");
	if (tv_policy_rule(policy, name) == NULL && if_exists)
	{
		ereport(NOTICE,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("command rule \"%s\" does not exist, skipping", name)));
		return;
	}
	tv_policy_remove_rule(policy, find_rule(policy, name) - policy->rules);
	tv_vault_audit_change("DROP COMMAND RULE", NULL, name);
	tv_vault_change_done();
}
