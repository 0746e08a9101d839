/*
 * tv_provider.h
 *	  Where a master encryption key (MEK) lives.  No PostgreSQL headers.
 *
 * A provider is named by a URI: pkcs11:... (RFC 7512), file:/path, env:NAME,
 * passphrase:/path.  Drivers register themselves in one table.  A handle
 * belongs to the process that opened it and must not be used after fork;
 * calls may block up to tv_provider_timeout_ms and never longer.
 */
#ifndef TV_PROVIDER_H
#define TV_PROVIDER_H

#include "base/tv_status.h"

#define TV_PROVIDER_URI_MAX 1024
#define TV_KEY_ID_MAX 128
#define TV_PROVIDER_SALT_LEN 16
#define TV_WRAPPED_MAX 128		/* bytes of a wrapped 32-byte key, any provider */

typedef struct TvProvider TvProvider;	/* one opened MEK */

/*
 * How long one call below may wait for a key provider, in milliseconds.  It
 * bounds what runs inside a PKCS#11 module, which may hang on its network or
 * its device.  Values below 1 mean the default.  It does not bound reading a
 * key, PIN or passphrase file, nor Argon2id.
 */
#define TV_PROVIDER_TIMEOUT_DEFAULT_MS 10000
extern int	tv_provider_timeout_ms;

/* Is this a URI that a driver could open?  Checks syntax only. */
extern TvStatus tv_provider_check_uri(const char *uri, TvError *err);

/* The URI without anything secret (pin-value is masked), for logs and views. */
extern void tv_provider_display_uri(const char *uri, char *out, size_t outlen);

/*
 * Open the MEK key_id at uri.
 *
 * create: make the key if it is not there (pkcs11: AES-256, CKA_SENSITIVE,
 * non-extractable, on the token; if a key with that label exists it is
 * adopted when it is AES-256, sensitive and non-extractable, else
 * TV_ERR_KEY_EXISTS).  file and env keys are never created: the operator
 * makes them.
 * salt: TV_PROVIDER_SALT_LEN random bytes that the keyring stores with the
 * master key; only passphrase uses it (Argon2id 64 MiB, 3 passes, 1 lane).
 */
extern TvStatus tv_provider_open(const char *uri, const char *key_id,
								 const uint8_t *salt, bool create,
								 TvProvider **provider, TvError *err);

/*
 * Wrap or unwrap a 32-byte key under the MEK; aad (<= 128 bytes) binds the
 * key's identity.  The wrapped form is AES-256-GCM: nonce (12) || ciphertext
 * (32) || tag (16) for every driver, so keys can move between providers.
 * unwrap: TV_ERR_AUTH when the MEK is not the one that wrapped, or the bytes
 * were changed.  A pkcs11 session that the token dropped is reopened once.
 */
extern TvStatus tv_provider_wrap(TvProvider *provider,
								 const uint8_t *aad, size_t aadlen,
								 const uint8_t *key, uint8_t *wrapped,
								 size_t *wrappedlen, TvError *err);
extern TvStatus tv_provider_unwrap(TvProvider *provider,
								   const uint8_t *aad, size_t aadlen,
								   const uint8_t *wrapped, size_t wrappedlen,
								   uint8_t *key, TvError *err);

/* Close, wiping what the process holds.  NULL is ignored. */
extern void tv_provider_close(TvProvider *provider);

#endif							/* TV_PROVIDER_H */
