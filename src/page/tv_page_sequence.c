/*
 * tv_page_sequence.c
 *	  Sequences that belong to encrypted tables.
 *
 * A sequence is written before anybody owns it (CREATE TABLE with serial
 * makes it first and runs ALTER SEQUENCE OWNED BY last), so it is bound to the
 * table's key when it gets an owner and then rewritten.  The binding stands in
 * the keyring by pg_class.oid, because later files (TRUNCATE RESTART IDENTITY,
 * ALTER SEQUENCE) come when catalogs must not be read.
 */
#include "page/tv_page_decide.h"

#include "access/relation.h"
#include "access/table.h"
#include "commands/sequence.h"
#include "miscadmin.h"

#include "base/tv_report.h"

static RelFileNodeBackend
temp_binding(Oid seqid)
{
	RelFileNodeBackend binding;

	binding.node.spcNode = InvalidOid;
	binding.node.dbNode = MyDatabaseId;
	binding.node.relNode = seqid;
	binding.backend = MyBackendId;
	return binding;
}

void
tv_page_forget_temp_sequence(Oid seqid)
{
	tv_page_temp_remove(temp_binding(seqid));
}

void
tv_page_adopt_sequence(Oid seqid, Oid table)
{
	Relation	rel;
	bool		encrypted;
	RelFileNode node;
	char		persistence;
	TvKeyringFile known;
	TvKeyringFile bound;
	TvError		err;

	rel = relation_open(table, AccessShareLock);
	encrypted = tv_page_is_encrypted_table(rel);
	node = rel->rd_node;
	relation_close(rel, NoLock);
	if (!encrypted)
		return;

	rel = relation_open(seqid, AccessExclusiveLock);
	persistence = rel->rd_rel->relpersistence;
	relation_close(rel, NoLock);
	if (persistence == RELPERSISTENCE_TEMP)
	{
		RelFileNodeBackend binding = temp_binding(seqid);

		if (tv_page_temp_has(binding))
			return;
		tv_page_temp_add(binding);
	}
	else
	{
		if (!tv_keyring_lookup(&node, &known))
			ereport(ERROR,
					(errcode(ERRCODE_TV_KEYRING),
					 errmsg("the keyring does not know the file of table %u", table)));
		if (tv_keyring_binding(MyDatabaseId, seqid, &bound) && bound.key == known.key)
			return;
		if (tv_keyring_bind(MyDatabaseId, seqid, known.key, &err) != TV_OK)
			tv_report(ERROR, &err);
	}
	/* the server's own way to copy a sequence into a new file */
	SequenceChangePersistence(seqid, persistence);
}
