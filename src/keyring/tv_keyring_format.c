/*
 * tv_keyring_format.c
 *	  Bytes of the keyring file: encode, decode, check.
 */
#include "keyring/tv_keyring_format.h"

#include <string.h>
#include <openssl/sha.h>

#include "base/tv_cursor.h"

static const uint8_t keyring_magic[8] = {'T', 'D', 'E', 'V', 'K', 'E', 'Y', 'S'};

#define RECORD_VERSION 1
#define RECORD_VERSION_SCOPED 2	/* of FILE and SCOPE, with the number of a SCOPE */
#define RECORD_VERSION_TAKING_OVER 2	/* of MASTER_KEY, with that it is */
#define HEADER_CHECKED 56		/* bytes of the header its check covers */

/* check = first 16 bytes of SHA-256(previous check || bytes) */
static void
chain_advance(uint8_t check[TV_KEYRING_CHECK_LEN], const uint8_t *data,
			  size_t len, uint8_t next[TV_KEYRING_CHECK_LEN])
{
	uint8_t		input[TV_KEYRING_CHECK_LEN + TV_KEYRING_RECORD_MAX];
	uint8_t		digest[SHA256_DIGEST_LENGTH];

	memcpy(input, check, TV_KEYRING_CHECK_LEN);
	memcpy(input + TV_KEYRING_CHECK_LEN, data, len);
	SHA256(input, TV_KEYRING_CHECK_LEN + len, digest);
	memcpy(next, digest, TV_KEYRING_CHECK_LEN);
}

void
tv_keyring_header_encode(const TvKeyringHeader *header,
						 uint8_t sector[TV_KEYRING_SECTOR])
{
	TvWriter	w;
	uint8_t		zero[TV_KEYRING_CHECK_LEN] = {0};

	memset(sector, 0, TV_KEYRING_SECTOR);
	tv_writer_init(&w, sector, TV_KEYRING_SECTOR);
	tv_write_bytes(&w, keyring_magic, sizeof(keyring_magic));
	tv_write_u32(&w, header->version);
	tv_write_u32(&w, 0);
	tv_write_u64(&w, header->system_identifier);
	tv_write_u64(&w, header->generation);
	tv_write_u64(&w, header->committed);
	tv_write_bytes(&w, header->seed, sizeof(header->seed));
	chain_advance(zero, sector, HEADER_CHECKED, sector + HEADER_CHECKED);
}

TvStatus
tv_keyring_header_decode(const uint8_t *data, size_t len,
						 TvKeyringHeader *header, TvError *err)
{
	TvReader	r;
	uint8_t		magic[sizeof(keyring_magic)];
	uint8_t		zero[TV_KEYRING_CHECK_LEN] = {0};
	uint8_t		check[TV_KEYRING_CHECK_LEN];

	memset(header, 0, sizeof(*header));
	if (len < TV_KEYRING_SECTOR)
		return tv_error(err, TV_ERR_TRUNCATED,
						"keyring is truncated: header has %zu of %d bytes",
						len, TV_KEYRING_SECTOR);

	tv_reader_init(&r, data, TV_KEYRING_SECTOR);
	tv_read_bytes(&r, magic, sizeof(magic));
	header->version = tv_read_u32(&r);
	(void) tv_read_u32(&r);
	header->system_identifier = tv_read_u64(&r);
	header->generation = tv_read_u64(&r);
	header->committed = tv_read_u64(&r);
	tv_read_bytes(&r, header->seed, sizeof(header->seed));

	if (memcmp(magic, keyring_magic, sizeof(magic)) != 0)
		return tv_error(err, TV_ERR_CORRUPT,
						"keyring is damaged: it does not start with the keyring's magic number");
	if (header->version > TV_KEYRING_VERSION)
		return tv_error(err, TV_ERR_VERSION,
						"keyring has format version %u, this build reads up to %d",
						header->version, TV_KEYRING_VERSION);
	chain_advance(zero, data, HEADER_CHECKED, check);
	if (header->version == 0 ||
		memcmp(check, data + HEADER_CHECKED, TV_KEYRING_CHECK_LEN) != 0)
		return tv_error(err, TV_ERR_CORRUPT, "keyring is damaged: header check failed");
	return TV_OK;
}

static void
write_string(TvWriter *w, const char *s)
{
	size_t		len = strlen(s);

	tv_write_u16(w, (uint16_t) len);
	tv_write_bytes(w, s, len);
}

/* Read a counted string into out (cap bytes, terminator included). */
static void
read_string(TvReader *r, char *out, size_t cap)
{
	size_t		len = tv_read_u16(r);

	if (len >= cap)
	{
		r->failed = true;
		out[0] = '\0';
		return;
	}
	tv_read_bytes(r, out, len);
	out[len] = '\0';
	if (memchr(out, '\0', len) != NULL)
		r->failed = true;
}

static void
encode_master_key(TvWriter *w, const TvMasterKeyRecord *key)
{
	tv_write_u64(w, key->id);
	tv_write_u32(w, key->database);
	tv_write_u64(w, (uint64_t) key->created);
	tv_write_bytes(w, key->salt, sizeof(key->salt));
	write_string(w, key->key_id);
	write_string(w, key->uri);
	tv_write_u16(w, key->check_len);
	tv_write_bytes(w, key->check, key->check_len);
	if (key->taking_over)
		tv_write_u8(w, 1);
}

static void
decode_master_key(TvReader *r, uint16_t version, TvMasterKeyRecord *key)
{
	key->id = tv_read_u64(r);
	key->database = tv_read_u32(r);
	key->created = (int64_t) tv_read_u64(r);
	tv_read_bytes(r, key->salt, sizeof(key->salt));
	read_string(r, key->key_id, sizeof(key->key_id));
	read_string(r, key->uri, sizeof(key->uri));
	key->check_len = tv_read_u16(r);
	if (key->check_len > sizeof(key->check))
		r->failed = true;
	else
		tv_read_bytes(r, key->check, key->check_len);
	key->taking_over = version == RECORD_VERSION_TAKING_OVER;
	if (key->taking_over && tv_read_u8(r) != 1)
		r->failed = true;
}

static void
encode_table_key(TvWriter *w, const TvTableKeyRecord *key)
{
	tv_write_u64(w, key->id);
	tv_write_u16(w, key->epoch);
	tv_write_u32(w, key->database);
	tv_write_u32(w, key->table);
	tv_write_u8(w, key->cipher);
	tv_write_u64(w, key->master_key);
	tv_write_u64(w, (uint64_t) key->created);
	tv_write_u16(w, key->wrapped_len);
	tv_write_bytes(w, key->wrapped, key->wrapped_len);
}

static void
decode_table_key(TvReader *r, TvTableKeyRecord *key)
{
	key->id = tv_read_u64(r);
	key->epoch = tv_read_u16(r);
	key->database = tv_read_u32(r);
	key->table = tv_read_u32(r);
	key->cipher = tv_read_u8(r);
	key->master_key = tv_read_u64(r);
	key->created = (int64_t) tv_read_u64(r);
	key->wrapped_len = tv_read_u16(r);
	if (key->wrapped_len > sizeof(key->wrapped))
		r->failed = true;
	else
		tv_read_bytes(r, key->wrapped, key->wrapped_len);
}

static void
encode_file_identity(TvWriter *w, const TvFileRecord *file)
{
	tv_write_u32(w, file->tablespace);
	tv_write_u32(w, file->database);
	tv_write_u32(w, file->relation);
	tv_write_u64(w, file->table_key);
	tv_write_u8(w, file->cipher);
	tv_write_u8(w, file->flags);
}

static void
encode_file(TvWriter *w, const TvFileRecord *file)
{
	encode_file_identity(w, file);
	if (file->scopes != 0)
		tv_write_u64(w, file->scopes);
	tv_write_bytes(w, file->mac, sizeof(file->mac));
	if (file->lsn != 0)
		tv_write_u64(w, file->lsn);
}

static void
decode_file(TvReader *r, uint16_t version, TvFileRecord *file)
{
	file->tablespace = tv_read_u32(r);
	file->database = tv_read_u32(r);
	file->relation = tv_read_u32(r);
	file->table_key = tv_read_u64(r);
	file->cipher = tv_read_u8(r);
	file->flags = tv_read_u8(r);
	if (version == RECORD_VERSION_SCOPED)
	{
		file->scopes = tv_read_u64(r);
		r->failed = r->failed || file->scopes == 0;
	}
	tv_read_bytes(r, file->mac, sizeof(file->mac));
	if (tv_reader_left(r) > 0)
	{
		file->lsn = tv_read_u64(r);
		r->failed = r->failed || file->lsn == 0;
	}
}

static void
encode_scope_identity(TvWriter *w, const TvScopeRecord *scope)
{
	tv_write_u32(w, scope->tablespace);
	tv_write_u32(w, scope->database);
	tv_write_u8(w, scope->cipher);
	tv_write_u64(w, scope->master_key);
	tv_write_u64(w, (uint64_t) scope->created);
}

static void
encode_scope(TvWriter *w, const TvScopeRecord *scope)
{
	encode_scope_identity(w, scope);
	if (scope->number == 0)
		return;
	tv_write_u64(w, scope->number);
	tv_write_bytes(w, scope->mac, sizeof(scope->mac));
}

static void
decode_scope(TvReader *r, uint16_t version, TvScopeRecord *scope)
{
	scope->tablespace = tv_read_u32(r);
	scope->database = tv_read_u32(r);
	scope->cipher = tv_read_u8(r);
	scope->master_key = tv_read_u64(r);
	scope->created = (int64_t) tv_read_u64(r);
	if (version != RECORD_VERSION_SCOPED)
		return;
	scope->number = tv_read_u64(r);
	r->failed = r->failed || scope->number == 0;
	tv_read_bytes(r, scope->mac, sizeof(scope->mac));
}

/* The version that a record is written in: the oldest that says it all. */
static uint16_t
version_of(const TvRecord *record)
{
	if ((record->type == TV_RECORD_FILE && record->u.file.scopes != 0) ||
		(record->type == TV_RECORD_SCOPE && record->u.scope.number != 0))
		return RECORD_VERSION_SCOPED;
	if (record->type == TV_RECORD_MASTER_KEY && record->u.master_key.taking_over)
		return RECORD_VERSION_TAKING_OVER;
	return RECORD_VERSION;
}

static bool
is_known_version(TvRecordType type, uint16_t version)
{
	return version == RECORD_VERSION ||
		(version == RECORD_VERSION_SCOPED && (type == TV_RECORD_FILE || type == TV_RECORD_SCOPE)) ||
		(version == RECORD_VERSION_TAKING_OVER && type == TV_RECORD_MASTER_KEY);
}

static void
encode_payload(TvWriter *w, const TvRecord *record)
{
	switch (record->type)
	{
		case TV_RECORD_MASTER_KEY:
			encode_master_key(w, &record->u.master_key);
			return;
		case TV_RECORD_TABLE_KEY:
			encode_table_key(w, &record->u.table_key);
			return;
		case TV_RECORD_FILE:
			encode_file(w, &record->u.file);
			return;
		case TV_RECORD_FILE_DROPPED:
		case TV_RECORD_FILE_FORGOTTEN:
		case TV_RECORD_FILE_RELEASED:
			tv_write_u32(w, record->u.removal.tablespace);
			tv_write_u32(w, record->u.removal.database);
			tv_write_u32(w, record->u.removal.relation);
			tv_write_u64(w, record->u.removal.lsn);
			return;
		case TV_RECORD_TABLE_KEY_DESTROYED:
		case TV_RECORD_MASTER_KEY_RETIRED:
			tv_write_u64(w, record->u.key_removal.id);
			tv_write_u16(w, record->u.key_removal.epoch);
			if (record->type == TV_RECORD_MASTER_KEY_RETIRED && record->u.key_removal.when != 0)
				tv_write_u64(w, (uint64_t) record->u.key_removal.when);
			return;
		case TV_RECORD_NONCE_PREFIX:
			tv_write_u64(w, (uint64_t) record->u.nonce_prefix.created);
			tv_write_bytes(w, record->u.nonce_prefix.prefix, TV_NONCE_PREFIX_LEN);
			return;
		case TV_RECORD_SCOPE:
			encode_scope(w, &record->u.scope);
			return;
		case TV_RECORD_TABLE_KEY_FLOOR:
			tv_write_u64(w, record->u.key_floor.id);
			tv_write_u16(w, record->u.key_floor.epoch);
			tv_write_u64(w, record->u.key_floor.lsn);
			return;
		case TV_RECORD_TABLE_KEY_WORK:
			tv_write_u64(w, record->u.key_work.id);
			tv_write_u16(w, record->u.key_work.flags);
			tv_write_u64(w, record->u.key_work.since);
			return;
		case TV_RECORD_ANCHOR:
			tv_write_u32(w, record->u.anchor.service);
			tv_write_u64(w, record->u.anchor.lsn);
			tv_write_bytes(w, record->u.anchor.bytes, TV_ANCHOR_LEN);
			return;
	}
	w->failed = true;
}

static void
decode_payload(TvReader *r, uint16_t version, TvRecord *record)
{
	switch (record->type)
	{
		case TV_RECORD_MASTER_KEY:
			decode_master_key(r, version, &record->u.master_key);
			return;
		case TV_RECORD_TABLE_KEY:
			decode_table_key(r, &record->u.table_key);
			return;
		case TV_RECORD_FILE:
			decode_file(r, version, &record->u.file);
			return;
		case TV_RECORD_FILE_DROPPED:
		case TV_RECORD_FILE_FORGOTTEN:
		case TV_RECORD_FILE_RELEASED:
			record->u.removal.tablespace = tv_read_u32(r);
			record->u.removal.database = tv_read_u32(r);
			record->u.removal.relation = tv_read_u32(r);
			record->u.removal.lsn = tv_read_u64(r);
			return;
		case TV_RECORD_TABLE_KEY_DESTROYED:
		case TV_RECORD_MASTER_KEY_RETIRED:
			record->u.key_removal.id = tv_read_u64(r);
			record->u.key_removal.epoch = tv_read_u16(r);
			if (record->type == TV_RECORD_MASTER_KEY_RETIRED && tv_reader_left(r) > 0)
			{
				record->u.key_removal.when = (int64_t) tv_read_u64(r);
				r->failed = r->failed || record->u.key_removal.when == 0;
			}
			return;
		case TV_RECORD_NONCE_PREFIX:
			record->u.nonce_prefix.created = (int64_t) tv_read_u64(r);
			tv_read_bytes(r, record->u.nonce_prefix.prefix, TV_NONCE_PREFIX_LEN);
			return;
		case TV_RECORD_SCOPE:
			decode_scope(r, version, &record->u.scope);
			return;
		case TV_RECORD_TABLE_KEY_FLOOR:
			record->u.key_floor.id = tv_read_u64(r);
			record->u.key_floor.epoch = tv_read_u16(r);
			record->u.key_floor.lsn = tv_read_u64(r);
			return;
		case TV_RECORD_TABLE_KEY_WORK:
			record->u.key_work.id = tv_read_u64(r);
			record->u.key_work.flags = tv_read_u16(r);
			record->u.key_work.since = tv_read_u64(r);
			return;
		case TV_RECORD_ANCHOR:
			record->u.anchor.service = tv_read_u32(r);
			record->u.anchor.lsn = tv_read_u64(r);
			tv_read_bytes(r, record->u.anchor.bytes, TV_ANCHOR_LEN);
			return;
	}
	r->failed = true;
}

size_t
tv_keyring_record_encode(const TvRecord *record,
						 uint8_t check[TV_KEYRING_CHECK_LEN],
						 uint8_t *out, size_t cap)
{
	TvWriter	w;
	TvWriter	length;
	size_t		total;

	if (cap > TV_KEYRING_RECORD_MAX)
		cap = TV_KEYRING_RECORD_MAX;
	tv_writer_init(&w, out, cap);
	tv_write_u32(&w, 0);		/* length, below */
	tv_write_u16(&w, (uint16_t) record->type);
	tv_write_u16(&w, version_of(record));
	tv_write_u64(&w, 0);		/* reserved */
	encode_payload(&w, record);
	if (w.failed || w.pos + TV_KEYRING_CHECK_LEN > cap)
		return 0;

	total = w.pos + TV_KEYRING_CHECK_LEN;
	tv_writer_init(&length, out, 4);
	tv_write_u32(&length, (uint32_t) total);
	chain_advance(check, out, w.pos, out + w.pos);
	memcpy(check, out + w.pos, TV_KEYRING_CHECK_LEN);
	return total;
}

/*
 * Could the damage at [pos, pos + len) be an append that a crash cut off?  A
 * file that grew but whose data did not reach the disk reads as zeros, by
 * whole sectors.
 */
static bool
looks_torn(const uint8_t *data, size_t len, uint64_t pos)
{
	size_t		start = 0;

	while (start < len)
	{
		size_t		room = TV_KEYRING_SECTOR - (pos + start) % TV_KEYRING_SECTOR;
		size_t		end = start + room < len ? start + room : len;
		bool		zero = true;

		for (size_t i = start; i < end; i++)
		{
			if (data[i] != 0)
			{
				zero = false;
				break;
			}
		}
		if (zero)
			return true;
		start = end;
	}
	return false;
}

TvStatus
tv_keyring_record_decode(const uint8_t *data, size_t len, uint64_t pos,
						 uint8_t check[TV_KEYRING_CHECK_LEN],
						 TvRecord *record, size_t *used)
{
	TvReader	r;
	uint32_t	total;
	uint16_t	version;
	uint8_t		expected[TV_KEYRING_CHECK_LEN];

	memset(record, 0, sizeof(*record));
	if (len < TV_KEYRING_RECORD_HEADER)
		return TV_ERR_TRUNCATED;
	tv_reader_init(&r, data, len);
	total = tv_read_u32(&r);
	if (total < TV_KEYRING_RECORD_HEADER + TV_KEYRING_CHECK_LEN ||
		total > TV_KEYRING_RECORD_MAX)
		return looks_torn(data, len < TV_KEYRING_RECORD_MAX ? len : TV_KEYRING_RECORD_MAX, pos) ?
			TV_ERR_TRUNCATED : TV_ERR_CORRUPT;
	if (total > len)
		return TV_ERR_TRUNCATED;

	chain_advance(check, data, total - TV_KEYRING_CHECK_LEN, expected);
	if (memcmp(expected, data + total - TV_KEYRING_CHECK_LEN,
			   TV_KEYRING_CHECK_LEN) != 0)
		return looks_torn(data, total, pos) ? TV_ERR_TRUNCATED : TV_ERR_CORRUPT;

	record->type = (TvRecordType) tv_read_u16(&r);
	version = tv_read_u16(&r);
	(void) tv_read_u64(&r);
	if (!is_known_version(record->type, version) || record->type < TV_RECORD_MASTER_KEY ||
		record->type > TV_RECORD_ANCHOR)
		return TV_ERR_VERSION;
	r.len = total - TV_KEYRING_CHECK_LEN;
	decode_payload(&r, version, record);
	if (r.failed || tv_reader_left(&r) != 0)
		return TV_ERR_CORRUPT;
	memcpy(check, expected, TV_KEYRING_CHECK_LEN);
	*used = total;
	return TV_OK;
}

size_t
tv_keyring_file_mac_input(const TvFileRecord *file, uint8_t *out, size_t cap)
{
	TvWriter	w;
	static const char label[] = "tde_vault file v1";
	static const char scoped[] = "tde_vault file v2";

	tv_writer_init(&w, out, cap);
	tv_write_bytes(&w, file->scopes ? scoped : label, sizeof(label));
	encode_file_identity(&w, file);
	if (file->scopes != 0)
		tv_write_u64(&w, file->scopes);
	return w.failed ? 0 : w.pos;
}

size_t
tv_keyring_scope_mac_input(uint64_t number, const TvScopeRecord *scopes,
						   const uint16_t *order, uint32_t n, uint8_t *out, size_t cap)
{
	TvWriter	w;
	static const char label[] = "tde_vault scopes v1";

	tv_writer_init(&w, out, cap);
	tv_write_bytes(&w, label, sizeof(label));
	tv_write_u64(&w, number);
	for (uint32_t i = 0; i < n; i++)
		encode_scope_identity(&w, &scopes[order[i]]);
	return w.failed ? 0 : w.pos;
}

size_t
tv_keyring_table_key_aad(const TvTableKeyRecord *key, uint8_t *out, size_t cap)
{
	TvWriter	w;
	static const char label[] = "tde_vault table key v1";

	tv_writer_init(&w, out, cap);
	tv_write_bytes(&w, label, sizeof(label));
	tv_write_u64(&w, key->id);
	tv_write_u16(&w, key->epoch);
	tv_write_u32(&w, key->database);
	tv_write_u32(&w, key->table);
	tv_write_u8(&w, key->cipher);
	return w.failed ? 0 : w.pos;
}

size_t
tv_keyring_master_check_aad(const TvMasterKeyRecord *key, uint8_t *out, size_t cap)
{
	TvWriter	w;
	static const char label[] = "tde_vault master key v1";

	tv_writer_init(&w, out, cap);
	tv_write_bytes(&w, label, sizeof(label));
	tv_write_u64(&w, key->id);
	return w.failed ? 0 : w.pos;
}
