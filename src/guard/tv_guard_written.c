/*
 * tv_guard_written.c
 *	  Is a function of the server called by what the user wrote, or by an
 *	  expression that somebody stored?
 *
 * A default, a check, a view, a rule, a policy, an operator or a cast runs as
 * whoever meets it, and needs no function of its owner's for that: the server
 * has functions that run SQL which they are told, and ones that take a value
 * elsewhere.  What is stored has lost its place in the text (readfuncs.c reads
 * every location as -1); what the parser has just read has one, in a statement
 * as in the body of a function.
 */
#include "postgres.h"

#include "fmgr.h"
#include "nodes/primnodes.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "base/tv_report.h"
#include "guard/tv_guard.h"
#include "guard/tv_guard_internal.h"

bool
tv_guard_is_written(const FmgrInfo *flinfo)
{
	const FuncExpr *call = flinfo != NULL ? (const FuncExpr *) flinfo->fn_expr : NULL;

	if (tv_guard_is_told())
		return false;
	if (call == NULL)			/* the fast path of the protocol, if nothing else runs */
		return tv_guard_executor_depth() == 0;
	return IsA(call, FuncExpr) && call->location >= 0 &&
		(call->funcformat == COERCE_EXPLICIT_CALL || call->funcformat == COERCE_SQL_SYNTAX);
}

void
tv_guard_require_written(const FmgrInfo *flinfo, const char *command)
{
	if (!tv_vault_on() || tv_guard_is_written(flinfo))
		return;
	tv_guard_audit_refusal(psprintf("%s by an expression that is stored", command));
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_ADMIN),
			 errmsg("%s: not by an expression that is stored", command),
			 errdetail("A default, check, view, rule or policy would use your rights for who made it."),
			 errhint("Give the statement itself, or from a function of your own.")));
}

/* --- those that run SQL, or open what they are told --- */

static Datum
tell(PGFunction function, FunctionCallInfo fcinfo)
{
	Oid			oid = fcinfo->flinfo->fn_oid;
	Datum		result;

	if (!tv_vault_on() || tv_guard_is_written(fcinfo->flinfo))
		return function(fcinfo);
	tv_guard_check_sent(fcinfo->flinfo);
	tv_guard_begin_told(oid);
	PG_TRY();
	{
		result = function(fcinfo);
	}
	PG_FINALLY();
	{
		tv_guard_end_told(oid);
	}
	PG_END_TRY();
	return result;
}

#define TELLING(X) \
	X(TABLE_TO_XML) X(TABLE_TO_XML_AND_XMLSCHEMA) \
	X(QUERY_TO_XML) X(QUERY_TO_XML_AND_XMLSCHEMA) X(CURSOR_TO_XML) \
	X(SCHEMA_TO_XML) X(SCHEMA_TO_XML_AND_XMLSCHEMA) \
	X(DATABASE_TO_XML) X(DATABASE_TO_XML_AND_XMLSCHEMA) \
	X(TS_STAT_TEXT) X(TS_STAT_TEXT_TEXT) X(TS_REWRITE_TSQUERY_TEXT) \
	X(PG_LOGICAL_SLOT_GET_CHANGES) X(PG_LOGICAL_SLOT_GET_BINARY_CHANGES) \
	X(PG_LOGICAL_SLOT_PEEK_CHANGES) X(PG_LOGICAL_SLOT_PEEK_BINARY_CHANGES)

/* --- those that take a value where others find it --- */

void
tv_guard_check_sent(const FmgrInfo *flinfo)
{
	const char *name;

	if (!tv_guard_carrying() || tv_guard_is_written(flinfo))
		return;
	name = get_func_name(flinfo->fn_oid);
	tv_guard_audit_refusal(psprintf("function %s() by an expression that is stored, on rows of a realm", name));
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
			 errmsg("function \"%s\" may not be called by an expression that is stored, in a transaction that uses a realm", name),
			 errdetail("A default, check, view, rule, policy, operator or cast could give it rows of the realm."),
			 errhint("Call it in the statement itself, or in the body of a function.")));
}

#define SENDING(X) \
	X(PG_NOTIFY) X(SET_CONFIG) \
	X(LOWRITE) X(LO_CREAT) X(LO_CREATE) X(LO_FROM_BYTEA) \
	X(PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_TEXT) X(PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_BYTEA) \
	X(PG_CREATE_RESTORE_POINT) X(PG_REPLICATION_ORIGIN_CREATE) \
	X(PG_CREATE_PHYSICAL_REPLICATION_SLOT) X(PG_CREATE_LOGICAL_REPLICATION_SLOT) \
	X(PG_COPY_PHYSICAL_REPLICATION_SLOT_NAME_NAME) X(PG_COPY_PHYSICAL_REPLICATION_SLOT_NAME_NAME_BOOL) \
	X(PG_COPY_LOGICAL_REPLICATION_SLOT_NAME_NAME) X(PG_COPY_LOGICAL_REPLICATION_SLOT_NAME_NAME_BOOL) \
	X(PG_COPY_LOGICAL_REPLICATION_SLOT_NAME_NAME_BOOL_NAME) \
	X(PG_REPLICATION_ORIGIN_ADVANCE) X(PG_BACKUP_START) X(SETSEED) \
	X(PG_ADVISORY_LOCK_INT8) X(PG_ADVISORY_LOCK_SHARED_INT8) \
	X(PG_TRY_ADVISORY_LOCK_INT8) X(PG_TRY_ADVISORY_LOCK_SHARED_INT8) \
	X(PG_ADVISORY_LOCK_INT4_INT4) X(PG_ADVISORY_LOCK_SHARED_INT4_INT4) \
	X(PG_TRY_ADVISORY_LOCK_INT4_INT4) X(PG_TRY_ADVISORY_LOCK_SHARED_INT4_INT4) \
	X(PG_ADVISORY_XACT_LOCK_INT8) X(PG_ADVISORY_XACT_LOCK_SHARED_INT8) \
	X(PG_TRY_ADVISORY_XACT_LOCK_INT8) X(PG_TRY_ADVISORY_XACT_LOCK_SHARED_INT8) \
	X(PG_ADVISORY_XACT_LOCK_INT4_INT4) X(PG_ADVISORY_XACT_LOCK_SHARED_INT4_INT4) \
	X(PG_TRY_ADVISORY_XACT_LOCK_INT4_INT4) X(PG_TRY_ADVISORY_XACT_LOCK_SHARED_INT4_INT4)

/* --- seams --- */

#define NUMBER(name) N_##name,
typedef enum Seam
{
	TELLING(NUMBER) SENDING(NUMBER) N_SEAMS
} Seam;

static PGFunction original[N_SEAMS];

#define TELLING_REPLACEMENT(name) \
static Datum \
replaced_##name(PG_FUNCTION_ARGS) \
{ \
	return tell(original[N_##name], fcinfo); \
}

#define SENDING_REPLACEMENT(name) \
static Datum \
replaced_##name(PG_FUNCTION_ARGS) \
{ \
	if (tv_vault_on()) \
		tv_guard_check_sent(fcinfo->flinfo); \
	return original[N_##name] (fcinfo); \
}

TELLING(TELLING_REPLACEMENT)
SENDING(SENDING_REPLACEMENT)

#define SEAM(name) [N_##name] = {F_##name, replaced_##name},
static const struct
{
	Oid			function;
	PGFunction	replacement;
}			seams[N_SEAMS] = {TELLING(SEAM) SENDING(SEAM)};

void
tv_guard_written_init(void)
{
	for (int i = 0; i < N_SEAMS; i++)
		original[i] = tv_guard_replace_builtin(seams[i].function, seams[i].replacement);
}
