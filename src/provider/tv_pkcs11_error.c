/*
 * tv_pkcs11_error.c
 *	  From PKCS#11 return values to status and message.
 */
#include "provider/tv_pkcs11.h"

typedef struct RvName
{
	CK_RV		rv;
	const char *name;
} RvName;

#define RV(name) {name, #name}

static const RvName rv_names[] = {
	RV(CKR_HOST_MEMORY), RV(CKR_SLOT_ID_INVALID), RV(CKR_GENERAL_ERROR),
	RV(CKR_FUNCTION_FAILED), RV(CKR_ARGUMENTS_BAD),
	RV(CKR_ATTRIBUTE_READ_ONLY), RV(CKR_ATTRIBUTE_SENSITIVE),
	RV(CKR_ATTRIBUTE_TYPE_INVALID), RV(CKR_ATTRIBUTE_VALUE_INVALID),
	RV(CKR_DATA_INVALID), RV(CKR_DATA_LEN_RANGE), RV(CKR_DEVICE_ERROR),
	RV(CKR_DEVICE_MEMORY), RV(CKR_DEVICE_REMOVED),
	RV(CKR_ENCRYPTED_DATA_INVALID), RV(CKR_ENCRYPTED_DATA_LEN_RANGE),
	RV(CKR_FUNCTION_CANCELED), RV(CKR_FUNCTION_NOT_SUPPORTED),
	RV(CKR_KEY_HANDLE_INVALID), RV(CKR_KEY_SIZE_RANGE),
	RV(CKR_KEY_TYPE_INCONSISTENT), RV(CKR_KEY_CHANGED),
	RV(CKR_KEY_FUNCTION_NOT_PERMITTED), RV(CKR_MECHANISM_INVALID),
	RV(CKR_MECHANISM_PARAM_INVALID), RV(CKR_OBJECT_HANDLE_INVALID),
	RV(CKR_OPERATION_ACTIVE), RV(CKR_OPERATION_NOT_INITIALIZED),
	RV(CKR_PIN_INCORRECT), RV(CKR_PIN_INVALID), RV(CKR_PIN_LEN_RANGE),
	RV(CKR_PIN_EXPIRED), RV(CKR_PIN_LOCKED), RV(CKR_SESSION_CLOSED),
	RV(CKR_SESSION_COUNT), RV(CKR_SESSION_HANDLE_INVALID),
	RV(CKR_SESSION_READ_ONLY), RV(CKR_SESSION_EXISTS),
	RV(CKR_TEMPLATE_INCOMPLETE), RV(CKR_TEMPLATE_INCONSISTENT),
	RV(CKR_TOKEN_NOT_PRESENT), RV(CKR_TOKEN_NOT_RECOGNIZED),
	RV(CKR_TOKEN_WRITE_PROTECTED), RV(CKR_USER_ALREADY_LOGGED_IN),
	RV(CKR_USER_NOT_LOGGED_IN), RV(CKR_USER_PIN_NOT_INITIALIZED),
	RV(CKR_USER_TYPE_INVALID), RV(CKR_USER_ANOTHER_ALREADY_LOGGED_IN),
	RV(CKR_BUFFER_TOO_SMALL), RV(CKR_CRYPTOKI_NOT_INITIALIZED),
	RV(CKR_CRYPTOKI_ALREADY_INITIALIZED),
	{TV_CKR_AEAD_DECRYPT_FAILED, "CKR_AEAD_DECRYPT_FAILED"},
};

/*
 * The standard's name of a return value.
 */
const char *
tv_pkcs11_rv_name(CK_RV rv)
{
	for (size_t i = 0; i < sizeof(rv_names) / sizeof(rv_names[0]); i++)
		if (rv_names[i].rv == rv)
			return rv_names[i].name;
	return "unknown error";
}

/*
 * Did the token, its session or its handles go away under us?
 */
bool
tv_pkcs11_is_lost(CK_RV rv)
{
	switch (rv)
	{
		case CKR_SESSION_HANDLE_INVALID:
		case CKR_SESSION_CLOSED:
		case CKR_DEVICE_REMOVED:
		case CKR_DEVICE_ERROR:
		case CKR_TOKEN_NOT_PRESENT:
		case CKR_SLOT_ID_INVALID:
		case CKR_USER_NOT_LOGGED_IN:
		case CKR_CRYPTOKI_NOT_INITIALIZED:
		case CKR_KEY_HANDLE_INVALID:
		case CKR_OBJECT_HANDLE_INVALID:
		case CKR_OPERATION_ACTIVE:
			return true;
		default:
			return false;
	}
}

/*
 * Which kind of trouble is a return value, where the caller knows no better?
 */
static TvStatus
status_of(CK_RV rv)
{
	if (tv_pkcs11_is_lost(rv))
		return TV_ERR_UNAVAILABLE;
	switch (rv)
	{
		case CKR_GENERAL_ERROR:
		case CKR_FUNCTION_FAILED:
		case CKR_FUNCTION_CANCELED:
		case CKR_SESSION_COUNT:
		case CKR_TOKEN_NOT_RECOGNIZED:
		case CKR_TOKEN_WRITE_PROTECTED:
			return TV_ERR_UNAVAILABLE;
		case CKR_HOST_MEMORY:
		case CKR_DEVICE_MEMORY:
			return TV_ERR_NO_MEMORY;
		case CKR_MECHANISM_INVALID:
		case CKR_KEY_TYPE_INCONSISTENT:
		case CKR_KEY_SIZE_RANGE:
		case CKR_KEY_FUNCTION_NOT_PERMITTED:
			return TV_ERR_BAD_KEY;
		default:
			return TV_ERR_INTERNAL;
	}
}

static const char *
hint_of(CK_RV rv)
{
	if (tv_pkcs11_is_lost(rv))
		return "Check that the HSM is connected and that the token is still there. The server tries again by itself.";
	switch (rv)
	{
		case CKR_MECHANISM_INVALID:
			return "The token must offer CKM_AES_KEY_GEN and CKM_AES_GCM for keys of 256 bits.";
		case CKR_KEY_FUNCTION_NOT_PERMITTED:
			return "The key must have CKA_ENCRYPT and CKA_DECRYPT.";
		case CKR_TOKEN_WRITE_PROTECTED:
			return "Make the token writable while the key is created.";
		case CKR_SESSION_COUNT:
			return "The token has too many sessions open; close some or raise its limit.";
		default:
			return "The log of the PKCS#11 module may say more.";
	}
}

/*
 * Turn a failed call into the job's error.
 *
 * A general error is tried again too: SoftHSM reports a token that another
 * process initialized anew in that way.
 */
TvStatus
tv_pkcs11_fail(TvPkcs11Job *job, const char *call, CK_RV rv)
{
	TvStatus	status = status_of(rv);

	job->lost = tv_pkcs11_is_lost(rv) || rv == CKR_GENERAL_ERROR ||
		rv == CKR_FUNCTION_FAILED;
	if (tv_pkcs11_is_lost(rv))
		tv_error(&job->err, status, "connection to the PKCS#11 token was lost");
	else
		tv_error(&job->err, status, "PKCS#11 function %s failed", call);
	tv_error_detail(&job->err, "%s returned %s (0x%lX); module \"%s\".",
					call, tv_pkcs11_rv_name(rv), rv, job->module->path);
	tv_error_hint(&job->err, "%s", hint_of(rv));
	return status;
}

/*
 * The job's error when nobody waits for it any more.
 */
TvStatus
tv_pkcs11_check_cancelled(TvPkcs11Job *job)
{
	if (!atomic_load(&job->cancelled))
		return TV_OK;
	return tv_error(&job->err, TV_ERR_UNAVAILABLE,
					"PKCS#11 call was abandoned");
}
