/*
 * tv_pkcs11.h
 *	  Inside of the pkcs11 driver.  Private to src/provider.
 *
 * Work at a module is a job.  The process's own thread fills a job in, lets
 * a helper thread run it (tv_bounded_call.h) and reads the result.  Functions
 * marked "job side" run in the helper: they touch only the job and its
 * module, never allocate secret memory, and never use a provider handle.
 */
#ifndef TV_PKCS11_H
#define TV_PKCS11_H

#include <stdatomic.h>
#include <sys/types.h>

#include <libp11.h>
#include <p11-kit-1/p11-kit/pkcs11.h>

#include "provider/tv_bounded_call.h"
#include "provider/tv_provider_driver.h"
#include "provider/tv_provider_uri.h"

/* PKCS#11 3.0; the 2.40 header does not have it. */
#define TV_CKR_AEAD_DECRYPT_FAILED 0x42UL

#define TV_PKCS11_SESSIONS_MAX 16	/* tokens in use at one module */
#define TV_PKCS11_OUT_MAX 64	/* room for a module that wants some to spare */

/* A session at one token, logged in, shared by all keys on that token. */
typedef struct TvPkcs11Session
{
	unsigned long slot_id;
	char		serial[16 + 1];
	CK_SESSION_HANDLE handle;
} TvPkcs11Session;

struct TvPkcs11Job;

/* One module, loaded once in this process. */
typedef struct TvPkcs11Module
{
	struct TvPkcs11Module *next;
	char		path[TV_PROVIDER_URI_MAX];
	int			refs;			/* open handles */
	bool		inherited;		/* our parent had it initialized before fork */
	bool		needs_reset;	/* finalize and load again before use */

	/* An abandoned call, and what it works on: hands off until reaped. */
	TvBoundedCall *stuck;
	struct TvPkcs11Job *stuck_job;

	/* The rest belongs to the job side while a job runs. */
	uint64_t	generation;		/* counts loads; a handle remembers its own */
	void	   *library;
	CK_FUNCTION_LIST *api;
	PKCS11_CTX *ctx;			/* NULL: not loaded */
	PKCS11_SLOT *slots;
	unsigned	n_slots;
	TvPkcs11Session sessions[TV_PKCS11_SESSIONS_MAX];
	int			n_sessions;
} TvPkcs11Module;

typedef enum TvPkcs11Op
{
	TV_PKCS11_OPEN,
	TV_PKCS11_WRAP,
	TV_PKCS11_UNWRAP,
	TV_PKCS11_UNLOAD
} TvPkcs11Op;

/* Lives in secret memory as a whole. */
typedef struct TvPkcs11Job
{
	TvPkcs11Op	op;
	TvPkcs11Module *module;
	TvPkcs11Uri uri;
	char		key_id[TV_KEY_ID_MAX + 1];
	bool		create;
	bool		resolve;		/* find token, session and key first */
	bool		unload_on_failure;
	bool		have_canary;
	bool		have_pin;
	size_t		pin_len;
	uint8_t		pin[TV_PKCS11_PIN_MAX + 1];
	int64_t		pin_changed[2]; /* change time of the PIN file */
	uint8_t		nonce[TV_NONCE_LEN];	/* fresh for every run */
	uint8_t		probe_nonce[TV_NONCE_LEN];
	uint8_t		new_id[16];		/* CKA_ID of a key that is generated */
	size_t		aad_len;
	uint8_t		aad[TV_PROVIDER_AAD_MAX];

	/* in and out */
	CK_SESSION_HANDLE session;
	CK_OBJECT_HANDLE key;
	uint8_t		canary[TV_WRAPPED_LEN];
	uint8_t		wrapped[TV_WRAPPED_LEN];
	uint8_t		plain[TV_PKCS11_OUT_MAX];

	/* out */
	TvStatus	status;
	TvError		err;
	bool		resolved;		/* session and key were found anew */
	bool		lost;			/* worth one more try after a reset */
	bool		pin_refused;	/* this PIN must not be sent again */

	atomic_bool cancelled;		/* nobody waits any more: do no more */
} TvPkcs11Job;

/* ---- tv_pkcs11_error.c, job side ---- */

/* "CKR_PIN_INCORRECT", or "unknown error". */
extern const char *tv_pkcs11_rv_name(CK_RV rv);

/* Did the token, its session or its handles go away under us? */
extern bool tv_pkcs11_is_lost(CK_RV rv);

/*
 * Turn a failed call into the job's error; sets job->lost where opening
 * everything again may help.
 */
extern TvStatus tv_pkcs11_fail(TvPkcs11Job *job, const char *call, CK_RV rv);

/* The job's error when nobody waits for it any more. */
extern TvStatus tv_pkcs11_check_cancelled(TvPkcs11Job *job);

/* ---- tv_pkcs11_module.c, job side ---- */

/* Load and initialize the module if it is not. */
extern TvStatus tv_pkcs11_load(TvPkcs11Job *job);

/* Close sessions, finalize, unload.  Safe on a module that is not loaded. */
extern void tv_pkcs11_unload(TvPkcs11Module *module);

/* Find the URI's token and have a session there that is logged in. */
extern TvStatus tv_pkcs11_session(TvPkcs11Job *job);

/* ---- tv_pkcs11_key.c, job side ---- */

/* Find, and for create perhaps make, the key; sets job->key. */
extern TvStatus tv_pkcs11_find_key(TvPkcs11Job *job);

/* ---- tv_pkcs11_gcm.c, job side ---- */

/*
 * Open: prove that the key does AES-GCM both ways, and keep a canary.  Later:
 * prove with the canary that this is still the same key.
 */
extern TvStatus tv_pkcs11_prove_key(TvPkcs11Job *job);

/* job->plain to job->wrapped, and back. */
extern TvStatus tv_pkcs11_wrap(TvPkcs11Job *job);
extern TvStatus tv_pkcs11_unwrap(TvPkcs11Job *job);

/* ---- tv_pkcs11_pin.c, in the process's own thread ---- */

/*
 * Get the PIN of job->uri into the job.  Refuses a PIN that the token refused
 * before, so that no loop of retries can lock the token.
 */
extern TvStatus tv_pkcs11_get_pin(TvPkcs11Job *job, TvError *err);

/* Remember that the token refused the PIN that the job holds. */
extern void tv_pkcs11_remember_refused(TvPkcs11Job *job);

#endif							/* TV_PKCS11_H */
