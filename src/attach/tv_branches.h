/*
 * tv_branches.h
 *	  Where in the running program calls and jumps may lead.
 *
 * Server-free.  A detour must know who calls its function, and that nobody
 * jumps into the instructions that it moves.  That takes reading all code of
 * the program, which is done once for all detours.
 */
#ifndef TV_BRANCHES_H
#define TV_BRANCHES_H

#include "attach/tv_memory.h"

/* Something that can be a call or jump with a 32-bit displacement. */
typedef struct TvBranch
{
	const unsigned char *at;
	size_t		size;			/* bytes of the instruction */
	uintptr_t	destination;	/* in the program's code */
} TvBranch;

typedef struct TvBranches
{
	TvBranch   *list;
	size_t		count;
	size_t		room;
} TvBranches;

/*
 * Find all branches in text that lead into text.  This takes every byte for
 * the start of an instruction, so it misses none of that form, and it may find
 * some that are not there.  TV_ERR_NO_MEMORY leaves nothing to be freed.
 */
extern TvStatus tv_branches_find(const TvMemoryRange *text, size_t ntext,
								 TvBranches *branches, TvError *err);

/* Does it lead there still?  Code may have been changed since it was found. */
extern bool tv_branch_holds(const TvBranch *branch);
extern bool tv_branch_is_call(const TvBranch *branch);

extern void tv_branches_free(TvBranches *branches);

#endif							/* TV_BRANCHES_H */
