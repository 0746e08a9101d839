/*
 * tv_wal_ahead.c
 *	  Open sealed records before it is their turn to be replayed.
 *
 * Redo of a record and its decryption each take about as much code as the
 * processor's first cache holds, so taking turns at it, each has the other's code
 * fetched anew.  Recovery decodes some dozen records ahead, to prefetch their
 * pages (xlogprefetcher.c); those that follow the one at hand are opened in one go.
 *
 * What was opened stands in a slot, and the record in the reader's queue gets
 * pointers to it.  These are also the mark that it was opened: a record that is
 * read anew, because the queue was dropped (xlogreader.c, ResetDecoder) and WAL
 * may now come from elsewhere, is decoded anew, and has none.
 */
#include "wal/tv_wal_ahead.h"

#include "keyring/tv_keyring.h"
#include "wal/tv_wal_open.h"
#include "wal/tv_wal_sealed.h"

#define SLOTS 32
#define SLOT_LEN 512

/*
 * Records of at most this length, all told; larger ones gain nothing.  A slot has
 * room for their parts, and once more for the main data.
 */
#define RECORD_MAX (SLOT_LEN / 2)

typedef struct Slot
{
	uint8		bytes[SLOT_LEN] pg_attribute_aligned(TV_WAL_BUFFER_ALIGN);
	DecodedBkpBlock *block;		/* the one that has data, or NULL */
	char	   *block_data;		/* as they were read: sealed */
	char	   *main_data;
	uint32		main_data_len;
	uint32		generation;		/* of the keyring */
	uint8		rmid;
} Slot;

static Slot slots[SLOTS];

/* The last record that was looked at; slots are free when it has been replayed. */
static XLogRecPtr seen_to = InvalidXLogRecPtr;

/* No images, data of one block at most, and main data; *block: of which. */
static inline bool
is_simple(const DecodedXLogRecord *record, DecodedBkpBlock **block)
{
	*block = NULL;
	if (record->header.xl_tot_len > RECORD_MAX)
		return false;
	for (int i = 0; i <= record->max_block_id; i++)
	{
		const DecodedBkpBlock *this = &record->blocks[i];

		if (!this->in_use || !(this->has_image || this->has_data))
			continue;
		if (this->has_image || *block != NULL)
			return false;
		*block = unconstify(DecodedBkpBlock *, this);
	}
	return true;
}

/* The key of the record, if it is at hand. */
static inline bool
has_context(TvWalSealed *s)
{
	TvWalFile  *file = s->file;

	if (file == NULL || file->epoch != s->trailer->epoch || file->cipher == TV_CIPHER_NONE ||
		!tv_keyring_has_context(&file->handle))
		return false;
	s->trailer->key = file->key;
	s->trailer->cipher = file->cipher;
	s->context = file->handle.context;
	return true;
}

/* Point the record to its parts in the slot, each aligned as the server's are. */
static inline void
fill(Slot *slot, const TvWalSealed *s, DecodedBkpBlock *block)
{
	DecodedXLogRecord *record = s->record;
	uint8	   *main_data = s->payload + s->len - s->main_len;

	if (main_data != (uint8 *) MAXALIGN(main_data))
		main_data = memcpy((uint8 *) MAXALIGN(s->payload + s->len), main_data, s->main_len);
	slot->block = block;
	if (block != NULL)
	{
		slot->block_data = block->data;
		block->data = (char *) s->payload;
	}
	slot->main_data = record->main_data;
	slot->main_data_len = record->main_data_len;
	record->main_data = (char *) main_data;
	record->main_data_len = s->main_len;
	slot->rmid = s->trailer->rmid;
	slot->generation = tv_keyring_generation();
}

static bool
open_into(Slot *slot, DecodedXLogRecord *record)
{
	TvWalSealed s;
	TvWalTrailer trailer;
	DecodedBkpBlock *block;
	size_t		used;

	if (record->header.xl_rmid != TV_RMGR_SEALED || !is_simple(record, &block) ||
		tv_wal_trailer_of(record, &trailer, &used) != TV_OK ||
		trailer.form != TV_WAL_FORM_COMPACT || record->main_data_len == used)
		return false;
	s.record = record;
	s.trailer = &trailer;
	s.main_len = record->main_data_len - used;
	s.payload = slot->bytes;
	tv_wal_take_parts(&s);
	if (!has_context(&s))
		return false;
	tv_wal_put_aad_head(&s);
	tv_wal_likely_nonce(&s);
	if (tv_wal_decrypt(&s) != TV_OK)
		return false;
	fill(slot, &s, block);
	return true;
}

void
tv_wal_open_ahead(DecodedXLogRecord *record)
{
	int			n = 0;

	if (record->lsn < seen_to)
		return;
	seen_to = record->lsn;
	while ((record = record->next) != NULL && n < SLOTS)
	{
		seen_to = record->lsn;
		n += open_into(&slots[n], record);
	}
}

/* As it was read. */
static void
put_back(Slot *slot, DecodedXLogRecord *record)
{
	if (slot->block != NULL)
		slot->block->data = slot->block_data;
	record->main_data = slot->main_data;
	record->main_data_len = slot->main_data_len;
}

bool
tv_wal_take_ahead(DecodedXLogRecord *record)
{
	size_t		offset = (uintptr_t) record->main_data - (uintptr_t) slots;
	Slot	   *slot;

	if (offset >= sizeof(slots))
		return false;
	slot = &slots[offset / sizeof(Slot)];
	/* what keys and files were then may have changed since */
	if (unlikely(slot->generation != tv_keyring_generation()))
	{
		put_back(slot, record);
		return false;
	}
	record->header.xl_rmid = slot->rmid;
	tv_wal_set_spare(&record->header, 0);
	return true;
}
