/*
 * tv_ddl_secret.c
 *	  Secrets of statements: in a text and its parse tree stand stars and
 *	  references, and what they stand for is kept here.
 *
 * What is kept belongs to memory contexts: that of the message, or of the plan
 * that holds the parse tree.  It goes when the last of them is reset.
 */
#include "postgres.h"

#include "ddl/tv_ddl_secret.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/tv_secret.h"
#include "ddl/tv_ddl_mask.h"
#include "ddl/tv_ddl_parse.h"

#define REFERENCE_PREFIX "tde_vault secret "
#define RANDOM_BYTES 16
#define GUARDED_MAX 65536		/* tv_secret_alloc() has no more at once */

/* A secret shorter than this is a word that occurs anywhere. */
#define SCRUB_MIN 4

/* How deep bodies in bodies are looked into. */
#define BODIES_MAX 4

/* All that is kept by this process, the newest first. */
static TvDdlHidden *kept = NULL;

static uint64
hash_of(const char *text, Size length)
{
	return hash_bytes_extended((const unsigned char *) text, (int) length, 0);
}

static bool
is_last(const TvDdlToken *token)
{
	return token->kind == TV_TOKEN_END || token->kind == TV_TOKEN_BROKEN;
}

/* --- keeping ---------------------------------------------------------------------- */

static void
free_hidden(TvDdlHidden *hidden)
{
	while (hidden->words != NULL)
	{
		TvDdlWord  *word = hidden->words;

		hidden->words = word->next;
		tv_secret_free(word);
	}
	for (int i = 0; i < hidden->count; i++)
	{
		TvDdlSecret *secret = &hidden->secret[i];

		if (secret->value == NULL)
			continue;
		tv_secret_wipe(secret->value, secret->length + 1);
		if (secret->guarded)
			tv_secret_free(secret->value);
		else
			pfree(secret->value);
	}
	if (hidden->masked != NULL)
		pfree(hidden->masked);
	pfree(hidden);
}

/* A memory context that needed it is being reset. */
static void
release(void *argument)
{
	TvDdlHidden *hidden = argument;
	TvDdlHidden **link = &kept;

	if (--hidden->users > 0)
		return;
	while (*link != hidden)
		link = &(*link)->next;
	*link = hidden->next;
	free_hidden(hidden);
}

void
tv_ddl_keep_hidden(TvDdlHidden *hidden, MemoryContext context)
{
	MemoryContextCallback *callback = MemoryContextAlloc(context, sizeof(*callback));

	callback->func = release;
	callback->arg = hidden;
	hidden->users++;
	MemoryContextRegisterResetCallback(context, callback);
}

/* --- taking out --------------------------------------------------------------------- */

static void
make_nonce(char *nonce)
{
	unsigned char bytes[RANDOM_BYTES];

	if (!pg_strong_random(bytes, sizeof(bytes)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random numbers")));
	(void) hex_encode((const char *) bytes, sizeof(bytes), nonce);
	nonce[2 * RANDOM_BYTES] = '\0';
}

static void
keep_value(TvDdlSecret *secret, const char *value)
{
	secret->length = strlen(value);
	secret->guarded = secret->length < GUARDED_MAX;
	if (secret->guarded)
	{
		secret->value = tv_secret_alloc(secret->length + 1);
		if (secret->value == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory"),
					 errdetail("A password of %zu bytes cannot be kept.", secret->length)));
	}
	else
		secret->value = MemoryContextAllocHuge(TopMemoryContext, secret->length + 1);
	memcpy(secret->value, value, secret->length + 1);
}

/*
 * The literals in a body, and in those of them that are bodies: the log may
 * show a part of it as the expression or statement that is at hand.
 */
static void
keep_words(TvDdlHidden *hidden, const char *body, int depth)
{
	if (depth == BODIES_MAX || !tv_ddl_body_is_suspect(body))
		return;
	for (const TvDdlToken *token = tv_ddl_tokenize(body); !is_last(token); token++)
	{
		Size		length = token->kind == TV_TOKEN_STRING ? strlen(token->text) : 0;
		TvDdlWord  *word;

		if (length < SCRUB_MIN || length > GUARDED_MAX / 2)
			continue;
		word = tv_secret_alloc(offsetof(TvDdlWord, value) + length + 1);
		if (word == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory")));
		word->length = length;
		memcpy(word->value, token->text, length + 1);
		word->next = hidden->words;
		hidden->words = word;
		keep_words(hidden, token->text, depth + 1);
	}
}

/*
 * The part of a literal, or of what begins like one, that is its content: from
 * behind the opening quotes to the closing ones.
 */
static void
find_content(const char *text, const TvDdlToken *token, int *from, int *to)
{
	int			start = token->start;
	int			end = token->end;

	while (start < end && text[start] != '\'' && text[start] != '$')
		start++;
	*from = Min(start + 1, end);
	*to = end;
	if (start < end && text[start] == '$')
	{
		const char *close = memchr(text + start + 1, '$', end - start - 1);
		int			tag = close ? close - (text + start) + 1 : 1;

		*from = Min(start + tag, end);
		*to = end - tag;
	}
	else if (token->kind == TV_TOKEN_STRING)
	{
		while (*to > *from && text[*to - 1] != '\'')
			(*to)--;
		(*to)--;
	}
	if (token->kind == TV_TOKEN_BROKEN)
		*to = end;
}

/*
 * Stars over the token's content, which moves what follows to the left.  moved
 * is by how much the text before has moved already; returns by how much now.
 */
static int
put_stars(char *text, Size *length, TvDdlToken token, int moved)
{
	int			from;
	int			to;
	int			stars;

	token.start -= moved;
	token.end -= moved;
	find_content(text, &token, &from, &to);
	if (to <= from)
		return moved;
	stars = pg_mbstrlen_with_len(text + from, to - from);
	memset(text + from, '*', stars);
	if (stars == to - from)
		return moved;
	memmove(text + from + stars, text + to, *length - to + 1);
	tv_secret_wipe(text + *length - (to - from - stars) + 1, to - from - stars);
	*length -= to - from - stars;
	return moved + to - from - stars;
}

/* The token, or what quotes left open; false: it holds nothing to hide. */
static bool
hidden_token(const TvDdlToken *tokens, const TvDdlToken *token, TvDdlToken *hide)
{
	*hide = *token;
	/* it begins somewhere behind the last token that was one */
	if (token->kind == TV_TOKEN_BROKEN)
		hide->start = token == tokens ? 0 : token[-1].end;
	return token->secret && token->kind != TV_TOKEN_PARAMETER;
}

static int
count_secrets(const TvDdlToken *tokens)
{
	int			n = 0;

	for (const TvDdlToken *token = tokens; !is_last(token); token++)
		n += token->secret;
	return n;
}

static void
take_out(TvDdlHidden *hidden, char *text, const TvDdlToken *tokens)
{
	Size		length = hidden->length;
	int			moved = 0;

	hidden->parameter = -1;
	for (const TvDdlToken *token = tokens;; token++)
	{
		TvDdlToken	hide;

		if (token->secret && token->kind == TV_TOKEN_PARAMETER && hidden->parameter < 0)
			hidden->parameter = token->start - moved;
		if (hidden_token(tokens, token, &hide))
		{
			if (token->kind == TV_TOKEN_STRING)
			{
				hidden->secret[hidden->count].start = token->start - moved;
				keep_value(&hidden->secret[hidden->count++], token->text);
				keep_words(hidden, token->text, 0);
			}
			moved = put_stars(text, &length, hide, moved);
		}
		if (is_last(token))
			break;
	}
}

TvDdlHidden *
tv_ddl_hide(char *text, const TvDdlToken *tokens)
{
	TvDdlHidden *hidden = MemoryContextAllocZero(TopMemoryContext,
												 offsetof(TvDdlHidden, secret) +
												 count_secrets(tokens) * sizeof(TvDdlSecret));

	hidden->length = strlen(text);
	hidden->hash = hash_of(text, hidden->length);
	hidden->next = kept;
	kept = hidden;
	/* from now on an error frees what there is */
	tv_ddl_keep_hidden(hidden, CurrentMemoryContext);
	make_nonce(hidden->nonce);
	take_out(hidden, text, tokens);
	hidden->masked = MemoryContextStrdup(TopMemoryContext, text);
	return hidden;
}

/* --- finding -------------------------------------------------------------------------- */

bool
tv_ddl_any_hidden(void)
{
	return kept != NULL;
}

TvDdlHidden *
tv_ddl_hidden_of(const char *text)
{
	Size		length;
	uint64		hash;

	if (kept == NULL)
		return NULL;
	length = strlen(text);
	hash = hash_of(text, length);
	for (TvDdlHidden *hidden = kept; hidden != NULL; hidden = hidden->next)
	{
		if (hidden->length == length && hidden->hash == hash && hidden->masked != NULL)
			return hidden;
	}
	return NULL;
}

TvDdlSecret *
tv_ddl_secret_from(TvDdlHidden *hidden, int start)
{
	int			low = 0;
	int			high = hidden->count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (hidden->secret[middle].start < start)
			low = middle + 1;
		else
			high = middle;
	}
	return low < hidden->count ? &hidden->secret[low] : NULL;
}

char *
tv_ddl_refer(TvDdlHidden *hidden, TvDdlSecret *secret)
{
	secret->placed = true;
	return psprintf(REFERENCE_PREFIX "%s %d", hidden->nonce, (int) (secret - hidden->secret));
}

bool
tv_ddl_find_secret(const char *reference, const TvDdlSecret **secret)
{
	const char *nonce = reference + strlen(REFERENCE_PREFIX);

	if (strncmp(reference, REFERENCE_PREFIX, strlen(REFERENCE_PREFIX)) != 0 ||
		strlen(nonce) < 2 * RANDOM_BYTES + 2)
		return false;
	for (TvDdlHidden *hidden = kept; hidden != NULL; hidden = hidden->next)
	{
		int			i = atoi(nonce + 2 * RANDOM_BYTES + 1);

		if (memcmp(hidden->nonce, nonce, 2 * RANDOM_BYTES) != 0 || i < 0 || i >= hidden->count)
			continue;
		*secret = &hidden->secret[i];
		return true;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the password of this statement is not in memory any more"),
			 errdetail("A plan that was copied does not keep it."),
			 errhint("Send the statement again.")));
}

static void
scrub_word(char *message, const char *word, Size length)
{
	char	   *found = message;

	if (word == NULL || length < SCRUB_MIN)
		return;
	while ((found = strstr(found, word)) != NULL)
	{
		memset(found, '*', length);
		found += length;
	}
}

/* PASSWORD 'p', with quotes that may be doubled as part of another literal. */
static void
scrub_pattern(char *message)
{
	char	   *found = message;

	while ((found = strcasestr(found, "password")) != NULL)
	{
		found += strlen("password");
		found += strspn(found, " \t\n");
		if (*found != '\'')
			continue;
		found += strspn(found, "'");
		while (*found != '\0' && *found != '\'')
			*found++ = '*';
	}
}

void
tv_ddl_scrub(char *message, bool shows_text)
{
	if (message == NULL)
		return;
	for (TvDdlHidden *hidden = kept; hidden != NULL; hidden = hidden->next)
	{
		for (int i = 0; i < hidden->count; i++)
			scrub_word(message, hidden->secret[i].value, hidden->secret[i].length);
		for (const TvDdlWord *word = shows_text ? hidden->words : NULL; word != NULL; word = word->next)
			scrub_word(message, word->value, word->length);
	}
	scrub_pattern(message);
}
