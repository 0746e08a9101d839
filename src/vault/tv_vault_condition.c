/*
 * tv_vault_condition.c
 *	  Conditions of command rules.
 *
 * A condition must mean the same whatever the session has set: names are found
 * in pg_catalog and tde_vault only, dates are read and written in UTC and ISO
 * form, backslashes and comparisons with NULL mean what the standard says, and "now" is the clock, not the start of a transaction that can be kept
 * open until the hour is right.  session_user is who has logged in.  Only
 * functions of the server and of this extension are called, none that is
 * volatile or reads data.
 */
#include "vault/tv_vault_condition.h"

#include "access/genam.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inet.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define EXTENSION "tde_vault"
#define SCHEMA "tde_vault"

/* What a condition can ask for; the number is that of the parameter. */
typedef enum Fact
{
	FACT_PROGRAM_NAME = 1,
	FACT_SESSION_USER,
	FACT_CURRENT_USER,
	FACT_CLIENT_ADDR,
	FACT_DATABASE,
	FACT_SSL,
	FACT_REALM,
	FACT_NOW
} Fact;

#define N_FACTS FACT_NOW

static const struct
{
	const char *name;
	Fact		fact;
	Oid			type;
}			facts[] = {
	{"program_name", FACT_PROGRAM_NAME, TEXTOID},
	{"session_user", FACT_SESSION_USER, NAMEOID},
	{"current_user", FACT_CURRENT_USER, NAMEOID},
	{"client_addr", FACT_CLIENT_ADDR, INETOID},
	{"database", FACT_DATABASE, TEXTOID},
	{"ssl", FACT_SSL, BOOLOID},
	{"realm", FACT_REALM, TEXTOID}
};

/* Functions of the server that read data, or what a session can set. */
static const char *const refused[] = {
	"current_setting", "table_to_xml", "table_to_xmlschema", "table_to_xml_and_xmlschema",
	"schema_to_xml", "schema_to_xmlschema", "schema_to_xml_and_xmlschema",
	"database_to_xml", "database_to_xmlschema", "database_to_xml_and_xmlschema",
	"cursor_to_xml", "cursor_to_xmlschema", "query_to_xml", "query_to_xmlschema",
	"query_to_xml_and_xmlschema", "pg_sequence_last_value", "pg_relation_size"
};

struct TvCondition
{
	ExprState  *state;
	ExprContext *context;
};

/* --- a setting of our own --- */

typedef struct Surroundings
{
	pg_tz	   *timezone;
	int			date_style;
	int			date_order;
	int			interval_style;
	bool		conforming_strings;
	int			backslash_quote;
	bool		null_equals;
	bool		array_nulls;
} Surroundings;

static void
enter(Surroundings *before)
{
	before->timezone = session_timezone;
	before->date_style = DateStyle;
	before->date_order = DateOrder;
	before->interval_style = IntervalStyle;
	before->conforming_strings = standard_conforming_strings;
	before->backslash_quote = backslash_quote;
	before->null_equals = Transform_null_equals;
	before->array_nulls = Array_nulls;
	session_timezone = pg_tzset("GMT");
	DateStyle = USE_ISO_DATES;
	DateOrder = DATEORDER_MDY;
	IntervalStyle = INTSTYLE_POSTGRES;
	standard_conforming_strings = true;
	backslash_quote = BACKSLASH_QUOTE_SAFE_ENCODING;
	Transform_null_equals = false;
	Array_nulls = true;
}

static void
leave(const Surroundings *before)
{
	session_timezone = before->timezone;
	DateStyle = before->date_style;
	DateOrder = before->date_order;
	IntervalStyle = before->interval_style;
	standard_conforming_strings = before->conforming_strings;
	backslash_quote = before->backslash_quote;
	Transform_null_equals = before->null_equals;
	Array_nulls = before->array_nulls;
}

/* --- parsing --- */

static Node *
make_fact(Fact fact, Oid type, int location)
{
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = fact;
	param->paramtype = type;
	param->paramtypmod = -1;
	param->paramcollid = get_typcollation(type);
	param->location = location;
	return (Node *) param;
}

/* A name without a table is one of the facts. */
static Node *
resolve_name(ParseState *pstate, ColumnRef *ref)
{
	if (list_length(ref->fields) == 1 && IsA(linitial(ref->fields), String))
	{
		const char *name = strVal(linitial(ref->fields));

		for (int i = 0; i < lengthof(facts); i++)
		{
			if (strcmp(name, facts[i].name) == 0)
				return make_fact(facts[i].fact, facts[i].type, ref->location);
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("a condition knows nothing called \"%s\"", NameListToString(ref->fields)),
			 errhint("It can use program_name, session_user, current_user, client_addr, database, ssl, realm and functions."),
			 parser_errposition(pstate, ref->location)));
}

static void
point_at_condition(void *text)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(text);
	}
	errcontext("condition of a command rule");
}

/* The one expression that the text is. */
static Node *
parse(const char *text)
{
	List	   *statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = (SelectStmt *) linitial_node(RawStmt, statements)->stmt;

	if (!IsA(select, SelectStmt) || list_length(select->targetList) != 1 ||
		select->distinctClause != NIL || select->fromClause != NIL || select->whereClause != NULL ||
		select->groupClause != NIL || select->havingClause != NULL || select->windowClause != NIL ||
		select->sortClause != NIL || select->limitOffset != NULL || select->limitCount != NULL ||
		select->lockingClause != NIL || select->op != SETOP_NONE ||
		linitial_node(ResTarget, select->targetList)->name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("a condition must be one expression")));
	return linitial_node(ResTarget, select->targetList)->val;
}

/* The clock, and who has logged in, in place of what the transaction says. */
static Node *
replace_values(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, SQLValueFunction))
	{
		SQLValueFunction *value = (SQLValueFunction *) node;

		switch (value->op)
		{
			case SVFOP_CURRENT_TIMESTAMP:
			case SVFOP_CURRENT_TIMESTAMP_N:
				return make_fact(FACT_NOW, TIMESTAMPTZOID, value->location);
			case SVFOP_SESSION_USER:
				return make_fact(FACT_SESSION_USER, NAMEOID, value->location);
			case SVFOP_CURRENT_ROLE:
			case SVFOP_CURRENT_USER:
			case SVFOP_USER:
				return make_fact(FACT_CURRENT_USER, NAMEOID, value->location);
			case SVFOP_CURRENT_CATALOG:
				return node;
			case SVFOP_CURRENT_SCHEMA:
				break;
			default:
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("a condition cannot use dates and times of the session's time zone"),
						 errhint("Use CURRENT_TIMESTAMP, which HOUR() and DAY_OF_WEEK() take in UTC, or CURRENT_TIMESTAMP AT TIME ZONE 'name'."),
						 errposition(value->location + 1)));
		}
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a condition cannot use what the session's search_path says"),
				 errposition(value->location + 1)));
	}
	if (IsA(node, FuncExpr))
	{
		Oid			function = ((FuncExpr *) node)->funcid;

		if (function == F_NOW || function == F_TRANSACTION_TIMESTAMP ||
			function == F_STATEMENT_TIMESTAMP || function == F_CLOCK_TIMESTAMP)
			return make_fact(FACT_NOW, TIMESTAMPTZOID, ((FuncExpr *) node)->location);
	}
	return expression_tree_mutator(node, replace_values, context);
}

static void
refuse_function(const char *name, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
			 errmsg("a condition cannot call function \"%s\"", name),
			 errdetail("%s", why),
			 errhint("Functions of pg_catalog that are immutable or stable can be called, and those of tde_vault.")));
}

static bool
check_function(Oid function, void *context)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (function >= FirstNormalObjectId &&
		getExtensionOfObject(ProcedureRelationId, function) != get_extension_oid(EXTENSION, false))
		refuse_function(NameStr(form->proname), "It is neither the server's nor tde_vault's.");
	if (form->provolatile == PROVOLATILE_VOLATILE)
		refuse_function(NameStr(form->proname), "It is volatile.");
	for (int i = 0; i < lengthof(refused); i++)
	{
		if (strcmp(NameStr(form->proname), refused[i]) == 0)
			refuse_function(NameStr(form->proname), "It reads data, or a setting that sessions can change.");
	}
	ReleaseSysCache(tuple);
	return false;
}

static bool
check_node(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, CoerceToDomain))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a condition cannot use domains")));
	(void) check_functions_in_node(node, check_function, NULL);
	return expression_tree_walker(node, check_node, context);
}

static Expr *
analyze(const char *text)
{
	ParseState *pstate = make_parsestate(NULL);
	Node	   *expression;

	pstate->p_sourcetext = text;
	pstate->p_pre_columnref_hook = resolve_name;
	/* refuses subqueries, aggregates, window functions and sets */
	expression = transformExpr(pstate, parse(text), EXPR_KIND_CHECK_CONSTRAINT);
	expression = coerce_to_boolean(pstate, expression, "WHEN");
	assign_expr_collations(pstate, expression);
	expression = replace_values(expression, NULL);
	(void) check_node(expression, NULL);
	free_parsestate(pstate);
	return expression_planner((Expr *) expression);
}

static void
compile_in(TvCondition *condition, const char *text)
{
	OverrideSearchPath *path = GetOverrideSearchPath(CurrentMemoryContext);

	path->schemas = list_make1_oid(get_namespace_oid(SCHEMA, false));
	path->addCatalog = true;
	path->addTemp = false;
	PushOverrideSearchPath(path);
	PG_TRY();
	{
		condition->state = ExecInitExpr(analyze(text), NULL);
	}
	PG_FINALLY();
	{
		PopOverrideSearchPath();
	}
	PG_END_TRY();
}

TvCondition *
tv_condition_compile(const char *text)
{
	TvCondition *condition = palloc0(sizeof(TvCondition));
	ErrorContextCallback context = {error_context_stack, point_at_condition, (void *) text};
	Surroundings before;

	error_context_stack = &context;
	enter(&before);
	PG_TRY();
	{
		compile_in(condition, text);
		condition->context = CreateStandaloneExprContext();
	}
	PG_FINALLY();
	{
		leave(&before);
	}
	PG_END_TRY();
	error_context_stack = context.previous;
	return condition;
}

/* --- evaluating --- */

static void
set_fact(ParamListInfo params, Fact fact, Oid type, Datum value, bool isnull)
{
	ParamExternData *param = &params->params[fact - 1];

	param->value = value;
	param->isnull = isnull;
	param->ptype = type;
}

static Datum
client_address(bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 0);
	Datum		result;

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	result = inet_client_addr(fcinfo);
	*isnull = fcinfo->isnull;
	return result;
}

static Datum
user_fact(Oid user)
{
	return DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(user, false)));
}

static ParamListInfo
gather_facts(const char *realm)
{
	ParamListInfo params = makeParamList(N_FACTS);
	char	   *database = get_database_name(MyDatabaseId);
	bool		isnull;
	Datum		address = client_address(&isnull);

	set_fact(params, FACT_PROGRAM_NAME, TEXTOID,
			 CStringGetTextDatum(application_name ? application_name : ""), false);
	set_fact(params, FACT_SESSION_USER, NAMEOID, user_fact(GetAuthenticatedUserId()), false);
	set_fact(params, FACT_CURRENT_USER, NAMEOID, user_fact(GetUserId()), false);
	set_fact(params, FACT_CLIENT_ADDR, INETOID, address, isnull);
	set_fact(params, FACT_DATABASE, TEXTOID, CStringGetTextDatum(database ? database : ""), database == NULL);
	set_fact(params, FACT_SSL, BOOLOID, BoolGetDatum(MyBEEntry != NULL && MyBEEntry->st_ssl), false);
	set_fact(params, FACT_REALM, TEXTOID, CStringGetTextDatum(realm ? realm : ""), false);
	set_fact(params, FACT_NOW, TIMESTAMPTZOID, TimestampTzGetDatum(GetCurrentTimestamp()), false);
	return params;
}

bool
tv_condition_holds(TvCondition *condition, const char *realm, bool *isnull)
{
	MemoryContext old;
	Surroundings before;
	volatile bool result = false;

	ResetExprContext(condition->context);
	enter(&before);
	PG_TRY();
	{
		old = MemoryContextSwitchTo(condition->context->ecxt_per_tuple_memory);
		condition->context->ecxt_param_list_info = gather_facts(realm);
		result = DatumGetBool(ExecEvalExpr(condition->state, condition->context, isnull));
		MemoryContextSwitchTo(old);
	}
	PG_FINALLY();
	{
		leave(&before);
	}
	PG_END_TRY();
	return result && !*isnull;
}
