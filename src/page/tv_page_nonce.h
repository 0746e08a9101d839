/*
 * tv_page_nonce.h
 *	  Nonces that never repeat under one key.
 */
#ifndef TV_PAGE_NONCE_H
#define TV_PAGE_NONCE_H

#include "postgres.h"

#include "crypto/tv_cipher.h"
#include "keyring/tv_keyring_format.h"

/* In _PG_init: reserve shared memory. */
extern void tv_page_nonce_init(void);

/* The next nonce.  No lock, no system call; safe in critical sections. */
extern void tv_page_next_nonce(uint8_t nonce[TV_NONCE_LEN]);

/* The bytes that every nonce of this server start begins with. */
extern const uint8_t *tv_page_nonce_prefix(void);

#endif							/* TV_PAGE_NONCE_H */
