/*
 * tv_ddl_mask_core.c
 *	  Which tokens of a text hold a password or a PIN.
 *
 * A statement is taken to begin at the start, after each semicolon and after
 * ATOMIC.  Too many beginnings do no harm: what is marked and then found in no
 * place where a secret can stand is an error, not a wrong value.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* strcasestr */
#endif

#include "ddl/tv_ddl_mask.h"

#include <ctype.h>
#include <string.h>

#include "ddl/tv_ddl_rule.h"

/* Procedures that take a password: which argument it is, from 0, or its name. */
static const struct
{
	const char *procedure;
	int			argument;
}			twins[] = {
	{"unlock_realm", 1},
	{"grant_vault_password", 2},
	{"set_vault_password", 2}
};

static bool
ends_statement(const TvDdlToken *token)
{
	return is_last(token) || (token->kind == TV_TOKEN_SYMBOL && token->symbol == ';');
}

/* A string of nothing but stars has been masked already. */
static bool
is_masked(const char *text)
{
	return text[strspn(text, "*")] == '\0';
}

static bool
holds_pin(const TvDdlToken *token)
{
	return token->kind == TV_TOKEN_STRING && strcasestr(token->text, "pin-value") != NULL;
}

/* A literal, what quotes left open, or a parameter. */
static bool
mark(TvDdlToken *token)
{
	bool		literal = token->kind == TV_TOKEN_STRING && !is_masked(token->text);

	if (literal || token->kind == TV_TOKEN_BROKEN || token->kind == TV_TOKEN_PARAMETER)
		token->secret = true;
	return token->secret;
}

/* All literals from token to the end of the statement. */
static bool
mark_rest(TvDdlToken *token)
{
	bool		any = false;

	for (; !ends_statement(token); token++)
		any |= mark(token);
	return mark(token) || any;
}

/* --- statements of ours ------------------------------------------------------- */

/* What stands where the grammar has stopped: all literals, if there may be a secret. */
static bool
mark_mistaken(TvDdlToken *first)
{
	for (const TvDdlToken *token = first; !ends_statement(token); token++)
	{
		if (tv_ddl_token_is(token, "password") || tv_ddl_token_is(token, "unlock") ||
			tv_ddl_token_is(token, "restore") || holds_pin(token))
			return mark_rest(first);
	}
	return false;
}

static bool
mark_ours(TvDdlToken *first, const TvDdlStatement *statement)
{
	TvDdlToken *last = first + (statement->end - first);
	bool		any = false;

	for (TvDdlToken *token = first; token < last; token++)
	{
		if (token == statement->secret || holds_pin(token))
			any |= mark(token);
	}
	return any;
}

/* --- calls --------------------------------------------------------------------- */

/* name => or name := at token? */
static bool
is_named(const TvDdlToken *token)
{
	/* both operators are one token of kind OTHER */
	return token->kind == TV_TOKEN_WORD && ahead(token, 1)->kind == TV_TOKEN_OTHER;
}

/*
 * The arguments begin at token; the password is the one at this place, or named
 * so.  If names are in another order, one too many is marked.
 */
static bool
mark_argument(TvDdlToken *token, int place)
{
	int			depth = 0;
	int			at = 0;
	bool		begins = true;
	bool		here = place == 0;
	bool		any = false;

	for (; !ends_statement(token) && depth >= 0; token++)
	{
		char		c = token->kind == TV_TOKEN_SYMBOL ? token->symbol : '\0';

		if (begins)
			here = at == place || (is_named(token) && tv_ddl_token_is(token, "password"));
		begins = c == ',' && depth == 0;
		if (begins)
			at++;
		depth += (c == '(' || c == '[') - (c == ')' || c == ']');
		if (here && !begins)
			any |= mark(token);
	}
	if (token->kind == TV_TOKEN_BROKEN)
		any |= mark(token);
	return any;
}

/* CALL [ schema. ] procedure ( arguments ) */
static bool
mark_call(TvDdlToken *token)
{
	const TvDdlToken *name = NULL;
	bool		any = false;

	for (; !ends_statement(token) && token->symbol != '('; token++)
	{
		if (token->kind == TV_TOKEN_WORD || token->kind == TV_TOKEN_NAME)
			name = token;
	}
	if (name == NULL || ends_statement(token))
		return false;
	for (size_t i = 0; i < sizeof(twins) / sizeof(twins[0]); i++)
	{
		if (strcmp(name->text, twins[i].procedure) == 0)
			return mark_argument(token + 1, twins[i].argument);
	}
	if (strcmp(name->text, "create_master_key") != 0)
		return false;
	for (; !ends_statement(token); token++)
		any |= holds_pin(token) && mark(token);
	return any;
}

/* --- statements of the server ---------------------------------------------------- */

/* CREATE or ALTER ROLE ... PASSWORD 'p' */
static bool
mark_role_password(TvDdlToken *token)
{
	bool		any = false;

	for (; !ends_statement(token); token++)
	{
		if (tv_ddl_token_is(token, "password"))
			any |= mark(token + 1);
	}
	return any;
}

bool
tv_ddl_body_is_suspect(const char *body)
{
	static const char *const names[] = {"unlock_realm", "grant_vault_password", "set_vault_password", "pin-value"};
	const char *found = body;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (strcasestr(body, names[i]) != NULL)
			return true;
	}
	/* PASSWORD and then what may be a literal, or become one */
	while ((found = strcasestr(found, "password")) != NULL)
	{
		found += strlen("password");
		found += strspn(found, " \t\n\r\f\v");
		if (*found != '\0' && strchr("'$%\\/-", *found) != NULL)
			return true;
		if ((*found == 'e' || *found == 'E') && found[1] == '\'')
			return true;
		if ((*found == 'u' || *found == 'U') && found[1] == '&')
			return true;
	}
	return false;
}

/* DO 'body', CREATE FUNCTION ... AS 'body' */
static bool
mark_bodies(TvDdlToken *token, bool after_as)
{
	bool		any = false;
	bool		as = !after_as;

	for (; !ends_statement(token); token++)
	{
		if (token->kind == TV_TOKEN_STRING && as && tv_ddl_body_is_suspect(token->text))
			any |= mark(token);
		as = !after_as || tv_ddl_token_is(token, "as");
	}
	if (token->kind == TV_TOKEN_BROKEN && tv_ddl_body_is_suspect(token->text))
		any |= mark(token);
	return any;
}

static bool
mark_servers(TvDdlToken *first)
{
	const TvDdlToken *object = ahead(first, 1);

	if (tv_ddl_token_is(first, "call"))
		return !is_last(object) && mark_call(first + 1);
	if (tv_ddl_token_is(first, "do"))
		return mark_bodies(first, false);
	if (!tv_ddl_token_is(first, "create") && !tv_ddl_token_is(first, "alter"))
		return false;
	if (tv_ddl_token_is(object, "or"))
		object = ahead(object, 2);
	if (tv_ddl_token_is(object, "function") || tv_ddl_token_is(object, "procedure"))
		return mark_bodies(first, true);
	if (tv_ddl_token_is(object, "role") || tv_ddl_token_is(object, "group") ||
		(tv_ddl_token_is(object, "user") && !tv_ddl_token_is(ahead(object, 1), "mapping")))
		return mark_role_password(first);
	return false;
}

/* --- texts ------------------------------------------------------------------------ */

static bool
mark_statement(TvDdlToken *first)
{
	TvDdlStatement statement;
	const TvDdlToken *wrong;

	switch (tv_ddl_match(first, &statement, &wrong))
	{
		case TV_DDL_NOT_OURS:
			return mark_servers(first);
		case TV_DDL_OURS:
			return mark_ours(first, &statement);
		case TV_DDL_WRONG:
			return mark_mistaken(first);
	}
	return false;
}

bool
tv_ddl_mark_secrets(TvDdlToken *tokens)
{
	bool		any = false;
	bool		begins = true;

	for (TvDdlToken *token = tokens; !is_last(token); token++)
	{
		if (begins)
			any |= mark_statement(token);
		begins = (token->kind == TV_TOKEN_SYMBOL && token->symbol == ';') ||
			tv_ddl_token_is(token, "atomic");
	}
	return any;
}

bool
tv_ddl_mark_suspects(TvDdlToken *tokens)
{
	bool		any = false;
	bool		after_password = false;

	for (TvDdlToken *token = tokens;; token++)
	{
		if (tv_ddl_token_is(token, "password"))
			after_password = true;
		else if (token->kind == TV_TOKEN_SYMBOL && token->symbol == ';')
			after_password = false;
		else if (after_password || holds_pin(token) ||
				 (token->kind == TV_TOKEN_STRING && tv_ddl_body_is_suspect(token->text)))
			any |= mark(token);
		if (is_last(token))
			return any;
	}
}
