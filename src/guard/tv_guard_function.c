/*
 * tv_guard_function.c
 *	  Functions: dangerous ones, and whose are trusted.
 *
 * object_access_hook tells of a function that a query calls; it is silent for
 * trigger functions, type input and output and index support functions, which
 * the function manager's hook sees.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_largeobject.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#include "base/tv_hot.h"
#include "base/tv_report.h"
#include "guard/tv_guard_internal.h"
#include "vault/tv_vault_internal.h"

/* What guarded_call() stands in front of. */
typedef struct Original
{
	Oid			function;
	PGFunction	address;
} Original;

static HTAB *originals = NULL;

static needs_fmgr_hook_type next_needs = NULL;
static fmgr_hook_type next_fmgr = NULL;

static void
refuse_danger(const TvCode *entry)
{
	const char *name = get_func_name(entry->function);

	if (entry->dangerous)
		tv_guard_refuse(psprintf("function %s()", name),
						"It reaches files of the server. Copy them as its operating system user, or use psql's \\copy or \\lo_import.");
	if (entry->untrusted_language)
		tv_guard_refuse(psprintf("function %s() in an untrusted language", name),
						"Write it in a trusted language.");
}

/* --- functions that take a relation --- */

/*
 * The relation that the function's first argument names, locked: so that it
 * cannot be another one by the time that the function looks.
 */
static Oid
named_relation(FunctionCallInfo fcinfo, Oid type)
{
	List	   *names;
	Oid			relid;

	if (fcinfo->nargs < 1 || fcinfo->args[0].isnull)
		return InvalidOid;
	switch (type)
	{
		case REGCLASSOID:
		case OIDOID:
			relid = DatumGetObjectId(fcinfo->args[0].value);
			return relid;
		case TEXTOID:
			names = textToQualifiedNameList(PG_GETARG_TEXT_PP(0));
			return RangeVarGetRelid(makeRangeVarFromNameList(names), AccessShareLock, true);
		default:
			return InvalidOid;
	}
}

static Datum
guarded_call(PG_FUNCTION_ARGS)
{
	TvCode		entry = tv_guard_code(fcinfo->flinfo->fn_oid);
	Original   *original = hash_search(originals, &fcinfo->flinfo->fn_oid, HASH_FIND, NULL);
	Oid		   *types;
	int			n_types;
	Oid			relid = InvalidOid;

	if (original == NULL || !entry.by_relation)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("function %u changed while it was called", fcinfo->flinfo->fn_oid),
				 errhint("Call it again.")));
	(void) get_func_signature(fcinfo->flinfo->fn_oid, &types, &n_types);
	if (n_types > 0)
		relid = named_relation(fcinfo, types[0]);
	/* what the vault knows of tables hangs on catalogs, also on those that databases share */
	if (entry.action == TV_ACTION_DELETE && OidIsValid(relid) &&
		IsCatalogRelationOid(relid) && tv_vault_on_anywhere())
		tv_guard_refuse(psprintf("changing %s", tv_guard_name(relid)), "Use the statements that are made for it.");
	if (OidIsValid(relid) && tv_vault_on())
	{
		if (tv_guard_is_statistics(relid))
			tv_guard_refuse(psprintf("reading pages of %s", tv_guard_name(relid)),
							"Use the view pg_stats.");
		if (relid == LargeObjectRelationId)
			tv_guard_refuse_large_objects();
		tv_guard_require(relid, entry.action);
	}
	return original->address(fcinfo);
}

/* --- whose functions are trusted --- */

#define PLACES_KEPT 64

/* Stands for all realms; no id of one (TvPolicy.last_id counts up from 1). */
#define EVERYWHERE PG_UINT32_MAX

/*
 * Until when has role a place in the realm?  Kept while nothing changes: it is
 * asked at each look at a realm's table below a function.
 */
static TimestampTz
place_until(Oid role, uint32 realm)
{
	static struct
	{
		Oid			role;
		uint32		realm;
		TimestampTz until;
	}			kept[PLACES_KEPT];
	static uint64 generation = 0;
	static uint32 version = 0;
	uint32		now = tv_vault_current()->version;
	uint32		slot = (role + realm) % PLACES_KEPT;
	TimestampTz until;

	if (generation != tv_vault_generation() || version != now)
	{
		memset(kept, 0, sizeof(kept));
		generation = tv_vault_generation();
		version = now;
	}
	if (kept[slot].role == role && kept[slot].realm == realm)
		return kept[slot].until;
	until = realm == EVERYWHERE ? tv_vault_role_trusted_everywhere_until(role) :
		tv_vault_role_trusted_until(role, realm);
	if (version != now || generation != tv_vault_generation())
		return until;
	kept[slot].role = role;
	kept[slot].realm = realm;
	kept[slot].until = until;
	return until;
}

bool
tv_guard_has_place(Oid role, uint32 realm)
{
	return OidIsValid(role) && realm != TV_REALM_UNKNOWN && tv_vault_before(place_until(role, realm));
}

bool
tv_guard_trusted_with_log(Oid owner)
{
	return owner == GetAuthenticatedUserId() || tv_guard_has_place(owner, TV_REALM_AUDIT_LOG);
}

bool
tv_guard_trusted_owner(Oid owner, const Bitmapset *realms)
{
	int			realm = -1;

	if (owner == GetAuthenticatedUserId())
		return true;
	while ((realm = bms_next_member(realms, realm)) >= 0)
	{
		if (!tv_guard_has_place(owner, realm))
			return false;
	}
	return true;
}

/* --- the function manager's hooks --- */

static bool
needs_hook(Oid function)
{
	TvCode		entry;

	if ((next_needs && next_needs(function)) || tv_guard_is_replaced_builtin(function))
		return true;
	if (likely(!tv_vault_on_anywhere()) || tv_guard_is_harmless_builtin(function) || !IsTransactionState())
		return false;
	entry = tv_guard_code(function);
	return entry.dangerous || entry.untrusted_language || entry.by_relation || entry.replaced ||
		(entry.telling && tv_vault_on()) ||
		(entry.foreign && creating_extension) ||
		(entry.foreign && tv_vault_on() &&
		 (!entry.inlined || entry.owner != GetAuthenticatedUserId() || !tv_guard_has_place(entry.owner, EVERYWHERE)));
}

static void
stand_before(FmgrInfo *flinfo)
{
	Original   *original;

	if (originals == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Original)};

		originals = hash_create("tde_vault guarded functions", 32, &control, HASH_ELEM | HASH_BLOBS);
	}
	original = hash_search(originals, &flinfo->fn_oid, HASH_ENTER, NULL);
	original->address = flinfo->fn_addr;
	flinfo->fn_addr = guarded_call;
}

/*
 * A worker of a parallel VACUUM meets no table: where a support function that
 * protected tables run is on the stack, the server works on these.
 */
static void
serve_those_of_frozen(void)
{
	if (likely(!IsParallelWorker()) || (MyProc->statusFlags & PROC_IN_VACUUM) == 0 || tv_guard_serving())
		return;
	for (int i = 0; i < tv_guard_stack_depth; i++)
	{
		ListCell   *lc;

		foreach(lc, tv_vault_users_of(ProcedureRelationId, tv_guard_on_stack(i)))
			tv_guard_serve(lfirst_oid(lc));
	}
}

/*
 * May the function have rows of the realms?  alone: the server works on them for
 * itself, and whoever made it do so (ANALYZE, say) has no part in them.
 */
static bool
may_have(const TvCode *entry, const Bitmapset *realms, bool alone)
{
	int			realm = -1;

	if (!alone && entry->owner == GetAuthenticatedUserId())
		return true;
	while ((realm = bms_next_member(realms, realm)) >= 0)
	{
		if (!tv_guard_has_place(entry->owner, realm) && !tv_vault_function_runs_for(entry->function, realm))
			return false;
	}
	return true;
}

/*
 * Arguments, OLD and NEW may hold a realm's rows once the session was given
 * some: until the end of the transaction nobody's function gets any who has no
 * place in that realm; and in each, if they are of several.
 */
static void
check_carried(const TvCode *entry)
{
	static struct
	{
		Oid			function;
		LocalTransactionId lxid;
		uint32		number;		/* of the set of realms */
		bool		serving;
	}			fine[64];		/* asked before, in this transaction */
	int			slot = entry->function % lengthof(fine);
	const Bitmapset *realms;
	uint32		number;
	bool		alone;

	serve_those_of_frozen();
	realms = tv_guard_carried(&number);
	if (likely(realms == NULL && !tv_guard_carries_log()))
		return;
	alone = tv_guard_serving();
	if (fine[slot].function == entry->function && fine[slot].lxid == MyProc->lxid &&
		fine[slot].number == number && fine[slot].serving == alone)
		return;
	if (tv_guard_carries_log() && !tv_guard_trusted_with_log(entry->owner))
		tv_guard_refuse_log(entry->function);
	if (!may_have(entry, realms, alone))
	{
		tv_guard_audit_refusal(psprintf("function %s() on rows of a realm", get_func_name(entry->function)));
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
				 errmsg("function \"%s\" may not be called in a transaction that uses a realm",
						get_func_name(entry->function)),
				 errdetail("It could be given rows of the realm, and its owner has no place there."),
				 errhint("Let a role own it that is authorized for the realm, or that is the realm's owner.")));
	}
	fine[slot].function = entry->function;
	fine[slot].lxid = MyProc->lxid;
	fine[slot].number = number;
	fine[slot].serving = alone;
}

/*
 * An aggregate is not called by the function manager; what it calls may all be
 * the server's own, which nobody asks about.
 */
void
tv_guard_function_used(Oid function)
{
	TvCode		entry = tv_guard_code(function);

	refuse_danger(&entry);
	if (entry.aggregate && entry.foreign && tv_vault_on())
		check_carried(&entry);
}

/* tv_vault_function_frozen(), for a trigger that is called for many rows. */
static bool
is_of_realm(Oid function)
{
	static Oid	asked = InvalidOid;
	static LocalTransactionId lxid = InvalidLocalTransactionId;
	static bool answer = false;

	if (asked != function || lxid != MyProc->lxid)
		answer = tv_vault_function_frozen(function);
	asked = function;
	lxid = MyProc->lxid;
	return answer;
}

/* What a protected table tells it to do has the rows of that table's realms, and no other's. */
static void
begin_telling(FmgrInfo *flinfo)
{
	if (is_of_realm(flinfo->fn_oid))
	{
		tv_guard_push(flinfo->fn_oid, InvalidOid, NULL);
		return;
	}
	tv_guard_check_sent(flinfo);
	tv_guard_begin_told(flinfo->fn_oid);
}

/*
 * A function of somebody with less is not called in a session of who has a place,
 * if it could leave code there that functions of theirs then run.
 */
static void
check_kept(const TvCode *entry)
{
	tv_guard_push(entry->function, entry->owner, NULL);
	PG_TRY();
	{
		tv_guard_check_left(GetAuthenticatedUserId(), "a call, in a language whose functions can leave code for each other,");
	}
	PG_FINALLY();
	{
		tv_guard_pop(entry->function);
	}
	PG_END_TRY();
}

static void
begin_call(FmgrInfo *flinfo)
{
	TvCode		entry = tv_guard_code(flinfo->fn_oid);

	if (tv_vault_on_anywhere())
		refuse_danger(&entry);
	if (entry.by_relation && flinfo->fn_addr != guarded_call)
		stand_before(flinfo);
	if (entry.foreign)
	{
		check_carried(&entry);
		if (unlikely(entry.keeps) && entry.owner != GetAuthenticatedUserId() && tv_vault_user_has_place())
			check_kept(&entry);
		tv_guard_push(entry.function, entry.owner, flinfo);
	}
	else if (entry.telling && tv_vault_on() && !tv_guard_in_script() &&
			 (flinfo->fn_expr == NULL || !tv_guard_is_written(flinfo)))
		begin_telling(flinfo);
}

static void
call_hook(FmgrHookEventType event, FmgrInfo *flinfo, Datum *arg)
{
	if (next_fmgr)
		next_fmgr(event, flinfo, arg);
	switch (event)
	{
		case FHET_START:
			begin_call(flinfo);
			break;
		case FHET_END:
		case FHET_ABORT:
			tv_guard_pop(flinfo->fn_oid);
			break;
	}
}

void
tv_guard_function_init(void)
{
	tv_guard_code_init();
	tv_guard_stack_init();
	next_needs = needs_fmgr_hook;
	needs_fmgr_hook = needs_hook;
	next_fmgr = fmgr_hook;
	fmgr_hook = call_hook;
	tv_vault_set_borrower(tv_guard_others_function);
}
