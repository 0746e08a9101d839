/*
 * tv_vault_dropped.c
 *	  Tables, schemas and roles that are dropped while the policy names them.
 *
 * The policy knows all of them by OID, and OIDs are used again, at the latest
 * when the server's counter has gone round, which a superuser can hasten
 * (pg_nextoid()).
 *
 * What the policy says of a table or schema goes when its DROP has committed,
 * not before: a crash in between would leave the table without its protection.
 * If that was not possible (somebody else was changing the policy, the server
 * crashed, the transaction was a prepared one), it goes when the OID is given
 * to something new, before that can be used, or when the realm is changed.
 *
 * A role that the policy names is not dropped at all.
 */
#include "vault/tv_vault_internal.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/tv_report.h"
#include "vault/tv_vault_audit.h"

typedef struct Dropped
{
	Oid			oid;
	TvObjectKind kind;			/* TABLE or SCHEMA */
} Dropped;

static List *dropped = NIL;		/* by this transaction, named by the policy */
static TvPolicy *without = NULL;	/* the policy without them, to be written */

/* --- tables and schemas --- */

static bool
rule_is_on(const TvCommandRule *rule, Oid oid, TvObjectKind kind)
{
	return rule->object == oid &&
		(rule->kind == kind || (kind == TV_OBJECT_TABLE && rule->kind == TV_OBJECT_COLUMN));
}

static bool
names_object(const TvPolicy *policy, Oid oid, TvObjectKind kind)
{
	if (policy == NULL)
		return false;
	if (tv_policy_find_object(policy, oid, kind) < policy->n_objects)
		return true;
	for (uint32 i = 0; i < policy->n_rules; i++)
	{
		if (rule_is_on(&policy->rules[i], oid, kind))
			return true;
	}
	return false;
}

static void
remove_object(TvPolicy *policy, Oid oid, TvObjectKind kind)
{
	uint32		i;

	while ((i = tv_policy_find_object(policy, oid, kind)) < policy->n_objects)
		tv_policy_remove_object(policy, i);
	for (i = policy->n_rules; i-- > 0;)
	{
		if (rule_is_on(&policy->rules[i], oid, kind))
			tv_policy_remove_rule(policy, i);
	}
}

static void
audit_removal(const char *command, Oid oid, TvObjectKind kind)
{
	tv_vault_audit_change(command, NULL, psprintf("what the policy says of %s %u, which was dropped",
												  kind == TV_OBJECT_TABLE ? "table" : "schema", oid));
}

static void
note(Oid oid, TvObjectKind kind)
{
	MemoryContext old;
	Dropped    *entry;

	if (!tv_vault_on() || !names_object(tv_vault_current()->policy, oid, kind))
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	entry = palloc(sizeof(Dropped));
	entry->oid = oid;
	entry->kind = kind;
	dropped = lappend(dropped, entry);
	tv_vault_at_end = true;
	MemoryContextSwitchTo(old);
}

void
tv_vault_object_dropped(Oid relid)
{
	tv_vault_targets_forget();
	note(relid, TV_OBJECT_TABLE);
}

void
tv_vault_schema_dropped(Oid schema)
{
	tv_vault_targets_forget();
	note(schema, TV_OBJECT_SCHEMA);
}

static void
forget_object(Oid oid, TvObjectKind kind)
{
	TvPolicy   *policy;

	if (!tv_vault_on() || likely(!names_object(tv_vault_current()->policy, oid, kind)))
		return;
	policy = tv_vault_change_begin("CREATE", false);
	remove_object(policy, oid, kind);
	audit_removal("CREATE", oid, kind);
	tv_vault_change_done();
}

void
tv_vault_object_new(Oid relid)
{
	forget_object(relid, TV_OBJECT_TABLE);
}

void
tv_vault_schema_new(Oid schema)
{
	forget_object(schema, TV_OBJECT_SCHEMA);
}

/* A savepoint may have brought it back. */
static bool
is_gone(const Dropped *entry)
{
	return !SearchSysCacheExists1(entry->kind == TV_OBJECT_TABLE ? RELOID : NAMESPACEOID,
								  ObjectIdGetDatum(entry->oid));
}

void
tv_vault_dropped_prepare(void)
{
	const TvVaultLocal *local;
	ListCell   *lc;
	bool		changed = false;

	if (likely(dropped == NIL) || !tv_vault_change_possible())
		return;
	local = tv_vault_current();
	if (local->policy == NULL || (without = tv_policy_copy(local->policy)) == NULL)
		return;
	foreach(lc, dropped)
	{
		const Dropped *entry = lfirst(lc);

		if (is_gone(entry) && names_object(without, entry->oid, entry->kind))
		{
			remove_object(without, entry->oid, entry->kind);
			audit_removal("DROP", entry->oid, entry->kind);
			changed = true;
		}
	}
	if (!changed)
		tv_vault_dropped_forget();
}

uint64
tv_vault_dropped_commit(void)
{
	uint64		number = 0;
	TvError		err;

	if (without != NULL && tv_vault_file_write(MyDatabaseId, without, &err) == TV_OK)
		number = without->number;
	else if (without != NULL)
		tv_report(WARNING, &err);
	tv_vault_dropped_forget();
	return number;
}

void
tv_vault_dropped_forget(void)
{
	tv_policy_free(without);
	without = NULL;
	dropped = NIL;
}

/* --- roles --- */

/* What the policy has to do with the role; NULL: nothing. */
static const char *
use_of_role(const TvPolicy *policy, Oid role)
{
	TimestampTz now = GetCurrentTimestamp();

	for (uint32 i = 0; i < policy->n_realms; i++)
	{
		if (policy->realms[i].owner == role)
			return psprintf("owns realm \"%s\"", policy->realms[i].name);
	}
	for (uint32 i = 0; i < policy->n_roles; i++)
	{
		const TvRealm *realm = tv_policy_realm_by_id(policy, policy->roles[i].realm);

		if (policy->roles[i].role == role)
			return psprintf("is authorized for realm \"%s\"", realm ? realm->name : "");
	}
	for (uint32 i = 0; i < policy->n_passwords; i++)
	{
		const TvRealm *realm = tv_policy_realm_by_id(policy, policy->passwords[i].realm);

		if (policy->passwords[i].role == role)
			return psprintf("has a vault password for realm \"%s\"", realm ? realm->name : "");
	}
	for (uint32 i = 0; i < policy->n_rules; i++)
	{
		for (uint32 k = 0; k < policy->rules[i].n_roles; k++)
		{
			if (policy->rules[i].roles[k] == role)
				return psprintf("is named by command rule \"%s\"", policy->rules[i].name);
		}
	}
	for (uint32 i = 0; i < policy->n_emergencies; i++)
	{
		const TvEmergency *emergency = &policy->emergencies[i];

		if ((emergency->requester == role || emergency->officer == role) && emergency->reviewed == 0 &&
			(emergency->approved == 0 ? emergency->requested + TV_EMERGENCY_WAITS > now :
			 emergency->expires > now))
			return psprintf("has to do with emergency unlock " UINT64_FORMAT, emergency->id);
	}
	return NULL;
}

static void
refuse_drop(Oid role, Oid database, const char *use)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("role \"%s\" cannot be dropped because a vault depends on it",
					GetUserNameFromId(role, true)),
			 errdetail("In database \"%s\" it %s.", get_database_name(database), use),
			 errhint("ALTER REALM ... REVOKE or OWNER TO, REVOKE VAULT PASSWORD, DROP COMMAND RULE, REVIEW EMERGENCY UNLOCK there first.")));
}

void
tv_vault_role_dropped(Oid role)
{
	TvVaultDatabase database;

	if (!tv_vault_on_anywhere())
		return;
	/* nobody gives it a place from now on: they lock it, too */
	LockSharedObject(AuthIdRelationId, role, 0, AccessExclusiveLock);
	for (uint32 i = 0; tv_vault_shared_at(i, &database); i++)
	{
		bool		own = database.database == MyDatabaseId && tv_vault_current()->policy != NULL;
		TvPolicy   *policy = tv_vault_current()->policy;
		const char *use = NULL;
		TvError		err;

		if (!own && tv_vault_file_read(database.database, &policy, &err) != TV_OK)
			refuse_drop(role, database.database, "may own or use a realm: its policy cannot be read");
		if (policy->flags & (TV_VAULT_ON | TV_VAULT_COPIED))
			use = use_of_role(policy, role);
		if (!own)
			tv_policy_free(policy);
		if (use != NULL)
			refuse_drop(role, database.database, use);
	}
}

/* Entries of a policy that was off: who is no more is not let in again. */
void
tv_vault_forget_roles(TvPolicy *policy, Oid owner)
{
	for (uint32 i = 0; i < policy->n_realms; i++)
	{
		if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(policy->realms[i].owner)))
			policy->realms[i].owner = owner;
	}
	for (uint32 i = policy->n_roles; i-- > 0;)
	{
		if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(policy->roles[i].role)))
			tv_policy_remove_role(policy, i);
	}
	for (uint32 i = policy->n_passwords; i-- > 0;)
	{
		if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(policy->passwords[i].role)))
			tv_policy_remove_password(policy, i);
	}
}
