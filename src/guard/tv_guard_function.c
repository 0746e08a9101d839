/*
 * tv_guard_function.c
 *	  Functions: dangerous ones, and whose are on the stack.
 *
 * A dangerous function of the server or of its contributed modules is known by
 * what it runs (prosrc and probin), whatever its name, in every database.
 * object_access_hook tells of a function that a query calls; it is silent for
 * trigger functions, type input and output and index support functions, which
 * the function manager's hook sees.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_language.h"
#include "catalog/pg_largeobject.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/fmgrtab.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "base/tv_hot.h"
#include "base/tv_report.h"
#include "guard/tv_guard_internal.h"
#include "vault/tv_vault_internal.h"

/* The server's own: they read and write its files. */
static const char *const internal_functions[] = {
	"pg_read_file", "pg_read_file_v2", "pg_read_file_off_len", "pg_read_file_all",
	"pg_read_binary_file", "pg_read_binary_file_off_len", "pg_read_binary_file_all",
	"be_lo_import", "be_lo_import_with_oid", "be_lo_export"
};

/* Of modules: all of their functions, or those that take a relation. */
static const struct
{
	const char *module;
	bool		by_relation;
	TvAction	action;
}			modules[] = {
	{"adminpack", false, 0},
	{"file_fdw", false, 0},
	{"pg_walinspect", false, 0},
	{"pageinspect", true, TV_ACTION_SELECT},
	{"pgstattuple", true, TV_ACTION_SELECT},
	{"pgrowlocks", true, TV_ACTION_SELECT},
	{"pg_visibility", true, TV_ACTION_SELECT},
	{"amcheck", true, TV_ACTION_SELECT},
	{"pg_surgery", true, TV_ACTION_DELETE}
};

typedef struct Known
{
	Oid			function;
	bool		dangerous;
	bool		untrusted_language;
	bool		foreign;		/* neither the server's nor an extension's */
	bool		aggregate;
	Oid			owner;
	int			module;			/* by relation: of modules; else -1 */
} Known;

/* What guarded_call() stands in front of. */
typedef struct Original
{
	Oid			function;
	PGFunction	address;
} Original;

/* Functions on the stack that are foreign. */
typedef struct Frame
{
	Oid			function;
	Oid			owner;
} Frame;

static HTAB *known = NULL;
static bool known_stale = false;
static HTAB *originals = NULL;
static Frame *stack = NULL;
static int	stack_depth = 0;
static int	stack_room = 0;
static int	script_depth = 0;		/* of the stack, where an extension's script began */

static object_access_hook_type next_object_access = NULL;
static needs_fmgr_hook_type next_needs = NULL;
static fmgr_hook_type next_fmgr = NULL;

/* --- what a function is --- */

static bool
is_internal_danger(const char *source)
{
	for (int i = 0; i < lengthof(internal_functions); i++)
	{
		if (strcmp(source, internal_functions[i]) == 0)
			return true;
	}
	return false;
}

static int
module_of(const char *library)
{
	const char *base = last_dir_separator(library);

	base = base ? base + 1 : library;
	for (int i = 0; i < lengthof(modules); i++)
	{
		size_t		len = strlen(modules[i].module);

		if (strncmp(base, modules[i].module, len) == 0 && (base[len] == '\0' || strcmp(base + len, ".so") == 0))
			return i;
	}
	return -1;
}

bool
tv_guard_untrusted_language(Oid language)
{
	HeapTuple	tuple;
	bool		untrusted;

	if (language == INTERNALlanguageId || language == ClanguageId || language == SQLlanguageId)
		return false;
	tuple = SearchSysCache1(LANGOID, ObjectIdGetDatum(language));
	if (!HeapTupleIsValid(tuple))
		return true;
	untrusted = !((Form_pg_language) GETSTRUCT(tuple))->lanpltrusted;
	ReleaseSysCache(tuple);
	return untrusted;
}

static char *
text_attribute(HeapTuple tuple, int column)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(PROCOID, tuple, column, &isnull);

	return isnull ? pstrdup("") : TextDatumGetCString(value);
}

static void
classify(Known *entry, HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	int			module;

	entry->module = -1;
	entry->owner = form->proowner;
	entry->aggregate = form->prokind == PROKIND_AGGREGATE;
	if (form->prolang == INTERNALlanguageId)
		entry->dangerous = is_internal_danger(text_attribute(tuple, Anum_pg_proc_prosrc));
	else if (form->prolang == ClanguageId)
	{
		module = module_of(text_attribute(tuple, Anum_pg_proc_probin));
		if (module >= 0 && modules[module].by_relation)
			entry->module = module;
		else
			entry->dangerous = module >= 0;
	}
	else
		entry->untrusted_language = tv_guard_untrusted_language(form->prolang);

	/* in whatever language: "internal" can do much with a row (pg_notify, lo_put ...) */
	entry->foreign = form->oid >= FirstNormalObjectId &&
		!OidIsValid(getExtensionOfObject(ProcedureRelationId, form->oid));
}

static void
forget_known(Datum arg, int cacheid, uint32 hashvalue)
{
	known_stale = true;
}

static void
fresh_table(void)
{
	HASHCTL		control = {0};

	if (known != NULL && !known_stale)
		return;
	if (known != NULL)
		hash_destroy(known);
	known_stale = false;
	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(Known);
	known = hash_create("tde_vault functions", 256, &control, HASH_ELEM | HASH_BLOBS);
}

/* By value: an invalidation may come with any look-up. */
static Known
what_is(Oid function)
{
	Known		result = {function, .module = -1};
	Known	   *entry;
	HeapTuple	tuple;
	bool		found;

	fresh_table();
	entry = hash_search(known, &function, HASH_FIND, NULL);
	if (entry != NULL)
		return *entry;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return result;
	classify(&result, tuple);
	ReleaseSysCache(tuple);
	if (!known_stale)
	{
		entry = hash_search(known, &function, HASH_ENTER, &found);
		*entry = result;
	}
	return result;
}

static void
refuse_danger(const Known *entry)
{
	const char *name = get_func_name(entry->function);

	if (entry->dangerous)
		tv_guard_refuse(psprintf("function %s()", name),
						"It reaches files of the server. Copy them as its operating system user, or use psql's \\copy or \\lo_import.");
	if (entry->untrusted_language)
		tv_guard_refuse(psprintf("function %s() in an untrusted language", name),
						"Write it in a trusted language.");
}

/* Pinned functions are in the server's language "internal", and the same everywhere. */
static TV_HOT bool
is_harmless_builtin(Oid function)
{
	static uint8 dangerous[FirstGenbkiObjectId / 8 + 1];
	static bool ready = false;

	if (function >= FirstGenbkiObjectId)
		return false;
	for (int i = 0; !ready && i < lengthof(internal_functions); i++)
	{
		for (int f = 0; f < fmgr_nbuiltins; f++)
		{
			if (strcmp(fmgr_builtins[f].funcName, internal_functions[i]) == 0)
				dangerous[fmgr_builtins[f].foid / 8] |= 1 << (fmgr_builtins[f].foid % 8);
		}
	}
	ready = true;
	return (dangerous[function / 8] & (1 << (function % 8))) == 0;
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
	Known		entry = what_is(fcinfo->flinfo->fn_oid);
	Original   *original = hash_search(originals, &fcinfo->flinfo->fn_oid, HASH_FIND, NULL);
	Oid		   *types;
	int			n_types;
	Oid			relid = InvalidOid;

	if (original == NULL || entry.module < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("function %u changed while it was called", fcinfo->flinfo->fn_oid),
				 errhint("Call it again.")));
	(void) get_func_signature(fcinfo->flinfo->fn_oid, &types, &n_types);
	if (n_types > 0)
		relid = named_relation(fcinfo, types[0]);
	/* what the vault knows of tables hangs on catalogs, also on those that databases share */
	if (modules[entry.module].action == TV_ACTION_DELETE && OidIsValid(relid) &&
		IsCatalogRelationOid(relid) && tv_vault_on_anywhere())
		tv_guard_refuse(psprintf("changing %s", tv_guard_name(relid)), "Use the statements that are made for it.");
	if (OidIsValid(relid) && tv_vault_on())
	{
		if (tv_guard_is_statistics(relid))
			tv_guard_refuse(psprintf("reading pages of %s", tv_guard_name(relid)),
							"Use the view pg_stats.");
		if (relid == LargeObjectRelationId)
			tv_guard_refuse_large_objects();
		tv_guard_require(relid, modules[entry.module].action);
	}
	return original->address(fcinfo);
}

/* --- whose functions are trusted --- */

/* tv_vault_role_trusted_until(), for a role that is asked about often. */
static bool
has_place(Oid role)
{
	static Oid	asked = InvalidOid;
	static uint64 generation = 0;
	static uint32 version = 0;
	static TimestampTz until = 0;
	uint32		now = tv_vault_current()->version;

	if (asked != role || generation != tv_vault_generation() || version != now)
	{
		generation = tv_vault_generation();
		until = tv_vault_role_trusted_until(role);
		version = now;
		asked = role;
	}
	return tv_vault_before(until);
}

bool
tv_guard_trusted_owner(Oid owner)
{
	return owner == GetAuthenticatedUserId() || has_place(owner);
}

/* --- the function manager's hooks --- */

static bool
needs_hook(Oid function)
{
	Known		entry;

	if (next_needs && next_needs(function))
		return true;
	if (likely(!tv_vault_on_anywhere()) || is_harmless_builtin(function) || !IsTransactionState())
		return false;
	entry = what_is(function);
	return entry.dangerous || entry.untrusted_language || entry.module >= 0 ||
		(entry.foreign && creating_extension) ||
		(entry.foreign && tv_vault_on() &&
		 (entry.owner != GetAuthenticatedUserId() || !has_place(entry.owner)));
}

static void
push(const Known *entry)
{
	if (stack_depth == stack_room)
	{
		int			room = Max(32, stack_room * 2);

		stack = stack == NULL ? MemoryContextAlloc(TopMemoryContext, room * sizeof(Frame)) :
			repalloc(stack, room * sizeof(Frame));
		stack_room = room;
	}
	stack[stack_depth].function = entry->function;
	stack[stack_depth++].owner = entry->owner;
}

static void
pop(Oid function)
{
	if (stack_depth > 0 && stack[stack_depth - 1].function == function)
		stack_depth--;
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
 * In a worker of a parallel VACUUM, which meets no table: is a support function
 * that protected tables run on the stack?
 */
static bool
called_by_frozen(void)
{
	if (likely(!IsParallelWorker()) || (MyProc->statusFlags & PROC_IN_VACUUM) == 0)
		return false;
	for (int i = 0; i < stack_depth; i++)
	{
		if (tv_vault_function_frozen(stack[i].function))
			return true;
	}
	return false;
}

/*
 * Does the server work on a realm's rows for itself?  Then whoever made it do
 * so (ANALYZE, a change by a subscription ...) has no part in them.
 */
static bool
serving(void)
{
	return tv_guard_serving() || called_by_frozen();
}

/*
 * Arguments, OLD and NEW may hold a realm's rows once the session was given
 * some: until the end of the transaction nobody's function gets any whom the
 * vault does not know.
 */
static void
check_carried(const Known *entry)
{
	static struct
	{
		Oid			function;
		LocalTransactionId lxid;
		bool		serving;
	}			fine[64];		/* asked before, in this transaction */
	int			slot = entry->function % lengthof(fine);
	bool		alone = serving();

	if (!alone && !tv_guard_carrying())
		return;
	if (fine[slot].function == entry->function && fine[slot].lxid == MyProc->lxid &&
		fine[slot].serving == alone)
		return;
	if (!(alone ? has_place(entry->owner) : tv_guard_trusted_owner(entry->owner)) &&
		!tv_vault_function_frozen(entry->function))
	{
		tv_guard_audit_refusal(psprintf("function %s() on rows of a realm", get_func_name(entry->function)));
		ereport(ERROR,
				(errcode(ERRCODE_TV_VAULT_NOT_AUTHORIZED),
				 errmsg("function \"%s\" may not be called in a transaction that uses a realm",
						get_func_name(entry->function)),
				 errdetail("It could be given rows of the realm, and its owner has no place in the vault."),
				 errhint("Let a role own it that is authorized for the realm, or that is the realm's owner.")));
	}
	fine[slot].function = entry->function;
	fine[slot].lxid = MyProc->lxid;
	fine[slot].serving = alone;
}

/*
 * An aggregate is not called by the function manager; what it calls may all be
 * the server's own, which nobody asks about.
 */
static TV_HOT void
object_access(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	Known		entry;

	if (next_object_access)
		next_object_access(access, classId, objectId, subId, arg);
	if (access != OAT_FUNCTION_EXECUTE || likely(!tv_vault_on_anywhere()) || is_harmless_builtin(objectId))
		return;
	entry = what_is(objectId);
	refuse_danger(&entry);
	if (entry.aggregate && entry.foreign && tv_vault_on())
		check_carried(&entry);
}

static void
begin_call(FmgrInfo *flinfo)
{
	Known		entry = what_is(flinfo->fn_oid);

	if (tv_vault_on_anywhere())
		refuse_danger(&entry);
	if (entry.module >= 0 && flinfo->fn_addr != guarded_call)
		stand_before(flinfo);
	if (entry.foreign)
	{
		check_carried(&entry);
		push(&entry);
	}
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
			pop(flinfo->fn_oid);
			break;
	}
}

/* A function on the stack that is not the user's own, whatever place its owner has. */
static Oid
others_function(void)
{
	for (int i = stack_depth - 1; i >= 0; i--)
	{
		if (stack[i].owner != GetAuthenticatedUserId())
			return stack[i].function;
	}
	return InvalidOid;
}

TV_HOT Oid
tv_guard_untrusted_function(void)
{
	for (int i = stack_depth - 1; i >= 0; i--)
	{
		if (!tv_guard_trusted_owner(stack[i].owner) && !tv_vault_function_frozen(stack[i].function))
			return stack[i].function;
	}
	return InvalidOid;
}

bool
tv_guard_in_script(void)
{
	return creating_extension && stack_depth == script_depth;
}

int
tv_guard_script_begin(void)
{
	int			before = script_depth;

	script_depth = stack_depth;
	return before;
}

void
tv_guard_script_end(int before)
{
	script_depth = before;
}

void
tv_guard_function_init(void)
{
	CacheRegisterSyscacheCallback(PROCOID, forget_known, (Datum) 0);
	CacheRegisterSyscacheCallback(LANGOID, forget_known, (Datum) 0);
	next_object_access = object_access_hook;
	object_access_hook = object_access;
	next_needs = needs_fmgr_hook;
	needs_fmgr_hook = needs_hook;
	next_fmgr = fmgr_hook;
	fmgr_hook = call_hook;
	tv_vault_set_borrower(others_function);
}
