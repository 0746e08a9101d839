/*
 * tv_audit_verify.c
 *	  Reading the audit log: its lines, and whether they are all there.
 */
#include "audit/tv_audit_verify.h"

#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"
#include "miscadmin.h"

#include "audit/tv_audit_internal.h"
#include "base/tv_settings.h"
#include "crypto/tv_kdf.h"

/* The walk through the files. */
typedef struct Walk
{
	TvAuditCheck *check;
	TvAuditEnd	at;				/* the last right line */
	TvAuditEnd	live;			/* where this run of the server has got to */
	bool		running;		/* live is known */
	TvAuditHead anchor;			/* what the keyring knows of the log */
	TvStatus	anchored;		/* if this is TV_OK */
	char		bad_id[64];		/* of the line that is not right, if there is one */
	const char *bad_reason;
	uint64		torn_lines;		/* recorded as such */
	char		headless[TV_AUDIT_ID_LEN];	/* first line that was begun without a head */
} Walk;

static void
name_bad(Walk *walk, const char *id, const char *reason)
{
	TvAuditCheck *check = walk->check;

	check->ok = false;
	if (id && id[0])
		strlcpy(check->first_bad, id, sizeof(check->first_bad));
	else
		tv_audit_event_id(walk->at.log_id, walk->at.sequence + 1, check->first_bad);
	strlcpy(check->reason, reason, sizeof(check->reason));
}

/* Is the first line of a file the one that comes next? */
static bool
check_link(Walk *walk, const TvAuditLine *line, const TvAuditLink *link, uint32 number, uint64 log_id)
{
	char		id[TV_AUDIT_ID_LEN];
	char		reason[256];

	tv_audit_event_id(line->log_id, line->sequence, id);
	if (link->file != number || line->log_id != log_id)
		name_bad(walk, id, "file was given another name");
	else if (link->bytes != walk->at.bytes || link->torn != walk->at.torn ||
			 !tv_equal_secret(link->chain, walk->at.chain, sizeof(link->chain)))
		name_bad(walk, walk->bad_id, walk->bad_reason ? walk->bad_reason :
				 "records are missing at the end of a file");
	else if (line->sequence != walk->at.sequence + link->missing + 1)
		name_bad(walk, id, "event id is out of sequence");
	else if (link->missing > 0)
	{
		snprintf(reason, sizeof(reason), UINT64_FORMAT " records are missing before %s, as that recorded",
				 link->missing, id);
		name_bad(walk, NULL, reason);
	}
	else if (walk->bad_reason != NULL)
		name_bad(walk, walk->bad_id, walk->bad_reason);
	else if (link->head == TV_AUDIT_HEAD_FORGED)
		name_bad(walk, id, "the head file was damaged or forged: whether records are missing before this one cannot be told");
	else if (link->head == TV_AUDIT_HEAD_REPLACED)
		name_bad(walk, id, "the log before this record was not the one that the keyring knows: it was put in its place");
	else
	{
		if (link->head == TV_AUDIT_HEAD_MISSING && walk->headless[0] == '\0')
			strlcpy(walk->headless, id, sizeof(walk->headless));
		return true;
	}
	return false;
}

/* Remember the line that is not right; whether it matters is seen later. */
static void
not_right(Walk *walk, const char *text, size_t len, const char *reason)
{
	TvAuditLine line;

	walk->bad_reason = reason;
	walk->bad_id[0] = '\0';
	if (tv_audit_line_parse(text, len, &line) == TV_OK)
		tv_audit_event_id(line.log_id, line.sequence, walk->bad_id);
}

/* One line: true if it is right and the walk goes on in this file. */
static bool
walk_line(Walk *walk, const char *text, size_t len, uint32 number, uint64 log_id,
		  bool first, uint64 offset, TvError *err)
{
	TvAuditEnd *at = &walk->at;
	TvAuditLine line;
	TvAuditLink link;
	uint8		chain[TV_AUDIT_CHAIN_LEN];
	TvStatus	status = TV_OK;

	if (tv_audit_line_parse(text, len, &line) != TV_OK)
	{
		not_right(walk, text, len, "record is damaged");
		return false;
	}
	if (first)
	{
		status = tv_audit_link_parse(text, len, &link);
		if (status == TV_ERR_VERSION)
		{
			err->status = tv_error(err, status, "the audit log was written by a newer version of tde_vault");
			return false;
		}
		if (status != TV_OK)
		{
			not_right(walk, text, len, "record is not the first one of its file");
			return false;
		}
		at->key = link.key;
	}
	status = tv_audit_chain(at->key, first ? link.chain : at->chain, text, line.body_len, chain, err);
	if (status != TV_OK && status != TV_ERR_NO_KEY)
		return false;
	err->status = TV_OK;
	if (status != TV_OK || !tv_equal_secret(chain, line.chain, sizeof(chain)) ||
		(!first && (line.sequence != at->sequence + 1 || line.log_id != log_id)))
	{
		not_right(walk, text, len, !first && line.sequence > at->sequence + 1 ?
				  "records are missing before this one" :
				  "record was changed or moved: its chain value is wrong");
		if (!first && line.sequence > at->sequence + 1)
			walk->bad_id[0] = '\0';		/* the first that is missing */
		return false;
	}
	if (first && !check_link(walk, &line, &link, number, log_id))
		return false;
	if (first && walk->at.torn > 0)
		walk->torn_lines++;
	at->file = number;
	at->log_id = log_id;
	at->sequence = line.sequence;
	at->bytes = offset;
	at->torn = 0;
	memcpy(at->chain, chain, sizeof(chain));
	walk->check->records++;
	if (walk->anchored == TV_OK && line.sequence == walk->anchor.sequence &&
		(line.log_id != walk->anchor.log_id ||
		 !tv_equal_secret(chain, walk->anchor.chain, sizeof(chain))))
	{
		not_right(walk, text, len, NULL);
		name_bad(walk, walk->bad_id, "the log is not the one that the keyring knows: it was put in its place");
		return false;
	}
	return true;
}

/* One file.  False: something is bad and named, or *err is set. */
static bool
walk_file(Walk *walk, const char *name, uint32 number, uint64 log_id, TvError *err)
{
	uint64		limit = walk->running && number == walk->live.file ? walk->live.bytes : PG_INT64_MAX;
	TvAuditLines lines;
	struct stat st = {0};
	const char *text;
	size_t		len = 0;
	bool		first = true;
	uint64		size;

	if (tv_audit_lines_begin(&lines, name, limit, err) != TV_OK)
		return false;
	size = fstat(lines.fd, &st) == 0 ? Min((uint64) st.st_size, limit) : 0;
	while ((text = tv_audit_lines_next(&lines, &len, err)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (!walk_line(walk, text, len, number, log_id, first, lines.offset, err))
			break;
		first = false;
	}
	tv_audit_lines_end(&lines);
	if (err->status != TV_OK || !walk->check->ok)
		return false;
	if (first)
	{
		name_bad(walk, walk->bad_id, walk->bad_reason ? walk->bad_reason : "file holds no record");
		return false;
	}
	walk->at.torn = size > walk->at.bytes ? size - walk->at.bytes : 0;
	return true;
}

/* What is right, but worth knowing. */
static void
add_notes(Walk *walk)
{
	TvAuditCheck *check = walk->check;
	uint64		torn = walk->torn_lines + (walk->at.torn > 0 ? 1 : 0);
	size_t		len = 0;

	if (torn > 0)
		len = snprintf(check->reason, sizeof(check->reason),
					   "a crash left " UINT64_FORMAT " half-written lines, as the next file records", torn);
	if (walk->headless[0])
		snprintf(check->reason + len, sizeof(check->reason) - len,
				 "%s%s was written when there was no head file, as in a restored backup: whether records are missing before it cannot be told",
				 len ? "; " : "", walk->headless);
}

/* What stands behind the last right line of the last file, and what should. */
static void
check_end(Walk *walk, TvError *err)
{
	TvAuditHead head;
	TvStatus	status;

	if (walk->bad_reason != NULL)
		name_bad(walk, walk->bad_id, walk->bad_reason);
	else if (walk->running && (walk->live.sequence != walk->at.sequence ||
							   !tv_equal_secret(walk->live.chain, walk->at.chain, TV_AUDIT_CHAIN_LEN)))
		name_bad(walk, NULL, "records are missing at the end of the log");
	else if (walk->anchored == TV_OK && !walk->running && walk->anchor.sequence > walk->at.sequence)
		name_bad(walk, NULL, "records are missing at the end of the log");
	else if (walk->anchored == TV_ERR_AUTH)
	{
		name_bad(walk, NULL, "what the keyring knows of the log is damaged or forged: whether records are missing cannot be told");
		walk->check->first_bad[0] = '\0';
	}
	if (!walk->check->ok)
		return;

	status = tv_audit_read_head(&head, err);
	err->status = TV_OK;
	if (status == TV_OK && head.sequence > walk->at.sequence)
		name_bad(walk, NULL, "records are missing at the end of the log");
	else if (status == TV_ERR_AUTH)
	{
		name_bad(walk, NULL, "the head file is damaged or forged: whether records are missing at the end cannot be told");
		walk->check->first_bad[0] = '\0';
	}
	else if (status == TV_ERR_NO_KEY && walk->at.file > 0)
	{
		name_bad(walk, NULL, "the head file is missing: whether records are missing at the end cannot be told");
		walk->check->first_bad[0] = '\0';
	}
	else if (status != TV_OK && status != TV_ERR_NO_KEY)
		err->status = status;
	if (walk->check->ok)
		add_notes(walk);
}

TvStatus
tv_audit_check(TvAuditCheck *check, TvError *err)
{
	Walk		walk = {.check = check};
	char	  **names;

	memset(check, 0, sizeof(*check));
	check->ok = true;
	err->status = TV_OK;
	/* before the end: it moves on, and is never behind */
	walk.anchored = tv_audit_anchor_read(&walk.anchor, err);
	if (walk.anchored != TV_OK && walk.anchored != TV_ERR_AUTH && walk.anchored != TV_ERR_NO_KEY)
		return walk.anchored;
	err->status = TV_OK;
	walk.running = tv_audit_end(&walk.live);
	if (!walk.running && access(tv_setting_audit_directory, F_OK) != 0)
	{
		if (walk.anchored == TV_OK)
			name_bad(&walk, NULL, "the log is missing");
		return TV_OK;
	}
	names = tv_audit_list(err);
	for (int i = 0; err->status == TV_OK && check->ok && names[i] != NULL; i++)
	{
		uint32		number;
		uint64		log_id;

		tv_audit_file_name_parse(names[i], &number, &log_id);
		if (walk.running && number > walk.live.file)
			break;				/* begun after we were */
		if (number != walk.at.file + 1)
		{
			name_bad(&walk, walk.bad_id, number <= walk.at.file ?
					 "two files have the same number" : "a file is missing");
			break;
		}
		if (!walk_file(&walk, names[i], number, log_id, err))
			break;
	}
	if (err->status == TV_OK && check->ok)
		check_end(&walk, err);
	return err->status;
}

/* --- reading --- */

static TvStatus
read_file(const char *name, uint64 limit, TvAuditVisit visit, void *arg, TvError *err)
{
	TvAuditLines lines;
	TvAuditLine line;
	TvAuditLink link;
	uint8		before[TV_AUDIT_CHAIN_LEN];
	uint8		chain[TV_AUDIT_CHAIN_LEN];
	const char *text;
	size_t		len;
	uint64		key = 0;
	uint64		offset = 0;

	if (tv_audit_lines_begin(&lines, name, limit, err) != TV_OK)
		return err->status;
	while ((text = tv_audit_lines_next(&lines, &len, err)) != NULL)
	{
		bool		right = tv_audit_line_parse(text, len, &line) == TV_OK;

		CHECK_FOR_INTERRUPTS();
		if (right && offset == 0)
		{
			right = tv_audit_link_parse(text, len, &link) == TV_OK;
			key = link.key;
			memcpy(before, link.chain, sizeof(before));
		}
		if (right && key != 0)
		{
			TvStatus	status = tv_audit_chain(key, before, text, line.body_len, chain, err);

			if (status != TV_OK && status != TV_ERR_NO_KEY)
				break;
			right = status == TV_OK && tv_equal_secret(chain, line.chain, sizeof(chain));
			/* go on from what the line says, so that only it is called bad */
			memcpy(before, line.chain, sizeof(before));
		}
		visit(name, offset, text, len, right && key != 0, arg);
		offset = lines.offset;
		err->status = TV_OK;
	}
	tv_audit_lines_end(&lines);
	return err->status;
}

TvStatus
tv_audit_read(TvAuditVisit visit, void *arg, TvError *err)
{
	TvAuditEnd	live;
	bool		running = tv_audit_end(&live);
	char	  **names;

	err->status = TV_OK;
	if (!running && access(tv_setting_audit_directory, F_OK) != 0)
		return TV_OK;
	names = tv_audit_list(err);
	for (int i = 0; err->status == TV_OK && names[i] != NULL; i++)
	{
		uint32		number;
		uint64		log_id;

		tv_audit_file_name_parse(names[i], &number, &log_id);
		if (running && number > live.file)
			break;
		(void) read_file(names[i], running && number == live.file ? live.bytes : PG_INT64_MAX,
						 visit, arg, err);
	}
	return err->status;
}
