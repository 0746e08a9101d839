/*
 * vault_format_test.c
 *	  Policies and failed unlocks: their bytes, and what is refused.
 */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "unit.h"
#include "vault/tv_vault_failures_format.h"
#include "vault/tv_vault_format.h"

#define FIXTURE "policy_v1.bin"
#define FIXTURE_MAX 4096

/* One of everything, with every field at a value of its own. */
static TvPolicy *
sample(void)
{
	TvPolicy   *policy = tv_policy_new();
	TvRealm    *realm;
	TvRealmRole *role;
	TvVaultPassword *password;
	TvCommandRule *rule;
	TvEmergency *emergency;
	bool		failed = false;

	policy->enabler = 10;
	policy->has_admin = 1;
	policy->admin_role = 16400;
	policy->auditor_role = 16401;
	policy->operator_role = 16402;
	policy->last_id = 7;
	policy->last_emergency = UINT64_C(0x0102030405060708);
	policy->last_password = 9;
	policy->recovery.m = 2;
	policy->recovery.n = 3;
	policy->recovery.created = 700000000000001;
	memset(policy->recovery.salt, 0x11, TV_VAULT_SALT_LEN);
	memset(policy->recovery.hash, 0x22, TV_VAULT_HASH_LEN);
	for (int i = 0; i < 2; i++)
	{
		realm = tv_policy_add_realm(policy);
		realm->id = 1 + i;
		realm->owner = 16500 + i;
		realm->mode = i == 0 ? TV_MODE_ENABLED : TV_MODE_SIMULATE;
		realm->password = i == 0;
		realm->created = 700000000000002 + i;
		realm->name = tv_policy_strdup(policy, i == 0 ? "pii" : "lab", &failed);
		realm->description = i == 0 ? NULL : tv_policy_strdup(policy, "r\xc3\xa9sultats", &failed);
	}
	tv_policy_add_object(policy, 20000, TV_OBJECT_TABLE, 2);
	tv_policy_add_object(policy, 16384, TV_OBJECT_SCHEMA, 1);
	tv_policy_add_object(policy, 20000, TV_OBJECT_TABLE, 1);
	role = tv_policy_add_role(policy);
	role->realm = 1;
	role->role = 16600;
	role->grantor = 16500;
	role->granted = -5;
	password = tv_policy_add_password(policy);
	password->realm = 1;
	password->role = 16600;
	password->grantor = 16500;
	password->version = 9;
	password->memory_kib = 65536;
	password->passes = 3;
	password->lanes = 1;
	memset(password->salt, 0x33, TV_VAULT_SALT_LEN);
	memset(password->stored, 0x44, TV_VAULT_HASH_LEN);
	password->created = 700000000000004;
	password->valid_until = 700000000000005;
	rule = tv_policy_add_rule(policy);
	rule->id = 3;
	rule->actions = 0x0048;
	rule->kind = TV_OBJECT_COLUMN;
	rule->mode = TV_MODE_DISABLED;
	rule->object = 20000;
	rule->column = -1;
	rule->n_roles = 2;
	rule->roles = tv_policy_alloc(policy, 2 * sizeof(uint32_t));
	rule->roles[0] = 1;
	rule->roles[1] = 2;
	rule->created = 700000000000006;
	rule->name = tv_policy_strdup(policy, "hours", &failed);
	rule->condition = tv_policy_strdup(policy, "HOUR(CURRENT_TIMESTAMP) > 17", &failed);
	rule->message = NULL;
	emergency = tv_policy_add_emergency(policy);
	emergency->id = 12;
	emergency->realm = 1;
	emergency->requester = 10;
	emergency->officer = 11;
	emergency->reviewer = 13;
	emergency->valid_for = 3600000000;
	emergency->requested = 700000000000007;
	emergency->approved = 700000000000008;
	emergency->expires = 700000000000009;
	emergency->reviewed = 700000000000010;
	emergency->realm_name = tv_policy_strdup(policy, "pii", &failed);
	emergency->reason = tv_policy_strdup(policy, "outage", &failed);
	emergency->note = tv_policy_strdup(policy, "fine", &failed);
	ok(!failed, "a policy is made");
	return policy;
}

static void
check_sample(const TvPolicy *policy)
{
	ok(policy->has_admin == 1 && policy->last_emergency == UINT64_C(0x0102030405060708) &&
	   policy->recovery.m == 2 && policy->recovery.hash[31] == 0x22, "general fields");
	ok(policy->n_realms == 2 && strcmp(policy->realms[1].description, "r\xc3\xa9sultats") == 0 &&
	   policy->realms[0].description == NULL && policy->realms[1].mode == TV_MODE_SIMULATE, "realms");
	ok(policy->n_objects == 3 && policy->objects[0].oid == 16384 && policy->objects[1].realm == 1 &&
	   policy->objects[2].realm == 2, "objects, in order");
	ok(policy->n_roles == 1 && policy->roles[0].granted == -5, "authorized roles");
	ok(policy->n_passwords == 1 && policy->passwords[0].stored[31] == 0x44 &&
	   policy->passwords[0].valid_until == 700000000000005, "passwords");
	ok(policy->n_rules == 1 && policy->rules[0].column == -1 && policy->rules[0].roles[1] == 2 &&
	   policy->rules[0].message == NULL && strncmp(policy->rules[0].condition, "HOUR(", 5) == 0, "rules");
	ok(policy->n_emergencies == 1 && policy->emergencies[0].expires == 700000000000009 &&
	   strcmp(policy->emergencies[0].note, "fine") == 0, "emergencies");
}

static void
test_round_trip(void)
{
	TvPolicy   *policy = sample();
	TvPolicy   *read;
	TvPolicy   *copy;
	uint8_t		fixture[FIXTURE_MAX];
	size_t		fixture_len = fixture_read(FIXTURE, fixture, sizeof(fixture));
	size_t		len;
	uint8_t    *bytes = tv_policy_encode(policy, 0, &len);

	ok(bytes != NULL && len == fixture_len && memcmp(bytes, fixture, len) == 0, "it has the bytes of version 1");
	ok(tv_policy_decode(fixture, fixture_len, &read) == TV_OK, "which are read");
	if (read != NULL)
		check_sample(read);
	policy->flags = TV_VAULT_ON;
	policy->number = 77;
	copy = tv_policy_copy(policy);
	check_sample(copy);
	ok(copy->flags == TV_VAULT_ON && copy->number == 77, "a copy has flags and number, too");
	free(bytes);
	tv_policy_free(copy);
	tv_policy_free(read);
	tv_policy_free(policy);
	tv_policy_free(NULL);
}

static void
test_refused(void)
{
	uint8_t		fixture[FIXTURE_MAX];
	size_t		len = fixture_read(FIXTURE, fixture, sizeof(fixture));
	TvPolicy   *policy = tv_policy_new();
	TvPolicy   *read;
	bool		failed = false;
	size_t		n = 0;

	for (size_t cut = 0; cut < len; cut++)
	{
		TvStatus	status = tv_policy_decode(fixture, cut, &read);

		n += status == TV_OK || read != NULL;
	}
	ok(n == 0, "no shorter body is taken");
	fixture[len] = 0;
	ok(tv_policy_decode(fixture, len + 1, &read) == TV_ERR_CORRUPT, "nor a longer one");
	for (size_t i = 0; i < len; i++)
	{
		uint8_t		byte = fixture[i];

		TvStatus	status;

		fixture[i] = 0xff;
		status = tv_policy_decode(fixture, len, &read);
		n += (status == TV_OK) != (read != NULL);
		tv_policy_free(read);
		fixture[i] = byte;
	}
	ok(n == 0, "with a byte of 0xff it is a policy or it is refused");
	tv_policy_add_realm(policy)->mode = 3;
	policy->realms[0].name = tv_policy_strdup(policy, "x", &failed);
	ok(tv_policy_encode(policy, 0, &n) == NULL, "an unknown mode is not written");
	policy->realms[0].mode = TV_MODE_ENABLED;
	policy->realms[0].name = NULL;
	ok(tv_policy_encode(policy, 0, &n) == NULL, "nor a realm without a name");
	tv_policy_free(policy);
}

static void
test_objects(void)
{
	TvPolicy   *policy = tv_policy_new();
	size_t		len;
	uint8_t    *bytes;
	TvPolicy   *read;
	bool		found = true;

	for (uint32_t i = 0; i < 5000; i++)
		tv_policy_add_object(policy, (i * 7919) % 5003 + 1, TV_OBJECT_TABLE, 1 + i % 3);
	ok(policy->n_objects == 5000, "5000 objects");
	(void) tv_policy_add_object(policy, policy->objects[10].oid, TV_OBJECT_TABLE, policy->objects[10].realm);
	ok(policy->n_objects == 5000, "one that is there is not added again");
	for (uint32_t i = 0; i < 5000; i++)
		found &= tv_policy_find_object(policy, (i * 7919) % 5003 + 1, TV_OBJECT_TABLE) < 5000;
	ok(found, "all are found");
	ok(tv_policy_find_object(policy, 6000, TV_OBJECT_TABLE) == 5000, "what is not there is not");
	ok(tv_policy_find_object(policy, policy->objects[10].oid, TV_OBJECT_SCHEMA) == 5000, "nor of another kind");
	for (uint32_t i = 5000; i-- > 2500;)
		tv_policy_remove_object(policy, i);
	bytes = tv_policy_encode(policy, 16, &len);
	ok(bytes != NULL && tv_policy_decode(bytes + 16, len, &read) == TV_OK && read->n_objects == 2500,
	   "what is left is read back");
	(void) tv_policy_add_object(read, 1, TV_OBJECT_SCHEMA, 9);
	ok(read->n_objects == 2501 && tv_policy_find_object(read, 1, TV_OBJECT_SCHEMA) < 2501, "and can be added to");
	/* out of order: swap the first two entries of 9 bytes, at the end of the body */
	memmove(bytes + 16 + len - 9, bytes + 16 + len - 18, 9);
	tv_policy_free(read);
	ok(tv_policy_decode(bytes + 16, len, &read) == TV_ERR_CORRUPT, "objects out of order are refused");
	free(bytes);
	tv_policy_free(policy);
}

static void
test_header(void)
{
	TvVaultHeader header;
	TvVaultHeader read;
	uint8_t		file[TV_VAULT_HEADER_LEN + TV_TAG_LEN + 10] = {0};

	memset(&header, 0, sizeof(header));
	header.version = TV_VAULT_VERSION;
	header.flags = TV_VAULT_ON | TV_VAULT_COPIED;
	header.database = 16384;
	header.epoch = 4095;
	header.key = UINT64_C(0x0123456789abcdef);
	header.number = UINT64_C(0x1122334455667788);
	header.body_len = 10;
	memset(header.nonce, 0x5a, TV_NONCE_LEN);
	tv_vault_header_encode(&header, file);
	ok(memcmp(file, "TVPOLICY\1\0\3\0\0\x40\0\0\x88\x77\x66\x55\x44\x33\x22\x11", 24) == 0, "bytes of a header");
	ok(tv_vault_header_decode(file, sizeof(file), &read) == TV_OK, "a header is read");
	ok(read.flags == header.flags && read.database == header.database && read.epoch == header.epoch &&
	   read.key == header.key && read.number == header.number && read.body_len == 10 &&
	   memcmp(read.nonce, header.nonce, TV_NONCE_LEN) == 0, "all of it");
	for (size_t len = 0; len < sizeof(file); len++)
	{
		if (tv_vault_header_decode(file, len, &read) == TV_OK)
			ok(false, "a file of %zu bytes was taken", len);
	}
	file[0] ^= 1;
	ok(tv_vault_header_decode(file, sizeof(file), &read) == TV_ERR_CORRUPT, "another magic is refused");
	file[0] ^= 1;
	file[8] = 2;
	ok(tv_vault_header_decode(file, sizeof(file), &read) == TV_ERR_VERSION, "a newer version is known as such");
	file[8] = 0;
	ok(tv_vault_header_decode(file, sizeof(file), &read) == TV_ERR_CORRUPT, "there is no version 0");
}

/* What version 1 wrote is read, and written the same. */
static void
test_failures_fixture(void)
{
	static const TvFailures want[] = {
		{16385, 2, 16387, 5, 700000000000001, 700000900000001},
		{0},
		{16385, 1, 16388, 1, 700000000000002, 0}
	};
	enum
	{
		ENTRIES = sizeof(want) / sizeof(want[0]),
		FILE_LEN = TV_FAILURES_HEADER_LEN + ENTRIES * TV_FAILURES_ENTRY_LEN
	};
	uint8_t		file[FILE_LEN + 1];
	uint8_t		header[TV_FAILURES_HEADER_LEN];

	if (!ok(fixture_read_hex("failures_v1.hex", file, sizeof(file)) == FILE_LEN, "a file of version 1"))
		return;
	ok(tv_failures_header_decode(file, FILE_LEN) == TV_OK, "its header is read");
	tv_failures_header_encode(header);
	ok(memcmp(header, file, sizeof(header)) == 0, "and written the same");
	for (int i = 0; i < ENTRIES; i++)
	{
		const uint8_t *bytes = file + TV_FAILURES_HEADER_LEN + i * TV_FAILURES_ENTRY_LEN;
		uint8_t		again[TV_FAILURES_ENTRY_LEN];
		TvFailures	read;

		ok(tv_failures_decode(bytes, &read) == TV_OK && memcmp(&read, &want[i], sizeof(read)) == 0,
		   "entry %d is read", i);
		tv_failures_encode(&want[i], again);
		ok(memcmp(again, bytes, sizeof(again)) == 0, "and written the same");
	}
}

static void
test_failures_refused(void)
{
	TvFailures	entry = {16385, 2, 16387, 4, 5, -1};
	TvFailures	read;
	uint8_t		bytes[TV_FAILURES_ENTRY_LEN];
	uint8_t		header[TV_FAILURES_HEADER_LEN];
	size_t		taken = 0;

	tv_failures_encode(&entry, bytes);
	ok(tv_failures_decode(bytes, &read) == TV_OK && memcmp(&read, &entry, sizeof(entry)) == 0,
	   "an entry is read back");
	for (size_t i = 0; i < sizeof(bytes) * 8; i++)
	{
		bytes[i / 8] ^= (uint8_t) (1 << (i % 8));
		taken += tv_failures_decode(bytes, &read) == TV_OK;
		bytes[i / 8] ^= (uint8_t) (1 << (i % 8));
	}
	ok(taken == 0, "not with a flipped bit");
	tv_failures_header_encode(header);
	ok(tv_failures_header_decode(header, sizeof(header) - 1) == TV_ERR_TRUNCATED, "no shorter header is");
	header[8] = 9;
	ok(tv_failures_header_decode(header, sizeof(header)) == TV_ERR_VERSION, "nor a newer one");
	header[0] = 0;
	ok(tv_failures_header_decode(header, sizeof(header)) == TV_ERR_CORRUPT, "nor another file");
}

int
main(int argc, char **argv)
{
	/* to make the fixture of a new version: vault_format_test --write 2> fixtures/... */
	if (argc == 2 && strcmp(argv[1], "--write") == 0)
	{
		TvPolicy   *policy;
		size_t		len;
		uint8_t    *bytes;

		policy = sample();
		bytes = tv_policy_encode(policy, 0, &len);
		fwrite(bytes, 1, len, stderr);
		free(bytes);
		tv_policy_free(policy);
		return 0;
	}
	test_round_trip();
	test_refused();
	test_objects();
	test_header();
	test_failures_fixture();
	test_failures_refused();
	return unit_done();
}
