/*
 * tv_ddl_mask.h
 *	  Which tokens of a text hold a password or a PIN.  No PostgreSQL headers.
 */
#ifndef TV_DDL_MASK_H
#define TV_DDL_MASK_H

#include "ddl/tv_ddl_token.h"

/*
 * Set secret in each token that says a secret: literals in statements of ours,
 * in calls of their twins, in CREATE and ALTER ROLE; the whole body of a DO or a
 * function that may hold one; what is left of a text when quotes are not closed;
 * and parameters that would carry one.  False: there is none.
 */
extern bool tv_ddl_mark_secrets(TvDdlToken *tokens);

/*
 * The same for a text that has a syntax error, so that nobody knows what its
 * statements are: literals after the word PASSWORD, PINs.
 */
extern bool tv_ddl_mark_suspects(TvDdlToken *tokens);

/* May SQL in this text hold a secret? */
extern bool tv_ddl_body_is_suspect(const char *body);

#endif							/* TV_DDL_MASK_H */
