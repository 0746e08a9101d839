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

#include "ddl/tv_ddl_parse.h"
#include "ddl/tv_ddl_script.h"
#include "ddl/tv_ddl_suspect.h"
#include "ddl/tv_ddl_tree.h"

/* A string that may be a password is not repeated, as messages are logged. */
static void
throw_syntax_error(const char *text, const TvDdlToken *wrong, bool secret)
{
	if (secret && (wrong->kind == TV_TOKEN_STRING || wrong->kind == TV_TOKEN_BROKEN))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("%s", _("syntax error")),
				 tv_ddl_errposition(text, wrong->start)));
	tv_ddl_throw_syntax_error(text, wrong);
}

/* What stands before the mistake may have one of its own; that comes first. */
static void
throw_mistake(const char *text, const TvDdlScript *script)
{
	const TvDdlMistake *mistake = &script->mistake;

	(void) tv_ddl_parse(tv_ddl_ordinary_text(text, mistake->statement->start, script),
						RAW_PARSE_DEFAULT);
	throw_syntax_error(text, mistake->wrong, script->has_secret);
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

/* The statement of tree that the token stands in, or NULL. */
static RawStmt *
statement_of(List *tree, const TvDdlToken *token)
{
	ListCell   *lc;

	foreach(lc, tree)
	{
		if (stands_in(token, lfirst_node(RawStmt, lc)))
			return lfirst(lc);
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

	while (statement != NULL || clause != NULL)
	{
		const TvDdlStatement *ours = statement ? lfirst(statement) : NULL;
		const TvDdlClause *part = clause ? lfirst(clause) : NULL;
		RawStmt    *raw;

		if (part == NULL || (ours != NULL && ours->first->start < part->first->start))
		{
			raw = statement_of(tree, ours->first);
			if (raw == NULL || !IsA(raw->stmt, ListenStmt))
				throw_syntax_error(text, ours->first, false);
			raw->stmt = tv_ddl_make_call(text, ours);
			statement = lnext(script->statements, statement);
		}
		else
		{
			raw = statement_of(tree, part->first);
			if (raw == NULL || !tv_ddl_apply_clause(text, part, raw))
				throw_syntax_error(text, part->first, false);
			clause = lnext(script->clauses, clause);
		}
	}
}

/*
 * What of ours is in the text.  False: nothing, and the tokens of what may be
 * megabytes of ordinary SQL are forgotten.
 */
static bool
read_script(const char *text, TvDdlScript *script)
{
	MemoryContext tokens = AllocSetContextCreate(CurrentMemoryContext, "tde_vault tokens",
												 ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(tokens);

	tv_ddl_read_script(tv_ddl_tokenize(text), script);
	MemoryContextSwitchTo(before);
	if (script->mistake.statement != NULL || script->statements != NIL ||
		script->clauses != NIL || script->columns != NIL)
		return true;
	MemoryContextDelete(tokens);
	return false;
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

/* While an error is being reported: do not log the text. */
static void
hide_statement(void *arg)
{
	errhidestmt(true);
}

static List *
parse_with_ours(const char *text)
{
	TvDdlScript script;
	ErrorContextCallback hide = {error_context_stack, hide_statement, NULL};
	List	   *tree;

	if (!read_script(text, &script))
		return tv_ddl_parse(text, RAW_PARSE_DEFAULT);
	if (script.has_secret)
		error_context_stack = &hide;
	tree = parse_script(text, &script);
	error_context_stack = hide.previous;
	return tree;
}

List *
tv_ddl_raw_parser(const char *text, RawParseMode mode)
{
	if (mode != RAW_PARSE_DEFAULT || !tv_ddl_suspect(text))
		return tv_ddl_parse(text, mode);
	return parse_with_ours(text);
}
