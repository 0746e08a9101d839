/*
 * tv_sqlapi_work.c
 *	  SQL procedures that start background work on pages, and its progress.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "base/tv_report.h"
#include "vault/tv_vault.h"
#include "worker/tv_worker.h"

PG_FUNCTION_INFO_V1(tv_sql_encrypt_table);
PG_FUNCTION_INFO_V1(tv_sql_decrypt_table);
PG_FUNCTION_INFO_V1(tv_sql_rotate_table_key);
PG_FUNCTION_INFO_V1(tv_sql_pause);
PG_FUNCTION_INFO_V1(tv_sql_resume);
PG_FUNCTION_INFO_V1(tv_sql_work);

/* The table; 0 if there is none, and argument number if_exists says that may be. */
static Oid
table_argument(FunctionCallInfo fcinfo, int if_exists)
{
	if (!PG_ARGISNULL(0))
		return PG_GETARG_OID(0);
	if (PG_ARGISNULL(if_exists) || !PG_GETARG_BOOL(if_exists))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("table must not be null")));
	ereport(NOTICE,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("table does not exist, skipping")));
	return InvalidOid;
}

/*
 * Another cipher, or none, may be a weaker one: of a table in a realm that is
 * for those who may alter it.
 */
static void
require_alter(Oid table)
{
	if (tv_vault_on())
		tv_vault_require(table, TV_ACTION_ALTER);
}

/* encrypt_table(regclass, cipher text, if_exists) */
Datum
tv_sql_encrypt_table(PG_FUNCTION_ARGS)
{
	Oid			table = table_argument(fcinfo, 2);
	TvCipher	cipher = TV_CIPHER_NONE;

	if (!PG_ARGISNULL(1))
	{
		char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));

		cipher = tv_cipher_from_name(name);
		if (cipher == TV_CIPHER_NONE)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown cipher \"%s\"", name),
					 errhint("Known ciphers: %s.", tv_cipher_known_names())));
	}
	if (OidIsValid(table))
	{
		require_alter(table);
		tv_worker_encrypt(table, cipher);
	}
	PG_RETURN_VOID();
}

/* decrypt_table(regclass, if_exists) */
Datum
tv_sql_decrypt_table(PG_FUNCTION_ARGS)
{
	Oid			table = table_argument(fcinfo, 1);

	if (OidIsValid(table))
	{
		require_alter(table);
		tv_worker_decrypt(table);
	}
	PG_RETURN_VOID();
}

/* rotate_table_key(regclass, if_exists) */
Datum
tv_sql_rotate_table_key(PG_FUNCTION_ARGS)
{
	Oid			table = table_argument(fcinfo, 1);

	if (OidIsValid(table))
		tv_worker_rotate(table);
	PG_RETURN_VOID();
}

static void
pause_or_resume(FunctionCallInfo fcinfo, bool pause)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("operation must not be null")));
	tv_require_writable(pause ? "pause()" : "resume()");
	tv_worker_pause(PG_GETARG_INT64(0), pause);
}

Datum
tv_sql_pause(PG_FUNCTION_ARGS)
{
	pause_or_resume(fcinfo, true);
	PG_RETURN_VOID();
}

Datum
tv_sql_resume(PG_FUNCTION_ARGS)
{
	pause_or_resume(fcinfo, false);
	PG_RETURN_VOID();
}

static const char *
kind_name(TvWorkerKind kind)
{
	switch (kind)
	{
		case TV_WORK_ENCRYPT:
			return "encrypt";
		case TV_WORK_DECRYPT:
			return "decrypt";
		case TV_WORK_ROTATE:
			return "rotate key";
		case TV_WORK_CIPHER:
			return "change cipher";
		case TV_WORK_PAST:
			return "encrypt, before the server started";
		case TV_WORK_UNKNOWN:
			break;
	}
	return "not begun";
}

static const char *
state_name(TvWorkerState state)
{
	switch (state)
	{
		case TV_WORKER_WAITING:
		case TV_WORKER_STARTING:
			return "waiting";
		case TV_WORKER_RUNNING:
			return "running";
		case TV_WORKER_CHECKING:
			return "checking";
		case TV_WORKER_BLOCKED:
			return "waiting for transactions";
		case TV_WORKER_RETRYING:
			return "error, will be tried again";
		case TV_WORKER_PAUSED:
			return "paused";
		case TV_WORKER_STANDBY:
			return "done by the primary";
		case TV_WORKER_DONE:
			return "done";
		case TV_WORKER_FREE:
			break;
	}
	return "unknown";
}

#define WORK_COLUMNS 16

static void
put_operation(ReturnSetInfo *rsinfo, const TvWorkerOperation *operation, TvWalPast *wal)
{
	Datum		values[WORK_COLUMNS] = {0};
	bool		nulls[WORK_COLUMNS] = {0};
	bool		running = operation->state == TV_WORKER_RUNNING || operation->state == TV_WORKER_CHECKING;
	int64		usecs = (operation->finished ? operation->finished : GetCurrentTimestamp()) - operation->resumed;

	TvWorkerPast past;

	tv_worker_past(operation, wal, &past);
	nulls[0] = operation->key == 0;
	values[0] = Int64GetDatum(tv_worker_id(operation->key));
	values[1] = CStringGetTextDatum(kind_name(operation->kind));
	values[2] = ObjectIdGetDatum(operation->database);
	values[3] = ObjectIdGetDatum(operation->table);
	values[4] = Int64GetDatum(operation->pages_done);
	values[5] = Int64GetDatum(operation->pages_total);
	values[6] = Int64GetDatum(operation->rewritten);
	nulls[7] = operation->started == 0;
	values[7] = TimestampTzGetDatum(operation->started);
	nulls[8] = operation->finished == 0 || operation->kind == TV_WORK_PAST;
	values[8] = TimestampTzGetDatum(operation->finished);
	nulls[9] = operation->resumed == 0 || usecs <= 0 || (!running && operation->finished == 0);
	values[9] = Float8GetDatum(nulls[9] ? 0 : operation->pages_done * 1e6 / usecs);
	values[10] = CStringGetTextDatum(state_name(operation->state));
	nulls[11] = operation->message[0] == '\0';
	values[11] = CStringGetTextDatum(operation->message);
	nulls[12] = operation->old_wal == 0;
	values[12] = LSNGetDatum(operation->old_wal);
	nulls[13] = !past.concerned;
	values[13] = BoolGetDatum(past.gone);
	nulls[14] = past.when == 0;
	values[14] = TimestampTzGetDatum(past.when);
	nulls[15] = past.holder[0] == '\0';
	values[15] = CStringGetTextDatum(past.holder);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * work() -> setof (id, operation, database, relation, pages_done, pages_total,
 * rewritten, started, finished, rate, state, message, old_wal, old_wal_is_gone,
 * old_wal_gone, old_wal_holder)
 */
Datum
tv_sql_work(PG_FUNCTION_ARGS)
{
	TvWorkerOperation operation;
	TvWalPast	wal = {0};

	SetSingleFuncCall(fcinfo, 0);
	for (int i = 0; tv_worker_operation(i, &operation); i++)
	{
		if (operation.state != TV_WORKER_FREE)
			put_operation((ReturnSetInfo *) fcinfo->resultinfo, &operation, &wal);
	}
	return (Datum) 0;
}
