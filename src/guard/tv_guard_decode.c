/*
 * tv_guard_decode.c
 *	  Logical decoding leaves out protected tables.
 *
 * A decoder gets all changes of a database, and PostgreSQL's own permissions
 * know only "may replicate".  Every decoder, that of pg_recvlogical or a
 * subscription as well as that of the SQL functions, is made by
 * CreateDecodingContext() (logical.c), and is given each change by the callback
 * in it.  Changes of protected tables end there, unless the session is one that
 * may export them.  So replication of other tables goes on.
 */
#include "postgres.h"

#include "replication/logical.h"
#include "replication/reorderbuffer.h"
#include "utils/rel.h"

#include "attach/tv_attach.h"
#include "guard/tv_guard_internal.h"

static LogicalDecodingContext *(*next_create) (XLogRecPtr start_lsn, List *options, bool fast_forward,
											   XLogReaderRoutine *xl_routine,
											   LogicalOutputPluginWriterPrepareWrite prepare_write,
											   LogicalOutputPluginWriterWrite do_write,
											   LogicalOutputPluginWriterUpdateProgress update_progress);
static ReorderBufferApplyChangeCB next_change = NULL;
static ReorderBufferStreamChangeCB next_stream_change = NULL;

static bool
left_out(Relation rel)
{
	static Oid	told = InvalidOid;
	Oid			relid = RelationGetRelid(rel);

	if (likely(!tv_vault_on()) || !tv_vault_protects(relid) ||
		tv_guard_allows(relid, TV_ACTION_COPY, NULL))
		return false;
	if (told != relid)
		ereport(LOG,
				(errmsg("logical decoding leaves out %s", tv_guard_name(relid)),
				 errdetail("It is in a realm, and this session may not export it.")));
	told = relid;
	return true;
}

static void
change(ReorderBuffer *rb, ReorderBufferTXN *txn, Relation rel, ReorderBufferChange *changed)
{
	if (!left_out(rel))
		next_change(rb, txn, rel, changed);
}

static void
stream_change(ReorderBuffer *rb, ReorderBufferTXN *txn, Relation rel, ReorderBufferChange *changed)
{
	if (!left_out(rel))
		next_stream_change(rb, txn, rel, changed);
}

static LogicalDecodingContext *
create_context(XLogRecPtr start_lsn, List *options, bool fast_forward, XLogReaderRoutine *xl_routine,
			   LogicalOutputPluginWriterPrepareWrite prepare_write,
			   LogicalOutputPluginWriterWrite do_write,
			   LogicalOutputPluginWriterUpdateProgress update_progress)
{
	LogicalDecodingContext *context = next_create(start_lsn, options, fast_forward, xl_routine,
												  prepare_write, do_write, update_progress);

	/* always the same two functions of logical.c */
	next_change = context->reorder->apply_change;
	context->reorder->apply_change = change;
	next_stream_change = context->reorder->stream_change;
	context->reorder->stream_change = stream_change;
	return context;
}

void
tv_guard_decode_init(void)
{
	next_create = tv_attach_detour((void *) CreateDecodingContext, "CreateDecodingContext",
								   (void *) create_context);
}
