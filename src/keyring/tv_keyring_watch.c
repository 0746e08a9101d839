/*
 * tv_keyring_watch.c
 *	  Telling a higher layer what happens to keys.
 */
#include "keyring/tv_keyring_internal.h"

#include "miscadmin.h"
#include "storage/proc.h"

static TvKeyringWatch watch = NULL;

void
tv_keyring_set_watch(TvKeyringWatch callback)
{
	watch = callback;
}

void
tv_keyring_tell(TvKeyringEvent what, uint64 id, Oid database, Oid table, const TvError *err)
{
	/* not while the postmaster loads or recovery repeats what was told before */
	if (watch == NULL || MyProc == NULL || CritSectionCount > 0 || AmStartupProcess())
		return;
	watch(what, id, database, table, err);
}
