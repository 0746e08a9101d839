/* fuzz-needs: vault */
/*
 * fuzz_vault.c
 *	  Policy files: what is read is written the same, and nothing else happens.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vault/tv_vault_failures_format.h"
#include "vault/tv_vault_format.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool ok)
{
	if (!ok)
		abort();
}

static void
header(const uint8_t *data, size_t size)
{
	TvVaultHeader read;

	if (tv_vault_header_decode(data, size, &read) == TV_OK)
		check(size == TV_VAULT_HEADER_LEN + TV_TAG_LEN + read.body_len);
}

static void
body(const uint8_t *data, size_t size)
{
	TvPolicy   *policy;
	uint8_t    *bytes;
	size_t		len;
	TvStatus	status = tv_policy_decode(data, size, &policy);

	if (status != TV_OK)
	{
		check(policy == NULL && (status == TV_ERR_TRUNCATED || status == TV_ERR_CORRUPT));
		return;
	}
	bytes = tv_policy_encode(policy, 0, &len);
	check(bytes != NULL && len == size && memcmp(bytes, data, size) == 0);
	for (uint32_t i = 0; i < policy->n_objects; i++)
		check(tv_policy_find_object(policy, policy->objects[i].oid, policy->objects[i].kind) <= i);
	free(bytes);
	tv_policy_free(policy);
}

static void
failures(const uint8_t *data, size_t size)
{
	TvFailures	entry;
	uint8_t		bytes[TV_FAILURES_ENTRY_LEN];

	(void) tv_failures_header_decode(data, size);
	if (size < TV_FAILURES_ENTRY_LEN || tv_failures_decode(data, &entry) != TV_OK)
		return;
	tv_failures_encode(&entry, bytes);
	check(memcmp(bytes, data, sizeof(bytes)) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	header(data, size);
	body(data, size);
	failures(data, size);
	return 0;
}
