/*
 * tv_sqlapi_guard.c
 *	  What the guard puts into queries of the planner's statistics; what the
 *	  vault trusts.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "guard/tv_guard.h"
#include "vault/tv_vault_trust.h"

PG_FUNCTION_INFO_V1(tv_sql_statistics_visible);
PG_FUNCTION_INFO_V1(tv_sql_extended_statistics_visible);
PG_FUNCTION_INFO_V1(tv_sql_code_trust);

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

/* code_trust(catalog, object): why it may be given rows of realms, or null. */
Datum
tv_sql_code_trust(PG_FUNCTION_ARGS)
{
	char	   *reason = tv_vault_trust_of(PG_GETARG_OID(0), PG_GETARG_OID(1));

	if (reason == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(reason));
}
