/*
 * tv_provider_pkcs11.c
 *	  pkcs11:..., a master key in an HSM: handles, the table of loaded
 *	  modules, and running jobs with a time limit.  See README.md.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/tv_secret.h"
#include "provider/tv_pkcs11.h"

typedef struct Pkcs11Provider
{
	TvProvider	base;
	TvPkcs11Module *module;
	TvPkcs11Uri *uri;			/* secret memory */
	char		key_id[TV_KEY_ID_MAX + 1];
	uint64_t	generation;		/* module load that session and key are of */
	CK_SESSION_HANDLE session;
	CK_OBJECT_HANDLE key;
	uint8_t		canary[TV_WRAPPED_LEN];
} Pkcs11Provider;

/*
 * Modules of this process, and those that a fork left behind: the latter are
 * only looked at for their path, never used or freed.
 */
static TvPkcs11Module *modules;
static TvPkcs11Module *inherited_modules;
static pid_t modules_owner;

static TvPkcs11Module *
find_module(TvPkcs11Module *list, const char *path)
{
	for (; list != NULL; list = list->next)
		if (strcmp(list->path, path) == 0)
			return list;
	return NULL;
}

/*
 * Has this process forked off since the table was made?  Then it is another
 * process's.
 */
static void
notice_fork(void)
{
	if (modules_owner == getpid())
		return;
	modules_owner = getpid();
	if (modules != NULL)
		inherited_modules = modules;
	modules = NULL;
}

/*
 * The module's code will run with the server's rights: only root or the
 * server's user may have written it.
 */
static TvStatus
check_module_file(const char *path, TvError *err)
{
	struct stat st;

	if (stat(path, &st) != 0)
	{
		tv_error(err, TV_ERR_UNAVAILABLE,
				 "could not open PKCS#11 module \"%s\": %s", path, strerror(errno));
		tv_error_hint(err, "Install the PKCS#11 library of the HSM's vendor, or correct module-path in the provider URI.");
		return TV_ERR_UNAVAILABLE;
	}
	if (!S_ISREG(st.st_mode))
		return tv_error(err, TV_ERR_UNAVAILABLE,
						"PKCS#11 module \"%s\" is not a regular file", path);
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022) != 0)
	{
		tv_error(err, TV_ERR_INSECURE,
				 "PKCS#11 module \"%s\" has insecure permissions", path);
		tv_error_detail(err, "The file has mode %04o and is owned by user ID %ld.",
						(unsigned) (st.st_mode & 07777), (long) st.st_uid);
		tv_error_hint(err, "It must be owned by root or the server's user, and writable by nobody else.");
		return TV_ERR_INSECURE;
	}
	return TV_OK;
}

/*
 * The table's entry for a module, made when there is none.
 */
static TvStatus
get_module(const char *path, TvPkcs11Module **module, TvError *err)
{
	TvStatus	status;

	*module = find_module(modules, path);
	if (*module != NULL)
		return TV_OK;
	status = check_module_file(path, err);
	if (status != TV_OK)
		return status;
	*module = calloc(1, sizeof(**module));
	if (*module == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY, "out of memory");
	memcpy((*module)->path, path, strlen(path) + 1);
	(*module)->inherited = find_module(inherited_modules, path) != NULL;
	(*module)->next = modules;
	modules = *module;
	return TV_OK;
}

/*
 * Take a module out of the table, unless something still needs it.
 */
static void
release_module(TvPkcs11Module *module)
{
	TvPkcs11Module **link = &modules;

	if (module->refs > 0 || module->stuck != NULL || module->ctx != NULL)
		return;
	while (*link != NULL && *link != module)
		link = &(*link)->next;
	if (*link == module)
		*link = module->next;
	free(module);
}

/*
 * The helper thread's function.
 */
static void
run_job(void *arg)
{
	TvPkcs11Job *job = arg;
	TvStatus	status = TV_OK;

	if (job->op == TV_PKCS11_UNLOAD)
	{
		tv_pkcs11_unload(job->module);
		return;
	}
	if (job->resolve)
	{
		status = tv_pkcs11_load(job);
		if (status == TV_OK)
			status = tv_pkcs11_session(job);
		if (status == TV_OK)
			status = tv_pkcs11_find_key(job);
		if (status == TV_OK)
			status = tv_pkcs11_prove_key(job);
		job->resolved = status == TV_OK;
	}
	if (status == TV_OK)
		status = tv_pkcs11_check_cancelled(job);
	if (status == TV_OK && job->op == TV_PKCS11_WRAP)
		status = tv_pkcs11_wrap(job);
	if (status == TV_OK && job->op == TV_PKCS11_UNWRAP)
		status = tv_pkcs11_unwrap(job);
	if (status != TV_OK && job->unload_on_failure)
		tv_pkcs11_unload(job->module);
	job->status = status;
}

/*
 * Is the module free for use?  One that hung stays out of use until its call
 * comes back, and then starts from nothing.
 */
static TvStatus
reap_module(TvPkcs11Module *module, TvError *err)
{
	if (module->stuck == NULL)
		return TV_OK;
	if (!tv_bounded_reap(module->stuck))
	{
		tv_error(err, TV_ERR_UNAVAILABLE, "PKCS#11 module does not answer");
		tv_error_detail(err, "An earlier call of module \"%s\" in this process has not returned.",
						module->path);
		tv_error_hint(err, "Check the HSM and its network. When the call returns, the server tries again by itself; if it never does, the session must be restarted.");
		return TV_ERR_UNAVAILABLE;
	}
	module->stuck = NULL;
	if (module->stuck_job->pin_refused)
		tv_pkcs11_remember_refused(module->stuck_job);
	tv_secret_free(module->stuck_job);
	module->stuck_job = NULL;
	module->needs_reset = true;
	return TV_OK;
}

static int
timeout_ms(void)
{
	return tv_provider_timeout_ms > 0 ? tv_provider_timeout_ms :
		TV_PROVIDER_TIMEOUT_DEFAULT_MS;
}

/*
 * Run the job once.  When it does not return in time, the module keeps it and
 * *jobp becomes NULL.
 */
static TvStatus
run_once(TvPkcs11Job **jobp, int64_t deadline, TvError *err)
{
	TvPkcs11Job *job = *jobp;
	TvPkcs11Module *module = job->module;
	TvStatus	status;

	job->lost = false;
	job->resolved = false;
	job->pin_refused = false;
	job->status = TV_ERR_INTERNAL;
	if (tv_random(job->nonce, sizeof(job->nonce)) != TV_OK ||
		tv_random(job->probe_nonce, sizeof(job->probe_nonce)) != TV_OK ||
		tv_random(job->new_id, sizeof(job->new_id)) != TV_OK)
		return tv_error(err, TV_ERR_INTERNAL, "could not get random bytes");
	status = tv_bounded_run(run_job, job, deadline, &module->stuck, err);
	if (module->stuck != NULL)
	{
		atomic_store(&job->cancelled, true);
		module->stuck_job = job;
		*jobp = NULL;
		tv_error(err, TV_ERR_UNAVAILABLE,
				 "PKCS#11 module did not answer within %d ms", timeout_ms());
		tv_error_detail(err, "Module \"%s\".", module->path);
		tv_error_hint(err, "Check the HSM and its network.");
		return TV_ERR_UNAVAILABLE;
	}
	if (status != TV_OK)
		return status;
	if (job->pin_refused)
		tv_pkcs11_remember_refused(job);
	if (job->status != TV_OK && err != NULL)
		*err = job->err;
	return job->status;
}

/*
 * Run a job; once more, from the start, if the token went away under it.
 * generation: the module load that the job's handles are from.
 */
static TvStatus
run(TvPkcs11Job **jobp, uint64_t generation, TvError *err)
{
	TvPkcs11Module *module = (*jobp)->module;
	int64_t		deadline = tv_bounded_now() + timeout_ms();
	TvStatus	status;

	for (int attempt = 0;; attempt++)
	{
		TvPkcs11Job *job = *jobp;

		status = reap_module(module, err);
		if (status != TV_OK)
			return status;
		job->resolve = job->op == TV_PKCS11_OPEN || module->needs_reset ||
			module->ctx == NULL || module->generation != generation;
		if (job->resolve)
			status = tv_pkcs11_get_pin(job, err);
		if (status == TV_OK)
			status = run_once(jobp, deadline, err);
		if (status == TV_OK || *jobp == NULL || !job->lost || attempt > 0)
			return status;
		module->needs_reset = true;
	}
}

static TvPkcs11Job *
make_job(TvPkcs11Op op, TvPkcs11Module *module, const TvPkcs11Uri *uri,
		 const char *key_id)
{
	TvPkcs11Job *job = tv_secret_alloc(sizeof(*job));

	if (job == NULL)
		return NULL;
	job->op = op;
	job->module = module;
	memcpy(&job->uri, uri, sizeof(job->uri));
	memcpy(job->key_id, key_id, strlen(key_id) + 1);
	atomic_init(&job->cancelled, false);
	return job;
}

/*
 * A key id and a URI that names another object contradict each other.
 */
static TvStatus
check_object(const TvPkcs11Uri *uri, const char *key_id, TvError *err)
{
	if (uri->object[0] == '\0' || strcmp(uri->object, key_id) == 0)
		return TV_OK;
	tv_error(err, TV_ERR_INVALID_ARGUMENT,
			 "provider URI names object \"%s\", but the key id is \"%s\"",
			 uri->object, key_id);
	tv_error_hint(err, "Leave object out of the provider URI: the key id is the label of the key on the token.");
	return TV_ERR_INVALID_ARGUMENT;
}

static TvStatus
pkcs11_check(const char *rest, TvError *err)
{
	TvPkcs11Uri *uri = tv_secret_alloc(sizeof(*uri));
	TvStatus	status;

	if (uri == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY, "out of memory");
	status = tv_provider_parse_pkcs11(rest, uri, err);
	tv_secret_free(uri);
	return status;
}

/*
 * Open the key and fill the handle from the job's result.
 */
static TvStatus
open_key(Pkcs11Provider *p, bool create, TvError *err)
{
	TvPkcs11Job *job = make_job(TV_PKCS11_OPEN, p->module, p->uri, p->key_id);
	TvStatus	status;

	if (job == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY, "out of memory");
	job->create = create;
	job->unload_on_failure = p->module->refs == 0;
	status = run(&job, 0, err);
	if (status == TV_OK)
	{
		p->generation = p->module->generation;
		p->session = job->session;
		p->key = job->key;
		memcpy(p->canary, job->canary, sizeof(p->canary));
		p->module->refs++;
	}
	tv_secret_free(job);
	return status;
}

static TvStatus
pkcs11_open(const TvProviderRequest *req, TvProvider **provider, TvError *err)
{
	Pkcs11Provider *p = calloc(1, sizeof(*p));
	TvStatus	status;

	if (p == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY, "out of memory");
	notice_fork();
	p->base.driver = &tv_provider_pkcs11_driver;
	p->base.owner = getpid();
	memcpy(p->key_id, req->key_id, strlen(req->key_id) + 1);
	p->uri = tv_secret_alloc(sizeof(*p->uri));
	if (p->uri == NULL)
		status = tv_error(err, TV_ERR_NO_MEMORY, "out of memory");
	else
		status = tv_provider_parse_pkcs11(req->rest, p->uri, err);
	if (status == TV_OK)
		status = check_object(p->uri, p->key_id, err);
	if (status == TV_OK)
		status = get_module(p->uri->module_path, &p->module, err);
	if (status == TV_OK)
		status = open_key(p, req->create, err);
	if (status != TV_OK)
	{
		if (p->module != NULL)
			release_module(p->module);
		tv_secret_free(p->uri);
		free(p);
		return status;
	}
	*provider = &p->base;
	return TV_OK;
}

/*
 * Common part of wrap and unwrap.  The handle learns of a new session also
 * from a job that found the key again and then failed for the data's sake.
 */
static TvStatus
use_key(Pkcs11Provider *p, TvPkcs11Job **jobp, const uint8_t *aad,
		size_t aadlen, TvError *err)
{
	TvPkcs11Job *job = *jobp;
	TvStatus	status;

	if (aadlen > 0)
		memcpy(job->aad, aad, aadlen);
	job->aad_len = aadlen;
	job->session = p->session;
	job->key = p->key;
	job->have_canary = true;
	memcpy(job->canary, p->canary, sizeof(p->canary));
	status = run(jobp, p->generation, err);
	job = *jobp;
	if (job != NULL && job->resolved)
	{
		p->generation = p->module->generation;
		p->session = job->session;
		p->key = job->key;
	}
	return status;
}

static TvStatus
pkcs11_wrap(TvProvider *provider, const uint8_t *aad, size_t aadlen,
			const uint8_t *key, uint8_t *wrapped, TvError *err)
{
	Pkcs11Provider *p = (Pkcs11Provider *) provider;
	TvPkcs11Job *job = make_job(TV_PKCS11_WRAP, p->module, p->uri, p->key_id);
	TvStatus	status;

	if (job == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY, "out of memory");
	memcpy(job->plain, key, TV_KEY_LEN);
	status = use_key(p, &job, aad, aadlen, err);
	if (status == TV_OK)
		memcpy(wrapped, job->wrapped, TV_WRAPPED_LEN);
	tv_secret_free(job);
	return status;
}

static TvStatus
pkcs11_unwrap(TvProvider *provider, const uint8_t *aad, size_t aadlen,
			  const uint8_t *wrapped, uint8_t *key, TvError *err)
{
	Pkcs11Provider *p = (Pkcs11Provider *) provider;
	TvPkcs11Job *job = make_job(TV_PKCS11_UNWRAP, p->module, p->uri, p->key_id);
	TvStatus	status;

	if (job == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY, "out of memory");
	memcpy(job->wrapped, wrapped, TV_WRAPPED_LEN);
	status = use_key(p, &job, aad, aadlen, err);
	if (status == TV_OK)
		memcpy(key, job->plain, TV_KEY_LEN);
	tv_secret_free(job);
	return status;
}

/*
 * The last key of a module takes the module with it: log out, finalize,
 * unload.  A module that hangs while it does so is left alone.
 */
static void
unload_module(TvPkcs11Module *module)
{
	static const TvPkcs11Uri no_uri;
	TvPkcs11Job *job;

	if (reap_module(module, NULL) != TV_OK)
		return;
	job = make_job(TV_PKCS11_UNLOAD, module, &no_uri, "");
	if (job == NULL)
		return;
	module->needs_reset = true;
	(void) tv_bounded_run(run_job, job, tv_bounded_now() + timeout_ms(),
						  &module->stuck, NULL);
	if (module->stuck != NULL)
	{
		module->stuck_job = job;
		return;
	}
	tv_secret_free(job);
	release_module(module);
}

static void
pkcs11_close(TvProvider *provider, bool foreign)
{
	Pkcs11Provider *p = (Pkcs11Provider *) provider;

	if (!foreign)
	{
		tv_secret_free(p->uri);
		if (--p->module->refs == 0)
			unload_module(p->module);
	}
	tv_secret_wipe(p, sizeof(*p));
	free(p);
}

const TvProviderDriver tv_provider_pkcs11_driver = {
	.scheme = "pkcs11",
	.check = pkcs11_check,
	.open = pkcs11_open,
	.wrap = pkcs11_wrap,
	.unwrap = pkcs11_unwrap,
	.close = pkcs11_close,
};
