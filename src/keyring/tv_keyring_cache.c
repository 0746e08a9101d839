/*
 * tv_keyring_cache.c
 *	  Ready cipher contexts in this process, in secret memory.
 *
 * A fixed number of slots, so that a process that touches every table of a
 * large cluster stays small; the one not used for longest (second chance) is
 * wiped to make room.  A handle remembers the context for as long as none is
 * wiped, so that the hot path is one comparison; after that, each handle that is
 * used says so here once.
 */
#include "keyring/tv_keyring_internal.h"

#include "common/hashfn.h"

#include "base/tv_secret.h"
#include "crypto/tv_kdf.h"

#define N_SLOTS 512
#define N_BUCKETS 1024
#define MAC_CIPHER ((TvCipher) 0)	/* slot holds a MAC key, not a cipher */

typedef struct ContextSlot
{
	uint64		id;
	uint16		epoch;
	uint8		purpose;
	uint8		cipher;
	bool		used;			/* since the clock hand passed */
	int32		next;
	void	   *memory;			/* TvCipherContext or TvHmacKey; NULL: free */
} ContextSlot;

static ContextSlot slots[N_SLOTS];
static int32 buckets[N_BUCKETS];
static bool ready = false;
static int	hand = 0;

uint64		tv_keyring_releases = 1;

static uint32
bucket_of(uint64 id, uint16 epoch, uint8 purpose, uint8 cipher)
{
	uint64		mix = id ^ ((uint64) epoch << 32) ^ ((uint64) purpose << 8) ^ cipher;

	return hash_bytes((const unsigned char *) &mix, sizeof(mix)) % N_BUCKETS;
}

static void
release_slot(ContextSlot *slot)
{
	int32	   *link = &buckets[bucket_of(slot->id, slot->epoch, slot->purpose, slot->cipher)];

	while (*link != slot - slots)
		link = &slots[*link].next;
	*link = slot->next;
	if (slot->cipher != MAC_CIPHER)
		tv_cipher_done(slot->memory);
	tv_secret_free(slot->memory);
	memset(slot, 0, sizeof(*slot));
	tv_keyring_releases++;
}

static ContextSlot *
take_slot(void)
{
	for (;;)
	{
		ContextSlot *slot = &slots[hand];

		hand = (hand + 1) % N_SLOTS;
		if (slot->memory == NULL)
			return slot;
		if (slot->used)
		{
			slot->used = false;
			continue;
		}
		release_slot(slot);
		return slot;
	}
}

/*
 * Derive the key for one purpose.  The label keeps purposes and ciphers apart,
 * so that a nonce space belongs to one of them (RFC 5869, 3.2).
 */
static TvStatus
derive(const uint8 *key, uint64 id, uint16 epoch, TvKeyPurpose purpose,
	   TvCipher cipher, uint8 *out, size_t outlen)
{
	uint8		info[32] = "tde_vault/v1/subkey";
	uint8		salt[8];

	StaticAssertStmt(sizeof("tde_vault/v1/subkey") == 20, "label length");
	info[20] = purpose;
	info[21] = cipher;
	info[22] = epoch & 0xff;
	info[23] = epoch >> 8;
	for (int i = 0; i < 8; i++)
		salt[i] = (uint8) (id >> (8 * i));
	return tv_hkdf(key, TV_KEY_LEN, salt, sizeof(salt), info, 24, out, outlen);
}

/* Fill memory with what the slot is for. */
static TvStatus
build(ContextSlot *slot, TvError *err)
{
	TvCipher	cipher = (TvCipher) slot->cipher;
	size_t		keylen = cipher == MAC_CIPHER ? TV_KEY_LEN : tv_cipher_key_len(cipher);
	uint8	   *secret = tv_secret_alloc(TV_KEY_LEN + TV_CIPHER_KEY_MAX);
	TvStatus	status;

	slot->memory = tv_secret_alloc(cipher == MAC_CIPHER ? sizeof(TvHmacKey) : tv_cipher_context_size(cipher));
	if (secret == NULL || slot->memory == NULL)
		status = tv_error(err, TV_ERR_NO_MEMORY, "out of memory for keys");
	else
		status = tv_keyring_open_key(slot->id, slot->epoch, secret, err);
	if (status == TV_OK)
	{
		status = derive(secret, slot->id, slot->epoch, slot->purpose, cipher,
						secret + TV_KEY_LEN, keylen);
		if (status == TV_OK && cipher == MAC_CIPHER)
			status = tv_hmac_key_init(slot->memory, secret + TV_KEY_LEN, keylen);
		else if (status == TV_OK)
			status = tv_cipher_init(slot->memory, cipher, secret + TV_KEY_LEN, keylen);
		if (status != TV_OK)
			(void) tv_error(err, status, "could not prepare a table key for use");
	}
	tv_secret_free(secret);
	if (status != TV_OK)
	{
		tv_secret_free(slot->memory);
		slot->memory = NULL;
	}
	return status;
}

static ContextSlot *
find_slot(uint64 id, uint16 epoch, TvKeyPurpose purpose, TvCipher cipher)
{
	int32		i;

	if (!ready)
	{
		for (i = 0; i < N_BUCKETS; i++)
			buckets[i] = -1;
		ready = true;
	}
	for (i = buckets[bucket_of(id, epoch, purpose, cipher)]; i >= 0; i = slots[i].next)
	{
		if (slots[i].id == id && slots[i].epoch == epoch &&
			slots[i].purpose == purpose && slots[i].cipher == cipher)
			return &slots[i];
	}
	return NULL;
}

static ContextSlot *
get_slot(uint64 id, uint16 epoch, TvKeyPurpose purpose, TvCipher cipher, TvError *err)
{
	ContextSlot *slot = find_slot(id, epoch, purpose, cipher);
	ContextSlot fresh = {0};
	int32	   *head;

	if (slot)
	{
		slot->used = true;
		return slot;
	}
	fresh.id = id;
	fresh.epoch = epoch;
	fresh.purpose = purpose;
	fresh.cipher = cipher;
	fresh.used = true;
	if (build(&fresh, err) != TV_OK)
		return NULL;
	slot = take_slot();
	head = &buckets[bucket_of(id, epoch, purpose, cipher)];
	fresh.next = *head;
	*slot = fresh;
	*head = slot - slots;
	return slot;
}

const TvCipherContext *
tv_keyring_find_context(uint64 id, uint16 epoch, TvKeyPurpose purpose, TvCipher cipher,
						TvKeyHandle *handle, TvError *err)
{
	ContextSlot *slot = get_slot(id, epoch, purpose, cipher, err);

	if (slot == NULL)
		return NULL;
	handle->context = slot->memory;
	handle->releases = tv_keyring_releases;
	return handle->context;
}

static TvStatus
mac_under(uint64 id, uint16 epoch, TvKeyPurpose purpose, const uint8 *data, size_t len,
		  uint8 *mac, TvError *err)
{
	ContextSlot *slot = get_slot(id, epoch, purpose, MAC_CIPHER, err);
	TvStatus	status;

	if (slot == NULL)
		return err->status;
	status = tv_hmac_with(slot->memory, data, len, mac);
	return status == TV_OK ? TV_OK : tv_error(err, status, "could not compute a MAC");
}

TvStatus
tv_keyring_mac(uint64 id, uint16 epoch, const uint8 *data, size_t len, uint8 *mac, TvError *err)
{
	return mac_under(id, epoch, TV_PURPOSE_KEYRING, data, len, mac, err);
}

TvStatus
tv_keyring_mac_for(uint64 id, TvKeyPurpose purpose, const uint8 *data, size_t len,
				   uint8 *mac, TvError *err)
{
	/* keys of services have one version */
	return mac_under(id, 1, purpose, data, len, mac, err);
}

TvStatus
tv_keyring_mac_prepare(uint64 id, TvKeyPurpose purpose, TvError *err)
{
	return get_slot(id, 1, purpose, MAC_CIPHER, err) != NULL ? TV_OK : err->status;
}

void
tv_keyring_forget_contexts(uint64 id)
{
	for (int i = 0; i < N_SLOTS; i++)
	{
		if (slots[i].memory != NULL && slots[i].id == id)
			release_slot(&slots[i]);
	}
}
