/*
 * tv_sqlapi_audit.c
 *	  SQL functions that show the audit log and check its chain.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "audit/tv_audit.h"
#include "audit/tv_audit_verify.h"
#include "base/tv_report.h"
#include "guard/tv_guard.h"
#include "vault/tv_vault.h"

PG_FUNCTION_INFO_V1(tv_sql_audit_lines);
PG_FUNCTION_INFO_V1(tv_sql_audit_verify);
PG_FUNCTION_INFO_V1(tv_sql_audit_note);

/*
 * Of the authenticated user; a superuser counts as long as no vault is on.
 * The log is the cluster's, so one in any database counts.
 */
static void
require_auditor(void)
{
	Oid			auditor = get_role_oid("vault_auditor", true);
	Oid			user = GetAuthenticatedUserId();

	if (OidIsValid(auditor) && is_member_of_role_nosuper(user, auditor))
		return;
	if (superuser_arg(user) && !tv_vault_on_anywhere())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for the audit log"),
			 errhint("Members of role vault_auditor may read it.")));
}

/*
 * UTF-8 in the database's encoding; what that cannot say becomes question
 * marks, because a log must be readable everywhere.
 */
static char *
from_utf8(const char *text, size_t len)
{
	int			encoding = GetDatabaseEncoding();
	char	   *out;
	char	   *to;
	Oid			proc;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return pnstrdup(text, len);
	proc = FindDefaultConversionProc(PG_UTF8, encoding);
	to = out = palloc(len * MAX_CONVERSION_GROWTH + 1);
	while (len > 0 && OidIsValid(proc))
	{
		int			skip;
		int			used = pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding,
														 (unsigned char *) unconstify(char *, text), len,
														 (unsigned char *) to, len * MAX_CONVERSION_GROWTH + 1, true);

		to += strlen(to);
		text += used;
		len -= used;
		if (len == 0)
			break;
		skip = Min((size_t) pg_encoding_mblen(PG_UTF8, text), len);
		*to++ = '?';
		text += skip;
		len -= skip;
	}
	*to = '\0';
	return out;
}

typedef struct RowSink
{
	ReturnSetInfo *rsinfo;
	MemoryContext context;
} RowSink;

/* A line that is not right is shown as text inside one that says so. */
static char *
damaged_line(const char *text, size_t len)
{
	StringInfoData buf;
	StringInfoData raw;

	initStringInfo(&raw);
	for (size_t i = 0; i < len && i < 4096; i++)
		appendStringInfoChar(&raw, text[i] >= ' ' && text[i] < 127 ? text[i] : '?');
	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"event_type\":\"DAMAGED_RECORD\",\"severity\":\"CRITICAL\",\"detail\":{\"text\":");
	escape_json(&buf, raw.data);
	appendStringInfoString(&buf, "}}");
	return buf.data;
}

static void
put_line(const char *file, uint64 offset, const char *text, size_t len, bool right, void *arg)
{
	RowSink    *sink = arg;
	MemoryContext before = MemoryContextSwitchTo(sink->context);
	char	   *line = right ? from_utf8(text, len) : damaged_line(text, len);
	Datum		values[3];
	bool		nulls[3] = {0};

	values[0] = CStringGetTextDatum(file);
	values[1] = Int64GetDatum((int64) offset);
	values[2] = DirectFunctionCall1(jsonb_in, CStringGetDatum(line));
	tuplestore_putvalues(sink->rsinfo->setResult, sink->rsinfo->setDesc, values, nulls);
	MemoryContextSwitchTo(before);
	MemoryContextReset(sink->context);
}

/* audit_lines() -> setof (file, position, line): what the log says, in order. */
Datum
tv_sql_audit_lines(PG_FUNCTION_ARGS)
{
	RowSink		sink;
	TvError		err;

	require_auditor();
	tv_guard_require_log();
	SetSingleFuncCall(fcinfo, 0);
	sink.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	sink.context = AllocSetContextCreate(CurrentMemoryContext, "tde_vault audit line",
										 ALLOCSET_DEFAULT_SIZES);
	if (tv_audit_read(put_line, &sink, &err) != TV_OK)
		tv_report(ERROR, &err);
	MemoryContextDelete(sink.context);
	return (Datum) 0;
}

/* audit_verify() -> (ok, records, first_bad, reason) */
Datum
tv_sql_audit_verify(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	TvAuditCheck check;
	TvError		err;
	Datum		values[4];
	bool		nulls[4] = {0};

	require_auditor();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "audit_verify() must return a row");
	if (tv_audit_check(&check, &err) != TV_OK)
		tv_report(ERROR, &err);
	values[0] = BoolGetDatum(check.ok);
	values[1] = Int64GetDatum((int64) check.records);
	nulls[2] = check.first_bad[0] == '\0';
	values[2] = CStringGetTextDatum(check.first_bad);
	nulls[3] = check.reason[0] == '\0';
	values[3] = CStringGetTextDatum(check.reason);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* audit_note(note): a remark in the log, durable on return. */
Datum
tv_sql_audit_note(PG_FUNCTION_ARGS)
{
	StringInfoData detail;
	TvAuditEvent event = {
		.type = "NOTE", .severity = TV_AUDIT_NOTICE, .result = TV_AUDIT_SUCCESS
	};

	initStringInfo(&detail);
	appendStringInfoString(&detail, "{\"note\":");
	escape_json(&detail, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	appendStringInfoChar(&detail, '}');
	event.detail = detail.data;
	tv_audit(&event, true);
	PG_RETURN_VOID();
}
