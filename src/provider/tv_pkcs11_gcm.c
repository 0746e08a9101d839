/*
 * tv_pkcs11_gcm.c
 *	  AES-256-GCM on the token.  Job side.
 *
 * Nonces are 96 random bits (NIST SP 800-38D 8.2.2), drawn by the caller in
 * this process.  A module that insists on drawing its own writes it over
 * ours, so the nonce is taken from the parameters after the call.
 */
#include <string.h>

#include "base/tv_secret.h"
#include "provider/tv_pkcs11.h"

static const uint8_t canary_aad[] = "tde_vault/v1/canary";

static void
fill_params(CK_GCM_PARAMS *params, CK_MECHANISM *mechanism, uint8_t *nonce,
			const uint8_t *aad, size_t aadlen)
{
	memset(params, 0, sizeof(*params));
	params->pIv = nonce;
	params->ulIvLen = TV_NONCE_LEN;
	params->ulIvBits = TV_NONCE_LEN * 8;
	params->pAAD = aadlen > 0 ? (CK_BYTE *) aad : NULL;
	params->ulAADLen = aadlen;
	params->ulTagBits = TV_TAG_LEN * 8;
	mechanism->mechanism = CKM_AES_GCM;
	mechanism->pParameter = params;
	mechanism->ulParameterLen = sizeof(*params);
}

/*
 * plain (TV_KEY_LEN) to wrapped (nonce || ciphertext || tag).
 */
static TvStatus
encrypt(TvPkcs11Job *job, const uint8_t *nonce, const uint8_t *aad,
		size_t aadlen, uint8_t *plain, uint8_t *wrapped)
{
	CK_FUNCTION_LIST *api = job->module->api;
	CK_GCM_PARAMS params;
	CK_MECHANISM mechanism;
	CK_BYTE		out[TV_PKCS11_OUT_MAX];
	CK_ULONG	outlen = sizeof(out);
	CK_RV		rv;

	memcpy(wrapped, nonce, TV_NONCE_LEN);
	fill_params(&params, &mechanism, wrapped, aad, aadlen);
	rv = api->C_EncryptInit(job->session, &mechanism, job->key);
	if (rv != CKR_OK)
		return tv_pkcs11_fail(job, "C_EncryptInit", rv);
	rv = api->C_Encrypt(job->session, plain, TV_KEY_LEN, out, &outlen);
	if (rv != CKR_OK)
		return tv_pkcs11_fail(job, "C_Encrypt", rv);
	if (outlen != TV_KEY_LEN + TV_TAG_LEN || params.ulIvLen != TV_NONCE_LEN)
	{
		tv_error(&job->err, TV_ERR_INTERNAL,
				 "PKCS#11 function C_Encrypt gave an unexpected result");
		tv_error_detail(&job->err, "AES-GCM of %d bytes with a tag of %d gave %lu bytes.",
						TV_KEY_LEN, TV_TAG_LEN, outlen);
		return TV_ERR_INTERNAL;
	}
	memcpy(wrapped + TV_NONCE_LEN, out, TV_KEY_LEN + TV_TAG_LEN);
	return TV_OK;
}

/*
 * wrapped to plain, which has room for TV_PKCS11_OUT_MAX bytes; the plain
 * return value, for the caller to interpret.
 */
static CK_RV
decrypt(TvPkcs11Job *job, const uint8_t *wrapped, const uint8_t *aad,
		size_t aadlen, uint8_t *plain, const char **call)
{
	CK_FUNCTION_LIST *api = job->module->api;
	CK_GCM_PARAMS params;
	CK_MECHANISM mechanism;
	CK_BYTE		in[TV_WRAPPED_LEN];
	CK_ULONG	outlen = TV_PKCS11_OUT_MAX;
	CK_RV		rv;

	memcpy(in, wrapped, TV_WRAPPED_LEN);
	fill_params(&params, &mechanism, in, aad, aadlen);
	*call = "C_DecryptInit";
	rv = api->C_DecryptInit(job->session, &mechanism, job->key);
	if (rv != CKR_OK)
		return rv;
	*call = "C_Decrypt";
	rv = api->C_Decrypt(job->session, in + TV_NONCE_LEN,
						TV_KEY_LEN + TV_TAG_LEN, plain, &outlen);
	if (rv == CKR_OK && outlen != TV_KEY_LEN)
		rv = CKR_ENCRYPTED_DATA_LEN_RANGE;
	return rv;
}

/*
 * Does the key work at all?  A round trip of a constant, whose ciphertext
 * goes to canary.
 */
static TvStatus
round_trip(TvPkcs11Job *job, uint8_t *canary)
{
	uint8_t		zeros[TV_KEY_LEN] = {0};
	uint8_t		back[TV_PKCS11_OUT_MAX];
	const char *call;
	TvStatus	status;
	CK_RV		rv;

	status = encrypt(job, job->probe_nonce, canary_aad, sizeof(canary_aad),
					 zeros, canary);
	if (status != TV_OK)
		return status;
	rv = decrypt(job, canary, canary_aad, sizeof(canary_aad), back, &call);
	if (rv != CKR_OK)
		return tv_pkcs11_fail(job, call, rv);
	if (memcmp(back, zeros, TV_KEY_LEN) != 0)
	{
		tv_error(&job->err, TV_ERR_BAD_KEY,
				 "key \"%s\" on the PKCS#11 token does not decrypt what it encrypts",
				 job->key_id);
		return TV_ERR_BAD_KEY;
	}
	return TV_OK;
}

/*
 * Does a failed decryption mean that the tag did not verify?  Some modules
 * say so; others (SoftHSM among them) report a general error for it.  Then a
 * round trip tells: if the key works, it was the data.
 */
static bool
is_auth_failure(TvPkcs11Job *job, const char *call, CK_RV rv)
{
	uint8_t		canary[TV_WRAPPED_LEN];

	if (strcmp(call, "C_Decrypt") != 0 || tv_pkcs11_is_lost(rv))
		return false;
	if (rv == CKR_ENCRYPTED_DATA_INVALID || rv == TV_CKR_AEAD_DECRYPT_FAILED ||
		rv == CKR_ENCRYPTED_DATA_LEN_RANGE)
		return true;
	if (rv != CKR_GENERAL_ERROR && rv != CKR_FUNCTION_FAILED &&
		rv != CKR_DATA_INVALID && rv != CKR_ARGUMENTS_BAD)
		return false;
	return round_trip(job, canary) == TV_OK;
}

/*
 * Prove that the key works, and is the one that it was.
 */
TvStatus
tv_pkcs11_prove_key(TvPkcs11Job *job)
{
	uint8_t		back[TV_PKCS11_OUT_MAX];
	const char *call;
	CK_RV		rv;

	if (!job->have_canary)
		return round_trip(job, job->canary);
	rv = decrypt(job, job->canary, canary_aad, sizeof(canary_aad), back, &call);
	if (rv == CKR_OK)
		return TV_OK;
	if (!is_auth_failure(job, call, rv))
		return tv_pkcs11_fail(job, call, rv);
	tv_error(&job->err, TV_ERR_AUTH,
			 "key \"%s\" on the PKCS#11 token was replaced", job->key_id);
	tv_error_detail(&job->err, "A key of that label is there, but it is not the one that this process opened.");
	tv_error_hint(&job->err, "Restore the former key from the HSM's backup.");
	job->lost = false;
	return TV_ERR_AUTH;
}

/*
 * job->plain to job->wrapped.
 */
TvStatus
tv_pkcs11_wrap(TvPkcs11Job *job)
{
	return encrypt(job, job->nonce, job->aad, job->aad_len, job->plain,
				   job->wrapped);
}

/*
 * job->wrapped to job->plain.
 */
TvStatus
tv_pkcs11_unwrap(TvPkcs11Job *job)
{
	const char *call;
	CK_RV		rv;

	rv = decrypt(job, job->wrapped, job->aad, job->aad_len, job->plain, &call);
	if (rv == CKR_OK)
		return TV_OK;
	tv_secret_wipe(job->plain, sizeof(job->plain));
	if (!is_auth_failure(job, call, rv))
		return tv_pkcs11_fail(job, call, rv);
	tv_error(&job->err, TV_ERR_AUTH,
			 "decryption failed: authentication tag verification failed");
	tv_error_detail(&job->err, "Key \"%s\" on the PKCS#11 token is not the one that wrapped this key, or the wrapped key was changed.",
					job->key_id);
	tv_error_hint(&job->err, "If the key on the token was made anew under the same label, restore the former one from the HSM's backup.");
	job->lost = false;
	return TV_ERR_AUTH;
}
