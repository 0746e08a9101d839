/*
 * wal_format_test.c
 *	  The trailer of sealed WAL records, and what they authenticate.
 */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "unit.h"
#include "wal/tv_wal_format.h"
#include "wal/tv_wal_nonce_format.h"

static const TvCipher message_ciphers[] = {
	TV_CIPHER_AES_256_GCM, TV_CIPHER_CHACHA20_POLY1305, TV_CIPHER_AES_256_CTR
};

static void
fill(TvWalTrailer *trailer, TvWalForm form, TvCipher cipher)
{
	memset(trailer, 0, sizeof(*trailer));
	trailer->form = (uint8_t) form;
	trailer->cipher = (uint8_t) cipher;
	trailer->rmid = 10;
	trailer->epoch = 0x0abc;
	trailer->counter = 0xc1c0;
	trailer->key = UINT64_C(0x0123456789abcdef);
	for (int i = 0; i < TV_NONCE_LEN; i++)
		trailer->nonce[i] = (uint8_t) (0xa0 + i);
	for (int i = 0; i < TV_TAG_LEN; i++)
		trailer->tag[i] = (uint8_t) (0x50 + i);
}

static void
test_ciphers(void)
{
	ok(tv_wal_cipher(TV_CIPHER_AES_256_XTS) == TV_CIPHER_AES_256_GCM, "WAL of XTS files is GCM");
	ok(tv_wal_cipher(TV_CIPHER_NONE) == TV_CIPHER_NONE, "no cipher for no cipher");
	ok(tv_wal_cipher((TvCipher) 77) == TV_CIPHER_NONE, "no cipher for an unknown one");
	for (size_t i = 0; i < 3; i++)
		ok(tv_wal_cipher(message_ciphers[i]) == message_ciphers[i], "WAL of %s files",
		   tv_cipher_name(message_ciphers[i]));
	ok(tv_wal_form(TV_CIPHER_AES_256_GCM, true) == TV_WAL_FORM_COMPACT, "compact form");
	ok(tv_wal_form(TV_CIPHER_AES_256_GCM, false) == TV_WAL_FORM_FULL, "full form while the prefix is unknown");
	ok(tv_wal_form(TV_CIPHER_AES_256_CTR, true) == TV_WAL_FORM_FULL, "full form without a tag");
}

/* Byte for byte: what is on disk must be readable for ever. */
static void
test_bytes(void)
{
	static const uint8_t short_bytes[] = {
		0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57,
		0x58, 0x59, 0x5a, 0x5b, 0x5c, 0x5d, 0x5e, 0x5f,
		0xa7, 0xa8, 0xa9, 0xaa, 0xab,
		0x0a, 0xbc, 0x2a
	};
	static const uint8_t ctr_bytes[] = {
		0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab,
		0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01,
		0x03,
		0x0a, 0xbc, 0x1a
	};
	TvWalTrailer trailer;
	uint8_t		out[TV_WAL_TRAILER_MAX];
	uint16_t	spare;
	size_t		len;

	fill(&trailer, TV_WAL_FORM_SHORT, TV_CIPHER_AES_256_GCM);
	len = tv_wal_trailer_encode(&trailer, out, &spare);
	ok(len == sizeof(short_bytes) && memcmp(out, short_bytes, len) == 0, "bytes of a short trailer");
	fill(&trailer, TV_WAL_FORM_FULL, TV_CIPHER_AES_256_CTR);
	len = tv_wal_trailer_encode(&trailer, out, &spare);
	ok(len == sizeof(ctr_bytes) && memcmp(out, ctr_bytes, len) == 0, "bytes of a full trailer");
	fill(&trailer, TV_WAL_FORM_FULL, TV_CIPHER_AES_256_GCM);
	len = tv_wal_trailer_encode(&trailer, out, &spare);
	ok(len == TV_WAL_TRAILER_MAX && memcmp(out, short_bytes, 16) == 0 &&
	   memcmp(out + 16, ctr_bytes, 20) == 0 && out[36] == 1, "bytes of a full trailer with tag");
	ok(spare == 0, "and nothing in the header");

	fill(&trailer, TV_WAL_FORM_COMPACT, TV_CIPHER_AES_256_GCM);
	trailer.epoch = 5;
	len = tv_wal_trailer_encode(&trailer, out, &spare);
	ok(len == 17 && memcmp(out, short_bytes, 16) == 0 && out[16] == 0xc1 && spare == 0x35c0,
	   "bytes of a compact trailer");
	trailer.epoch = 0x0abc;
	trailer.rmid = 128;
	len = tv_wal_trailer_encode(&trailer, out, &spare);
	ok(len == 20 && memcmp(out + 16, "\xbc\x0a\x80\xc1", 4) == 0 && spare == 0xf0c0,
	   "what the header has no room for is in the trailer");
}

/* Every resource manager, and versions of keys at the edges. */
static void
test_compact(void)
{
	static const uint16_t epochs[] = {1, 2, 14, 15, 16, 255, 256, 4095};
	TvWalTrailer trailer;
	TvWalTrailer back;
	uint8_t		out[TV_WAL_TRAILER_MAX];
	uint16_t	spare;
	size_t		used;
	int			good = 0;
	int			small = 0;

	for (int rmid = 0; rmid < 256; rmid++)
	{
		for (size_t e = 0; e < 8; e++)
		{
			size_t		len;

			fill(&trailer, TV_WAL_FORM_COMPACT, TV_CIPHER_AES_256_GCM);
			trailer.rmid = (uint8_t) rmid;
			trailer.epoch = epochs[e];
			trailer.counter = (uint16_t) (rmid * 771 + e);
			len = tv_wal_trailer_encode(&trailer, out, &spare);
			small += len == 17;
			good += spare != 0 && tv_wal_trailer_decode(out, len, spare, &back, &used) == TV_OK &&
				used == len && back.form == TV_WAL_FORM_COMPACT && back.rmid == trailer.rmid &&
				back.epoch == trailer.epoch && back.counter == trailer.counter &&
				memcmp(back.tag, trailer.tag, TV_TAG_LEN) == 0;
		}
	}
	ok(good == 256 * 8, "every resource manager and version comes back");
	ok(small == 14 * 4, "17 bytes for the server's resource managers about blocks");
}

/* Nonces are numbers, of which none comes twice. */
static void
test_nonces(void)
{
	static const uint8_t prefix[TV_WAL_PREFIX_LEN] = {0xff, 0xff, 0xff, 1, 2, 3, 4};
	static const uint8_t at_end[TV_WAL_PREFIX_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	uint8_t		nonce[TV_NONCE_LEN];

	tv_wal_nonce(prefix, UINT64_C(0xffffffffff), nonce);
	ok(memcmp(nonce, "\xff\xff\xff\1\2\3\4\xff\xff\xff\xff\xff", 12) == 0,
	   "prefix and 40 bits of counter");
	tv_wal_nonce(prefix, UINT64_C(0x10000000000), nonce);
	ok(memcmp(nonce, "\0\0\0\2\2\3\4\0\0\0\0\0", 12) == 0, "more bits are carried into the prefix");
	tv_wal_nonce(at_end, UINT64_C(0x20000000001), nonce);
	ok(memcmp(nonce, "\1\0\0\0\0\0\0\1\0\0\0\0", 12) == 0, "which goes round");
}

static uint32_t
tries_for(uint64_t lsn, uint64_t counter)
{
	uint64_t	guess;

	for (uint32_t i = 0; tv_wal_counter_guess(lsn, (uint16_t) counter, i, &guess); i++)
	{
		if (guess == counter)
			return i + 1;
	}
	return 0;
}

static void
test_guesses(void)
{
	const uint64_t lsn = UINT64_C(0x12345) << 32;
	const uint64_t at = tv_wal_counter_at(lsn);
	uint64_t	guess;
	int			seen = 0;
	uint32_t	last = 0;

	for (int64_t off = -40000; off <= 16000; off += 13)
		seen += tries_for(lsn, at + (uint64_t) off) == 1;
	ok(seen == 56000 / 13 + 1, "a counter near the record's place is the first guess");
	ok(tries_for(lsn, at - 65536) <= 2 && tries_for(lsn, at - 5 * 65536) <= 7 &&
	   tries_for(lsn, at - 100000 * UINT64_C(65536)) <= 100002, "one long before comes later");
	ok(tries_for(lsn, at + 65536) == 3, "one far ahead, too");

	seen = 0;
	for (uint64_t counter = 0; counter < 200000; counter += 7)
		seen += tries_for(100000 * 64, counter) > 0 || counter > 100000 + 16384;
	ok(seen == 200000 / 7 + 1, "from the beginning of WAL on each is found");
	seen = 0;
	for (uint32_t low = 0; low < 65536; low++)
	{
		last = tries_for(0, low);
		seen += last > 0 && last <= 3;
	}
	ok(seen == 65536, "even at 0");
	for (last = 0; tv_wal_counter_guess(UINT64_C(1) << 26, 77, last, &guess); last++)
		;
	ok(last == 18 && guess < 65536, "guesses end");
}

#define PLAIN_LEN 41			/* of each record of the fixtures */

/*
 * One record of a fixture: what follows it there.  nonce: what a trailer that
 * does not hold all of it leaves out is there, as the keyring and the record's
 * place would tell.
 */
static const uint8_t *
open_fixture(const uint8_t *bytes, TvWalForm form, TvCipher cipher, size_t trailer_len)
{
	static const uint8_t nonce[] = "\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab";
	TvWalHead	head = {form, 10, 0x20, 1, 0x0abc, 3, 700, 701, 3, UINT64_C(0x1122334455667788)};
	TvWalBlock	block = {1, 0x20, 0, 38, 0, 0, 0, 1663, 5, 16384, 9};
	TvCipherContext *context = aligned_alloc(64, (tv_cipher_context_size(cipher) + 63) & ~(size_t) 63);
	uint8_t		key[TV_KEY_LEN];
	uint8_t		aad[TV_WAL_AAD_MAX];
	uint8_t		plain[PLAIN_LEN];
	uint8_t	   *end = tv_wal_aad_block(&block, tv_wal_aad_head(&head, aad));
	TvWalTrailer trailer;
	uint16_t	spare = 0;
	size_t		used;
	int			right = 0;

	for (int i = 0; i < TV_KEY_LEN; i++)
		key[i] = (uint8_t) (i * 7 + 1);
	if (context == NULL || tv_cipher_init(context, cipher, key, sizeof(key)) != TV_OK)
		abort();
	if (form == TV_WAL_FORM_COMPACT)
	{
		spare = (uint16_t) (bytes[0] | bytes[1] << 8);
		bytes += 2;
	}
	ok(tv_wal_trailer_decode(bytes, PLAIN_LEN + trailer_len, spare, &trailer, &used) == TV_OK &&
	   used == trailer_len && trailer.form == form && trailer.rmid == 10 && trailer.epoch == 0x0abc,
	   "trailer of form %d with %s is read", (int) form, tv_cipher_name(cipher));
	if (form == TV_WAL_FORM_SHORT)
		memcpy(trailer.nonce, nonce, TV_WAL_PREFIX_LEN);
	if (form == TV_WAL_FORM_COMPACT)
	{
		ok(trailer.counter == (nonce[7] | nonce[8] << 8), "with the end of the nonce's counter");
		memcpy(trailer.nonce, nonce, TV_NONCE_LEN);
	}
	ok(tv_cipher_open(context, trailer.nonce, aad, (size_t) (end - aad), bytes, plain,
					  PLAIN_LEN, trailer.tag) == TV_OK, "and its record opened");
	for (int i = 0; i < PLAIN_LEN; i++)
		right += plain[i] == 'A' + i;
	ok(right == PLAIN_LEN, "to what it was");
	free(context);
	return bytes + PLAIN_LEN + trailer_len;
}

/* Records that earlier versions sealed, and what they opened to. */
static void
test_fixtures(void)
{
	static const struct
	{
		TvWalForm	form;
		TvCipher	cipher;
		size_t		trailer;
	}			kinds[] = {
		{TV_WAL_FORM_FULL, TV_CIPHER_AES_256_GCM, 40},
		{TV_WAL_FORM_FULL, TV_CIPHER_CHACHA20_POLY1305, 40},
		{TV_WAL_FORM_FULL, TV_CIPHER_AES_256_CTR, 24},
		{TV_WAL_FORM_SHORT, TV_CIPHER_AES_256_GCM, 24},
		{TV_WAL_FORM_SHORT, TV_CIPHER_CHACHA20_POLY1305, 24},
		{TV_WAL_FORM_COMPACT, TV_CIPHER_AES_256_GCM, 19},
		{TV_WAL_FORM_COMPACT, TV_CIPHER_CHACHA20_POLY1305, 19},
	};
	uint8_t		bytes[1024] = {0};
	size_t		len = fixture_read_hex("wal_v1.hex", bytes, sizeof(bytes));
	const uint8_t *at = bytes;

	len += fixture_read_hex("wal_v1_compact.hex", bytes + len, sizeof(bytes) - len);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		at = open_fixture(at, kinds[k].form, kinds[k].cipher, kinds[k].trailer);
	ok(at == bytes + len, "all of the fixtures is read");
}

static void
test_round_trip(TvWalForm form, TvCipher cipher)
{
	uint8_t		data[100 + TV_WAL_TRAILER_MAX];
	TvWalTrailer trailer;
	TvWalTrailer back;
	size_t		len;
	size_t		used;
	uint16_t	spare;
	int			refused = 0;

	memset(data, 0xee, sizeof(data));
	fill(&trailer, form, cipher);
	len = tv_wal_trailer_encode(&trailer, data + 100, &spare);
	ok(tv_wal_trailer_decode(data, 100 + len, spare, &back, &used) == TV_OK && used == len,
	   "form %d with %s is read", (int) form, tv_cipher_name(cipher));
	ok(back.rmid == trailer.rmid && back.epoch == trailer.epoch && back.form == trailer.form &&
	   (form == TV_WAL_FORM_COMPACT || memcmp(back.nonce + TV_WAL_PREFIX_LEN, trailer.nonce + TV_WAL_PREFIX_LEN, TV_WAL_COUNTER_LEN) == 0) &&
	   (form != TV_WAL_FORM_COMPACT || back.counter == trailer.counter) &&
	   (!tv_cipher_has_tag(cipher) || memcmp(back.tag, trailer.tag, TV_TAG_LEN) == 0),
	   "and says the same");
	if (form == TV_WAL_FORM_FULL)
		ok(back.key == trailer.key && back.cipher == trailer.cipher &&
		   memcmp(back.nonce, trailer.nonce, TV_NONCE_LEN) == 0, "with key and nonce");
	for (size_t cut = 0; cut < len; cut++)
		refused += tv_wal_trailer_decode(data + 100 + len - cut, cut, spare, &back, &used) == TV_ERR_TRUNCATED;
	ok(refused == (int) len, "refused when cut anywhere");
}

static void
test_refusals(void)
{
	uint8_t		data[TV_WAL_TRAILER_MAX];
	TvWalTrailer trailer;
	size_t		used;
	size_t		len;
	uint16_t	spare;

	fill(&trailer, TV_WAL_FORM_SHORT, TV_CIPHER_AES_256_GCM);
	len = tv_wal_trailer_encode(&trailer, data, &spare);
	data[len - 1] = 0x4a;
	ok(tv_wal_trailer_decode(data, len, 0, &trailer, &used) == TV_ERR_VERSION, "an unknown form is a newer version");
	data[len - 1] = 0x3a;
	ok(tv_wal_trailer_decode(data, len, 0, &trailer, &used) == TV_ERR_CORRUPT, "the compact form has no such end");
	data[len - 1] = 0x0a;
	ok(tv_wal_trailer_decode(data, len, 0, &trailer, &used) == TV_ERR_CORRUPT, "no form is damage");
	data[len - 1] = 0x20;
	data[len - 2] = 0;
	ok(tv_wal_trailer_decode(data, len, 0, &trailer, &used) == TV_ERR_CORRUPT, "version 0 of a key is damage");
	fill(&trailer, TV_WAL_FORM_FULL, TV_CIPHER_AES_256_GCM);
	len = tv_wal_trailer_encode(&trailer, data, &spare);
	data[len - 4] = TV_CIPHER_AES_256_XTS;
	ok(tv_wal_trailer_decode(data, len, 0, &trailer, &used) == TV_ERR_CORRUPT, "XTS seals no record");
	data[len - 4] = 0;
	ok(tv_wal_trailer_decode(data, len, 0, &trailer, &used) == TV_ERR_CORRUPT, "nor does no cipher");
	data[len - 4] = 99;
	ok(tv_wal_trailer_decode(data, len, 0, &trailer, &used) == TV_ERR_CORRUPT, "nor an unknown one");

	fill(&trailer, TV_WAL_FORM_COMPACT, TV_CIPHER_AES_256_GCM);
	trailer.rmid = 128;
	len = tv_wal_trailer_encode(&trailer, data, &spare);
	ok(tv_wal_trailer_decode(data, len, spare & 0x0fff, &trailer, &used) == TV_ERR_VERSION,
	   "a compact trailer of no resource manager is a newer version");
	data[16] = 15;
	data[17] = 0;
	ok(tv_wal_trailer_decode(data, len, spare, &trailer, &used) == TV_ERR_CORRUPT, "a version with two spellings is damage");
	data[17] = 0x10;
	ok(tv_wal_trailer_decode(data, len, spare, &trailer, &used) == TV_ERR_CORRUPT, "nor are there versions past 4095");
	data[17] = 0x0f;
	ok(tv_wal_trailer_decode(data, len, spare, &trailer, &used) == TV_OK, "but there is 4095");
	data[18] = 10;
	ok(tv_wal_trailer_decode(data, len, spare, &trailer, &used) == TV_ERR_CORRUPT, "a resource manager with two spellings is damage");
}

/* Whatever differs in the readable part differs in what is authenticated. */
static void
test_aad(void)
{
	TvWalHead	head = {2, 10, 0x20, 1, 7, 3, 700, 701, 44, UINT64_C(0x1122334455667788)};
	TvWalBlock	block = {1, 0x90, 3, 100, 200, 40, 60, 1663, 5, 16384, 9};
	uint8_t		first[TV_WAL_AAD_MAX];
	uint8_t		other[TV_WAL_AAD_MAX];
	size_t		head_len = (size_t) (tv_wal_aad_head(&head, first) - first);
	size_t		block_len;
	int			seen = 0;

	ok(head_len == TV_WAL_AAD_HEAD_LEN, "%zu bytes of head", head_len);
	block_len = (size_t) (tv_wal_aad_block(&block, first + head_len) - first) - head_len;
	ok(block_len <= TV_WAL_AAD_BLOCK_MAX, "%zu bytes of block", block_len);

#define CHANGED(field) \
	do { \
		field++; \
		tv_wal_aad_block(&block, tv_wal_aad_head(&head, other)); \
		seen += memcmp(first, other, head_len + block_len) != 0; \
		field--; \
	} while (0)
	CHANGED(head.form);
	CHANGED(head.rmid);
	CHANGED(head.info);
	CHANGED(head.blocks);
	CHANGED(head.epoch);
	CHANGED(head.origin);
	CHANGED(head.xid);
	CHANGED(head.toplevel_xid);
	CHANGED(head.main_len);
	CHANGED(head.key);
	CHANGED(block.id);
	CHANGED(block.flags);
	CHANGED(block.image_info);
	CHANGED(block.data_len);
	CHANGED(block.image_len);
	CHANGED(block.hole_offset);
	CHANGED(block.hole_length);
	CHANGED(block.tablespace);
	CHANGED(block.database);
	CHANGED(block.relation);
	CHANGED(block.block);
	ok(seen == 21, "each of 21 fields is authenticated");
}

int
main(void)
{
	test_ciphers();
	test_bytes();
	test_compact();
	test_nonces();
	test_guesses();
	test_fixtures();
	for (size_t i = 0; i < 3; i++)
		test_round_trip(TV_WAL_FORM_FULL, message_ciphers[i]);
	test_round_trip(TV_WAL_FORM_SHORT, TV_CIPHER_AES_256_GCM);
	test_round_trip(TV_WAL_FORM_SHORT, TV_CIPHER_CHACHA20_POLY1305);
	test_round_trip(TV_WAL_FORM_COMPACT, TV_CIPHER_AES_256_GCM);
	test_round_trip(TV_WAL_FORM_COMPACT, TV_CIPHER_CHACHA20_POLY1305);
	test_refusals();
	test_aad();
	return unit_done();
}
