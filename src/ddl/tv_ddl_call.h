/*
 * tv_ddl_call.h
 *	  Calls of procedures of schema tde_vault, with named arguments.
 */
#ifndef TV_DDL_CALL_H
#define TV_DDL_CALL_H

#include "postgres.h"

#include "nodes/parsenodes.h"

#include "ddl/tv_ddl_grammar.h"

#define TV_DDL_SCHEMA "tde_vault"

/* 'value'::type, a type of pg_catalog.  value is copied. */
extern Node *tv_ddl_typed_constant(const char *value, const char *type, int location);

/* name => value */
extern Node *tv_ddl_named_argument(const char *name, Node *value, int location);

/* The marked call; see tv_ddl_call_name(). */
extern Node *tv_ddl_named_call(const char *procedure, List *arguments, int location);

/* The call for a statement that names procedure and arguments.  Throws what is wrong in its expressions. */
extern Node *tv_ddl_make_vault_call(const char *text, const TvDdlStatement *statement);

#endif							/* TV_DDL_CALL_H */
