/*
 * ddl_tokens.h
 *	  A small scanner in the place of the server's, for tests of the grammar.
 */
#ifndef DDL_TOKENS_H
#define DDL_TOKENS_H

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ddl/tv_ddl_token.h"

#define DDL_TOKENS_MAX 512
#define DDL_TEXT_MAX 4096

typedef struct DdlTokens
{
	TvDdlToken	token[DDL_TOKENS_MAX + 1];
	int			count;
	char		texts[2 * DDL_TEXT_MAX];
} DdlTokens;

static bool
ddl_is_reserved(const char *word)
{
	static const char *const reserved[] = {
		"create", "table", "using", "with", "to", "from", "into", "grant", "only",
		"select", "user", "not", "as", "on", "in", "end", "case", "all", "column", "for", "when"
	};

	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
	{
		if (strcmp(word, reserved[i]) == 0)
			return true;
	}
	return false;
}

/* Where the token that begins at c ends; NULL if its quote is never closed. */
static const char *
ddl_token_end(const char *c)
{
	if (*c == '\'' || *c == '"')
	{
		c = strchr(c + 1, *c);
		return c ? c + 1 : NULL;
	}
	if (c[0] == '=' && c[1] == '>')
		return c + 2;
	if (*c == '$' && isdigit((unsigned char) c[1]))
		return c + 1 + strspn(c + 1, "0123456789");
	if (isdigit((unsigned char) *c))
		return c + strspn(c, "0123456789");
	if (!isalpha((unsigned char) *c) && *c != '_')
		return c + 1;
	while (isalnum((unsigned char) *c) || *c == '_')
		c++;
	return c;
}

static void
ddl_fill(TvDdlToken *token, const char *from, const char *to, char *text)
{
	bool		quoted = *from == '\'' || *from == '"';
	size_t		n = (size_t) (to - from) - (quoted ? 2 : 0);

	memcpy(text, from + (quoted ? 1 : 0), n);
	text[n] = '\0';
	token->text = text;
	if (quoted)
		token->kind = *from == '\'' ? TV_TOKEN_STRING : TV_TOKEN_NAME;
	else if (isalpha((unsigned char) *from) || *from == '_')
	{
		token->kind = TV_TOKEN_WORD;
		for (char *c = text; *c != '\0'; c++)
			*c = (char) tolower((unsigned char) *c);
		token->can_name = token->can_name_role = !ddl_is_reserved(text);
	}
	else if (isdigit((unsigned char) *from))
		token->kind = TV_TOKEN_NUMBER;
	else if (*from == '$' && n > 1)
		token->kind = TV_TOKEN_PARAMETER;
	else if (n > 1)
		token->kind = TV_TOKEN_OTHER;
	else
	{
		token->kind = TV_TOKEN_SYMBOL;
		token->symbol = *from;
	}
}

/* The text is at most DDL_TEXT_MAX bytes; tokens beyond the array are cut off. */
__attribute__((unused))
static const TvDdlToken *
ddl_tokenize(DdlTokens *tokens, const char *text)
{
	const char *c = text;
	char	   *copy = tokens->texts;
	TvDdlTokenKind last = TV_TOKEN_END;

	memset(tokens, 0, sizeof(*tokens));
	while (tokens->count < DDL_TOKENS_MAX)
	{
		TvDdlToken *token = &tokens->token[tokens->count];
		const char *end;

		while (isspace((unsigned char) *c))
			c++;
		if (*c == '\0')
			break;
		end = ddl_token_end(c);
		if (end == NULL)
		{
			last = TV_TOKEN_BROKEN;
			break;
		}
		ddl_fill(token, c, end, copy);
		copy += strlen(copy) + 1;
		token->start = (int) (c - text);
		token->end = (int) (end - text);
		tokens->count++;
		c = end;
	}
	tokens->token[tokens->count].kind = last;
	tokens->token[tokens->count].text = last == TV_TOKEN_BROKEN ? c : NULL;
	tokens->token[tokens->count].start = tokens->token[tokens->count].end = (int) (c - text);
	return tokens->token;
}

#endif							/* DDL_TOKENS_H */
