/*
 * parsetree.c
 *	  Do two parsers make the same of a text?
 *
 * CREATE FUNCTION parsetree_differs(sql text, mode int) RETURNS text
 * returns NULL if raw_parser() and the server's grammar, called directly,
 * give the same trees with the same locations, or the same error with the same
 * text and cursor; else what differs.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/nodes.h"
#include "nodes/parsenodes.h"
#include "parser/gramparse.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(parsetree_differs);
PG_FUNCTION_INFO_V1(parsetree_time);

/* raw_parser() of PostgreSQL 15, from the parts that the server exports. */
static List *
server_parser(const char *text, RawParseMode mode)
{
	static const int mode_token[] = {
		0, MODE_TYPE_NAME, MODE_PLPGSQL_EXPR,
		MODE_PLPGSQL_ASSIGN1, MODE_PLPGSQL_ASSIGN2, MODE_PLPGSQL_ASSIGN3
	};
	base_yy_extra_type extra;
	core_yyscan_t scanner = scanner_init(text, &extra.core_yy_extra,
										 &ScanKeywords, ScanKeywordTokens);
	int			failed;

	extra.have_lookahead = mode != RAW_PARSE_DEFAULT;
	extra.lookahead_token = mode_token[mode];
	extra.lookahead_yylloc = 0;
	extra.lookahead_end = NULL;
	parser_init(&extra);
	failed = base_yyparse(scanner);
	scanner_finish(scanner);
	return failed ? NIL : extra.parsetree;
}

typedef struct Outcome
{
	List	   *tree;
	ErrorData  *error;			/* NULL: none */
	char	   *printed;		/* the tree with its locations */
} Outcome;

static void
parse(List *(*parser) (const char *text, RawParseMode mode),
	  const char *text, RawParseMode mode, Outcome *outcome)
{
	MemoryContext context = CurrentMemoryContext;

	memset(outcome, 0, sizeof(*outcome));
	PG_TRY();
	{
		outcome->tree = parser(text, mode);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		outcome->error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	/* nodes that the server cannot print are told apart by equal() alone */
	if (outcome->error == NULL)
		outcome->printed = nodeToString(outcome->tree);
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static const char *
difference(const Outcome *a, const Outcome *b)
{
	if ((a->error == NULL) != (b->error == NULL))
		return psprintf("one fails: %s", a->error ? a->error->message : b->error->message);
	if (a->error != NULL)
	{
		if (a->error->sqlerrcode != b->error->sqlerrcode ||
			!same_text(a->error->message, b->error->message) ||
			!same_text(a->error->detail, b->error->detail) ||
			!same_text(a->error->hint, b->error->hint))
			return psprintf("errors: %s / %s", a->error->message, b->error->message);
		if (a->error->cursorpos != b->error->cursorpos)
			return psprintf("cursors: %d / %d", a->error->cursorpos, b->error->cursorpos);
		return NULL;
	}
	if (!equal(a->tree, b->tree))
		return "trees";
	if (strcmp(a->printed, b->printed) != 0)
		return "locations";
	return NULL;
}

Datum
parsetree_differs(PG_FUNCTION_ARGS)
{
	char	   *sql = text_to_cstring(PG_GETARG_TEXT_PP(0));
	RawParseMode mode = PG_GETARG_INT32(1);
	int			client_level = client_min_messages;
	int			log_level = log_min_messages;
	Outcome		ours;
	Outcome		servers;
	const char *found;

	/* neither the scanner's notices nor warnings about nodes without a printer */
	client_min_messages = ERROR;
	log_min_messages = ERROR;
	parse(raw_parser, sql, mode, &ours);
	parse(server_parser, sql, mode, &servers);
	client_min_messages = client_level;
	log_min_messages = log_level;
	found = difference(&ours, &servers);
	if (found == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(found));
}

/* parsetree_time(sql text, ours bool, n int): parse n times */
Datum
parsetree_time(PG_FUNCTION_ARGS)
{
	char	   *sql = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		ours = PG_GETARG_BOOL(1);
	int			n = PG_GETARG_INT32(2);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "parsetree",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);

	for (int i = 0; i < n; i++)
	{
		if (ours)
			(void) raw_parser(sql, RAW_PARSE_DEFAULT);
		else
			(void) server_parser(sql, RAW_PARSE_DEFAULT);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
	PG_RETURN_VOID();
}
