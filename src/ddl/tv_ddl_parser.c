/*
 * tv_ddl_parser.c
 *	  Takes the place of the server's raw_parser().
 *
 * A text without our statements is parsed by the server's grammar as it is.  A
 * text with them is, too, all at once, with LISTEN in the place of each; then
 * the LISTENs are replaced.  So positions, lengths and error cursors are those
 * that the server computes.
 */
#include "postgres.h"

#include "ddl/tv_ddl_parser.h"

#include "mb/pg_wchar.h"
#include "nodes/parsenodes.h"
#include "utils/memutils.h"

#include "base/tv_hot.h"
#include "ddl/tv_ddl_cover.h"
#include "ddl/tv_ddl_mask.h"
#include "ddl/tv_ddl_parse.h"
#include "ddl/tv_ddl_script.h"
#include "ddl/tv_ddl_tree.h"

/* What stands before the mistake may have one of its own; that comes first. */
static void
throw_mistake(const char *text, const TvDdlScript *script)
{
	const TvDdlMistake *mistake = &script->mistake;

	(void) tv_ddl_parse(tv_ddl_ordinary_text(text, mistake->statement->start, script),
						RAW_PARSE_DEFAULT);
	tv_ddl_throw_syntax_error(text, mistake->wrong);
}

/*
 * A column marked ENCRYPTED is known by where the server's grammar stops: the
 * word may be a name, so that nothing short of parsing could tell.
 */
static void
refuse_encrypted_columns(const char *text, const char *ordinary, const List *columns)
{
	ListCell   *lc;
	int			position;

	if (columns == NIL || tv_ddl_try_parse(ordinary, &position))
		return;
	foreach(lc, columns)
	{
		const TvDdlToken *token = lfirst(lc);

		if (position == pg_mbstrlen_with_len(text, token->start) + 1)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column encryption is not supported yet"),
					 errhint("Encrypt the whole table: CREATE TABLE ... USING tde_heap."),
					 tv_ddl_errposition(text, token->start)));
	}
}

static bool
stands_in(const TvDdlToken *token, const RawStmt *raw)
{
	return token->start >= raw->stmt_location &&
		(raw->stmt_len == 0 || token->start < raw->stmt_location + raw->stmt_len);
}

/*
 * The statement of tree, at *place or behind it, that the token stands in, or
 * NULL.  Tokens are asked for in the order of the text, so that a script of many
 * statements takes time for each, not for each pair.
 */
static RawStmt *
statement_of(List *tree, int *place, const TvDdlToken *token)
{
	for (; *place < list_length(tree); (*place)++)
	{
		RawStmt    *raw = list_nth_node(RawStmt, tree, *place);

		if (stands_in(token, raw))
			return raw;
	}
	return NULL;
}

/*
 * Put what is ours into the tree, in the order of the text, so that the first
 * error is reported.
 */
static void
complete_tree(const char *text, const TvDdlScript *script, List *tree)
{
	ListCell   *statement = list_head(script->statements);
	ListCell   *clause = list_head(script->clauses);
	int			place = 0;

	while (statement != NULL || clause != NULL)
	{
		const TvDdlStatement *ours = statement ? lfirst(statement) : NULL;
		const TvDdlClause *part = clause ? lfirst(clause) : NULL;
		RawStmt    *raw;

		if (part == NULL || (ours != NULL && ours->first->start < part->first->start))
		{
			raw = statement_of(tree, &place, ours->first);
			if (raw == NULL || !IsA(raw->stmt, ListenStmt))
				tv_ddl_throw_syntax_error(text, ours->first);
			raw->stmt = tv_ddl_make_call(text, ours);
			statement = lnext(script->statements, statement);
		}
		else
		{
			raw = statement_of(tree, &place, part->first);
			if (raw == NULL || !tv_ddl_apply_clause(text, part, raw))
				tv_ddl_throw_syntax_error(text, part->first);
			clause = lnext(script->clauses, clause);
		}
	}
}

/* Is anything of ours in the text that script is about? */
static bool
has_ours(const TvDdlScript *script)
{
	return script->mistake.statement != NULL || script->statements != NIL ||
		script->clauses != NIL || script->columns != NIL;
}

/* What is ours in the text is there. */
static List *
parse_script(const char *text, const TvDdlScript *script)
{
	char	   *ordinary;
	List	   *tree;

	if (script->mistake.statement != NULL)
		throw_mistake(text, script);
	ordinary = tv_ddl_ordinary_text(text, strlen(text), script);
	refuse_encrypted_columns(text, ordinary, script->columns);
	tree = tv_ddl_parse(ordinary, RAW_PARSE_DEFAULT);
	complete_tree(text, script, tree);
	return tree;
}

/*
 * Parse a text whose tokens are known.  If nothing of ours is in it, the tokens
 * of what may be megabytes of ordinary SQL are forgotten.
 */
static List *
parse_tokens(const char *text, const TvDdlToken *tokens, MemoryContext context)
{
	TvDdlScript script;
	MemoryContext before = MemoryContextSwitchTo(context);

	tv_ddl_read_script(tokens, &script);
	MemoryContextSwitchTo(before);
	if (has_ours(&script))
		return parse_script(text, &script);
	MemoryContextDelete(context);
	return tv_ddl_parse(text, RAW_PARSE_DEFAULT);
}

/*
 * A text that has been masked: what it hides stands in the tokens of our
 * statements as a reference, and is put into the tree of others.
 */
static List *
parse_masked(const char *text, TvDdlHidden *hidden)
{
	TvDdlToken *tokens = tv_ddl_tokenize(text);
	List	   *tree;

	tv_ddl_put_references(tokens, hidden);
	tree = parse_tokens(text, tokens,
						AllocSetContextCreate(CurrentMemoryContext, "tde_vault script",
											  ALLOCSET_SMALL_SIZES));
	tv_ddl_place_secrets(text, tree, hidden);
	return tree;
}

static List *
parse_suspect(const char *text)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "tde_vault tokens",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	TvDdlToken *tokens = tv_ddl_tokenize(text);
	TvDdlHidden *hidden;
	char	   *masked;

	MemoryContextSwitchTo(before);
	if (!tv_ddl_mark_secrets(tokens))
		return parse_tokens(text, tokens, context);
	masked = pstrdup(text);
	hidden = tv_ddl_hide(masked, tokens);
	MemoryContextDelete(context);
	return parse_masked(masked, hidden);
}

/* Parse; if that fails and the text may hold a secret, hide that, too. */
static List *
parse_carefully(const char *text, TvDdlHidden *hidden)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *volatile tree = NIL;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		tree = hidden ? parse_masked(text, hidden) : parse_suspect(text);
	}
	PG_CATCH();
	{
		if (!tv_ddl_body_is_suspect(text))
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (error != NULL)
	{
		tv_ddl_hide_suspects(text, context);
		ReThrowError(error);
	}
	return tree;
}

static pg_noinline List *
look_closer(const char *text)
{
	TvDdlHidden *hidden;

	if (!tv_ddl_look_closer(text))
		return tv_ddl_parse(text, RAW_PARSE_DEFAULT);
	(void) tv_ddl_message_hides(text, &hidden);
	return parse_carefully(text, hidden);
}

TV_HOT List *
tv_ddl_raw_parser(const char *text, RawParseMode mode)
{
	if (likely(text == tv_ddl_harmless_message || mode != RAW_PARSE_DEFAULT))
		return tv_ddl_parse(text, mode);
	return look_closer(text);
}
