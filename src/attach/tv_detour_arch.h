/*
 * tv_detour_arch.h
 *	  What tv_detour_core.c asks of the one file an architecture.
 */
#ifndef TV_DETOUR_ARCH_H
#define TV_DETOUR_ARCH_H

#include "attach/tv_detour.h"

#if !defined(__x86_64__) || defined(__ILP32__)
#error "tde_vault's detours are written for x86-64 only: add a tv_detour_<architecture>_core.c"
#endif

/* No plan overwrites more than this; boundaries has a bit for each byte. */
#define TV_DETOUR_PATCH_MAX 32

typedef struct TvDetourPlan
{
	unsigned char *patch;		/* first byte that is overwritten */
	size_t		patch_size;		/* whole instructions, at least the jump */
	uint32_t	boundaries;		/* bit n: an instruction starts at patch + n */
	size_t		callers;		/* direct calls of the target in text */
	bool		far_jump;
} TvDetourPlan;

/*
 * Decide what to overwrite, or refuse.  Changes nothing.
 */
extern TvStatus tv_detour_arch_plan(const TvDetourRequest *request,
									bool far_jump, TvDetourPlan *plan,
									TvError *err);

/*
 * Fill the page of a far jump with the trampoline, if the mode wants one, and
 * fill in detour->trampoline.
 */
extern void tv_detour_arch_fill_page(const TvDetourRequest *request,
									 const TvDetourPlan *plan,
									 unsigned char *page, size_t size,
									 TvDetour *detour);

/*
 * The plan->patch_size bytes that go to plan->patch.  False if destination
 * cannot be reached from there.
 */
extern bool tv_detour_arch_jump(const TvDetourPlan *plan,
								const void *destination,
								unsigned char *bytes);

#endif							/* TV_DETOUR_ARCH_H */
