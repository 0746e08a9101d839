/*
 * tv_pkcs11_pin.c
 *	  The PIN of a token: where it comes from, and PINs not to send again.
 */
#include <string.h>

#include "base/tv_secret.h"
#include "provider/tv_pkcs11.h"

#define REFUSED_MAX 32

/*
 * HMACs of PINs that a token refused, under a key of this process, together
 * with the token's address and the PIN file's change time: touching the file
 * allows one more try.
 */
static struct
{
	bool		have_key;
	uint8_t		key[TV_MAC_LEN];
	uint8_t		mac[REFUSED_MAX][TV_MAC_LEN];
	unsigned	n;				/* ever added; the oldest is overwritten */
} refused;

/*
 * Name the PIN in the job by an HMAC; false if that cannot be done.
 */
static bool
pin_mac(const TvPkcs11Job *job, uint8_t *mac)
{
	uint8_t		parts[4][TV_MAC_LEN];
	const TvPkcs11Uri *u = &job->uri;
	bool		ok;

	if (!refused.have_key)
	{
		if (tv_random(refused.key, sizeof(refused.key)) != TV_OK)
			return false;
		refused.have_key = true;
	}
	ok = tv_hmac(refused.key, TV_MAC_LEN, (const uint8_t *) u->module_path,
				 strlen(u->module_path), parts[0]) == TV_OK &&
		tv_hmac(refused.key, TV_MAC_LEN, (const uint8_t *) u,
				offsetof(TvPkcs11Uri, object), parts[1]) == TV_OK &&
		tv_hmac(refused.key, TV_MAC_LEN, job->pin, job->pin_len,
				parts[2]) == TV_OK &&
		tv_hmac(refused.key, TV_MAC_LEN, (const uint8_t *) job->pin_changed,
				sizeof(job->pin_changed), parts[3]) == TV_OK &&
		tv_hmac(refused.key, TV_MAC_LEN, &parts[0][0], sizeof(parts),
				mac) == TV_OK;
	tv_secret_wipe(parts, sizeof(parts));
	return ok;
}

static TvStatus
copy_pin(TvPkcs11Job *job, const void *pin, size_t len, TvError *err)
{
	if (len == 0 || len > TV_PKCS11_PIN_MAX)
	{
		tv_error(err, TV_ERR_BAD_PIN, "PIN of PKCS#11 token must have 1 to %d bytes, got %zu",
				 TV_PKCS11_PIN_MAX, len);
		tv_error_hint(err, "The PIN file holds the user PIN and nothing else, with or without a newline at the end.");
		return TV_ERR_BAD_PIN;
	}
	memcpy(job->pin, pin, len);
	job->pin_len = len;
	job->have_pin = true;
	return TV_OK;
}

/*
 * The PIN, from pin-source or pin-value; neither is no error here.
 */
static TvStatus
read_pin(TvPkcs11Job *job, TvError *err)
{
	TvSecretFile file;
	TvStatus	status;

	job->have_pin = false;
	memset(job->pin_changed, 0, sizeof(job->pin_changed));
	if (job->uri.pin_value[0] != '\0')
		return copy_pin(job, job->uri.pin_value, strlen(job->uri.pin_value), err);
	if (job->uri.pin_source[0] == '\0')
		return TV_OK;
	status = tv_provider_read_secret_file("PIN file", job->uri.pin_source,
										  &file, err);
	if (status != TV_OK)
		return status;
	tv_provider_chomp(&file);
	job->pin_changed[0] = file.changed_sec;
	job->pin_changed[1] = file.changed_nsec;
	status = copy_pin(job, file.data, file.len, err);
	tv_secret_free(file.data);
	return status;
}

/*
 * Get the PIN of job->uri into the job; see tv_pkcs11.h.
 */
TvStatus
tv_pkcs11_get_pin(TvPkcs11Job *job, TvError *err)
{
	uint8_t		mac[TV_MAC_LEN];
	unsigned	known = refused.n < REFUSED_MAX ? refused.n : REFUSED_MAX;
	TvStatus	status;

	status = read_pin(job, err);
	if (status != TV_OK || !job->have_pin || known == 0)
		return status;
	if (!pin_mac(job, mac))
		return tv_error(err, TV_ERR_INTERNAL, "could not compute an HMAC");
	for (unsigned i = 0; i < known; i++)
	{
		if (!tv_equal_secret(mac, refused.mac[i], TV_MAC_LEN))
			continue;
		tv_error(err, TV_ERR_BAD_PIN, "PIN of PKCS#11 token was refused before");
		tv_error_detail(err, "The PIN was not sent again, because tokens lock themselves after a few wrong PINs.");
		tv_error_hint(err, "Correct the PIN file; or, if the PIN of the token was changed to match, touch the file.");
		return TV_ERR_BAD_PIN;
	}
	return TV_OK;
}

/*
 * Remember that the token refused the PIN that the job holds.
 */
void
tv_pkcs11_remember_refused(TvPkcs11Job *job)
{
	if (job->have_pin &&
		pin_mac(job, refused.mac[refused.n % REFUSED_MAX]))
		refused.n++;
}
