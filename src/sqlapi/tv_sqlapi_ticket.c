/*
 * tv_sqlapi_ticket.c
 *	  Making unlock tickets.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/tv_secret.h"
#include "guard/tv_guard.h"
#include "page/tv_page_smgr.h"
#include "vault/tv_vault_ticket.h"

#define MAX_SESSIONS 64
#define MAX_SECONDS (3600)

PG_FUNCTION_INFO_V1(tv_sql_create_unlock_ticket);

static int
seconds_of(const Interval *interval)
{
	int64		seconds = interval->time / USECS_PER_SEC + interval->day * (int64) SECS_PER_DAY;

	if (interval->month != 0 || seconds < 1 || seconds > MAX_SECONDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an unlock ticket must be valid for 1 second to 1 hour")));
	return (int) seconds;
}

Datum
tv_sql_create_unlock_ticket(PG_FUNCTION_ARGS)
{
	int			sessions = PG_GETARG_INT32(0);
	int			seconds = seconds_of(PG_GETARG_INTERVAL_P(1));
	char		ticket[TV_TICKET_LEN + 1];
	text	   *result;

	if (!tv_page_attached())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tde_vault was not loaded when the server started"),
				 errhint("Add tde_vault to shared_preload_libraries and restart the server.")));
	tv_guard_require_written(fcinfo->flinfo, "create_unlock_ticket()");
	if (sessions < 1 || sessions > MAX_SESSIONS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an unlock ticket must be for 1 to %d sessions", MAX_SESSIONS)));
	tv_vault_create_ticket(sessions, seconds, ticket);
	result = cstring_to_text(ticket);
	tv_secret_wipe(ticket, sizeof(ticket));
	PG_RETURN_TEXT_P(result);
}
