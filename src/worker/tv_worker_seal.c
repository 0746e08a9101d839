/*
 * tv_worker_seal.c
 *	  Sealing a table's files: under which keys they are, and which they get.
 *
 * Mostly it is one key.  But an index of a plain table in an encrypted
 * tablespace has one of its own, and a file keeps the key that it has or had:
 * recovery finds the key of WAL by the file that it is about.
 */
#include "worker/tv_worker_internal.h"

#include "access/genam.h"
#include "access/relation.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "page/tv_page_decide.h"
#include "page/tv_page_renew.h"
#include "page/tv_page_smgr.h"
#include "page/tv_page_tablespace.h"

static void
announce(TvWorkerOperation *operation, void *argument)
{
	if (operation->state == TV_WORKER_WAITING)
		operation->kind = *(TvWorkerKind *) argument;
}

void
tv_worker_show_operation(uint64 id, TvWorkerKind kind)
{
	TvKeyringKey key;
	int			slot = tv_keyring_key(id, 0, &key) ? tv_worker_slot(&key) : -1;

	if (slot >= 0)
		tv_worker_change(slot, announce, &kind);
}

List *
tv_worker_add_key(List *found, const TvKeyringFile *file)
{
	TvKeyringFile *copy;
	ListCell   *lc;

	foreach(lc, found)
	{
		if (((TvKeyringFile *) lfirst(lc))->key == file->key)
			return found;
	}
	copy = palloc(sizeof(*copy));
	*copy = *file;
	return lappend(found, copy);
}

List *
tv_worker_keys_in_use(Relation rel, bool by_place)
{
	List	   *family = list_concat(tv_worker_family(rel, AccessShareLock),
									 getOwnedSequences(RelationGetRelid(rel)));
	List	   *found = NIL;
	ListCell   *lc;

	foreach(lc, family)
	{
		Relation	one = relation_open(lfirst_oid(lc), AccessShareLock);
		TvKeyringFile known;
		TvKeyringScope scope;

		if (tv_keyring_lookup(&one->rd_node, &known) && !known.plain && !known.released &&
			(by_place || !tv_tablespace_scope_of(&one->rd_node, &scope)))
			found = tv_worker_add_key(found, &known);
		relation_close(one, AccessShareLock);
	}
	list_free(family);
	return found;
}

bool
tv_worker_has_key(const RelFileNode *node, TvKeyringFile *known)
{
	TvKeyringKey key;

	return tv_keyring_lookup(node, known) && tv_keyring_key(known->key, 0, &key) &&
		key.database == MyDatabaseId;
}

/* Has an index one that a tablespace sealed while its table was plain? */
static bool
index_has_key(Relation rel, TvKeyringFile *known)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;
	bool		found = false;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		found = tv_worker_has_key(&index->rd_node, known);
		index_close(index, AccessShareLock);
		if (found)
			break;
	}
	list_free(indexes);
	return found;
}

/* *released: it was decrypted, and is to get a new version of the key it had. */
uint64
tv_worker_key_of(Relation rel, TvCipher cipher, bool *released)
{
	TvKeyringFile known;
	TvKeyringScope scope;
	uint64		id;
	TvCipher	actual;
	TvError		err;

	*released = false;
	if (tv_worker_has_key(&rel->rd_node, &known) || index_has_key(rel, &known))
	{
		*released = known.released;
		return known.key;
	}
	id = tv_worker_prepared_key(RelationGetRelid(rel));
	if (id != 0)
		return id;
	if (tv_tablespace_scope_of(&rel->rd_node, &scope))
		tv_worker_check(tv_keyring_key_in_scope(MyDatabaseId, RelationGetRelid(rel), &scope, &id, &actual, &err), &err);
	else
		tv_worker_check(tv_keyring_key_for_table(MyDatabaseId, RelationGetRelid(rel), cipher, 0,
									   &id, &actual, &err), &err);
	return id;
}

static void
renew_key(uint64 id, TvCipher cipher, bool released)
{
	TvKeyringKey key;
	uint16		epoch;
	TvError		err;

	if (!tv_keyring_key(id, 0, &key))
		elog(ERROR, "keyring lost a table key");
	if (released || key.cipher != cipher)
		tv_worker_check(tv_keyring_add_version(id, cipher, &epoch, &err), &err);
}

/*
 * The key to encrypt with.  A table that was decrypted gets a new version of
 * the key it had: log that recovery may read is sealed under that key.
 */
uint64
tv_worker_choose_key(Relation rel, TvCipher cipher)
{
	bool		released;
	uint64		id = tv_worker_key_of(rel, cipher, &released);

	renew_key(id, cipher, released);
	return id;
}

/*
 * From the record on, everybody seals what is written to the file.  One that
 * has another key, or had one, as indexes of a table may that a tablespace
 * sealed at different times, keeps that, for the same reason as a table.
 */
void
tv_worker_seal_file(Oid relid, uint64 key, TvCipher cipher, uint16 work)
{
	Relation	rel = relation_open(relid, AccessExclusiveLock);
	bool		permanent = rel->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT;
	RelFileNode node = rel->rd_node;
	TvKeyringFile known;
	bool		is_known = tv_keyring_lookup(&node, &known);
	bool		in_use = is_known && !known.released && !known.plain;
	BlockNumber prepared = tv_worker_prepared(&node, key);
	TvError		err;

	if (in_use)
		key = known.key;
	else if (tv_worker_has_key(&node, &known) && known.key != key)
	{
		key = known.key;
		tv_worker_check(tv_keyring_set_work(key, work, InvalidXLogRecPtr, &err), &err);
		renew_key(key, cipher, known.released);
	}
	if (permanent && tv_cipher_has_nonce(cipher))
		tv_page_reserve_sidecar(&node, key, prepared,
								tv_page_nblocks(RelationGetSmgr(rel), MAIN_FORKNUM),
								prepared == 0 && (!is_known || known.key != key));
	relation_close(rel, NoLock);
	if (in_use)
		return;
	tv_worker_check(tv_keyring_assign(&node, key, permanent ? cipher : TV_CIPHER_AES_256_XTS,
							permanent ? 0 : TV_FILE_UNLOGGED, &err), &err);
}

/* A file that kept its key gets the table's cipher nevertheless. */
static void
align_key(uint64 id, TvCipher cipher, uint16 work, TvWorkerKind kind)
{
	TvKeyringKey key;
	TvError		err;

	if (!tv_keyring_key(id, 0, &key))
		elog(ERROR, "keyring lost a table key");
	if (key.cipher != cipher)
	{
		tv_worker_check(tv_keyring_set_work(id, work, InvalidXLogRecPtr, &err), &err);
		renew_key(id, cipher, false);
	}
	else if (!key.work)
		return;
	tv_worker_show_operation(id, kind);
}

void
tv_worker_seal_family(Relation rel, TvCipher cipher)
{
	List	   *family = tv_worker_family(rel, AccessExclusiveLock);
	TvWorkerKind kind = tv_page_is_encrypted_table(rel) ? TV_WORK_CIPHER : TV_WORK_ENCRYPT;
	uint64		key = tv_worker_choose_key(rel, cipher);
	uint16		work = TV_WORK_PENDING | TV_WORK_MAY_DECRYPT;
	ListCell   *lc;
	TvError		err;

	/* first: whatever happens now, a worker looks at it */
	tv_worker_check(tv_keyring_set_work(key, work, InvalidXLogRecPtr, &err), &err);
	foreach(lc, family)
		tv_worker_seal_file(lfirst_oid(lc), key, cipher, work);
	foreach(lc, tv_worker_keys_in_use(rel, true))
		align_key(((TvKeyringFile *) lfirst(lc))->key, cipher, work, kind);
	tv_worker_check(tv_keyring_flush(&err), &err);
	tv_worker_wake_at_commit();
}

bool
tv_worker_has_cipher(Relation rel, TvCipher cipher)
{
	ListCell   *lc;

	foreach(lc, tv_worker_keys_in_use(rel, true))
	{
		if (((TvKeyringFile *) lfirst(lc))->cipher != cipher)
			return false;
	}
	return true;
}
