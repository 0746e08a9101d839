/*
 * tv_audit_format.h
 *	  Bytes of the audit log.  No PostgreSQL headers.
 *	  The layout is described in contrib/doc/formats.md.
 *
 * A line is a JSON object that begins with its event id and ends with its
 * chain value, both in one fixed spelling, so that the chain can be checked
 * without understanding JSON.
 */
#ifndef TV_AUDIT_FORMAT_H
#define TV_AUDIT_FORMAT_H

#include "base/tv_status.h"

#define TV_AUDIT_VERSION 1
#define TV_AUDIT_CHAIN_LEN 32
#define TV_AUDIT_LINE_MAX (256 * 1024)	/* bytes of a line, its newline included */
#define TV_AUDIT_NAME_LEN 32	/* of a file's name, with its end */
#define TV_AUDIT_ID_LEN 40		/* of an event id, with its end */

/* What a line says in its fixed parts. */
typedef struct TvAuditLine
{
	uint64_t	log_id;			/* random, one for each start of a server */
	uint64_t	sequence;		/* counts the lines of a series, from 1 */
	size_t		body_len;		/* bytes that the chain value covers */
	uint8_t		chain[TV_AUDIT_CHAIN_LEN];
} TvAuditLine;

/* On disk: never renumber. */
typedef enum TvAuditHeadState
{
	TV_AUDIT_HEAD_KNOWN = 0,	/* it was there, or nothing was before this line */
	TV_AUDIT_HEAD_MISSING = 1,
	TV_AUDIT_HEAD_FORGED = 2,	/* or damaged */
	TV_AUDIT_HEAD_REPLACED = 3	/* the log is not the one that the keyring knows */
} TvAuditHeadState;

/* What the first line of a file says of itself and of the file before it. */
typedef struct TvAuditLink
{
	uint32_t	version;
	uint32_t	file;			/* number of this file, from 1 */
	uint64_t	key;			/* keyring key that the chain is made with */
	uint64_t	bytes;			/* of the file before: complete lines */
	uint64_t	torn;			/* of the file before: what a crash left behind them */
	uint64_t	missing;		/* lines that are known to have been there */
	uint32_t	head;			/* TvAuditHeadState when this file was begun */
	uint8_t		chain[TV_AUDIT_CHAIN_LEN];	/* of the last complete line */
} TvAuditLink;

/*
 * The head: how far the log is known to reach.  A log that ends before it was
 * cut off.  In the head file, and as the log's anchor in the keyring.
 */
#define TV_AUDIT_HEAD_LEN 128
#define TV_AUDIT_HEAD_COVERED 96	/* bytes that its MAC covers */

typedef struct TvAuditHead
{
	uint32_t	file;
	uint64_t	key;
	uint64_t	log_id;
	uint64_t	bytes;			/* of that file */
	uint64_t	sequence;		/* of its last line */
	uint8_t		chain[TV_AUDIT_CHAIN_LEN];
	uint32_t	timeline;		/* in the keyring; 0 in the head file */
} TvAuditHead;

/* Bytes before the body in what a chain value is computed of. */
#define TV_AUDIT_MAC_PREFIX (24 + TV_AUDIT_CHAIN_LEN)

/*
 * Fill the first TV_AUDIT_MAC_PREFIX bytes of what the chain value of a line
 * is computed of; the body follows them.
 */
extern void tv_audit_mac_prefix(const uint8_t *before, uint8_t *out);

/* Spell the event id: 16 hex digits, '-', the sequence number. */
extern void tv_audit_event_id(uint64_t log_id, uint64_t sequence,
							  char out[TV_AUDIT_ID_LEN]);

/*
 * Write the start of a line, "{"event_id":"...",", and for the first one of a
 * file (link not NULL) what links it.  Returns the length; out has
 * TV_AUDIT_START_MAX bytes.
 */
#define TV_AUDIT_START_MAX 512
extern size_t tv_audit_line_start(uint64_t log_id, uint64_t sequence,
								  const TvAuditLink *link, char *out);

/* Write the end of a line with its newline; returns TV_AUDIT_END_LEN. */
#define TV_AUDIT_END_LEN 77
extern size_t tv_audit_line_end(const uint8_t *chain, char *out);

/*
 * Parse a line (len bytes, without the newline): TV_ERR_CORRUPT if its fixed
 * parts are not as above.
 */
extern TvStatus tv_audit_line_parse(const char *line, size_t len, TvAuditLine *out);

/*
 * Parse what links the first line of a file.  TV_ERR_CORRUPT: it is no first
 * line; TV_ERR_VERSION: of a newer version.
 */
extern TvStatus tv_audit_link_parse(const char *line, size_t len, TvAuditLink *out);

/* A file's name, "00000001-0123456789abcdef.jsonl", and back. */
extern void tv_audit_file_name(uint32_t number, uint64_t log_id,
							   char out[TV_AUDIT_NAME_LEN]);
extern bool tv_audit_file_name_parse(const char *name, uint32_t *number,
									 uint64_t *log_id);

/* The head without its MAC, which takes the last TV_AUDIT_CHAIN_LEN bytes. */
extern void tv_audit_head_encode(const TvAuditHead *head, uint8_t out[TV_AUDIT_HEAD_LEN]);
extern TvStatus tv_audit_head_decode(const uint8_t *data, size_t len, TvAuditHead *head);

#endif							/* TV_AUDIT_FORMAT_H */
