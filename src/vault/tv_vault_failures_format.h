/*
 * tv_vault_failures_format.h
 *	  Bytes of the file of failed unlocks.  No PostgreSQL headers.
 *	  The layout is described in contrib/doc/formats.md.
 *
 * An array of entries of one size, each with a check value of its own, so that
 * one is replaced by one small write.
 */
#ifndef TV_VAULT_FAILURES_FORMAT_H
#define TV_VAULT_FAILURES_FORMAT_H

#include "base/tv_status.h"

#define TV_FAILURES_VERSION 1
#define TV_FAILURES_HEADER_LEN 64
#define TV_FAILURES_ENTRY_LEN 64

typedef struct TvFailures
{
	uint32_t	database;
	uint32_t	realm;			/* 0: the entry is free */
	uint32_t	user;
	uint32_t	count;			/* since the last success or lockout */
	int64_t		last;			/* microseconds since 2000-01-01 UTC */
	int64_t		locked_until;	/* 0: not locked out */
} TvFailures;

extern void tv_failures_header_encode(uint8_t out[TV_FAILURES_HEADER_LEN]);
/* TV_ERR_TRUNCATED, TV_ERR_CORRUPT, TV_ERR_VERSION */
extern TvStatus tv_failures_header_decode(const uint8_t *data, size_t len);

extern void tv_failures_encode(const TvFailures *entry, uint8_t out[TV_FAILURES_ENTRY_LEN]);
/* TV_ERR_CORRUPT; an entry of zeros is free. */
extern TvStatus tv_failures_decode(const uint8_t data[TV_FAILURES_ENTRY_LEN], TvFailures *entry);

#endif							/* TV_VAULT_FAILURES_FORMAT_H */
