/*
 * tv_page_open.c
 *	  Open a page that was read from disk, and say what is wrong with it.
 */
#include "page/tv_page_open.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "access/xlogutils.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/rel.h"

#include "base/tv_report.h"
#include "page/tv_page_catalog.h"
#include "page/tv_page_codec.h"
#include "page/tv_page_lost.h"
#include "page/tv_page_smgr.h"

/*
 * Must the page be of a later version than epoch?  While WAL is replayed, the
 * keyring may be ahead of it: what it says about versions holds from a position
 * in WAL on.  The startup process itself may meet pages that an image which
 * follows brings up to date.
 */
static bool
below_floor(const TvPageFile *file, uint16 epoch)
{
	if (likely(epoch >= file->known.floor) || file->temporary)
		return false;
	if ((epoch == 0 && file->known.always_sealed) || !RecoveryInProgress())
		return true;
	return !InRecovery && GetXLogReplayRecPtr(NULL) >= file->known.floor_lsn;
}

/*
 * Was the version destroyed?  Then no WAL that this server needs is below it.
 * But a base backup may hold pages of before, and a keyring of after.
 */
static bool
is_destroyed(const TvPageFile *file, uint16 epoch)
{
	TvKeyringKey key;

	return epoch < file->epoch && !file->temporary && !tv_keyring_key(file->key, epoch, &key);
}

/* A page without key version: new, or not what it should be. */
static void
examine_unsealed(TvPageFile *file, ForkNumber fork, BlockNumber block, bool fresh,
				 const char *page, TvPageExam *exam)
{
	TvPageEntry entry;

	if (!tv_page_is_zero((const uint8_t *) page))
	{
		exam->verdict = file->temporary || below_floor(file, 0) ?
			TV_VERDICT_UNSEALED : TV_VERDICT_PLAIN;
		return;
	}
	exam->verdict = TV_VERDICT_NEW;
	if (!tv_page_has_sidecar(file, fork))
		return;
	exam->sidecar = tv_sidecar_read(&file->sidecar, block, fresh, &entry, &exam->cached);

	/* an extension of the sidecar may not have survived a power cut */
	if (exam->sidecar == TV_SIDECAR_SHORT)
		return;
	if (exam->sidecar != TV_SIDECAR_OK)
		exam->verdict = TV_VERDICT_NO_ENTRY;
	else if (entry.flags & TV_ENTRY_IN_USE)
		exam->verdict = TV_VERDICT_ZEROED;
}

void
tv_page_examine(TvPageFile *file, ForkNumber fork, BlockNumber block, bool fresh,
				char *page, TvPageExam *exam)
{
	bool		sidecar;
	TvPageIdentity identity;
	TvPageEntry entry;
	const TvCipherContext *context;

	exam->sidecar = TV_SIDECAR_OK;
	exam->cached = false;
	exam->epoch = tv_page_epoch_of(tv_page_flags((const uint8_t *) page));
	if (unlikely(exam->epoch == 0))
	{
		examine_unsealed(file, fork, block, fresh, page, exam);
		return;
	}
	if (unlikely(exam->epoch > file->epoch))
	{
		exam->verdict = TV_VERDICT_NO_KEY_VERSION;
		return;
	}
	if (unlikely(below_floor(file, exam->epoch) || is_destroyed(file, exam->epoch)))
	{
		exam->verdict = TV_VERDICT_OLD_VERSION;
		return;
	}
	sidecar = tv_page_version_has_sidecar(file, fork, exam->epoch);
	context = tv_page_context(file, fork, block, exam->epoch, &identity, &exam->err);
	if (unlikely(context == NULL))
	{
		exam->verdict = TV_VERDICT_KEY_UNAVAILABLE;
		return;
	}
	if (sidecar)
	{
		exam->sidecar = tv_sidecar_read(&file->sidecar, block, fresh, &entry, &exam->cached);
		if (unlikely(exam->sidecar != TV_SIDECAR_OK || !(entry.flags & TV_ENTRY_IN_USE)))
		{
			exam->verdict = TV_VERDICT_NO_ENTRY;
			return;
		}
	}
	switch (tv_page_open(context, &identity, DataChecksumsEnabled(), page,
						 sidecar ? &entry : NULL))
	{
		case TV_PAGE_GOOD:
			exam->verdict = TV_VERDICT_GOOD;
			return;
		case TV_PAGE_BAD_CHECKSUM:
			exam->verdict = TV_VERDICT_CHECKSUM;
			return;
		case TV_PAGE_BAD_TAG:
			break;
	}
	exam->verdict = TV_VERDICT_TAG;
}

static const char *
verdict_message(const TvPageExam *exam)
{
	switch (exam->verdict)
	{
		case TV_VERDICT_TAG:
			return "decryption failed: authentication tag verification failed";
		case TV_VERDICT_CHECKSUM:
			return "decryption failed: checksum of the encrypted page does not match";
		case TV_VERDICT_UNSEALED:
			return "page of an encrypted relation is not encrypted";
		case TV_VERDICT_ZEROED:
			return "page of an encrypted relation was replaced by zeros";
		case TV_VERDICT_NO_ENTRY:
			return "authentication tag of an encrypted page is missing";
		case TV_VERDICT_NO_KEY_VERSION:
			return "page is encrypted under a key version that does not exist";
		case TV_VERDICT_OLD_VERSION:
			return "page is encrypted under a key version that was replaced";
		case TV_VERDICT_GOOD:
		case TV_VERDICT_NEW:
		case TV_VERDICT_PLAIN:
		case TV_VERDICT_KEY_UNAVAILABLE:
			break;
	}
	return "page cannot be decrypted";
}

/* "relation "t"", or its file where no relation is at hand */
static char *
describe(SMgrRelation reln, ForkNumber fork)
{
	char	   *path = relpath(reln->smgr_rnode, fork);
	Relation	rel;

	if (reln->smgr_owner == NULL)
		return psprintf("relation file \"%s\"", path);
	rel = (Relation) ((char *) reln->smgr_owner - offsetof(RelationData, rd_smgr));
	return psprintf("relation \"%s\" (file \"%s\")", RelationGetRelationName(rel), path);
}

static void
report(int elevel, const TvPageExam *exam, SMgrRelation reln, ForkNumber fork,
	   BlockNumber block)
{
	const char *sidecar = exam->sidecar == TV_SIDECAR_OK ? "" :
		psprintf(" Its sidecar file %s.", tv_sidecar_problem(exam->sidecar));

	ereport(elevel,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg_internal("%s", verdict_message(exam)),
			 errdetail("Block %u of %s.%s", block, describe(reln, fork), sidecar),
			 errhint("The key is the right one, as its own authentication succeeded: the page or its sidecar entry was damaged or changed. Restore the relation from a backup.")));
}

/*
 * A key cannot be had.  That of a catalog keeps sessions from beginning, and
 * they see nothing but this.
 */
static void
report_key(TvError *err, const TvPageFile *file)
{
	char		detail[TV_ERROR_TEXT_MAX];

	if (!file->temporary && tv_catalog_has_file(&file->rnode.node))
	{
		strlcpy(detail, err->detail, sizeof(detail));
		tv_error_detail(err, "%s%sThe system catalogs of database %u are encrypted: it cannot be used until their keys can be had. Other databases can.",
						detail, detail[0] ? " " : "", file->rnode.node.dbNode);
	}
	tv_report(ERROR, err);
}

static bool
is_fine(TvPageVerdict verdict)
{
	return verdict == TV_VERDICT_GOOD || verdict == TV_VERDICT_NEW ||
		verdict == TV_VERDICT_PLAIN;
}

static bool
is_map(ForkNumber fork)
{
	return fork == FSM_FORKNUM || fork == VISIBILITYMAP_FORKNUM;
}

/*
 * Maps are not logged, so replay may meet them before their new image, and those
 * of a base backup before the version of the key that they were copied under.
 */
static bool
is_of_other_time(ForkNumber fork, TvPageVerdict verdict)
{
	return InRecovery && is_map(fork) &&
		(verdict == TV_VERDICT_OLD_VERSION || verdict == TV_VERDICT_NO_KEY_VERSION);
}

void
tv_page_open_read(TvPageFile *file, SMgrRelation reln, ForkNumber fork,
				  BlockNumber block, char *page)
{
	TvPageExam	exam;

	if (unlikely(!file->verified))
	{
		if (tv_keyring_verify_file(&file->rnode.node, &exam.err) != TV_OK)
			report_key(&exam.err, file);
		file->verified = true;
	}
	tv_page_examine(file, fork, block, false, page, &exam);
	if (likely(is_fine(exam.verdict)))
		return;

	if (exam.cached)
	{
		/* another process may have written the page since */
		tv_page_read_raw(reln, fork, block, page);
		tv_page_examine(file, fork, block, true, page, &exam);
		if (is_fine(exam.verdict))
			return;
	}
	if (exam.verdict == TV_VERDICT_KEY_UNAVAILABLE)
		report_key(&exam.err, file);
	if (InRecovery && fork == MAIN_FORKNUM &&
		tv_page_lost_accept(&file->rnode.node, block, page))
		return;

	/*
	 * Maps are hints that may be torn by a crash; empty ones are correct.  In
	 * other forks zero_damaged_pages asks for the same.
	 */
	if (is_map(fork) || zero_damaged_pages)
	{
		report(is_of_other_time(fork, exam.verdict) ? DEBUG1 : WARNING,
			   &exam, reln, fork, block);
		memset(page, 0, BLCKSZ);
		return;
	}
	report(ERROR, &exam, reln, fork, block);
}

void
tv_page_refuse_sealed(SMgrRelation reln, ForkNumber fork, BlockNumber block, char *page)
{
	/* damage of a plain page is the server's to report */
	if (tv_page_epoch_of(tv_page_flags((const uint8_t *) page)) == 0 ||
		reln->smgr_rnode.node.relNode < FirstNormalObjectId ||
		PageIsVerifiedExtended(page, block, 0))
		return;
	if (zero_damaged_pages)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("page is encrypted, or damaged, but the keyring does not know its file"),
			 errdetail("Block %u of %s.", block, describe(reln, fork)),
			 errhint("If the relation is encrypted, restore the keyring from a backup of the data directory.")));
}
