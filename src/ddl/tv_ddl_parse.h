/*
 * tv_ddl_parse.h
 *	  The server's parser and scanner, called from outside.
 */
#ifndef TV_DDL_PARSE_H
#define TV_DDL_PARSE_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "parser/parser.h"

#include "ddl/tv_ddl_token.h"

/* The server's raw_parser(), as it would be without us. */
extern List *tv_ddl_parse(const char *text, RawParseMode mode);

/*
 * Parse text and forget the result.  Quietly: no notice, no error.  False: it
 * has a syntax error, at *position (in characters from 1; 0 if unknown).
 */
extern bool tv_ddl_try_parse(const char *text, int *position);

/*
 * The tokens of text, quietly.  Where the scanner would throw an error, the
 * array ends with TV_TOKEN_BROKEN.
 */
extern TvDdlToken *tv_ddl_tokenize(const char *text);

/* As scanner_yyerror() says it: the token cannot stand where it does. */
extern void tv_ddl_throw_syntax_error(const char *text, const TvDdlToken *wrong) pg_attribute_noreturn();

/*
 * Parse the expression that begins at the byte start of text, in a statement
 * of ours, and ends before the token after: whole tokens, brackets that match.
 * Locations are those in text, and so is the cursor of a syntax error.
 */
extern Node *tv_ddl_parse_expression(const char *text, int start, const TvDdlToken *after);

/* For ereport: an error cursor at a byte offset of the text being parsed. */
extern int	tv_ddl_errposition(const char *text, int offset);

/*
 * FATAL unless the server's grammar is the one that this module was compiled
 * for.  In _PG_init only.
 */
extern void tv_ddl_check_grammar(void);

#endif							/* TV_DDL_PARSE_H */
