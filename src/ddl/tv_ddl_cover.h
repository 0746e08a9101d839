/*
 * tv_ddl_cover.h
 *	  Secrets of statements: out of each text before anything can show it, and
 *	  back in when the statement runs.
 */
#ifndef TV_DDL_COVER_H
#define TV_DDL_COVER_H

#include "postgres.h"

#include "nodes/plannodes.h"

#include "ddl/tv_ddl_secret.h"
#include "ddl/tv_ddl_token.h"

/* The text of the client's message that is being worked on, if it is not suspect; else NULL. */
extern const char *tv_ddl_harmless_message;

/* tv_ddl_suspect(), which has been asked already about the client's message. */
extern bool tv_ddl_look_closer(const char *text);

/*
 * Is it the text of the client's message that is being worked on, and has it
 * been masked?  Then *hidden is what was taken out.
 */
extern bool tv_ddl_message_hides(const char *text, TvDdlHidden **hidden);

/* Give each token of the masked text that stands for a secret the reference as its text. */
extern void tv_ddl_put_references(TvDdlToken *tokens, TvDdlHidden *hidden);

/*
 * Put references into the parse trees of the server's own statements.  ERROR if
 * there is a secret for which the trees have no place.
 */
extern void tv_ddl_place_secrets(const char *text, List *tree, TvDdlHidden *hidden);

/*
 * The text has an error: hide what may be a secret before that is reported,
 * until context is reset.  Not while an error is being handled.
 */
extern void tv_ddl_hide_suspects(const char *text, MemoryContext context);

/*
 * If the statement holds references, a copy of it with the secrets; else NULL.
 * To be wiped after it has run.
 */
extern PlannedStmt *tv_ddl_reveal(PlannedStmt *pstmt);
extern void tv_ddl_wipe_revealed(PlannedStmt *pstmt);

/* The text as it may be shown. */
extern const char *tv_ddl_covered(const char *text);

/* Attach.  In _PG_init only. */
extern void tv_ddl_cover_init(void);

#endif							/* TV_DDL_COVER_H */
