/*
 * unlock.c
 *	  Unlock a realm without a password in SQL, then run a query.
 *
 *	  cc -o unlock unlock.c -I$(pg_config --includedir) -lpq -largon2 -lcrypto
 *	  ./unlock "dbname=clinic sslmode=verify-full" pii "SELECT name FROM patients"
 *
 * The password is read from the terminal, or from standard input.  It never
 * leaves this program: the server gets a proof that is good once.
 *
 *	  H         = Argon2id(password, salt)
 *	  ClientKey = HMAC-SHA-256(H, "tde_vault client key v1")
 *	  StoredKey = SHA-256(ClientKey)
 *	  proof     = ClientKey XOR HMAC-SHA-256(StoredKey, nonce || realm)
 */
#include <argon2.h>
#include <libpq-fe.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LABEL "tde_vault client key v1"
#define KEY_LEN 32

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "unlock: %s: %s\n", what, why);
	exit(1);
}

static PGresult *
run(PGconn *conn, const char *sql, int n, const char *const *values, const int *lengths,
	const int *formats, int format, ExecStatusType expected)
{
	PGresult   *result = PQexecParams(conn, sql, n, NULL, values, lengths, formats, format);

	if (PQresultStatus(result) != expected)
		fail("the server refuses", PQerrorMessage(conn));
	return result;
}

/* The proof for what unlock_challenge() gave: salt, params, nonce. */
static void
prove(PGresult *challenge, const char *realm, const char *password, unsigned char *proof)
{
	unsigned	memory,
				passes,
				lanes;
	unsigned char hash[KEY_LEN],
				client_key[KEY_LEN],
				stored_key[KEY_LEN],
				mask[KEY_LEN];
	unsigned char message[KEY_LEN + 63];
	size_t		realm_len = strlen(realm);

	if (sscanf(PQgetvalue(challenge, 0, 1), "argon2id$v=19$m=%u,t=%u,p=%u", &memory, &passes, &lanes) != 3)
		fail("parameters are not understood", PQgetvalue(challenge, 0, 1));
	if (memory > 1024 * 1024 || realm_len > 63 || PQgetlength(challenge, 0, 2) != KEY_LEN)
		fail("challenge is not understood", "sizes");
	if (argon2id_hash_raw(passes, memory, lanes, password, strlen(password),
						  PQgetvalue(challenge, 0, 0), PQgetlength(challenge, 0, 0),
						  hash, sizeof(hash)) != ARGON2_OK)
		fail("could not hash the password", "Argon2id");
	HMAC(EVP_sha256(), hash, sizeof(hash), (const unsigned char *) LABEL, strlen(LABEL), client_key, NULL);
	EVP_Digest(client_key, sizeof(client_key), stored_key, NULL, EVP_sha256(), NULL);
	memcpy(message, PQgetvalue(challenge, 0, 2), KEY_LEN);
	memcpy(message + KEY_LEN, realm, realm_len);
	HMAC(EVP_sha256(), stored_key, sizeof(stored_key), message, KEY_LEN + realm_len, mask, NULL);
	for (int i = 0; i < KEY_LEN; i++)
		proof[i] = client_key[i] ^ mask[i];
	explicit_bzero(hash, sizeof(hash));
	explicit_bzero(client_key, sizeof(client_key));
}

static void
unlock(PGconn *conn, const char *realm, const char *password)
{
	const char *values[2] = {realm, NULL};
	int			lengths[2] = {0, KEY_LEN};
	int			formats[2] = {0, 1};	/* the proof is binary */
	unsigned char proof[KEY_LEN];
	PGresult   *challenge = run(conn, "CALL tde_vault.unlock_challenge($1)", 1, values,
								NULL, NULL, 1, PGRES_TUPLES_OK);

	prove(challenge, realm, password, proof);
	PQclear(challenge);
	values[1] = (const char *) proof;
	PQclear(run(conn, "CALL tde_vault.unlock_response($1, $2)", 2, values, lengths, formats, 0,
				PGRES_COMMAND_OK));
}

static void
read_password(char *password, size_t size)
{
	char	   *typed = isatty(0) ? getpass("Vault password: ") : fgets(password, (int) size, stdin);

	if (typed == NULL)
		fail("no password", "end of input");
	if (typed != password)
		snprintf(password, size, "%s", typed);
	password[strcspn(password, "\r\n")] = '\0';
}

int
main(int argc, char **argv)
{
	char		password[1026];
	PGconn	   *conn;
	PGresult   *result;

	if (argc != 4)
		fail("usage", "unlock CONNINFO REALM QUERY");
	read_password(password, sizeof(password));
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
		fail("could not connect", PQerrorMessage(conn));
	unlock(conn, argv[2], password);
	explicit_bzero(password, sizeof(password));

	result = run(conn, argv[3], 0, NULL, NULL, NULL, 0, PGRES_TUPLES_OK);
	for (int row = 0; row < PQntuples(result); row++)
		for (int column = 0; column < PQnfields(result); column++)
			printf("%s%c", PQgetvalue(result, row, column), column + 1 < PQnfields(result) ? '\t' : '\n');
	PQclear(result);
	PQfinish(conn);
	return 0;
}
