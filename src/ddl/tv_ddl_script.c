/*
 * tv_ddl_script.c
 *	  What of ours is in a text of one or more statements.
 *
 * A statement begins at the start of the text and after each semicolon outside
 * parentheses and outside the body of a function (BEGIN ATOMIC ... END).  A
 * mistake about where a statement begins does no harm: no statement of ours,
 * and no clause, is part of a correct ordinary statement, and the server's
 * grammar has the last word on where the ones found really stand.
 */
#include "postgres.h"

#include "ddl/tv_ddl_script.h"

/* Stands for a statement of ours; shorter than any of them. */
#define PLACEHOLDER "LISTEN x"

typedef struct Walk
{
	const TvDdlToken *first;	/* of the statement */
	const TvDdlToken *start;	/* where its CREATE stands: after EXPLAIN */
	int			depth;			/* of parentheses */
	int			body;			/* of BEGIN ATOMIC and CASE in a function's body */
	bool		routine;		/* CREATE FUNCTION or PROCEDURE */
	bool		tables;			/* CREATE SCHEMA: a CREATE TABLE may begin anywhere */
	bool		columns;		/* CREATE TABLE or ALTER TABLE */
	const TvDdlToken *created;	/* after a created table's name, before AS */
} Walk;

static bool
is_symbol(const TvDdlToken *token, char symbol)
{
	return token->kind == TV_TOKEN_SYMBOL && token->symbol == symbol;
}

static bool
is_last(const TvDdlToken *token)
{
	return token->kind == TV_TOKEN_END || token->kind == TV_TOKEN_BROKEN;
}

/* The token where a CREATE can stand: after EXPLAIN and its options. */
static const TvDdlToken *
after_explain(const TvDdlToken *token)
{
	int			depth = 0;

	if (!tv_ddl_token_is(token, "explain"))
		return token;
	for (token++; !is_last(token); token++)
	{
		if (is_symbol(token, '('))
			depth++;
		else if (is_symbol(token, ')'))
			depth--;
		else if (depth == 0 && !tv_ddl_token_is(token, "analyze") &&
				 !tv_ddl_token_is(token, "analyse") && !tv_ddl_token_is(token, "verbose"))
			break;
	}
	return token;
}

static void
begin_statement(Walk *walk, const TvDdlToken *first)
{
	const TvDdlToken *second = is_last(first) ? first : first + 1;

	memset(walk, 0, sizeof(*walk));
	walk->first = first;
	walk->start = after_explain(first);
	if (tv_ddl_token_is(first, "alter"))
		walk->columns = tv_ddl_token_is(second, "table");
	if (!tv_ddl_token_is(first, "create"))
		return;
	if (tv_ddl_token_is(second, "or"))	/* OR REPLACE */
		second += is_last(second + 1) ? 1 : 2;
	walk->routine = tv_ddl_token_is(second, "function") || tv_ddl_token_is(second, "procedure");
	walk->tables = tv_ddl_token_is(second, "schema");
}

/* Follow the nesting in the body of a function, as psql does. */
static void
follow_body(Walk *walk, const TvDdlToken *token)
{
	if (tv_ddl_token_is(token, "atomic") && tv_ddl_token_is(token - 1, "begin"))
		walk->body++;
	else if (walk->body > 0 && !tv_ddl_token_is(token - 1, "as") && !is_symbol(token - 1, '.'))
	{
		if (tv_ddl_token_is(token, "case"))
			walk->body++;
		else if (tv_ddl_token_is(token, "end"))
			walk->body--;
	}
}

static void
add_clause(Walk *walk, TvDdlScript *script, const TvDdlToken *token)
{
	const TvDdlToken *cipher;
	const TvDdlToken *wrong;
	TvDdlClause *clause;

	switch (tv_ddl_match_clause(token, &cipher, &wrong))
	{
		case TV_DDL_NOT_OURS:
			return;
		case TV_DDL_WRONG:
			script->mistake.statement = walk->first;
			script->mistake.wrong = wrong;
			return;
		case TV_DDL_OURS:
			break;
	}
	clause = palloc(sizeof(*clause));
	clause->first = token;
	clause->cipher = cipher;
	clause->created = walk->created[-1].end;
	script->clauses = lappend(script->clauses, clause);
}

/* One token of an ordinary statement. */
static void
ordinary_token(Walk *walk, TvDdlScript *script, const TvDdlToken *token)
{
	if (is_symbol(token, '('))
		walk->depth++;
	else if (is_symbol(token, ')') && walk->depth > 0)
		walk->depth--;
	if (token->kind != TV_TOKEN_WORD)
		return;
	if (walk->routine)
		follow_body(walk, token);
	if (token == walk->start || (walk->tables && walk->depth == 0))
	{
		if (tv_ddl_token_is(token, "create"))
			walk->created = tv_ddl_after_created_name(token);
		if (walk->created != NULL)
			walk->columns = true;
	}
	if (walk->columns && tv_ddl_token_is(token, "encrypted"))
		script->columns = lappend(script->columns, (void *) token);
	if (walk->depth > 0 || walk->created == NULL || token < walk->created)
		return;
	if (tv_ddl_token_is(token, "as"))
		walk->created = NULL;
	else if (tv_ddl_token_is(token, "encryption"))
		add_clause(walk, script, token);
}

/* Read the statement at first; returns the token where it ends. */
static const TvDdlToken *
read_ordinary(const TvDdlToken *first, TvDdlScript *script)
{
	Walk		walk;
	const TvDdlToken *token;

	begin_statement(&walk, first);
	for (token = first; !is_last(token) && script->mistake.statement == NULL; token++)
	{
		if (is_symbol(token, ';') && walk.depth == 0 && walk.body == 0)
			break;
		ordinary_token(&walk, script, token);
	}
	return token;
}

void
tv_ddl_read_script(const TvDdlToken *tokens, TvDdlScript *script)
{
	const TvDdlToken *token = tokens;

	memset(script, 0, sizeof(*script));
	for (;;)
	{
		TvDdlStatement statement;
		const TvDdlToken *wrong = NULL;
		TvDdlStatement *copy;

		switch (tv_ddl_match(token, &statement, &wrong))
		{
			case TV_DDL_NOT_OURS:
				token = read_ordinary(token, script);
				break;
			case TV_DDL_OURS:
				copy = palloc(sizeof(*copy));
				*copy = statement;
				script->statements = lappend(script->statements, copy);
				token = statement.end;
				break;
			case TV_DDL_WRONG:
				script->mistake.statement = token;
				script->mistake.wrong = wrong;
				break;
		}
		if (script->mistake.statement != NULL || is_last(token))
			return;
		token++;				/* past the semicolon */
	}
}

char *
tv_ddl_ordinary_text(const char *text, int length, const TvDdlScript *script)
{
	char	   *copy = pnstrdup(text, length);
	ListCell   *lc;

	foreach(lc, script->statements)
	{
		const TvDdlStatement *statement = lfirst(lc);

		if (statement->first->start >= length)
			break;
		memset(copy + statement->first->start, ' ', statement->end[-1].end - statement->first->start);
		memcpy(copy + statement->first->start, PLACEHOLDER, strlen(PLACEHOLDER));
	}
	foreach(lc, script->clauses)
	{
		const TvDdlClause *clause = lfirst(lc);

		if (clause->first->start >= length)
			break;
		memset(copy + clause->first->start, ' ', clause->cipher->end - clause->first->start);
	}
	return copy;
}
