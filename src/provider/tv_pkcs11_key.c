/*
 * tv_pkcs11_key.c
 *	  The master key as an object on the token: finding, checking, making.
 *	  Job side.
 */
#include <string.h>

#include "provider/tv_pkcs11.h"

#define FIND_MAX 16

/* What the token says about a key; what it does not say counts against it. */
typedef struct KeyFacts
{
	CK_OBJECT_CLASS class;
	CK_KEY_TYPE type;
	CK_ULONG	value_len;
	CK_BBOOL	token;
	CK_BBOOL	private;
	CK_BBOOL	sensitive;
	CK_BBOOL	extractable;
	CK_BBOOL	encrypt;
	CK_BBOOL	decrypt;
	CK_BBOOL	always_sensitive;
	CK_BBOOL	never_extractable;
} KeyFacts;

/*
 * All secret keys with the label (and id, where the URI gives one).
 */
static TvStatus
find_objects(TvPkcs11Job *job, CK_OBJECT_HANDLE *found, CK_ULONG *n)
{
	CK_FUNCTION_LIST *api = job->module->api;
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_ATTRIBUTE template[] = {
		{CKA_CLASS, &class, sizeof(class)},
		{CKA_LABEL, job->key_id, strlen(job->key_id)},
		{CKA_ID, job->uri.id, job->uri.id_len},
	};
	CK_RV		rv;
	CK_RV		rv_final;

	*n = 0;
	rv = api->C_FindObjectsInit(job->session, template,
								job->uri.id_len > 0 ? 3 : 2);
	if (rv != CKR_OK)
		return tv_pkcs11_fail(job, "C_FindObjectsInit", rv);
	while (rv == CKR_OK && *n < FIND_MAX)
	{
		CK_ULONG	more = 0;

		rv = api->C_FindObjects(job->session, found + *n, FIND_MAX - *n, &more);
		if (more == 0 || more > FIND_MAX - *n)
			break;
		*n += more;
	}
	rv_final = api->C_FindObjectsFinal(job->session);
	if (rv != CKR_OK)
		return tv_pkcs11_fail(job, "C_FindObjects", rv);
	if (rv_final != CKR_OK)
		return tv_pkcs11_fail(job, "C_FindObjectsFinal", rv_final);
	return TV_OK;
}

/*
 * Ask the token about a key.
 */
static TvStatus
read_facts(TvPkcs11Job *job, CK_OBJECT_HANDLE key, KeyFacts *facts)
{
	CK_ATTRIBUTE attrs[] = {
		{CKA_KEY_TYPE, &facts->type, sizeof(facts->type)},
		{CKA_VALUE_LEN, &facts->value_len, sizeof(facts->value_len)},
		{CKA_TOKEN, &facts->token, 1},
		{CKA_PRIVATE, &facts->private, 1},
		{CKA_SENSITIVE, &facts->sensitive, 1},
		{CKA_EXTRACTABLE, &facts->extractable, 1},
		{CKA_ENCRYPT, &facts->encrypt, 1},
		{CKA_DECRYPT, &facts->decrypt, 1},
		{CKA_ALWAYS_SENSITIVE, &facts->always_sensitive, 1},
		{CKA_NEVER_EXTRACTABLE, &facts->never_extractable, 1},
	};
	CK_RV		rv;

	memset(facts, 0, sizeof(*facts));
	facts->type = (CK_KEY_TYPE) -1;
	facts->extractable = CK_TRUE;
	rv = job->module->api->C_GetAttributeValue(job->session, key, attrs,
											   sizeof(attrs) / sizeof(attrs[0]));
	if (rv != CKR_OK && rv != CKR_ATTRIBUTE_TYPE_INVALID &&
		rv != CKR_ATTRIBUTE_SENSITIVE)
		return tv_pkcs11_fail(job, "C_GetAttributeValue", rv);
	return TV_OK;
}

/*
 * The first thing that is wrong with a key, or NULL; *status says which kind.
 */
static const char *
key_fault(const KeyFacts *f, bool fresh, TvStatus *status)
{
	*status = TV_ERR_BAD_KEY;
	if (f->type != CKK_AES)
		return "it is not an AES key";
	if (f->value_len != TV_KEY_LEN)
		return "it does not have 256 bits";
	if (!f->encrypt || !f->decrypt)
		return "it lacks CKA_ENCRYPT or CKA_DECRYPT";
	*status = TV_ERR_INSECURE;
	if (f->extractable)
		return "it is extractable (CKA_EXTRACTABLE is true)";
	if (!f->sensitive)
		return "it is not sensitive (CKA_SENSITIVE is false)";
	if (!f->token)
		return "it is not stored on the token (CKA_TOKEN is false)";
	if (!f->private)
		return "it can be used without the PIN (CKA_PRIVATE is false)";
	if (fresh && !f->always_sensitive)
		return "the token does not vouch for it (CKA_ALWAYS_SENSITIVE is false)";
	if (fresh && !f->never_extractable)
		return "the token does not vouch for it (CKA_NEVER_EXTRACTABLE is false)";
	*status = TV_OK;
	return NULL;
}

/*
 * Refuse a key that cannot, or must not, be a master key.  A key that was
 * there before is held to less than a fresh one: a key restored from a backup
 * is sensitive now, but was not always.
 */
static TvStatus
check_key(TvPkcs11Job *job, CK_OBJECT_HANDLE key, bool fresh)
{
	KeyFacts	facts;
	const char *fault;
	TvStatus	status;

	status = read_facts(job, key, &facts);
	if (status != TV_OK)
		return status;
	fault = key_fault(&facts, fresh, &status);
	if (fault == NULL)
		return TV_OK;
	if (job->create && !fresh)
		status = TV_ERR_KEY_EXISTS;
	tv_error(&job->err, status,
			 "key \"%s\" on the PKCS#11 token cannot be a master key", job->key_id);
	tv_error_detail(&job->err, "The key is unsuitable: %s.", fault);
	tv_error_hint(&job->err, "A master key is AES with 256 bits, sensitive, not extractable, private, stored on the token, and may encrypt and decrypt.");
	return status;
}

static TvStatus
too_many_keys(TvPkcs11Job *job, CK_ULONG n)
{
	TvStatus	status = job->create ? TV_ERR_KEY_EXISTS : TV_ERR_BAD_KEY;

	tv_error(&job->err, status, "PKCS#11 token has %lu keys with label \"%s\"",
			 n, job->key_id);
	tv_error_detail(&job->err, "Which of them is the master key cannot be told.");
	tv_error_hint(&job->err, "Give the others another label, or add id=... to the provider URI. Remove none before you know which one wrapped your keys.");
	return status;
}

/*
 * C_GenerateKey in a session of its own: only this needs a writable one.
 */
static TvStatus
generate(TvPkcs11Job *job, CK_SESSION_HANDLE rw, CK_OBJECT_HANDLE *key)
{
	CK_BBOOL	yes = CK_TRUE;
	CK_BBOOL	no = CK_FALSE;
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_AES;
	CK_ULONG	value_len = TV_KEY_LEN;
	CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
	bool		own_id = job->uri.id_len > 0;
	CK_ATTRIBUTE template[] = {
		{CKA_CLASS, &class, sizeof(class)},
		{CKA_KEY_TYPE, &type, sizeof(type)},
		{CKA_VALUE_LEN, &value_len, sizeof(value_len)},
		{CKA_LABEL, job->key_id, strlen(job->key_id)},
		{CKA_ID, own_id ? job->uri.id : job->new_id,
		own_id ? job->uri.id_len : sizeof(job->new_id)},
		{CKA_TOKEN, &yes, 1},
		{CKA_PRIVATE, &yes, 1},
		{CKA_SENSITIVE, &yes, 1},
		{CKA_EXTRACTABLE, &no, 1},
		{CKA_ENCRYPT, &yes, 1},
		{CKA_DECRYPT, &yes, 1},
		{CKA_WRAP, &no, 1},
		{CKA_UNWRAP, &no, 1},
	};
	CK_RV		rv;

	if (tv_pkcs11_check_cancelled(job) != TV_OK)
		return job->err.status;
	rv = job->module->api->C_GenerateKey(rw, &mechanism, template,
										 sizeof(template) / sizeof(template[0]), key);
	if (rv != CKR_OK)
	{
		TvStatus	status = tv_pkcs11_fail(job, "C_GenerateKey", rv);

		/* the key may exist: the caller looks again instead of repeating */
		job->lost = job->lost && tv_pkcs11_is_lost(rv);
		return status;
	}
	return TV_OK;
}

/*
 * Make the key and check what the token made of it.  When somebody else made
 * one of the same name at the same time, ours goes again: it is not in use.
 */
static TvStatus
create_key(TvPkcs11Job *job)
{
	CK_FUNCTION_LIST *api = job->module->api;
	CK_OBJECT_HANDLE found[FIND_MAX];
	CK_OBJECT_HANDLE key;
	CK_SESSION_INFO info;
	CK_SESSION_HANDLE rw;
	CK_ULONG	n;
	TvStatus	status;
	CK_RV		rv;

	rv = api->C_GetSessionInfo(job->session, &info);
	if (rv != CKR_OK)
		return tv_pkcs11_fail(job, "C_GetSessionInfo", rv);
	rv = api->C_OpenSession(info.slotID, CKF_SERIAL_SESSION | CKF_RW_SESSION,
							NULL, NULL, &rw);
	if (rv != CKR_OK)
		return tv_pkcs11_fail(job, "C_OpenSession", rv);
	status = generate(job, rw, &key);
	if (status == TV_OK)
	{
		status = check_key(job, key, true);
		if (status == TV_OK)
			status = find_objects(job, found, &n);
		if (status == TV_OK && n != 1)
			status = too_many_keys(job, n);
		if (status == TV_OK)
			job->key = found[0];
		else
			(void) api->C_DestroyObject(rw, key);
	}
	(void) api->C_CloseSession(rw);
	return status;
}

/*
 * Find, and for create perhaps make, the key.
 */
TvStatus
tv_pkcs11_find_key(TvPkcs11Job *job)
{
	CK_OBJECT_HANDLE found[FIND_MAX];
	CK_ULONG	n;
	TvStatus	status;

	status = find_objects(job, found, &n);
	if (status != TV_OK)
		return status;
	if (n > 1)
		return too_many_keys(job, n);
	if (n == 1)
	{
		status = check_key(job, found[0], false);
		if (status == TV_OK)
			job->key = found[0];
		return status;
	}
	if (job->create)
		return create_key(job);
	tv_error(&job->err, TV_ERR_NO_KEY, "no key with label \"%s\" on PKCS#11 token",
			 job->key_id);
	tv_error_detail(&job->err, "The PIN was accepted, but the token holds no such secret key.");
	tv_error_hint(&job->err, "Check that this is the right token. A key that was removed must be restored from the HSM's backup.");
	return TV_ERR_NO_KEY;
}
