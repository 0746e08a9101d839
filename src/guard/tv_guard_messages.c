/*
 * tv_guard_messages.c
 *	  The server's log does not get a protected table's rows.
 *
 * Errors print rows: "Failing row contains (...)", the values of a unique or
 * foreign key, the text that is no number, the literals of the statement
 * itself.  The client that caused them has the right to see them; whoever reads
 * the log has not.  emit_log_hook may only switch a message's way to the log
 * off (elog.c, EmitErrorReport), so it is written again without them.
 */
#include "postgres.h"

#include <dlfcn.h>

#include "miscadmin.h"
#include "utils/elog.h"

#include "guard/tv_guard_internal.h"

static emit_log_hook_type next_emit_log = NULL;
static bool emitting = false;

/*
 * Can the primary message quote data?  Most can: what is no number, and what a
 * statement that was put together from rows takes for a name.  These cannot.
 */
static bool
quotes_data(int code)
{
	if (code == ERRCODE_INSUFFICIENT_PRIVILEGE)
		return false;
	switch (ERRCODE_TO_CATEGORY(code))
	{
		case MAKE_SQLSTATE('0', '8', '0', '0', '0'):	/* connection */
		case MAKE_SQLSTATE('0', 'A', '0', '0', '0'):	/* not supported */
		case MAKE_SQLSTATE('2', '1', '0', '0', '0'):	/* cardinality */
		case MAKE_SQLSTATE('2', '3', '0', '0', '0'):	/* constraints: their names */
		case MAKE_SQLSTATE('2', '5', '0', '0', '0'):	/* transaction state */
		case MAKE_SQLSTATE('2', '8', '0', '0', '0'):	/* authorization */
		case MAKE_SQLSTATE('4', '0', '0', '0', '0'):	/* rollback */
		case MAKE_SQLSTATE('5', '3', '0', '0', '0'):	/* resources */
		case MAKE_SQLSTATE('5', '4', '0', '0', '0'):	/* limits */
		case MAKE_SQLSTATE('5', '5', '0', '0', '0'):	/* object not ready */
		case MAKE_SQLSTATE('5', '7', '0', '0', '0'):	/* operator */
		case MAKE_SQLSTATE('5', '8', '0', '0', '0'):	/* system */
		case MAKE_SQLSTATE('F', '0', '0', '0', '0'):	/* configuration file */
		case MAKE_SQLSTATE('X', 'X', '0', '0', '0'):	/* internal, damaged pages */
			return false;
		default:
			return true;
	}
}

static bool
is_ours(int code)
{
	return ERRCODE_TO_CATEGORY(code) == MAKE_SQLSTATE('T', 'V', '0', '0', '0');
}

/* Does the session have rows of realms, or may what its user types be such? */
static bool
is_watched(void)
{
	return tv_guard_touched() || tv_guard_handled() || tv_vault_user_has_realm();
}

/*
 * Is it of a library, and not of the server's program or of this module?  Then a
 * notice or a line of the log may be anything: what RAISE says, or a plan with the
 * values that it was made for (auto_explain).
 */
static bool
is_of_library(const ErrorData *edata)
{
	Dl_info		from;
	Dl_info		server;
	Dl_info		here;

	return edata->filename == NULL || dladdr(edata->filename, &from) == 0 ||
		dladdr((void *) tv_guard_messages_init, &here) == 0 || dladdr(&emit_log_hook, &server) == 0 ||
		(from.dli_fbase != server.dli_fbase && from.dli_fbase != here.dli_fbase);
}

static bool
may_hold_rows(const ErrorData *edata)
{
	if (is_ours(edata->sqlerrcode) || !is_watched())
		return false;
	if (edata->sqlerrcode == 0)
		return is_of_library(edata);
	return quotes_data(edata->sqlerrcode) || edata->detail != NULL || edata->detail_log != NULL ||
		edata->context != NULL || edata->elevel >= ERROR;
}

static void
emit_redacted(const ErrorData *edata)
{
	ereport(LOG_SERVER_ONLY,
			(errcode(edata->sqlerrcode),
			 quotes_data(edata->sqlerrcode) ?
			 errmsg("%s: message left out", error_severity(edata->elevel)) :
			 errmsg("%s:  %s", error_severity(edata->elevel), edata->message),
			 errdetail_log("Details are left out: the session uses protected tables."),
			 errhidestmt(true), errhidecontext(true)));
}

/*
 * What log_statement and log_min_duration_statement tell of a statement comes
 * with the values of its parameters (postgres.c, errdetail_params), before the
 * statement has met a table.
 */
static bool
has_parameters(const ErrorData *edata)
{
	return edata->sqlerrcode == 0 && edata->detail != NULL && edata->funcname != NULL &&
		(strcmp(edata->funcname, "exec_bind_message") == 0 || strcmp(edata->funcname, "exec_execute_message") == 0) &&
		(tv_guard_handled() || tv_vault_user_has_realm());
}

/* What the server tells of its work within a statement comes with the text of that. */
static bool
has_context(const ErrorData *edata)
{
	return edata->sqlerrcode == 0 && edata->context != NULL && !edata->hide_ctx && is_watched();
}

static void
emit_without_context(const ErrorData *edata)
{
	ereport(LOG_SERVER_ONLY,
			(errmsg_internal("%s", edata->message),
			 edata->detail ? errdetail_internal("%s", edata->detail) : 0,
			 errhidestmt(true), errhidecontext(true)));
}

static void
emit_without_parameters(const ErrorData *edata)
{
	ereport(LOG_SERVER_ONLY,
			(errmsg_internal("%s", edata->message),
			 errdetail_log("Parameters are left out: the role is authorized for a realm."),
			 errhidestmt(true), errhidecontext(true)));
}

/* Writes the message itself, if it must not be written as it is. */
static void
redact(ErrorData *edata)
{
	if (may_hold_rows(edata))
		emit_redacted(edata);
	else if (has_parameters(edata))
		emit_without_parameters(edata);
	else if (has_context(edata))
		emit_without_context(edata);
	else
		return;
	edata->output_to_server = false;
}

static void
emit_log(ErrorData *edata)
{
	if (!emitting && edata->output_to_server && edata->elevel < FATAL)
	{
		emitting = true;		/* also while the vault is asked */
		PG_TRY();
		{
			redact(edata);
		}
		PG_FINALLY();
		{
			emitting = false;
		}
		PG_END_TRY();
	}
	if (next_emit_log)
		next_emit_log(edata);
}

void
tv_guard_messages_init(void)
{
	next_emit_log = emit_log_hook;
	emit_log_hook = emit_log;
}
