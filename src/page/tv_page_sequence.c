/*
 * tv_page_sequence.c
 *	  Sequences that belong to encrypted tables.
 *
 * A sequence is written before anybody owns it (CREATE TABLE with serial
 * makes it first and runs ALTER SEQUENCE OWNED BY last), so it is bound to the
 * table's key when it gets an owner and then rewritten.  The binding stands in
 * the keyring by pg_class.oid, because later files (TRUNCATE RESTART IDENTITY,
 * ALTER SEQUENCE) come when catalogs must not be read.
 *
 * The keyring knows no transactions.  A binding is made at once and taken back
 * when the transaction aborts; it is taken away when one commits.
 */
#include "page/tv_page_decide.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/tv_hot.h"
#include "base/tv_report.h"

/* Sequences bound, and to be unbound, in the transaction at hand. */
static List *bound = NIL;
static List *released = NIL;

/* The sequence that is being rewritten as plaintext. */
static Oid	plain_sequence = InvalidOid;

bool
tv_page_sequence_binding(Oid seqid, TvKeyringFile *known)
{
	return seqid != plain_sequence && tv_keyring_binding(MyDatabaseId, seqid, known);
}

/* After commit or abort: must not throw. */
static void
unbind_all(List *sequences)
{
	RelFileNode node = {InvalidOid, MyDatabaseId, InvalidOid};
	ListCell   *lc;
	TvError		err;

	foreach(lc, sequences)
	{
		node.relNode = lfirst_oid(lc);
		if (tv_keyring_forget(&node, &err) != TV_OK)
			tv_report(WARNING, &err);
	}
}

static TV_HOT_VAULT void
end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			unbind_all(released);
			break;
		case XACT_EVENT_ABORT:
			unbind_all(bound);
			break;
		default:
			return;
	}
	/* their memory is the transaction's */
	bound = NIL;
	released = NIL;
	plain_sequence = InvalidOid;
}

static List *
remember(List *sequences, Oid seqid)
{
	static bool registered = false;
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	if (!registered)
		RegisterXactCallback(end_of_transaction, NULL);
	registered = true;
	sequences = list_append_unique_oid(sequences, seqid);
	MemoryContextSwitchTo(old);
	return sequences;
}

static char
lock_sequence(Oid seqid)
{
	Relation	rel = relation_open(seqid, AccessExclusiveLock);
	char		persistence = rel->rd_rel->relpersistence;

	relation_close(rel, NoLock);
	return persistence;
}

/* The server's own way to copy a sequence into a new file. */
static void
rewrite(Oid seqid, char persistence, Oid plain)
{
	plain_sequence = plain;
	PG_TRY();
	{
		SequenceChangePersistence(seqid, persistence);
	}
	PG_FINALLY();
	{
		plain_sequence = InvalidOid;
	}
	PG_END_TRY();
}

void
tv_page_release_sequence(Oid seqid)
{
	char		persistence = lock_sequence(seqid);
	TvKeyringFile known;

	if (!tv_keyring_binding(MyDatabaseId, seqid, &known))
		return;
	released = remember(released, seqid);
	rewrite(seqid, persistence, seqid);
}

void
tv_page_adopt_sequence(Oid seqid, Oid table)
{
	Relation	rel = relation_open(table, AccessShareLock);
	bool		temporary = rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP;
	RelFileNode node = rel->rd_node;
	bool		encrypted;
	char		persistence;
	TvKeyringFile known;
	TvKeyringFile before;
	TvError		err;

	/* by its access method, or by its place; what is temporary is sealed anyhow */
	encrypted = tv_page_is_encrypted_table(rel) ||
		(tv_keyring_lookup(&node, &known) && !known.plain && !known.released);
	relation_close(rel, NoLock);
	if (temporary)
		return;
	if (!encrypted)
	{
		tv_page_release_sequence(seqid);
		return;
	}
	persistence = lock_sequence(seqid);
	if (!tv_keyring_lookup(&node, &known))
		ereport(ERROR,
				(errcode(ERRCODE_TV_KEYRING),
				 errmsg("the keyring does not know the file of table %u", table)));
	released = list_delete_oid(released, seqid);
	if (tv_keyring_binding(MyDatabaseId, seqid, &before) && before.key == known.key)
		return;
	if (tv_keyring_bind(MyDatabaseId, seqid, known.key, &err) != TV_OK)
		tv_report(ERROR, &err);
	bound = remember(bound, seqid);
	rewrite(seqid, persistence, InvalidOid);
}

void
tv_page_seal_sequence(Oid seqid)
{
	rewrite(seqid, lock_sequence(seqid), InvalidOid);
}
