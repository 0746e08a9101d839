/*
 * tv_vault_format.c
 *	  Bytes of a policy file.
 *
 * One description of each record serves both directions: a Codec either
 * measures, writes or reads the field that it is given.
 */
#include "vault/tv_vault_format.h"

#include <stdlib.h>
#include <string.h>

#include "base/tv_cursor.h"

#define MAGIC "TVPOLICY"
#define MAGIC_LEN 8
#define LENGTH_NULL 0xffff		/* length of a text that is not there */

typedef struct Codec
{
	TvWriter   *writer;			/* NULL: reading, or measuring */
	TvReader   *reader;			/* NULL: writing, or measuring */
	TvPolicy   *policy;			/* reading: whose memory texts take */
	size_t		measured;
	bool		failed;
} Codec;

#define INTEGER_FIELD(name, type, width) \
static void \
name(Codec *codec, type *value) \
{ \
	codec->measured += width / 8; \
	if (codec->writer) \
		tv_write_u##width(codec->writer, (uint##width##_t) *value); \
	else if (codec->reader) \
		*value = (type) tv_read_u##width(codec->reader); \
}

INTEGER_FIELD(field_u8, uint8_t, 8)
INTEGER_FIELD(field_u16, uint16_t, 16)
INTEGER_FIELD(field_i16, int16_t, 16)
INTEGER_FIELD(field_u32, uint32_t, 32)
INTEGER_FIELD(field_u64, uint64_t, 64)
INTEGER_FIELD(field_time, int64_t, 64)

static void
field_bytes(Codec *codec, uint8_t *bytes, size_t len)
{
	codec->measured += len;
	if (codec->writer)
		tv_write_bytes(codec->writer, bytes, len);
	else if (codec->reader)
		tv_read_bytes(codec->reader, bytes, len);
}

/* Length (2), then the bytes; a text without an end of its own. */
static void
field_text(Codec *codec, char **text, size_t max, bool optional)
{
	uint16_t	len = 0;
	const uint8_t *bytes;

	if (codec->reader == NULL)
		len = *text == NULL ? LENGTH_NULL : (uint16_t) strlen(*text);
	field_u16(codec, &len);
	if (len == LENGTH_NULL)
	{
		codec->failed |= !optional;
		if (codec->reader)
			*text = NULL;
		return;
	}
	if (len > max)
	{
		codec->failed = true;
		return;
	}
	if (codec->reader == NULL)
	{
		field_bytes(codec, (uint8_t *) *text, len);
		return;
	}
	bytes = tv_read_ref(codec->reader, len);
	if (bytes == NULL || memchr(bytes, 0, len) != NULL)
	{
		codec->failed = true;
		return;
	}
	*text = tv_policy_alloc(codec->policy, (size_t) len + 1);
	if (*text == NULL)
		codec->failed = true;
	else
		memcpy(*text, bytes, len);
}

static void
field_mode(Codec *codec, uint8_t *mode)
{
	field_u8(codec, mode);
	codec->failed |= *mode > TV_MODE_SIMULATE;
}

static void
realm_fields(Codec *codec, TvRealm *realm)
{
	field_u32(codec, &realm->id);
	field_u32(codec, &realm->owner);
	field_mode(codec, &realm->mode);
	field_u8(codec, &realm->password);
	field_time(codec, &realm->created);
	field_text(codec, &realm->name, TV_VAULT_NAME_MAX, false);
	field_text(codec, &realm->description, TV_VAULT_TEXT_MAX, true);
}

static void
object_fields(Codec *codec, TvRealmObject *object)
{
	field_u32(codec, &object->oid);
	field_u32(codec, &object->realm);
	field_u8(codec, &object->kind);
	codec->failed |= object->kind != TV_OBJECT_TABLE && object->kind != TV_OBJECT_SCHEMA;
}

static void
role_fields(Codec *codec, TvRealmRole *role)
{
	field_u32(codec, &role->realm);
	field_u32(codec, &role->role);
	field_u32(codec, &role->grantor);
	field_time(codec, &role->granted);
}

static void
password_fields(Codec *codec, TvVaultPassword *password)
{
	field_u32(codec, &password->realm);
	field_u32(codec, &password->role);
	field_u32(codec, &password->grantor);
	field_u64(codec, &password->version);
	field_u32(codec, &password->memory_kib);
	field_u32(codec, &password->passes);
	field_u32(codec, &password->lanes);
	field_bytes(codec, password->salt, TV_VAULT_SALT_LEN);
	field_bytes(codec, password->stored, TV_VAULT_HASH_LEN);
	field_time(codec, &password->created);
	field_time(codec, &password->valid_until);
}

static void
rule_fields(Codec *codec, TvCommandRule *rule)
{
	field_u32(codec, &rule->id);
	field_u16(codec, &rule->actions);
	field_u8(codec, &rule->kind);
	codec->failed |= rule->kind < TV_OBJECT_TABLE || rule->kind > TV_OBJECT_DATABASE;
	field_mode(codec, &rule->mode);
	field_u32(codec, &rule->object);
	field_i16(codec, &rule->column);
	field_u32(codec, &rule->n_roles);
	if (codec->reader)
	{
		if (rule->n_roles > tv_reader_left(codec->reader) / 4)
		{
			codec->failed = true;
			rule->n_roles = 0;
			return;
		}
		rule->roles = tv_policy_alloc(codec->policy, (size_t) rule->n_roles * sizeof(uint32_t));
		if (rule->roles == NULL)
		{
			codec->failed = true;
			rule->n_roles = 0;
			return;
		}
	}
	for (uint32_t i = 0; i < rule->n_roles; i++)
		field_u32(codec, &rule->roles[i]);
	field_time(codec, &rule->created);
	field_text(codec, &rule->name, TV_VAULT_NAME_MAX, false);
	field_text(codec, &rule->condition, TV_VAULT_TEXT_MAX, true);
	field_text(codec, &rule->message, TV_VAULT_TEXT_MAX, true);
}

static void
emergency_fields(Codec *codec, TvEmergency *emergency)
{
	field_u64(codec, &emergency->id);
	field_u32(codec, &emergency->realm);
	field_u32(codec, &emergency->requester);
	field_u32(codec, &emergency->officer);
	field_u32(codec, &emergency->reviewer);
	field_time(codec, &emergency->valid_for);
	field_time(codec, &emergency->requested);
	field_time(codec, &emergency->approved);
	field_time(codec, &emergency->expires);
	field_time(codec, &emergency->reviewed);
	field_text(codec, &emergency->realm_name, TV_VAULT_NAME_MAX, false);
	field_text(codec, &emergency->reason, TV_VAULT_TEXT_MAX, false);
	field_text(codec, &emergency->note, TV_VAULT_TEXT_MAX, true);
}

static void
general_fields(Codec *codec, TvPolicy *policy)
{
	field_u32(codec, &policy->enabler);
	field_u8(codec, &policy->has_admin);
	field_u32(codec, &policy->admin_role);
	field_u32(codec, &policy->auditor_role);
	field_u32(codec, &policy->operator_role);
	field_u32(codec, &policy->last_id);
	field_u64(codec, &policy->last_emergency);
	field_u64(codec, &policy->last_password);
	field_u8(codec, &policy->recovery.m);
	field_u8(codec, &policy->recovery.n);
	field_time(codec, &policy->recovery.created);
	field_bytes(codec, policy->recovery.salt, TV_VAULT_SALT_LEN);
	field_bytes(codec, policy->recovery.hash, TV_VAULT_HASH_LEN);
	field_u32(codec, &policy->n_realms);
	field_u32(codec, &policy->n_objects);
	field_u32(codec, &policy->n_roles);
	field_u32(codec, &policy->n_passwords);
	field_u32(codec, &policy->n_rules);
	field_u32(codec, &policy->n_emergencies);
}

/*
 * Each kind of entry takes at least 9 bytes, so what is left of the input
 * bounds the memory that a count can ask for.
 */
#define ENTRIES(array, count, type, fields) \
	do { \
		if (codec->reader) \
		{ \
			if (policy->count > tv_reader_left(codec->reader) / 9) \
				codec->failed = true; \
			else \
				policy->array = tv_policy_alloc(policy, policy->count * sizeof(type)); \
			if (codec->failed || policy->array == NULL) \
			{ \
				policy->count = 0; \
				codec->failed = true; \
			} \
		} \
		for (uint32_t i = 0; i < policy->count && !codec->failed; i++) \
			fields(codec, &policy->array[i]); \
	} while (0)

static void
policy_fields(Codec *codec, TvPolicy *policy)
{
	general_fields(codec, policy);
	ENTRIES(realms, n_realms, TvRealm, realm_fields);
	ENTRIES(objects, n_objects, TvRealmObject, object_fields);
	ENTRIES(roles, n_roles, TvRealmRole, role_fields);
	ENTRIES(passwords, n_passwords, TvVaultPassword, password_fields);
	ENTRIES(rules, n_rules, TvCommandRule, rule_fields);
	ENTRIES(emergencies, n_emergencies, TvEmergency, emergency_fields);
}

uint8_t *
tv_policy_encode(const TvPolicy *policy, size_t extra, size_t *len)
{
	/* fields that are written are not changed */
	TvPolicy   *source = (TvPolicy *) policy;
	Codec		codec = {NULL, NULL, source, 0, false};
	TvWriter	writer;
	uint8_t    *out;

	policy_fields(&codec, source);
	*len = codec.measured;
	if (codec.failed || (out = malloc(extra + codec.measured)) == NULL)
		return NULL;
	tv_writer_init(&writer, out + extra, codec.measured);
	codec.writer = &writer;
	policy_fields(&codec, source);
	if (writer.failed || writer.pos != *len)
	{
		free(out);
		return NULL;
	}
	return out;
}

/* Look-ups rely on the order of objects. */
static int
compare_objects(const TvRealmObject *a, const TvRealmObject *b)
{
	if (a->oid != b->oid)
		return a->oid < b->oid ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->realm != b->realm)
		return a->realm < b->realm ? -1 : 1;
	return 0;
}

static bool
in_order(const TvPolicy *policy)
{
	for (uint32_t i = 1; i < policy->n_objects; i++)
	{
		if (compare_objects(&policy->objects[i - 1], &policy->objects[i]) >= 0)
			return false;
	}
	return true;
}

TvStatus
tv_policy_decode(const uint8_t *data, size_t len, TvPolicy **policy)
{
	TvReader	reader;
	Codec		codec = {NULL, &reader, NULL, 0, false};

	*policy = NULL;
	codec.policy = tv_policy_new();
	if (codec.policy == NULL)
		return TV_ERR_NO_MEMORY;
	tv_reader_init(&reader, data, len);
	policy_fields(&codec, codec.policy);
	if (reader.failed || codec.failed || tv_reader_left(&reader) != 0 ||
		!in_order(codec.policy))
	{
		tv_policy_free(codec.policy);
		return reader.failed ? TV_ERR_TRUNCATED : TV_ERR_CORRUPT;
	}
	*policy = codec.policy;
	return TV_OK;
}

TvPolicy *
tv_policy_copy(const TvPolicy *policy)
{
	size_t		len;
	uint8_t    *bytes = tv_policy_encode(policy, 0, &len);
	TvPolicy   *copy = NULL;

	if (bytes == NULL)
		return NULL;
	if (tv_policy_decode(bytes, len, &copy) == TV_OK)
	{
		copy->flags = policy->flags;
		copy->number = policy->number;
	}
	free(bytes);
	return copy;
}

void
tv_vault_header_encode(const TvVaultHeader *header, uint8_t out[TV_VAULT_HEADER_LEN])
{
	TvWriter	writer;
	static const uint8_t zeros[6] = {0};

	tv_writer_init(&writer, out, TV_VAULT_HEADER_LEN);
	tv_write_bytes(&writer, MAGIC, MAGIC_LEN);
	tv_write_u16(&writer, header->version);
	tv_write_u16(&writer, header->flags);
	tv_write_u32(&writer, header->database);
	tv_write_u64(&writer, header->number);
	tv_write_u64(&writer, header->key);
	tv_write_u64(&writer, header->body_len);
	tv_write_u16(&writer, header->epoch);
	tv_write_bytes(&writer, zeros, sizeof(zeros));
	tv_write_bytes(&writer, header->nonce, TV_NONCE_LEN);
	tv_write_bytes(&writer, zeros, 4);
}

TvStatus
tv_vault_header_decode(const uint8_t *data, size_t len, TvVaultHeader *header)
{
	TvReader	reader;
	const uint8_t *magic;

	tv_reader_init(&reader, data, len);
	magic = tv_read_ref(&reader, MAGIC_LEN);
	if (magic == NULL)
		return TV_ERR_TRUNCATED;
	if (memcmp(magic, MAGIC, MAGIC_LEN) != 0)
		return TV_ERR_CORRUPT;
	header->version = tv_read_u16(&reader);
	header->flags = tv_read_u16(&reader);
	header->database = tv_read_u32(&reader);
	header->number = tv_read_u64(&reader);
	header->key = tv_read_u64(&reader);
	header->body_len = tv_read_u64(&reader);
	header->epoch = tv_read_u16(&reader);
	(void) tv_read_ref(&reader, 6);
	tv_read_bytes(&reader, header->nonce, TV_NONCE_LEN);
	(void) tv_read_ref(&reader, 4);
	if (reader.failed)
		return TV_ERR_TRUNCATED;
	if (header->version != TV_VAULT_VERSION)
		return header->version > TV_VAULT_VERSION ? TV_ERR_VERSION : TV_ERR_CORRUPT;
	if (tv_reader_left(&reader) < TV_TAG_LEN ||
		header->body_len != tv_reader_left(&reader) - TV_TAG_LEN)
		return TV_ERR_TRUNCATED;
	return TV_OK;
}
