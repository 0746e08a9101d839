/*
 * tv_vault_condition.h
 *	  Conditions of command rules: an SQL boolean expression over facts of the
 *	  session.
 */
#ifndef TV_VAULT_CONDITION_H
#define TV_VAULT_CONDITION_H

#include "postgres.h"

#include "nodes/execnodes.h"

typedef struct TvCondition TvCondition;

/*
 * Compile the text in CurrentMemoryContext.  Throws what is wrong with it:
 * syntax, types, functions that are neither the server's own nor ours or that
 * are volatile.  Catalogs are read.
 */
extern TvCondition *tv_condition_compile(const char *text);

/* Evaluate; *isnull: neither.  Throws what the expression throws. */
extern bool tv_condition_holds(TvCondition *condition, const char *realm, bool *isnull);

#endif							/* TV_VAULT_CONDITION_H */
