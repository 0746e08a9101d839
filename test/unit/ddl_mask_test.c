/*
 * ddl_mask_test.c
 *	  Which tokens hold a secret.  In the texts, what must be hidden is 'hush',
 *	  and what must not be is anything else.
 */
#include <string.h>

#include "ddl/tv_ddl_mask.h"
#include "ddl/tv_ddl_suspect.h"
#include "ddl_tokens.h"
#include "unit.h"

static DdlTokens tokens;

static const char *const secrets[] = {
	"UNLOCK REALM r PASSWORD 'hush'",
	"unlock realm r password 'hush'; SELECT 'x'",
	"SELECT 1; ; UNLOCK REALM r PASSWORD 'hush'",
	"GRANT VAULT PASSWORD ON REALM r TO a PASSWORD 'hush' VALID FOR INTERVAL '2 HOURS'",
	"GRANT VAULT PASSWORD ON REALM r TO a VALID FOR INTERVAL '2' HOUR PASSWORD 'hush'",
	"RESTORE DATABASE FROM 'p' INTO 'd' DECRYPT WITH KEY 'k' VAULT PASSWORD 'hush'",
	"CALL tde_vault.unlock_realm('r', 'hush')",
	"CALL unlock_realm('r', password => 'hush')",
	"CALL unlock_realm(password => 'hush', realm => r)",
	"CALL \"tde_vault\".\"unlock_realm\"(f('r', 1), 'hush')",
	"CALL unlock_realm('r', left('hush', 4) + 'hush')",
	"CALL unlock_realm('r', a = 'hush')",
	"CALL tde_vault.grant_vault_password('r', 'a', 'hush', NULL, NULL)",
	"CALL unlock_realm('r', $1)",
	"CREATE ROLE a LOGIN PASSWORD 'hush'",
	"ALTER ROLE a WITH ENCRYPTED PASSWORD 'hush' VALID UNTIL 'infinity'",
	"CREATE USER password PASSWORD 'hush'",
	"ALTER USER a PASSWORD 'hush'; CREATE ROLE b PASSWORD 'hush'; SELECT password 'x'",
	"CREATE GROUP a PASSWORD 'hush'"
};

/* wrong, with every literal of the statement hidden */
static const char *const mistakes[] = {
	"UNLOCK REALM r PASSWORD 'hush' 'hush'", "UNLOCK REALM r PASSWORT 'hush'", "UNLOCK REALM 'hush'",
	"UNLOCK REALM r PASSWORD x 'hush'", "GRANT VAULT PASSWORD ON REALM r TO a PASSWORD = 'hush'",
	"GRANT VAULT PASSWORD ON REALM r 'hush'", "UNLOCK REALM r PASSWORD 'hush' nonsense 'hush'; SELECT 'x'",
	"CREATE MASTER KEY ENCRYPTION BY PROVIDERS 'pin-value=hush'"
};

static const char *const harmless[] = {
	"SELECT password 'x'", "SELECT 'UNLOCK REALM r PASSWORD'", "INSERT INTO t (password) VALUES ('x')",
	"UNLOCK REALM r PASSWORD '***'", "CREATE REALM r DESCRIPTION 'password' REQUIRE VAULT PASSWORD",
	"LOCK REALM r", "CALL other('r', 'x')", "CALL lock_realm('r')", "ALTER ROLE a PASSWORD NULL",
	"ALTER ROLE a SET x TO 'password'", "CREATE USER MAPPING FOR a SERVER s OPTIONS (password 'x')",
	"CREATE TABLE password (a text DEFAULT 'x')", "DO 'SELECT password FROM t'", "",
	"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT password = 1'", "CALL", "CALL unlock_realm", "DO"
};

/* as the scanner of the tests knows no doubled quotes, bodies are apart */
static const char *const bodies[] = {
	"UNLOCK REALM r PASSWORD 'p'", "unlock realm r password\n\t'p'", "EXECUTE 'ALTER ROLE a PASSWORD ' || x",
	"EXECUTE format('ALTER ROLE a PASSWORD %L', 'p')", "CALL unlock_realm('r', 'p')", "PASSWORD $a$p$a$",
	"PASSWORD E'p'", "PASSWORD U&'p'", "PASSWORD /* */ 'p'", "PASSWORD -- \n'p'", "tde_vault.GRANT_VAULT_PASSWORD(",
	"password password 'x'", "PROVIDER 'pkcs11:?PIN-VALUE=1'", "PASSWORD \\'p\\'"
};
static const char *const plain_bodies[] = {
	"", "password", "SELECT password FROM t", "passwords 'x'", "NEW.password := x", "PASSWORD NULL", "REQUIRE VAULT PASSWORD;"
};

/* Exactly the literals with hush, and parameters, are hidden: 1; none is: 0; else -1 */
static int
hidden(const char *text, bool (*marker) (TvDdlToken *))
{
	bool		any;
	int			wrong = 0;
	int			found = 0;

	(void) ddl_tokenize(&tokens, text);
	any = marker(tokens.token);
	for (int i = 0; i < tokens.count; i++)
	{
		const TvDdlToken *token = &tokens.token[i];
		bool		expected = token->kind == TV_TOKEN_PARAMETER ||
			(token->kind == TV_TOKEN_STRING && strstr(token->text, "hush") != NULL);

		wrong += token->secret != expected;
		found += token->secret;
	}
	return wrong > 0 || any != (found > 0) ? -1 : found > 0;
}

static void
test_broken(const char *text, bool expected)
{
	(void) ddl_tokenize(&tokens, text);
	ok(tv_ddl_mark_secrets(tokens.token) == expected &&
	   tokens.token[tokens.count].secret == expected, "quotes left open: %s", text);
}

static void
test_bodies(void)
{
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		ok(tv_ddl_body_is_suspect(bodies[i]), "suspect body: %s", bodies[i]);
	for (size_t i = 0; i < sizeof(plain_bodies) / sizeof(plain_bodies[0]); i++)
		ok(!tv_ddl_body_is_suspect(plain_bodies[i]), "plain body: %s", plain_bodies[i]);
	ok(hidden("DO LANGUAGE plpgsql 'CALL unlock_realm(hush)'", tv_ddl_mark_secrets) == 1, "DO");
	ok(hidden("CREATE OR REPLACE FUNCTION f(a text DEFAULT 'unlock_realm') RETURNS int AS 'unlock_realm hush'",
			  tv_ddl_mark_secrets) == 1, "CREATE FUNCTION");
	ok(hidden("CREATE PROCEDURE f() BEGIN ATOMIC CALL unlock_realm('r', 'hush'); END", tv_ddl_mark_secrets) == 1,
	   "after ATOMIC");
}

int
main(void)
{
	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
	{
		ok(hidden(secrets[i], tv_ddl_mark_secrets) == 1, "secret: %s", secrets[i]);
		ok(tv_ddl_suspect(secrets[i]), "is suspected");
	}
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++)
		ok(hidden(mistakes[i], tv_ddl_mark_secrets) == 1, "mistake: %s", mistakes[i]);
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		ok(hidden(harmless[i], tv_ddl_mark_secrets) == 0, "harmless: %s", harmless[i]);
	test_broken("UNLOCK REALM r PASSWORD 'hush", true);
	test_broken("SELECT 1; CALL unlock_realm('r', 'hush", true);
	test_broken("ALTER ROLE a PASSWORD 'hush", true);
	test_broken("DO 'hush", false);
	test_broken("DO 'UNLOCK REALM r PASSWORD $$hush", true);
	test_broken("SELECT 'hush", false);
	test_bodies();
	ok(hidden("UNLOKC REALM r PASSWORD 'hush'; SELECT 'x'", tv_ddl_mark_suspects) == 1, "misspelt");
	ok(hidden("SELECT 'x' FORM password 'hush' 'hush'", tv_ddl_mark_suspects) == 1, "all behind the word");
	ok(hidden("SELECT 'x'", tv_ddl_mark_suspects) == 0, "nothing");
	return unit_done();
}
