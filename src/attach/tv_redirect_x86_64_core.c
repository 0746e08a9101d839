/*
 * tv_redirect_x86_64_core.c
 *	  Leading single calls of a function to another one, on x86-64.
 *
 * A call site keeps its instruction; only the 32-bit displacement in it
 * changes, to that of a relay in a page nearby, which jumps on by 64-bit
 * address.
 */
#include "attach/tv_redirect.h"
#include "attach/tv_relay.h"
#include "attach/tv_x86_64.h"

#include <string.h>

/* More calls than this in one function are not expected. */
#define SITES_MAX 16

static TvStatus
refuse(TvError *err, const char *message, const unsigned char *at)
{
	TvStatus	status = tv_error(err, TV_ERR_VERSION, "%s", message);

	tv_error_detail(err, "The instruction is at %p.", (const void *) at);
	return status;
}

/* Decode the instruction at *at and step behind it. */
static TvStatus
next_instruction(const unsigned char **at, const unsigned char *end,
				 ZydisDecodedInstruction *insn, TvError *err)
{
	if (!tv_x86_decode(*at, (size_t) (end - *at), insn))
		return refuse(err, "an instruction cannot be decoded", *at);
	*at += insn->length;
	return TV_OK;
}

/*
 * Note where in a function the displacements of branches to callee are: the
 * last four bytes of each.
 */
static TvStatus
collect_sites(const TvMemoryRange *function, const void *callee,
			  unsigned char **sites, size_t *nsites, TvError *err)
{
	const unsigned char *at = function->start;
	const unsigned char *end = function->start + function->size;
	ZydisDecodedInstruction insn;
	TvStatus	status;

	*nsites = 0;
	while (at < end)
	{
		status = next_instruction(&at, end, &insn, err);
		if (status != TV_OK)
			return status;
		if (!insn.raw.imm[0].is_relative ||
			(uintptr_t) at + (uintptr_t) insn.raw.imm[0].value.s !=
			(uintptr_t) callee)
			continue;
		if (insn.raw.imm[0].size != 32 || *nsites == SITES_MAX)
			return refuse(err, "a direct call cannot be redirected",
						  at - insn.length);
		sites[(*nsites)++] = (unsigned char *) (uintptr_t) (at - 4);
	}
	return TV_OK;
}

TvStatus
tv_redirect_calls(const TvMemoryRange *function, const void *callee,
				  const void *replacement, size_t *nsites, TvError *err)
{
	unsigned char *sites[SITES_MAX];
	TvRelay		relay;
	int32_t		displacement;
	size_t		i;
	TvStatus	status;

	status = collect_sites(function, callee, sites, nsites, err);
	if (status != TV_OK || *nsites == 0)
		return status;

	status = tv_memory_probe(err);
	if (status != TV_OK)
		return status;
	status = tv_relay_make(function->start, 0, false, replacement, &relay, err);

	for (i = 0; i < *nsites && status == TV_OK; i++)
	{
		if (!tv_x86_displacement(sites[i] + 4, relay.entry, &displacement))
			return tv_error(err, TV_ERR_INTERNAL,
							"a relay is out of the call's reach");
		status = tv_memory_patch(sites[i], &displacement, sizeof(displacement),
								 err);
	}
	return status;
}

/* Whether an address or immediate operand lies in data. */
static bool
refers_to(const ZydisDecodedInstruction *insn, const unsigned char *end,
		  const TvMemoryRange *data)
{
	uintptr_t	start = (uintptr_t) data->start;
	uintptr_t	address = (uintptr_t) insn->raw.disp.value;

	if (insn->raw.disp.size == 32)
	{
		/* Relative to the next instruction, or in a fixed-place program. */
		if ((insn->attributes & ZYDIS_ATTRIB_IS_RELATIVE) != 0)
			address += (uintptr_t) end;
		if (address - start < data->size)
			return true;
	}
	return insn->raw.imm[0].size >= 32 && !insn->raw.imm[0].is_relative &&
		(uintptr_t) insn->raw.imm[0].value.u - start < data->size;
}

TvStatus
tv_redirect_references(const TvMemoryRange *function, const TvMemoryRange *data,
					   size_t *count, TvError *err)
{
	const unsigned char *at = function->start;
	const unsigned char *end = function->start + function->size;
	ZydisDecodedInstruction insn;
	TvStatus	status;

	*count = 0;
	while (at < end)
	{
		status = next_instruction(&at, end, &insn, err);
		if (status != TV_OK)
			return status;
		if (refers_to(&insn, at, data))
			(*count)++;
	}
	return TV_OK;
}
