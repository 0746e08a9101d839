/*
 * tv_attach_detour.c
 *	  Detours of the server's exported functions.
 */
#include "postgres.h"

#include "attach/tv_attach_private.h"
#include "attach/tv_detour.h"
#include "attach/tv_redirect.h"

/* The branches of the program; found with the first detour. */
static TvBranches branches;

static const TvBranches *
find_branches(const char *seam)
{
	const TvImage *image = tv_attach_image();
	TvError		error;

	if (branches.count == 0 && tv_branches_find(image->text, image->ntext, &branches, &error) != TV_OK)
		tv_attach_refuse(seam, &error);
	return &branches;
}

void
tv_attach_end(void)
{
	tv_branches_free(&branches);
}

/*
 * Install a detour and note it.  A function that nothing calls by its address
 * has been cloned or inlined everywhere: its detour would see nothing, and so
 * is refused.
 */
static void *
install(void *target, const char *name, void *replacement, TvDetourMode mode)
{
	const TvImage *image;
	TvDetourRequest request = {0};
	TvDetour	detour;
	TvError		error;
	char		row[NAMEDATALEN + sizeof(TV_ATTACH_ROW_DETOUR)];

	tv_attach_check_time(name);
	image = tv_attach_image();
	request.target = target;
	request.replacement = replacement;
	request.mode = mode;
	request.branches = find_branches(name);
	request.min_callers = 1;
	if (tv_image_function_size(image, target, &request.target_size,
							   &error) != TV_OK ||
		tv_detour_install(&request, &detour, &error) != TV_OK)
		tv_attach_refuse(name, &error);

	snprintf(row, sizeof(row), TV_ATTACH_ROW_DETOUR, name);
	tv_attach_note(row, "%s at 0x%zx, %zu bytes, %s jump, %zu direct calls",
				   mode == TV_DETOUR_REPLACE ? "replaced" : "detoured",
				   (size_t) ((uintptr_t) target - image->base),
				   detour.patch_size, detour.far_jump ? "far" : "near",
				   detour.callers);
	return detour.trampoline;
}

void *
tv_attach_detour(void *target, const char *name, void *replacement)
{
	return install(target, name, replacement, TV_DETOUR_CALLABLE);
}

void
tv_attach_replace(void *target, const char *name, void *replacement)
{
	(void) install(target, name, replacement, TV_DETOUR_REPLACE);
}

void
tv_attach_calls(void *callee, const char *name, const char *caller, void *replacement)
{
	char		seam[2 * NAMEDATALEN];
	char		row[sizeof(seam) + sizeof(TV_ATTACH_ROW_DETOUR)];
	TvMemoryRange code;
	TvError		error;
	size_t		sites = 0;

	snprintf(seam, sizeof(seam), "%s in %s", name, caller);
	tv_attach_check_time(seam);
	if (tv_image_function(tv_attach_image(), caller, &code, &error) != TV_OK ||
		tv_redirect_calls(&code, callee, replacement, &sites, &error) != TV_OK)
		tv_attach_refuse(seam, &error);
	if (sites == 0)
	{
		tv_error(&error, TV_ERR_VERSION, "the function does not call it");
		tv_attach_refuse(seam, &error);
	}
	snprintf(row, sizeof(row), TV_ATTACH_ROW_DETOUR, seam);
	tv_attach_note(row, "%zu direct calls redirected", sites);
}
