/*
 * tv_page_statistics.c
 *	  The planner's statistics, which hold values of encrypted tables.
 *
 * ANALYZE keeps most common values and histograms in pg_statistic and
 * pg_statistic_ext_data.  They are sealed by writing them anew, as other
 * catalogs can be (tv_page_catalog.c).
 *
 * The planner reads them for every query, also of plain tables.  While their
 * key cannot be had, it is told that there are none (selfuncs.c, lsyscache.c);
 * of whole statistics by the guard, whose hooks for them these are.
 *
 * Sealing happens after the first statement that makes an encrypted file in a
 * database, and before ANALYZE reads the first rows of one at the latest.
 */
#include "page/tv_page_statistics.h"

#include "access/xact.h"
#include "catalog/pg_statistic_d.h"
#include "catalog/pg_statistic_ext_data_d.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"
#include "utils/relcache.h"
#include "utils/selfuncs.h"

#include "base/tv_hot.h"
#include "base/tv_report.h"
#include "keyring/tv_keyring.h"
#include "page/tv_page_catalog.h"

static const Oid catalogs[] = {StatisticRelationId, StatisticExtDataRelationId};

static bool file_was_sealed = false;

bool
tv_statistics_is_catalog(Oid table)
{
	return table == StatisticRelationId || table == StatisticExtDataRelationId;
}

bool
tv_statistics_sealed(void)
{
	return tv_catalog_is_sealed(catalogs[0]) && tv_catalog_is_sealed(catalogs[1]);
}

void
tv_statistics_seal(bool seal)
{
	for (int i = 0; i < lengthof(catalogs); i++)
		(void) tv_catalog_rewrite(catalogs[i], seal);
}

/* --- while the key is away ----------------------------------------------------- */

static TV_HOT_DATA get_attavgwidth_hook_type next_average_width = NULL;

TV_HOT_DATA bool tv_statistics_were_readable = false;

bool
tv_statistics_become_readable(void)
{
	static LocalTransactionId failed = InvalidLocalTransactionId;
	TvKeyringFile known;
	TvKeyHandle handle = {0};
	Relation	rel;
	RelFileNode node;
	TvError		err;

	if (failed == MyProc->lxid)
		return false;
	rel = RelationIdGetRelation(catalogs[0]);
	if (!RelationIsValid(rel))
		return true;
	node = rel->rd_node;
	RelationClose(rel);
	tv_statistics_were_readable = !tv_keyring_lookup(&node, &known) ||
		tv_keyring_context(known.key, known.epoch, TV_PURPOSE_TWEAK, TV_CIPHER_AES_256_XTS,
						   &handle, &err) != NULL;
	if (tv_statistics_were_readable)
		return true;
	failed = MyProc->lxid;
	tv_error_detail(&err, "Plans are made without the planner's statistics, whose key is not at hand.");
	tv_report(WARNING, &err);
	return false;
}

/* 0: the caller goes on to the catalog, so what cannot be read is said to be 32. */
static TV_HOT int32
average_width(Oid relid, AttrNumber attnum)
{
	int32		width = next_average_width ? next_average_width(relid, attnum) : 0;

	return width > 0 || tv_statistics_readable() ? width : 32;
}

void
tv_statistics_init(void)
{
	next_average_width = get_attavgwidth_hook;
	get_attavgwidth_hook = average_width;
}

/* --- when --------------------------------------------------------------------- */

void
tv_statistics_note_sealed(void)
{
	file_was_sealed = true;
}

/*
 * In a transaction of many statements the lock would be held to its end, and
 * nobody could plan a query; such a transaction leaves it to those who come
 * after.
 */
void
tv_statistics_follow(void)
{
	if (likely(!file_was_sealed) || IsTransactionBlock() || !IsTransactionState())
		return;
	file_was_sealed = false;
	if (!tv_statistics_sealed())
		tv_statistics_seal(true);
}

void
tv_statistics_before_analyze(Relation rel)
{
	static LocalTransactionId checked = InvalidLocalTransactionId;
	TvKeyringFile known;

	if (checked == MyProc->lxid)
		return;
	/* of a temporary table nobody knows where its rows come from */
	if (RelationUsesLocalBuffers(rel) ? !tv_keyring_database_in_use(MyDatabaseId) :
		!tv_keyring_lookup(&rel->rd_node, &known) || known.released)
		return;
	if (!tv_statistics_sealed())
		tv_statistics_seal(true);
	checked = MyProc->lxid;
}
