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

/* a statement of the vault, its procedure and the parameters that it gives */
static const struct
{
	const char *text;
	const char *procedure;
	const char *parameters;
}			vault[] = {
	{"ALTER DATABASE ENABLE DATABASE VAULT", "enable_vault", ""},
	{"ALTER DATABASE enable DISABLE DATABASE VAULT", "disable_vault", "database"},
	{"alter database \"D b\" enable database vault;", "enable_vault", "database"},
	{"CREATE REALM r", "create_realm", "realm"},
	{"CREATE REALM if", "create_realm", "realm"},
	{"CREATE REALM IF NOT EXISTS realm SIMULATE", "create_realm", "if_not_exists realm simulate"},
	{"CREATE REALM r DESCRIPTION 't' OWNER o REQUIRE VAULT PASSWORD SIMULATE", "create_realm",
	"realm description owner require_password simulate"},
	{"CREATE REALM owner OWNER owner DESCRIPTION 't'", "create_realm", "realm owner description"},
	{"DROP REALM r", "drop_realm", "realm"},
	{"DROP REALM if", "drop_realm", "realm"},
	{"DROP REALM IF EXISTS r", "drop_realm", "if_exists realm"},
	{"ALTER REALM r ADD TABLE t", "realm_add", "realm tables schemas"},
	{"ALTER REALM r ADD TABLE s.t, u, SCHEMA a, b, TABLE c", "realm_add", "realm tables schemas"},
	{"ALTER REALM r REMOVE SCHEMA schema, schema schema, schema", "realm_remove", "realm tables schemas"},
	{"ALTER REALM r OWNER TO o", "realm_owner", "realm owner"},
	{"ALTER REALM r DESCRIPTION 't'", "realm_description", "realm description"},
	{"ALTER REALM enable ENABLE", "realm_mode", "realm mode"},
	{"ALTER REALM r DISABLE", "realm_mode", "realm mode"},
	{"ALTER REALM r SIMULATE", "realm_mode", "realm mode"},
	{"ALTER REALM r AUTHORIZE a, \"B\"", "realm_authorize", "realm roles"},
	{"ALTER REALM r REVOKE a", "realm_revoke", "realm roles"},
	{"GRANT VAULT PASSWORD ON REALM r TO a", "grant_vault_password", "realm role password valid_for generated"},
	{"GRANT VAULT PASSWORD ON REALM r TO password PASSWORD 'p' VALID FOR INTERVAL '2 HOURS'",
	"set_vault_password", "realm role password valid_for"},
	{"GRANT VAULT PASSWORD ON REALM r TO a VALID FOR INTERVAL (3) '2' DAY TO SECOND (3) PASSWORD 'p'",
	"set_vault_password", "realm role valid_for password"},
	{"REVOKE VAULT PASSWORD ON REALM r FROM a", "revoke_vault_password", "realm role"},
	{"UNLOCK REALM r PASSWORD 'p'", "unlock_realm", "realm password"},
	{"LOCK REALM r", "lock_realm", "realm"},
	{"LOCK REALM ALL", "lock_realm", ""},
	{"LOCK REALM \"nowait\";", "lock_realm", "realm"},
	{"EMERGENCY UNLOCK REALM r AUTHORIZED BY o REASON 't' VALID FOR INTERVAL '1' HOUR",
	"emergency_unlock", "realm authorized_by reason valid_for id"},
	{"APPROVE EMERGENCY UNLOCK 12", "approve_emergency_unlock", "id"},
	{"REVIEW EMERGENCY UNLOCK 12 NOTE 't'", "review_emergency_unlock", "id note"},
	{"CREATE COMMAND RULE n FOR ALL ON DATABASE DENY", "create_command_rule", "rule actions object_kind"},
	{"CREATE COMMAND RULE IF NOT EXISTS n FOR SELECT, COPY ON COLUMN s.t.c DENY FROM ROLE a, b WHEN (x)[1] > (1) MESSAGE 'm' SIMULATE",
	"create_command_rule", "if_not_exists rule actions object_kind object roles condition message simulate"},
	{"CREATE COMMAND RULE n FOR DROP ON REALM r DENY WHEN message = 'x' AND simulate SIMULATE MESSAGE 'm'",
	"create_command_rule", "rule actions object_kind object condition simulate message"},
	{"CREATE COMMAND RULE n FOR GRANT ON SCHEMA s DENY WHEN simulate AND message;",
	"create_command_rule", "rule actions object_kind object condition"},
	{"ALTER COMMAND RULE n SIMULATE", "alter_command_rule", "rule mode"},
	{"DROP COMMAND RULE IF EXISTS n", "drop_command_rule", "if_exists rule"}
};

static const char *const not_ours[] = {
	"LOCK realm", "LOCK REALM;", "LOCK realm, x", "LOCK realm IN", "LOCK realm NOWAIT", "LOCK realm *",
	"LOCK TABLE realm", "LOCK vault", "GRANT vault TO x", "GRANT vault, password TO x",
	"GRANT vault_admin TO x", "GRANT password ON realm TO x", "REVOKE vault FROM x", "UNLOCK", "EMERGENCY",
	"APPROVE unlock", "REVIEW", "CREATE RULE command", "CREATE TABLE realm (vault int)", "DROP TABLE realm",
	"ALTER TABLE realm ADD vault int", "CREATE \"realm\" r", "ALTER DATABASE d ENABLE VAULT", "vault", "realm",
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
	{"RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' VAULT 'x'", 53},
	{"ALTER DATABASE ENABLE DATABASE VAULTS", 31},
	{"ALTER DATABASE d ENABLE DATABASE", 32},
	{"CREATE REALM", 12},
	{"CREATE REALM table", 13},
	{"CREATE REALM r OWNER", 20},
	{"CREATE REALM r SIMULATE SIMULATE", 24},
	{"CREATE REALM r REQUIRE PASSWORD", 23},
	{"CREATE REALM r DESCRIPTION x", 27},
	{"CREATE REALM IF EXISTS r", 16},
	{"DROP REALM r, s", 12},
	{"ALTER REALM r", 13},
	{"ALTER REALM r ADD t", 18},
	{"ALTER REALM r ADD SCHEMA", 24},
	{"ALTER REALM r ADD TABLE", 23},
	{"ALTER REALM r ADD TABLE t,", 26},
	{"ALTER REALM r ADD SCHEMA s.t", 26},
	{"ALTER REALM r OWNER o", 20},
	{"ALTER REALM r AUTHORIZE a b", 26},
	{"GRANT VAULT PASSWORD TO a", 21},
	{"GRANT VAULT PASSWORD ON REALM r TO a PASSWORD p", 46},
	{"GRANT VAULT PASSWORD ON REALM r TO a PASSWORD 'p' PASSWORD 'q'", 50},
	{"GRANT VAULT PASSWORD ON REALM r TO a VALID FOR '2 hours'", 47},
	{"GRANT VAULT PASSWORD ON REALM r TO a VALID FOR INTERVAL 2", 56},
	{"GRANT VAULT PASSWORD ON REALM r TO a VALID FOR INTERVAL '2' FORTNIGHT", 60},
	{"REVOKE VAULT PASSWORD ON REALM r TO a", 33},
	{"UNLOCK REALM r", 14},
	{"UNLOCK REALM r PASSWORD $1", 24},
	{"UNLOCK REALM r PASSWORD 'p' 'p'", 28},
	{"LOCK REALM r NOWAIT", 13},
	{"LOCK REALM ALL x", 15},
	{"EMERGENCY UNLOCK REALM r REASON 't'", 25},
	{"EMERGENCY UNLOCK r", 17},
	{"EMERGENCY UNLOCK REALM r AUTHORIZED BY o REASON 't'", 51},
	{"APPROVE EMERGENCY UNLOCK 'x'", 25},
	{"REVIEW EMERGENCY UNLOCK 5", 25},
	{"CREATE COMMAND n", 15},
	{"CREATE COMMAND RULE n FOR VACUUM ON DATABASE DENY", 26},
	{"CREATE COMMAND RULE n FOR ALL ON x DENY", 33},
	{"CREATE COMMAND RULE n FOR ALL ON COLUMN c DENY", 42},
	{"CREATE COMMAND RULE n FOR ALL ON TABLE t", 40},
	{"CREATE COMMAND RULE n FOR ALL ON TABLE t DENY WHEN", 50},
	{"CREATE COMMAND RULE n FOR ALL ON TABLE t DENY WHEN MESSAGE 'm'", 51},
	{"CREATE COMMAND RULE n FOR ALL ON TABLE t DENY WHEN a) OR (b", 52},
	{"CREATE COMMAND RULE n FOR ALL ON TABLE t DENY WHEN (a; b)", 53},
	{"CREATE COMMAND RULE n FOR ALL ON TABLE t DENY WHEN (a MESSAGE 'm'", 65},
	{"CREATE COMMAND RULE n FOR ALL ON TABLE t DENY FROM a", 51},
	{"CREATE COMMAND RULE n FOR ALL ON TABLE t DENY MESSAGE 'm' WHEN a", 58},
	{"ALTER COMMAND RULE n", 20},
	{"DROP COMMAND n", 13}
};

/* Does the statement give exactly these parameters, with a blank between them? */
static bool
gives(const TvDdlStatement *statement, const char *parameters)
{
	char		given[256] = "";

	for (int i = 0; i < statement->arguments; i++)
	{
		if (i > 0)
			strcat(given, " ");
		strcat(given, statement->argument[i].name);
	}
	return strcmp(given, parameters) == 0;
}

static void
test_vault(void)
{
	TvDdlStatement statement;
	const TvDdlToken *wrong;

	for (size_t i = 0; i < sizeof(vault) / sizeof(vault[0]); i++)
	{
		ok(tv_ddl_match(ddl_tokenize(&tokens, vault[i].text), &statement, &wrong) == TV_DDL_OURS &&
		   statement.kind == TV_DDL_VAULT && strcmp(statement.procedure, vault[i].procedure) == 0 &&
		   gives(&statement, vault[i].parameters), "%s", vault[i].text);
		ok(tv_ddl_suspect(vault[i].text), "is suspected");
	}
}

/* Delete each token, and write each twice: not ours, ours, or wrong at a token of the text. */
static void
test_edits(const char *text)
{
	DdlTokens	whole;
	const TvDdlToken *token = ddl_tokenize(&whole, text);

	for (int edited = 0; edited < 2 * whole.count; edited++)
	{
		TvDdlStatement statement;
		const TvDdlToken *wrong = NULL;
		const TvDdlToken *first;
		char		changed[DDL_TEXT_MAX + 1] = "";

		for (int i = 0; i < whole.count; i++)
		{
			for (int times = i != edited / 2 ? 1 : 2 * (edited % 2); times > 0; times--)
			{
				strncat(changed, text + token[i].start, (size_t) (token[i].end - token[i].start));
				strcat(changed, " ");
			}
		}
		first = ddl_tokenize(&tokens, changed);
		if (tv_ddl_match(first, &statement, &wrong) == TV_DDL_WRONG)
			ok(wrong > first && wrong <= &tokens.token[tokens.count], "wrong somewhere: %s", changed);
		else
			ok(wrong == NULL, "no position: %s", changed);
	}
}

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
	test_vault();
	for (size_t i = 0; i < sizeof(vault) / sizeof(vault[0]); i++)
		test_edits(vault[i].text);
	test_values();
	test_clause();
	return unit_done();
}
