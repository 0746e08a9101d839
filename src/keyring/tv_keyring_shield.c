/*
 * tv_keyring_shield.c
 *	  Table keys in shared memory are kept shielded.
 *
 * Memory that can be locked is scarce (RLIMIT_MEMLOCK is 8 MB on a stock
 * Debian), table keys are many.  So one page that all processes share is
 * locked and kept out of core dumps; it holds a random key that lives as long
 * as the server runs.  A table key is stored XORed with HMAC-SHA-256 of that
 * key over (id, epoch): a pad that is used for this one value only.  What a
 * swap file or a core dump can hold of the tables is then useless.
 */
#include "keyring/tv_keyring_internal.h"

#include "base/tv_secret.h"
#include "base/tv_shmem.h"
#include "crypto/tv_kdf.h"

#define SHIELD_LEN 32

static uint8 *shield = NULL;
static bool shield_locked = false;

void
tv_keyring_shield_init(void)
{
	shield = tv_shmem_region("the key shield", 4096, true, &shield_locked);
	if (!shield_locked)
		ereport(LOG,
				(errmsg("tde_vault could not lock memory for keys: %m"),
				 errhint("Raise the server's limit for locked memory (LimitMEMLOCK in its systemd unit) so that keys cannot reach the swap device.")));
	tv_keyring_shield_reset();
}

void
tv_keyring_shield_reset(void)
{
	if (tv_random(shield, SHIELD_LEN) != TV_OK)
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not get random bytes for the key shield")));
}

bool
tv_keyring_shield_locked(void)
{
	return shield_locked;
}

TvStatus
tv_keyring_shield(uint64 id, uint16 epoch, const uint8 *in, uint8 *out)
{
	uint8		input[10];
	uint8		pad[TV_MAC_LEN];
	TvStatus	status;

	memcpy(input, &id, 8);
	memcpy(input + 8, &epoch, 2);
	status = tv_hmac(shield, SHIELD_LEN, input, sizeof(input), pad);
	if (status == TV_OK)
	{
		for (int i = 0; i < TV_KEY_LEN; i++)
			out[i] = in[i] ^ pad[i];
	}
	tv_secret_wipe(pad, sizeof(pad));
	return status;
}
