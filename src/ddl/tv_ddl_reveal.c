/*
 * tv_ddl_reveal.c
 *	  Secrets of statements in parse trees: references in, and out when the
 *	  statement runs.
 */
#include "postgres.h"

#include "ddl/tv_ddl_cover.h"

#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"

#include "base/tv_secret.h"
#include "ddl/tv_ddl_parse.h"
#include "ddl/tv_ddl_tree.h"

/* --- in ------------------------------------------------------------------------------- */

void
tv_ddl_put_references(TvDdlToken *tokens, TvDdlHidden *hidden)
{
	TvDdlToken *token = tokens;

	for (int i = 0; i < hidden->count; i++)
	{
		while (token->kind != TV_TOKEN_END && token->kind != TV_TOKEN_BROKEN &&
			   token->start < hidden->secret[i].start)
			token++;
		if (token->start != hidden->secret[i].start || token->kind != TV_TOKEN_STRING)
			continue;
		token->text = tv_ddl_refer(hidden, &hidden->secret[i]);
		token->secret = true;
		/* only a statement of ours takes it from the token */
		hidden->secret[i].placed = false;
	}
}

/* Put a reference for the secret at or behind start, before end, into *value. */
static void
place(TvDdlHidden *hidden, int start, int end, char **value)
{
	TvDdlSecret *secret = tv_ddl_secret_from(hidden, start);

	if (secret != NULL && secret->start < end)
		*value = tv_ddl_refer(hidden, secret);
}

static bool
place_in_expression(Node *node, void *hidden)
{
	if (node == NULL)
		return false;
	if (IsA(node, A_Const))
	{
		A_Const    *constant = (A_Const *) node;

		if (!constant->isnull && IsA(&constant->val, String) && constant->location >= 0)
			place(hidden, constant->location, constant->location + 1, &constant->val.sval.sval);
		return false;
	}
	return raw_expression_tree_walker(node, place_in_expression, hidden);
}

/* What the options have as this one: strings, or lists of them. */
static void
place_in_options(TvDdlHidden *hidden, List *options, const char *name, int end)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);
		Node	   *value = option->arg;

		if (strcmp(option->defname, name) != 0 || value == NULL)
			continue;
		if (IsA(value, List))
			value = linitial((List *) value);
		if (IsA(value, String))
			place(hidden, option->location, end, &((String *) value)->sval);
	}
}

/* The options of stmt that may hold a secret, and which of them; NULL: none. */
static List *
secret_options(Node *stmt, const char **name)
{
	*name = "as";
	if (IsA(stmt, DoStmt))
		return ((DoStmt *) stmt)->args;
	if (IsA(stmt, CreateFunctionStmt))
		return ((CreateFunctionStmt *) stmt)->options;
	*name = "password";
	if (IsA(stmt, CreateRoleStmt))
		return ((CreateRoleStmt *) stmt)->options;
	if (IsA(stmt, AlterRoleStmt))
		return ((AlterRoleStmt *) stmt)->options;
	return NIL;
}

/* A statement of ours has taken the references of its tokens. */
static void
note_placed(TvDdlHidden *hidden, int start, int end)
{
	TvDdlSecret *secret = tv_ddl_secret_from(hidden, start);

	for (; secret != NULL && secret < hidden->secret + hidden->count && secret->start < end; secret++)
		secret->placed = true;
}

static void
place_in_statement(TvDdlHidden *hidden, RawStmt *raw)
{
	int			start = raw->stmt_location;
	int			end = raw->stmt_len > 0 ? start + raw->stmt_len : PG_INT32_MAX;
	const char *name;
	List	   *options = secret_options(raw->stmt, &name);

	if (tv_ddl_call_name(raw->stmt) != NULL)
		note_placed(hidden, start, end);
	else if (IsA(raw->stmt, CallStmt))
		(void) place_in_expression((Node *) ((CallStmt *) raw->stmt)->funccall, hidden);
	else
		place_in_options(hidden, options, name, end);
}

/* The server logs what a client sends for $1 (log_parameter_max_length). */
static void
refuse_parameter(const char *text, TvDdlHidden *hidden)
{
	TvDdlHidden *of_message;

	if (hidden->parameter < 0 || !tv_ddl_message_hides(text, &of_message))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a password cannot be sent as a parameter"),
			 errdetail("The server may log parameters."),
			 errhint("Write it as a literal; that is kept out of every log."),
			 tv_ddl_errposition(text, hidden->parameter)));
}

void
tv_ddl_place_secrets(const char *text, List *tree, TvDdlHidden *hidden)
{
	ListCell   *lc;

	refuse_parameter(text, hidden);
	foreach(lc, tree)
		place_in_statement(hidden, lfirst_node(RawStmt, lc));
	for (int i = 0; i < hidden->count; i++)
	{
		if (!hidden->secret[i].placed)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a password cannot be given here"),
					 errdetail("It would be kept as part of another statement."),
					 errhint("Give the statement that has the password by itself."),
					 tv_ddl_errposition(text, hidden->secret[i].start)));
	}
}

/* --- out -------------------------------------------------------------------------------- */

/* A walk that looks for references, and may put secrets in the place of them. */
typedef struct Reveal
{
	bool		change;
	bool		found;
} Reveal;

/* The secret that text refers to, palloc'd, if it is to be put there; else NULL. */
static char *
revealed(Reveal *reveal, const char *text)
{
	const TvDdlSecret *secret;

	if (!tv_ddl_find_secret(text, &secret))
		return NULL;
	reveal->found = true;
	return reveal->change ? pnstrdup(secret->value, secret->length) : NULL;
}

static bool
reveal_in_expression(Node *node, void *context)
{
	Const	   *constant = (Const *) node;
	char	   *value;
	char	   *string;

	if (node == NULL)
		return false;
	if (!IsA(node, Const))
		return expression_tree_walker(node, reveal_in_expression, context);
	if (constant->constisnull)
		return false;
	if (constant->consttype == UNKNOWNOID)
		string = DatumGetCString(constant->constvalue);
	else if (constant->consttype == TEXTOID || constant->consttype == VARCHAROID ||
			 constant->consttype == BPCHAROID)
		string = TextDatumGetCString(constant->constvalue);
	else
		return false;
	value = revealed(context, string);
	if (value == NULL)
		return false;
	constant->constvalue = constant->consttype == UNKNOWNOID ? CStringGetDatum(value) :
		CStringGetTextDatum(value);
	if (constant->consttype != UNKNOWNOID)
	{
		tv_secret_wipe(value, strlen(value));
		pfree(value);
	}
	return false;
}

static void
reveal_in_options(Reveal *reveal, List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);
		Node	   *arg = option->arg;
		char	   *value;

		if (strcmp(option->defname, name) != 0 || arg == NULL)
			continue;
		if (IsA(arg, List))
			arg = linitial((List *) arg);
		if (!IsA(arg, String))
			continue;
		value = revealed(reveal, strVal(arg));
		if (value != NULL)
			((String *) arg)->sval = value;
	}
}

static void
reveal_in_statement(Reveal *reveal, Node *stmt)
{
	const char *name;
	List	   *options = secret_options(stmt, &name);

	if (options != NIL)
		reveal_in_options(reveal, options, name);
	else if (IsA(stmt, CallStmt) && ((CallStmt *) stmt)->funcexpr != NULL)
		(void) reveal_in_expression((Node *) ((CallStmt *) stmt)->funcexpr, reveal);
}

PlannedStmt *
tv_ddl_reveal(PlannedStmt *pstmt)
{
	Reveal		reveal = {false, false};

	if (pstmt->utilityStmt == NULL)
		return NULL;
	reveal_in_statement(&reveal, pstmt->utilityStmt);
	if (!reveal.found)
		return NULL;
	pstmt = copyObject(pstmt);
	reveal.change = true;
	reveal_in_statement(&reveal, pstmt->utilityStmt);
	return pstmt;
}

static bool
wipe_in_expression(Node *node, void *context)
{
	Const	   *constant = (Const *) node;

	if (node == NULL)
		return false;
	if (!IsA(node, Const))
		return expression_tree_walker(node, wipe_in_expression, context);
	if (constant->constisnull)
		return false;
	if (constant->consttype == UNKNOWNOID)
		tv_secret_wipe(DatumGetPointer(constant->constvalue), strlen(DatumGetCString(constant->constvalue)));
	else if (constant->constlen == -1)
		tv_secret_wipe(VARDATA_ANY(DatumGetPointer(constant->constvalue)),
					   VARSIZE_ANY_EXHDR(DatumGetPointer(constant->constvalue)));
	return false;
}

void
tv_ddl_wipe_revealed(PlannedStmt *pstmt)
{
	const char *name;
	List	   *options = secret_options(pstmt->utilityStmt, &name);
	ListCell   *lc;

	if (IsA(pstmt->utilityStmt, CallStmt))
		(void) wipe_in_expression((Node *) ((CallStmt *) pstmt->utilityStmt)->funcexpr, NULL);
	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) != 0 || option->arg == NULL)
			continue;
		if (IsA(option->arg, String))
			tv_secret_wipe(strVal(option->arg), strlen(strVal(option->arg)));
		else if (IsA(option->arg, List))
			tv_secret_wipe(strVal(linitial((List *) option->arg)),
						   strlen(strVal(linitial((List *) option->arg))));
	}
}
