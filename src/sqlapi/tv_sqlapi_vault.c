/*
 * tv_sqlapi_vault.c
 *	  SQL procedures of the vault: one for each of its statements.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/tv_secret.h"
#include "guard/tv_guard.h"
#include "sqlapi/tv_sqlapi_argument.h"
#include "vault/tv_vault.h"
#include "vault/tv_vault_commands.h"

PG_FUNCTION_INFO_V1(tv_sql_enable_vault);
PG_FUNCTION_INFO_V1(tv_sql_disable_vault);
PG_FUNCTION_INFO_V1(tv_sql_create_realm);
PG_FUNCTION_INFO_V1(tv_sql_drop_realm);
PG_FUNCTION_INFO_V1(tv_sql_realm_add);
PG_FUNCTION_INFO_V1(tv_sql_realm_remove);
PG_FUNCTION_INFO_V1(tv_sql_realm_owner);
PG_FUNCTION_INFO_V1(tv_sql_realm_description);
PG_FUNCTION_INFO_V1(tv_sql_realm_mode);
PG_FUNCTION_INFO_V1(tv_sql_realm_authorize);
PG_FUNCTION_INFO_V1(tv_sql_realm_revoke);
PG_FUNCTION_INFO_V1(tv_sql_grant_vault_password);
PG_FUNCTION_INFO_V1(tv_sql_set_vault_password);
PG_FUNCTION_INFO_V1(tv_sql_revoke_vault_password);
PG_FUNCTION_INFO_V1(tv_sql_unlock_realm);
PG_FUNCTION_INFO_V1(tv_sql_lock_realm);
PG_FUNCTION_INFO_V1(tv_sql_create_command_rule);
PG_FUNCTION_INFO_V1(tv_sql_alter_command_rule);
PG_FUNCTION_INFO_V1(tv_sql_drop_command_rule);
PG_FUNCTION_INFO_V1(tv_sql_emergency_unlock);
PG_FUNCTION_INFO_V1(tv_sql_approve_emergency_unlock);
PG_FUNCTION_INFO_V1(tv_sql_review_emergency_unlock);
PG_FUNCTION_INFO_V1(tv_sql_unlock_challenge);
PG_FUNCTION_INFO_V1(tv_sql_unlock_response);
PG_FUNCTION_INFO_V1(tv_sql_create_recovery_shares);
PG_FUNCTION_INFO_V1(tv_sql_recover_vault_admin);
PG_FUNCTION_INFO_V1(tv_sql_vault_access);
PG_FUNCTION_INFO_V1(tv_sql_function_frozen);

/* Nothing here works when the module was not loaded at server start. */
static char *
required_text(FunctionCallInfo fcinfo, int i, const char *name)
{
	tv_sql_require_loaded();
	return tv_sql_required_text(fcinfo, i, name);
}

static bool
flag(FunctionCallInfo fcinfo, int i)
{
	return !PG_ARGISNULL(i) && PG_GETARG_BOOL(i);
}

/* An array of text as a list of C strings; NULL is an empty one. */
static List *
text_list(FunctionCallInfo fcinfo, int i)
{
	List	   *list = NIL;
	Datum	   *items;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(i))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(i), TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls, &n);
	for (int k = 0; k < n; k++)
	{
		if (nulls[k])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a name must not be null")));
		list = lappend(list, TextDatumGetCString(items[k]));
	}
	return list;
}

/* The answer of a procedure with one OUT parameter. */
static Datum
one_column(FunctionCallInfo fcinfo, Datum value, bool isnull)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), &value, &isnull));
}

/* --- the switch --- */

Datum
tv_sql_enable_vault(PG_FUNCTION_ARGS)
{
	tv_sql_require_loaded();
	tv_vault_enable(tv_sql_optional_text(fcinfo, 0));
	PG_RETURN_VOID();
}

Datum
tv_sql_disable_vault(PG_FUNCTION_ARGS)
{
	tv_sql_require_loaded();
	tv_vault_disable(tv_sql_optional_text(fcinfo, 0));
	PG_RETURN_VOID();
}

/* --- realms --- */

Datum
tv_sql_create_realm(PG_FUNCTION_ARGS)
{
	TvNewRealm	realm;

	realm.name = required_text(fcinfo, 0, "realm");
	realm.description = tv_sql_optional_text(fcinfo, 1);
	realm.owner = tv_sql_optional_text(fcinfo, 2);
	realm.require_password = flag(fcinfo, 3);
	realm.simulate = flag(fcinfo, 4);
	realm.if_not_exists = flag(fcinfo, 5);
	tv_vault_create_realm(&realm);
	PG_RETURN_VOID();
}

Datum
tv_sql_drop_realm(PG_FUNCTION_ARGS)
{
	tv_vault_drop_realm(required_text(fcinfo, 0, "realm"), flag(fcinfo, 1));
	PG_RETURN_VOID();
}

Datum
tv_sql_realm_add(PG_FUNCTION_ARGS)
{
	tv_vault_realm_add(required_text(fcinfo, 0, "realm"), text_list(fcinfo, 1), text_list(fcinfo, 2));
	PG_RETURN_VOID();
}

Datum
tv_sql_realm_remove(PG_FUNCTION_ARGS)
{
	tv_vault_realm_remove(required_text(fcinfo, 0, "realm"), text_list(fcinfo, 1), text_list(fcinfo, 2));
	PG_RETURN_VOID();
}

Datum
tv_sql_realm_owner(PG_FUNCTION_ARGS)
{
	tv_vault_realm_owner(required_text(fcinfo, 0, "realm"), required_text(fcinfo, 1, "owner"));
	PG_RETURN_VOID();
}

Datum
tv_sql_realm_description(PG_FUNCTION_ARGS)
{
	tv_vault_realm_description(required_text(fcinfo, 0, "realm"), tv_sql_optional_text(fcinfo, 1));
	PG_RETURN_VOID();
}

Datum
tv_sql_realm_mode(PG_FUNCTION_ARGS)
{
	tv_vault_realm_mode(required_text(fcinfo, 0, "realm"), required_text(fcinfo, 1, "mode"));
	PG_RETURN_VOID();
}

Datum
tv_sql_realm_authorize(PG_FUNCTION_ARGS)
{
	tv_vault_realm_authorize(required_text(fcinfo, 0, "realm"), text_list(fcinfo, 1));
	PG_RETURN_VOID();
}

Datum
tv_sql_realm_revoke(PG_FUNCTION_ARGS)
{
	tv_vault_realm_revoke(required_text(fcinfo, 0, "realm"), text_list(fcinfo, 1));
	PG_RETURN_VOID();
}

/* --- passwords --- */

/* Wipe a password that was copied out of an argument. */
static void
wipe_text(char *text)
{
	if (text != NULL)
		tv_secret_wipe(text, strlen(text));
}

/* What both of them do: the password that was generated, or NULL. */
static char *
grant_password(FunctionCallInfo fcinfo, char *password)
{
	char	   *realm = required_text(fcinfo, 0, "realm");
	char	   *role = required_text(fcinfo, 1, "role");
	Interval   *valid_for = PG_ARGISNULL(3) ? NULL : PG_GETARG_INTERVAL_P(3);
	char	   *generated = NULL;

	PG_TRY();
	{
		generated = tv_vault_grant_password(realm, role, password, valid_for);
	}
	PG_FINALLY();
	{
		wipe_text(password);
	}
	PG_END_TRY();
	return generated;
}

Datum
tv_sql_set_vault_password(PG_FUNCTION_ARGS)
{
	(void) grant_password(fcinfo, required_text(fcinfo, 2, "password"));
	PG_RETURN_VOID();
}

Datum
tv_sql_grant_vault_password(PG_FUNCTION_ARGS)
{
	char	   *generated = grant_password(fcinfo, tv_sql_optional_text(fcinfo, 2));
	Datum		result;

	result = one_column(fcinfo, generated ? CStringGetTextDatum(generated) : (Datum) 0, generated == NULL);
	wipe_text(generated);
	return result;
}

Datum
tv_sql_revoke_vault_password(PG_FUNCTION_ARGS)
{
	tv_vault_revoke_password(required_text(fcinfo, 0, "realm"), required_text(fcinfo, 1, "role"));
	PG_RETURN_VOID();
}

Datum
tv_sql_unlock_realm(PG_FUNCTION_ARGS)
{
	char	   *realm = required_text(fcinfo, 0, "realm");
	char	   *password = required_text(fcinfo, 1, "password");

	PG_TRY();
	{
		tv_vault_unlock_realm(realm, password);
	}
	PG_FINALLY();
	{
		wipe_text(password);
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}

Datum
tv_sql_lock_realm(PG_FUNCTION_ARGS)
{
	tv_sql_require_loaded();
	tv_vault_lock_realm(tv_sql_optional_text(fcinfo, 0));
	PG_RETURN_VOID();
}

/* --- asking --- */

static const char *
answer_name(TvAnswerKind verdict)
{
	switch (verdict)
	{
		case TV_ANSWER_NOT_PROTECTED:
			return "not protected";
		case TV_ANSWER_ALLOW:
			return "allowed";
		case TV_ANSWER_LOCKED:
			return "locked";
		case TV_ANSWER_NOT_AUTHORIZED:
			return "not authorized";
		case TV_ANSWER_RULE:
			return "denied by a rule";
		case TV_ANSWER_CLOSED:
			break;
	}
	return "closed";
}

static Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

/* vault_access(relation, action): what the vault would say to this session */
Datum
tv_sql_vault_access(PG_FUNCTION_ARGS)
{
	TvAnswer	answer;
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5] = {false};

	tv_sql_require_loaded();
	tv_vault_ask(PG_GETARG_OID(0), tv_vault_action_named(text_to_cstring(PG_GETARG_TEXT_PP(1))), &answer);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(answer_name(answer.verdict));
	values[1] = text_or_null(answer.realm, &nulls[1]);
	values[2] = text_or_null(answer.rule, &nulls[2]);
	values[3] = BoolGetDatum(answer.simulate);
	values[4] = BoolGetDatum(answer.emergency);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* function_frozen(function): does a protected table run it? */
Datum
tv_sql_function_frozen(PG_FUNCTION_ARGS)
{
	tv_sql_require_loaded();
	PG_RETURN_BOOL(tv_vault_function_frozen(PG_GETARG_OID(0)));
}

/* --- command rules --- */

Datum
tv_sql_create_command_rule(PG_FUNCTION_ARGS)
{
	TvNewRule	rule;

	rule.name = required_text(fcinfo, 0, "rule");
	rule.actions = text_list(fcinfo, 1);
	rule.kind = required_text(fcinfo, 2, "object_kind");
	rule.object = tv_sql_optional_text(fcinfo, 3);
	rule.roles = text_list(fcinfo, 4);
	rule.condition = tv_sql_optional_text(fcinfo, 5);
	rule.message = tv_sql_optional_text(fcinfo, 6);
	rule.simulate = flag(fcinfo, 7);
	rule.if_not_exists = flag(fcinfo, 8);
	tv_vault_create_rule(&rule);
	PG_RETURN_VOID();
}

Datum
tv_sql_alter_command_rule(PG_FUNCTION_ARGS)
{
	tv_vault_alter_rule(required_text(fcinfo, 0, "rule"), required_text(fcinfo, 1, "mode"));
	PG_RETURN_VOID();
}

Datum
tv_sql_drop_command_rule(PG_FUNCTION_ARGS)
{
	tv_vault_drop_rule(required_text(fcinfo, 0, "rule"), flag(fcinfo, 1));
	PG_RETURN_VOID();
}

/* --- emergencies --- */

Datum
tv_sql_emergency_unlock(PG_FUNCTION_ARGS)
{
	char	   *realm = required_text(fcinfo, 0, "realm");
	char	   *authorized_by = required_text(fcinfo, 1, "authorized_by");
	char	   *reason = tv_sql_optional_text(fcinfo, 2);
	Interval   *valid_for = PG_ARGISNULL(3) ? NULL : PG_GETARG_INTERVAL_P(3);

	/*
	 * Everybody may ask for an emergency, and asking locks the policy until the
	 * transaction ends: nobody shall keep vault administrators from their work
	 * by leaving one open.
	 */
	tv_sql_refuse_transaction_block(fcinfo, "EMERGENCY UNLOCK", NULL);
	return one_column(fcinfo, Int64GetDatum((int64)
											tv_vault_emergency_unlock(realm, authorized_by, reason, valid_for)),
					  false);
}

static uint64
emergency_id(FunctionCallInfo fcinfo)
{
	tv_sql_require_loaded();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("id must not be null")));
	return (uint64) PG_GETARG_INT64(0);
}

Datum
tv_sql_approve_emergency_unlock(PG_FUNCTION_ARGS)
{
	tv_vault_approve_emergency(emergency_id(fcinfo));
	PG_RETURN_VOID();
}

Datum
tv_sql_review_emergency_unlock(PG_FUNCTION_ARGS)
{
	uint64		id = emergency_id(fcinfo);

	tv_vault_review_emergency(id, tv_sql_optional_text(fcinfo, 1));
	PG_RETURN_VOID();
}

/* --- recovery shares --- */

#define SHARES_MAX 32

Datum
tv_sql_create_recovery_shares(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *shares[SHARES_MAX] = {NULL};
	int			n = PG_GETARG_INT32(1);
	Datum		values[2];
	bool		nulls[2] = {false};

	tv_sql_require_loaded();
	tv_guard_require_written(fcinfo->flinfo, "create_recovery_shares()");
	SetSingleFuncCall(fcinfo, 0);
	tv_vault_create_shares(PG_GETARG_INT32(0), n, shares);
	for (int i = 0; i < n && i < SHARES_MAX; i++)
	{
		values[0] = Int32GetDatum(i + 1);
		values[1] = CStringGetTextDatum(shares[i]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		wipe_text(shares[i]);
	}
	return (Datum) 0;
}

Datum
tv_sql_recover_vault_admin(PG_FUNCTION_ARGS)
{
	tv_sql_require_loaded();
	tv_vault_recover_admin(text_list(fcinfo, 0), required_text(fcinfo, 1, "new_admin"));
	PG_RETURN_VOID();
}

/* --- unlocking without a password in SQL --- */

static Datum
bytes_datum(const uint8 *bytes, size_t len)
{
	bytea	   *result = palloc(VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), bytes, len);
	return PointerGetDatum(result);
}

Datum
tv_sql_unlock_challenge(PG_FUNCTION_ARGS)
{
	TvChallenge challenge;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false};

	tv_vault_unlock_challenge(required_text(fcinfo, 0, "realm"), &challenge);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = bytes_datum(challenge.salt, sizeof(challenge.salt));
	values[1] = CStringGetTextDatum(challenge.params);
	values[2] = bytes_datum(challenge.nonce, sizeof(challenge.nonce));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
tv_sql_unlock_response(PG_FUNCTION_ARGS)
{
	char	   *realm = required_text(fcinfo, 0, "realm");
	bytea	   *proof;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("proof must not be null")));
	proof = PG_GETARG_BYTEA_PP(1);
	tv_vault_unlock_response(realm, (uint8 *) VARDATA_ANY(proof), VARSIZE_ANY_EXHDR(proof));
	PG_RETURN_VOID();
}
