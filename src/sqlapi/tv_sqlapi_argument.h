/*
 * tv_sqlapi_argument.h
 *	  What SQL functions ask of their arguments, and of when they are called.
 */
#ifndef TV_SQLAPI_ARGUMENT_H
#define TV_SQLAPI_ARGUMENT_H

#include "postgres.h"

#include "fmgr.h"

/* Argument i as a palloc'ed C string; NULL if it is null. */
extern char *tv_sql_optional_text(FunctionCallInfo fcinfo, int i);

/* The same; ERROR if it is null. */
extern char *tv_sql_required_text(FunctionCallInfo fcinfo, int i, const char *name);

/* ERROR unless the module was loaded when the server started. */
extern void tv_sql_require_loaded(void);

/*
 * ERROR in a transaction block, or where ours is not all of the transaction:
 * as PreventInTransactionBlock(), for procedures.  detail may be NULL.
 */
extern void tv_sql_refuse_transaction_block(FunctionCallInfo fcinfo, const char *command,
											const char *detail);

#endif							/* TV_SQLAPI_ARGUMENT_H */
