/*
 * tv_guard_large_object.c
 *	  Large objects, which belong to no table.
 *
 * That of a role which is authorized for realms is as open as any of these:
 * who may not use one of them, or has not unlocked it, neither reads nor
 * changes it, superuser or not.  All other large objects are as the server has
 * them.  pg_largeobject itself, which has everybody's, is read by nobody while
 * a vault is on in the database.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/indexing.h"
#include "catalog/pg_largeobject.h"
#include "catalog/pg_largeobject_metadata.h"
#include "storage/large_object.h"
#include "utils/snapmgr.h"

#include "attach/tv_attach.h"
#include "base/tv_hot.h"
#include "guard/tv_guard_internal.h"

static int	(*next_read) (LargeObjectDesc *object, char *buffer, int nbytes);

/* snapshot: NULL for that of catalogs, which does not see the command at hand */
static Oid
owner_of(Oid object, Snapshot snapshot)
{
	TvLookup	lookup;
	HeapTuple	tuple = tv_guard_lookup_as_of(&lookup, LargeObjectMetadataRelationId,
											  LargeObjectMetadataOidIndexId,
											  Anum_pg_largeobject_metadata_oid, object, snapshot);
	Oid			owner = HeapTupleIsValid(tuple) ?
		((Form_pg_largeobject_metadata) GETSTRUCT(tuple))->lomowner : InvalidOid;

	tv_guard_end_lookup(&lookup);
	return owner;
}

static void
check(Oid object, TvAction action, Oid owner, bool again)
{
	if (OidIsValid(owner))
		tv_guard_require_owned(owner, psprintf("large object %u", object), action, again);
}

/*
 * What somebody's table or view asks for in a user's name is not for them; what
 * those of the realm's people do is.
 */
void
tv_guard_check_large_object(Oid object, AclMode mode, const FmgrInfo *flinfo)
{
	Oid			owner = owner_of(object, SnapshotSelf);
	bool		told = OidIsValid(owner) && !tv_guard_is_written(flinfo) &&
		tv_guard_runs_others(true, tv_vault_realms_of_owned(owner));

	if (told)
		tv_guard_begin_told(flinfo->fn_oid);
	PG_TRY();
	{
		check(object, mode == ACL_SELECT ? TV_ACTION_SELECT : TV_ACTION_UPDATE, owner, false);
	}
	PG_FINALLY();
	{
		if (told)
			tv_guard_end_told(flinfo->fn_oid);
	}
	PG_END_TRY();
}

/* Another owner would be another's protection: the one before is asked about. */
void
tv_guard_large_object_altered(Oid object)
{
	check(object, TV_ACTION_ALTER, owner_of(object, NULL), false);
}

/* An entry of a query: the catalog, and its column with the contents? */
TV_HOT_VAULT bool
tv_guard_is_large_object_data(const RangeTblEntry *rte)
{
	return rte->relid == LargeObjectRelationId &&
		(rte->requiredPerms == 0 ||
		 bms_is_member(Anum_pg_largeobject_data - FirstLowInvalidHeapAttributeNumber, rte->selectedCols) ||
		 bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, rte->selectedCols));
}

void
tv_guard_refuse_large_objects(void)
{
	tv_guard_refuse("reading pg_largeobject", "Use lo_get() or lo_open(), which ask whose a large object is.");
}

/* One that is open may have been opened before its realm was locked. */
static int
read_again(LargeObjectDesc *object, char *buffer, int nbytes)
{
	if (unlikely(tv_vault_on_anywhere()) && tv_vault_on())
		check(object->id, TV_ACTION_SELECT, owner_of(object->id, SnapshotSelf), true);
	return next_read(object, buffer, nbytes);
}

void
tv_guard_large_object_init(void)
{
	next_read = tv_attach_detour((void *) inv_read, "inv_read", (void *) read_again);
}
