/*
 * tv_sqlapi_statistics.c
 *	  SQL procedure that seals the planner's statistics.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "page/tv_page_smgr.h"
#include "base/tv_report.h"
#include "page/tv_page_statistics.h"

PG_FUNCTION_INFO_V1(tv_sql_seal_statistics);

/* seal_statistics() */
Datum
tv_sql_seal_statistics(PG_FUNCTION_ARGS)
{
	if (!tv_page_attached())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tde_vault was not loaded when the server started"),
				 errhint("Add tde_vault to shared_preload_libraries and restart the server.")));
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to seal the statistics of a database"),
				 errhint("Must be superuser: the catalogs are written anew under an exclusive lock.")));
	tv_require_writable("seal_statistics");
	tv_statistics_seal(true);
	PG_RETURN_VOID();
}
