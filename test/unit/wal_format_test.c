/*
 * wal_format_test.c
 *	  The trailer of sealed WAL records, and what they authenticate.
 */
#include <string.h>

#include "unit.h"
#include "wal/tv_wal_format.h"

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
	ok(tv_wal_form(TV_CIPHER_AES_256_GCM, true) == TV_WAL_FORM_SHORT, "short form");
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
	size_t		len;

	fill(&trailer, TV_WAL_FORM_SHORT, TV_CIPHER_AES_256_GCM);
	len = tv_wal_trailer_encode(&trailer, out);
	ok(len == sizeof(short_bytes) && memcmp(out, short_bytes, len) == 0, "bytes of a short trailer");
	fill(&trailer, TV_WAL_FORM_FULL, TV_CIPHER_AES_256_CTR);
	len = tv_wal_trailer_encode(&trailer, out);
	ok(len == sizeof(ctr_bytes) && memcmp(out, ctr_bytes, len) == 0, "bytes of a full trailer");
	fill(&trailer, TV_WAL_FORM_FULL, TV_CIPHER_AES_256_GCM);
	len = tv_wal_trailer_encode(&trailer, out);
	ok(len == TV_WAL_TRAILER_MAX && memcmp(out, short_bytes, 16) == 0 &&
	   memcmp(out + 16, ctr_bytes, 20) == 0 && out[36] == 1, "bytes of a full trailer with tag");
}

static void
test_round_trip(TvWalForm form, TvCipher cipher)
{
	uint8_t		data[100 + TV_WAL_TRAILER_MAX];
	TvWalTrailer trailer;
	TvWalTrailer back;
	size_t		len;
	size_t		used;
	int			refused = 0;

	memset(data, 0xee, sizeof(data));
	fill(&trailer, form, cipher);
	len = tv_wal_trailer_encode(&trailer, data + 100);
	ok(tv_wal_trailer_decode(data, 100 + len, &back, &used) == TV_OK && used == len,
	   "form %d with %s is read", (int) form, tv_cipher_name(cipher));
	ok(back.rmid == trailer.rmid && back.epoch == trailer.epoch && back.form == trailer.form &&
	   memcmp(back.nonce + TV_WAL_PREFIX_LEN, trailer.nonce + TV_WAL_PREFIX_LEN, TV_WAL_COUNTER_LEN) == 0 &&
	   (!tv_cipher_has_tag(cipher) || memcmp(back.tag, trailer.tag, TV_TAG_LEN) == 0),
	   "and says the same");
	if (form == TV_WAL_FORM_FULL)
		ok(back.key == trailer.key && back.cipher == trailer.cipher &&
		   memcmp(back.nonce, trailer.nonce, TV_NONCE_LEN) == 0, "with key and nonce");
	for (size_t cut = 0; cut < len; cut++)
		refused += tv_wal_trailer_decode(data + 100 + len - cut, cut, &back, &used) == TV_ERR_TRUNCATED;
	ok(refused == (int) len, "refused when cut anywhere");
}

static void
test_refusals(void)
{
	uint8_t		data[TV_WAL_TRAILER_MAX];
	TvWalTrailer trailer;
	size_t		used;
	size_t		len;

	fill(&trailer, TV_WAL_FORM_SHORT, TV_CIPHER_AES_256_GCM);
	len = tv_wal_trailer_encode(&trailer, data);
	data[len - 1] = 0x3a;
	ok(tv_wal_trailer_decode(data, len, &trailer, &used) == TV_ERR_VERSION, "an unknown form is a newer version");
	data[len - 1] = 0x0a;
	ok(tv_wal_trailer_decode(data, len, &trailer, &used) == TV_ERR_CORRUPT, "no form is damage");
	data[len - 1] = 0x20;
	data[len - 2] = 0;
	ok(tv_wal_trailer_decode(data, len, &trailer, &used) == TV_ERR_CORRUPT, "version 0 of a key is damage");
	fill(&trailer, TV_WAL_FORM_FULL, TV_CIPHER_AES_256_GCM);
	len = tv_wal_trailer_encode(&trailer, data);
	data[len - 4] = TV_CIPHER_AES_256_XTS;
	ok(tv_wal_trailer_decode(data, len, &trailer, &used) == TV_ERR_CORRUPT, "XTS seals no record");
	data[len - 4] = 0;
	ok(tv_wal_trailer_decode(data, len, &trailer, &used) == TV_ERR_CORRUPT, "nor does no cipher");
	data[len - 4] = 99;
	ok(tv_wal_trailer_decode(data, len, &trailer, &used) == TV_ERR_CORRUPT, "nor an unknown one");
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

	ok(head_len <= TV_WAL_AAD_HEAD_MAX, "%zu bytes of head", head_len);
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
	for (size_t i = 0; i < 3; i++)
		test_round_trip(TV_WAL_FORM_FULL, message_ciphers[i]);
	test_round_trip(TV_WAL_FORM_SHORT, TV_CIPHER_AES_256_GCM);
	test_round_trip(TV_WAL_FORM_SHORT, TV_CIPHER_CHACHA20_POLY1305);
	test_refusals();
	test_aad();
	return unit_done();
}
