/*
 * tv_detour.h
 *	  Leading calls of a function of the running program to another one.
 *
 * Server-free.  The function's first instructions are overwritten with a jump
 * to the replacement; they live on in a trampoline, through which the original
 * can be called.  Only instructions that mean the same wherever they stand are
 * moved, and only if nothing in the program jumps between them.
 */
#ifndef TV_DETOUR_H
#define TV_DETOUR_H

#include "attach/tv_branches.h"

typedef enum TvDetourMode
{
	TV_DETOUR_CALLABLE,			/* the original can still be called */
	TV_DETOUR_REPLACE			/* it never will be: nothing is moved */
} TvDetourMode;

typedef struct TvDetourRequest
{
	void	   *target;			/* entry of the function */
	size_t		target_size;	/* its size, from the symbol table */
	void	   *replacement;	/* same signature */
	TvDetourMode mode;
	const TvBranches *branches; /* of all code that may jump to the function */
	size_t		min_callers;	/* refuse if fewer direct calls are found */
	bool		far_jump;		/* jump by 64-bit address in any case */
} TvDetourRequest;

typedef struct TvDetour
{
	void	   *trampoline;		/* calls the original; NULL if replaced */
	size_t		patch_size;		/* bytes of the original overwritten */
	size_t		callers;		/* direct calls of the target in text */
	bool		far_jump;		/* jumps by 64-bit address */
} TvDetour;

/*
 * Install one detour.  A function that has one already, one that cannot be
 * understood and one that is too short are refused, with nothing changed.
 */
extern TvStatus tv_detour_install(const TvDetourRequest *request,
								  TvDetour *detour, TvError *err);

#endif							/* TV_DETOUR_H */
