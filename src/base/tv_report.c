/*
 * tv_report.c
 *	  From TvStatus and TvError to the server's error reports.
 */
#include "base/tv_report.h"

#include "access/xlog.h"
#include "miscadmin.h"

/* The SQLSTATE that a status is reported with. */
static int
sqlstate_of(TvStatus status)
{
	switch (status)
	{
		case TV_OK:
			return ERRCODE_SUCCESSFUL_COMPLETION;
		case TV_ERR_INVALID_ARGUMENT:
		case TV_ERR_BAD_URI:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case TV_ERR_UNAVAILABLE:
		case TV_ERR_NO_TOKEN:
			return ERRCODE_TV_PROVIDER_UNAVAILABLE;
		case TV_ERR_BAD_PIN:
		case TV_ERR_INSECURE:
			return ERRCODE_TV_PROVIDER_DENIED;
		case TV_ERR_NO_KEY:
			return ERRCODE_TV_KEY_MISSING;
		case TV_ERR_KEY_EXISTS:
			return ERRCODE_DUPLICATE_OBJECT;
		case TV_ERR_BAD_KEY:
		case TV_ERR_AUTH:
			return ERRCODE_TV_KEY_MISMATCH;
		case TV_ERR_IO:
			return ERRCODE_IO_ERROR;
		case TV_ERR_TRUNCATED:
		case TV_ERR_CORRUPT:
		case TV_ERR_VERSION:
			return ERRCODE_TV_KEYRING;
		case TV_ERR_NO_MEMORY:
			return ERRCODE_OUT_OF_MEMORY;
		case TV_ERR_INTERNAL:
			return ERRCODE_INTERNAL_ERROR;
	}
	return ERRCODE_INTERNAL_ERROR;
}

void
tv_report(int elevel, const TvError *err)
{
	ereport(elevel,
			(errcode(sqlstate_of(err->status)),
			 errmsg_internal("%s", err->message),
			 err->detail[0] ? errdetail_internal("%s", err->detail) : 0,
			 err->hint[0] ? errhint("%s", err->hint) : 0));
}

void
tv_require_writable(const char *statement)
{
	/* on a standby every transaction is read only, too, which would say less */
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s during recovery", statement),
				 errhint("Give it on the primary; standbys follow.")));
	PreventCommandIfReadOnly(statement);
}
