/*
 * tv_ddl_vault_core.c
 *	  Statements of the vault: each is the call of a procedure.
 */
#include "ddl/tv_ddl_rule.h"

/* --- parts ------------------------------------------------------------------ */

/* The procedure that does it; the rule goes on. */
static bool
calls(Parser *p, const char *procedure)
{
	p->statement->procedure = procedure;
	return true;
}

static bool
flag(Parser *p, const char *called)
{
	return argument(p, called, TV_DDL_ARGUMENT_TRUE, p->next);
}

/* IF NOT EXISTS, when all three words are there; "if" alone may be a name. */
static void
optional_if_not_exists(Parser *p)
{
	if (!tv_ddl_token_is(p->next, "if") || !words_at(ahead(p->next, 1), "not", "exists"))
		return;
	p->next = ahead(p->next, 3);
	(void) flag(p, "if_not_exists");
}

static void
optional_if_exists(Parser *p)
{
	if (!words_at(p->next, "if", "exists"))
		return;
	p->next = ahead(p->next, 2);
	(void) flag(p, "if_exists");
}

/* role [, ...] */
static bool
roles(Parser *p)
{
	const TvDdlToken *from = p->next;

	do
	{
		if (!role(p))
			return false;
	} while (symbol(p, ','));
	return argument(p, "roles", TV_DDL_ARGUMENT_ROLES, from);
}

/* [ ( number ) ] */
static bool
optional_precision(Parser *p)
{
	if (!symbol(p, '('))
		return true;
	if (p->next->kind != TV_TOKEN_NUMBER)
		return false;
	p->next = ahead(p->next, 1);
	return symbol(p, ')');
}

static bool
interval_field(Parser *p)
{
	static const char *const fields[] = {"year", "month", "day", "hour", "minute", "second"};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		if (word(p, fields[i]))
			return true;
	}
	return false;
}

/* VALID FOR INTERVAL 'literal' with its qualifiers, VALID read */
static bool
valid_for(Parser *p)
{
	const TvDdlToken *from;

	if (!word(p, "for"))
		return false;
	from = p->next;
	if (!word(p, "interval") || !optional_precision(p) || !string(p, NULL))
		return false;
	if (interval_field(p))
	{
		if (!optional_precision(p) || (word(p, "to") && !interval_field(p)) || !optional_precision(p))
			return false;
	}
	return argument(p, "valid_for", TV_DDL_ARGUMENT_INTERVAL, from);
}

/* REALM name */
static bool
realm(Parser *p)
{
	return word(p, "realm") && name_argument(p, "realm");
}

/* { ENABLE | DISABLE | SIMULATE } */
static bool
mode(Parser *p)
{
	const TvDdlToken *from = p->next;

	return (word(p, "enable") || word(p, "disable") || word(p, "simulate")) &&
		argument(p, "mode", TV_DDL_ARGUMENT_TEXT, from) && end_of_statement(p);
}

/* PASSWORD 'p', its first word read */
static bool
password(Parser *p)
{
	const TvDdlToken *from = p->next;

	return secret(p) && argument(p, "password", TV_DDL_ARGUMENT_SECRET, from);
}

/* --- the vault and realms ---------------------------------------------------- */

bool
tv_ddl_vault_switch(Parser *p)
{
	const TvDdlToken *from = p->statement->first + 2;
	const TvDdlToken *verb = p->next - 2;

	if (!word(p, "vault"))
		return false;
	if (from < verb)
	{
		(void) argument(p, "database", TV_DDL_ARGUMENT_TEXT, from);
		p->statement->argument[0].to = verb;
	}
	return calls(p, tv_ddl_token_is(verb, "enable") ? "enable_vault" : "disable_vault") &&
		end_of_statement(p);
}

/*
 * CREATE REALM [ IF NOT EXISTS ] r [ DESCRIPTION 'text' ] [ OWNER role ]
 * [ REQUIRE VAULT PASSWORD ] [ SIMULATE ], the options in any order
 */
static bool
create_realm(Parser *p)
{
	(void) calls(p, "create_realm");
	optional_if_not_exists(p);
	if (!name_argument(p, "realm"))
		return false;
	for (;;)
	{
		bool		fits;

		if (!has_argument(p, "description") && word(p, "description"))
			fits = string_argument(p, "description");
		else if (!has_argument(p, "owner") && word(p, "owner"))
			fits = role_argument(p, "owner");
		else if (!has_argument(p, "require_password") && word(p, "require"))
			fits = word(p, "vault") && word(p, "password") && flag(p, "require_password");
		else if (!has_argument(p, "simulate") && word(p, "simulate"))
			fits = flag(p, "simulate");
		else
			return end_of_statement(p);
		if (!fits)
			return false;
	}
}

bool
tv_ddl_realm_object(const TvDdlToken **next, bool *schema, const TvDdlToken **named)
{
	TvDdlStatement unused;
	Parser		p = {*next, &unused};
	bool		fits;

	if (word(&p, "table"))
		*schema = false;
	else if (tv_ddl_token_is(p.next, "schema") && is_name(ahead(p.next, 1)))
	{
		p.next = ahead(p.next, 1);
		*schema = true;
	}
	*named = p.next;
	fits = *schema ? name(&p) : qualified_name(&p);
	*next = p.next;
	return fits;
}

/* { TABLE t | SCHEMA s } [, ...] */
static bool
realm_objects(Parser *p)
{
	const TvDdlToken *from = p->next;
	const TvDdlToken *named;
	bool		schema = false;

	if (!tv_ddl_token_is(from, "table") && !tv_ddl_token_is(from, "schema"))
		return false;
	if (!is_name(ahead(from, 1)))
	{
		p->next = ahead(from, 1);
		return false;
	}
	do
	{
		if (!tv_ddl_realm_object(&p->next, &schema, &named))
			return false;
	} while (symbol(p, ','));
	return argument(p, "tables", TV_DDL_ARGUMENT_TABLES, from) &&
		argument(p, "schemas", TV_DDL_ARGUMENT_SCHEMAS, from) && end_of_statement(p);
}

/*
 * ALTER REALM r { ADD | REMOVE } objects, { OWNER TO role | DESCRIPTION 'text' |
 * ENABLE | DISABLE | SIMULATE }, { AUTHORIZE | REVOKE } role [, ...]
 */
static bool
alter_realm(Parser *p)
{
	if (!name_argument(p, "realm"))
		return false;
	if (word(p, "add"))
		return calls(p, "realm_add") && realm_objects(p);
	if (word(p, "remove"))
		return calls(p, "realm_remove") && realm_objects(p);
	if (word(p, "owner"))
		return calls(p, "realm_owner") && word(p, "to") && role_argument(p, "owner") &&
			end_of_statement(p);
	if (word(p, "description"))
		return calls(p, "realm_description") && string_argument(p, "description") &&
			end_of_statement(p);
	if (word(p, "authorize"))
		return calls(p, "realm_authorize") && roles(p) && end_of_statement(p);
	if (word(p, "revoke"))
		return calls(p, "realm_revoke") && roles(p) && end_of_statement(p);
	return calls(p, "realm_mode") && mode(p);
}

/* DROP REALM [ IF EXISTS ] r */
static bool
drop_realm(Parser *p)
{
	optional_if_exists(p);
	return calls(p, "drop_realm") && name_argument(p, "realm") && end_of_statement(p);
}

/* --- passwords --------------------------------------------------------------- */

/*
 * GRANT VAULT PASSWORD ON REALM r TO role [ PASSWORD 'p' ]
 * [ VALID FOR INTERVAL ... ], the options in any order
 */
static bool
grant_password(Parser *p)
{
	if (!(word(p, "on") && realm(p) && word(p, "to") && role_argument(p, "role")))
		return false;
	for (;;)
	{
		bool		fits;

		if (!has_argument(p, "password") && word(p, "password"))
			fits = password(p);
		else if (!has_argument(p, "valid_for") && word(p, "valid"))
			fits = valid_for(p);
		else
			break;
		if (!fits)
			return false;
	}
	if (has_argument(p, "password"))
		return calls(p, "set_vault_password") && end_of_statement(p);
	/* one is made and shown; parameters before an OUT parameter have no defaults */
	(void) calls(p, "grant_vault_password");
	(void) argument(p, "password", TV_DDL_ARGUMENT_NULL, p->next);
	if (!has_argument(p, "valid_for"))
		(void) argument(p, "valid_for", TV_DDL_ARGUMENT_NULL, p->next);
	return argument(p, "generated", TV_DDL_ARGUMENT_NULL, p->next) && end_of_statement(p);
}

/* REVOKE VAULT PASSWORD ON REALM r FROM role */
static bool
revoke_password(Parser *p)
{
	return calls(p, "revoke_vault_password") && word(p, "on") && realm(p) &&
		word(p, "from") && role_argument(p, "role") && end_of_statement(p);
}

/* UNLOCK REALM r PASSWORD 'p' */
static bool
unlock_realm(Parser *p)
{
	return calls(p, "unlock_realm") && name_argument(p, "realm") && word(p, "password") &&
		password(p) && end_of_statement(p);
}

/* LOCK REALM { r | ALL } */
static bool
lock_realm(Parser *p)
{
	return calls(p, "lock_realm") && (word(p, "all") || name_argument(p, "realm")) &&
		end_of_statement(p);
}

/* --- emergencies -------------------------------------------------------------- */

/*
 * EMERGENCY UNLOCK REALM r AUTHORIZED BY role REASON 'text' VALID FOR INTERVAL ...
 */
static bool
emergency_unlock(Parser *p)
{
	return calls(p, "emergency_unlock") && realm(p) &&
		word(p, "authorized") && word(p, "by") && role_argument(p, "authorized_by") &&
		word(p, "reason") && string_argument(p, "reason") &&
		word(p, "valid") && valid_for(p) &&
		argument(p, "id", TV_DDL_ARGUMENT_NULL, p->next) && end_of_statement(p);
}

/* UNLOCK id */
static bool
emergency_id(Parser *p)
{
	const TvDdlToken *from;

	if (!word(p, "unlock"))
		return false;
	from = p->next;
	if (from->kind != TV_TOKEN_NUMBER)
		return false;
	p->next = ahead(from, 1);
	return argument(p, "id", TV_DDL_ARGUMENT_NUMBER, from);
}

/* APPROVE EMERGENCY UNLOCK id */
static bool
approve_unlock(Parser *p)
{
	return calls(p, "approve_emergency_unlock") && emergency_id(p) && end_of_statement(p);
}

/* REVIEW EMERGENCY UNLOCK id NOTE 'text' */
static bool
review_unlock(Parser *p)
{
	return calls(p, "review_emergency_unlock") && emergency_id(p) &&
		word(p, "note") && string_argument(p, "note") && end_of_statement(p);
}

/* --- command rules -------------------------------------------------------------- */

/* { SELECT | INSERT | ... | ALL } [, ...] */
static bool
actions(Parser *p)
{
	static const char *const known[] = {
		"select", "insert", "update", "delete", "truncate", "copy", "drop", "alter", "grant", "all"
	};
	const TvDdlToken *from = p->next;

	do
	{
		bool		fits = false;

		for (size_t i = 0; !fits && i < sizeof(known) / sizeof(known[0]); i++)
			fits = word(p, known[i]);
		if (!fits)
			return false;
	} while (symbol(p, ','));
	return argument(p, "actions", TV_DDL_ARGUMENT_WORDS, from);
}

/* { TABLE t | COLUMN t.c | SCHEMA s | REALM r | DATABASE } */
static bool
rule_object(Parser *p)
{
	const TvDdlToken *kind = p->next;
	const TvDdlToken *from = ahead(kind, 1);
	bool		schema = tv_ddl_token_is(kind, "schema");
	bool		dotted = tv_ddl_token_is(kind, "table") || tv_ddl_token_is(kind, "column");

	if (!dotted && !schema && !tv_ddl_token_is(kind, "realm") && !tv_ddl_token_is(kind, "database"))
		return false;
	p->next = from;
	(void) argument(p, "object_kind", TV_DDL_ARGUMENT_TEXT, kind);
	if (tv_ddl_token_is(kind, "database"))
		return true;
	if (!(dotted ? qualified_name(p) : name(p)))
		return false;
	if (tv_ddl_token_is(kind, "column") && p->next == ahead(from, 1))
		return false;			/* a table's name and a dot before it */
	return argument(p, "object",
					dotted || schema ? TV_DDL_ARGUMENT_OBJECT : TV_DDL_ARGUMENT_TEXT, from);
}

/* May the condition end here? */
static bool
ends_condition(const TvDdlToken *token)
{
	const TvDdlToken *after = ahead(token, 1);

	if (is_last(token) || (token->kind == TV_TOKEN_SYMBOL && token->symbol == ';'))
		return true;
	if (tv_ddl_token_is(token, "message"))
		return after->kind == TV_TOKEN_STRING;
	return tv_ddl_token_is(token, "simulate") &&
		(is_last(after) || tv_ddl_token_is(after, "message") ||
		 (after->kind == TV_TOKEN_SYMBOL && after->symbol == ';'));
}

/* WHEN condition, its first word read: brackets are balanced; the rest is checked elsewhere */
static bool
condition(Parser *p)
{
	const TvDdlToken *from = p->next;
	int			depth = 0;

	for (; !is_last(p->next); p->next = ahead(p->next, 1))
	{
		char		c = p->next->symbol;

		if (c == '(' || c == '[')
			depth++;
		else if ((c == ')' || c == ']') && --depth < 0)
			return false;
		else if (c == ';' || (depth == 0 && ends_condition(p->next)))
			break;
	}
	return depth == 0 && p->next != from &&
		argument(p, "condition", TV_DDL_ARGUMENT_CONDITION, from);
}

/* [ FROM ROLE a, b ] [ WHEN condition ] [ MESSAGE 'text' ] [ SIMULATE ] */
static bool
denial(Parser *p)
{
	if (word(p, "from") && !(word(p, "role") && roles(p)))
		return false;
	if (word(p, "when") && !condition(p))
		return false;
	for (;;)
	{
		if (!has_argument(p, "message") && word(p, "message"))
		{
			if (!string_argument(p, "message"))
				return false;
		}
		else if (!has_argument(p, "simulate") && word(p, "simulate"))
			(void) flag(p, "simulate");
		else
			return end_of_statement(p);
	}
}

/* CREATE COMMAND RULE [ IF NOT EXISTS ] n FOR actions ON object DENY ... */
static bool
create_rule(Parser *p)
{
	if (!word(p, "rule"))
		return false;
	optional_if_not_exists(p);
	return calls(p, "create_command_rule") && name_argument(p, "rule") &&
		word(p, "for") && actions(p) && word(p, "on") && rule_object(p) &&
		word(p, "deny") && denial(p);
}

/* ALTER COMMAND RULE n { ENABLE | DISABLE | SIMULATE } */
static bool
alter_rule(Parser *p)
{
	return calls(p, "alter_command_rule") && word(p, "rule") && name_argument(p, "rule") && mode(p);
}

/* DROP COMMAND RULE [ IF EXISTS ] n */
static bool
drop_rule(Parser *p)
{
	if (!word(p, "rule"))
		return false;
	optional_if_exists(p);
	return calls(p, "drop_command_rule") && name_argument(p, "rule") && end_of_statement(p);
}

/* --- which ------------------------------------------------------------------------ */

/* The words that no statement of the server begins with. */
static const struct
{
	const char *first;
	const char *second;
	const char *third;			/* NULL: two are enough */
	Rule		rule;
}			beginnings[] = {
	{"create", "realm", NULL, create_realm},
	{"alter", "realm", NULL, alter_realm},
	{"drop", "realm", NULL, drop_realm},
	{"grant", "vault", "password", grant_password},
	{"revoke", "vault", "password", revoke_password},
	{"unlock", "realm", NULL, unlock_realm},
	{"lock", "realm", NULL, lock_realm},
	{"emergency", "unlock", NULL, emergency_unlock},
	{"approve", "emergency", NULL, approve_unlock},
	{"review", "emergency", NULL, review_unlock},
	{"create", "command", NULL, create_rule},
	{"alter", "command", NULL, alter_rule},
	{"drop", "command", NULL, drop_rule}
};

/* The server's LOCK of a table that is called realm goes on after the name. */
static bool
locks_table(const TvDdlToken *after)
{
	return !tv_ddl_token_is(after, "all") && (!is_name(after) || tv_ddl_token_is(after, "nowait"));
}

Rule
tv_ddl_vault_rule(Parser *p, const TvDdlToken *first)
{
	const TvDdlToken *third = ahead(first, 2);

	for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
	{
		if (!words_at(first, beginnings[i].first, beginnings[i].second) ||
			(beginnings[i].third != NULL && !tv_ddl_token_is(third, beginnings[i].third)))
			continue;
		if (beginnings[i].rule == lock_realm && locks_table(third))
			return NULL;
		p->next = beginnings[i].third ? ahead(first, 3) : third;
		return beginnings[i].rule;
	}
	return NULL;
}
