/*
 * tv_ddl_rule.h
 *	  What the rules of our grammar are made of; private to it.
 *
 * Each rule returns false at the first token that does not fit, and leaves the
 * parser there.
 */
#ifndef TV_DDL_RULE_H
#define TV_DDL_RULE_H

#include <stddef.h>
#include <string.h>

#include "ddl/tv_ddl_grammar.h"

typedef struct Parser
{
	const TvDdlToken *next;
	TvDdlStatement *statement;
} Parser;

typedef bool (*Rule) (Parser *p);

/*
 * The rule for the statement of the vault that begins at first, with the
 * parser behind the words that tell it; NULL: none of them.
 */
extern Rule tv_ddl_vault_rule(Parser *p, const TvDdlToken *first);

/* ALTER DATABASE [ name ] { ENABLE | DISABLE } DATABASE VAULT, before VAULT */
extern bool tv_ddl_vault_switch(Parser *p);

/* --- tokens --- */

static inline bool
is_last(const TvDdlToken *token)
{
	return token->kind == TV_TOKEN_END || token->kind == TV_TOKEN_BROKEN;
}

/* The token n places after token, or the last one of all. */
static inline const TvDdlToken *
ahead(const TvDdlToken *token, int n)
{
	while (n-- > 0 && !is_last(token))
		token++;
	return token;
}

/* Are these the token and the one after it? */
static inline bool
words_at(const TvDdlToken *token, const char *first, const char *second)
{
	return tv_ddl_token_is(token, first) && tv_ddl_token_is(ahead(token, 1), second);
}

/* A column's or table's name, in quotes or a word that may be one. */
static inline bool
is_name(const TvDdlToken *token)
{
	return token->kind == TV_TOKEN_NAME ||
		(token->kind == TV_TOKEN_WORD && token->can_name);
}

/* --- terminals: true if it is next, which it then is past --- */

static inline bool
word(Parser *p, const char *expected)
{
	if (!tv_ddl_token_is(p->next, expected))
		return false;
	p->next = ahead(p->next, 1);
	return true;
}

static inline bool
symbol(Parser *p, char expected)
{
	if (p->next->kind != TV_TOKEN_SYMBOL || p->next->symbol != expected)
		return false;
	p->next = ahead(p->next, 1);
	return true;
}

/* A literal; *value (or NULL): the token. */
static inline bool
string(Parser *p, const TvDdlToken **value)
{
	if (p->next->kind != TV_TOKEN_STRING)
		return false;
	if (value != NULL)
		*value = p->next;
	p->next = ahead(p->next, 1);
	return true;
}

static inline bool
name(Parser *p)
{
	if (!is_name(p->next))
		return false;
	p->next = ahead(p->next, 1);
	return true;
}

static inline bool
role(Parser *p)
{
	if (p->next->kind != TV_TOKEN_NAME &&
		!(p->next->kind == TV_TOKEN_WORD && p->next->can_name_role))
		return false;
	p->next = ahead(p->next, 1);
	return true;
}

static inline bool
qualified_name(Parser *p)
{
	if (!name(p))
		return false;
	while (symbol(p, '.'))
	{
		/* after a dot, any word is a name */
		if (p->next->kind != TV_TOKEN_NAME && p->next->kind != TV_TOKEN_WORD)
			return false;
		p->next = ahead(p->next, 1);
	}
	return true;
}

/* The last token of a statement is not taken. */
static inline bool
end_of_statement(Parser *p)
{
	p->statement->end = p->next;
	return p->next->kind == TV_TOKEN_END ||
		(p->next->kind == TV_TOKEN_SYMBOL && p->next->symbol == ';');
}

/* A literal that must not be seen. */
static inline bool
secret(Parser *p)
{
	return string(p, &p->statement->secret);
}

/* --- arguments of the procedure --- */

/* The tokens [from, p->next) are the argument. */
static inline bool
argument(Parser *p, const char *called, TvDdlArgumentKind kind, const TvDdlToken *from)
{
	TvDdlArgument *added = &p->statement->argument[p->statement->arguments++];

	added->name = called;
	added->kind = kind;
	added->from = from;
	added->to = p->next;
	return true;
}

/* Was it given? */
static inline bool
has_argument(const Parser *p, const char *called)
{
	for (int i = 0; i < p->statement->arguments; i++)
	{
		if (strcmp(p->statement->argument[i].name, called) == 0)
			return true;
	}
	return false;
}

/* The next token, as an argument. */
static inline bool
name_argument(Parser *p, const char *called)
{
	const TvDdlToken *from = p->next;

	return name(p) && argument(p, called, TV_DDL_ARGUMENT_TEXT, from);
}

static inline bool
string_argument(Parser *p, const char *called)
{
	const TvDdlToken *from = p->next;

	return string(p, NULL) && argument(p, called, TV_DDL_ARGUMENT_TEXT, from);
}

static inline bool
role_argument(Parser *p, const char *called)
{
	const TvDdlToken *from = p->next;

	return role(p) && argument(p, called, TV_DDL_ARGUMENT_ROLE, from);
}

#endif							/* TV_DDL_RULE_H */
