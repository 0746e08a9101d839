/*
 * tv_depend.h
 *	  Walks through pg_depend: what hangs on an object, and on what it hangs.
 *
 *		TvDepend	walk = tv_dependents(class, object, NULL);
 *		Form_pg_depend row;
 *
 *		while ((row = tv_depend_next(&walk)) != NULL)
 *			...
 *
 * A walk ends itself with its last row, so it is walked to the end; an error
 * on the way releases it, as it does any scan.
 */
#ifndef TV_DEPEND_H
#define TV_DEPEND_H

#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_depend.h"
#include "utils/snapshot.h"

typedef struct TvDepend
{
	Relation	catalog;
	SysScanDesc scan;
} TvDepend;

/* Rows of objects that depend on this one.  snapshot NULL: what is committed. */
extern TvDepend tv_dependents(Oid class, Oid object, Snapshot snapshot);

/* Rows of objects on which this one depends. */
extern TvDepend tv_dependencies(Oid class, Oid object, Snapshot snapshot);

/* The next row, good until the next call; NULL: that was all. */
extern Form_pg_depend tv_depend_next(TvDepend *walk);

#endif							/* TV_DEPEND_H */
