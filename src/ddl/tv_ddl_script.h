/*
 * tv_ddl_script.h
 *	  What of ours is in a text of one or more statements.
 */
#ifndef TV_DDL_SCRIPT_H
#define TV_DDL_SCRIPT_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "ddl/tv_ddl_grammar.h"

/* ENCRYPTION USING 'cipher' in a CREATE TABLE */
typedef struct TvDdlClause
{
	const TvDdlToken *first;
	const TvDdlToken *cipher;
	int			created;		/* offset of the name's end: tells which table */
} TvDdlClause;

/* Where our own grammar cannot go on: the first such place. */
typedef struct TvDdlMistake
{
	const TvDdlToken *statement;	/* first token of the statement; NULL: none */
	const TvDdlToken *wrong;
} TvDdlMistake;

typedef struct TvDdlScript
{
	List	   *statements;		/* TvDdlStatement, in order, correct ones */
	List	   *clauses;		/* TvDdlClause, in order */
	List	   *columns;		/* TvDdlToken ENCRYPTED that may mark a column */
	TvDdlMistake mistake;		/* nothing behind it has been looked at */
} TvDdlScript;

/* Look through the tokens of a text. */
extern void tv_ddl_read_script(const TvDdlToken *tokens, TvDdlScript *script);

/*
 * A copy of the first length bytes of text that the server's grammar takes:
 * each statement of ours is a LISTEN, and clauses are blank.  All else stands
 * where it stood.
 */
extern char *tv_ddl_ordinary_text(const char *text, int length, const TvDdlScript *script);

#endif							/* TV_DDL_SCRIPT_H */
