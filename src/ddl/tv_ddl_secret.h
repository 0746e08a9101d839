/*
 * tv_ddl_secret.h
 *	  Secrets of statements: in a text and its parse tree stand stars and
 *	  references, and what they stand for is kept here.
 */
#ifndef TV_DDL_SECRET_H
#define TV_DDL_SECRET_H

#include "postgres.h"

#include "ddl/tv_ddl_token.h"

typedef struct TvDdlSecret
{
	int			start;			/* of the literal, in the masked text */
	char	   *value;
	Size		length;
	bool		guarded;		/* value is in memory of tv_secret_alloc() */
	bool		placed;			/* the tree has a reference to it */
} TvDdlSecret;

/* A literal in a body that was taken out: not to be seen either. */
typedef struct TvDdlWord
{
	struct TvDdlWord *next;
	Size		length;
	char		value[FLEXIBLE_ARRAY_MEMBER];	/* in memory of tv_secret_alloc() */
} TvDdlWord;

/* What was taken out of one text. */
typedef struct TvDdlHidden
{
	struct TvDdlHidden *next;
	uint64		hash;			/* of the text as it was, with its length */
	Size		length;
	char	   *masked;			/* the text as it is now */
	int			users;			/* memory contexts that need it */
	char		nonce[33];		/* of its references */
	TvDdlWord  *words;
	int			parameter;		/* where one stands that would carry a secret; or -1 */
	int			count;
	TvDdlSecret secret[FLEXIBLE_ARRAY_MEMBER];	/* in the order of the text */
} TvDdlHidden;

/*
 * Take the literals that are marked as secret out of text, which is changed in
 * place: a star for each character of theirs, so that positions stay (counted
 * in characters), and the text gets shorter by what their bytes are more.  They
 * are kept until the current memory context is reset.
 */
extern TvDdlHidden *tv_ddl_hide(char *text, const TvDdlToken *tokens);

/* Keep them until context is reset, too. */
extern void tv_ddl_keep_hidden(TvDdlHidden *hidden, MemoryContext context);

/* What was taken out of this very text, if that is still kept; else NULL. */
extern TvDdlHidden *tv_ddl_hidden_of(const char *text);

/*
 * The first secret at or behind the place start of the masked text; NULL: none.
 */
extern TvDdlSecret *tv_ddl_secret_from(TvDdlHidden *hidden, int start);

/* What stands for it in a tree: a string that nobody can guess, palloc'd. */
extern char *tv_ddl_refer(TvDdlHidden *hidden, TvDdlSecret *secret);

/*
 * Is it a reference?  Then *secret is what it stands for.  ERROR if that is not
 * kept any more.
 */
extern bool tv_ddl_find_secret(const char *reference, const TvDdlSecret **secret);

/* Is anything kept?  Cheap. */
extern bool tv_ddl_any_hidden(void);

/*
 * Put stars over each secret that occurs in message, which may be NULL, and
 * over each literal behind the word PASSWORD; if it shows a piece of somebody's
 * text, also over the literals of bodies that were taken out.
 */
extern void tv_ddl_scrub(char *message, bool shows_text);

#endif							/* TV_DDL_SECRET_H */
