/*
 * tv_pkcs11_module.c
 *	  Loading a PKCS#11 module, finding a token, logging in.  Job side.
 *
 * libp11 loads and initializes the module and describes its slots and tokens.
 * Logging in goes through C_Login itself: PKCS11_login keeps a copy of the
 * PIN in ordinary heap memory for as long as the slot is known, so that it
 * can log in again after a fork; here the PIN is in secret memory only and
 * wiped after use.
 */
#include <dlfcn.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#include "provider/tv_pkcs11.h"

/*
 * The dynamic loader's own reason, because libp11 does not pass it on.  The
 * code stays mapped until the process ends: modules leave exit handlers and
 * thread-local data behind.
 */
static TvStatus
load_library(TvPkcs11Job *job)
{
	TvPkcs11Module *m = job->module;
	CK_C_GetFunctionList get_list;
	CK_RV		rv;

	m->library = dlopen(m->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (m->library == NULL)
	{
		const char *reason = dlerror();

		tv_error(&job->err, TV_ERR_UNAVAILABLE,
				 "could not load PKCS#11 module \"%s\"", m->path);
		tv_error_detail(&job->err, "%s", reason ? reason : "unknown reason");
		tv_error_hint(&job->err, "module-path must name the PKCS#11 library of the HSM's vendor, built for this machine's architecture, with all libraries that it needs.");
		return TV_ERR_UNAVAILABLE;
	}
	/* POSIX: an object pointer from dlsym converts to a function pointer */
	*(void **) &get_list = dlsym(m->library, "C_GetFunctionList");
	if (get_list == NULL)
	{
		tv_error(&job->err, TV_ERR_UNAVAILABLE,
				 "\"%s\" is not a PKCS#11 module", m->path);
		tv_error_detail(&job->err, "The library has no function C_GetFunctionList.");
		return TV_ERR_UNAVAILABLE;
	}
	rv = get_list(&m->api);
	if (rv != CKR_OK || m->api == NULL)
		return tv_pkcs11_fail(job, "C_GetFunctionList", rv);
	return TV_OK;
}

/*
 * Some modules (SoftHSM unless told otherwise) carry their parent's state
 * across a fork and say that they are initialized already.  Then put that
 * state away, so that this process logs in for itself.  A module that notices
 * the fork is just initialized here, and libp11 accepts that.
 */
static void
discard_inherited_state(TvPkcs11Module *m)
{
	CK_C_INITIALIZE_ARGS args;

	memset(&args, 0, sizeof(args));
	args.flags = CKF_OS_LOCKING_OK;
	if (m->api->C_Initialize(&args) == CKR_CRYPTOKI_ALREADY_INITIALIZED)
		(void) m->api->C_Finalize(NULL);
	m->inherited = false;
}

static TvStatus
libp11_failed(TvPkcs11Job *job, const char *what)
{
	unsigned long e = ERR_peek_last_error();
	const char *reason = e ? ERR_reason_error_string(e) : NULL;

	tv_error(&job->err, TV_ERR_UNAVAILABLE, "could not %s \"%s\"", what,
			 job->module->path);
	tv_error_detail(&job->err, "%s.", reason ? reason : "The module gave no reason");
	tv_error_hint(&job->err, "Check that the module's own configuration and data can be read by the server's operating system user (for SoftHSM: SOFTHSM2_CONF and the token directory).");
	ERR_clear_error();
	job->lost = true;
	return TV_ERR_UNAVAILABLE;
}

/*
 * Load and initialize the module if it is not.
 */
TvStatus
tv_pkcs11_load(TvPkcs11Job *job)
{
	TvPkcs11Module *m = job->module;
	TvStatus	status;

	if (m->needs_reset)
	{
		tv_pkcs11_unload(m);
		m->needs_reset = false;
	}
	if (m->ctx != NULL)
		return TV_OK;
	status = load_library(job);
	if (status == TV_OK && m->inherited)
		discard_inherited_state(m);
	if (status == TV_OK)
	{
		m->ctx = PKCS11_CTX_new();
		if (m->ctx == NULL)
			status = tv_error(&job->err, TV_ERR_NO_MEMORY, "out of memory");
		else if (PKCS11_CTX_load(m->ctx, m->path) != 0)
		{
			status = libp11_failed(job, "initialize PKCS#11 module");
			PKCS11_CTX_free(m->ctx);
			m->ctx = NULL;
		}
	}
	if (status != TV_OK)
		tv_pkcs11_unload(m);
	else
		m->generation++;
	return status;
}

/*
 * Close sessions, finalize, unload.  Errors are of no interest: the module
 * may be gone already.
 */
void
tv_pkcs11_unload(TvPkcs11Module *m)
{
	for (int i = 0; i < m->n_sessions; i++)
		(void) m->api->C_CloseSession(m->sessions[i].handle);
	m->n_sessions = 0;
	if (m->slots != NULL)
		PKCS11_release_all_slots(m->ctx, m->slots, m->n_slots);
	m->slots = NULL;
	m->n_slots = 0;
	if (m->ctx != NULL)
	{
		PKCS11_CTX_unload(m->ctx);
		PKCS11_CTX_free(m->ctx);
	}
	m->ctx = NULL;
	m->api = NULL;
	if (m->library != NULL)
		dlclose(m->library);
	m->library = NULL;
	ERR_clear_error();
}

static bool
text_matches(const char *wanted, const char *have)
{
	return wanted[0] == '\0' || (have != NULL && strcmp(wanted, have) == 0);
}

static bool
slot_matches(const TvPkcs11Uri *uri, PKCS11_SLOT *slot)
{
	const PKCS11_TOKEN *t = slot->token;

	return t != NULL && t->initialized &&
		text_matches(uri->token, t->label) &&
		text_matches(uri->serial, t->serialnr) &&
		text_matches(uri->manufacturer, t->manufacturer) &&
		text_matches(uri->model, t->model) &&
		(!uri->has_slot_id ||
		 PKCS11_get_slotid_from_slot(slot) == uri->slot_id);
}

/*
 * Say which tokens there are: a mistyped label is the usual mistake.
 */
static TvStatus
no_such_token(TvPkcs11Job *job)
{
	TvPkcs11Module *m = job->module;
	char		list[TV_ERROR_TEXT_MAX / 2] = "";
	size_t		n = 0;

	for (unsigned i = 0; i < m->n_slots; i++)
	{
		const PKCS11_TOKEN *t = m->slots[i].token;

		if (t == NULL || !t->initialized || n + 48 > sizeof(list))
			continue;
		n += (size_t) snprintf(list + n, sizeof(list) - n, "%s\"%.40s\"",
							   n ? ", " : "", t->label ? t->label : "");
	}
	if (job->uri.token[0] != '\0')
		tv_error(&job->err, TV_ERR_NO_TOKEN, "no PKCS#11 token with label \"%s\"",
				 job->uri.token);
	else
		tv_error(&job->err, TV_ERR_NO_TOKEN,
				 "no PKCS#11 token matches the provider URI");
	if (n > 0)
		tv_error_detail(&job->err, "Module \"%.200s\" has these tokens: %s.",
						m->path, list);
	else
		tv_error_detail(&job->err, "Module \"%.200s\" has no initialized token.",
						m->path);
	tv_error_hint(&job->err, "Check token, serial, model, manufacturer and slot-id in the provider URI, and that the token is plugged in or the HSM can be reached.");
	return TV_ERR_NO_TOKEN;
}

/*
 * Is the token that libp11 described still the one in the slot?
 */
static bool
same_token(const TvPkcs11Module *m, PKCS11_SLOT *slot)
{
	CK_TOKEN_INFO info;
	size_t		serial_len = slot->token->serialnr ?
		strlen(slot->token->serialnr) : 0;
	size_t		label_len = slot->token->label ? strlen(slot->token->label) : 0;

	return serial_len <= sizeof(info.serialNumber) &&
		label_len <= sizeof(info.label) &&
		m->api->C_GetTokenInfo(PKCS11_get_slotid_from_slot(slot),
							   &info) == CKR_OK &&
		memcmp(info.serialNumber, slot->token->serialnr, serial_len) == 0 &&
		memcmp(info.label, slot->token->label, label_len) == 0;
}

/*
 * The one token that matches the URI.
 *
 * Slots are listed once a load.  When the list does not have the token, or
 * the token is not what the list says, the job asks for a reset, which makes
 * a new list.  (PKCS11_update_slots of libp11 0.4.12 crashes: it takes the
 * array of slots for an array of pointers.)
 */
static TvStatus
find_token(TvPkcs11Job *job, PKCS11_SLOT **found)
{
	TvPkcs11Module *m = job->module;
	bool		fresh = m->slots == NULL;
	int			matches = 0;
	TvStatus	status;

	if (fresh &&
		PKCS11_enumerate_slots(m->ctx, &m->slots, &m->n_slots) != 0)
		return libp11_failed(job, "list the slots of PKCS#11 module");
	for (unsigned i = 0; i < m->n_slots; i++)
	{
		if (slot_matches(&job->uri, &m->slots[i]))
		{
			*found = &m->slots[i];
			matches++;
		}
	}
	if (matches == 0 || (matches == 1 && !fresh && !same_token(m, *found)))
	{
		status = no_such_token(job);
		job->lost = !fresh;
		return status;
	}
	if (matches > 1)
	{
		tv_error(&job->err, TV_ERR_BAD_URI,
				 "%d PKCS#11 tokens match the provider URI", matches);
		tv_error_hint(&job->err, "Add serial=... to the URI to name one of them.");
		return TV_ERR_BAD_URI;
	}
	return TV_OK;
}

/*
 * What C_Login's refusals mean.  None is tried again.
 */
static TvStatus
login_failed(TvPkcs11Job *job, const char *label, CK_RV rv)
{
	TvStatus	status = TV_ERR_BAD_PIN;

	switch (rv)
	{
		case CKR_PIN_INCORRECT:
		case CKR_PIN_INVALID:
		case CKR_PIN_LEN_RANGE:
			job->pin_refused = true;
			tv_error(&job->err, status, "PIN of PKCS#11 token \"%s\" was refused", label);
			tv_error_hint(&job->err, "Correct the PIN file. Tokens lock themselves after a few wrong PINs, so this PIN is not sent again by this process until the file changes.");
			break;
		case CKR_PIN_LOCKED:
			tv_error(&job->err, status, "PIN of PKCS#11 token \"%s\" is locked", label);
			tv_error_hint(&job->err, "The token's security officer must set a new user PIN; keys on the token are kept.");
			break;
		case CKR_PIN_EXPIRED:
			tv_error(&job->err, status, "PIN of PKCS#11 token \"%s\" has expired", label);
			tv_error_hint(&job->err, "Change the user PIN with the HSM's own tool, then the PIN file.");
			break;
		case CKR_USER_PIN_NOT_INITIALIZED:
			tv_error(&job->err, status, "PKCS#11 token \"%s\" has no user PIN", label);
			tv_error_hint(&job->err, "The token's security officer must set the user PIN first.");
			break;
		default:
			status = tv_pkcs11_fail(job, "C_Login", rv);
			job->lost = false;
			return status;
	}
	tv_error_detail(&job->err, "C_Login returned %s (0x%lX).",
					tv_pkcs11_rv_name(rv), rv);
	return status;
}

/*
 * Log in, unless the token says that one more mistake would lock it.
 */
static TvStatus
login(TvPkcs11Job *job, PKCS11_SLOT *slot, CK_SESSION_HANDLE session)
{
	CK_FUNCTION_LIST *api = job->module->api;
	const char *label = slot->token->label ? slot->token->label : "";
	CK_TOKEN_INFO info;
	CK_RV		rv;

	rv = api->C_GetTokenInfo(PKCS11_get_slotid_from_slot(slot), &info);
	if (rv != CKR_OK)
		return tv_pkcs11_fail(job, "C_GetTokenInfo", rv);
	if (!job->have_pin && !(info.flags & CKF_PROTECTED_AUTHENTICATION_PATH))
	{
		if (!(info.flags & CKF_LOGIN_REQUIRED))
			return TV_OK;
		tv_error(&job->err, TV_ERR_BAD_PIN,
				 "PKCS#11 token \"%s\" requires a PIN", label);
		tv_error_hint(&job->err, "Add pin-source=file:/path to the query of the provider URI.");
		return TV_ERR_BAD_PIN;
	}
	if (info.flags & CKF_USER_PIN_LOCKED)
		return login_failed(job, label, CKR_PIN_LOCKED);
	if (info.flags & CKF_USER_PIN_FINAL_TRY)
	{
		tv_error(&job->err, TV_ERR_BAD_PIN,
				 "PIN of PKCS#11 token \"%s\" was not sent", label);
		tv_error_detail(&job->err, "The token will lock itself after one more wrong PIN.");
		tv_error_hint(&job->err, "Log in to the token once with the HSM's own tool and the right PIN, which resets its counter.");
		return TV_ERR_BAD_PIN;
	}
	if (tv_pkcs11_check_cancelled(job) != TV_OK)
		return job->err.status;
	rv = api->C_Login(session, CKU_USER, job->have_pin ? job->pin : NULL,
					  job->have_pin ? job->pin_len : 0);
	if (rv != CKR_OK && rv != CKR_USER_ALREADY_LOGGED_IN)
		return login_failed(job, label, rv);
	return TV_OK;
}

/*
 * A session at this token that we have already, still good and logged in.
 */
static bool
reuse_session(TvPkcs11Module *m, PKCS11_SLOT *slot, CK_SESSION_HANDLE *handle)
{
	unsigned long slot_id = PKCS11_get_slotid_from_slot(slot);

	for (int i = 0; i < m->n_sessions; i++)
	{
		TvPkcs11Session *s = &m->sessions[i];
		CK_SESSION_INFO info;

		if (s->slot_id != slot_id)
			continue;
		if (text_matches(s->serial, slot->token->serialnr) &&
			m->api->C_GetSessionInfo(s->handle, &info) == CKR_OK &&
			(info.state == CKS_RO_USER_FUNCTIONS ||
			 info.state == CKS_RW_USER_FUNCTIONS))
		{
			*handle = s->handle;
			return true;
		}
		(void) m->api->C_CloseSession(s->handle);
		m->sessions[i] = m->sessions[--m->n_sessions];
		return false;
	}
	return false;
}

/*
 * Find the URI's token and have a session there that is logged in.
 */
TvStatus
tv_pkcs11_session(TvPkcs11Job *job)
{
	TvPkcs11Module *m = job->module;
	TvPkcs11Session *s;
	PKCS11_SLOT *slot = NULL;
	CK_SESSION_HANDLE handle;
	TvStatus	status;
	CK_RV		rv;

	status = find_token(job, &slot);
	if (status != TV_OK)
		return status;
	if (reuse_session(m, slot, &job->session))
		return TV_OK;
	if (m->n_sessions == TV_PKCS11_SESSIONS_MAX)
		return tv_error(&job->err, TV_ERR_UNAVAILABLE,
						"more than %d PKCS#11 tokens are in use at one module",
						TV_PKCS11_SESSIONS_MAX);
	rv = m->api->C_OpenSession(PKCS11_get_slotid_from_slot(slot),
							   CKF_SERIAL_SESSION, NULL, NULL, &handle);
	if (rv != CKR_OK)
		return tv_pkcs11_fail(job, "C_OpenSession", rv);
	status = login(job, slot, handle);
	if (status != TV_OK)
	{
		(void) m->api->C_CloseSession(handle);
		return status;
	}
	s = &m->sessions[m->n_sessions++];
	memset(s, 0, sizeof(*s));
	s->slot_id = PKCS11_get_slotid_from_slot(slot);
	if (slot->token->serialnr != NULL)
		snprintf(s->serial, sizeof(s->serial), "%s", slot->token->serialnr);
	s->handle = handle;
	job->session = handle;
	return TV_OK;
}
