/*
 * tv_audit_keys.c
 *	  What happens to keys, as events.
 *
 * The keyring tells after it has happened, so nothing can be refused; and it
 * may tell from deep in the server, so no catalog is looked at.
 */
#include "audit/tv_audit_internal.h"

#include "utils/json.h"
#include "utils/timestamp.h"

#include "keyring/tv_keyring.h"

#define FAILURES_EVERY 1000		/* ms: one event of a failing provider */

typedef struct KeyEvent
{
	const char *type;
	TvAuditSeverity severity;
	TvAuditResult result;
	bool		durable;
} KeyEvent;

static const KeyEvent events[] = {
	[TV_EVENT_MASTER_CREATED] = {"MASTER_KEY_CREATED", TV_AUDIT_NOTICE, TV_AUDIT_SUCCESS, true},
	[TV_EVENT_MASTER_ROTATED] = {"MASTER_KEY_ROTATED", TV_AUDIT_NOTICE, TV_AUDIT_SUCCESS, true},
	[TV_EVENT_KEY_CREATED] = {"TABLE_KEY_CREATED", TV_AUDIT_INFO, TV_AUDIT_SUCCESS, false},
	[TV_EVENT_KEY_DROPPED] = {"TABLE_KEY_DROPPED", TV_AUDIT_INFO, TV_AUDIT_SUCCESS, false},
	[TV_EVENT_KEY_DESTROYED] = {"TABLE_KEY_DESTROYED", TV_AUDIT_NOTICE, TV_AUDIT_SUCCESS, true},
	[TV_EVENT_PROVIDER_FAILED] = {"KEY_PROVIDER_FAILED", TV_AUDIT_WARNING, TV_AUDIT_FAILED, false}
};

static void
put_member(StringInfo out, const char *name, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	appendStringInfo(out, ",\"%s\":", name);
	escape_json(out, value);
}

static void
key_event(TvKeyringEvent what, uint64 id, Oid database, Oid table, const TvError *err)
{
	static TimestampTz last_failure = 0;
	const KeyEvent *known = &events[what];
	TvAuditEvent event = {
		.type = known->type, .severity = known->severity, .result = known->result,
		.reason = err ? err->message : NULL
	};
	TvKeyringMaster master;
	StringInfoData detail;

	if (what == TV_EVENT_PROVIDER_FAILED)
	{
		TimestampTz now = GetCurrentTimestamp();

		if (!TimestampDifferenceExceeds(last_failure, now, FAILURES_EVERY))
			return;
		last_failure = now;
	}
	initStringInfo(&detail);
	appendStringInfo(&detail, "{\"key\":\"%016" INT64_MODIFIER "x\",\"database_oid\":%u", id, database);
	if (OidIsValid(table))
		appendStringInfo(&detail, ",\"table_oid\":%u", table);
	for (uint32 i = 0; !OidIsValid(table) && tv_keyring_master_at(i, &master); i++)
	{
		if (master.id == id)
			put_member(&detail, "key_id", master.key_id);
	}
	if (err != NULL)
		put_member(&detail, "detail", err->detail);
	appendStringInfoChar(&detail, '}');
	event.detail = detail.data;
	(void) tv_audit_deep(&event, known->durable);
	pfree(detail.data);
}

void
tv_audit_keys_init(void)
{
	tv_keyring_set_watch(key_event);
}
