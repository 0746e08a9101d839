/*
 * tv_sqlapi_keys.c
 *	  SQL procedures that manage keys, and the access method's handler.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "keyring/tv_keyring.h"
#include "page/tv_heap_am.h"
#include "page/tv_page_smgr.h"

PG_FUNCTION_INFO_V1(tv_sql_create_master_key);
PG_FUNCTION_INFO_V1(tv_heap_handler);

static void
require_attached(void)
{
	if (tv_page_attached())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("tde_vault was not loaded when the server started"),
			 errdetail("Its tables are sealed and stay so."),
			 errhint("Add tde_vault to shared_preload_libraries and restart the server.")));
}

/* create_master_key(key_id, provider, for_cluster) */
Datum
tv_sql_create_master_key(PG_FUNCTION_ARGS)
{
	char	   *key_id;
	const char *uri;
	bool		for_cluster = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	TvError		err;

	require_attached();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("key_id must not be null")));
	PreventCommandIfReadOnly("CREATE MASTER KEY");
	key_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	uri = PG_ARGISNULL(1) ? tv_setting_key_provider : text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (uri == NULL || uri[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no key provider is configured"),
				 errhint("Set tde_vault.key_provider in postgresql.conf, for example 'pkcs11:token=NAME?module-path=PATH&pin-source=file:PATH'.")));
	if (tv_keyring_create_master(for_cluster ? InvalidOid : MyDatabaseId, key_id, uri, &err) != TV_OK)
		tv_report(ERROR, &err);
	PG_RETURN_VOID();
}

/* The handler of access method tde_heap. */
Datum
tv_heap_handler(PG_FUNCTION_ARGS)
{
	require_attached();
	PG_RETURN_POINTER(tv_heap_am_routine());
}
