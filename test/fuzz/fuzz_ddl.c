/*
 * fuzz_ddl.c
 *	  Arbitrary text as a statement of ours: no crash, nothing read beyond the
 *	  last token, and whatever is ours would have been suspected.
 */
/* fuzz-needs: ddl */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/ddl_tokens.h"
#include "ddl/tv_ddl_grammar.h"
#include "ddl/tv_ddl_mask.h"
#include "ddl/tv_ddl_suspect.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Fail loudly, also when assert() is compiled out. */
static void
require(int condition)
{
	if (!condition)
		abort();
}

static void
check_statement(const DdlTokens *all, const TvDdlToken *first, const char *text)
{
	const TvDdlToken *last = &all->token[all->count];
	const TvDdlToken *wrong = NULL;
	TvDdlStatement statement;

	switch (tv_ddl_match(first, &statement, &wrong))
	{
		case TV_DDL_NOT_OURS:
			break;
		case TV_DDL_OURS:
			require(statement.first == first && statement.end > first && statement.end <= last);
			require(statement.end->kind == TV_TOKEN_END || statement.end->symbol == ';');
			require(tv_ddl_suspect(text));
			break;
		case TV_DDL_WRONG:
			require(wrong > first && wrong <= last);
			break;
	}
}

static void
check_table(const DdlTokens *all, const TvDdlToken *first)
{
	const TvDdlToken *last = &all->token[all->count];
	const TvDdlToken *token = tv_ddl_after_created_name(first);

	if (token == NULL)
		return;
	require(token > first + 2 && token <= last);
	for (; token < last; token++)
	{
		const TvDdlToken *cipher = NULL;
		const TvDdlToken *wrong = NULL;

		if (!tv_ddl_token_is(token, "encryption"))
			continue;
		switch (tv_ddl_match_clause(token, &cipher, &wrong))
		{
			case TV_DDL_NOT_OURS:
				break;
			case TV_DDL_OURS:
				require(cipher < last && cipher->kind == TV_TOKEN_STRING);
				break;
			case TV_DDL_WRONG:
				require(wrong > token && wrong <= last);
				break;
		}
	}
}

/* What is marked can be hidden, and a password of a statement of ours is marked. */
static void
check_marks(DdlTokens *all, bool (*marker) (TvDdlToken *))
{
	TvDdlStatement statement;
	const TvDdlToken *wrong = NULL;
	bool		any = marker(all->token);
	bool		found = false;

	for (int i = 0; i <= all->count; i++)
	{
		const TvDdlToken *token = &all->token[i];

		found |= token->secret;
		require(!token->secret || token->kind == TV_TOKEN_STRING ||
				token->kind == TV_TOKEN_PARAMETER || token->kind == TV_TOKEN_BROKEN);
	}
	require(any == found);
	if (marker == tv_ddl_mark_secrets && tv_ddl_match(all->token, &statement, &wrong) == TV_DDL_OURS &&
		statement.secret != NULL)
		require(statement.secret->secret || strspn(statement.secret->text, "*") == strlen(statement.secret->text));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static DdlTokens tokens;
	char		text[DDL_TEXT_MAX + 1];
	const TvDdlToken *first;

	if (size > DDL_TEXT_MAX)
		size = DDL_TEXT_MAX;
	memcpy(text, data, size);
	text[size] = '\0';
	first = ddl_tokenize(&tokens, text);
	for (int i = 0; i <= tokens.count; i++)
	{
		check_statement(&tokens, first + i, text);
		check_table(&tokens, first + i);
	}
	check_marks(&tokens, tv_ddl_mark_secrets);
	(void) ddl_tokenize(&tokens, text);
	check_marks(&tokens, tv_ddl_mark_suspects);
	return 0;
}
