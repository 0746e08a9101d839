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
#include "wal/tv_wal_sealed.h"

/*
 * Give the record one part as it is now.  A process that recovers seals nothing
 * and opens one record at a time, so there a part may stay where it was
 * decrypted, until the next record is opened; unless redo would find it at an
 * address that is not aligned as the server's own are (but for images, which
 * RestoreBlockImage copies).
 */
static inline uint8 *
give_part(uint8 *pos, char **part, size_t len, bool any_address)
{
	if (InRecovery && (any_address || pos == (uint8 *) MAXALIGN(pos)))
		*part = (char *) pos;
	else
		memcpy(*part, pos, len);
	return pos + len;
}

static inline void
give_parts(const TvWalSealed *s)
{
	DecodedXLogRecord *record = s->record;
	uint8	   *pos = s->payload;

	for (int i = 0; i <= record->max_block_id; i++)
	{
		DecodedBkpBlock *block = &record->blocks[i];

		if (!block->in_use)
			continue;
		if (block->has_image)
			pos = give_part(pos, &block->bkp_image, block->bimg_len, true);
		if (block->has_data)
			pos = give_part(pos, &block->data, block->data_len, false);
	}
	if (s->main_len > 0)
		(void) give_part(pos, &record->main_data, s->main_len, false);
	else
		record->main_data = NULL;
	record->main_data_len = s->main_len;
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

/* The same after an attempt that failed, which wipes the payload. */
static pg_noinline TvStatus
attempt_again(TvWalSealed *s)
{
	tv_wal_take_parts(s);
	return tv_wal_decrypt(s);
}

/*
 * Decrypt with the prefix, and candidates from to below to for the counter.
 * TV_ERR_AUTH: none was right.
 */
static TvStatus
attempt_counters(TvWalSealed *s, const uint8 *prefix, uint32 from, uint32 to)
{
	TvStatus	status = TV_ERR_AUTH;
	uint64		counter;

	if (s->trailer->form == TV_WAL_FORM_SHORT)
	{
		/* it is all there */
		memcpy(s->trailer->nonce, prefix, TV_WAL_PREFIX_LEN);
		return from == 0 ? attempt_again(s) : TV_ERR_AUTH;
	}
	for (uint32 i = from; i < to && status == TV_ERR_AUTH &&
		 tv_wal_counter_guess(s->record->lsn, s->trailer->counter, i, &counter); i++)
	{
		tv_wal_nonce(prefix, counter, s->trailer->nonce);
		status = attempt_again(s);
	}
	return status;
}

/*
 * How many candidates to try at most, so that a damaged record is called so
 * within a minute: 4 TB of WAL back, or less if the record is so large that an
 * attempt takes long, but 16 GB at least.
 */
static uint32
far_attempts(const TvWalSealed *s)
{
	const uint64 bytes = UINT64CONST(1) << 35;

	return Min(1 << 20, Max(1 << 12, bytes / (s->len + 1)));
}

/*
 * All candidates for the nonce.  What was sealed just before it was inserted is
 * found with few of the near counters.  The far ones are of a process that was
 * stopped between the two while others wrote WAL, 4 MB for each candidate.  (It
 * has locked a page that it has changed, so no checkpoint can end, and all that
 * WAL is in pg_wal.)
 */
static pg_noinline TvStatus
attempt_all(TvWalSealed *s)
{
	enum
	{
		NEAR = 8
	};
	const uint32 far = far_attempts(s);
	uint8		prefix[TV_WAL_PREFIX_LEN];
	TvStatus	status = TV_ERR_AUTH;
	uint32		n;

	for (n = 0; status == TV_ERR_AUTH && tv_wal_prefix_try(n, prefix); n++)
		status = attempt_counters(s, prefix, 0, NEAR);
	/* most likely under the prefix of the records around it */
	for (uint32 i = 0; status == TV_ERR_AUTH && tv_wal_prefix_try(i, prefix); i++)
		status = attempt_counters(s, prefix, NEAR, i == 0 ? far : far / n);
	if (status == TV_OK)
		tv_wal_prefix_right(prefix);
	return status;
}

/* Decrypt all parts into s->payload. */
static inline TvStatus
decrypt(TvWalSealed *s)
{
	TvStatus	status;

	if (unlikely(s->trailer->form == TV_WAL_FORM_FULL))
		return tv_wal_decrypt(s);
	if (unlikely(s->trailer->form == TV_WAL_FORM_SHORT))
		return attempt_all(s);
	/* nearly always one of the server start that the record before was of */
	tv_wal_likely_nonce(s);
	status = tv_wal_decrypt(s);
	return likely(status != TV_ERR_AUTH) ? status : attempt_all(s);
}

TvWalResult
tv_wal_open(DecodedXLogRecord *record, TvWalTrailer *trailer, TvError *err)
{
	TvWalSealed s;
	size_t		used;
	TvStatus	status;

	status = tv_wal_trailer_of(record, trailer, &used);
	if (unlikely(status != TV_OK))
		return damaged(record, status, err);
	s.record = record;
	s.trailer = trailer;
	s.main_len = record->main_data_len - used;
	s.payload = tv_wal_buffer(record->header.xl_tot_len);
	if (unlikely(s.payload == NULL))
	{
		(void) tv_error(err, TV_ERR_NO_MEMORY, "out of memory");
		return TV_WAL_NO_KEY;
	}
	tv_wal_take_parts(&s);
	if (unlikely(s.file == NULL) && trailer->form != TV_WAL_FORM_FULL)
		return TV_WAL_KEY_GONE;
	s.context = context_of(s.file, trailer, err);
	if (unlikely(s.context == NULL))
		return no_key(record, trailer, err);
	tv_wal_put_aad_head(&s);
	status = decrypt(&s);
	if (unlikely(status != TV_OK))
		return damaged(record, status, err);

	give_parts(&s);
	record->header.xl_rmid = trailer->rmid;
	tv_wal_set_spare(&record->header, 0);
	return TV_WAL_OPENED;
}
