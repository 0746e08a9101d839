/*
 * tv_audit_anchor.c
 *	  How far the log had got, in the keyring.
 *
 * The head lies beside the log, and who puts back an older log puts back its
 * head.  So the end of the log is told to the keyring, too, now and then: soon
 * after a start, with each change of a policy, every so many events or seconds,
 * and when the server stops.  A log without the line that was told last has
 * been cut, or is another one.
 *
 * The keyring goes to standbys and into backups, which have logs of their own:
 * what was told in another timeline is not about this log, and a server that
 * starts from a backup begins anew.  See
 * contrib/doc/decisions/0030-audit-anchor.md.
 */
#include "audit/tv_audit_internal.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/timestamp.h"

#include "base/tv_report.h"
#include "base/tv_shmem.h"
#include "crypto/tv_kdf.h"
#include "keyring/tv_keyring.h"

#define ANCHOR_EVENTS 1000
#define ANCHOR_MS 60000
#define RETRY_MS 60000

StaticAssertDecl(TV_AUDIT_HEAD_LEN == TV_ANCHOR_LEN, "an anchor is a head");

typedef struct TvAnchorShared
{
	pg_atomic_uint64 log_id;	/* of the log that was anchored */
	pg_atomic_uint64 sequence;	/* anchored by this run of the server; 0: nothing */
	pg_atomic_uint64 when;
} TvAnchorShared;

static TvAnchorShared *shared = NULL;

static void
init_shared(void *memory)
{
	shared = memory;
	pg_atomic_init_u64(&shared->log_id, 0);
	pg_atomic_init_u64(&shared->sequence, 0);
	pg_atomic_init_u64(&shared->when, 0);
}

void
tv_audit_anchor_init(void)
{
	static const TvShmemArea area = {
		"tde_vault audit anchor", sizeof(TvAnchorShared), init_shared
	};

	tv_shmem_add(&area);
}

TvStatus
tv_audit_anchor_read(TvAuditHead *anchor, TvError *err)
{
	uint8		bytes[TV_ANCHOR_LEN];
	uint8		mac[TV_MAC_LEN];
	TvStatus	status;

	if (RecoveryInProgress() || tv_keyring_from_backup() ||
		!tv_keyring_anchor(TV_SERVICE_AUDIT, bytes))
		return tv_error(err, TV_ERR_NO_KEY, "nothing is known of this log");
	status = tv_audit_head_decode(bytes, sizeof(bytes), anchor);
	if (status != TV_OK || anchor->timeline == 0)
		return tv_error(err, TV_ERR_AUTH, "what the keyring knows of the audit log is damaged");
	status = tv_audit_head_mac(anchor->key, bytes, mac, err);
	if (status != TV_OK)
		return status;
	if (!tv_equal_secret(mac, bytes + TV_AUDIT_HEAD_COVERED, TV_MAC_LEN))
		return tv_error(err, TV_ERR_AUTH, "what the keyring knows of the audit log was forged");
	if (anchor->timeline != GetWALInsertionTimeLine())
		return tv_error(err, TV_ERR_NO_KEY, "nothing is known of this log");
	return TV_OK;
}

/* Tell the keyring where the log ends, which is durable. */
static TvStatus
tell(const TvAuditEnd *end, TvError *err)
{
	TvAuditHead head = {
		.file = end->file, .key = end->key, .log_id = end->log_id, .bytes = end->bytes,
		.sequence = end->sequence, .timeline = GetWALInsertionTimeLine()
	};
	uint8		bytes[TV_ANCHOR_LEN];
	TvStatus	status;

	memcpy(head.chain, end->chain, sizeof(head.chain));
	tv_audit_head_encode(&head, bytes);
	status = tv_audit_head_mac(head.key, bytes, bytes + TV_AUDIT_HEAD_COVERED, err);
	if (status == TV_OK)
		status = tv_keyring_set_anchor(TV_SERVICE_AUDIT, bytes, err);
	if (status != TV_OK)
		return status;
	pg_atomic_write_u64(&shared->log_id, end->log_id);
	pg_atomic_write_u64(&shared->sequence, end->sequence);
	pg_atomic_write_u64(&shared->when, (uint64) GetCurrentTimestamp());
	return TV_OK;
}

static bool
is_due(const TvAuditEnd *end)
{
	uint64		known = pg_atomic_read_u64(&shared->sequence);

	if (pg_atomic_read_u64(&shared->log_id) != end->log_id)
		return true;
	return end->sequence > known &&
		(end->sequence - known >= ANCHOR_EVENTS ||
		 TimestampDifferenceExceeds((TimestampTz) pg_atomic_read_u64(&shared->when),
									GetCurrentTimestamp(), ANCHOR_MS));
}

bool
tv_audit_anchor(bool now)
{
	TvAuditEnd	end;
	TvError		err;
	TvStatus	status;

	if (RecoveryInProgress() || !tv_audit_end(&end))
		return true;
	if (now ? (pg_atomic_read_u64(&shared->sequence) == end.sequence &&
			   pg_atomic_read_u64(&shared->log_id) == end.log_id) : !is_due(&end))
		return true;
	status = tv_audit_settle(&end, &err);
	if (status == TV_OK)
		status = tell(&end, &err);
	if (status != TV_OK)
		tv_report(LOG, &err);
	return status == TV_OK;
}

void
tv_audit_begin_copy(void)
{
	static TimestampTz tried = 0;
	TvAuditEvent event = {
		.type = "SERVER_START", .severity = TV_AUDIT_NOTICE, .result = TV_AUDIT_SUCCESS,
		.reason = "from a base backup"
	};
	TimestampTz now = GetCurrentTimestamp();
	uint8		bytes[TV_ANCHOR_LEN];
	TvAuditEnd	end;

	if (!tv_keyring_from_backup() || RecoveryInProgress() || tv_audit_end(&end) ||
		!tv_keyring_anchor(TV_SERVICE_AUDIT, bytes) ||
		!TimestampDifferenceExceeds(tried, now, RETRY_MS))
		return;
	tried = now;
	(void) tv_audit_deep(&event, true);
}
