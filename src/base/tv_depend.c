/*
 * tv_depend.c
 *	  Walks through pg_depend: what hangs on an object, and on what it hangs.
 */
#include "base/tv_depend.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "utils/fmgroids.h"

static TvDepend
walk_from(Oid index, AttrNumber class_column, AttrNumber object_column,
		  Oid class, Oid object, Snapshot snapshot)
{
	TvDepend	walk = {.catalog = table_open(DependRelationId, AccessShareLock)};
	ScanKeyData key[2];

	ScanKeyInit(&key[0], class_column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(class));
	ScanKeyInit(&key[1], object_column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object));
	walk.scan = systable_beginscan(walk.catalog, index, true, snapshot, 2, key);
	return walk;
}

TvDepend
tv_dependents(Oid class, Oid object, Snapshot snapshot)
{
	return walk_from(DependReferenceIndexId, Anum_pg_depend_refclassid, Anum_pg_depend_refobjid,
					 class, object, snapshot);
}

TvDepend
tv_dependencies(Oid class, Oid object, Snapshot snapshot)
{
	return walk_from(DependDependerIndexId, Anum_pg_depend_classid, Anum_pg_depend_objid,
					 class, object, snapshot);
}

Form_pg_depend
tv_depend_next(TvDepend *walk)
{
	HeapTuple	tuple = systable_getnext(walk->scan);

	if (HeapTupleIsValid(tuple))
		return (Form_pg_depend) GETSTRUCT(tuple);
	systable_endscan(walk->scan);
	table_close(walk->catalog, AccessShareLock);
	return NULL;
}
