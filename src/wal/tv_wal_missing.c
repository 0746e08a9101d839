/*
 * tv_wal_missing.c
 *	  WAL whose key no longer exists.
 */
#include "wal/tv_wal_missing.h"

#include <unistd.h>

#include "access/xlogrecovery.h"
#include "common/relpath.h"
#include "utils/hsearch.h"

#include "base/tv_report.h"
#include "keyring/tv_keyring.h"

typedef struct MissingFile
{
	RelFileNode node;			/* hash key */
	uint64		key;
	uint16		epoch;
	XLogRecPtr	lsn;			/* first record that was skipped */
} MissingFile;

static HTAB *missing = NULL;

/* Is the file still there, and still under the key that is gone? */
static bool
is_left(const MissingFile *file)
{
	TvKeyringFile known;
	TvKeyringKey key;
	char	   *path;
	bool		exists;

	if (tv_keyring_lookup(&file->node, &known) && tv_keyring_key(known.key, 0, &key) &&
		known.key != file->key)
		return false;			/* the number is used again */

	/*
	 * A version that was replaced: when WAL is replayed to where no page had
	 * it any more, images of all pages have come since.
	 */
	if (tv_keyring_lookup(&file->node, &known) && known.key == file->key &&
		tv_keyring_key(known.key, 0, &key) && key.floor > file->epoch &&
		GetXLogReplayRecPtr(NULL) >= key.floor_lsn)
		return false;
	path = relpathperm(file->node, MAIN_FORKNUM);
	exists = access(path, F_OK) == 0;
	pfree(path);
	return exists;
}

static void
check_all(void)
{
	HASH_SEQ_STATUS scan;
	MissingFile *file;

	if (missing == NULL)
		return;
	hash_seq_init(&scan, missing);
	while ((file = hash_seq_search(&scan)) != NULL)
	{
		if (!is_left(file))
			continue;
		ereport(FATAL,
				(errcode(ERRCODE_TV_KEY_MISSING),
				 errmsg("keyring does not hold the key of file \"%s\"",
						relpathperm(file->node, MAIN_FORKNUM)),
				 errdetail("The WAL record at %X/%X is about that file, and encrypted.",
						   LSN_FORMAT_ARGS(file->lsn)),
				 errhint("The keyring is older than the data. Restore both from the same backup.")));
	}
	hash_destroy(missing);
	missing = NULL;
}

void
tv_wal_missing_note(const DecodedXLogRecord *record, uint64 key, uint16 epoch)
{
	if (missing == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(RelFileNode);
		ctl.entrysize = sizeof(MissingFile);
		missing = hash_create("tde_vault files without key", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	for (int i = 0; i <= record->max_block_id; i++)
	{
		MissingFile *file;
		bool		found;

		if (!record->blocks[i].in_use)
			continue;
		file = hash_search(missing, &record->blocks[i].rnode, HASH_ENTER, &found);
		if (found)
			continue;
		file->key = key;
		file->epoch = epoch;
		file->lsn = record->lsn;
	}
	tv_wal_missing_check();
}

void
tv_wal_missing_check(void)
{
	if (unlikely(missing != NULL) && reachedConsistency)
		check_all();
}

void
tv_wal_missing_finish(void)
{
	check_all();
}
