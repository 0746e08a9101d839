/*
 * tv_ddl_suspect_core.c
 *	  May a text hold a statement of ours?
 *
 * This runs on every text that the server parses, so it only looks for words
 * that each of our statements has and ordinary ones rarely have, anywhere,
 * literals and comments included.  Of each word two letters side by side are
 * looked for, in sixteen places at once; where there are any, words are compared.
 */
#include "ddl/tv_ddl_suspect.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/tv_hot.h"

#define BLOCK 16

typedef uint8_t Bytes __attribute__((vector_size(BLOCK)));
typedef uint64_t Halves __attribute__((vector_size(BLOCK)));

typedef struct Needle
{
	const char *word;			/* lower case; other letters may stand around it */
	int			pivot;			/* where the second of the two letters is */
} Needle;

enum
{
	CRYPT, ROTATE, REALM, VAULT, UNLOCK, COMMAND, PASSWORD, NEEDLES
};

/*
 * Keys: ENCRYPTION, ENCRYPTED and DECRYPT; and for ALTER DATABASE ROTATE MASTER
 * KEY, the only statement with none of them, ROTATE.  The vault: one of its
 * words is in each statement, and in the names of the procedures that take a
 * password.  PASSWORD also for statements of the server that hold one.
 */
static const Needle needles[NEEDLES] = {
	[CRYPT] = {"crypt", 4},		/* pt */
	[ROTATE] = {"rotate", 2},	/* ot */
	[REALM] = {"realm", 4},		/* lm */
	[VAULT] = {"vault", 4},		/* lt */
	[UNLOCK] = {"unlock", 2},	/* nl */
	[COMMAND] = {"command", 3}, /* mm */
	[PASSWORD] = {"password", 4}	/* sw */
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

/* Is there a needle whose first letter of the two is one of the bytes in [from, to)? */
static __attribute__((noinline)) bool
found_between(const char *text, const char *from, const char *to)
{
	for (const char *c = from; c < to; c++)
	{
		for (int i = 0; i < NEEDLES; i++)
		{
			if (lower(c[1]) == needles[i].word[needles[i].pivot] && found_at(text, c + 1, &needles[i]))
				return true;
		}
	}
	return false;
}

/* Does what the condition says of a letter's place stand before that letter? */
#define BEFORE(letter, condition) ((next == (letter)) & (condition))

/* Does a pair of the needles begin among the BLOCK bytes at c?  c[BLOCK] is read, too. */
static inline bool
is_worth_it(const char *c)
{
	Bytes		here;
	Bytes		next;
	Halves		hits;

	memcpy(&here, c, BLOCK);
	memcpy(&next, c + 1, BLOCK);
	here |= 0x20;
	next |= 0x20;
	hits = (Halves) (BEFORE('t', (here == 'p') | (here == 'o') | (here == 'l')) |
					 BEFORE('m', (here == 'l') | (here == 'm')) |
					 BEFORE('l', here == 'n') | BEFORE('w', here == 's'));
	return (hits[0] | hits[1]) != 0;
}

TV_HOT bool
tv_ddl_suspect(const char *text)
{
	size_t		length = strlen(text);
	const char *last = text + length - BLOCK;

	if (length < BLOCK)
		return found_between(text, text, text + length);
	/* the last block may begin within the one before */
	for (const char *c = text;; c = c + BLOCK < last ? c + BLOCK : last)
	{
		if (is_worth_it(c) && found_between(text, c, c + BLOCK))
			return true;
		if (c == last)
			return false;
	}
}
