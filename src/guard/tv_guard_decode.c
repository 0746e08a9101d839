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
 *
 * A decoder sees catalogs as they were.  The rows of a table that was rewritten
 * are those of a table that is gone, and which names the other (relrewrite).
 * What the vault said of a table that was dropped it says no longer.
 */
#include "postgres.h"

#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "replication/logical.h"
#include "replication/reorderbuffer.h"
#include "utils/rel.h"

#include "attach/tv_attach.h"
#include "guard/tv_guard_internal.h"
#include "page/tv_page_decide.h"

static LogicalDecodingContext *(*next_create) (XLogRecPtr start_lsn, List *options, bool fast_forward,
											   XLogReaderRoutine *xl_routine,
											   LogicalOutputPluginWriterPrepareWrite prepare_write,
											   LogicalOutputPluginWriterWrite do_write,
											   LogicalOutputPluginWriterUpdateProgress update_progress);
static ReorderBufferApplyChangeCB next_change = NULL;
static ReorderBufferStreamChangeCB next_stream_change = NULL;

/* Is there such a relation now? */
static bool
exists(Oid relid)
{
	TvLookup	lookup;
	bool		result = HeapTupleIsValid(tv_guard_lookup(&lookup, RelationRelationId, ClassOidIndexId,
														  Anum_pg_class_oid, relid));

	tv_guard_end_lookup(&lookup);
	return result;
}

/* May its table, encrypted as those of realms are, have been in one?  Only who has dropped it knew. */
static bool
may_have_been_protected(Relation rel, Oid relid)
{
	return tv_page_is_encrypted_table(rel) && !exists(relid);
}

static bool
left_out(Relation rel)
{
	static Oid	told = InvalidOid;
	Oid			relid = OidIsValid(rel->rd_rel->relrewrite) ? rel->rd_rel->relrewrite : RelationGetRelid(rel);
	bool		protected;

	if (likely(!tv_vault_on()))
		return false;
	protected = tv_vault_protects(relid);
	if (protected ? tv_guard_allows(relid, TV_ACTION_COPY, NULL) : !may_have_been_protected(rel, relid))
		return false;
	if (told != relid)
		ereport(LOG,
				(errmsg("logical decoding leaves out %s", tv_guard_name(relid)),
				 protected ? errdetail("It is in a realm, and this session may not export it.") :
				 errdetail("It was encrypted and is dropped: it may have been in a realm.")));
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
