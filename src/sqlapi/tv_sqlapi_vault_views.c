/*
 * tv_sqlapi_vault_views.c
 *	  Rows of the vault's views.  No row holds what verifies a password.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "vault/tv_vault_show.h"

PG_FUNCTION_INFO_V1(tv_sql_vault_realms);
PG_FUNCTION_INFO_V1(tv_sql_vault_objects);
PG_FUNCTION_INFO_V1(tv_sql_vault_authorizations);
PG_FUNCTION_INFO_V1(tv_sql_vault_rules);
PG_FUNCTION_INFO_V1(tv_sql_vault_password_rows);
PG_FUNCTION_INFO_V1(tv_sql_vault_unlocks);
PG_FUNCTION_INFO_V1(tv_sql_vault_emergencies);
PG_FUNCTION_INFO_V1(tv_sql_vault_statements);

#define MAX_COLUMNS 16

/* A row under construction: columns are put from left to right. */
typedef struct Row
{
	ReturnSetInfo *rsinfo;
	int			n;
	Datum		values[MAX_COLUMNS];
	bool		nulls[MAX_COLUMNS];
} Row;

static void
begin(FunctionCallInfo fcinfo, Row *row)
{
	memset(row, 0, sizeof(*row));
	SetSingleFuncCall(fcinfo, 0);
	row->rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
}

static void
put(Row *row, Datum value, bool isnull)
{
	row->nulls[row->n] = isnull;
	row->values[row->n++] = value;
}

static void
put_text(Row *row, const char *text)
{
	put(row, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

static void
put_name(Row *row, Oid role)
{
	put_text(row, OidIsValid(role) ? GetUserNameFromId(role, true) : NULL);
}

static void
put_time(Row *row, int64 when)
{
	put(row, TimestampTzGetDatum(when), when == 0);
}

static void
put_interval(Row *row, int64 length)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = length;
	put(row, IntervalPGetDatum(interval), false);
}

static void
put_texts(Row *row, Datum *items, int n)
{
	put(row, n == 0 ? (Datum) 0 :
		PointerGetDatum(construct_array(items, n, TEXTOID, -1, false, TYPALIGN_INT)), n == 0);
}

static void
finish(Row *row)
{
	tuplestore_putvalues(row->rsinfo->setResult, row->rsinfo->setDesc, row->values, row->nulls);
	row->n = 0;
}

static const char *
realm_name(const TvPolicy *policy, uint32 id)
{
	const TvRealm *realm = tv_policy_realm_by_id(policy, id);

	return realm ? realm->name : NULL;
}

static const char *
mode_name(uint8 mode)
{
	switch ((TvVaultMode) mode)
	{
		case TV_MODE_DISABLED:
			return "disabled";
		case TV_MODE_ENABLED:
			return "enabled";
		case TV_MODE_SIMULATE:
			return "simulate";
	}
	return NULL;
}

static const char *
kind_name(uint8 kind)
{
	switch ((TvObjectKind) kind)
	{
		case TV_OBJECT_TABLE:
			return "table";
		case TV_OBJECT_SCHEMA:
			return "schema";
		case TV_OBJECT_COLUMN:
			return "column";
		case TV_OBJECT_REALM:
			return "realm";
		case TV_OBJECT_DATABASE:
			return "database";
	}
	return NULL;
}

/* NULL if it no longer exists. */
static char *
object_name(const TvPolicy *policy, uint8 kind, Oid object, int16 column)
{
	char	   *name;

	switch ((TvObjectKind) kind)
	{
		case TV_OBJECT_SCHEMA:
			name = get_namespace_name(object);
			return name ? pstrdup(quote_identifier(name)) : NULL;
		case TV_OBJECT_REALM:
			name = unconstify(char *, realm_name(policy, object));
			return name ? pstrdup(name) : NULL;
		case TV_OBJECT_DATABASE:
			return NULL;
		case TV_OBJECT_TABLE:
		case TV_OBJECT_COLUMN:
			break;
	}
	name = get_rel_name(object);
	if (name == NULL)
		return NULL;
	name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(object)), name);
	if (kind == TV_OBJECT_COLUMN)
		name = psprintf("%s.%s", name, quote_identifier(get_attname(object, column, false)));
	return name;
}

Datum
tv_sql_vault_realms(PG_FUNCTION_ARGS)
{
	const TvPolicy *policy = tv_vault_shown_policy();
	Row			row;

	begin(fcinfo, &row);
	for (uint32 i = 0; policy != NULL && i < policy->n_realms; i++)
	{
		const TvRealm *realm = &policy->realms[i];

		if (!tv_vault_shows_realm(policy, realm->id))
			continue;
		put_text(&row, realm->name);
		put_text(&row, realm->description);
		put_name(&row, realm->owner);
		put_text(&row, mode_name(realm->mode));
		put(&row, BoolGetDatum(realm->password), false);
		put_time(&row, realm->created);
		finish(&row);
	}
	return (Datum) 0;
}

Datum
tv_sql_vault_objects(PG_FUNCTION_ARGS)
{
	const TvPolicy *policy = tv_vault_shown_policy();
	Row			row;

	begin(fcinfo, &row);
	for (uint32 i = 0; policy != NULL && i < policy->n_objects; i++)
	{
		const TvRealmObject *object = &policy->objects[i];
		char	   *name = object_name(policy, object->kind, object->oid, 0);

		if (name == NULL || !tv_vault_shows_realm(policy, object->realm))
			continue;
		put_text(&row, realm_name(policy, object->realm));
		put_text(&row, kind_name(object->kind));
		put_text(&row, name);
		put(&row, ObjectIdGetDatum(object->oid), false);
		finish(&row);
	}
	return (Datum) 0;
}

Datum
tv_sql_vault_authorizations(PG_FUNCTION_ARGS)
{
	const TvPolicy *policy = tv_vault_shown_policy();
	Row			row;

	begin(fcinfo, &row);
	for (uint32 i = 0; policy != NULL && i < policy->n_roles; i++)
	{
		const TvRealmRole *entry = &policy->roles[i];

		if (!tv_vault_shows_realm(policy, entry->realm))
			continue;
		put_text(&row, realm_name(policy, entry->realm));
		put_name(&row, entry->role);
		put_name(&row, entry->grantor);
		put_time(&row, entry->granted);
		finish(&row);
	}
	return (Datum) 0;
}

static void
put_actions(Row *row, uint16 actions)
{
	Datum		items[16];
	int			n = 0;

	for (int bit = TV_ACTION_SELECT; bit < TV_ACTION_MAINTAIN; bit <<= 1)
	{
		if (actions & bit)
			items[n++] = CStringGetTextDatum(tv_vault_action_name((TvAction) bit));
	}
	put_texts(row, items, n);
}

static void
put_roles(Row *row, const TvCommandRule *rule)
{
	Datum	   *items = palloc(Max(rule->n_roles, 1) * sizeof(Datum));
	int			n = 0;

	for (uint32 i = 0; i < rule->n_roles; i++)
	{
		char	   *name = GetUserNameFromId(rule->roles[i], true);

		if (name != NULL)
			items[n++] = CStringGetTextDatum(name);
	}
	put_texts(row, items, n);
}

Datum
tv_sql_vault_rules(PG_FUNCTION_ARGS)
{
	const TvPolicy *policy = tv_vault_shown_policy();
	Row			row;

	begin(fcinfo, &row);
	for (uint32 i = 0; policy != NULL && i < policy->n_rules; i++)
	{
		const TvCommandRule *rule = &policy->rules[i];

		if (!tv_vault_shows_realm(policy, rule->kind == TV_OBJECT_REALM ? rule->object : 0))
			continue;
		put_text(&row, rule->name);
		put_actions(&row, rule->actions);
		put_text(&row, kind_name(rule->kind));
		put_text(&row, object_name(policy, rule->kind, rule->object, rule->column));
		put_roles(&row, rule);
		put_text(&row, rule->condition);
		put_text(&row, rule->message);
		put_text(&row, mode_name(rule->mode));
		put_time(&row, rule->created);
		finish(&row);
	}
	return (Datum) 0;
}

Datum
tv_sql_vault_password_rows(PG_FUNCTION_ARGS)
{
	const TvPolicy *policy = tv_vault_shown_policy();
	TimestampTz now = GetCurrentTimestamp();
	Row			row;

	begin(fcinfo, &row);
	for (uint32 i = 0; policy != NULL && i < policy->n_passwords; i++)
	{
		const TvVaultPassword *password = &policy->passwords[i];

		if (!tv_vault_shows_realm(policy, password->realm))
			continue;
		put_text(&row, realm_name(policy, password->realm));
		put_name(&row, password->role);
		put_name(&row, password->grantor);
		put_time(&row, password->created);
		put_time(&row, password->valid_until);
		put(&row, BoolGetDatum(password->valid_until != 0 && password->valid_until <= now), false);
		put_text(&row, psprintf("argon2id m=%u,t=%u,p=%u", password->memory_kib, password->passes,
								password->lanes));
		finish(&row);
	}
	return (Datum) 0;
}

Datum
tv_sql_vault_unlocks(PG_FUNCTION_ARGS)
{
	const TvPolicy *policy = tv_vault_shown_policy();
	uint32		slot = 0;
	TvUnlock	unlock;
	Row			row;

	begin(fcinfo, &row);
	while (policy != NULL && tv_vault_next_unlock(&slot, &unlock))
	{
		const char *name = realm_name(policy, unlock.realm);

		if (name == NULL || unlock.expires <= GetCurrentTimestamp() ||
			(unlock.user != GetAuthenticatedUserId() && !tv_vault_shows_realm(policy, unlock.realm)))
			continue;
		put_text(&row, name);
		put_name(&row, unlock.user);
		put(&row, Int32GetDatum(unlock.pid), false);
		put_time(&row, unlock.since);
		put_time(&row, unlock.expires);
		finish(&row);
	}
	return (Datum) 0;
}

static const char *
emergency_state(const TvEmergency *emergency)
{
	if (emergency->reviewed != 0)
		return "reviewed";
	if (emergency->approved == 0)
		return "waits for approval";
	return emergency->expires > GetCurrentTimestamp() ? "unlocked" : "waits for review";
}

Datum
tv_sql_vault_emergencies(PG_FUNCTION_ARGS)
{
	const TvPolicy *policy = tv_vault_shown_policy();
	Row			row;

	begin(fcinfo, &row);
	for (uint32 i = 0; policy != NULL && i < policy->n_emergencies; i++)
	{
		const TvEmergency *emergency = &policy->emergencies[i];

		if (!tv_vault_shows_emergency(policy, emergency))
			continue;
		put(&row, Int64GetDatum((int64) emergency->id), false);
		put_text(&row, emergency->realm_name);
		put_text(&row, emergency_state(emergency));
		put_name(&row, emergency->requester);
		put_name(&row, emergency->officer);
		put_text(&row, emergency->reason);
		put_interval(&row, emergency->valid_for);
		put_time(&row, emergency->requested);
		put_time(&row, emergency->approved);
		put_time(&row, emergency->expires);
		put_time(&row, emergency->reviewed);
		put_name(&row, emergency->reviewer);
		put_text(&row, emergency->note);
		finish(&row);
	}
	return (Datum) 0;
}

/* --- the policy as statements --- */

typedef struct Script
{
	Row			row;
	int			number;
	StringInfoData text;
} Script;

static void
end_statement(Script *script)
{
	put(&script->row, Int32GetDatum(++script->number), false);
	put_text(&script->row, script->text.data);
	finish(&script->row);
	resetStringInfo(&script->text);
}

static const char *
quoted_role(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	return name ? quote_identifier(name) : NULL;
}

static void
write_realm(Script *script, const TvRealm *realm)
{
	const char *owner = quoted_role(realm->owner);

	appendStringInfo(&script->text, "CREATE REALM %s", quote_identifier(realm->name));
	if (realm->description)
		appendStringInfo(&script->text, " DESCRIPTION %s", quote_literal_cstr(realm->description));
	if (owner)
		appendStringInfo(&script->text, " OWNER %s", owner);
	if (realm->password)
		appendStringInfoString(&script->text, " REQUIRE VAULT PASSWORD");
	if (realm->mode == TV_MODE_SIMULATE)
		appendStringInfoString(&script->text, " SIMULATE");
	end_statement(script);
	if (realm->mode != TV_MODE_DISABLED)
		return;
	appendStringInfo(&script->text, "ALTER REALM %s DISABLE", quote_identifier(realm->name));
	end_statement(script);
}

static void
write_realm_parts(Script *script, const TvPolicy *policy, const TvRealm *realm)
{
	for (uint32 i = 0; i < policy->n_objects; i++)
	{
		const TvRealmObject *object = &policy->objects[i];
		char	   *name = object->realm == realm->id ?
			object_name(policy, object->kind, object->oid, 0) : NULL;

		if (name == NULL)
			continue;
		appendStringInfo(&script->text, "ALTER REALM %s ADD %s %s", quote_identifier(realm->name),
						 object->kind == TV_OBJECT_TABLE ? "TABLE" : "SCHEMA", name);
		end_statement(script);
	}
	for (uint32 i = 0; i < policy->n_roles; i++)
	{
		const char *role = policy->roles[i].realm == realm->id ? quoted_role(policy->roles[i].role) : NULL;

		if (role == NULL)
			continue;
		appendStringInfo(&script->text, "ALTER REALM %s AUTHORIZE %s", quote_identifier(realm->name), role);
		end_statement(script);
	}
}

static void
write_rule_object(Script *script, const TvPolicy *policy, const TvCommandRule *rule)
{
	char	   *name = object_name(policy, rule->kind, rule->object, rule->column);

	if (rule->kind == TV_OBJECT_DATABASE)
		appendStringInfoString(&script->text, " ON DATABASE");
	else
		appendStringInfo(&script->text, " ON %s %s", asc_toupper(kind_name(rule->kind), strlen(kind_name(rule->kind))),
						 rule->kind == TV_OBJECT_REALM ? quote_identifier(name) : name);
}

static void
write_rule(Script *script, const TvPolicy *policy, const TvCommandRule *rule)
{
	const char *separator = "";
	bool		any = false;

	if (rule->kind != TV_OBJECT_DATABASE &&
		object_name(policy, rule->kind, rule->object, rule->column) == NULL)
		return;
	appendStringInfo(&script->text, "CREATE COMMAND RULE %s FOR ", quote_identifier(rule->name));
	for (int bit = TV_ACTION_SELECT; bit < TV_ACTION_MAINTAIN; bit <<= 1)
	{
		if (!(rule->actions & bit))
			continue;
		appendStringInfo(&script->text, "%s%s", separator, tv_vault_action_name((TvAction) bit));
		separator = ", ";
	}
	write_rule_object(script, policy, rule);
	appendStringInfoString(&script->text, " DENY");
	for (uint32 i = 0; i < rule->n_roles; i++)
	{
		const char *role = quoted_role(rule->roles[i]);

		if (role == NULL)
			continue;
		appendStringInfo(&script->text, "%s %s", any ? "," : " FROM ROLE", role);
		any = true;
	}
	if (rule->condition)
		appendStringInfo(&script->text, " WHEN %s", rule->condition);
	if (rule->message)
		appendStringInfo(&script->text, " MESSAGE %s", quote_literal_cstr(rule->message));
	if (rule->mode == TV_MODE_SIMULATE)
		appendStringInfoString(&script->text, " SIMULATE");
	end_statement(script);
	if (rule->mode != TV_MODE_DISABLED)
		return;
	appendStringInfo(&script->text, "ALTER COMMAND RULE %s DISABLE", quote_identifier(rule->name));
	end_statement(script);
}

/* For dumps, so superusers see it, too: it holds no secret. */
Datum
tv_sql_vault_statements(PG_FUNCTION_ARGS)
{
	const TvPolicy *policy = tv_vault_shown_policy();
	Script		script = {0};

	begin(fcinfo, &script.row);
	if (policy == NULL)
		return (Datum) 0;
	if (!superuser() && !tv_vault_is_admin() && !tv_vault_is_auditor())
	{
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the vault's policy is not shown"),
				 errhint("A dump that is to hold it is made by a superuser or a vault auditor.")));
		return (Datum) 0;
	}
	initStringInfo(&script.text);
	for (uint32 i = 0; i < policy->n_realms; i++)
	{
		write_realm(&script, &policy->realms[i]);
		write_realm_parts(&script, policy, &policy->realms[i]);
	}
	for (uint32 i = 0; i < policy->n_rules; i++)
		write_rule(&script, policy, &policy->rules[i]);
	return (Datum) 0;
}
