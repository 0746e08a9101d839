/*
 * tv_wal_open.c
 *	  Open sealed WAL records that the server has read.
 */
#include "wal/tv_wal_open.h"

#include "access/xlogutils.h"
#include "common/relpath.h"
#include "utils/palloc.h"

#include "wal/tv_wal_file.h"
#include "wal/tv_wal_nonce.h"
#include "wal/tv_wal_record.h"

/* Which way between the parts of the record and one piece of memory?  Known when compiled. */
typedef enum Direction
{
	GATHER,
	SCATTER
} Direction;

static inline uint8 *
move(char *part, size_t len, uint8 *pos, Direction direction)
{
	if (direction == GATHER)
		memcpy(pos, part, len);
	else
		memcpy(part, pos, len);
	return pos + len;
}

/*
 * In the order of the record's bytes (xlogreader.c, DecodeXLogRecord).
 *
 * Images are large, and are not put back in recovery: there the record takes
 * them from where they were decrypted (RestoreBlockImage copies them once
 * more).  A process that recovers seals nothing, so they stay there until the
 * next record is opened.
 */
static pg_attribute_always_inline void
move_payload(DecodedXLogRecord *record, uint32 main_len, uint8 *pos, Direction direction)
{
	for (int i = 0; i <= record->max_block_id; i++)
	{
		DecodedBkpBlock *block = &record->blocks[i];

		if (!block->in_use)
			continue;
		if (block->has_image && direction == SCATTER && InRecovery)
		{
			block->bkp_image = (char *) pos;
			pos += block->bimg_len;
		}
		else if (block->has_image)
			pos = move(block->bkp_image, block->bimg_len, pos, direction);
		if (block->has_data)
			pos = move(block->data, block->data_len, pos, direction);
	}
	if (main_len > 0)
		(void) move(record->main_data, main_len, pos, direction);
}

static size_t
payload_len(const DecodedXLogRecord *record, uint32 main_len)
{
	size_t		len = main_len;

	for (int i = 0; i <= record->max_block_id; i++)
	{
		const DecodedBkpBlock *block = &record->blocks[i];

		if (block->in_use)
			len += (block->has_image ? block->bimg_len : 0) +
				(block->has_data ? block->data_len : 0);
	}
	return len;
}

TvStatus
tv_wal_trailer_of(const DecodedXLogRecord *record, TvWalTrailer *trailer, size_t *used)
{
	return tv_wal_trailer_decode((const uint8_t *) record->main_data,
								 record->main_data_len, tv_wal_get_spare(&record->header),
								 trailer, used);
}

/* "file 1663/5/16384, block 7": what the readable part says it is about */
static void
describe(const DecodedXLogRecord *record, char *out, size_t cap)
{
	strlcpy(out, "no block", cap);
	for (int i = 0; i <= record->max_block_id; i++)
	{
		const DecodedBkpBlock *block = &record->blocks[i];

		if (!block->in_use)
			continue;
		snprintf(out, cap, "block %u of fork %d of file %u/%u/%u", block->blkno,
				 block->forknum, block->rnode.spcNode, block->rnode.dbNode,
				 block->rnode.relNode);
		return;
	}
}

static TvWalResult
damaged(const DecodedXLogRecord *record, TvStatus status, TvError *err)
{
	char		about[128];

	describe(record, about, sizeof(about));
	if (status == TV_ERR_VERSION)
	{
		(void) tv_error(err, TV_ERR_VERSION,
						"encrypted WAL record at %X/%X is of a newer version",
						LSN_FORMAT_ARGS(record->lsn));
		tv_error_hint(err, "Install the version of tde_vault that wrote it.");
		return TV_WAL_NO_KEY;
	}
	(void) tv_error(err, TV_ERR_CORRUPT, "encrypted WAL record at %X/%X is damaged: %s",
					LSN_FORMAT_ARGS(record->lsn),
					status == TV_ERR_AUTH ? "authentication tag verification failed" :
					"its trailer is not valid");
	tv_error_detail(err, "The record says that it is about %s.", about);
	tv_error_hint(err, "Get this WAL segment from the archive, or from another server; else restore a backup.");
	return TV_WAL_DAMAGED;
}

static TvWalResult
no_key(const DecodedXLogRecord *record, const TvWalTrailer *trailer, TvError *err)
{
	TvKeyringKey key;
	char		about[128];
	char	   *detail = err->detail;

	if (!tv_keyring_key(trailer->key, trailer->epoch, &key))
		return TV_WAL_KEY_GONE;
	if (detail[0] == '\0')
	{
		describe(record, about, sizeof(about));
		tv_error_detail(err, "It is needed for the WAL record at %X/%X, about %s.",
						LSN_FORMAT_ARGS(record->lsn), about);
	}
	return TV_WAL_NO_KEY;
}

/* The file whose key the record is under.  As tv_wal_seal.c, sealed_file(). */
static TvWalFile *
file_of(const DecodedXLogRecord *record)
{
	for (int i = 0; i <= record->max_block_id; i++)
	{
		TvWalFile  *file;

		if (!record->blocks[i].in_use)
			continue;
		file = tv_wal_file(&record->blocks[i].rnode);
		if (file->known)
			return file;
	}
	return NULL;
}

/*
 * The context for a record about file, and in the trailer what it leaves out
 * about the key.  NULL with *err set.
 */
static const TvCipherContext *
context_of(TvWalFile *file, TvWalTrailer *trailer, TvError *err)
{
	TvKeyringKey version;

	if (trailer->form != TV_WAL_FORM_FULL)
	{
		trailer->key = file->key;
		trailer->cipher = file->cipher;
		if (likely(trailer->epoch == file->epoch))
			return tv_wal_file_context(file, err);
		if (!file->unlogged && tv_keyring_key(file->key, trailer->epoch, &version))
			trailer->cipher = tv_wal_cipher(version.cipher);
	}
	return tv_wal_key_context(trailer->key, trailer->epoch, (TvCipher) trailer->cipher, err);
}

/* The payload if it is in one piece: a page image and nothing else. */
static const uint8 *
single_piece(const DecodedXLogRecord *record, uint32 main_len)
{
	const DecodedBkpBlock *block = &record->blocks[0];

	return record->max_block_id == 0 && block->in_use && block->has_image &&
		!block->has_data && main_len == 0 ? (const uint8 *) block->bkp_image : NULL;
}

/* A record as it is being decrypted. */
typedef struct Attempt
{
	DecodedXLogRecord *record;
	const TvCipherContext *context;
	TvWalTrailer *trailer;
	uint32		main_len;
	uint8	   *payload;		/* where to */
	size_t		len;
	size_t		aad_len;
	uint8		aad[TV_WAL_AAD_MAX];
} Attempt;

/* Decrypt with the nonce in the trailer; the record stays as it is. */
static TvStatus
attempt(const Attempt *a)
{
	const uint8 *sealed = single_piece(a->record, a->main_len);

	if (sealed == NULL)
	{
		move_payload(a->record, a->main_len, a->payload, GATHER);
		sealed = a->payload;
	}
	return tv_cipher_open(a->context, a->trailer->nonce, a->aad, a->aad_len,
						  sealed, a->payload, a->len, a->trailer->tag);
}

/*
 * Decrypt with the prefix, and candidates from to below to for the counter.
 * TV_ERR_AUTH: none was right.
 */
static TvStatus
attempt_counters(const Attempt *a, const uint8 *prefix, uint32 from, uint32 to)
{
	TvStatus	status = TV_ERR_AUTH;
	uint64		counter;

	if (a->trailer->form == TV_WAL_FORM_SHORT)
	{
		/* it is all there */
		memcpy(a->trailer->nonce, prefix, TV_WAL_PREFIX_LEN);
		if (from == 0)
			status = attempt(a);
	}
	else
	{
		for (uint32 i = from; i < to && status == TV_ERR_AUTH &&
			 tv_wal_counter_guess(a->record->lsn, a->trailer->counter, i, &counter); i++)
		{
			tv_wal_nonce(prefix, counter, a->trailer->nonce);
			status = attempt(a);
		}
	}
	if (status == TV_OK)
		tv_wal_prefix_right(prefix);
	return status;
}

/*
 * How many candidates to try at most, so that a damaged record is called so
 * within a minute: 4 TB of WAL back, or less if the record is so large that an
 * attempt takes long, but 16 GB at least.
 */
static uint32
far_attempts(const Attempt *a)
{
	const uint64 bytes = UINT64CONST(1) << 35;

	return Min(1 << 20, Max(1 << 12, bytes / (a->len + 1)));
}

/*
 * The same with all prefixes.  What was sealed just before it was inserted is
 * found at the first attempt, or with few of the near counters.  The far ones
 * are of a process that was stopped between the two while others wrote WAL, 4 MB
 * for each candidate.  (It has locked a page that it has changed, so no
 * checkpoint can end, and all that WAL is in pg_wal.)
 */
static TvStatus
attempt_all(const Attempt *a)
{
	enum
	{
		NEAR = 8
	};
	const uint32 far = far_attempts(a);
	uint8		prefix[TV_WAL_PREFIX_LEN];
	TvStatus	status = TV_ERR_AUTH;
	uint32		n;

	for (n = 0; status == TV_ERR_AUTH && tv_wal_prefix_try(n, prefix); n++)
		status = attempt_counters(a, prefix, 0, NEAR);
	/* most likely under the prefix of the records around it */
	for (uint32 i = 0; status == TV_ERR_AUTH && tv_wal_prefix_try(i, prefix); i++)
		status = attempt_counters(a, prefix, NEAR, i == 0 ? far : far / n);
	return status;
}

/* Decrypt into payload. */
static TvStatus
decrypt(DecodedXLogRecord *record, const TvCipherContext *context, TvWalTrailer *trailer,
		uint32 main_len, uint8 *payload, size_t len)
{
	Attempt		a;

	a.record = record;
	a.context = context;
	a.trailer = trailer;
	a.main_len = main_len;
	a.payload = payload;
	a.len = len;
	a.aad_len = tv_wal_decoded_aad(record, trailer, main_len, a.aad);
	return trailer->form == TV_WAL_FORM_FULL ? attempt(&a) : attempt_all(&a);
}

TvWalResult
tv_wal_open(DecodedXLogRecord *record, TvWalTrailer *trailer, TvError *err)
{
	const TvCipherContext *context;
	TvWalFile  *file = NULL;
	size_t		used;
	size_t		len;
	uint32		main_len;
	uint8	   *payload;
	TvStatus	status;

	status = tv_wal_trailer_of(record, trailer, &used);
	if (status != TV_OK)
		return damaged(record, status, err);
	if (trailer->form != TV_WAL_FORM_FULL && (file = file_of(record)) == NULL)
		return TV_WAL_KEY_GONE;
	main_len = record->main_data_len - used;
	len = payload_len(record, main_len);
	context = context_of(file, trailer, err);
	if (context == NULL)
		return no_key(record, trailer, err);
	payload = tv_wal_buffer(len);
	if (payload == NULL)
	{
		(void) tv_error(err, TV_ERR_NO_MEMORY, "out of memory");
		return TV_WAL_NO_KEY;
	}
	status = decrypt(record, context, trailer, main_len, payload, len);
	if (status != TV_OK)
		return damaged(record, status, err);

	move_payload(record, main_len, payload, SCATTER);
	record->main_data_len = main_len;
	if (main_len == 0)
		record->main_data = NULL;
	record->header.xl_rmid = trailer->rmid;
	tv_wal_set_spare(&record->header, 0);
	return TV_WAL_OPENED;
}
