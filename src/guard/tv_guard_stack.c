/*
 * tv_guard_stack.c
 *	  Whose functions are on the stack.
 *
 * Those that are foreign, or run what somebody else tells them.  What they do is
 * also done by workers of a parallel query that one of them runs, so these begin
 * with what was on their leader's stack.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "postmaster/postmaster.h"
#include "storage/proc.h"
#include "utils/memutils.h"

#include "base/tv_hot.h"
#include "base/tv_shmem.h"
#include "guard/tv_guard_internal.h"

typedef struct Frame
{
	Oid			function;
	Oid			owner;			/* InvalidOid: of what it was told */
	bool		told;			/* by a stored expression, which may be anybody's */
	bool		stored;			/* it is such an expression, of statement, that calls it */
	const TvRunning *statement;	/* the innermost one that runs; NULL: none */
} Frame;

#define SHOWN_FRAMES 16

/* What a process shows to its workers, as in tv_guard_carried.c. */
typedef struct Shown
{
	int			pid;
	uint32		n;				/* more than SHOWN_FRAMES: who knows what else */
	struct
	{
		Oid			function;
		Oid			owner;
		bool		told;
	}			frames[SHOWN_FRAMES];
} Shown;

static Frame *stack = NULL;
TV_HOT_DATA int tv_guard_stack_depth = 0;
static int	stack_room = 0;
static int	script_depth = 0;	/* where an extension's script began */

static Shown *all_shown = NULL;
static bool imported = false;	/* parallel worker: what was on the leader's is here */

static Frame *
add(Oid function, Oid owner)
{
	Frame	   *frame;

	if (tv_guard_stack_depth == stack_room)
	{
		int			room = Max(32, stack_room * 2);

		stack = stack == NULL ? MemoryContextAlloc(TopMemoryContext, room * sizeof(Frame)) :
			repalloc(stack, room * sizeof(Frame));
		stack_room = room;
	}
	frame = &stack[tv_guard_stack_depth++];
	memset(frame, 0, sizeof(*frame));
	frame->function = function;
	frame->owner = owner;
	frame->statement = tv_guard_running();
	return frame;
}

/* Has the call no place in a text, and is it for a value?  Policies and checks are told yes or no. */
static bool
has_no_place(const FmgrInfo *flinfo)
{
	const Node *call = flinfo != NULL ? flinfo->fn_expr : NULL;

	if (call == NULL)			/* a trigger, an index, what has no expression */
		return false;
	if (IsA(call, FuncExpr))
		return ((const FuncExpr *) call)->location < 0 && ((const FuncExpr *) call)->funcresulttype != BOOLOID;
	return IsA(call, OpExpr) && ((const OpExpr *) call)->location < 0 &&
		((const OpExpr *) call)->opresulttype != BOOLOID;
}

/*
 * Does an expression that was stored, in the statement that runs or the COPY, call
 * it?  A call that the planner tries out has lost its place, too (clauses.c,
 * evaluate_function): that is before its statement runs, and within a function
 * that the one which runs has called.  A worker knows no places, but writes nothing
 * either.
 */
static bool
is_stored(const FmgrInfo *flinfo, const Frame *below, const TvRunning *statement)
{
	if (IsParallelWorker() || !has_no_place(flinfo))
		return false;
	return statement != NULL ? below == NULL || below->statement != statement :
		below == NULL && OidIsValid(tv_guard_filled());
}

void
tv_guard_push(Oid function, Oid owner, const FmgrInfo *flinfo)
{
	Frame	   *frame = add(function, owner);
	const Frame *below = tv_guard_stack_depth > 1 ? frame - 1 : NULL;

	frame->stored = is_stored(flinfo, below, frame->statement);
}

void
tv_guard_pop(Oid function)
{
	if (tv_guard_stack_depth > 0 && stack[tv_guard_stack_depth - 1].function == function)
		tv_guard_stack_depth--;
}

Oid
tv_guard_on_stack(int i)
{
	return stack[i].function;
}

/* Nobody owns what a stored expression tells a function to do. */
void
tv_guard_begin_told(Oid function)
{
	add(function, InvalidOid)->told = true;
}

void
tv_guard_end_told(Oid function)
{
	tv_guard_pop(function);
}

bool
tv_guard_is_told(void)
{
	for (int i = tv_guard_stack_depth - 1; i >= 0; i--)
	{
		if (stack[i].told)
			return true;
	}
	return false;
}

/* --- who may not have something --- */

Oid
tv_guard_others_function(void)
{
	for (int i = tv_guard_stack_depth - 1; i >= 0; i--)
	{
		if (stack[i].owner != GetAuthenticatedUserId())
			return stack[i].function;
	}
	return InvalidOid;
}

/*
 * A default, say, or a rule may call a function that is trusted with the realm's
 * rows, and put what it returns where they are not protected.
 */
static bool
tells_elsewhere(const Frame *frame, uint32 realm)
{
	if (likely(!frame->stored))
		return false;
	return frame->statement != NULL ? tv_guard_writes_elsewhere(frame->statement, realm) :
		!tv_vault_in_realm(tv_guard_filled(), realm);
}

static bool
is_trusted(const Frame *frame, uint32 realm)
{
	return frame->owner == GetAuthenticatedUserId() || tv_guard_has_place(frame->owner, realm) ||
		tv_vault_function_runs_for(frame->function, realm);
}

Oid
tv_guard_untrusted_on_stack(uint32 realm)
{
	for (int i = tv_guard_stack_depth - 1; i >= 0; i--)
	{
		if (!is_trusted(&stack[i], realm) || tells_elsewhere(&stack[i], realm))
			return stack[i].function;
	}
	return InvalidOid;
}

Oid
tv_guard_untrusted_function_of(const Bitmapset *realms)
{
	Oid			function = InvalidOid;
	int			realm = -1;

	while (!OidIsValid(function) && (realm = bms_next_member(realms, realm)) >= 0)
		function = tv_guard_untrusted_function(realm);
	return function;
}

bool
tv_guard_is_stored_call(Oid function)
{
	for (int i = tv_guard_stack_depth - 1; i >= 0; i--)
	{
		if (stack[i].function == function)
			return stack[i].stored;
	}
	return false;
}

/* --- scripts of extensions --- */

bool
tv_guard_in_script(void)
{
	return creating_extension && tv_guard_stack_depth == script_depth;
}

int
tv_guard_script_begin(void)
{
	int			before = script_depth;

	script_depth = tv_guard_stack_depth;
	return before;
}

void
tv_guard_script_end(int before)
{
	script_depth = before;
}

/* --- workers of parallel queries --- */

static Shown *
own_shown(void)
{
	Shown	   *shown = &all_shown[MyProc->pgprocno];

	if (shown->pid != MyProcPid)
	{
		shown->n = 0;
		shown->pid = MyProcPid;
	}
	return shown;
}

/*
 * The stack only grows until the end, so what was shown before stays as it was.
 * Where a stored expression calls, who knows in a worker which realms it writes to.
 */
uint32
tv_guard_show_stack(void)
{
	Shown	   *shown = own_shown();
	uint32		before = shown->n;

	for (int i = before; i < Min(tv_guard_stack_depth, SHOWN_FRAMES); i++)
	{
		const Frame *frame = &stack[i];
		bool		elsewhere = frame->stored &&
			(frame->statement == NULL || tv_guard_writes_elsewhere(frame->statement, TV_REALM_UNKNOWN));

		shown->frames[i].function = frame->function;
		shown->frames[i].owner = elsewhere ? InvalidOid : frame->owner;
		shown->frames[i].told = frame->told || elsewhere;
	}
	pg_write_barrier();
	shown->n = tv_guard_stack_depth;
	return before;
}

void
tv_guard_hide_stack(uint32 before)
{
	own_shown()->n = before;
}

void
tv_guard_import_stack(void)
{
	PGPROC	   *leader = MyProc->lockGroupLeader;
	const Shown *shown = leader ? &all_shown[leader->pgprocno] : NULL;
	uint32		n;

	if (imported)
		return;
	imported = true;
	if (shown == NULL || shown->pid != leader->pid)
		return;
	n = shown->n;
	pg_read_barrier();
	for (uint32 i = 0; i < Min(n, SHOWN_FRAMES); i++)
		add(shown->frames[i].function, shown->frames[i].owner)->told = shown->frames[i].told;
	if (n > SHOWN_FRAMES)
		tv_guard_begin_told(shown->frames[0].function);
}

void
tv_guard_stack_init(void)
{
	all_shown = tv_shmem_region("tde_vault stacks", (MAX_BACKENDS + NUM_AUXILIARY_PROCS) * sizeof(Shown), false, NULL);
}
