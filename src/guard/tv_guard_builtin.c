/*
 * tv_guard_builtin.c
 *	  Functions of the server that reach what a realm has without a query:
 *	  sequences, maintenance of single indexes, large objects.
 *
 * The function manager calls the server's own functions without its hook, but
 * by their address in fmgr_builtins[] (fmgrtab.c), whatever asks for them:
 * queries, the fast path of the protocol, functions in language "internal".
 * OAT_FUNCTION_EXECUTE does not tell what a function is given.  Code that is
 * compiled at run time calls them by name instead (llvmjit.c,
 * llvm_function_reference), unless the function manager's hook wants them.
 */
#include "postgres.h"

#include "access/transam.h"
#include "fmgr.h"
#include "libpq/libpq-fs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrtab.h"

#include "attach/tv_attach.h"
#include "guard/tv_guard_internal.h"

typedef enum Guarded
{
	NEXTVAL, SETVAL, SETVAL_CALLED, LAST_VALUE,
	BRIN_NEW, BRIN_RANGE, BRIN_FORGET, GIN_CLEAN,
	LO_OPEN, LO_GET, LO_GET_PART, LO_PUT, LO_UNLINK,
	N_GUARDED
} Guarded;

static PGFunction original[N_GUARDED];

/* A replacement: the check, then the server's own function. */
#define GUARDED(name, which, check) \
static Datum \
name(PG_FUNCTION_ARGS) \
{ \
	check; \
	return original[which] (fcinfo); \
}

/* --- sequences --- */

/*
 * What is done to a sequence is done to its table, with no rule of its own: an
 * INSERT that a rule allows takes a number.
 */
static void
check_sequence(FunctionCallInfo fcinfo)
{
	if (fcinfo->nargs > 0 && !fcinfo->args[0].isnull && tv_vault_on())
		tv_guard_recheck(PG_GETARG_OID(0), TV_ACTION_SELECT, NULL, false);
}

/* What a sequence is set to others read. */
static void
check_set(FunctionCallInfo fcinfo)
{
	check_sequence(fcinfo);
	if (tv_vault_on())
		tv_guard_check_sent(fcinfo->flinfo);
}

/* Which sequence is counted up can tell a value, too; that of a default is always the same. */
static void
check_next(FunctionCallInfo fcinfo)
{
	check_sequence(fcinfo);
	if (tv_vault_on() && !get_fn_expr_arg_stable(fcinfo->flinfo, 0))
		tv_guard_check_sent(fcinfo->flinfo);
}

GUARDED(guarded_nextval, NEXTVAL, check_next(fcinfo))
GUARDED(guarded_setval, SETVAL, check_set(fcinfo))
GUARDED(guarded_setval_called, SETVAL_CALLED, check_set(fcinfo))

/* The view pg_sequences asks for all of them: no error, but no value either. */
static Datum
guarded_last_value(PG_FUNCTION_ARGS)
{
	if (!PG_ARGISNULL(0) && tv_vault_on() &&
		!tv_guard_allows(PG_GETARG_OID(0), TV_ACTION_SELECT, tv_guard_no_column()))
		PG_RETURN_NULL();
	return original[LAST_VALUE] (fcinfo);
}

/* --- maintenance of one index --- */

static void
check_index(FunctionCallInfo fcinfo)
{
	if (!PG_ARGISNULL(0) && tv_vault_on())
		tv_guard_require(PG_GETARG_OID(0), TV_ACTION_MAINTAIN);
}

GUARDED(guarded_brin_new, BRIN_NEW, check_index(fcinfo))
GUARDED(guarded_brin_range, BRIN_RANGE, check_index(fcinfo))
GUARDED(guarded_brin_forget, BRIN_FORGET, check_index(fcinfo))
GUARDED(guarded_gin_clean, GIN_CLEAN, check_index(fcinfo))

/* --- large objects --- */

static void
check_object(FunctionCallInfo fcinfo, AclMode mode)
{
	if (PG_ARGISNULL(0) || !tv_vault_on())
		return;
	tv_guard_check_large_object(PG_GETARG_OID(0), mode, fcinfo->flinfo);
	if (mode != ACL_SELECT)
		tv_guard_check_sent(fcinfo->flinfo);
}

GUARDED(guarded_lo_open, LO_OPEN, check_object(fcinfo, PG_GETARG_INT32(1) & INV_WRITE ? ACL_UPDATE : ACL_SELECT))
GUARDED(guarded_lo_get, LO_GET, check_object(fcinfo, ACL_SELECT))
GUARDED(guarded_lo_get_part, LO_GET_PART, check_object(fcinfo, ACL_SELECT))
GUARDED(guarded_lo_put, LO_PUT, check_object(fcinfo, ACL_UPDATE))
GUARDED(guarded_lo_unlink, LO_UNLINK, check_object(fcinfo, ACL_UPDATE))

/* --- seams --- */

static const struct
{
	Oid			function;
	PGFunction	replacement;
}			seams[N_GUARDED] = {
	[NEXTVAL] = {F_NEXTVAL, guarded_nextval},
	[SETVAL] = {F_SETVAL_REGCLASS_INT8, guarded_setval},
	[SETVAL_CALLED] = {F_SETVAL_REGCLASS_INT8_BOOL, guarded_setval_called},
	[LAST_VALUE] = {F_PG_SEQUENCE_LAST_VALUE, guarded_last_value},
	[BRIN_NEW] = {F_BRIN_SUMMARIZE_NEW_VALUES, guarded_brin_new},
	[BRIN_RANGE] = {F_BRIN_SUMMARIZE_RANGE, guarded_brin_range},
	[BRIN_FORGET] = {F_BRIN_DESUMMARIZE_RANGE, guarded_brin_forget},
	[GIN_CLEAN] = {F_GIN_CLEAN_PENDING_LIST, guarded_gin_clean},
	[LO_OPEN] = {F_LO_OPEN, guarded_lo_open},
	[LO_GET] = {F_LO_GET_OID, guarded_lo_get},
	[LO_GET_PART] = {F_LO_GET_OID_INT8_INT4, guarded_lo_get_part},
	[LO_PUT] = {F_LO_PUT, guarded_lo_put},
	[LO_UNLINK] = {F_LO_UNLINK, guarded_lo_unlink}
};

/* By function: others stand in their place. */
static uint8 replaced[FirstGenbkiObjectId / 8 + 1];

bool
tv_guard_is_replaced_builtin(Oid function)
{
	return function < FirstGenbkiObjectId && (replaced[function / 8] & (1 << (function % 8))) != 0;
}

PGFunction
tv_guard_replace_builtin(Oid function, PGFunction replacement)
{
	for (int i = 0; i < fmgr_nbuiltins; i++)
	{
		if (fmgr_builtins[i].foid != function)
			continue;
		replaced[function / 8] |= 1 << (function % 8);
		return (PGFunction) tv_attach_pointer((void **) &fmgr_builtins[i].func, fmgr_builtins[i].funcName,
											  (void *) replacement);
	}
	ereport(FATAL,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("tde_vault: this server has no function %u among its own", function),
			 errhint("Use the PostgreSQL version that tde_vault was built for.")));
}

void
tv_guard_builtin_init(void)
{
	for (int i = 0; i < N_GUARDED; i++)
		original[i] = tv_guard_replace_builtin(seams[i].function, seams[i].replacement);
}
