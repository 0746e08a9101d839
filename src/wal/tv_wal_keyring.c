/*
 * tv_wal_keyring.c
 *	  WAL records that carry the keyring's changes.
 *
 * A record is the keyring's own, wrapped keys inside, so that a standby and a
 * restored backup hold the same keys.  It is inserted after the keyring's file
 * has it and before anything can depend on it, so it precedes all WAL about
 * the file that it names.  A checkpoint syncs the keyring's file before it
 * lets recovery start later than the record.
 */
#include "wal/tv_wal_keyring.h"

#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "common/relpath.h"
#include "miscadmin.h"
#include "replication/decode.h"
#include "storage/sync.h"

#include "base/tv_report.h"
#include "keyring/tv_keyring.h"
#include "page/tv_sidecar.h"
#include "wal/tv_wal_record.h"
#include "wal/tv_wal_seal.h"

#define INFO_SHIFT 4			/* xl_info: type of the record */

/*
 * Ask the next checkpoint to sync the keyring.  Not to wait for room in the
 * checkpointer's queue: it may be waiting for the lock that we hold.  Asked
 * also without fsync, for the checkpointer may know better; see
 * tv_wal_keyring_checkpoint().
 */
static bool
register_sync(void)
{
	FileTag		tag;

	memset(&tag, 0, sizeof(tag));
	tag.handler = SYNC_HANDLER_MD;
	tag.forknum = TV_KEYRING_FORK;
	return RegisterSyncRequest(&tag, SYNC_REQUEST, false);
}

/* Called under both locks of the keyring: WAL has the records in file order. */
static bool
log_record(const TvRecord *record)
{
	uint8		unchained[TV_KEYRING_CHECK_LEN] = {0};
	uint8		data[TV_KEYRING_RECORD_MAX];
	size_t		len;
	bool		registered = register_sync();

	if (IsBootstrapProcessingMode() || !XLogInsertAllowed())
		return registered;
	len = tv_keyring_record_encode(record, unchained, data, sizeof(data));
	(void) tv_wal_insert(TV_RMGR_KEYRING, record->type << INFO_SHIFT, data, len);
	return registered;
}

void
tv_wal_keyring_checkpoint(int elevel)
{
	TvError		err;

	if (tv_keyring_checkpoint(&err) != TV_OK)
		tv_report(elevel, &err);
}

static TvStatus
decode(XLogReaderState *reader, TvRecord *record)
{
	uint8		unchained[TV_KEYRING_CHECK_LEN] = {0};
	size_t		used;

	return tv_keyring_record_decode((const uint8_t *) XLogRecGetData(reader),
									XLogRecGetDataLen(reader), 0, unchained,
									record, &used);
}

/* The sidecar goes with the file (DROP DATABASE removes those unasked). */
static void
remove_sidecar(const TvFileRemovalRecord *removal)
{
	RelFileNode node = {removal->tablespace, removal->database, removal->relation};
	char	   *path = relpathperm(node, MAIN_FORKNUM);

	if (access(path, F_OK) != 0)
		tv_sidecar_unlink(&node);
	pfree(path);
}

static void
keyring_redo(XLogReaderState *reader)
{
	TvRecord	record;
	TvStatus	status = decode(reader, &record);
	TvError		err;

	if (status != TV_OK)
		ereport(FATAL,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("WAL record of the keyring at %X/%X %s",
						LSN_FORMAT_ARGS(reader->ReadRecPtr),
						status == TV_ERR_VERSION ? "is of a newer version" : "is damaged"),
				 status == TV_ERR_VERSION ?
				 errhint("Install the version of tde_vault that wrote it.") : 0));
	if (tv_keyring_replay(&record, &err) != TV_OK)
		tv_report(FATAL, &err);
	if (record.type == TV_RECORD_FILE_DROPPED)
		remove_sidecar(&record.u.removal);
}

static void
describe_removal(StringInfo buf, const TvFileRemovalRecord *removal)
{
	appendStringInfo(buf, "file %u/%u/%u", removal->tablespace, removal->database,
					 removal->relation);
}

static void
keyring_desc(StringInfo buf, XLogReaderState *reader)
{
	TvRecord	record;

	if (decode(reader, &record) != TV_OK)
	{
		appendStringInfoString(buf, "damaged");
		return;
	}
	switch (record.type)
	{
		case TV_RECORD_MASTER_KEY:
			appendStringInfo(buf, "master key %016" INT64_MODIFIER "x \"%s\"; database %u",
							 record.u.master_key.id, record.u.master_key.key_id,
							 record.u.master_key.database);
			break;
		case TV_RECORD_TABLE_KEY:
			appendStringInfo(buf, "table key %016" INT64_MODIFIER "x version %u; database %u table %u; cipher %s",
							 record.u.table_key.id, record.u.table_key.epoch,
							 record.u.table_key.database, record.u.table_key.table,
							 tv_cipher_name((TvCipher) record.u.table_key.cipher));
			break;
		case TV_RECORD_FILE:
			appendStringInfo(buf, "file %u/%u/%u; table key %016" INT64_MODIFIER "x; flags 0x%02x",
							 record.u.file.tablespace, record.u.file.database,
							 record.u.file.relation, record.u.file.table_key,
							 record.u.file.flags);
			break;
		case TV_RECORD_FILE_DROPPED:
		case TV_RECORD_FILE_FORGOTTEN:
			describe_removal(buf, &record.u.removal);
			break;
		case TV_RECORD_TABLE_KEY_DESTROYED:
		case TV_RECORD_MASTER_KEY_RETIRED:
			appendStringInfo(buf, "key %016" INT64_MODIFIER "x", record.u.key_removal.id);
			break;
		case TV_RECORD_FILE_RELEASED:
			describe_removal(buf, &record.u.removal);
			break;
		case TV_RECORD_TABLE_KEY_FLOOR:
			appendStringInfo(buf, "table key %016" INT64_MODIFIER "x; no page below version %u",
							 record.u.key_floor.id, record.u.key_floor.epoch);
			break;
		case TV_RECORD_TABLE_KEY_WORK:
			appendStringInfo(buf, "table key %016" INT64_MODIFIER "x; work 0x%02x",
							 record.u.key_work.id, record.u.key_work.flags);
			break;
		case TV_RECORD_NONCE_PREFIX:
			appendStringInfoString(buf, "nonces of a server start");
			break;
		case TV_RECORD_ANCHOR:
			appendStringInfo(buf, "service %u", record.u.anchor.service);
			break;
		case TV_RECORD_SCOPE:
			appendStringInfo(buf, "tablespace %u database %u; cipher %s",
							 record.u.scope.tablespace, record.u.scope.database,
							 record.u.scope.cipher == TV_CIPHER_NONE ? "none" :
							 tv_cipher_name((TvCipher) record.u.scope.cipher));
			break;
	}
}

static const char *
keyring_identify(uint8 info)
{
	switch ((TvRecordType) ((info & ~XLR_INFO_MASK) >> INFO_SHIFT))
	{
		case TV_RECORD_MASTER_KEY:
			return "MASTER_KEY";
		case TV_RECORD_TABLE_KEY:
			return "TABLE_KEY";
		case TV_RECORD_FILE:
			return "FILE";
		case TV_RECORD_FILE_DROPPED:
			return "FILE_DROPPED";
		case TV_RECORD_FILE_FORGOTTEN:
			return "FILE_FORGOTTEN";
		case TV_RECORD_TABLE_KEY_DESTROYED:
			return "TABLE_KEY_DESTROYED";
		case TV_RECORD_MASTER_KEY_RETIRED:
			return "MASTER_KEY_RETIRED";
		case TV_RECORD_NONCE_PREFIX:
			return "NONCE_PREFIX";
		case TV_RECORD_SCOPE:
			return "SCOPE";
		case TV_RECORD_ANCHOR:
			return "ANCHOR";
		case TV_RECORD_TABLE_KEY_FLOOR:
			return "TABLE_KEY_FLOOR";
		case TV_RECORD_TABLE_KEY_WORK:
			return "TABLE_KEY_WORK";
		case TV_RECORD_FILE_RELEASED:
			return "FILE_RELEASED";
	}
	return NULL;
}

/*
 * Keys are no transaction's: even the transaction's number in the record says
 * nothing, as files are dropped after their transaction has ended.
 */
static void
keyring_decode(LogicalDecodingContext *ctx, XLogRecordBuffer *buf)
{
}

void
tv_wal_keyring_init(void)
{
	static RmgrData keyring = {
		.rm_name = "tde_vault",
		.rm_redo = keyring_redo,
		.rm_desc = keyring_desc,
		.rm_identify = keyring_identify,
		.rm_decode = keyring_decode
	};

	RegisterCustomRmgr(TV_RMGR_KEYRING, &keyring);
	tv_keyring_set_log(log_record);
}
