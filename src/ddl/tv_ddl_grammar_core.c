/*
 * tv_ddl_grammar_core.c
 *	  Our statements, by recursive descent.
 *
 * Each rule returns false at the first token that does not fit, and leaves the
 * parser there.  contrib/doc/language.md has the grammar.
 */
#include "ddl/tv_ddl_grammar.h"

#include <stddef.h>
#include <string.h>

#include "ddl/tv_ddl_rule.h"

bool
tv_ddl_token_is(const TvDdlToken *token, const char *word)
{
	return token->kind == TV_TOKEN_WORD && strcmp(token->text, word) == 0;
}

/* --- rules ---------------------------------------------------------------- */

/* [ USING 'cipher' ] */
static bool
optional_cipher(Parser *p)
{
	return !word(p, "using") || string(p, &p->statement->cipher);
}

/* [ KEY_ID 'id' ] */
static bool
optional_key_id(Parser *p)
{
	return !word(p, "key_id") || string(p, &p->statement->key_id);
}

/* CREATE MASTER KEY ENCRYPTION BY { HSM | PROVIDER 'uri' } KEY_ID 'id' */
static bool
create_master_key(Parser *p)
{
	return word(p, "key") && word(p, "encryption") && word(p, "by") &&
		(word(p, "hsm") || (word(p, "provider") && string(p, &p->statement->provider))) &&
		word(p, "key_id") && string(p, &p->statement->key_id) &&
		end_of_statement(p);
}

/* ALTER DATABASE [ name ] ROTATE MASTER KEY [ KEY_ID 'id' ] */
static bool
rotate_master_key(Parser *p)
{
	return word(p, "master") && word(p, "key") && optional_key_id(p) &&
		end_of_statement(p);
}

/* { ENABLE | DISABLE } ENCRYPTION [ USING 'cipher' ], its first two words read */
static bool
switch_encryption(Parser *p)
{
	return optional_cipher(p) && end_of_statement(p);
}

/* ALTER TABLE ... ROTATE ENCRYPTION KEY */
static bool
rotate_table_key(Parser *p)
{
	return word(p, "encryption") && word(p, "key") && end_of_statement(p);
}

/* CREATE TABLESPACE ... ENCRYPTION USING 'cipher' [ KEY_ID 'id' ] */
static bool
create_tablespace(Parser *p)
{
	return word(p, "using") && string(p, &p->statement->cipher) && optional_key_id(p) &&
		end_of_statement(p);
}

/* BACKUP DATABASE TO 'path' ENCRYPTED WITH KEY 'id' */
static bool
backup_database(Parser *p)
{
	return word(p, "to") && string(p, NULL) &&
		word(p, "encrypted") && word(p, "with") && word(p, "key") &&
		string(p, &p->statement->key_id) && end_of_statement(p);
}

/*
 * RESTORE DATABASE FROM 'path' [ INTO 'directory' ] DECRYPT WITH KEY 'id'
 * [ VAULT PASSWORD 'p' ]
 */
static bool
restore_database(Parser *p)
{
	if (!(word(p, "from") && string(p, NULL) &&
		  (!word(p, "into") || string(p, NULL)) &&
		  word(p, "decrypt") && word(p, "with") && word(p, "key") &&
		  string(p, &p->statement->key_id)))
		return false;
	return (!word(p, "vault") || (word(p, "password") && secret(p))) &&
		end_of_statement(p);
}

/* --- which rule ----------------------------------------------------------- */

static Rule
rule(Parser *p, const TvDdlToken *next, TvDdlKind kind, Rule chosen)
{
	p->next = next;
	p->statement->kind = kind;
	return chosen;
}

/* { ENABLE | DISABLE } ENCRYPTION at token? */
static bool
switches_encryption(const TvDdlToken *token)
{
	return words_at(token, "enable", "encryption") ||
		words_at(token, "disable", "encryption");
}

static Rule
rule_for_create(Parser *p, const TvDdlToken *token)
{
	if (tv_ddl_token_is(token, "master"))
		return rule(p, ahead(token, 1), TV_DDL_CREATE_MASTER_KEY, create_master_key);
	p->next = token;
	if (!word(p, "tablespace"))
		return NULL;
	p->statement->name = p->next;
	if (!name(p))
		return NULL;
	if (word(p, "owner"))
	{
		p->statement->owner = p->next;
		if (!role(p))
			return NULL;
	}
	if ((word(p, "location") && !string(p, &p->statement->location)) ||
		!word(p, "encryption"))
		return NULL;
	return rule(p, p->next, TV_DDL_CREATE_TABLESPACE, create_tablespace);
}

/* What follows ALTER DATABASE and the name, if that is there. */
static Rule
rule_after_database(Parser *p, const TvDdlToken *token)
{
	if (tv_ddl_token_is(token, "rotate") && words_at(ahead(token, 1), "master", "key"))
		return rule(p, ahead(token, 1), TV_DDL_ROTATE_MASTER_KEY, rotate_master_key);
	if (switches_encryption(token))
	{
		p->statement->enable = tv_ddl_token_is(token, "enable");
		return rule(p, ahead(token, 2), TV_DDL_DATABASE_ENCRYPTION, end_of_statement);
	}
	if (words_at(token, "enable", "database") || words_at(token, "disable", "database"))
		return rule(p, ahead(token, 2), TV_DDL_VAULT, tv_ddl_vault_switch);
	return NULL;
}

/*
 * The name of the database may be left out, and none of our words is reserved.
 * Without a name, it is ours only if all of it fits: the server takes ALTER
 * DATABASE rotate MASTER KEY, ALTER DATABASE enable ENCRYPTION 1 and the like
 * for a database of that name and options, and refuses those later.
 */
static Rule
rule_for_database(Parser *p, const TvDdlToken *token)
{
	Rule		chosen = NULL;
	const TvDdlToken *after;

	if (is_name(token))
		chosen = rule_after_database(p, ahead(token, 1));
	if (chosen != NULL)
	{
		p->statement->database = token;
		return chosen;
	}
	chosen = rule_after_database(p, token);
	if (chosen == tv_ddl_vault_switch)
		return chosen;			/* DATABASE is no option's name */
	after = p->next;
	if (chosen == NULL || !chosen(p))
		return NULL;
	p->next = after;
	return chosen;
}

static Rule
rule_for_table(Parser *p, const TvDdlToken *token)
{
	bool		if_exists = words_at(token, "if", "exists");
	const TvDdlToken *from;

	p->next = if_exists ? ahead(token, 2) : token;
	(void) word(p, "only");
	from = p->next;
	if (!qualified_name(p))
		return NULL;
	(void) argument(p, "table", if_exists ? TV_DDL_ARGUMENT_TABLE_IF_EXISTS : TV_DDL_ARGUMENT_TABLE, from);
	if (if_exists)
		(void) argument(p, "if_exists", TV_DDL_ARGUMENT_TRUE, token);
	(void) symbol(p, '*');
	p->statement->enable = tv_ddl_token_is(p->next, "enable");
	p->statement->procedure = tv_ddl_token_is(p->next, "rotate") ? "rotate_table_key" :
		p->statement->enable ? "encrypt_table" : "decrypt_table";
	if (switches_encryption(p->next))
		return rule(p, ahead(p->next, 2), TV_DDL_TABLE_ENCRYPTION, switch_encryption);
	if (words_at(p->next, "rotate", "encryption"))
		return rule(p, ahead(p->next, 1), TV_DDL_ROTATE_TABLE_KEY, rotate_table_key);
	return NULL;
}

static Rule
rule_for_alter(Parser *p, const TvDdlToken *token)
{
	const TvDdlToken *second = ahead(token, 1);

	if (tv_ddl_token_is(token, "database"))
		return rule_for_database(p, second);
	if (tv_ddl_token_is(token, "table"))
		return rule_for_table(p, second);
	if (tv_ddl_token_is(token, "tablespace") && is_name(second) &&
		switches_encryption(ahead(second, 1)))
	{
		p->statement->name = second;
		p->statement->enable = tv_ddl_token_is(ahead(second, 1), "enable");
		return rule(p, ahead(second, 3), TV_DDL_TABLESPACE_ENCRYPTION, switch_encryption);
	}
	return NULL;
}

static Rule
rule_for(Parser *p, const TvDdlToken *first)
{
	const TvDdlToken *second = ahead(first, 1);
	Rule		vault = tv_ddl_vault_rule(p, first);

	if (vault != NULL)
		return rule(p, p->next, TV_DDL_VAULT, vault);
	if (tv_ddl_token_is(first, "create"))
		return rule_for_create(p, second);
	if (tv_ddl_token_is(first, "alter"))
		return rule_for_alter(p, second);
	if (words_at(first, "backup", "database"))
		return rule(p, ahead(first, 2), TV_DDL_BACKUP_DATABASE, backup_database);
	if (words_at(first, "restore", "database"))
		return rule(p, ahead(first, 2), TV_DDL_RESTORE_DATABASE, restore_database);
	return NULL;
}

TvDdlMatch
tv_ddl_match(const TvDdlToken *first, TvDdlStatement *statement, const TvDdlToken **wrong)
{
	Parser		p = {first, statement};
	Rule		chosen;

	memset(statement, 0, sizeof(*statement));
	statement->first = first;
	chosen = rule_for(&p, first);
	if (chosen == NULL)
		return TV_DDL_NOT_OURS;
	if (chosen(&p))
		return TV_DDL_OURS;
	*wrong = p.next;
	return TV_DDL_WRONG;
}

/* --- the clause in CREATE TABLE -------------------------------------------- */

const TvDdlToken *
tv_ddl_after_created_name(const TvDdlToken *token)
{
	TvDdlStatement unused;
	Parser		p = {token, &unused};

	if (!word(&p, "create"))
		return NULL;
	if (word(&p, "materialized"))
	{
		if (!word(&p, "view"))
			return NULL;
	}
	else
	{
		(void) (word(&p, "global") || word(&p, "local"));
		(void) (word(&p, "temporary") || word(&p, "temp") || word(&p, "unlogged"));
		if (!word(&p, "table"))
			return NULL;
	}
	if (tv_ddl_token_is(p.next, "if") && words_at(ahead(p.next, 1), "not", "exists"))
		p.next = ahead(p.next, 3);
	return qualified_name(&p) ? p.next : NULL;
}

/* What may follow the clause; an element of CREATE SCHEMA, too. */
static bool
may_follow_clause(const TvDdlToken *token)
{
	static const char *const words[] = {
		"using", "with", "without", "on", "tablespace", "as", "partition",
		"inherits", "encryption", "create", "grant"
	};

	if (token->kind == TV_TOKEN_END || (token->kind == TV_TOKEN_SYMBOL && token->symbol == ';'))
		return true;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		if (tv_ddl_token_is(token, words[i]))
			return true;
	}
	return false;
}

/*
 * The word alone may be a name: CREATE TABLE t OF encryption.  After a closing
 * parenthesis, or USING and a name, it cannot.
 */
static bool
cannot_be_name(const TvDdlToken *token)
{
	return (token[-1].kind == TV_TOKEN_SYMBOL && token[-1].symbol == ')') ||
		tv_ddl_token_is(&token[-2], "using");
}

TvDdlMatch
tv_ddl_match_clause(const TvDdlToken *token, const TvDdlToken **cipher,
					const TvDdlToken **wrong)
{
	*cipher = ahead(token, 2);
	if (!tv_ddl_token_is(ahead(token, 1), "using"))
		*wrong = ahead(token, 1);
	else if ((*cipher)->kind != TV_TOKEN_STRING)
		*wrong = *cipher;
	else if (!may_follow_clause(ahead(*cipher, 1)))
		*wrong = ahead(*cipher, 1);
	else
		return TV_DDL_OURS;
	return cannot_be_name(token) ? TV_DDL_WRONG : TV_DDL_NOT_OURS;
}
