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

static void
put_string(StringInfo out, const char *name, const char *value)
{
	appendStringInfo(out, "\"%s\":", name);
	if (value == NULL || value[0] == '\0')
		appendStringInfoString(out, "null");
	else
		escape_json(out, to_utf8(value, false));
	appendStringInfoChar(out, ',');
}

/* RFC 3339, UTC, microseconds. */
static void
put_time(StringInfo out, const char *name, TimestampTz when)
{
	struct pg_tm tm;
	fsec_t		fsec;

	/* without a time zone pointer, no shift: UTC (timestamp.c) */
	if (timestamp2tm(when, NULL, &tm, &fsec, NULL, NULL) != 0)
		memset(&tm, 0, sizeof(tm)), fsec = 0;
	appendStringInfo(out, "\"%s\":\"%04d-%02d-%02dT%02d:%02d:%02d.%06dZ\",", name,
					 tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, fsec);
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

static void
put_identity(StringInfo out, bool catalogs)
{
	Oid			user = InvalidOid;
	Oid			current = InvalidOid;
	int			context;

	if (MyProcPort != NULL)
		put_string(out, "user", MyProcPort->user_name);
	else
		put_string(out, "user", MyBgworkerEntry ? MyBgworkerEntry->bgw_type :
				   GetBackendTypeDesc(MyBackendType));
	if (OidIsValid(MyDatabaseId) && MyProcPort != NULL)
		user = GetAuthenticatedUserId();
	if (OidIsValid(user))
		appendStringInfo(out, "\"user_oid\":%u,", user);
	else
		appendStringInfoString(out, "\"user_oid\":null,");
	GetUserIdAndSecContext(&current, &context);
	if (OidIsValid(current) && current == user)
		put_string(out, "current_user", MyProcPort->user_name);
	else
		put_string(out, "current_user", OidIsValid(current) && catalogs ?
				   GetUserNameFromId(current, true) : NULL);
	put_string(out, "database", MyProcPort ? MyProcPort->database_name : NULL);
}

static void
put_session(StringInfo out)
{
	char		session[64];

	put_string(out, "ip_address", client_address());
	/* as %c of log_line_prefix (elog.c) */
	snprintf(session, sizeof(session), "%lx.%x", (long) MyStartTime, MyProcPid);
	put_string(out, "session_id", session);
	appendStringInfo(out, "\"pid\":%d,", MyProcPid);
	put_string(out, "application_name", application_name);
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

	appendStringInfoString(out, "\"detail\":");
	if (detail == NULL || detail[0] == '\0')
	{
		appendStringInfoString(out, "null");
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
put_event(StringInfo out, const char *type, TvAuditSeverity severity, bool catalogs)
{
	put_time(out, "timestamp", GetCurrentTimestamp());
	put_string(out, "event_type", type);
	put_string(out, "severity", severity_names[severity]);
	put_identity(out, catalogs);
}

void
tv_audit_body(const TvAuditEvent *event, bool catalogs, StringInfo out)
{
	/* InterruptHoldoffCount: a lock of the server's may be held */
	put_event(out, event->type, event->severity,
			  catalogs && IsTransactionState() && InterruptHoldoffCount == 0);
	put_string(out, "realm", event->realm);
	put_string(out, "object", event->object);
	put_string(out, "action", event->action);
	put_session(out);
	put_string(out, "result", result_names[event->result]);
	put_string(out, "reason", event->reason);
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

	put_event(out, start ? "AUDIT_START" : "AUDIT_FILE", severity, false);
	put_string(out, "realm", NULL);
	put_string(out, "object", NULL);
	put_string(out, "action", NULL);
	put_session(out);
	put_string(out, "result", result_names[TV_AUDIT_SUCCESS]);
	put_string(out, "reason", reason);
	appendStringInfo(out, "\"detail\":{\"system_identifier\":\"" UINT64_FORMAT "\",\"timeline\":%u,",
					 GetSystemIdentifier(), timeline);
	put_string(out, "node", cluster_name);
	put_string(out, "host", host);
	put_time(out, "server_start", PgStartTime);
	appendStringInfo(out, "\"standby\":%s}", standby ? "true" : "false");
}
