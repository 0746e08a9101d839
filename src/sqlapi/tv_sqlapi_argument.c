/*
 * tv_sqlapi_argument.c
 *	  What SQL functions ask of their arguments, and of when they are called.
 */
#include "sqlapi/tv_sqlapi_argument.h"

#include "nodes/parsenodes.h"
#include "utils/builtins.h"

#include "page/tv_page_smgr.h"

char *
tv_sql_optional_text(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}

char *
tv_sql_required_text(FunctionCallInfo fcinfo, int i, const char *name)
{
	if (PG_ARGISNULL(i))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(i));
}

void
tv_sql_require_loaded(void)
{
	if (tv_page_attached())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("tde_vault was not loaded when the server started"),
			 errhint("Add tde_vault to shared_preload_libraries and restart the server.")));
}

void
tv_sql_refuse_transaction_block(FunctionCallInfo fcinfo, const char *command, const char *detail)
{
	if (fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("%s cannot run inside a transaction block", command),
			 detail ? errdetail_internal("%s", detail) : 0));
}
