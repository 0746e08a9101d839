/*
 * tv_ddl_tree.h
 *	  Parse trees for what of ours is in a text.
 */
#ifndef TV_DDL_TREE_H
#define TV_DDL_TREE_H

#include "postgres.h"

#include "nodes/parsenodes.h"

#include "ddl/tv_ddl_script.h"

/*
 * The call of the procedure that does what the statement says.  Throws ERROR
 * for a statement that is not supported yet.
 */
extern Node *tv_ddl_make_call(const char *text, const TvDdlStatement *statement);

/*
 * If node is such a call, the name of its procedure; else NULL.  Nobody can
 * type a call that looks like it.
 */
extern const char *tv_ddl_call_name(Node *node);

/* Does the call have an argument of that name? */
extern bool tv_ddl_call_has_argument(const CallStmt *call, const char *name);

/*
 * Note the clause in the statement that it stands in.  False if it stands
 * where no CREATE TABLE is.
 */
extern bool tv_ddl_apply_clause(const char *text, const TvDdlClause *clause, RawStmt *raw);

/*
 * Take the note out of a list of WITH options and return the cipher's name, or
 * NULL if there is none.  The list itself is not changed.
 */
extern const char *tv_ddl_take_cipher(List **options);

#endif							/* TV_DDL_TREE_H */
