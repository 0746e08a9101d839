/*
 * ddl_suspect_test.c
 *	  The first look at a text misses no statement of ours.
 */
#include <stdlib.h>
#include <string.h>

#include "ddl/tv_ddl_suspect.h"
#include "unit.h"

static const char *const suspects[] = {
	"encryption", "ENCRYPTION", "eNcRyPtEd", "decrypt", "x DECRYPT with",
	"crypt", "CRYPT", "-- crypt", "'crypt'", "rotate", "ROTATE", "rOtAtE master key",
	"realm", "REALM", "mrealm", "vault", "Vault", "vvvault", "unlock", "kUnLoCk", "command", "ddcommand",
	"password", "PASSWORD", "wpassword",
	"oooorotate", "yyycrypt", "rrotate", "ccrypt", "\xc3\xa9 encrypted",
	"SELECT 1; CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'x'"
};
static const char *const others[] = {
	"", "y", "o", "cry", "cryp", "rypt", "ypt", "rotat", "otate", "ro", "r", "c",
	"SELECT abalance FROM pgbench_accounts WHERE aid = 1", "cr ypt", "ro tate",
	"cry\xc3\xa9pt", "rot\tate", "PRIMARY KEY", "sYstem", "\xd9\xaf\x79", "cr\x19pt",
	"CRYP\xd4", "[\x5fOTATE"
};

int
main(void)
{
	char		text[64];

	for (size_t i = 0; i < sizeof(suspects) / sizeof(suspects[0]); i++)
		ok(tv_ddl_suspect(suspects[i]), "suspect: %s", suspects[i]);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		ok(!tv_ddl_suspect(others[i]), "not: %zu", i);

	static const char *const words[] = {"realm", "vault", "unlock", "command", "password"};

	/* each single letter off */
	for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++)
	{
		for (size_t i = 0; i < strlen(words[w]); i++)
		{
			strcpy(text, words[w]);
			text[i] ^= 0x40;
			ok(!tv_ddl_suspect(text), "letter %zu of %s is looked at", i, words[w]);
			text[i] = '\0';
			ok(!tv_ddl_suspect(text), "it is not cut off");
		}
	}
	/* wherever it stands among others, in either case, and nothing is read behind the end */
	static const char *const all[] = {"crypt", "rotate", "realm", "vault", "unlock", "command", "password"};

	for (size_t w = 0; w < sizeof(all) / sizeof(all[0]); w++)
	{
		size_t		len = strlen(all[w]);
		int			wrong = 0;

		for (size_t before = 0; before < 40; before++)
		{
			for (size_t after = 0; after < 20; after++)
			{
				char	   *exact = malloc(before + len + after + 1);

				memset(exact, "mlotspnw \xe1"[(before + after) % 10], before + len + after);
				exact[before + len + after] = '\0';
				wrong += tv_ddl_suspect(exact);
				for (size_t i = 0; i < len; i++)
					exact[before + i] = all[w][i] ^ ((before + i) % 3 == after % 3 ? 0x20 : 0);
				wrong += !tv_ddl_suspect(exact);
				free(exact);
			}
		}
		ok(wrong == 0, "%s, wherever it stands", all[w]);
	}
	for (int i = 0; i < 5; i++)
	{
		strcpy(text, "a crypt b");
		text[2 + i] ^= 0x40;
		ok(!tv_ddl_suspect(text), "letter %d of crypt is looked at", i);
	}
	for (int i = 0; i < 6; i++)
	{
		strcpy(text, "a rotate b");
		text[2 + i] ^= 0x40;
		ok(!tv_ddl_suspect(text), "letter %d of rotate is looked at", i);
	}
	return unit_done();
}
