/*
 * tv_page_decide.h
 *	  Which relation files are encrypted: decided once, before a file's first
 *	  page, and recorded in the keyring before that page can leave memory.
 */
#ifndef TV_PAGE_DECIDE_H
#define TV_PAGE_DECIDE_H

#include "postgres.h"

#include "storage/smgr.h"
#include "utils/rel.h"

#include "page/tv_page_file.h"

/*
 * A table of the access method tde_heap gets a new file: seal it under the
 * table's key, made if there is none yet.  Throws ERROR; catalogs may be read.
 */
extern void tv_page_new_table_file(Relation rel, const RelFileNode *node, char persistence);

/*
 * A plain table gets a new file: seal it if it is temporary or in a scope
 * (tv_keyring_scope.h).  Throws ERROR; catalogs may be read.
 */
extern void tv_page_new_plain_table_file(Relation rel, const RelFileNode *node,
										 char persistence);

/*
 * The first page of an undecided file is about to be written: decide by the
 * relation that owns it.  Leaves file->state PLAIN or SEALED; throws ERROR if
 * it cannot be decided.  Reads no catalog: an invalidation could close the
 * file that the caller is working on.
 */
extern void tv_page_decide(TvPageFile *file, SMgrRelation reln);

/*
 * target becomes a copy of source: it inherits.  new_key: under a key of its
 * own (the copy is in another database).  Throws ERROR.
 */
extern void tv_page_inherit(RelFileNodeBackend source, RelFileNodeBackend target,
							char persistence, bool new_key);

/*
 * A relation, open as source, moves to another tablespace, where target is its
 * file.  Sealed or not by where it goes.  Throws ERROR; reads no catalog.
 */
extern void tv_page_decide_moved(SMgrRelation source, SMgrRelation target,
								 char persistence);

/*
 * Until the end, a first page of target makes it inherit from source, with a
 * key of its own.
 */
extern void tv_page_inheritance_begin(RelFileNodeBackend source,
									  RelFileNodeBackend target, char persistence);
extern void tv_page_inheritance_end(void);

/*
 * The keyring does not know reln's file, which has pages.  Throws ERROR if the
 * relation that owns it is encrypted: a record was lost, or taken away.
 */
extern void tv_page_require_plain(SMgrRelation reln);

/* Is rel a table whose access method is tde_heap? */
extern bool tv_page_is_encrypted_table(Relation rel);

/* --- tv_page_sequence.c --- */

/*
 * Sequence seqid is owned by table: make it sealed, or plain, as the table is,
 * and rewrite its file if that changes.
 */
extern void tv_page_adopt_sequence(Oid seqid, Oid table);

/* The table that owns the sequence became plain, or will: so does the sequence. */
extern void tv_page_release_sequence(Oid seqid);

/* The sequence is in a scope: seal it, if it is not, by writing it anew. */
extern void tv_page_seal_sequence(Oid seqid);

/* Is the sequence, which is not temporary, bound to a table's key?  To which? */
extern bool tv_page_sequence_binding(Oid seqid, TvKeyringFile *known);

#endif							/* TV_PAGE_DECIDE_H */
