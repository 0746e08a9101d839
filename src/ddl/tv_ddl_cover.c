/*
 * tv_ddl_cover.c
 *	  Secrets of statements: out of each text before anything can show it.
 *
 * What a client sends comes by exec_simple_query() or exec_parse_message()
 * (src/backend/tcop/postgres.c).  Both set debug_query_string and then, before
 * anything else sees the text, call pgstat_report_activity().  The text is in
 * memory of the message, which is ours to write to, so it is masked there and
 * then, and everything that comes later has stars: activity, log_statement,
 * durations, STATEMENT lines, statistics, plans.
 *
 * Texts of SPI and of SQL functions belong to others.  Of those a masked copy
 * is parsed, and the plan gets the copy as its text.  Their callers' own
 * messages may still show them; what goes to the log is looked through for
 * secrets that are in memory.
 */
#include "postgres.h"

#include "ddl/tv_ddl_cover.h"

#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/elog.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

#include "attach/tv_attach.h"
#include "base/tv_hot.h"
#include "ddl/tv_ddl_mask.h"
#include "ddl/tv_ddl_parse.h"
#include "ddl/tv_ddl_suspect.h"

/*
 * The text of the client that is being worked on, if it may have something of
 * ours, and what was taken out of it.
 */
static TV_HOT_DATA const char *suspect_message = NULL;
static TV_HOT_DATA TvDdlHidden *message_hidden = NULL;

TV_HOT_DATA const char *tv_ddl_harmless_message = NULL;

static TV_HOT_DATA void (*next_report_activity) (BackendState state, const char *text);
static CachedPlanSource *(*next_create_plan) (RawStmt *raw, const char *text, CommandTag tag);
static CachedPlanSource *(*next_create_one_shot) (RawStmt *raw, const char *text, CommandTag tag);
static emit_log_hook_type next_emit_log = NULL;

typedef bool (*Marker) (TvDdlToken *tokens);

/* --- the message ------------------------------------------------------------------- */

/* Mask what marker finds in text, which is ours to write to.  NULL: it finds nothing. */
static TvDdlHidden *
mask(char *text, Marker marker)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "tde_vault tokens",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	TvDdlToken *tokens = tv_ddl_tokenize(text);
	bool		found = marker(tokens);
	TvDdlHidden *hidden;

	MemoryContextSwitchTo(before);
	hidden = found ? tv_ddl_hide(text, tokens) : NULL;
	MemoryContextDelete(context);
	return hidden;
}

/* Does a client send texts to this process? */
static bool
serves_client(void)
{
	return MyBackendType == B_BACKEND || MyBackendType == B_WAL_SENDER ||
		!IsUnderPostmaster;
}

static pg_noinline void
mask_message(char *text)
{
	if (!serves_client())
		return;
	/* an error while it is not masked must not show it */
	debug_query_string = NULL;
	message_hidden = mask(text, tv_ddl_mark_secrets);
	debug_query_string = text;
	suspect_message = text;
}

/* The text that was found to be harmless last: those of prepared statements come again and again. */
static struct
{
	size_t		size;			/* of the text, with its end */
	char		text[256 - sizeof(size_t)];
}			harmless pg_attribute_aligned(64);

/* Side by side: the addresses that the linker keeps lie in a cache line each. */
static TV_HOT_DATA struct
{
	const char **query_string;
	size_t		(*length) (const char *text);
	int			(*compare) (const void *one, const void *other, size_t size);
	void	   *(*copy) (void *to, const void *from, size_t size);
}			server = {&debug_query_string, strlen, memcmp, memcpy};

static TV_HOT pg_noinline void
look_at_message(const char *text)
{
	size_t		size = server.length(text) + 1;

	if (size != harmless.size || server.compare(text, harmless.text, size) != 0)
	{
		if (unlikely(tv_ddl_suspect(text)))
		{
			mask_message(unconstify(char *, text));
			return;
		}
		if (likely(size <= sizeof(harmless.text)))
		{
			server.copy(harmless.text, text, size);
			harmless.size = size;
		}
	}
	tv_ddl_harmless_message = text;
}

static TV_HOT void
report_activity(BackendState state, const char *text)
{
	suspect_message = NULL;
	message_hidden = NULL;
	tv_ddl_harmless_message = NULL;
	if (state == STATE_RUNNING && text != NULL && text == *server.query_string)
		look_at_message(text);
	next_report_activity(state, text);
}

bool
tv_ddl_look_closer(const char *text)
{
	return text == suspect_message || tv_ddl_suspect(text);
}

bool
tv_ddl_message_hides(const char *text, TvDdlHidden **hidden)
{
	*hidden = text == suspect_message ? message_hidden : NULL;
	return *hidden != NULL;
}

void
tv_ddl_hide_suspects(const char *text, MemoryContext context)
{
	MemoryContext before = MemoryContextSwitchTo(context);
	bool		of_message = text == suspect_message;

	if (mask(of_message ? unconstify(char *, text) : pstrdup(text), tv_ddl_mark_suspects) != NULL &&
		of_message)
		next_report_activity(STATE_RUNNING, text);
	MemoryContextSwitchTo(before);
}

/* --- plans -------------------------------------------------------------------------- */

/* What was taken out of the text that a plan is made of. */
static TvDdlHidden *
hidden_of_plan(const char *text)
{
	TvDdlHidden *hidden;

	if (!tv_ddl_any_hidden())
		return NULL;
	return tv_ddl_message_hides(text, &hidden) ? hidden : tv_ddl_hidden_of(text);
}

const char *
tv_ddl_covered(const char *text)
{
	TvDdlHidden *hidden = text ? hidden_of_plan(text) : NULL;

	return hidden ? hidden->masked : text;
}

static CachedPlanSource *
create_plan(RawStmt *raw, const char *text, CommandTag tag)
{
	TvDdlHidden *hidden = hidden_of_plan(text);
	CachedPlanSource *plan = next_create_plan(raw, hidden ? hidden->masked : text, tag);

	if (hidden != NULL)
		tv_ddl_keep_hidden(hidden, plan->context);
	return plan;
}

static CachedPlanSource *
create_one_shot(RawStmt *raw, const char *text, CommandTag tag)
{
	TvDdlHidden *hidden = hidden_of_plan(text);

	/* such a plan uses the text itself: keep that as long as the plan */
	if (hidden != NULL)
		tv_ddl_keep_hidden(hidden, CurrentMemoryContext);
	return next_create_one_shot(raw, hidden ? hidden->masked : text, tag);
}

/* --- the log ------------------------------------------------------------------------- */

/* What others say of their texts; see the head of this file. */
static void
scrub_log(ErrorData *error)
{
	tv_ddl_scrub(error->message, false);
	tv_ddl_scrub(error->detail, false);
	tv_ddl_scrub(error->detail_log, false);
	tv_ddl_scrub(error->hint, false);
	tv_ddl_scrub(error->context, true);
	tv_ddl_scrub(error->internalquery, true);
	if (next_emit_log != NULL)
		next_emit_log(error);
}

void
tv_ddl_cover_init(void)
{
	next_report_activity = tv_attach_detour((void *) pgstat_report_activity, "pgstat_report_activity",
											(void *) report_activity);
	next_create_plan = tv_attach_detour((void *) CreateCachedPlan, "CreateCachedPlan", (void *) create_plan);
	next_create_one_shot = tv_attach_detour((void *) CreateOneShotCachedPlan, "CreateOneShotCachedPlan",
											(void *) create_one_shot);
	next_emit_log = emit_log_hook;
	emit_log_hook = scrub_log;
}
