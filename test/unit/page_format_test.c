/*
 * page_format_test.c
 *	  Bytes of sealed pages and sidecars: those of version 1 are opened and
 *	  written as they were.
 */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "unit.h"

#include "crypto/tv_cipher.h"
#include "crypto/tv_kdf.h"
#include "page/tv_page_format.h"

#define TABLE_ID UINT64_C(0x1112131415161718)
#define RELATION 16402
#define EPOCH 1
#define SERVER_FLAGS 0x0004		/* PD_ALL_VISIBLE */
#define SERVER_CHECKSUM 0x1234
#define HEADER_AND_ENTRIES (TV_SIDECAR_HEADER_USED + 3 * TV_ENTRY_SIZE)

static uint8_t sidecar[HEADER_AND_ENTRIES];

static TvPageIdentity
identity_of(uint32_t block, TvCipher cipher)
{
	TvPageIdentity identity = {
		.key = TABLE_ID, .epoch = EPOCH, .relation = RELATION, .block = block,
		.fork = TV_FORK_CLASS_MAIN, .cipher = cipher
	};

	return identity;
}

/* The page before it was sealed. */
static void
make_plain(uint8_t *page, uint32_t block)
{
	static const uint8_t head[20] = {
		0, 0, 0, 0, 0x40, 0x37, 0x6b, 0x01, 0x34, 0x12, 0x04, 0x00,
		64, 0, 0x00, 0x10, 0x00, 0x20, 0x04, 0x20
	};

	for (uint32_t i = 0; i < TV_PAGE_SIZE; i++)
		page[i] = (uint8_t) ((i * 31 + block * 7) % 251);
	memcpy(page, head, sizeof(head));
}

/*
 * A cipher ready with the table key's subkey.  The derivation is written out
 * here as formats.md has it, apart from the keyring's own.
 */
static TvCipherContext *
make_context(TvCipher cipher)
{
	uint8_t		table_key[TV_KEY_LEN];
	uint8_t		subkey[TV_CIPHER_KEY_MAX];
	uint8_t		info[24] = "tde_vault/v1/subkey";
	uint8_t		salt[8];
	TvCipherContext *context = aligned_alloc(64, (tv_cipher_context_size(cipher) + 63) / 64 * 64);

	for (int i = 0; i < TV_KEY_LEN; i++)
		table_key[i] = (uint8_t) i;
	for (int i = 0; i < 8; i++)
		salt[i] = (uint8_t) (TABLE_ID >> (8 * i));
	info[20] = cipher == TV_CIPHER_AES_256_XTS ? 2 : 1;
	info[21] = (uint8_t) cipher;
	info[22] = EPOCH;
	if (context == NULL ||
		tv_hkdf(table_key, sizeof(table_key), salt, sizeof(salt), info, sizeof(info),
				subkey, tv_cipher_key_len(cipher)) != TV_OK ||
		tv_cipher_init(context, cipher, subkey, tv_cipher_key_len(cipher)) != TV_OK)
	{
		printf("Bail out! no context for %s\n", tv_cipher_name(cipher));
		exit(1);
	}
	return context;
}

/* Open page with its entry (NULL: self-contained). */
static TvStatus
open_page(const TvCipherContext *context, uint32_t block, TvCipher cipher,
		  uint8_t *page, const TvPageEntry *entry)
{
	TvPageIdentity identity = identity_of(block, cipher);
	uint8_t		aad[TV_PAGE_AAD_LEN];
	uint8_t		tweak[TV_TWEAK_LEN];

	if (entry == NULL)
	{
		tv_page_tweak(&identity, (tv_page_flags(page) & TV_PAGE_SECOND_TWEAK) != 0, tweak);
		return tv_cipher_open(context, tweak, NULL, 0, page + TV_PAGE_CLEAR,
							  page + TV_PAGE_CLEAR, TV_PAGE_PAYLOAD, NULL);
	}
	tv_page_aad(&identity, page, entry, aad);
	return tv_cipher_open(context, entry->nonce, aad, tv_cipher_has_tag(cipher) ? sizeof(aad) : 0,
						  page + TV_PAGE_CLEAR, page + TV_PAGE_CLEAR, TV_PAGE_PAYLOAD, entry->tag);
}

static void
test_pages(void)
{
	static const TvCipher ciphers[] = {
		TV_CIPHER_AES_256_GCM, TV_CIPHER_CHACHA20_POLY1305, TV_CIPHER_AES_256_CTR, TV_CIPHER_AES_256_XTS
	};

	for (uint32_t block = 0; block < 4; block++)
	{
		TvCipher	cipher = ciphers[block];
		TvCipherContext *context = make_context(cipher);
		char		name[64];
		uint8_t		sealed[TV_PAGE_SIZE + 1];
		uint8_t		page[TV_PAGE_SIZE];
		uint8_t		plain[TV_PAGE_SIZE];
		TvPageEntry entry;
		bool		has_entry = tv_cipher_has_nonce(cipher);

		snprintf(name, sizeof(name), "page_v1_%s.bin", tv_cipher_name(cipher));
		ok(fixture_read(name, sealed, sizeof(sealed)) == TV_PAGE_SIZE, "%s is a page", name);
		make_plain(plain, block);
		if (has_entry)
			tv_entry_decode(sidecar + TV_SIDECAR_HEADER_USED + block * TV_ENTRY_SIZE, &entry);

		ok(tv_page_epoch_of(tv_page_flags(sealed)) == EPOCH &&
		   (tv_page_flags(sealed) & TV_PAGE_SERVER_FLAGS) == SERVER_FLAGS &&
		   memcmp(sealed, plain, 8) == 0, "its header says key version, flags and LSN");
		memcpy(page, sealed, sizeof(page));
		ok(open_page(context, block, cipher, page, has_entry ? &entry : NULL) == TV_OK &&
		   memcmp(page + TV_PAGE_CLEAR, plain + TV_PAGE_CLEAR, TV_PAGE_PAYLOAD) == 0, "it opens");
		ok(!has_entry || (entry.checksum == SERVER_CHECKSUM &&
						  entry.flags == (TV_ENTRY_IN_USE | TV_ENTRY_CHECKSUM_REAL)), "its entry has its values");
		ok(!has_entry || tv_cipher_has_tag(cipher) ||
		   memcmp(entry.tag, sealed + TV_PAGE_CLEAR, TV_TAG_LEN) == 0,
		   "an entry without tag repeats the ciphertext");

		memcpy(page, sealed, sizeof(page));
		ok((open_page(context, block + 1, cipher, page, has_entry ? &entry : NULL) == TV_ERR_AUTH) ==
		   tv_cipher_has_tag(cipher) &&
		   (cipher == TV_CIPHER_AES_256_CTR ||
			memcmp(page + TV_PAGE_CLEAR, plain + TV_PAGE_CLEAR, TV_PAGE_PAYLOAD) != 0),
		   "as another block it does not, as far as the cipher can tell");
		free(context);
	}
}

/* Everything that the tag covers besides the ciphertext. */
static void
test_bound(void)
{
	TvCipherContext *context = make_context(TV_CIPHER_AES_256_GCM);
	uint8_t		sealed[TV_PAGE_SIZE];
	uint8_t		page[TV_PAGE_SIZE];
	TvPageEntry entry;
	int			accepted = 0;

	(void) fixture_read("page_v1_aes-256-gcm.bin", sealed, sizeof(sealed));
	tv_entry_decode(sidecar + TV_SIDECAR_HEADER_USED, &entry);
	for (int bit = 0; bit < 8 * TV_PAGE_CLEAR; bit++)
	{
		if (bit / 8 == 8 || bit / 8 == 9)
			continue;			/* pd_checksum, which tools rewrite */
		memcpy(page, sealed, sizeof(page));
		page[bit / 8] ^= (uint8_t) (1 << bit % 8);
		accepted += open_page(context, 0, TV_CIPHER_AES_256_GCM, page, &entry) == TV_OK;
	}
	ok(accepted == 0, "no bit of the readable header can be changed");
	memcpy(page, sealed, sizeof(page));
	tv_page_set_checksum_field(page, 0);
	ok(open_page(context, 0, TV_CIPHER_AES_256_GCM, page, &entry) == TV_OK, "except the checksum");

	accepted = 0;
	for (int bit = 0; bit < 8 * TV_ENTRY_SIZE; bit++)
	{
		uint8_t		bytes[TV_ENTRY_SIZE];
		TvPageEntry changed;

		memcpy(bytes, sidecar + TV_SIDECAR_HEADER_USED, sizeof(bytes));
		bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
		tv_entry_decode(bytes, &changed);
		memcpy(page, sealed, sizeof(page));
		accepted += open_page(context, 0, TV_CIPHER_AES_256_GCM, page, &changed) == TV_OK;
	}
	ok(accepted == 0, "no bit of the entry can be changed");
	free(context);
}

static void
test_identity(void)
{
	TvPageIdentity base = identity_of(7, TV_CIPHER_AES_256_XTS);
	TvPageIdentity other;
	uint8_t		page[TV_PAGE_SIZE] = {0};
	TvPageEntry entry = {.flags = TV_ENTRY_IN_USE};
	uint8_t		aads[8][TV_PAGE_AAD_LEN];
	uint8_t		tweaks[6][TV_TWEAK_LEN];
	int			n = 0;
	int			t = 0;
	int			same = 0;

#define VARIANT(change) \
	do { \
		other = base; \
		change; \
		tv_page_aad(&other, page, &entry, aads[n++]); \
	} while (0)
	VARIANT((void) 0);
	VARIANT(other.key++);
	VARIANT(other.epoch++);
	VARIANT(other.relation++);
	VARIANT(other.block++);
	VARIANT(other.fork = TV_FORK_CLASS_FSM);
	VARIANT(other.fork = TV_FORK_CLASS_VM);
	VARIANT(other.cipher = TV_CIPHER_AES_256_GCM);
	for (int i = 0; i < n; i++)
		for (int j = 0; j < i; j++)
			same += memcmp(aads[i], aads[j], TV_PAGE_AAD_LEN) == 0;
	ok(n == 8 && same == 0, "every part of a page's identity is authenticated");

	other = base;
	tv_page_tweak(&other, false, tweaks[t++]);
	tv_page_tweak(&other, true, tweaks[t++]);
	other.block++;
	tv_page_tweak(&other, false, tweaks[t++]);
	other = base;
	other.relation++;
	tv_page_tweak(&other, false, tweaks[t++]);
	other = base;
	other.fork = TV_FORK_CLASS_FSM;
	tv_page_tweak(&other, false, tweaks[t++]);
	other.fork = TV_FORK_CLASS_VM;
	tv_page_tweak(&other, false, tweaks[t++]);
	same = 0;
	for (int i = 0; i < t; i++)
		for (int j = 0; j < i; j++)
			same += memcmp(tweaks[i], tweaks[j], TV_TWEAK_LEN) == 0;
	ok(t == 6 && same == 0, "tweaks differ by relation, block, fork and try");
}

static void
test_fields(void)
{
	uint8_t		page[TV_PAGE_SIZE] = {0};
	TvPageEntry entry;
	uint8_t		bytes[TV_ENTRY_SIZE];

	ok(tv_page_is_zero(page), "a page of zeros is one");
	page[TV_PAGE_SIZE - 1] = 1;
	ok(!tv_page_is_zero(page), "a byte at the end makes it another");
	page[TV_PAGE_SIZE - 1] = 0;
	page[0] = 1;
	ok(!tv_page_is_zero(page), "as does one at the start");

	tv_page_set_flags(page, 4095 << TV_PAGE_EPOCH_SHIFT | TV_PAGE_SECOND_TWEAK | 5);
	ok(tv_page_epoch_of(tv_page_flags(page)) == 4095 &&
	   (tv_page_flags(page) & TV_PAGE_SERVER_FLAGS) == 5, "flags hold key version and the server's bits");
	page[14] = 0xcd;
	page[15] = 0xab;
	ok(tv_page_upper(page) == 0xabcd, "pd_upper is where the server has it");

	tv_entry_decode(sidecar + TV_SIDECAR_HEADER_USED, &entry);
	tv_entry_encode(&entry, bytes);
	ok(memcmp(bytes, sidecar + TV_SIDECAR_HEADER_USED, sizeof(bytes)) == 0, "an entry is written as it was read");
}

static void
test_sidecar_header(void)
{
	TvSidecarHeader header;
	uint8_t		bytes[TV_SIDECAR_HEADER_USED];
	int			wrong = 0;

	ok(tv_sidecar_header_decode(sidecar, TV_SIDECAR_HEADER_USED, &header) == TV_OK &&
	   header.version == 1 && header.key == TABLE_ID && header.relation == RELATION &&
	   header.segment == 0, "the sidecar's header is read");
	tv_sidecar_header_encode(&header, bytes);
	ok(memcmp(bytes, sidecar, sizeof(bytes)) == 0, "and written as it was");

	for (size_t len = 0; len < TV_SIDECAR_HEADER_USED; len++)
		wrong += tv_sidecar_header_decode(sidecar, len, &header) != TV_ERR_TRUNCATED;
	ok(wrong == 0, "a header that ends early is truncated");
	for (int bit = 0; bit < 48 * 8; bit++)
	{
		memcpy(bytes, sidecar, sizeof(bytes));
		bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
		wrong += tv_sidecar_header_decode(bytes, sizeof(bytes), &header) == TV_OK;
	}
	ok(wrong == 0, "no flipped bit goes unnoticed");

	header.version = TV_SIDECAR_VERSION + 1;
	tv_sidecar_header_encode(&header, bytes);
	ok(tv_sidecar_header_decode(bytes, sizeof(bytes), &header) == TV_ERR_VERSION, "a newer version is refused");
}

int
main(void)
{
	TvError		err;

	if (tv_cipher_setup(&err) != TV_OK ||
		fixture_read_hex("sidecar_v1.hex", sidecar, sizeof(sidecar)) != sizeof(sidecar))
	{
		printf("Bail out! no ciphers, or no sidecar\n");
		return 1;
	}
	test_pages();
	test_bound();
	test_identity();
	test_fields();
	test_sidecar_header();
	return unit_done();
}
