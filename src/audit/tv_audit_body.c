/*
 * tv_audit_body.c
 *	  What a line of the audit log says.
 *
 * Who and when come from the server, never from the caller.  Names are those
 * of the login: looking up a catalog is not always possible here.
 */
#include "audit/tv_audit_internal.h"

#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_authid.h"
#include "common/ip.h"
#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "base/tv_port.h"

#define ADDRESS_MAX 128

static const char *const severity_names[] = {
	[TV_AUDIT_INFO] = "INFO",
	[TV_AUDIT_NOTICE] = "NOTICE",
	[TV_AUDIT_WARNING] = "WARNING",
	[TV_AUDIT_CRITICAL] = "CRITICAL"
};

static const char *const result_names[] = {
	[TV_AUDIT_ALLOWED] = "ALLOWED",
	[TV_AUDIT_DENIED] = "DENIED",
	[TV_AUDIT_SIMULATED] = "SIMULATED",
	[TV_AUDIT_FAILED] = "FAILED",
	[TV_AUDIT_SUCCESS] = "SUCCESS"
};

/* Bytes that are no UTF-8 as \xNN, so that nothing is lost and nothing fails. */
static char *
spell_bytes(const char *value, bool json)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (; *value; value++)
	{
		if (IS_HIGHBIT_SET(*value))
			appendStringInfo(&buf, "%s\\x%02x", json ? "\\" : "", (unsigned char) *value);
		else
			appendStringInfoChar(&buf, *value);
	}
	return buf.data;
}

/* The text, which may be JSON, in UTF-8, whatever the database speaks. */
static const char *
to_utf8(const char *value, bool json)
{
	int			len = strlen(value);

	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		return pg_verify_mbstr(PG_UTF8, value, len, true) ? value : spell_bytes(value, json);
	if (!IsTransactionState())
		return spell_bytes(value, json);
	return pg_server_to_any(value, len, PG_UTF8);
}

/* Constant text. */
#define PUT(out, text) appendBinaryStringInfo(out, text, sizeof(text) - 1)

/* As escape_json() writes it (json.c), but what needs nothing done goes at once. */
static void
put_escaped(StringInfo out, const char *value)
{
	const char *from = value;
	const char *c;

	for (c = value; (unsigned char) *c >= ' ' && *c != '"' && *c != '\\'; c++)
		;
	if (*c != '\0')
	{
		escape_json(out, value);
		return;
	}
	appendStringInfoCharMacro(out, '"');
	appendBinaryStringInfo(out, from, c - from);
	appendStringInfoCharMacro(out, '"');
}

static void
put_value(StringInfo out, const char *value)
{
	if (value == NULL || value[0] == '\0')
		PUT(out, "null");
	else
		put_escaped(out, to_utf8(value, false));
	appendStringInfoCharMacro(out, ',');
}

/* name: a literal. */
#define PUT_STRING(out, name, value) \
	do { \
		PUT(out, "\"" name "\":"); \
		put_value(out, value); \
	} while (0)

static void
put_digits(StringInfo out, int value, int width, char behind)
{
	char		digits[16];

	Assert(width < lengthof(digits));
	for (int i = width; i-- > 0; value /= 10)
		digits[i] = '0' + value % 10;
	digits[width] = behind;
	appendBinaryStringInfo(out, digits, width + 1);
}

/* RFC 3339, UTC, microseconds. */
static void
put_moment(StringInfo out, TimestampTz when)
{
	struct pg_tm tm;
	fsec_t		fsec;

	/* without a time zone pointer, no shift: UTC (timestamp.c) */
	if (timestamp2tm(when, NULL, &tm, &fsec, NULL, NULL) != 0)
		memset(&tm, 0, sizeof(tm)), fsec = 0;
	appendStringInfoCharMacro(out, '"');
	put_digits(out, tm.tm_year, 4, '-');
	put_digits(out, tm.tm_mon, 2, '-');
	put_digits(out, tm.tm_mday, 2, 'T');
	put_digits(out, tm.tm_hour, 2, ':');
	put_digits(out, tm.tm_min, 2, ':');
	put_digits(out, tm.tm_sec, 2, '.');
	put_digits(out, fsec, 6, 'Z');
	PUT(out, "\",");
}

/* The client's address; "[local]" for a Unix socket; NULL without a client. */
static const char *
client_address(void)
{
	static char address[ADDRESS_MAX];
	static int	for_pid = 0;

	if (MyProcPort == NULL)
		return NULL;
	if (MyProcPort->raddr.addr.ss_family == AF_UNIX)
		return "[local]";
	if (for_pid != MyProcPid)
	{
		if (pg_getnameinfo_all(&MyProcPort->raddr.addr, MyProcPort->raddr.salen,
							   address, sizeof(address), NULL, 0, NI_NUMERICHOST) != 0)
			strlcpy(address, "unknown", sizeof(address));
		for_pid = MyProcPid;
	}
	return address;
}

/*
 * Who has logged in, or whose session a background worker is (of pg_cron, of a
 * subscription); a worker of nobody's has the bootstrap superuser's.
 */
static Oid
authenticated_user(void)
{
	if (!OidIsValid(MyDatabaseId) || (MyProcPort == NULL && MyBgworkerEntry == NULL))
		return InvalidOid;
	return GetAuthenticatedUserId();
}

static const char *
authenticated_name(Oid user, bool catalogs)
{
	const char *name = NULL;

	if (MyProcPort != NULL)
		return MyProcPort->user_name;
	if (catalogs && OidIsValid(user) && user != BOOTSTRAP_SUPERUSERID)
		name = GetUserNameFromId(user, true);
	if (name != NULL)
		return name;
	return MyBgworkerEntry ? MyBgworkerEntry->bgw_type : GetBackendTypeDesc(MyBackendType);
}

static void
put_identity(StringInfo out, bool catalogs)
{
	Oid			user = authenticated_user();
	Oid			current = InvalidOid;
	int			context;

	PUT_STRING(out, "user", authenticated_name(user, catalogs));
	if (OidIsValid(user))
		appendStringInfo(out, "\"user_oid\":%u,", user);
	else
		PUT(out, "\"user_oid\":null,");
	GetUserIdAndSecContext(&current, &context);
	if (OidIsValid(current) && current == user && MyProcPort != NULL)
		PUT_STRING(out, "current_user", MyProcPort->user_name);
	else
		PUT_STRING(out, "current_user", OidIsValid(current) && catalogs ?
				   GetUserNameFromId(current, true) : NULL);
	PUT_STRING(out, "database", MyProcPort ? MyProcPort->database_name : NULL);
}

static void
put_session(StringInfo out)
{
	char		session[64];

	PUT_STRING(out, "ip_address", client_address());
	/* as %c of log_line_prefix (elog.c) */
	snprintf(session, sizeof(session), "%lx.%x", (long) MyStartTime, MyProcPid);
	PUT_STRING(out, "session_id", session);
	appendStringInfo(out, "\"pid\":%d,", MyProcPid);
	PUT_STRING(out, "application_name", application_name);
}

/*
 * What both of them say while a client acts as who it has logged in as: kept,
 * since only application_name can make it something else.
 */
typedef struct Kept
{
	int			pid;			/* 0: nothing is kept */
	char		name[NAMEDATALEN];	/* of the application */
	char		identity[512];
	int			identity_len;
	char		session[512];
	int			session_len;
} Kept;

static bool
keep(char *place, int room, int *len, const StringInfoData *text)
{
	if (text->len > room)
		return false;
	memcpy(place, text->data, text->len);
	*len = text->len;
	return true;
}

static void
make_kept(Kept *kept)
{
	StringInfoData identity;
	StringInfoData session;

	kept->pid = 0;
	initStringInfo(&identity);
	initStringInfo(&session);
	put_identity(&identity, false);
	put_session(&session);
	if (keep(kept->identity, sizeof(kept->identity), &kept->identity_len, &identity) &&
		keep(kept->session, sizeof(kept->session), &kept->session_len, &session) &&
		strlcpy(kept->name, application_name, sizeof(kept->name)) < sizeof(kept->name))
		kept->pid = MyProcPid;
}

/* NULL where it is not so simple. */
static const Kept *
kept_parts(void)
{
	static Kept kept;
	Oid			current;
	int			context;

	if (MyProcPort == NULL || !OidIsValid(MyDatabaseId) || application_name == NULL ||
		(GetDatabaseEncoding() != PG_UTF8 && GetDatabaseEncoding() != PG_SQL_ASCII))
		return NULL;
	GetUserIdAndSecContext(&current, &context);
	if (!OidIsValid(current) || current != GetAuthenticatedUserId())
		return NULL;
	if (kept.pid != MyProcPid || strcmp(kept.name, application_name) != 0)
		make_kept(&kept);
	return kept.pid != 0 ? &kept : NULL;
}

static void
ignore_scalar(void *state, char *token, JsonTokenType type)
{
}

/* A JSON object as it is, but on one line; any other text as a string. */
static void
put_detail(StringInfo out, const char *detail)
{
	const char *text;
	JsonSemAction actions = {.scalar = ignore_scalar};

	PUT(out, "\"detail\":");
	if (detail == NULL || detail[0] == '\0')
	{
		PUT(out, "null");
		return;
	}
	text = to_utf8(detail, true);
	if (text[0] != '{' ||
		pg_parse_json(makeJsonLexContextCstringLen(unconstify(char *, text), strlen(text), PG_UTF8, false),
					  &actions) != JSON_SUCCESS)
	{
		escape_json(out, text);
		return;
	}
	/* a raw line break can only be white space between tokens */
	for (; *text; text++)
		appendStringInfoChar(out, *text == '\n' || *text == '\r' ? ' ' : *text);
}

static void
put_event(StringInfo out, const char *type, TvAuditSeverity severity, bool catalogs, const Kept *kept)
{
	PUT(out, "\"timestamp\":");
	put_moment(out, GetCurrentTimestamp());
	PUT_STRING(out, "event_type", type);
	PUT_STRING(out, "severity", severity_names[severity]);
	if (kept != NULL)
		appendBinaryStringInfo(out, kept->identity, kept->identity_len);
	else
		put_identity(out, catalogs);
}

static void
put_object(StringInfo out, const char *realm, const char *object, const char *action, const Kept *kept)
{
	PUT_STRING(out, "realm", realm);
	PUT_STRING(out, "object", object);
	PUT_STRING(out, "action", action);
	if (kept != NULL)
		appendBinaryStringInfo(out, kept->session, kept->session_len);
	else
		put_session(out);
}

void
tv_audit_body(const TvAuditEvent *event, bool catalogs, StringInfo out)
{
	const Kept *kept = kept_parts();

	/* InterruptHoldoffCount: a lock of the server's may be held */
	put_event(out, event->type, event->severity,
			  catalogs && IsTransactionState() && InterruptHoldoffCount == 0, kept);
	put_object(out, event->realm, event->object, event->action, kept);
	PUT_STRING(out, "result", result_names[event->result]);
	PUT_STRING(out, "reason", event->reason);
	put_detail(out, event->detail);
}

void
tv_audit_header_body(bool start, const TvAuditLink *link, const char *reason, StringInfo out)
{
	TvAuditSeverity severity = TV_AUDIT_INFO;
	char		host[256] = "";
	TimeLineID	timeline;
	bool		standby = RecoveryInProgress();

	if (link->missing > 0)
		severity = TV_AUDIT_CRITICAL;
	else if (link->torn > 0 || reason != NULL)
		severity = TV_AUDIT_WARNING;
	if (standby)
		(void) GetXLogReplayRecPtr(&timeline);
	else
		timeline = GetWALInsertionTimeLine();
	(void) gethostname(host, sizeof(host) - 1);

	put_event(out, start ? "AUDIT_START" : "AUDIT_FILE", severity, false, NULL);
	put_object(out, NULL, NULL, NULL, NULL);
	PUT_STRING(out, "result", result_names[TV_AUDIT_SUCCESS]);
	PUT_STRING(out, "reason", reason);
	appendStringInfo(out, "\"detail\":{\"system_identifier\":\"" UINT64_FORMAT "\",\"timeline\":%u,",
					 GetSystemIdentifier(), timeline);
	PUT_STRING(out, "node", cluster_name);
	PUT_STRING(out, "host", host);
	PUT(out, "\"server_start\":");
	put_moment(out, PgStartTime);
	appendStringInfo(out, "\"standby\":%s}", standby ? "true" : "false");
}
