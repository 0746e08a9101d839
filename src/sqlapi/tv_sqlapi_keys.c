/*
 * tv_sqlapi_keys.c
 *	  SQL procedures that manage keys, and the access method's handler.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "audit/tv_audit.h"
#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "keyring/tv_keyring.h"
#include "page/tv_heap_am.h"
#include "page/tv_page_smgr.h"
#include "sqlapi/tv_sqlapi_argument.h"
#include "vault/tv_vault.h"
#include "worker/tv_worker.h"

PG_FUNCTION_INFO_V1(tv_sql_create_master_key);
PG_FUNCTION_INFO_V1(tv_sql_rotate_master_key);
PG_FUNCTION_INFO_V1(tv_sql_master_key_rotation);
PG_FUNCTION_INFO_V1(tv_sql_unfinished_rotations);
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

/*
 * Whoever chooses the provider can choose one whose key they know, or whose
 * library is theirs.  That is for a superuser; others keep to what is
 * configured, and so does everybody while a vault binds superusers.
 */
static void
check_may_choose(const char *uri)
{
	TvAuditEvent event = {"GUARD", TV_AUDIT_WARNING, TV_AUDIT_DENIED, .object = "naming a key provider"};

	if (uri == NULL || (tv_setting_key_provider != NULL && strcmp(uri, tv_setting_key_provider) == 0))
		return;
	if (tv_vault_on_anywhere())
	{
		tv_audit(&event, true);
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_ADMIN),
				 errmsg("naming a key provider is refused while a vault is on"),
				 errdetail("This binds superusers, too: a provider can be a library."),
				 errhint("Set tde_vault.key_provider to it in the server's configuration file and reload.")));
	}
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to choose a key provider"),
				 errdetail("Only a superuser may name one that tde_vault.key_provider does not."),
				 errhint("Leave the provider out, or have tde_vault.key_provider set to it.")));
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
	tv_require_writable("CREATE MASTER KEY");
	key_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	uri = PG_ARGISNULL(1) ? tv_setting_key_provider : text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (uri == NULL || uri[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no key provider is configured"),
				 errhint("Set tde_vault.key_provider in postgresql.conf, for example 'pkcs11:token=NAME?module-path=PATH&pin-source=file:PATH'.")));
	check_may_choose(uri);
	if (tv_keyring_create_master(for_cluster ? InvalidOid : MyDatabaseId, key_id, uri, &err) != TV_OK)
		tv_report(ERROR, &err);
	PG_RETURN_VOID();
}

/* The database that was named is the one that we are in. */
static void
check_database_name(const char *name)
{
	Oid			database = get_database_oid(name, true);

	if (!OidIsValid(database))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_DATABASE),
				 errmsg("database \"%s\" does not exist", name)));
	if (database != MyDatabaseId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot rotate the master key of another database"),
				 errhint("Connect to database \"%s\" and rotate it there.", name)));
}

/* rotate_master_key(key_id, provider, for_cluster, database) */
Datum
tv_sql_rotate_master_key(PG_FUNCTION_ARGS)
{
	char	   *key_id = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *uri = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	bool		for_cluster = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);

	require_attached();
	/* a ROLLBACK would seem to take back what it wrote, and would not */
	tv_sql_refuse_transaction_block(fcinfo, "rotate_master_key", "What it does cannot be rolled back.");
	tv_require_writable("ROTATE MASTER KEY");
	if (!PG_ARGISNULL(3))
		check_database_name(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	check_may_choose(uri);
	tv_worker_rotate_master(for_cluster ? InvalidOid : MyDatabaseId, key_id, uri);
	PG_RETURN_VOID();
}

/* master_key_rotation() -> setof (pid, database, keys_done, keys_total, started) */
Datum
tv_sql_master_key_rotation(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TvRotationProgress progress;
	Datum		values[5];
	bool		nulls[5] = {0};

	SetSingleFuncCall(fcinfo, 0);
	if (!tv_keyring_rotation_progress(&progress))
		return (Datum) 0;
	values[0] = Int32GetDatum(progress.pid);
	values[1] = ObjectIdGetDatum(progress.database);
	nulls[1] = !OidIsValid(progress.database);
	values[2] = Int64GetDatum(progress.done);
	values[3] = Int64GetDatum(progress.total);
	values[4] = TimestampTzGetDatum(progress.started);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/* unfinished_rotations() -> setof (database, keys_done, keys_total) */
Datum
tv_sql_unfinished_rotations(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TvKeyringMaster master;
	Datum		values[3];
	bool		nulls[3] = {0};

	SetSingleFuncCall(fcinfo, 0);
	for (uint32 i = 0; tv_keyring_master_at(i, &master); i++)
	{
		if (!master.unfinished)
			continue;
		values[0] = ObjectIdGetDatum(master.database);
		nulls[0] = !OidIsValid(master.database);
		values[1] = Int64GetDatum(master.keys);
		values[2] = Int64GetDatum(master.keys + tv_keyring_rotation_left(master.database));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* The handler of access method tde_heap. */
Datum
tv_heap_handler(PG_FUNCTION_ARGS)
{
	require_attached();
	PG_RETURN_POINTER(tv_heap_am_routine());
}
