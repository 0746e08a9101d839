/*
 * tv_guard_code.c
 *	  What a function is to the guard.
 *
 * A dangerous function of the server or of its contributed modules is known by
 * what it runs (prosrc and probin), whatever its name, in every database.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "commands/proclang.h"
#include "utils/builtins.h"
#include "utils/fmgrtab.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "base/tv_hot.h"
#include "guard/tv_guard_internal.h"

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

/* Modules whose functions run SQL that they are told, here or elsewhere. */
static const char *const telling_modules[] = {"dblink", "pg_cron", "pgxml", "refint", "tablefunc"};

static HTAB *known = NULL;
static bool known_stale = false;

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

static bool
is_library(const char *library, const char *module)
{
	const char *base = last_dir_separator(library);
	size_t		len = strlen(module);

	base = base ? base + 1 : library;
	return strncmp(base, module, len) == 0 && (base[len] == '\0' || strcmp(base + len, ".so") == 0);
}

static void
classify_library(TvCode *entry, const char *library)
{
	for (int i = 0; i < lengthof(modules); i++)
	{
		if (!is_library(library, modules[i].module))
			continue;
		entry->by_relation = modules[i].by_relation;
		entry->dangerous = !modules[i].by_relation;
		entry->action = modules[i].action;
	}
	for (int i = 0; i < lengthof(telling_modules); i++)
		entry->telling |= is_library(library, telling_modules[i]);
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

/* SQL and PL/pgSQL have no interpreter to leave anything in. */
bool
tv_guard_keeps_code(Oid language)
{
	if (language == INTERNALlanguageId || language == ClanguageId || language == SQLlanguageId)
		return false;
	return language != get_language_oid("plpgsql", true);
}

static char *
text_attribute(HeapTuple tuple, int column)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(PROCOID, tuple, column, &isnull);

	return isnull ? pstrdup("") : TextDatumGetCString(value);
}

static void
classify(TvCode *entry, HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	const char *source;

	entry->owner = form->proowner;
	entry->aggregate = form->prokind == PROKIND_AGGREGATE;
	if (form->prolang == INTERNALlanguageId)
	{
		source = text_attribute(tuple, Anum_pg_proc_prosrc);
		entry->dangerous = is_internal_danger(source);
		entry->replaced = tv_guard_is_replaced_builtin(fmgr_internal_function(source));
	}
	else if (form->prolang == ClanguageId)
		classify_library(entry, text_attribute(tuple, Anum_pg_proc_probin));
	else
		entry->untrusted_language = tv_guard_untrusted_language(form->prolang);

	entry->inlined = form->provolatile == PROVOLATILE_IMMUTABLE ||
		(form->provolatile == PROVOLATILE_STABLE && form->proretset && form->prolang == SQLlanguageId);

	/* in whatever language: "internal" can do much with a row (pg_notify, lo_put ...) */
	entry->foreign = form->oid >= FirstNormalObjectId &&
		!OidIsValid(getExtensionOfObject(ProcedureRelationId, form->oid));
	entry->keeps = entry->foreign && !form->prosecdef && tv_guard_keeps_code(form->prolang);
	/* of an extension: what it executes may be an argument */
	if (form->oid >= FirstNormalObjectId && !entry->foreign && form->prolang != INTERNALlanguageId &&
		form->prolang != ClanguageId && form->prolang != SQLlanguageId)
		entry->telling = true;
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
	control.entrysize = sizeof(TvCode);
	known = hash_create("tde_vault functions", 256, &control, HASH_ELEM | HASH_BLOBS);
}

/* By value: an invalidation may come with any look-up. */
TvCode
tv_guard_code(Oid function)
{
	TvCode		result = {function};
	TvCode	   *entry;
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

/* By function; of those in fmgr_builtins[], all of which have such OIDs. */
static uint8 dangerous[FirstGenbkiObjectId / 8 + 1];

/* Pinned ones are in the server's language "internal", and the same everywhere. */
TV_HOT_VAULT bool
tv_guard_is_harmless_builtin(Oid function)
{
	return function < FirstGenbkiObjectId && (dangerous[function / 8] & (1 << (function % 8))) == 0;
}

static void
find_dangerous_builtins(void)
{
	for (int f = 0; f < fmgr_nbuiltins; f++)
	{
		if (is_internal_danger(fmgr_builtins[f].funcName))
			dangerous[fmgr_builtins[f].foid / 8] |= 1 << (fmgr_builtins[f].foid % 8);
	}
}

void
tv_guard_code_init(void)
{
	find_dangerous_builtins();
	CacheRegisterSyscacheCallback(PROCOID, forget_known, (Datum) 0);
	CacheRegisterSyscacheCallback(LANGOID, forget_known, (Datum) 0);
}
