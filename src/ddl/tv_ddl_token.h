/*
 * tv_ddl_token.h
 *	  A statement's text as an array of tokens.  No PostgreSQL headers.
 */
#ifndef TV_DDL_TOKEN_H
#define TV_DDL_TOKEN_H

#include <stdbool.h>

typedef enum TvDdlTokenKind
{
	TV_TOKEN_END,				/* end of the text */
	TV_TOKEN_WORD,				/* a keyword, or an identifier without quotes */
	TV_TOKEN_NAME,				/* an identifier in quotes */
	TV_TOKEN_STRING,			/* a string literal, however written */
	TV_TOKEN_SYMBOL,			/* one character that stands for itself */
	TV_TOKEN_NUMBER,			/* digits; text has them */
	TV_TOKEN_PARAMETER,			/* $1 */
	TV_TOKEN_OTHER,				/* other number, operator, bit string */
	TV_TOKEN_BROKEN				/* what follows is no token: quotes left open */
} TvDdlTokenKind;

/* The array ends with TV_TOKEN_END or TV_TOKEN_BROKEN, and nowhere else. */
typedef struct TvDdlToken
{
	TvDdlTokenKind kind;
	bool		can_name;		/* word: may name an object, like a table */
	bool		can_name_role;	/* word: may name a role */
	bool		secret;			/* what it says must not be seen: see tv_ddl_mask.h */
	char		symbol;			/* of TV_TOKEN_SYMBOL, else 0 */
	const char *text;			/* word in lower case, name, digits, string's value;
								 * of TV_TOKEN_BROKEN, the rest of the text */
	int			start;			/* offsets in the text: [start, end) */
	int			end;
} TvDdlToken;

/* Is it that word?  word is lower case. */
extern bool tv_ddl_token_is(const TvDdlToken *token, const char *word);

#endif							/* TV_DDL_TOKEN_H */
