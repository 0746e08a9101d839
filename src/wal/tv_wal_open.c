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

/* A record as it is being opened. */
typedef struct Sealed
{
	DecodedXLogRecord *record;
	TvWalTrailer *trailer;
	uint32		main_len;		/* without the trailer */
	TvWalFile  *file;			/* the first one with a key: as tv_wal_seal.c, sealed_file() */
	const TvCipherContext *context;
	const uint8 *sealed;		/* all parts, one after the other */
	uint8	   *payload;		/* where to decrypt them, may be the same */
	size_t		len;
	size_t		aad_len;
	uint8		blocks;
	uint8		aad[TV_WAL_AAD_MAX];
} Sealed;

/* A page image and nothing else is in one piece already. */
static inline bool
is_single_piece(const Sealed *s)
{
	const DecodedBkpBlock *block = &s->record->blocks[0];

	return s->main_len == 0 && s->record->max_block_id == 0 && block->in_use &&
		block->has_image && !block->has_data;
}

static pg_attribute_always_inline uint8 *
block_aad(const DecodedBkpBlock *decoded, uint8 id, uint8 *out)
{
	bool		image = decoded->has_image;
	TvWalBlock	block = {
		.id = id,
		.flags = decoded->flags,
		.data_len = decoded->data_len,
		/* without an image, what is there is left from another record */
		.image_info = image ? decoded->bimg_info : 0,
		.image_len = image ? decoded->bimg_len : 0,
		.hole_offset = image ? decoded->hole_offset : 0,
		.hole_length = image ? decoded->hole_length : 0,
		.tablespace = decoded->rnode.spcNode,
		.database = decoded->rnode.dbNode,
		.relation = decoded->rnode.relNode,
		.block = decoded->blkno
	};

	return tv_wal_aad_block(&block, out);
}

/*
 * Fill s from the record's blocks and main data, in the order of its bytes
 * (xlogreader.c, DecodeXLogRecord).  One pass, for this is done for each record.
 * The payload has room, for no record has more in its parts than in all.
 */
static pg_attribute_always_inline void
take_parts(Sealed *s)
{
	const DecodedXLogRecord *record = s->record;
	bool		single = is_single_piece(s);
	uint8	   *aad = s->aad + TV_WAL_AAD_HEAD_LEN;
	uint8	   *pos = s->payload;

	s->blocks = 0;
	s->file = NULL;
	for (int i = 0; i <= record->max_block_id; i++)
	{
		const DecodedBkpBlock *block = &record->blocks[i];

		if (!block->in_use)
			continue;
		s->blocks++;
		aad = block_aad(block, i, aad);
		if (s->file == NULL)
			s->file = tv_wal_known_file(&block->rnode);
		if (block->has_image)
		{
			if (!single)
				memcpy(pos, block->bkp_image, block->bimg_len);
			pos += block->bimg_len;
		}
		if (block->has_data)
		{
			memcpy(pos, block->data, block->data_len);
			pos += block->data_len;
		}
	}
	if (s->main_len > 0)
		memcpy(pos, record->main_data, s->main_len);
	s->len = pos + s->main_len - s->payload;
	s->aad_len = aad - s->aad;
	s->sealed = single ? (const uint8 *) record->blocks[0].bkp_image : s->payload;
}

static void
put_aad_head(Sealed *s)
{
	TvWalHead	head = {
		.form = s->trailer->form,
		.rmid = s->trailer->rmid,
		.info = s->record->header.xl_info,
		.blocks = s->blocks,
		.epoch = s->trailer->epoch,
		.origin = s->record->record_origin,
		.xid = s->record->header.xl_xid,
		.toplevel_xid = s->record->toplevel_xid,
		.main_len = s->main_len,
		.key = s->trailer->key
	};

	(void) tv_wal_aad_head(&head, s->aad);
}

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
give_parts(const Sealed *s)
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

/* Decrypt with the nonce in the trailer; the record stays as it is. */
static inline TvStatus
attempt(const Sealed *s)
{
	return tv_cipher_open(s->context, s->trailer->nonce, s->aad, s->aad_len,
						  s->sealed, s->payload, s->len, s->trailer->tag);
}

/* The same after an attempt that failed, which wipes the payload. */
static pg_noinline TvStatus
attempt_again(Sealed *s)
{
	take_parts(s);
	return attempt(s);
}

/*
 * Decrypt with the prefix, and candidates from to below to for the counter.
 * TV_ERR_AUTH: none was right.
 */
static TvStatus
attempt_counters(Sealed *s, const uint8 *prefix, uint32 from, uint32 to)
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
far_attempts(const Sealed *s)
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
attempt_all(Sealed *s)
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
decrypt(Sealed *s)
{
	TvStatus	status;

	if (unlikely(s->trailer->form == TV_WAL_FORM_FULL))
		return attempt(s);
	if (unlikely(s->trailer->form == TV_WAL_FORM_SHORT))
		return attempt_all(s);
	/* nearly always one of the server start that the record before was of */
	tv_wal_nonce(tv_wal_prefix_latest,
				 tv_wal_counter_nearest(s->record->lsn, s->trailer->counter),
				 s->trailer->nonce);
	status = attempt(s);
	return likely(status != TV_ERR_AUTH) ? status : attempt_all(s);
}

TvWalResult
tv_wal_open(DecodedXLogRecord *record, TvWalTrailer *trailer, TvError *err)
{
	Sealed		s;
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
	take_parts(&s);
	if (unlikely(s.file == NULL) && trailer->form != TV_WAL_FORM_FULL)
		return TV_WAL_KEY_GONE;
	s.context = context_of(s.file, trailer, err);
	if (unlikely(s.context == NULL))
		return no_key(record, trailer, err);
	put_aad_head(&s);
	status = decrypt(&s);
	if (unlikely(status != TV_OK))
		return damaged(record, status, err);

	give_parts(&s);
	record->header.xl_rmid = trailer->rmid;
	tv_wal_set_spare(&record->header, 0);
	return TV_WAL_OPENED;
}
