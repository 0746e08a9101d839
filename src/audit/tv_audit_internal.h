/*
 * tv_audit_internal.h
 *	  What the parts of the audit log share among themselves.
 */
#ifndef TV_AUDIT_INTERNAL_H
#define TV_AUDIT_INTERNAL_H

#include "audit/tv_audit.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

#include "audit/tv_audit_format.h"
#include "base/tv_status.h"

/*
 * The head belongs to this node: a base backup is taken while lines are
 * written, so a head in it could be ahead of the copied files and look like a
 * cut.  Base backups and pg_rewind leave out files named so (basebackup.c,
 * sendDir; filemap.c, process_source_file), and nothing removes them here:
 * the server looks for its own temporary files elsewhere (fd.c,
 * RemovePgTempFiles).
 */
#define TV_AUDIT_HEAD_NAME "pgsql_tmp.head"

/* Where the log ends: in shared memory, and as it is found on disk. */
typedef struct TvAuditEnd
{
	uint32		file;			/* number; 0: there is none */
	uint64		log_id;
	uint64		key;
	uint64		bytes;			/* complete, right lines */
	uint64		torn;			/* what follows them */
	uint64		sequence;		/* of the last line */
	uint64		device;			/* of the file; not as it is found on disk */
	uint64		inode;
	uint8		chain[TV_AUDIT_CHAIN_LEN];
} TvAuditEnd;

/* --- tv_audit_append.c: writing --- */

/*
 * Append a line whose members after the event id are body (len bytes), and
 * sync it if durable.  Does not throw but for want of memory.
 */
extern TvStatus tv_audit_append(const char *body, size_t len, bool durable, TvError *err);

/*
 * Where the log ends, when all of that is on disk.  Only after tv_audit_end()
 * was true.
 */
extern TvStatus tv_audit_settle(TvAuditEnd *end, TvError *err);

/* --- tv_audit_file.c: the file that the log goes on in --- */

/* In _PG_init. */
extern void tv_audit_file_init(void);

/* Copy out where the log ends; false if this run of the server wrote nothing. */
extern bool tv_audit_end(TvAuditEnd *end);

/* Path of a file of the log. */
extern void tv_audit_path(const char *name, char path[MAXPGPATH]);

/* --- tv_audit_anchor.c: how far the keyring knows it to reach --- */

extern void tv_audit_anchor_init(void);

/*
 * What the keyring knows of this server's log.  TV_ERR_NO_KEY: nothing (on a
 * standby, after it was promoted, in a copy); TV_ERR_AUTH: it was forged.
 */
extern TvStatus tv_audit_anchor_read(TvAuditHead *anchor, TvError *err);

/* --- tv_audit_open.c: where did the log end? --- */

/* MAC of an encoded head. */
extern TvStatus tv_audit_head_mac(uint64 key, const uint8 *bytes, uint8 *mac, TvError *err);

/* Is the line of the head in the log, whose end is after it? */
extern TvStatus tv_audit_holds(const TvAuditHead *head, bool *holds, TvError *err);

/* Find the end of the log on disk.  May call the provider for an old key. */
extern TvStatus tv_audit_find_end(TvAuditEnd *end, TvError *err);

/* The head file: TV_ERR_NO_KEY if there is none, TV_ERR_AUTH if it was forged. */
extern TvStatus tv_audit_read_head(TvAuditHead *head, TvError *err);
extern TvStatus tv_audit_write_head(const TvAuditEnd *end, TvError *err);

/* The chain value of a body after chain value before. */
extern TvStatus tv_audit_chain(uint64 key, const uint8 *before, const char *body,
							   size_t len, uint8 *chain, TvError *err);

/* The names of the files of the log in order, a NULL at the end; palloc'd. */
extern char **tv_audit_list(TvError *err);

/* --- tv_audit_lines.c: reading --- */

typedef struct TvAuditLines
{
	int			fd;
	char	   *buf;			/* TV_AUDIT_LINE_MAX bytes */
	size_t		from;			/* of the bytes in buf not yet given */
	size_t		have;
	uint64		offset;			/* in the file, of buf[from] */
	uint64		limit;			/* read no further */
} TvAuditLines;

/* Start reading a file, up to limit.  palloc. */
extern TvStatus tv_audit_lines_begin(TvAuditLines *lines, const char *name,
									 uint64 limit, TvError *err);
/*
 * The next complete line, without its newline, good until the next call; NULL
 * at the end (*len: bytes that are left and make no line), or on error.
 */
extern const char *tv_audit_lines_next(TvAuditLines *lines, size_t *len, TvError *err);
extern void tv_audit_lines_end(TvAuditLines *lines);

/* --- tv_audit_body.c: what a line says --- */

/* catalogs: may names be looked up there? */
extern void tv_audit_body(const TvAuditEvent *event, bool catalogs, StringInfo out);

/* Of the first line of a file. */
extern void tv_audit_header_body(bool start, const TvAuditLink *link,
								 const char *reason, StringInfo out);

/* --- tv_audit_keys.c: events of the keyring --- */

extern void tv_audit_keys_init(void);

/* tv_audit_nothrow() for where no catalog may be looked at. */
extern bool tv_audit_deep(const TvAuditEvent *event, bool durable);

#endif							/* TV_AUDIT_INTERNAL_H */
