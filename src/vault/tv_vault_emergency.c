/*
 * tv_vault_emergency.c
 *	  EMERGENCY UNLOCK: access for an hour at most, by two people.
 *
 * One asks and names who is to authorize it: a vault administrator or the
 * realm's owner, who approves in a session that they have logged in to
 * themselves.  Access ends by itself; the emergency stays open until a third
 * has reviewed it: nobody judges what they asked for or approved.  All of it is
 * in the policy, so it survives a crash.
 */
#include "vault/tv_vault_commands.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/tv_report.h"
#include "vault/tv_vault_audit.h"
#include "vault/tv_vault_rights.h"
#include "vault/tv_vault_trust.h"

#define COMMAND "EMERGENCY UNLOCK"
#define APPROVE "APPROVE EMERGENCY UNLOCK"
#define REVIEW "REVIEW EMERGENCY UNLOCK"

#define LONGEST USECS_PER_HOUR

static const char *
name_of(Oid role)
{
	return GetUserNameFromId(role, true);
}

static int64
length_of(const Interval *valid_for)
{
	int64		length;

	if (valid_for == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg(COMMAND ": for how long must be said"),
				 errhint("VALID FOR INTERVAL '1 HOUR' is the longest.")));
	length = valid_for->month != 0 ? LONGEST + 1 : valid_for->time + valid_for->day * USECS_PER_DAY;
	if (length <= 0 || length > LONGEST)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(COMMAND ": the time must be positive and at most one hour")));
	return length;
}

static bool
is_blank(const char *text)
{
	return text == NULL || text[strspn(text, " \t\r\n")] == '\0';
}

/* May the role authorize an emergency of the realm? */
static bool
may_authorize(const TvPolicy *policy, const TvRealm *realm, Oid role)
{
	return is_member_of_role_nosuper(role, policy->admin_role) ||
		is_member_of_role_nosuper(role, realm->owner);
}

static Oid
find_officer(const TvPolicy *policy, const TvRealm *realm, const char *name)
{
	Oid			officer = tv_vault_find_role(name);

	if (officer == GetAuthenticatedUserId())
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_ADMIN),
				 errmsg(COMMAND ": it cannot be authorized by who asks for it"),
				 errhint("Name another person, who is a vault administrator or the realm's owner.")));
	if (!may_authorize(policy, realm, officer))
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_ADMIN),
				 errmsg(COMMAND ": \"%s\" cannot authorize it", name),
				 errdetail("Only a vault administrator or the owner of realm \"%s\" can.", realm->name)));
	return officer;
}

uint64
tv_vault_emergency_unlock(const char *name, const char *authorized_by, const char *reason,
						  const Interval *valid_for)
{
	TvPolicy   *policy = tv_vault_begin_command(COMMAND);
	TvRealm    *realm = tv_vault_find_realm(policy, name);
	int64		length = length_of(valid_for);
	Oid			officer = find_officer(policy, realm, authorized_by);
	TvEmergency *entry;
	TvEmergency new = {0};

	if (is_blank(reason))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(COMMAND ": a reason must be given")));
	tv_vault_check_text("reason", reason);
	new.realm = realm->id;
	new.requester = tv_vault_keep_role(GetAuthenticatedUserId());
	new.officer = officer;
	new.valid_for = length;
	new.requested = GetCurrentTimestamp();
	new.realm_name = tv_vault_keep_text(policy, realm->name);
	new.reason = tv_vault_keep_text(policy, reason);
	entry = tv_policy_add_emergency(policy);
	if (entry == NULL)
		tv_vault_out_of_memory();
	new.id = ++policy->last_emergency;
	*entry = new;
	tv_vault_audit_emergency(COMMAND, entry, reason);
	tv_vault_change_done();
	return new.id;
}

static TvEmergency *
find(TvPolicy *policy, uint64 id)
{
	for (uint32 i = 0; i < policy->n_emergencies; i++)
	{
		if (policy->emergencies[i].id == id)
			return &policy->emergencies[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("emergency unlock " UINT64_FORMAT " does not exist", id),
			 errhint("tde_vault.emergency_unlocks shows those that you may see.")));
}

static void
check_can_be_approved(const TvPolicy *policy, const TvEmergency *emergency)
{
	const TvRealm *realm = tv_policy_realm_by_id(policy, emergency->realm);
	Oid			user = GetAuthenticatedUserId();

	if (emergency->approved != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("emergency unlock " UINT64_FORMAT " has been approved already", emergency->id)));
	if (user == emergency->requester || user != emergency->officer)
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_ADMIN),
				 errmsg(APPROVE ": only \"%s\" can do that", name_of(emergency->officer)),
				 errdetail("It must be the person that the emergency names, logged in as such; a member of that role is not enough.")));
	if (realm == NULL || !may_authorize(policy, realm, user))
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_ADMIN),
				 errmsg(APPROVE ": \"%s\" can no longer authorize it", name_of(user)),
				 errdetail("Only a vault administrator or the owner of the realm can.")));
	if (emergency->requested + TV_EMERGENCY_WAITS < GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("emergency unlock " UINT64_FORMAT " was asked for more than a day ago", emergency->id),
				 errhint("Ask again, if it is still needed.")));
}

void
tv_vault_approve_emergency(uint64 id)
{
	TvPolicy   *policy = tv_vault_begin_command(APPROVE);
	TvEmergency *emergency = find(policy, id);
	Oid			requester;
	const char *realm;

	check_can_be_approved(policy, emergency);
	emergency->approved = GetCurrentTimestamp();
	emergency->expires = emergency->approved + emergency->valid_for;
	tv_vault_audit_emergency(APPROVE, emergency, emergency->reason);
	requester = emergency->requester;
	realm = tv_policy_realm_by_id(policy, emergency->realm)->name;
	tv_vault_change_done();
	tv_vault_warn_of_role(requester, realm);
}

static void
check_reviewer(const TvEmergency *emergency)
{
	Oid			user = GetAuthenticatedUserId();

	if (!tv_vault_is_admin() && !tv_vault_is_auditor())
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_ADMIN),
				 errmsg(REVIEW ": only a vault administrator or auditor may do that")));
	if (user == emergency->requester)
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_ADMIN),
				 errmsg(REVIEW ": it cannot be reviewed by who asked for it")));
	if (user == emergency->officer && emergency->approved != 0)
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_ADMIN),
				 errmsg(REVIEW ": it cannot be reviewed by who approved it"),
				 errhint("Let another vault administrator or an auditor review it: GRANT vault_auditor TO role.")));
}

void
tv_vault_review_emergency(uint64 id, const char *note)
{
	TvPolicy   *policy = tv_vault_begin_command(REVIEW);
	TvEmergency *emergency = find(policy, id);

	check_reviewer(emergency);
	if (is_blank(note))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(REVIEW ": a note must be given")));
	tv_vault_check_text("note", note);
	if (emergency->reviewed != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("emergency unlock " UINT64_FORMAT " has been reviewed already", id)));
	if (emergency->approved != 0 && emergency->expires > GetCurrentTimestamp())
		emergency->expires = GetCurrentTimestamp();	/* a review ends it */
	emergency->reviewed = GetCurrentTimestamp();
	emergency->reviewer = GetAuthenticatedUserId();
	emergency->note = tv_vault_keep_text(policy, note);
	tv_vault_audit_emergency(REVIEW, emergency, note);
	tv_vault_change_done();
}
