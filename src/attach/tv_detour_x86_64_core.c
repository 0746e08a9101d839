/*
 * tv_detour_x86_64_core.c
 *	  The x86-64 part of detours: what may be moved, and the jumps.
 *
 * A near detour looks like this, the page being within 2 GB of the function:
 *
 *	target:		[endbr64]  jmp relay  int3 ...
 *	page:		relay:		jmp *replacement
 *				trampoline: endbr64  <moved instructions>  jmp back
 *
 * A far one jumps from the function to the replacement by 64-bit address, and
 * its trampoline jumps back so.
 * The endbr64 of a function stays where it is, so that a detour holds under
 * indirect branch tracking.  Nothing here uses or changes a register.
 */
#include "attach/tv_detour_arch.h"
#include "attach/tv_x86_64.h"

#include <string.h>

#define ENDBR64_SIZE 4
#define NEAR_JUMP_SIZE 5		/* jmp rel32 */
#define OPCODE_JMP 0xE9

/* Longer functions than this are not decoded. */
#define FUNCTION_SIZE_MAX (64 * 1024)

static const unsigned char endbr64[ENDBR64_SIZE] = {0xF3, 0x0F, 0x1E, 0xFA};

#define TV_DETOUR_HINT \
	"Another library may have changed the function: list tde_vault first in " \
	"shared_preload_libraries. Otherwise this build of the server is not one " \
	"that tde_vault knows: use the distribution's server package."

static TvStatus
refuse(TvError *err, const char *message, const void *target, size_t offset)
{
	TvStatus	status = tv_error(err, TV_ERR_VERSION, "%s", message);

	tv_error_detail(err, "The instruction is %zu bytes into the function at %p.",
					offset, target);
	tv_error_hint(err, TV_DETOUR_HINT);
	return status;
}

/* Whether the instruction can hand control to another place. */
static bool
is_control_transfer(const ZydisDecodedInstruction *insn)
{
	switch (insn->meta.category)
	{
		case ZYDIS_CATEGORY_CALL:
		case ZYDIS_CATEGORY_COND_BR:
		case ZYDIS_CATEGORY_UNCOND_BR:
		case ZYDIS_CATEGORY_RET:
		case ZYDIS_CATEGORY_INTERRUPT:
		case ZYDIS_CATEGORY_SYSCALL:
		case ZYDIS_CATEGORY_SYSRET:
			return true;
		default:
			return false;
	}
}

/*
 * Find whole instructions that cover the jump.  In the mode that moves them,
 * refuse any that depends on where it stands.
 */
static TvStatus
plan_prologue(const TvDetourRequest *request, size_t jump_size,
			  TvDetourPlan *plan, TvError *err)
{
	const unsigned char *code = request->target;
	size_t		start = 0;
	size_t		at;
	ZydisDecodedInstruction insn;

	if (request->target_size >= ENDBR64_SIZE &&
		memcmp(code, endbr64, ENDBR64_SIZE) == 0)
		start = ENDBR64_SIZE;
	plan->patch = (unsigned char *) request->target + start;
	plan->boundaries = 0;

	for (at = start; at - start < jump_size; at += insn.length)
	{
		if (at >= request->target_size)
			return refuse(err, "the function is shorter than a jump",
						  code, at);
		if (!tv_x86_decode(code + at, request->target_size - at, &insn))
			return refuse(err, "an instruction cannot be decoded", code, at);
		if (at == start && insn.meta.category == ZYDIS_CATEGORY_UNCOND_BR)
			return refuse(err, "the function starts with a jump", code, at);
		if (request->mode == TV_DETOUR_CALLABLE &&
			(is_control_transfer(&insn) ||
			 (insn.attributes & ZYDIS_ATTRIB_IS_RELATIVE) != 0))
			return refuse(err, "an instruction that must move depends on its position",
						  code, at);
		plan->boundaries |= UINT32_C(1) << (at - start);
	}
	plan->patch_size = at - start;
	return TV_OK;
}

/* Whether an address lies behind the first byte that is overwritten. */
static bool
is_inside_patch(const TvDetourPlan *plan, uintptr_t address)
{
	return address > (uintptr_t) plan->patch &&
		address - (uintptr_t) plan->patch < plan->patch_size;
}

/*
 * Decode the whole function: none of its branches may lead to an instruction
 * that moves.
 */
static TvStatus
check_own_branches(const TvDetourRequest *request, const TvDetourPlan *plan,
				   TvError *err)
{
	const unsigned char *code = request->target;
	size_t		at;
	ZydisDecodedInstruction insn;

	if (request->target_size > FUNCTION_SIZE_MAX)
		return refuse(err, "the function is too long to be checked", code, 0);
	for (at = 0; at < request->target_size; at += insn.length)
	{
		if (!tv_x86_decode(code + at, request->target_size - at, &insn))
			return refuse(err, "an instruction cannot be decoded", code, at);
		if (insn.raw.imm[0].is_relative &&
			is_inside_patch(plan, (uintptr_t) code + at + insn.length +
							(uintptr_t) insn.raw.imm[0].value.s))
			return refuse(err, "a branch leads to an instruction that must move",
						  code, at);
	}
	return TV_OK;
}

/*
 * Look through the branches of all other code, the function's own cold part
 * included, for calls of the function and for jumps into the instructions that
 * move.
 *
 * Some of these branches may not be there (tv_branches.h): by chance once in
 * thousands of builds one is in the way, and then the server does not start, on
 * any day.
 */
static TvStatus
check_branches(const TvDetourRequest *request, TvDetourPlan *plan, TvError *err)
{
	const unsigned char *code = request->target;

	plan->callers = 0;
	for (size_t i = 0; i < request->branches->count; i++)
	{
		const TvBranch *branch = &request->branches->list[i];
		bool		entry = branch->destination == (uintptr_t) code;

		if ((!entry && !is_inside_patch(plan, branch->destination)) ||
			(branch->at >= code && branch->at < code + request->target_size) ||
			!tv_branch_holds(branch))
			continue;
		if (entry && tv_branch_is_call(branch))
			plan->callers++;
		if (is_inside_patch(plan, branch->destination) &&
			(plan->boundaries >> (branch->destination - (uintptr_t) plan->patch) & 1))
			return refuse(err, "other code jumps to an instruction that must move",
						  code, (size_t) (branch->destination - (uintptr_t) code));
	}
	return TV_OK;
}

TvStatus
tv_detour_arch_plan(const TvDetourRequest *request, bool far_jump,
					TvDetourPlan *plan, TvError *err)
{
	TvStatus	status;

	plan->far_jump = far_jump;
	status = plan_prologue(request, far_jump ? TV_X86_FAR_JUMP_SIZE : NEAR_JUMP_SIZE,
						   plan, err);
	if (status == TV_OK && request->mode == TV_DETOUR_CALLABLE)
		status = check_own_branches(request, plan, err);
	if (status == TV_OK)
		status = check_branches(request, plan, err);
	if (status != TV_OK)
		return status;

	if (plan->callers < request->min_callers)
	{
		status = tv_error(err, TV_ERR_VERSION,
						  "the server does not call the function by its address");
		tv_error_detail(err, "Found %zu direct calls of it, expected at least %zu.",
						plan->callers, request->min_callers);
		tv_error_hint(err, TV_DETOUR_HINT);
	}
	return status;
}

/*
 * The page's use is bounded: endbr64 4, moved instructions below
 * TV_DETOUR_PATCH_MAX, jump back 14.  The rest traps.
 */
void
tv_detour_arch_fill_page(const TvDetourRequest *request,
						 const TvDetourPlan *plan, unsigned char *page,
						 size_t size, TvDetour *detour)
{
	unsigned char *at = page;

	memset(page, TV_X86_INT3, size);
	detour->trampoline = NULL;
	if (request->mode == TV_DETOUR_CALLABLE)
	{
		detour->trampoline = at;
		memcpy(at, endbr64, ENDBR64_SIZE);
		at += ENDBR64_SIZE;
		memcpy(at, plan->patch, plan->patch_size);
		at += plan->patch_size;
		(void) tv_x86_emit_far_jump(at, plan->patch + plan->patch_size);
	}
}

bool
tv_detour_arch_jump(const TvDetourPlan *plan, const void *destination,
					unsigned char *bytes)
{
	int32_t		displacement;

	memset(bytes, TV_X86_INT3, plan->patch_size);
	if (plan->far_jump)
	{
		(void) tv_x86_emit_far_jump(bytes, destination);
		return true;
	}
	if (!tv_x86_displacement(plan->patch + NEAR_JUMP_SIZE, destination,
							 &displacement))
		return false;
	bytes[0] = OPCODE_JMP;
	memcpy(bytes + 1, &displacement, sizeof(displacement));
	return true;
}
