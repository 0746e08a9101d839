/*
 * tv_wal_sealed.h
 *	  Opening a sealed record, step by step.  Inline, for each record that is
 *	  replayed takes them.  Only for the files that open records.
 */
#ifndef TV_WAL_SEALED_H
#define TV_WAL_SEALED_H

#include "postgres.h"

#include "access/xlogreader.h"

#include "wal/tv_wal_file.h"
#include "wal/tv_wal_nonce.h"
#include "wal/tv_wal_record.h"

/* A record as it is being opened. */
typedef struct TvWalSealed
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
} TvWalSealed;

/* A page image and nothing else is in one piece already. */
static inline bool
tv_wal_is_single_piece(const TvWalSealed *s)
{
	const DecodedBkpBlock *block = &s->record->blocks[0];

	return s->main_len == 0 && s->record->max_block_id == 0 && block->in_use &&
		block->has_image && !block->has_data;
}

static pg_attribute_always_inline uint8 *
tv_wal_decoded_block_aad(const DecodedBkpBlock *decoded, uint8 id, uint8 *out)
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
tv_wal_take_parts(TvWalSealed *s)
{
	const DecodedXLogRecord *record = s->record;
	bool		single = tv_wal_is_single_piece(s);
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
		aad = tv_wal_decoded_block_aad(block, i, aad);
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

static inline void
tv_wal_put_aad_head(TvWalSealed *s)
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

/* For the trailer of a compact record, whose nonce is nearly always this one. */
static inline void
tv_wal_likely_nonce(TvWalSealed *s)
{
	tv_wal_nonce(tv_wal_prefix_latest,
				 tv_wal_counter_nearest(s->record->lsn, s->trailer->counter),
				 s->trailer->nonce);
}

/* Decrypt with the nonce in the trailer; the record stays as it is. */
static inline TvStatus
tv_wal_decrypt(const TvWalSealed *s)
{
	return tv_cipher_open(s->context, s->trailer->nonce, s->aad, s->aad_len,
						  s->sealed, s->payload, s->len, s->trailer->tag);
}

#endif							/* TV_WAL_SEALED_H */
