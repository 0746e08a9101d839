/*
 * tv_status.h
 *	  Status codes and error text for code that runs without a server.
 *
 * Everything from the keyring level down reports through TvStatus and an
 * optional TvError; it never throws.  The layer that has a server around it
 * turns the pair into one ereport, at the top.
 */
#ifndef TV_STATUS_H
#define TV_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum TvStatus
{
	TV_OK = 0,
	TV_ERR_INVALID_ARGUMENT,	/* the caller, or the user, gave nonsense */
	TV_ERR_BAD_URI,				/* a provider URI cannot be understood */
	TV_ERR_UNAVAILABLE,			/* provider down or not answering: retry later */
	TV_ERR_NO_TOKEN,			/* provider is there, the token is not */
	TV_ERR_BAD_PIN,				/* PIN or passphrase refused */
	TV_ERR_NO_KEY,				/* token is there, the key is not */
	TV_ERR_KEY_EXISTS,			/* a key of that name exists and is unsuitable */
	TV_ERR_BAD_KEY,				/* key has wrong length, type or attributes */
	TV_ERR_INSECURE,			/* file permissions or key attributes too open */
	TV_ERR_IO,					/* a file could not be read or written */
	TV_ERR_AUTH,				/* authentication tag did not verify */
	TV_ERR_TRUNCATED,			/* outside bytes end too early */
	TV_ERR_CORRUPT,				/* outside bytes are damaged */
	TV_ERR_VERSION,				/* outside bytes are from a newer version */
	TV_ERR_NO_MEMORY,
	TV_ERR_INTERNAL				/* a library call failed that should not */
} TvStatus;

#define TV_ERROR_TEXT_MAX 512

/*
 * What went wrong, in the server's message style: lower-case message, full
 * sentences in detail and hint.  Never holds key material, PINs or
 * passphrases.  Unused parts are empty strings.
 */
typedef struct TvError
{
	TvStatus	status;
	char		message[TV_ERROR_TEXT_MAX];
	char		detail[TV_ERROR_TEXT_MAX];
	char		hint[TV_ERROR_TEXT_MAX];
} TvError;

/*
 * Fill *err (which may be NULL) with status and a formatted message, clear
 * detail and hint, and return status, so that callers can write
 * "return tv_error(err, TV_ERR_IO, ...)".
 */
extern TvStatus tv_error(TvError *err, TvStatus status, const char *fmt,...)
			__attribute__((format(printf, 3, 4)));

/* Add a detail or hint to an error already set.  err may be NULL. */
extern void tv_error_detail(TvError *err, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));
extern void tv_error_hint(TvError *err, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));

#endif							/* TV_STATUS_H */
