/*
 * tv_ddl_suspect_core.c
 *	  May a text hold a statement of ours?
 *
 * This runs on every text that the server parses, so it only looks for words
 * that each of our statements has and ordinary ones rarely have, anywhere,
 * literals and comments included.  A word is found by its rarest letter, each by
 * another.
 */
#include "ddl/tv_ddl_suspect.h"

#include <stddef.h>

typedef struct Needle
{
	const char *word;			/* lower case; other letters may stand around it */
	int			pivot;			/* where the letter is that is looked for */
} Needle;

enum
{
	NO_NEEDLE, CRYPT, ROTATE, REALM, VAULT, UNLOCK, COMMAND, PASSWORD, NEEDLES
};

/*
 * Keys: ENCRYPTION, ENCRYPTED and DECRYPT; and for ALTER DATABASE ROTATE MASTER
 * KEY, the only statement with none of them, ROTATE.  The vault: one of its
 * words is in each statement, and in the names of the procedures that take a
 * password.  PASSWORD also for statements of the server that hold one.
 */
static const Needle needles[NEEDLES] = {
	[CRYPT] = {"crypt", 2},
	[ROTATE] = {"rotate", 1},
	[REALM] = {"realm", 4},
	[VAULT] = {"vault", 0},
	[UNLOCK] = {"unlock", 5},
	[COMMAND] = {"command", 6},
	[PASSWORD] = {"password", 4}
};

static const unsigned char pivots[256] = {
	['y'] = CRYPT, ['Y'] = CRYPT,
	['o'] = ROTATE, ['O'] = ROTATE,
	['m'] = REALM, ['M'] = REALM,
	['v'] = VAULT, ['V'] = VAULT,
	['k'] = UNLOCK, ['K'] = UNLOCK,
	['d'] = COMMAND, ['D'] = COMMAND,
	['w'] = PASSWORD, ['W'] = PASSWORD
};

/* ASCII only: bytes of other alphabets match no letter of a needle. */
static inline char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c + ('a' - 'A')) : c;
}

static bool
found_at(const char *text, const char *pivot, const Needle *needle)
{
	const char *from = pivot - needle->pivot;

	if (pivot - text < needle->pivot)
		return false;
	for (const char *c = needle->word; *c != '\0'; c++, from++)
	{
		if (lower(*from) != *c)
			return false;
	}
	return true;
}

bool
tv_ddl_suspect(const char *text)
{
	for (const char *c = text; *c != '\0'; c++)
	{
		unsigned char needle = pivots[(unsigned char) *c];

		if (needle != NO_NEEDLE && found_at(text, c, &needles[needle]))
			return true;
	}
	return false;
}
