/*
 * tv_guard.c
 *	  Asking the vault, and what all rings have in common.
 */
#include "guard/tv_guard.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "audit/tv_audit.h"
#include "base/tv_hot.h"
#include "base/tv_report.h"
#include "guard/tv_guard_internal.h"
#include "vault/tv_vault_ticket.h"

/* --- names, as each audit record of a relation has them --- */

#define NAMES_KEPT 32
#define QUALIFIED_MAX (4 * NAMEDATALEN + 8)	/* two, each letter of them a doubled quote */

/* Good until anything about relations or schemas changes. */
static struct
{
	uint64		as_of;			/* names_changed */
	Oid			relid;
	char		name[QUALIFIED_MAX];
}			names[NAMES_KEPT];
static uint64 names_changed = 1;

static void
relation_changed(Datum arg, Oid relid)
{
	names_changed++;
}

static void
schema_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	names_changed++;
}

char *
tv_guard_name(Oid relid)
{
	int			slot = relid % NAMES_KEPT;
	uint64		before = names_changed;
	char	   *name;

	if (names[slot].relid == relid && names[slot].as_of == before)
		return pstrdup(names[slot].name);
	name = get_rel_name(relid);
	if (name == NULL)
		return psprintf("relation %u", relid);
	name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
	/* if something has changed while catalogs were read, this one is out of date already */
	names[slot].relid = relid;
	names[slot].as_of = strlcpy(names[slot].name, name, QUALIFIED_MAX) < QUALIFIED_MAX ? before : 0;
	return name;
}

static void
refuse_function(Oid function, const char *realm, const char *object)
{
	bool		told = tv_guard_is_told() || tv_guard_is_stored_call(function);

	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
			 errmsg("function \"%s\" may not use realm \"%s\"", get_func_name(function), realm),
			 told ? errdetail("It wants %s for you, and is called by an expression that is stored.", object) :
			 errdetail("It wants %s for you, and its owner has no place in the realm.", object),
			 told ? errhint("Call it in the statement itself, or in the body of a function.") :
			 errhint("Let a role own it that is authorized for the realm, or that is the realm's owner.")));
}

static bool
allows(const TvAnswer *answer)
{
	return answer->verdict == TV_ANSWER_NOT_PROTECTED || answer->verdict == TV_ANSWER_ALLOW ||
		answer->simulate;
}

/*
 * The realms whose rows the session has once it passes.  A denial that is only
 * simulated, by a rule or by a realm that is tried out, takes nothing from the
 * protection by other realms.
 */
static Bitmapset *
given(const TvAnswer *answer, Oid relid)
{
	return answer->realm == NULL ? NULL : tv_vault_realms_of(relid, answer->verdict == TV_ANSWER_ALLOW);
}

/*
 * An authorized user's rows are not for a function that somebody else planted
 * where the user would run it (a trigger, an operator in the search path ...).
 */
static void
check_stack(const Bitmapset *realms, const char *realm, const char *object)
{
	Oid			function;

	tv_guard_carry_all(realms);
	if (unlikely(tv_guard_foreign_running > 0))
		tv_guard_check_foreign_running();
	function = tv_guard_untrusted_function_of(realms);
	if (OidIsValid(function))
		refuse_function(function, realm, object);
}

static void
check_stack_for(const TvAnswer *answer, Oid relid)
{
	Bitmapset  *realms = given(answer, relid);

	if (realms != NULL)
		check_stack(realms, answer->realm, tv_guard_name(relid));
	bms_free(realms);
}

TV_HOT_VAULT bool
tv_guard_reads(Oid relid)
{
	uint32		realm = tv_vault_opens(relid);

	if (realm == 0 || unlikely(tv_guard_foreign_running > 0) || OidIsValid(tv_guard_untrusted_function(realm)))
		return false;
	tv_guard_touch();
	tv_guard_carry(realm);
	return true;
}

/*
 * Memberships of roles are catalogs: that others have changed them this process
 * learns when it takes a lock that it does not have yet (lmgr.c,
 * LockRelationOid), and a FETCH in a transaction takes none.
 */
static inline void
hear_of_roles(void)
{
	if (IsTransactionState())
		AcceptInvalidationMessages();
}

/*
 * The vault's answer.  A session that was given an unlock ticket uses it when
 * it first meets something locked.
 */
static TV_HOT_VAULT void
ask(Oid relid, TvAction action, const Bitmapset *columns, TvAnswer *answer)
{
	tv_vault_ask_columns(relid, action, columns, answer);
	if (likely(answer->verdict != TV_ANSWER_LOCKED) || !tv_vault_ticket_waits())
		return;
	tv_vault_redeem_ticket();
	tv_vault_ask_columns(relid, action, columns, answer);
}

static void
enforce(const TvAnswer *answer, Oid relid, TvAction action)
{
	if (answer->verdict == TV_ANSWER_NOT_PROTECTED)
		return;
	tv_guard_touch();
	if (allows(answer))
		check_stack_for(answer, relid);
	/* of what a parallel worker may do the leader has told already */
	if (tv_vault_passes(answer, action) || (IsParallelWorker() && allows(answer)))
		return;
	tv_vault_enforce(answer, tv_guard_name(relid), action);
}

TV_HOT_VAULT bool
tv_guard_reads_unaudited(Oid relid)
{
	if (tv_setting_audit_realm_reads || tv_guard_audits_entries())
		return false;
	hear_of_roles();
	return tv_guard_reads(relid);
}

TV_HOT_VAULT void
tv_guard_require_columns(Oid relid, TvAction action, const Bitmapset *columns)
{
	TvAnswer	answer;

	hear_of_roles();
	if (action == TV_ACTION_SELECT && !tv_setting_audit_realm_reads && tv_guard_reads(relid))
		return;
	ask(relid, action, columns, &answer);
	enforce(&answer, relid, action);
}

void
tv_guard_require(Oid relid, TvAction action)
{
	tv_guard_require_columns(relid, action, NULL);
}

TV_HOT_VAULT void
tv_guard_recheck(Oid relid, TvAction action, const Bitmapset *columns, bool rules)
{
	TvAnswer	answer;

	hear_of_roles();
	if (action == TV_ACTION_SELECT && tv_guard_reads(relid))
		return;
	ask(relid, action, columns, &answer);
	if (answer.verdict == TV_ANSWER_NOT_PROTECTED)
		return;
	tv_guard_touch();
	if (allows(&answer) || (!rules && answer.verdict == TV_ANSWER_RULE))
		check_stack_for(&answer, relid);
	else
		tv_vault_enforce(&answer, tv_guard_name(relid), action);
}

bool
tv_guard_allows(Oid relid, TvAction action, const Bitmapset *columns)
{
	TvAnswer	answer;
	Bitmapset  *realms;
	bool		result;

	hear_of_roles();
	ask(relid, action, columns, &answer);
	if (!allows(&answer))
		return false;
	realms = given(&answer, relid);
	result = !OidIsValid(tv_guard_untrusted_function_of(realms));
	bms_free(realms);
	return result;
}

void
tv_guard_require_name(const RangeVar *name, TvAction action)
{
	Oid			relid;

	if (name == NULL)
		return;
	relid = RangeVarGetRelid(name, NoLock, true);
	if (OidIsValid(relid))
		tv_guard_require(relid, action);
}

void
tv_guard_require_schema(Oid schema, TvAction action)
{
	TvAnswer	answer;

	if (!OidIsValid(schema))
		return;
	tv_vault_ask_schema(schema, action, &answer);
	if (answer.verdict != TV_ANSWER_NOT_PROTECTED)
		tv_vault_enforce(&answer, psprintf("schema %s", quote_identifier(get_namespace_name(schema))),
						 action);
}

void
tv_guard_require_database(TvAction action)
{
	TvAnswer	answer;

	tv_vault_ask_database(action, &answer);
	if (answer.verdict != TV_ANSWER_NOT_PROTECTED)
		tv_vault_enforce(&answer, psprintf("database %s", quote_identifier(get_database_name(MyDatabaseId))),
						 action);
}

void
tv_guard_require_owned(Oid role, const char *object, TvAction action, bool again)
{
	TvAnswer	answer;

	tv_vault_ask_owned(role, action, &answer);
	if (answer.verdict == TV_ANSWER_LOCKED && tv_vault_ticket_waits())
	{
		tv_vault_redeem_ticket();
		tv_vault_ask_owned(role, action, &answer);
	}
	if (answer.verdict == TV_ANSWER_ALLOW)
		check_stack(tv_vault_realms_of_owned(role), answer.realm, object);
	if (answer.verdict != TV_ANSWER_NOT_PROTECTED && !(again && allows(&answer)))
		tv_vault_enforce(&answer, object, action);
}

void
tv_guard_require_realms(const Bitmapset *realms, const char *object)
{
	TvAnswer	answer;

	hear_of_roles();
	tv_vault_ask_realms(realms, TV_ACTION_SELECT, &answer);
	if (answer.verdict == TV_ANSWER_LOCKED && tv_vault_ticket_waits())
	{
		tv_vault_redeem_ticket();
		tv_vault_ask_realms(realms, TV_ACTION_SELECT, &answer);
	}
	if (answer.verdict == TV_ANSWER_NOT_PROTECTED)
		return;
	tv_guard_touch();
	if (allows(&answer))
		check_stack(realms, answer.realm, object);
	else
		tv_vault_enforce(&answer, object, TV_ACTION_SELECT);
}

void
tv_guard_audit_refusal(const char *what)
{
	TvAuditEvent event = {"GUARD", TV_AUDIT_WARNING, TV_AUDIT_DENIED, .object = what};

	tv_audit(&event, true);
}

void
tv_guard_refuse(const char *what, const char *hint)
{
	tv_guard_audit_refusal(what);
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_ADMIN),
			 errmsg("%s is refused while a vault is on", what),
			 errdetail("This binds superusers, too."),
			 errhint("%s", hint)));
}

void
tv_guard_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, schema_changed, (Datum) 0);
	tv_guard_carried_init();
	tv_guard_query_init();
	tv_guard_plan_init();
	tv_guard_cursor_init();
	tv_guard_table_init();
	tv_guard_function_init();
	tv_guard_builtin_init();
	tv_guard_written_init();
	tv_guard_large_object_init();
	tv_guard_object_init();
	tv_guard_statement_init();
	tv_guard_settings_init();
	tv_guard_messages_init();
	tv_guard_decode_init();
}
