/*
 * tv_sqlapi_guard.c
 *	  What the guard puts into queries of the planner's statistics.
 */
#include "postgres.h"

#include "fmgr.h"

#include "guard/tv_guard.h"

PG_FUNCTION_INFO_V1(tv_sql_statistics_visible);
PG_FUNCTION_INFO_V1(tv_sql_extended_statistics_visible);

Datum
tv_sql_statistics_visible(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(tv_guard_statistics_visible(PG_GETARG_OID(0)));
}

Datum
tv_sql_extended_statistics_visible(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(tv_guard_extended_statistics_visible(PG_GETARG_OID(0)));
}
