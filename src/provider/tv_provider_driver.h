/*
 * tv_provider_driver.h
 *	  What a provider driver gives to the registry, and what drivers share.
 *	  Private to src/provider.
 */
#ifndef TV_PROVIDER_DRIVER_H
#define TV_PROVIDER_DRIVER_H

#include <sys/types.h>

#include "base/tv_status.h"
#include "crypto/tv_cipher.h"
#include "crypto/tv_kdf.h"
#include "provider/tv_provider.h"

#define TV_WRAPPED_LEN (TV_NONCE_LEN + TV_KEY_LEN + TV_TAG_LEN)
#define TV_PROVIDER_AAD_MAX 128

/* What tv_provider_open was asked for, with the scheme taken off the URI. */
typedef struct TvProviderRequest
{
	const char *rest;			/* URI after "scheme:" */
	const char *key_id;
	const uint8_t *salt;		/* TV_PROVIDER_SALT_LEN bytes, or NULL */
	bool		create;
} TvProviderRequest;

/*
 * One kind of provider.  The registry has checked every argument before it
 * calls: lengths are in range, the handle belongs to this process, and
 * wrappedlen is TV_WRAPPED_LEN.  close is also called, with foreign = true,
 * in a process that inherited the handle by fork: it must then only forget.
 */
typedef struct TvProviderDriver
{
	const char *scheme;
	TvStatus	(*check) (const char *rest, TvError *err);
	TvStatus	(*open) (const TvProviderRequest *req, TvProvider **provider,
						 TvError *err);
	TvStatus	(*wrap) (TvProvider *provider, const uint8_t *aad,
						 size_t aadlen, const uint8_t *key,
						 uint8_t *wrapped, TvError *err);
	TvStatus	(*unwrap) (TvProvider *provider, const uint8_t *aad,
						   size_t aadlen, const uint8_t *wrapped,
						   uint8_t *key, TvError *err);
	void		(*close) (TvProvider *provider, bool foreign);
} TvProviderDriver;

/* First member of every driver's handle. */
struct TvProvider
{
	const TvProviderDriver *driver;
	pid_t		owner;			/* the only process that may use the handle */
};

extern const TvProviderDriver tv_provider_pkcs11_driver;
extern const TvProviderDriver tv_provider_file_driver;
extern const TvProviderDriver tv_provider_env_driver;
extern const TvProviderDriver tv_provider_passphrase_driver;

/* ---- tv_provider_secretfile.c: files that hold a key, PIN or passphrase -- */

#define TV_SECRET_FILE_MAX 4096

typedef struct TvSecretFile
{
	uint8_t    *data;			/* secret memory, NUL-terminated */
	size_t		len;
	int64_t		changed_sec;	/* inode change time: tells one edit from */
	int64_t		changed_nsec;	/* the next */
} TvSecretFile;

/* The path part of "file:/p" and "file:///p": absolute, or an error. */
extern TvStatus tv_provider_check_path(const char *what, const char *rest,
									   const char **path, TvError *err);

/*
 * Read a whole secret file.  It must be a regular file, owned by the
 * effective user or root, with no permission for group or others, and at most
 * TV_SECRET_FILE_MAX bytes.  "what" names it in messages ("key file").  On
 * success the caller frees file->data with tv_secret_free.
 */
extern TvStatus tv_provider_read_secret_file(const char *what,
											 const char *path,
											 TvSecretFile *file,
											 TvError *err);

/* Take one trailing newline off. */
extern void tv_provider_chomp(TvSecretFile *file);

/* ---- tv_provider_local.c: a MEK held in this process's secret memory ---- */

/*
 * Make a handle around a 32-byte key in secret memory.  Takes ownership of
 * key, also when it fails.
 */
extern TvStatus tv_provider_local_open(const TvProviderDriver *driver,
									   uint8_t *key, TvProvider **provider,
									   TvError *err);

/*
 * Turn a secret file into a key (TV_KEY_LEN bytes); may change file->data.
 * context is what tv_provider_local_open_file was given.
 */
typedef TvStatus (*TvKeyFromFile) (TvSecretFile *file, const char *path,
								   const void *context, uint8_t *key,
								   TvError *err);

/*
 * Open a provider whose key comes from the secret file that rest, the URI
 * after its scheme, names.  "what" names it in messages ("key file").
 */
extern TvStatus tv_provider_local_open_file(const TvProviderDriver *driver,
											const char *what, const char *rest,
											TvKeyFromFile make_key,
											const void *context,
											TvProvider **provider,
											TvError *err);
extern TvStatus tv_provider_local_wrap(TvProvider *provider,
									   const uint8_t *aad, size_t aadlen,
									   const uint8_t *key, uint8_t *wrapped,
									   TvError *err);
extern TvStatus tv_provider_local_unwrap(TvProvider *provider,
										 const uint8_t *aad, size_t aadlen,
										 const uint8_t *wrapped, uint8_t *key,
										 TvError *err);
extern void tv_provider_local_close(TvProvider *provider, bool foreign);

/*
 * Decode exactly 64 hexadecimal characters into a 32-byte key.  Errors name
 * positions, never characters.
 */
extern TvStatus tv_provider_decode_hex(const char *hex, size_t len,
									   uint8_t *key, TvError *err);

#endif							/* TV_PROVIDER_DRIVER_H */
