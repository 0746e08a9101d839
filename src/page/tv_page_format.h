/*
 * tv_page_format.h
 *	  Bytes of a sealed page and of its sidecar.  No PostgreSQL headers.
 *	  The layout is described in contrib/doc/formats.md.
 *
 * A sealed page keeps the first 12 bytes of the server's page header readable
 * (pd_lsn, pd_checksum, pd_flags); the rest is ciphertext.  pd_flags uses 3
 * of its 16 bits in PostgreSQL 15 (bufpage.h, PD_VALID_FLAG_BITS); the key's
 * version stands in the others.
 */
#ifndef TV_PAGE_FORMAT_H
#define TV_PAGE_FORMAT_H

#include "base/tv_status.h"
#include "crypto/tv_cipher.h"

#define TV_PAGE_VERSION 1		/* the last of the first four bytes of AAD */
#define TV_PAGE_SIZE 8192
#define TV_PAGE_CLEAR 12		/* readable bytes at the start */
#define TV_PAGE_PAYLOAD (TV_PAGE_SIZE - TV_PAGE_CLEAR)

/* pd_flags on disk: server's bits 0-2, key version bits 3-14, bit 15 below. */
#define TV_PAGE_SERVER_FLAGS 0x0007
#define TV_PAGE_EPOCH_SHIFT 3
#define TV_PAGE_EPOCH_MASK 0x0fff
/*
 * Second tweak.  Checksum tools take a page with pd_upper = 0 for a new one
 * (and pgBackRest reports it unless it is all zero), so ciphertext must not
 * have zeros there.  A cipher with nonces draws another one; XTS sets this.
 */
#define TV_PAGE_SECOND_TWEAK 0x8000

/* INIT shares MAIN's class: the server copies init forks over main forks raw. */
typedef enum TvForkClass
{
	TV_FORK_CLASS_MAIN = 0,
	TV_FORK_CLASS_FSM = 1,
	TV_FORK_CLASS_VM = 2
} TvForkClass;

/* One page's entry in the sidecar. All zero: a page that was never sealed. */
#define TV_ENTRY_SIZE 32
#define TV_ENTRY_CHECKSUM_REAL 0x0001	/* checksums were on when it was written */
#define TV_ENTRY_IN_USE 0x0002

typedef struct TvPageEntry
{
	uint8_t		nonce[TV_NONCE_LEN];
	uint8_t		tag[TV_TAG_LEN];	/* CTR: the first ciphertext bytes */
	uint16_t	checksum;		/* pd_checksum of the page before sealing */
	uint16_t	flags;
} TvPageEntry;

extern void tv_entry_encode(const TvPageEntry *entry, uint8_t out[TV_ENTRY_SIZE]);
extern void tv_entry_decode(const uint8_t in[TV_ENTRY_SIZE], TvPageEntry *entry);

/* What identifies a page to its cipher. */
typedef struct TvPageIdentity
{
	uint64_t	key;			/* table key id */
	uint16_t	epoch;
	uint32_t	relation;		/* relfilenode */
	uint32_t	block;
	uint8_t		fork;			/* TvForkClass */
	uint8_t		cipher;
} TvPageIdentity;

/*
 * Additional authenticated data: the identity, the readable header of the
 * sealed page without pd_checksum (tools rewrite that), and the entry's
 * checksum and flags.
 */
#define TV_PAGE_AAD_LEN 48
extern void tv_page_aad(const TvPageIdentity *identity, const uint8_t *page,
						const TvPageEntry *entry, uint8_t aad[TV_PAGE_AAD_LEN]);

/* XTS tweak; second: see TV_PAGE_SECOND_TWEAK. */
extern void tv_page_tweak(const TvPageIdentity *identity, bool second,
						  uint8_t tweak[TV_TWEAK_LEN]);

/* Bytes in the page header; the server stores them in native order. */
extern uint16_t tv_page_flags(const uint8_t *page);
extern void tv_page_set_flags(uint8_t *page, uint16_t flags);
extern uint16_t tv_page_checksum_field(const uint8_t *page);
extern void tv_page_set_checksum_field(uint8_t *page, uint16_t checksum);
extern uint16_t tv_page_upper(const uint8_t *page);
extern bool tv_page_is_zero(const uint8_t *page);

static inline uint16_t
tv_page_epoch_of(uint16_t flags)
{
	return (flags >> TV_PAGE_EPOCH_SHIFT) & TV_PAGE_EPOCH_MASK;
}

/* --- sidecar file --- */

#define TV_SIDECAR_VERSION 1
#define TV_SIDECAR_HEADER 4096	/* bytes before the first entry */
#define TV_SIDECAR_CHUNK 4096	/* the file grows by these */
#define TV_SIDECAR_CHUNK_ENTRIES (TV_SIDECAR_CHUNK / TV_ENTRY_SIZE)

typedef struct TvSidecarHeader
{
	uint32_t	version;
	uint64_t	key;
	uint32_t	relation;
	uint32_t	segment;
} TvSidecarHeader;

#define TV_SIDECAR_HEADER_USED 64

extern void tv_sidecar_header_encode(const TvSidecarHeader *header,
									 uint8_t out[TV_SIDECAR_HEADER_USED]);
/* TV_ERR_TRUNCATED, TV_ERR_CORRUPT, TV_ERR_VERSION. */
extern TvStatus tv_sidecar_header_decode(const uint8_t *data, size_t len,
										 TvSidecarHeader *header);

#endif							/* TV_PAGE_FORMAT_H */
