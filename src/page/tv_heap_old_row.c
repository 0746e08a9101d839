/*
 * tv_heap_old_row.c
 *	  Old rows that are too long for a WAL record.
 *
 * With REPLICA IDENTITY FULL heap logs the whole old row, with what is in its
 * TOAST table (heapam.c, ExtractReplicaIdentity).  A record that is longer than
 * the server can read is refused when it is inserted, in heap's critical
 * section: all sessions would end.  So such a row is refused before.
 */
#include "page/tv_heap_old_row.h"

#include "access/detoast.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* What is in the record beside the old row: two pages, the new row, headers. */
#define BESIDE (4 * BLCKSZ)
#define OLD_ROW_MAX (MaxAllocSize - XLOG_BLCKSZ - BESIDE)

/* As toast_flatten_tuple() would make it: fetched, but not decompressed. */
static uint64
flattened_length(HeapTuple tuple, TupleDesc desc)
{
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	uint64		length = tuple->t_len;

	heap_deform_tuple(tuple, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		struct varatt_external pointer;
		struct varlena *value;

		if (nulls[i] || TupleDescAttr(desc, i)->attlen != -1)
			continue;
		value = (struct varlena *) DatumGetPointer(values[i]);
		if (!VARATT_IS_EXTERNAL_ONDISK(value))
			continue;
		VARATT_EXTERNAL_GET_POINTER(pointer, value);
		length += VARHDRSZ + VARATT_EXTERNAL_GET_EXTSIZE(pointer);
	}
	pfree(values);
	pfree(nulls);
	return length;
}

void
tv_heap_check_old_row(Relation rel, ItemPointer tid)
{
	HeapTupleData tuple = {.t_self = *tid};
	Buffer		buffer;
	uint64		length = 0;

	if (!heap_fetch(rel, SnapshotAny, &tuple, &buffer, false))
		return;
	if (HeapTupleHasExternal(&tuple))
		length = flattened_length(&tuple, RelationGetDescr(rel));
	ReleaseBuffer(buffer);
	if (length <= OLD_ROW_MAX)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("row of " UINT64_FORMAT " bytes of table \"%s\" is too long to be logged",
					length, RelationGetRelationName(rel)),
			 errdetail("The table has REPLICA IDENTITY FULL, so a record of WAL would have the whole old row, and neither recovery nor a standby could read that."),
			 errhint("Delete or update it while the table has another replica identity.")));
}
