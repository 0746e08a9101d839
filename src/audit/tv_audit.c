/*
 * tv_audit.c
 *	  The audit log: the entry point.
 */
#include "audit/tv_audit_internal.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/tv_report.h"
#include "base/tv_shmem.h"

/* Making ready the log's own key can be an event, too. */
static bool writing = false;

static TvStatus
write_event(const TvAuditEvent *event, bool durable, bool catalogs, TvError *err)
{
	MemoryContext context;
	MemoryContext before;
	StringInfoData body;
	volatile TvStatus status = TV_OK;

	context = AllocSetContextCreate(CurrentMemoryContext, "tde_vault audit event",
									ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(context);
	writing = true;
	PG_TRY();
	{
		initStringInfo(&body);
		tv_audit_body(event, catalogs, &body);
		status = tv_audit_append(body.data, body.len, durable, err);
	}
	PG_FINALLY();
	{
		writing = false;
		MemoryContextSwitchTo(before);
	}
	PG_END_TRY();
	MemoryContextDelete(context);
	return status;
}

static void
report(int elevel, const TvAuditEvent *event, const TvError *err)
{
	bool		io = err->status == TV_ERR_IO || err->status == TV_ERR_INVALID_ARGUMENT;

	ereport(elevel,
			(errcode(ERRCODE_TV_AUDIT_FAILED),
			 errmsg("could not write audit event %s", event->type),
			 errdetail_internal("%s%s%s", err->message, err->detail[0] ? ": " : ".", err->detail),
			 err->hint[0] ? errhint("%s", err->hint) :
			 io ? errhint("What cannot be audited is not done. See to tde_vault.audit_directory.") :
			 errhint("What cannot be audited is not done. The log's key is in the keyring, under the cluster's master key; its provider must be reachable.")));
}

void
tv_audit(const TvAuditEvent *event, bool durable)
{
	TvError		err;

	if (write_event(event, durable, true, &err) != TV_OK)
		report(ERROR, event, &err);
}

static bool
write_nothrow(const TvAuditEvent *event, bool durable, bool catalogs)
{
	MemoryContext before = CurrentMemoryContext;
	uint32		holdoff = InterruptHoldoffCount;
	TvError		err;
	volatile TvStatus status = TV_ERR_INTERNAL;

	if (writing || CritSectionCount > 0)
		return false;
	PG_TRY();
	{
		status = write_event(event, durable, catalogs, &err);
	}
	PG_CATCH();
	{
		static const TvLock locks[] = {TV_LOCK_AUDIT, TV_LOCK_AUDIT_SYNC};

		/* only want of memory gets here; the locks are ours to give back */
		MemoryContextSwitchTo(before);
		InterruptHoldoffCount = holdoff;
		for (int i = 0; i < lengthof(locks); i++)
		{
			if (LWLockHeldByMe(tv_shmem_lock(locks[i])))
			{
				HOLD_INTERRUPTS();	/* LWLockRelease() resumes them */
				LWLockRelease(tv_shmem_lock(locks[i]));
			}
		}
		FlushErrorState();
		(void) tv_error(&err, TV_ERR_NO_MEMORY, "out of memory");
	}
	PG_END_TRY();
	if (status != TV_OK)
		report(catalogs ? WARNING : LOG, event, &err);
	return status == TV_OK;
}

bool
tv_audit_nothrow(const TvAuditEvent *event, bool durable)
{
	return write_nothrow(event, durable, true);
}

bool
tv_audit_deep(const TvAuditEvent *event, bool durable)
{
	return write_nothrow(event, durable, false);
}

void
tv_audit_init(void)
{
	tv_audit_file_init();
	tv_audit_anchor_init();
	tv_audit_keys_init();
}
