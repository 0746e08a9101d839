/*
 * tv_ddl_grammar.h
 *	  Our statements, by recursive descent.  No PostgreSQL headers.
 */
#ifndef TV_DDL_GRAMMAR_H
#define TV_DDL_GRAMMAR_H

#include "ddl/tv_ddl_token.h"

typedef enum TvDdlKind
{
	TV_DDL_CREATE_MASTER_KEY,
	TV_DDL_ROTATE_MASTER_KEY,
	TV_DDL_DATABASE_ENCRYPTION,
	TV_DDL_TABLE_ENCRYPTION,
	TV_DDL_ROTATE_TABLE_KEY,
	TV_DDL_CREATE_TABLESPACE,
	TV_DDL_TABLESPACE_ENCRYPTION,
	TV_DDL_BACKUP_DATABASE,
	TV_DDL_RESTORE_DATABASE,
	TV_DDL_VAULT				/* procedure and arguments say which */
} TvDdlKind;

typedef enum TvDdlArgumentKind
{
	TV_DDL_ARGUMENT_TEXT,		/* one token: the value of a literal, or a name */
	TV_DDL_ARGUMENT_SECRET,		/* a literal that must not be seen */
	TV_DDL_ARGUMENT_ROLE,		/* a name, or CURRENT_USER and the like */
	TV_DDL_ARGUMENT_ROLES,		/* a list of them */
	TV_DDL_ARGUMENT_WORDS,		/* a list of words, as an array of them in lower case */
	TV_DDL_ARGUMENT_OBJECT,		/* a name with dots, as SQL */
	TV_DDL_ARGUMENT_TABLE,		/* a name with dots, as regclass */
	TV_DDL_ARGUMENT_TABLE_IF_EXISTS,	/* or NULL */
	TV_DDL_ARGUMENT_TABLES,		/* of a list of realm objects, the tables */
	TV_DDL_ARGUMENT_SCHEMAS,	/* and the schemas */
	TV_DDL_ARGUMENT_CONDITION,	/* an expression, as its text */
	TV_DDL_ARGUMENT_INTERVAL,	/* INTERVAL and what follows */
	TV_DDL_ARGUMENT_NUMBER,
	TV_DDL_ARGUMENT_TRUE,
	TV_DDL_ARGUMENT_NULL		/* nothing, or the place of an OUT parameter */
} TvDdlArgumentKind;

typedef struct TvDdlArgument
{
	const char *name;			/* of the procedure's parameter */
	TvDdlArgumentKind kind;
	const TvDdlToken *from;		/* tokens [from, to) */
	const TvDdlToken *to;
} TvDdlArgument;

#define TV_DDL_ARGUMENTS_MAX 12

typedef struct TvDdlStatement
{
	TvDdlKind	kind;
	const TvDdlToken *first;
	const TvDdlToken *end;		/* the semicolon or end of text after it */
	const TvDdlToken *key_id;	/* literals; NULL when not given */
	const TvDdlToken *provider;
	const TvDdlToken *secret;
	const char *procedure;		/* of the vault or a table: which, and with what */
	int			arguments;
	TvDdlArgument argument[TV_DDL_ARGUMENTS_MAX];
	const TvDdlToken *database; /* name; NULL when not given */
	const TvDdlToken *cipher;
	const TvDdlToken *location;
	const TvDdlToken *name;		/* of the object; word or name */
	const TvDdlToken *owner;	/* likewise, of a role */
	bool		enable;			/* not DISABLE */
} TvDdlStatement;

typedef enum TvDdlMatch
{
	TV_DDL_NOT_OURS,			/* leave it to the server */
	TV_DDL_OURS,				/* complete and correct */
	TV_DDL_WRONG				/* ours, and *wrong cannot stand where it does */
} TvDdlMatch;

/*
 * What begins at first, a token at which a statement begins?  statement is
 * filled for TV_DDL_OURS; kind and first also for TV_DDL_WRONG.
 */
extern TvDdlMatch tv_ddl_match(const TvDdlToken *first, TvDdlStatement *statement,
							   const TvDdlToken **wrong);

/*
 * Read an object of a realm at *next, [ TABLE | SCHEMA ] name, and go past it.
 * *schema: what it is if it does not say, and then what it is; *name: the first
 * token of its name.  False: there is none, and *next is the wrong token.
 */
extern bool tv_ddl_realm_object(const TvDdlToken **next, bool *schema, const TvDdlToken **name);

/* --- the clause in CREATE TABLE --- */

/*
 * If a CREATE TABLE or CREATE MATERIALIZED VIEW begins at token, the token
 * after the name of the relation; else NULL.
 */
extern const TvDdlToken *tv_ddl_after_created_name(const TvDdlToken *token);

/*
 * Is ENCRYPTION at token, which stands outside parentheses after the name in a
 * CREATE TABLE, our clause?  *cipher is then its literal, or *wrong the token
 * that should be something else.
 */
extern TvDdlMatch tv_ddl_match_clause(const TvDdlToken *token, const TvDdlToken **cipher,
									  const TvDdlToken **wrong);

#endif							/* TV_DDL_GRAMMAR_H */
