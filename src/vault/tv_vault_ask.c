/*
 * tv_vault_ask.c
 *	  May this be done, and why (not)?
 *
 * A denial outweighs everything, a simulated denial everything but a real one.
 */
#include "vault/tv_vault_internal.h"

#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "postmaster/autovacuum.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

#include "base/tv_hot.h"
#include "base/tv_report.h"
#include "page/tv_page_decide.h"
#include "vault/tv_vault_audit.h"

/* How much an answer weighs; a later one takes the place of a lighter one. */
static int
weight(const TvAnswer *answer)
{
	switch (answer->verdict)
	{
		case TV_ANSWER_NOT_PROTECTED:
			return 0;
		case TV_ANSWER_ALLOW:
			return answer->emergency ? 2 : 1;
		default:
			return answer->simulate ? 3 : 4;
	}
}

static void
consider(TvAnswer *answer, const TvAnswer *other)
{
	if (weight(other) > weight(answer))
		*answer = *other;
}

static TV_HOT_VAULT void
answer_for_realm(const TvVaultLocal *local, uint32 i, TvAction action, TvAnswer *answer)
{
	const TvRealm *realm = &local->policy->realms[i];
	const TvRealmCache *access;
	TvAnswer	found = {TV_ANSWER_NOT_AUTHORIZED};
	TimestampTz until = DT_NOEND;
	TimestampTz now;

	found.realm = realm->name;
	found.simulate = realm->mode == TV_MODE_SIMULATE;
	if (local->state == TV_VAULT_CLONE)
	{
		found.verdict = TV_ANSWER_CLOSED;
		found.simulate = false;
	}
	else
	{
		access = tv_vault_realm_access(local, i);
		/* nobody can give a password to what applies a subscription's changes: its owner's place does */
		if ((access->authorized && (!realm->password || IsLogicalWorker())) || tv_vault_unlocked(local, realm->id, &until))
		{
			found.verdict = TV_ANSWER_ALLOW;
			found.until = until;
		}
		else if (access->authorized || access->password_until || access->emergency_until)
		{
			now = GetCurrentTimestamp();
			if (access->emergency_until > now)
			{
				found.verdict = TV_ANSWER_ALLOW;
				found.emergency = true;
			}
			else if (access->authorized || access->password_until > now)
				found.verdict = TV_ANSWER_LOCKED;
		}
	}
	consider(answer, &found);
}

static void
answer_for_rule(const TvVaultLocal *local, uint32 i, TvAction action, TvAnswer *answer)
{
	const TvCommandRule *rule = &local->policy->rules[i];
	TvAnswer	found = {TV_ANSWER_RULE};

	if (!tv_vault_rule_denies(local, i, action, answer->realm))
		return;
	found.simulate = rule->mode == TV_MODE_SIMULATE;
	found.rule = rule->name;
	found.message = rule->message;
	found.realm = answer->realm;
	consider(answer, &found);
}

/* Autovacuum is the server itself: its results go nowhere. */
static bool
is_server(TvAction action)
{
	return action == TV_ACTION_MAINTAIN && IsAutoVacuumWorkerProcess();
}

static const TvVaultLocal *
begin(TvAnswer *answer, TvAction action)
{
	memset(answer, 0, sizeof(*answer));
	answer->verdict = TV_ANSWER_NOT_PROTECTED;
	if (!tv_vault_on_anywhere())
		return NULL;
	return tv_vault_current();
}

static bool
rule_applies(const TvVaultLocal *local, uint32 i, const Bitmapset *columns)
{
	const TvCommandRule *rule = &local->policy->rules[i];

	return rule->kind != TV_OBJECT_COLUMN || columns == NULL ||
		bms_is_member(rule->column - FirstLowInvalidHeapAttributeNumber, columns) ||
		bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, columns);
}

TV_HOT_VAULT void
tv_vault_ask_columns(Oid relid, TvAction action, const Bitmapset *columns, TvAnswer *answer)
{
	const TvVaultLocal *local = begin(answer, action);
	const TvTarget *target;

	if (local == NULL || local->state == TV_VAULT_NONE)
		return;
	target = tv_vault_target(local, relid);
	if (local->state == TV_VAULT_LOST)
	{
		if (target->sealed && !is_server(action))
			answer->verdict = TV_ANSWER_CLOSED;
		return;
	}
	for (int i = 0; i < target->n_realms; i++)
	{
		if (is_server(action))
			answer->verdict = TV_ANSWER_ALLOW;
		else
			answer_for_realm(local, target->realms[i], action, answer);
	}
	for (int i = 0; i < target->n_rules; i++)
	{
		if (rule_applies(local, target->rules[i], columns))
			answer_for_rule(local, target->rules[i], action, answer);
	}
	if (action == TV_ACTION_SELECT && answer->verdict == TV_ANSWER_ALLOW && !answer->emergency &&
		target->n_realms == 1 && target->n_rules == 0 && !target->above)
		tv_vault_local_open(relid, local->policy->realms[target->realms[0]].id, answer->until);
}

void
tv_vault_ask(Oid relid, TvAction action, TvAnswer *answer)
{
	tv_vault_ask_columns(relid, action, NULL, answer);
}

bool
tv_vault_protects(Oid relid)
{
	TvAnswer	unused;
	const TvVaultLocal *local = begin(&unused, TV_ACTION_SELECT);
	const TvTarget *target;

	if (local == NULL || local->state == TV_VAULT_NONE)
		return false;
	target = tv_vault_target(local, relid);
	return target->sealed || target->n_realms > 0;
}

void
tv_vault_ask_schema(Oid schema, TvAction action, TvAnswer *answer)
{
	const TvVaultLocal *local = begin(answer, action);
	const TvPolicy *policy;

	if (local == NULL || local->policy == NULL || local->state == TV_VAULT_NONE)
		return;
	policy = local->policy;
	for (uint32 i = tv_policy_find_object(policy, schema, TV_OBJECT_SCHEMA);
		 i < policy->n_objects && policy->objects[i].oid == schema &&
		 policy->objects[i].kind == TV_OBJECT_SCHEMA; i++)
	{
		const TvRealm *realm = tv_policy_realm_by_id(policy, policy->objects[i].realm);

		if (realm != NULL && realm->mode != TV_MODE_DISABLED)
			answer_for_realm(local, realm - policy->realms, action, answer);
	}
	for (uint32 i = 0; i < policy->n_rules; i++)
	{
		const TvCommandRule *rule = &policy->rules[i];

		if (rule->mode != TV_MODE_DISABLED &&
			(rule->kind == TV_OBJECT_DATABASE ||
			 (rule->kind == TV_OBJECT_SCHEMA && rule->object == schema)))
			answer_for_rule(local, i, action, answer);
	}
}

static bool user_has_realm = false;
static bool user_governs = false;

void
tv_vault_look_at_user_anew(void)
{
	const TvVaultLocal *local = tv_vault_current();
	uint32		version = local->version;

	user_has_realm = local->state == TV_VAULT_LOST;
	for (uint32 i = 0; tv_vault_on() && local->policy != NULL && i < local->policy->n_realms && !user_has_realm; i++)
	{
		const TvRealmCache *access = tv_vault_realm_access(local, i);

		user_has_realm = access->authorized || access->password_until != 0 || access->emergency_until != 0;
	}
	user_governs = tv_vault_on() && tv_vault_role_governs(GetAuthenticatedUserId());
	/* a policy that is lost is asked for again, and one that moved meanwhile */
	if (local->state != TV_VAULT_LOST && version == tv_vault_current()->version)
		tv_vault_fast.user = local->generation;
}

bool
tv_vault_user_has_realm(void)
{
	return tv_vault_on_anywhere() && user_has_realm;
}

bool
tv_vault_user_has_place(void)
{
	return tv_vault_user_has_realm() || (tv_vault_on_anywhere() && user_governs);
}

/* Is role authorized for the realm, by itself or as a member, or by a password? */
static bool
role_uses(const TvPolicy *policy, uint32 realm, Oid role)
{
	for (uint32 i = 0; i < policy->n_roles; i++)
	{
		if (policy->roles[i].realm == realm && is_member_of_role_nosuper(role, policy->roles[i].role))
			return true;
	}
	for (uint32 i = 0; i < policy->n_passwords; i++)
	{
		if (policy->passwords[i].realm == realm && is_member_of_role_nosuper(role, policy->passwords[i].role))
			return true;
	}
	return false;
}

Bitmapset *
tv_vault_realms_of_owned(Oid role)
{
	const TvVaultLocal *local = tv_vault_current();
	Bitmapset  *realms = NULL;

	if (local->policy == NULL || local->state == TV_VAULT_NONE)
		return NULL;
	for (uint32 i = 0; i < local->policy->n_realms; i++)
	{
		const TvRealm *realm = &local->policy->realms[i];

		if (realm->mode != TV_MODE_DISABLED && role_uses(local->policy, realm->id, role))
			realms = bms_add_member(realms, realm->id);
	}
	return realms;
}

void
tv_vault_ask_owned(Oid role, TvAction action, TvAnswer *answer)
{
	const TvVaultLocal *local = begin(answer, action);

	if (local == NULL || local->policy == NULL || local->state == TV_VAULT_NONE)
		return;
	for (uint32 i = 0; i < local->policy->n_realms; i++)
	{
		const TvRealm *realm = &local->policy->realms[i];
		TvAnswer	found = {TV_ANSWER_NOT_PROTECTED};

		if (realm->mode == TV_MODE_DISABLED || !role_uses(local->policy, realm->id, role))
			continue;
		answer_for_realm(local, i, action, &found);
		if (found.verdict == TV_ANSWER_ALLOW)
		{
			*answer = found;
			return;
		}
		consider(answer, &found);
	}
}

void
tv_vault_ask_realms(const Bitmapset *realms, TvAction action, TvAnswer *answer)
{
	const TvVaultLocal *local = begin(answer, action);

	if (local == NULL || local->state == TV_VAULT_NONE)
		return;
	if (local->policy == NULL || bms_is_member(TV_REALM_UNKNOWN, realms))
	{
		answer->verdict = TV_ANSWER_CLOSED;
		return;
	}
	for (uint32 i = 0; i < local->policy->n_realms; i++)
	{
		if (bms_is_member(local->policy->realms[i].id, realms) &&
			local->policy->realms[i].mode != TV_MODE_DISABLED)
			answer_for_realm(local, i, action, answer);
	}
}

void
tv_vault_ask_database(TvAction action, TvAnswer *answer)
{
	const TvVaultLocal *local = begin(answer, action);

	if (local == NULL || local->policy == NULL || local->state == TV_VAULT_NONE)
		return;
	for (uint32 i = 0; i < local->policy->n_rules; i++)
	{
		if (local->policy->rules[i].kind == TV_OBJECT_DATABASE &&
			local->policy->rules[i].mode != TV_MODE_DISABLED)
			answer_for_rule(local, i, action, answer);
	}
}

/* --- refusing --- */

const char *
tv_vault_action_name(TvAction action)
{
	switch (action)
	{
		case TV_ACTION_SELECT:
			return "SELECT";
		case TV_ACTION_INSERT:
			return "INSERT";
		case TV_ACTION_UPDATE:
			return "UPDATE";
		case TV_ACTION_DELETE:
			return "DELETE";
		case TV_ACTION_TRUNCATE:
			return "TRUNCATE";
		case TV_ACTION_COPY:
			return "COPY";
		case TV_ACTION_DROP:
			return "DROP";
		case TV_ACTION_ALTER:
			return "ALTER";
		case TV_ACTION_GRANT:
			return "GRANT";
		case TV_ACTION_MAINTAIN:
			return "MAINTAIN";
	}
	return "ALL";
}

TvAction
tv_vault_action_named(const char *name)
{
	for (int bit = TV_ACTION_SELECT; bit <= TV_ACTION_MAINTAIN; bit <<= 1)
	{
		if (pg_strcasecmp(name, tv_vault_action_name((TvAction) bit)) == 0)
			return (TvAction) bit;
	}
	if (pg_strcasecmp(name, "ALL") == 0)
		return (TvAction) TV_ACTION_ALL;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("action \"%s\" is not known", name),
			 errhint("It is one of SELECT, INSERT, UPDATE, DELETE, TRUNCATE, COPY, DROP, ALTER, GRANT, MAINTAIN, ALL.")));
}

static void
refuse(const TvAnswer *answer, const char *object, TvAction action)
{
	const char *name = tv_vault_action_name(action);
	const TvVaultLocal *local = tv_vault_current();

	switch (answer->verdict)
	{
		case TV_ANSWER_NOT_PROTECTED:
		case TV_ANSWER_ALLOW:
			return;
		case TV_ANSWER_LOCKED:
			ereport(ERROR,
					(errcode(ERRCODE_TV_VAULT_LOCKED),
					 errmsg("vault password required"),
					 errdetail("%s of %s: realm \"%s\" is locked in this session.", name, object, answer->realm),
					 errhint("UNLOCK REALM %s PASSWORD '...'; for a program such as pg_dump, make a ticket in an unlocked session: SELECT tde_vault.create_unlock_ticket().",
							 answer->realm)));
			break;
		case TV_ANSWER_NOT_AUTHORIZED:
			ereport(ERROR,
					(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
					 errmsg("not authorized for realm \"%s\"", answer->realm),
					 errdetail(tv_vault_nobody_logged_in() ?
							   "%s of %s: nobody has logged in as \"%s\" to this background worker, which whoever started it named." :
							   "%s of %s is refused to \"%s\", superuser or not.", name, object,
							   GetUserNameFromId(GetAuthenticatedUserId(), true)),
					 tv_vault_nobody_logged_in() ? errhint("Let it connect to the server as that role.") :
					 errhint("The realm's owner or a vault administrator can authorize a role: ALTER REALM %s AUTHORIZE role.", answer->realm)));
			break;
		case TV_ANSWER_RULE:
			ereport(ERROR,
					(errcode(ERRCODE_TV_VAULT_RULE),
					 answer->message ? errmsg_internal("%s", answer->message) :
					 errmsg("%s of %s is denied by a command rule", name, object),
					 errdetail("Command rule \"%s\" denies %s of %s.", answer->rule, name, object)));
			break;
		case TV_ANSWER_CLOSED:
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_CLOSED),
			 errmsg("the vault of this database is closed"),
			 local->state == TV_VAULT_CLONE ?
			 errdetail("%s of %s: the database is a copy of one with a vault.", name, object) :
			 errdetail("%s of %s: %s.", name, object, local->why.message),
			 local->state == TV_VAULT_CLONE || local->why.hint[0] == '\0' ?
			 errhint("A vault administrator opens it: ALTER DATABASE ENABLE DATABASE VAULT.") :
			 errhint("%s", local->why.hint)));
}

/* The newest emergency of this user that has run out; 0: none. */
static uint64
expired_emergency(const TvPolicy *policy, uint32 realm)
{
	TimestampTz now = GetCurrentTimestamp();
	uint64		id = 0;

	for (uint32 i = 0; i < policy->n_emergencies; i++)
	{
		const TvEmergency *emergency = &policy->emergencies[i];

		if (emergency->realm == realm && emergency->approved != 0 && emergency->reviewed == 0 &&
			emergency->requester == GetAuthenticatedUserId() && emergency->expires <= now)
			id = Max(id, emergency->id);
	}
	return id;
}

/* What the session could do until it ran out: an event, once a session. */
static void
audit_what_ran_out(const char *name)
{
	static uint64 told = 0;		/* emergency */
	const TvVaultLocal *local = tv_vault_current();
	const TvRealm *realm = local->policy && name ? tv_policy_realm(local->policy, name) : NULL;
	uint64		emergency;

	if (realm == NULL)
		return;
	if (tv_vault_session_ran_out(realm->id))
		tv_vault_audit_expired(name, 0);
	emergency = expired_emergency(local->policy, realm->id);
	if (emergency <= told)
		return;
	told = emergency;
	tv_vault_audit_expired(name, emergency);
}

void
tv_vault_enforce(const TvAnswer *answer, const char *object, TvAction action)
{
	if (answer->verdict == TV_ANSWER_NOT_PROTECTED)
		return;
	if (answer->verdict == TV_ANSWER_LOCKED || answer->verdict == TV_ANSWER_NOT_AUTHORIZED)
		audit_what_ran_out(answer->realm);
	tv_vault_audit_answer(answer, object, action);
	if (!answer->simulate)
		refuse(answer, object, action);
}

static char *
name_of(Oid relid)
{
	char	   *name = get_rel_name(relid);

	return name == NULL ? psprintf("relation %u", relid) :
		psprintf("%s.%s", get_namespace_name(get_rel_namespace(relid)), name);
}

void
tv_vault_require(Oid relid, TvAction action)
{
	TvAnswer	answer;

	tv_vault_ask(relid, action, &answer);
	if (answer.verdict != TV_ANSWER_NOT_PROTECTED)
		tv_vault_enforce(&answer, name_of(relid), action);
}

/* --- objects --- */

void
tv_vault_object_created(Oid relid)
{
	if (tv_vault_on() && tv_vault_protects(relid))
		tv_vault_check_may_join(relid);
}

bool
tv_vault_is_above(Oid relid)
{
	TvAnswer	unused;
	const TvVaultLocal *local = begin(&unused, TV_ACTION_SELECT);

	return local != NULL && local->state != TV_VAULT_NONE && tv_vault_target(local, relid)->above;
}

/* Is the storage of rel, if it has any of its own, sealed? */
static bool
may_join(Relation rel)
{
	switch (rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_MATVIEW:
			return tv_page_is_encrypted_table(rel);
		case RELKIND_FOREIGN_TABLE:
			return false;
		default:
			return true;		/* no storage, or that of its table */
	}
}

void
tv_vault_check_may_join(Oid relid)
{
	Relation	rel = RelationIdGetRelation(relid);
	bool		fits;

	if (!RelationIsValid(rel))
		return;
	fits = may_join(rel);
	RelationClose(rel);
	if (fits)
		return;
	if (get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s cannot be in a realm: it is a foreign table", name_of(relid)),
				 errhint("Its rows are on another server: put them into a realm there.")));
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("%s cannot be in a realm: it is not a tde_heap table", name_of(relid)),
			 errhint("Encrypt it first: ALTER TABLE %s SET ACCESS METHOD tde_heap.", name_of(relid))));
}
