/*
 * tv_detour_core.c
 *	  Leading calls of a function of the running program to another one.
 *
 * The order matters: everything that can be refused is refused before the
 * first byte of the program changes.
 */
#include "attach/tv_detour_arch.h"
#include "attach/tv_relay.h"

#include <string.h>
#include <sys/mman.h>

#define TV_DETOUR_MAX 64

/* What is overwritten, so that no byte is overwritten twice. */
typedef struct TvDetourPatch
{
	const unsigned char *start;
	size_t		size;
} TvDetourPatch;

static TvDetourPatch installed[TV_DETOUR_MAX];
static size_t ninstalled = 0;
static bool probed = false;

/* Refuse a second detour of one function, and a full registry. */
static TvStatus
check_registry(const TvDetourRequest *request, TvError *err)
{
	const unsigned char *start = request->target;
	size_t		i;

	for (i = 0; i < ninstalled; i++)
	{
		if (installed[i].start < start + request->target_size &&
			start < installed[i].start + installed[i].size)
			return tv_error(err, TV_ERR_INVALID_ARGUMENT,
							"the function has a detour already");
	}
	if (ninstalled == TV_DETOUR_MAX)
		return tv_error(err, TV_ERR_INTERNAL, "too many detours");
	return TV_OK;
}

/*
 * Where a near jump leads; *destination stays NULL if no page can be had near
 * the target.
 */
static TvStatus
make_near(const TvDetourRequest *request, TvDetourPlan *plan, const void **destination,
		  TvDetour *detour, TvError *err)
{
	TvRelay		relay;
	TvStatus	status = tv_detour_arch_plan(request, false, plan, err);

	if (status != TV_OK)
		return status;
	status = tv_relay_make(plan->patch, plan->patch_size, request->mode == TV_DETOUR_CALLABLE,
						   request->replacement, &relay, err);
	if (status == TV_ERR_NO_MEMORY)
		return TV_OK;
	if (status != TV_OK)
		return status;
	detour->trampoline = relay.trampoline;
	*destination = relay.entry;
	return TV_OK;
}

/* A far jump leads to the replacement itself; the trampoline has its own page. */
static TvStatus
make_far(const TvDetourRequest *request, TvDetourPlan *plan, const void **destination,
		 TvDetour *detour, TvError *err)
{
	unsigned char *page;
	TvStatus	status = tv_detour_arch_plan(request, true, plan, err);

	if (status != TV_OK)
		return status;
	page = tv_memory_page_any();
	if (page == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY,
						"could not allocate a page for a trampoline");
	tv_detour_arch_fill_page(request, plan, page, tv_memory_page_size(), detour);
	*destination = request->replacement;
	return tv_memory_page_seal(page, err);
}

/* All else is in place: lead the function there. */
static TvStatus
put_in_place(const TvDetourPlan *plan, const void *destination, TvError *err)
{
	unsigned char bytes[TV_DETOUR_PATCH_MAX];
	int			prot;
	TvStatus	status;

	if (!tv_detour_arch_jump(plan, destination, bytes))
		return tv_error(err, TV_ERR_INTERNAL,
						"the trampoline is out of the jump's reach");

	/* Never touch code that somebody has made writable. */
	status = tv_memory_protection(plan->patch, plan->patch_size, &prot, err);
	if (status != TV_OK)
		return status;
	if (prot != (PROT_READ | PROT_EXEC))
		return tv_error(err, TV_ERR_VERSION,
						"the function's memory is not read-only code");
	return tv_memory_patch(plan->patch, bytes, plan->patch_size, err);
}

TvStatus
tv_detour_install(const TvDetourRequest *request, TvDetour *detour,
				  TvError *err)
{
	TvDetourPlan plan;
	const void *destination = NULL;
	TvStatus	status = TV_OK;

	memset(detour, 0, sizeof(*detour));
	if (request->target == NULL || request->replacement == NULL || request->branches == NULL ||
		request->target == request->replacement)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT,
						"a detour needs a target and a replacement");
	status = check_registry(request, err);
	if (status != TV_OK)
		return status;
	if (!probed)
	{
		status = tv_memory_probe(err);
		if (status != TV_OK)
			return status;
		probed = true;
	}

	if (!request->far_jump)
		status = make_near(request, &plan, &destination, detour, err);
	if (status == TV_OK && destination == NULL)
		status = make_far(request, &plan, &destination, detour, err);
	if (status == TV_OK)
		status = put_in_place(&plan, destination, err);
	if (status != TV_OK)
	{
		/* What was made stays: in the worst case the function leads there. */
		memset(detour, 0, sizeof(*detour));
		return status;
	}

	installed[ninstalled].start = plan.patch;
	installed[ninstalled].size = plan.patch_size;
	ninstalled++;
	detour->patch_size = plan.patch_size;
	detour->callers = plan.callers;
	detour->far_jump = plan.far_jump;
	return TV_OK;
}
