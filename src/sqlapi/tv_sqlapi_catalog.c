/*
 * tv_sqlapi_catalog.c
 *	  SQL procedures that seal the system catalogs of the database, and unseal
 *	  them: one after another, each in a transaction of its own, so that each is
 *	  locked for a moment only and what was done stays done.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "base/tv_report.h"
#include "keyring/tv_keyring.h"
#include "page/tv_page_catalog.h"
#include "page/tv_page_statistics.h"
#include "sqlapi/tv_sqlapi_argument.h"

PG_FUNCTION_INFO_V1(tv_sql_seal_catalogs);
PG_FUNCTION_INFO_V1(tv_sql_unseal_catalogs);

/* Who waits for a lock on a catalog makes everybody wait. */
#define LOCK_WAIT "5s"

static void
check_call(FunctionCallInfo fcinfo, const char *procedure)
{
	tv_sql_require_loaded();
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for %s", procedure),
				 errhint("Must be superuser: the catalogs are written anew under exclusive locks.")));
	tv_require_writable(procedure);
	tv_sql_refuse_transaction_block(fcinfo, procedure, "Each catalog is written in a transaction of its own.");
	/* the relation map knows no subtransactions (relmapper.c, RelationMapUpdateMap) */
	if (IsSubTransaction())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot run inside a subtransaction", procedure)));
}

typedef struct Progress
{
	const char *name;			/* of the catalog at hand */
	const char *verb;
	int			done;
	int			all;
} Progress;

static void
tell_progress(void *argument)
{
	const Progress *progress = argument;

	if (progress->name)
		errcontext("%s catalog \"%s\", after %d of %d; called again, it goes on from there",
				   progress->verb, progress->name, progress->done, progress->all);
}

static bool
holds_tables(void)
{
	uint32		slot = 0;
	RelFileNode node;

	return tv_keyring_next_table_file(MyDatabaseId, &slot, &node);
}

/* One catalog, its transaction included. */
static bool
write_one(Oid table, bool seal)
{
	bool		written;

	if (LockTimeout == 0)
		(void) set_config_option("lock_timeout", LOCK_WAIT, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	/* what the planner knows of encrypted tables is sealed with them */
	if (!seal && tv_statistics_is_catalog(table) && holds_tables())
		return false;
	written = tv_catalog_rewrite(table, seal);
	SPI_commit();
	return written;
}

/* Returns how many were written. */
static int
write_all(bool seal, Progress *progress)
{
	List	   *catalogs;
	ListCell   *lc;
	int			written = 0;
	ErrorContextCallback callback = {error_context_stack, tell_progress, progress};

	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	catalogs = tv_catalog_list();
	progress->all = list_length(catalogs);
	progress->verb = seal ? "sealing" : "unsealing";
	error_context_stack = &callback;
	foreach(lc, catalogs)
	{
		progress->name = get_rel_name(lfirst_oid(lc));
		written += write_one(lfirst_oid(lc), seal);
		progress->done++;
	}
	error_context_stack = callback.previous;
	(void) SPI_finish();
	return written;
}

/* seal_catalogs() */
Datum
tv_sql_seal_catalogs(PG_FUNCTION_ARGS)
{
	TvKeyringMaster master;
	Progress	progress = {0};
	int			written;

	check_call(fcinfo, "seal_catalogs");
	if (!tv_keyring_master_for(MyDatabaseId, &master))
		ereport(ERROR,
				(errcode(ERRCODE_TV_KEY_MISSING),
				 errmsg("database \"%s\" has no master key to encrypt with", get_database_name(MyDatabaseId)),
				 errhint("Make it first: CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'id'.")));
	written = write_all(true, &progress);
	ereport(NOTICE,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("the system catalogs of database \"%s\" are encrypted", get_database_name(MyDatabaseId)),
			 errdetail("%d of %d were written anew. WAL before %X/%X, and base backups from before, hold them unencrypted.",
					   written, progress.all, LSN_FORMAT_ARGS(GetXLogInsertRecPtr())),
			 errhint("While their keys cannot be had after a restart, nobody can connect to this database.")));
	PG_RETURN_VOID();
}

/* unseal_catalogs() */
Datum
tv_sql_unseal_catalogs(PG_FUNCTION_ARGS)
{
	Progress	progress = {0};
	int			written;

	check_call(fcinfo, "unseal_catalogs");
	written = write_all(false, &progress);
	ereport(NOTICE,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("the system catalogs of database \"%s\" are not encrypted", get_database_name(MyDatabaseId)),
			 errdetail("%d of %d were written anew.", written, progress.all),
			 tv_statistics_sealed() ?
			 errhint("The planner's statistics stay encrypted as long as the database holds encrypted tables.") : 0));
	PG_RETURN_VOID();
}
