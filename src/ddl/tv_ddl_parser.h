/*
 * tv_ddl_parser.h
 *	  Takes the place of the server's raw_parser().
 */
#ifndef TV_DDL_PARSER_H
#define TV_DDL_PARSER_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "parser/parser.h"

/* As raw_parser(), with our statements as well. */
extern List *tv_ddl_raw_parser(const char *text, RawParseMode mode);

#endif							/* TV_DDL_PARSER_H */
