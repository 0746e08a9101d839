/*
 * tv_sqlapi_tablespace.c
 *	  SQL procedures that make and change encrypted tablespaces and databases.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/heapam.h"
#include "access/table.h"
#include "catalog/pg_database.h"
#include "catalog/pg_tablespace_d.h"
#include "commands/dbcommands.h"
#include "commands/tablespace.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "crypto/tv_cipher.h"
#include "keyring/tv_keyring_scope.h"
#include "page/tv_page_tablespace.h"
#include "sqlapi/tv_sqlapi_argument.h"
#include "worker/tv_worker.h"

PG_FUNCTION_INFO_V1(tv_sql_create_tablespace);
PG_FUNCTION_INFO_V1(tv_sql_encrypt_tablespace);
PG_FUNCTION_INFO_V1(tv_sql_decrypt_tablespace);
PG_FUNCTION_INFO_V1(tv_sql_tablespaces);
PG_FUNCTION_INFO_V1(tv_sql_encrypt_database);
PG_FUNCTION_INFO_V1(tv_sql_decrypt_database);

static TvCipher
cipher_argument(const char *name)
{
	TvCipher	cipher = name ? tv_cipher_from_name(name) : (TvCipher) tv_setting_cipher;

	if (cipher == TV_CIPHER_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown cipher \"%s\"", name),
				 errhint("Known ciphers: %s.", tv_cipher_known_names())));
	return cipher;
}

static void
check_call(FunctionCallInfo fcinfo, const char *statement)
{
	tv_sql_require_loaded();
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for %s", statement),
				 errhint("Must be superuser to change whether a tablespace is encrypted.")));
	tv_require_writable(statement);
	/* directories are not rolled back, nor are files that other sessions make meanwhile */
	tv_sql_refuse_transaction_block(fcinfo, statement, NULL);
}

/* In a directory of its own, which goes again if that fails. */
static Oid
create_in_own_directory(CreateTableSpaceStmt *stmt)
{
	Oid			tablespace;

	stmt->location = tv_tablespace_make_directory(stmt->tablespacename);
	PG_TRY();
	{
		tablespace = CreateTableSpace(stmt);
	}
	PG_CATCH();
	{
		(void) rmdir(stmt->location);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return tablespace;
}

/* create_tablespace(name, cipher, location, owner, key_id) */
Datum
tv_sql_create_tablespace(PG_FUNCTION_ARGS)
{
	CreateTableSpaceStmt *stmt = makeNode(CreateTableSpaceStmt);
	char	   *owner = tv_sql_optional_text(fcinfo, 3);
	char	   *key_id = tv_sql_optional_text(fcinfo, 4);
	TvCipher	cipher = cipher_argument(tv_sql_optional_text(fcinfo, 1));
	uint64		master = 0;
	Oid			tablespace;

	check_call(fcinfo, "CREATE TABLESPACE");
	if (key_id != NULL)
		master = tv_tablespace_master(key_id);
	stmt->tablespacename = tv_sql_required_text(fcinfo, 0, "name");
	stmt->location = tv_sql_optional_text(fcinfo, 2);
	if (owner != NULL)
	{
		stmt->owner = makeNode(RoleSpec);
		stmt->owner->roletype = ROLESPEC_CSTRING;
		stmt->owner->rolename = owner;
		stmt->owner->location = -1;
		(void) get_rolespec_oid(stmt->owner, false);
	}
	if (OidIsValid(get_tablespace_oid(stmt->tablespacename, true)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("tablespace \"%s\" already exists", stmt->tablespacename),
				 errhint("ALTER TABLESPACE ... ENABLE ENCRYPTION encrypts what is new in it.")));
	tablespace = stmt->location ? CreateTableSpace(stmt) : create_in_own_directory(stmt);
	tv_tablespace_encrypt(tablespace, cipher, master);
	PG_RETURN_VOID();
}

static Oid
tablespace_argument(FunctionCallInfo fcinfo)
{
	char	   *name = tv_sql_required_text(fcinfo, 0, "name");
	Oid			tablespace = get_tablespace_oid(name, false);

	if (tablespace == GLOBALTABLESPACE_OID || tablespace == DEFAULTTABLESPACE_OID)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tablespace \"%s\" cannot be encrypted as a whole", name),
				 errdetail("It holds system catalogs."),
				 errhint("Use another tablespace, or the access method tde_heap.")));
	return tablespace;
}

/* Those with catalogs in the tablespace, for which it is the default. */
static void
check_no_default(Oid tablespace)
{
	Relation	pg_database = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(pg_database, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (form->dattablespace == tablespace)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("tablespace \"%s\" cannot be encrypted as a whole", get_tablespace_name(tablespace)),
					 errdetail("It is the default of database \"%s\", whose system catalogs are in it.",
							   NameStr(form->datname)),
					 errhint("ALTER DATABASE %s ENABLE ENCRYPTION encrypts what that has there.",
							 quote_identifier(NameStr(form->datname)))));
	}
	table_endscan(scan);
	table_close(pg_database, AccessShareLock);
}

/*
 * What other databases have in the tablespace, background processes encrypt.
 * Returns the names for the notice; those that have no key to do it with are
 * warned of.
 */
static char *
visit_others(Oid tablespace)
{
	StringInfoData names;
	ListCell   *lc;

	initStringInfo(&names);
	foreach(lc, tv_worker_databases_in(tablespace))
	{
		char	   *name = get_database_name(lfirst_oid(lc));
		TvKeyringMaster master;

		if (name == NULL)
			continue;
		if (!tv_keyring_master_for(lfirst_oid(lc), &master))
			ereport(WARNING,
					(errcode(ERRCODE_TV_KEY_MISSING),
					 errmsg("database \"%s\" has relations in the tablespace, and no master key: they stay plaintext", name),
					 errhint("Make one, in that database or with for_cluster => true, and give the statement again.")));
		else
			appendStringInfo(&names, "%s\"%s\"", names.len ? ", " : "", name);
	}
	return names.data;
}

/* encrypt_tablespace(name, cipher) */
Datum
tv_sql_encrypt_tablespace(PG_FUNCTION_ARGS)
{
	TvCipher	cipher = cipher_argument(tv_sql_optional_text(fcinfo, 1));
	Oid			tablespace;
	int			count;
	char	   *others;

	check_call(fcinfo, "ALTER TABLESPACE");
	tablespace = tablespace_argument(fcinfo);
	check_no_default(tablespace);
	tv_tablespace_encrypt(tablespace, cipher, 0);
	count = tv_worker_encrypt_place(tablespace);
	others = visit_others(tablespace);
	ereport(NOTICE,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("what is new in the tablespace is encrypted from now on"),
			 errdetail_plural("%d relation of this database is being encrypted.%s%s%s",
							  "%d relations of this database are being encrypted.%s%s%s", count, count,
							  others[0] ? " What is there of " : "", others,
							  others[0] ? " follows in the background." : ""),
			 errhint("See tde_vault.encryption_progress%s.", others[0] ? ", there as well" : "")));
	PG_RETURN_VOID();
}

/* Names of databases, quoted. */
static char *
database_names(List *databases)
{
	StringInfoData names;
	ListCell   *lc;

	initStringInfo(&names);
	foreach(lc, databases)
	{
		char	   *name = get_database_name(lfirst_oid(lc));

		if (name != NULL)
			appendStringInfo(&names, "%s\"%s\"", names.len ? ", " : "", name);
	}
	return names.data;
}

static void
tell_released(const char *what, const TvWorkerReleased *released)
{
	char	   *others = database_names(released->databases);

	if (released->refused)
		ereport(NOTICE,
				(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
				 errmsg("what is new in %s is not encrypted any more, unless by itself", what),
				 errdetail("What exists stays encrypted: tde_vault.enforce_encryption is on."),
				 errhint("To decrypt it, set that off, and give the statement again.")));
	else
		ereport(NOTICE,
				(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
				 errmsg("what is new in %s is not encrypted any more, unless by itself", what),
				 others[0] ?
				 errdetail("Relations that are being decrypted, as they were encrypted only because they are there: %d of this database, at most %d of %s.",
						   released->here, released->elsewhere, others) :
				 errdetail("Relations that are being decrypted, as they were encrypted only because they are there: %d.",
						   released->here),
				 errhint("See tde_vault.encryption_progress. Tables of access method tde_heap, and of realms, stay encrypted.")));
}

/* decrypt_tablespace(name) */
Datum
tv_sql_decrypt_tablespace(PG_FUNCTION_ARGS)
{
	TvWorkerReleased released;
	Oid			tablespace;

	check_call(fcinfo, "ALTER TABLESPACE");
	tablespace = tablespace_argument(fcinfo);
	tv_worker_decrypt_place(tablespace, InvalidOid, &released);
	tv_tablespace_release(tablespace);
	tell_released("the tablespace", &released);
	PG_RETURN_VOID();
}

/* tablespace_scopes() -> setof (tablespace, cipher, master_id, since) */
Datum
tv_sql_tablespaces(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TvKeyringScope scope;

	SetSingleFuncCall(fcinfo, 0);
	for (uint32 i = 0; tv_keyring_scope_at(i, &scope); i++)
	{
		Datum		values[4];
		bool		nulls[4] = {0};
		char		master[17];

		if (!OidIsValid(scope.tablespace))
			continue;
		snprintf(master, sizeof(master), "%016" INT64_MODIFIER "x", scope.master_key);
		values[0] = ObjectIdGetDatum(scope.tablespace);
		values[1] = CStringGetTextDatum(tv_cipher_name(scope.cipher));
		values[2] = CStringGetTextDatum(master);
		nulls[2] = scope.master_key == 0;
		values[3] = TimestampTzGetDatum(scope.created);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static Oid
database_argument(FunctionCallInfo fcinfo)
{
	return PG_ARGISNULL(0) ? MyDatabaseId : get_database_oid(tv_sql_optional_text(fcinfo, 0), false);
}

/* encrypt_database(database) */
Datum
tv_sql_encrypt_database(PG_FUNCTION_ARGS)
{
	TvKeyringMaster master;
	Oid			database;
	int			count = 0;

	check_call(fcinfo, "ALTER DATABASE");
	database = database_argument(fcinfo);
	if (!tv_keyring_master_for(database, &master))
		ereport(ERROR,
				(errcode(ERRCODE_TV_KEY_MISSING),
				 errmsg("database \"%s\" has no master key to encrypt with", get_database_name(database)),
				 errhint("Make it first, in that database: CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'id'.")));
	tv_database_encrypt(database, (TvCipher) tv_setting_cipher);
	if (database == MyDatabaseId)
		count = tv_worker_encrypt_place(InvalidOid);
	else
		tv_worker_visit_databases();
	ereport(NOTICE,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("what is new in database \"%s\" is encrypted from now on", get_database_name(database)),
			 database != MyDatabaseId ? errdetail("What exists there follows in the background.") :
			 errdetail_plural("%d relation that exists is being encrypted.",
							  "%d relations that exist are being encrypted.", count, count),
			 errhint("See tde_vault.encryption_progress%s.", database == MyDatabaseId ? "" : " there")));
	PG_RETURN_VOID();
}

/* decrypt_database(database) */
Datum
tv_sql_decrypt_database(PG_FUNCTION_ARGS)
{
	TvWorkerReleased released;
	Oid			database;

	check_call(fcinfo, "ALTER DATABASE");
	database = database_argument(fcinfo);
	tv_worker_decrypt_place(InvalidOid, database, &released);
	tv_database_release(database);
	tell_released(psprintf("database \"%s\"", get_database_name(database)), &released);
	PG_RETURN_VOID();
}
