/*
 * tv_ddl_parse.c
 *	  The server's parser and scanner, called from outside.
 */
#include "postgres.h"

#include "ddl/tv_ddl_parse.h"

#include "mb/pg_wchar.h"
#include "nodes/parsenodes.h"
#include "parser/gramparse.h"
#include "utils/guc.h"

#include "base/tv_hot.h"

/* The server's own codes for its keywords, as they were when we were compiled. */
#define PG_KEYWORD(name, value, category, collabel) value,
static const uint16 compiled_tokens[] = {
#include "parser/kwlist.h"
};
#undef PG_KEYWORD

/* What the grammar is given first in another mode than that of whole statements. */
static pg_noinline void
begin_with_mode(base_yy_extra_type *extra, RawParseMode mode)
{
	/* indexed by RawParseMode */
	static const int mode_token[] = {
		0,
		MODE_TYPE_NAME,
		MODE_PLPGSQL_EXPR,
		MODE_PLPGSQL_ASSIGN1,
		MODE_PLPGSQL_ASSIGN2,
		MODE_PLPGSQL_ASSIGN3
	};

	extra->have_lookahead = true;
	extra->lookahead_token = mode_token[mode];
	extra->lookahead_yylloc = 0;
	extra->lookahead_end = NULL;
}

/* What every text needs of the server, side by side: in the linker's table these lie in six cache lines. */
static TV_HOT_DATA struct
{
	const ScanKeywordList *keywords;
	const uint16 *tokens;
	core_yyscan_t (*scanner_init) (const char *text, core_yy_extra_type *extra,
								   const ScanKeywordList *keywords, const uint16 *tokens);
	void		(*parser_init) (base_yy_extra_type *extra);
	int			(*parse) (core_yyscan_t scanner);
	void		(*scanner_finish) (core_yyscan_t scanner);
}			server = {&ScanKeywords, ScanKeywordTokens, scanner_init, parser_init, base_yyparse, scanner_finish};

/* Mirrors raw_parser() of PostgreSQL 15, src/backend/parser/parser.c. */
TV_HOT List *
tv_ddl_parse(const char *text, RawParseMode mode)
{
	core_yyscan_t scanner;
	base_yy_extra_type extra;
	int			failed;

	scanner = server.scanner_init(text, &extra.core_yy_extra, server.keywords, server.tokens);
	extra.have_lookahead = false;
	if (unlikely(mode != RAW_PARSE_DEFAULT))
		begin_with_mode(&extra, mode);
	server.parser_init(&extra);
	failed = server.parse(scanner);
	server.scanner_finish(scanner);
	return failed ? NIL : extra.parsetree;
}

/* --- quietly ----------------------------------------------------------------- */

/*
 * Run work(argument): no notices, and a syntax error (or another that the
 * scanner raises for what it reads) only makes this return false.  Nobody's
 * error context sees it.  The text is parsed once more for the real report.
 */
static bool
quietly(void (*work) (void *argument), void *argument, int *position)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorContextCallback *callbacks = error_context_stack;
	int			client_level = client_min_messages;
	int			log_level = log_min_messages;
	volatile bool done = false;

	client_min_messages = ERROR;
	log_min_messages = ERROR;
	error_context_stack = NULL;
	PG_TRY();
	{
		work(argument);
		done = true;
	}
	PG_CATCH();
	{
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		client_min_messages = client_level;
		log_min_messages = log_level;
		error_context_stack = callbacks;
		if (category != ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR) &&
			category != ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) &&
			category != ERRCODE_TO_CATEGORY(ERRCODE_FEATURE_NOT_SUPPORTED))
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		*position = geterrposition();
		FlushErrorState();
	}
	PG_END_TRY();
	client_min_messages = client_level;
	log_min_messages = log_level;
	error_context_stack = callbacks;
	return done;
}

static void
parse_work(void *text)
{
	(void) tv_ddl_parse(text, RAW_PARSE_DEFAULT);
}

bool
tv_ddl_try_parse(const char *text, int *position)
{
	*position = 0;
	return quietly(parse_work, unconstify(char *, text), position);
}

/* --- tokens ------------------------------------------------------------------- */

typedef struct Tokens
{
	const char *text;
	TvDdlToken *token;			/* palloc'd, at least one free */
	Size		count;
	Size		allocated;
} Tokens;

static TvDdlToken *
append(Tokens *tokens)
{
	if (tokens->count == tokens->allocated)
	{
		tokens->allocated *= 2;
		tokens->token = repalloc_huge(tokens->token, tokens->allocated * sizeof(TvDdlToken));
	}
	memset(&tokens->token[tokens->count], 0, sizeof(TvDdlToken));
	return &tokens->token[tokens->count++];
}

static void
set_keyword(TvDdlToken *token, const char *keyword)
{
	int			category = ScanKeywordCategories[ScanKeywordLookup(keyword, &ScanKeywords)];

	token->kind = TV_TOKEN_WORD;
	token->text = keyword;
	token->can_name = category == UNRESERVED_KEYWORD || category == COL_NAME_KEYWORD;
	token->can_name_role = category != RESERVED_KEYWORD ||
		strcmp(keyword, "current_role") == 0 ||
		strcmp(keyword, "current_user") == 0 || strcmp(keyword, "session_user") == 0;
}

/* code: as returned by base_yylex; token->start is set. */
static void
classify(TvDdlToken *token, int code, const YYSTYPE *value, const char *text)
{
	switch (code)
	{
		case IDENT:
			token->kind = TV_TOKEN_WORD;
			/* "name" or U&"name" */
			if (text[token->start] == '"' ||
				(text[token->start + 1] == '&' && text[token->start + 2] == '"'))
				token->kind = TV_TOKEN_NAME;
			token->can_name = token->can_name_role = true;
			token->text = value->core_yystype.str;
			return;
		case SCONST:
			token->kind = TV_TOKEN_STRING;
			token->text = value->core_yystype.str;
			return;
		case ICONST:
			token->kind = TV_TOKEN_NUMBER;
			token->text = psprintf("%d", value->core_yystype.ival);
			return;
		case FCONST:
			/* digits beyond int4 come as this, too */
			if (value->core_yystype.str[strspn(value->core_yystype.str, "0123456789")] == '\0')
			{
				token->kind = TV_TOKEN_NUMBER;
				token->text = value->core_yystype.str;
				return;
			}
			token->kind = TV_TOKEN_OTHER;
			return;
		case PARAM:
			token->kind = TV_TOKEN_PARAMETER;
			return;
		case BCONST:
		case XCONST:
		case Op:
		case TYPECAST:
		case DOT_DOT:
		case COLON_EQUALS:
		case EQUALS_GREATER:
		case LESS_EQUALS:
		case GREATER_EQUALS:
		case NOT_EQUALS:
			token->kind = TV_TOKEN_OTHER;
			return;
		default:
			break;
	}
	if (code < 256)
	{
		token->kind = TV_TOKEN_SYMBOL;
		token->symbol = (char) code;
		return;
	}
	set_keyword(token, value->core_yystype.keyword);
}

/* Append all tokens of the text; throws what the scanner throws. */
static void
scan(void *argument)
{
	Tokens	   *tokens = argument;
	base_yy_extra_type extra;
	core_yyscan_t scanner = scanner_init(tokens->text, &extra.core_yy_extra,
										 &ScanKeywords, ScanKeywordTokens);
	YYSTYPE		value;
	YYLTYPE		location;
	int			code;

	extra.have_lookahead = false;
	while ((code = base_yylex(&value, &location, scanner)) != 0)
	{
		TvDdlToken *token = append(tokens);

		token->start = location;
		/* the scanner has put a zero byte after the token */
		token->end = location + strlen(extra.core_yy_extra.scanbuf + location);
		classify(token, code, &value, tokens->text);
	}
	scanner_finish(scanner);
}

TvDdlToken *
tv_ddl_tokenize(const char *text)
{
	Tokens		tokens = {text};
	int			position = 0;
	bool		complete;
	TvDdlToken *last;

	tokens.allocated = 64;
	tokens.token = palloc(tokens.allocated * sizeof(TvDdlToken));
	complete = quietly(scan, &tokens, &position);
	last = append(&tokens);
	last->kind = complete ? TV_TOKEN_END : TV_TOKEN_BROKEN;
	last->start = last->end = strlen(text);
	if (!complete)
		last->text = text + (last == tokens.token ? 0 : last[-1].end);
	return tokens.token;
}

/* Scan text and throw the scanner's error; for texts with a broken token. */
static void
throw_scan_error(const char *text)
{
	Tokens		tokens = {text};

	tokens.allocated = 64;
	tokens.token = palloc(tokens.allocated * sizeof(TvDdlToken));
	scan(&tokens);
}

int
tv_ddl_errposition(const char *text, int offset)
{
	return errposition(pg_mbstrlen_with_len(text, offset) + 1);
}

void
tv_ddl_throw_syntax_error(const char *text, const TvDdlToken *wrong)
{
	if (wrong->kind == TV_TOKEN_BROKEN)
		throw_scan_error(text);
	if (wrong->start == wrong->end)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("%s at end of input", _("syntax error")),
				 tv_ddl_errposition(text, wrong->start)));
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("%s at or near \"%.*s\"", _("syntax error"),
					wrong->end - wrong->start, text + wrong->start),
			 tv_ddl_errposition(text, wrong->start)));
}

/* --- expressions ---------------------------------------------------------------- */

#define EXPRESSION_PREFIX "ALTER TABLE x ADD CHECK ("

/* A text with blanks for all before start, whose one expression is [start, end). */
static char *
isolated_expression(const char *text, int start, int end)
{
	char	   *isolated = palloc(end + 2);

	Assert(start >= strlen(EXPRESSION_PREFIX));
	memset(isolated, ' ', start);
	memcpy(isolated, EXPRESSION_PREFIX, strlen(EXPRESSION_PREFIX));
	memcpy(isolated + start, text + start, end - start);
	isolated[end] = ')';
	isolated[end + 1] = '\0';
	return isolated;
}

/* The error at hand, which this forgets, as one at its place in text. */
static ErrorData *
error_in_text(const char *text, int start, MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	/* there was a blank for each byte before it; the cursor counts characters */
	if (error->cursorpos > start)
		error->cursorpos -= start - pg_mbstrlen_with_len(text, start);
	return error;
}

Node *
tv_ddl_parse_expression(const char *text, int start, const TvDdlToken *after)
{
	int			end = after[-1].end;
	char	   *isolated = isolated_expression(text, start, end);
	MemoryContext context = CurrentMemoryContext;
	ErrorContextCallback *callbacks = error_context_stack;
	ErrorData  *volatile error = NULL;
	List	   *volatile tree = NIL;
	AlterTableStmt *statement;

	/* the callbacks see the error when its cursor is right */
	error_context_stack = NULL;
	PG_TRY();
	{
		tree = tv_ddl_parse(isolated, RAW_PARSE_DEFAULT);
	}
	PG_CATCH();
	{
		error = error_in_text(text, start, context);
	}
	PG_END_TRY();
	error_context_stack = callbacks;
	if (error != NULL)
	{
		if (error->cursorpos > pg_mbstrlen_with_len(text, end))
			tv_ddl_throw_syntax_error(text, after);
		ThrowErrorData(error);
	}
	statement = castNode(AlterTableStmt, linitial_node(RawStmt, tree)->stmt);
	return castNode(Constraint, linitial_node(AlterTableCmd, statement->cmds)->def)->raw_expr;
}

/* --- is it the grammar we know? ------------------------------------------------ */

static bool
parses_as(const char *text, RawParseMode mode, NodeTag expected)
{
	List	   *tree = tv_ddl_parse(text, mode);
	Node	   *node;

	if (list_length(tree) != 1)
		return false;
	node = linitial(tree);
	return nodeTag(IsA(node, RawStmt) ? ((RawStmt *) node)->stmt : node) == expected;
}

void
tv_ddl_check_grammar(void)
{
	if (ScanKeywords.num_keywords == lengthof(compiled_tokens) &&
		memcmp(ScanKeywordTokens, compiled_tokens, sizeof(compiled_tokens)) == 0 &&
		parses_as("SELECT 1", RAW_PARSE_DEFAULT, T_SelectStmt) &&
		parses_as("int4", RAW_PARSE_TYPE_NAME, T_TypeName) &&
		parses_as("1", RAW_PARSE_PLPGSQL_EXPR, T_SelectStmt) &&
		parses_as("a := 1", RAW_PARSE_PLPGSQL_ASSIGN1, T_PLAssignStmt) &&
		parses_as("a.b := 1", RAW_PARSE_PLPGSQL_ASSIGN2, T_PLAssignStmt) &&
		parses_as("a.b.c := 1", RAW_PARSE_PLPGSQL_ASSIGN3, T_PLAssignStmt))
		return;
	ereport(FATAL,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("tde_vault was compiled for another grammar than this server has"),
			 errhint("Compile tde_vault with the header files of this server's version.")));
}
