/*
 * tv_vault_audit.c
 *	  What the vault writes into the audit log.
 *
 * A change is written when its statement runs, and again, in one line for the
 * transaction, when it commits or not: neither a rollback nor a crash leaves a
 * gap.  Everything is durable before its effect can be seen, except reads that
 * are allowed while tde_vault.audit_reads is off: those are written before the
 * rows are seen, and reach the disk with the next line that must.
 */
#include "vault/tv_vault_audit.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/json.h"

#include "base/tv_hot.h"
#include "base/tv_settings.h"
#include "vault/tv_vault_internal.h"

static int	n_changes = 0;		/* of this transaction */

static void
note_change(void)
{
	n_changes++;
	tv_vault_at_end = true;
}

void
tv_vault_audit_change(const char *command, const char *realm, const char *object)
{
	TvAuditEvent event = {"POLICY_CHANGE", TV_AUDIT_NOTICE, TV_AUDIT_SUCCESS};

	event.realm = realm;
	event.object = object;
	event.action = command;
	event.reason = "in force when the transaction commits";
	tv_audit(&event, true);
	note_change();
}

void
tv_vault_audit_committed(uint64 number)
{
	TvAuditEvent event = {"POLICY_COMMIT", TV_AUDIT_NOTICE, TV_AUDIT_SUCCESS};
	char		detail[64];

	snprintf(detail, sizeof(detail), "{\"changes\": %d, \"policy\": " UINT64_FORMAT "}",
			 n_changes, number);
	event.detail = detail;
	(void) tv_audit_nothrow(&event, true);
	(void) tv_audit_anchor(true);
	n_changes = 0;
}

void
tv_vault_audit_rolled_back(bool savepoint)
{
	TvAuditEvent event = {"POLICY_ROLLBACK", TV_AUDIT_NOTICE, TV_AUDIT_SUCCESS};

	if (savepoint)
		event.reason = "those since a savepoint";
	if (n_changes > 0)
		(void) tv_audit_nothrow(&event, false);
	if (!savepoint)
		n_changes = 0;
}

void
tv_vault_audit_refused(const char *command, const char *realm, const char *why)
{
	TvAuditEvent event = {"POLICY_CHANGE", TV_AUDIT_WARNING, TV_AUDIT_DENIED};

	event.realm = realm;
	event.action = command;
	event.reason = why ? why : "neither vault administrator nor owner of the realm";
	tv_audit(&event, true);
}

void
tv_vault_audit_unlock(const char *realm, TvAuditSeverity severity, TvAuditResult result,
					  const char *reason)
{
	TvAuditEvent event = {"UNLOCK", severity, result};

	event.realm = realm;
	event.action = "UNLOCK REALM";
	event.reason = reason;
	tv_audit(&event, true);
}

void
tv_vault_audit_lock(const char *realm)
{
	TvAuditEvent event = {"LOCK", TV_AUDIT_INFO, TV_AUDIT_SUCCESS};

	event.realm = realm;
	event.action = "LOCK REALM";
	(void) tv_audit_nothrow(&event, false);
}

void
tv_vault_audit_expired(const char *realm, uint64 emergency)
{
	TvAuditEvent event = {"LOCK", TV_AUDIT_NOTICE, TV_AUDIT_SUCCESS};
	char		detail[64];

	event.realm = realm;
	event.action = "EXPIRE";
	event.reason = "the unlock or its password has run out";
	if (emergency != 0)
	{
		event.type = "EMERGENCY";
		event.severity = TV_AUDIT_CRITICAL;
		event.reason = "the emergency unlock has run out";
		snprintf(detail, sizeof(detail), "{\"id\": " UINT64_FORMAT "}", emergency);
		event.detail = detail;
	}
	tv_audit(&event, true);
}

void
tv_vault_audit_emergency(const char *step, const TvEmergency *emergency, const char *reason)
{
	TvAuditEvent event = {"EMERGENCY", TV_AUDIT_CRITICAL, TV_AUDIT_SUCCESS};
	StringInfoData detail;
	const char *requester = GetUserNameFromId(emergency->requester, true);
	const char *officer = GetUserNameFromId(emergency->officer, true);

	initStringInfo(&detail);
	appendStringInfo(&detail, "{\"id\": " UINT64_FORMAT ", \"seconds\": " INT64_FORMAT ", \"requested_by\": ",
					 emergency->id, emergency->valid_for / USECS_PER_SEC);
	escape_json(&detail, requester ? requester : "");
	appendStringInfoString(&detail, ", \"authorized_by\": ");
	escape_json(&detail, officer ? officer : "");
	appendStringInfoChar(&detail, '}');
	event.realm = emergency->realm_name;
	event.action = step;
	event.reason = reason;
	event.detail = detail.data;
	tv_audit(&event, true);
	pfree(detail.data);
	note_change();
}

void
tv_vault_audit_recovery(const char *admin)
{
	TvAuditEvent event = {"RECOVERY", TV_AUDIT_CRITICAL, TV_AUDIT_SUCCESS};

	event.object = admin;
	event.action = "RECOVER VAULT ADMIN";
	event.reason = "recovery shares";
	tv_audit(&event, true);
	note_change();
}

/* --- answers --- */

static const char *
reason_of(const TvAnswer *answer)
{
	switch (answer->verdict)
	{
		case TV_ANSWER_NOT_PROTECTED:
			return NULL;
		case TV_ANSWER_ALLOW:
			return answer->emergency ? "emergency unlock" : "authorized";
		case TV_ANSWER_LOCKED:
			return "vault password required";
		case TV_ANSWER_NOT_AUTHORIZED:
			return "not authorized for the realm";
		case TV_ANSWER_RULE:
			return answer->rule;
		case TV_ANSWER_CLOSED:
			break;
	}
	return "the vault is closed";
}

/* A read that is allowed, and not by an emergency unlock. */
static bool
is_plain_read(const TvAnswer *answer, TvAction action)
{
	return answer->verdict == TV_ANSWER_ALLOW && !answer->emergency && action == TV_ACTION_SELECT;
}

TV_HOT_VAULT bool
tv_vault_passes(const TvAnswer *answer, TvAction action)
{
	return answer->verdict == TV_ANSWER_NOT_PROTECTED ||
		(!tv_setting_audit_realm_reads && is_plain_read(answer, action));
}

void
tv_vault_audit_answer(const TvAnswer *answer, const char *object, TvAction action)
{
	TvAuditEvent event = {"REALM_ACCESS", TV_AUDIT_INFO, TV_AUDIT_ALLOWED};
	bool		allowed = answer->verdict == TV_ANSWER_ALLOW;
	bool		plain_read = is_plain_read(answer, action);

	if (tv_vault_passes(answer, action))
		return;
	if (answer->verdict == TV_ANSWER_RULE)
		event.type = "RULE_VIOLATION";
	if (!allowed)
	{
		event.severity = TV_AUDIT_WARNING;
		event.result = answer->simulate ? TV_AUDIT_SIMULATED : TV_AUDIT_DENIED;
	}
	else if (answer->emergency)
		event.severity = TV_AUDIT_CRITICAL;
	event.realm = answer->realm;
	event.object = object;
	event.action = tv_vault_action_name(action);
	event.reason = reason_of(answer);
	tv_audit(&event, !plain_read || tv_setting_audit_reads);
}
