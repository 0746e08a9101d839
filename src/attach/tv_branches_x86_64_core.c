/*
 * tv_branches_x86_64_core.c
 *	  Calls and jumps in the running program, on x86-64.
 */
#include "attach/tv_branches.h"

#include <stdlib.h>
#include <string.h>

#define OPCODE_CALL 0xE8
#define OPCODE_JMP 0xE9
#define OPCODE_TWO_BYTES 0x0F
#define OPCODE_JCC 0x80			/* second byte, with the condition below */

#define JUMP_SIZE (1 + sizeof(int32_t))
#define JCC_SIZE (2 + sizeof(int32_t))
#define FIRST_ROOM (128 * 1024)

/*
 * If the bytes at "at" can be a call or jump with a 32-bit displacement, its
 * destination; else 0.
 */
static inline uintptr_t
destination_of(const unsigned char *at, size_t left)
{
	size_t		size;
	int32_t		displacement;

	if (at[0] == OPCODE_CALL || at[0] == OPCODE_JMP)
		size = JUMP_SIZE;
	else if (at[0] == OPCODE_TWO_BYTES && left > 1 && (at[1] & 0xF0) == OPCODE_JCC)
		size = JCC_SIZE;
	else
		return 0;
	if (left < size)
		return 0;
	memcpy(&displacement, at + size - sizeof(displacement), sizeof(displacement));
	return (uintptr_t) at + size + (uintptr_t) (intptr_t) displacement;
}

static bool
is_in(const TvMemoryRange *text, size_t ntext, uintptr_t address)
{
	for (size_t i = 0; i < ntext; i++)
	{
		if (address - (uintptr_t) text[i].start < text[i].size)
			return true;
	}
	return false;
}

static bool
add(TvBranches *branches, const unsigned char *at, uintptr_t destination)
{
	if (branches->count == branches->room)
	{
		size_t		room = branches->room > 0 ? 2 * branches->room : FIRST_ROOM;
		TvBranch   *list = realloc(branches->list, room * sizeof(*list));

		if (list == NULL)
			return false;
		branches->list = list;
		branches->room = room;
	}
	branches->list[branches->count].at = at;
	branches->list[branches->count].size = at[0] == OPCODE_TWO_BYTES ? JCC_SIZE : JUMP_SIZE;
	branches->list[branches->count].destination = destination;
	branches->count++;
	return true;
}

TvStatus
tv_branches_find(const TvMemoryRange *text, size_t ntext, TvBranches *branches,
				 TvError *err)
{
	memset(branches, 0, sizeof(*branches));
	for (size_t i = 0; i < ntext; i++)
	{
		const unsigned char *end = text[i].start + text[i].size;

		for (const unsigned char *at = text[i].start; at < end; at++)
		{
			uintptr_t	destination = destination_of(at, (size_t) (end - at));

			if (destination == 0 || !is_in(text, ntext, destination) ||
				add(branches, at, destination))
				continue;
			tv_branches_free(branches);
			return tv_error(err, TV_ERR_NO_MEMORY,
							"out of memory for the branches of the program");
		}
	}
	return TV_OK;
}

bool
tv_branch_holds(const TvBranch *branch)
{
	return destination_of(branch->at, branch->size) == branch->destination;
}

bool
tv_branch_is_call(const TvBranch *branch)
{
	return branch->at[0] == OPCODE_CALL;
}

void
tv_branches_free(TvBranches *branches)
{
	free(branches->list);
	memset(branches, 0, sizeof(*branches));
}
