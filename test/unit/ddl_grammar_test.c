/*
 * ddl_grammar_test.c
 *	  The grammar: what it takes, what it leaves, and where it stops.
 */
#include <string.h>

#include "ddl/tv_ddl_grammar.h"
#include "ddl/tv_ddl_suspect.h"
#include "ddl_tokens.h"
#include "unit.h"

static DdlTokens tokens;

static const struct
{
	const char *text;
	TvDdlKind	kind;
}			ours[] = {
	{"CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'k'", TV_DDL_CREATE_MASTER_KEY},
	{"create master key encryption by provider 'file:/k' key_id 'k';", TV_DDL_CREATE_MASTER_KEY},
	{"ALTER DATABASE ROTATE MASTER KEY", TV_DDL_ROTATE_MASTER_KEY},
	{"ALTER DATABASE ROTATE MASTER KEY KEY_ID 'k'", TV_DDL_ROTATE_MASTER_KEY},
	{"ALTER DATABASE rotate ROTATE MASTER KEY", TV_DDL_ROTATE_MASTER_KEY},
	{"ALTER DATABASE \"a b\" ROTATE MASTER KEY KEY_ID 'k'", TV_DDL_ROTATE_MASTER_KEY},
	{"ALTER DATABASE d ENABLE ENCRYPTION", TV_DDL_DATABASE_ENCRYPTION},
	{"ALTER DATABASE DISABLE ENCRYPTION", TV_DDL_DATABASE_ENCRYPTION},
	{"ALTER DATABASE disable DISABLE ENCRYPTION", TV_DDL_DATABASE_ENCRYPTION},
	{"ALTER TABLE t ENABLE ENCRYPTION", TV_DDL_TABLE_ENCRYPTION},
	{"ALTER TABLE IF EXISTS ONLY s.t * DISABLE ENCRYPTION USING 'c'", TV_DDL_TABLE_ENCRYPTION},
	{"ALTER TABLE a.table.c ROTATE ENCRYPTION KEY", TV_DDL_ROTATE_TABLE_KEY},
	{"CREATE TABLESPACE ts ENCRYPTION USING 'c'", TV_DDL_CREATE_TABLESPACE},
	{"CREATE TABLESPACE ts OWNER r LOCATION 'd' ENCRYPTION USING 'c' KEY_ID 'k'", TV_DDL_CREATE_TABLESPACE},
	{"ALTER TABLESPACE ts ENABLE ENCRYPTION", TV_DDL_TABLESPACE_ENCRYPTION},
	{"ALTER TABLESPACE ts DISABLE ENCRYPTION USING 'c'", TV_DDL_TABLESPACE_ENCRYPTION},
	{"BACKUP DATABASE TO 'p' ENCRYPTED WITH KEY 'k'", TV_DDL_BACKUP_DATABASE},
	{"RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k'", TV_DDL_RESTORE_DATABASE},
	{"RESTORE DATABASE FROM 'p' INTO 'd' DECRYPT WITH KEY 'k' VAULT PASSWORD 'x'", TV_DDL_RESTORE_DATABASE}
};

static const char *const not_ours[] = {
	"", ";", "SELECT 1", "CREATE", "CREATE TABLE master (key int)", "CREATE TABLESPACE",
	"CREATE TABLESPACE ts LOCATION 'd'", "CREATE TABLESPACE encryption OWNER encryption",
	"CREATE TABLESPACE table ENCRYPTION USING 'c'", "ALTER", "ALTER DATABASE",
	"ALTER DATABASE ROTATE", "ALTER DATABASE ROTATE MASTER", "ALTER DATABASE d ROTATE MASTER",
	"ALTER DATABASE ROTATE MASTER KEY 5", "ALTER DATABASE ENABLE ENCRYPTION 5",
	"ALTER DATABASE \"rotate\" MASTER KEY", "ALTER DATABASE d \"rotate\" MASTER KEY",
	"ALTER DATABASE table ROTATE MASTER KEY", "ALTER TABLE t ENABLE TRIGGER encryption",
	"ALTER TABLE t ROTATE", "ALTER TABLE t", "ALTER TABLE", "ALTER TABLE s. ENABLE ENCRYPTION",
	"ALTER TABLESPACE ts ENABLE", "BACKUP", "BACKUP TABLE", "RESTORE", "\"create\" MASTER KEY",
	"CREATE \"master\" KEY", "MASTER KEY", "'create' master"
};

/* text, and the offset where it goes wrong */
static const struct
{
	const char *text;
	int			wrong;
}			wrongs[] = {
	{"CREATE MASTER", 13},
	{"CREATE MASTER 'KEY'", 14},
	{"CREATE MASTER KEY;", 17},
	{"CREATE MASTER KEY ENCRYPTION BY KEY_ID 'k'", 32},
	{"CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID k", 43},
	{"CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'k' x", 47},
	{"CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'k", 43},
	{"CREATE MASTER KEY ENCRYPTION BY PROVIDER x", 41},
	{"ALTER DATABASE d ROTATE MASTER KEY KEY_ID", 41},
	{"ALTER DATABASE d ENABLE ENCRYPTION USING 'c'", 35},
	{"ALTER TABLE t ENABLE ENCRYPTION USING c", 38},
	{"ALTER TABLE t ROTATE ENCRYPTION", 31},
	{"ALTER TABLE t ENABLE ENCRYPTION, x", 31},
	{"CREATE TABLESPACE ts ENCRYPTION", 31},
	{"CREATE TABLESPACE ts ENCRYPTION USING 'c' WITH", 42},
	{"BACKUP DATABASE d TO 'p'", 16},
	{"BACKUP DATABASE TO 'p' ENCRYPTED WITH 'k'", 38},
	{"RESTORE DATABASE FROM 'p' INTO DECRYPT", 31},
	{"RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' PASSWORD 'x'", 47},
	{"RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' VAULT 'x'", 53}
};

static void
test_statements(void)
{
	TvDdlStatement statement;
	const TvDdlToken *wrong;

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
	{
		const TvDdlToken *first = ddl_tokenize(&tokens, ours[i].text);

		ok(tv_ddl_match(first, &statement, &wrong) == TV_DDL_OURS &&
		   statement.kind == ours[i].kind && statement.first == first &&
		   statement.end->start >= (int) strlen(ours[i].text) - 1, "%s", ours[i].text);
		ok(tv_ddl_suspect(ours[i].text), "is suspected");
	}
	for (size_t i = 0; i < sizeof(not_ours) / sizeof(not_ours[0]); i++)
		ok(tv_ddl_match(ddl_tokenize(&tokens, not_ours[i]), &statement, &wrong) == TV_DDL_NOT_OURS,
		   "not ours: %s", not_ours[i]);
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++)
	{
		TvDdlMatch	match = tv_ddl_match(ddl_tokenize(&tokens, wrongs[i].text), &statement, &wrong);

		ok(match == TV_DDL_WRONG && wrong->start == wrongs[i].wrong, "wrong at %d: %s",
		   match == TV_DDL_WRONG ? wrong->start : -1, wrongs[i].text);
	}
}

static bool
secret(const char *text)
{
	return tv_ddl_may_hold_secret(ddl_tokenize(&tokens, text));
}

static void
test_values(void)
{
	TvDdlStatement statement;
	const TvDdlToken *wrong;

	(void) tv_ddl_match(ddl_tokenize(&tokens, "CREATE MASTER KEY ENCRYPTION BY PROVIDER 'u' KEY_ID 'k'"),
						&statement, &wrong);
	ok(strcmp(statement.provider->text, "u") == 0 && strcmp(statement.key_id->text, "k") == 0,
	   "values are found");
	(void) tv_ddl_match(ddl_tokenize(&tokens, "CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'k'"),
						&statement, &wrong);
	ok(statement.provider == NULL, "HSM has no provider");
	ok(secret("RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' VAULT PASSWORD 'x'"), "a password is a secret");
	ok(secret("RESTORE DATABASE nonsense PASSWORD 'x'"), "also in a statement that is wrong");
	ok(secret("CREATE MASTER KEY ENCRYPTION BY PROVIDER 'pkcs11:?PIN-value=1' nonsense"), "so is a PIN");
	ok(secret("SELECT 1; RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' VAULT PASSWORD 'x"), "wherever it stands");
	ok(!secret("CREATE MASTER KEY ENCRYPTION BY PROVIDER 'file:/k' KEY_ID 'password'"), "the word in a string is none");
}

/* The clause in a CREATE TABLE: 'y', 'n', or 'w' for wrong */
static char
clause(const char *text)
{
	const TvDdlToken *token = tv_ddl_after_created_name(ddl_tokenize(&tokens, text));
	const TvDdlToken *cipher;
	const TvDdlToken *wrong;

	while (token != NULL && token->kind != TV_TOKEN_END && !tv_ddl_token_is(token, "encryption"))
		token++;
	if (token == NULL || token->kind == TV_TOKEN_END)
		return '-';
	switch (tv_ddl_match_clause(token, &cipher, &wrong))
	{
		case TV_DDL_OURS:
			return strcmp(cipher->text, "c") == 0 ? 'y' : '?';
		case TV_DDL_WRONG:
			return 'w';
		case TV_DDL_NOT_OURS:
			break;
	}
	return 'n';
}

static void
test_clause(void)
{
	ok(clause("CREATE TABLE t (a int) ENCRYPTION USING 'c'") == 'y', "plain");
	ok(clause("CREATE GLOBAL TEMPORARY TABLE IF NOT EXISTS a.b USING h ENCRYPTION USING 'c' AS") == 'y', "full");
	ok(clause("CREATE UNLOGGED TABLE encryption (a int) ENCRYPTION USING 'c' WITH (x = 1)") == 'y', "unlogged");
	ok(clause("CREATE MATERIALIZED VIEW v ENCRYPTION USING 'c' AS SELECT") == 'y', "materialised view");
	ok(clause("CREATE TABLE t OF encryption") == 'n', "a type of that name");
	ok(clause("CREATE TABLE t (a int) ENCRYPTION") == 'w', "no cipher");
	ok(clause("CREATE TABLE t (a int) USING h ENCRYPTION USING c") == 'w', "cipher without quotes");
	ok(clause("CREATE TABLE t ENCRYPTION USING 'c' (a int)") == 'n', "before the columns");
	ok(clause("CREATE TABLE t (a int) ENCRYPTION USING 'c' x") == 'w', "something behind it");
	ok(clause("CREATE VIEW t ENCRYPTION USING 'c'") == '-', "no table");
	ok(clause("CREATE TABLE table ENCRYPTION USING 'c'") == '-', "no name");
	ok(clause("CREATE TABLE") == '-', "nothing");
}

int
main(void)
{
	test_statements();
	test_values();
	test_clause();
	return unit_done();
}
