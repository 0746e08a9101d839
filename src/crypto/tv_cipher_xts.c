/*
 * tv_cipher_xts.c
 *	  XTS-AES-256 (IEEE 1619, NIST SP 800-38E) over a library's AES.
 *
 * libipsec-mb has no XTS of its own, and libgcrypt and OpenSSL keep their key
 * schedules in heap memory of their own.  Here AES is the library's; this
 * file adds the mode:
 *
 *		T(0) = E(key2, tweak), T(j) = T(0) * x^j in GF(2^128)
 *		C(j) = E(key1, X(j)) ^ T(j), X(j) = P(j) ^ T(j)
 *		P(j) = D(key1, X(j)) ^ T(j), X(j) = C(j) ^ T(j)
 *
 * with ciphertext stealing for a ragged end.  The library decrypts much
 * faster in CBC mode than block by block, so D(X(j)) is taken from there: CBC
 * gives D(X(j)) ^ X(j-1), and the last step removes X(j-1) with T(j).
 *
 * Tweaks are not key material and are left on the stack.  The data left
 * beside them is ciphertext, whitened, never plaintext.
 */
#include "crypto/tv_cipher_impl.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "base/tv_secret.h"

#define TILE_BLOCKS 512			/* an 8 kB page in one call of the library */
#define TILE_BYTES (TILE_BLOCKS * TV_AES_BLOCK)
#define AES_256_SCHEDULE 240

typedef struct XtsSchedule
{
	uint8_t		enc[AES_256_SCHEDULE];	/* key 1 */
	uint8_t		dec[AES_256_SCHEDULE];
	uint8_t		tweak[AES_256_SCHEDULE];	/* key 2, encryption only */
} XtsSchedule;

_Static_assert(sizeof(XtsSchedule) <= TV_SCHEDULE_XTS,
			   "XTS schedule does not fit");

/* A block as the field element it stands for: bit 0 of lo is x^0. */
typedef struct Block
{
	uint64_t	lo;
	uint64_t	hi;
} Block;

static inline Block
block_load(const uint8_t *p)
{
	Block		b;

	memcpy(&b, p, sizeof(b));
	return b;
}

static inline void
block_store(uint8_t *p, Block b)
{
	memcpy(p, &b, sizeof(b));
}

static inline Block
block_xor(Block a, Block b)
{
	return (Block) {a.lo ^ b.lo, a.hi ^ b.hi};
}

/* Multiply by x^n, n < 57, modulo x^128 + x^7 + x^2 + x + 1. */
static inline Block
block_shift(Block t, int n)
{
	uint64_t	carry = t.hi >> (64 - n);

	t.hi = (t.hi << n) | (t.lo >> (64 - n));
	t.lo = (t.lo << n) ^ carry ^ (carry << 1) ^ (carry << 2) ^ (carry << 7);
	return t;
}

/*
 * Write n successive tweaks, t first; return the one after the last.  Room
 * for a multiple of 16 is needed.
 */
static Block
fill_tweaks(Block t, uint8_t *tweaks, size_t n)
{
	Block		lane[4];
	size_t		i;

	lane[0] = t;
	for (int k = 1; k < 4; k++)
		lane[k] = block_shift(lane[k - 1], 1);
	for (i = 0; i + 4 <= n; i += 4)
	{
		for (int k = 0; k < 4; k++)
		{
			block_store(tweaks + (i + k) * TV_AES_BLOCK, lane[k]);
			lane[k] = block_shift(lane[k], 4);
		}
	}
	for (int k = 0; i + k < n; k++)
		block_store(tweaks + (i + k) * TV_AES_BLOCK, lane[k]);
	return lane[n - i];
}

/* out = a ^ b, n bytes, whole blocks */
static void
xor_two(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i += TV_AES_BLOCK)
		block_store(out + i, block_xor(block_load(a + i), block_load(b + i)));
}

/* out ^= a ^ b, n bytes, whole blocks */
static void
xor_into(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i += TV_AES_BLOCK)
		block_store(out + i, block_xor(block_load(out + i),
									   block_xor(block_load(a + i),
												 block_load(b + i))));
}

/*
 * The same three for CPUs with 512-bit registers and wide carry-less
 * multiplication.
 */
#define WIDE target("avx512f,avx512bw,avx512vl,vpclmulqdq")

/*
 * Multiply four field elements by x^n, n from a vector (< 57, both halves of
 * a lane alike).  What leaves the low half enters the high half, what leaves
 * the high half is folded back by a carry-less multiplication with
 * x^7 + x^2 + x + 1.
 */
__attribute__((WIDE))
static inline __m512i
wide_shift(__m512i t, __m512i n)
{
	const __m512i poly = _mm512_set1_epi64(0x87);
	__m512i		carry = _mm512_srlv_epi64(t, _mm512_sub_epi64(_mm512_set1_epi64(64), n));

	return _mm512_xor_si512(_mm512_sllv_epi64(t, n),
							_mm512_xor_si512(_mm512_bslli_epi128(carry, 8),
											 _mm512_clmulepi64_epi128(carry, poly, 0x01)));
}

/*
 * Multiply four field elements by x^16: a shift by two bytes.
 */
__attribute__((WIDE))
static inline __m512i
wide_shift_16(__m512i t)
{
	const __m512i poly = _mm512_set1_epi64(0x87);

	return _mm512_xor_si512(_mm512_bslli_epi128(t, 2),
							_mm512_clmulepi64_epi128(_mm512_bsrli_epi128(t, 14),
													 poly, 0x00));
}

__attribute__((WIDE))
static Block
fill_tweaks_wide(Block t, uint8_t *tweaks, size_t n)
{
	__m512i		v[4];

	v[0] = _mm512_broadcast_i32x4(_mm_set_epi64x((long long) t.hi, (long long) t.lo));
	v[0] = wide_shift(v[0], _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0));
	v[1] = wide_shift(v[0], _mm512_set1_epi64(4));
	v[2] = wide_shift(v[0], _mm512_set1_epi64(8));
	v[3] = wide_shift(v[1], _mm512_set1_epi64(8));

	for (size_t i = 0; i < n; i += 16)
	{
#pragma GCC unroll 4
		for (int k = 0; k < 4; k++) /* unrolled: v stays in registers */
		{
			_mm512_storeu_si512(tweaks + i * TV_AES_BLOCK + k * 64, v[k]);
			v[k] = wide_shift_16(v[k]);
		}
	}
	return block_shift(block_load(tweaks + (n - 1) * TV_AES_BLOCK), 1);
}

__attribute__((WIDE))
static void
xor_two_wide(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n)
{
	size_t		i = 0;

	for (; i + 64 <= n; i += 64)
		_mm512_storeu_si512(out + i,
							_mm512_xor_si512(_mm512_loadu_si512(a + i),
											 _mm512_loadu_si512(b + i)));
	xor_two(out + i, a + i, b + i, n - i);	/* masked stores can be slow */
}

__attribute__((WIDE))
static void
xor_into_wide(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n)
{
	size_t		i = 0;
	__m512i		x;

	for (; i + 64 <= n; i += 64)
	{
		x = _mm512_xor_si512(_mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i));
		_mm512_storeu_si512(out + i, _mm512_xor_si512(_mm512_loadu_si512(out + i), x));
	}
	xor_into(out + i, a + i, b + i, n - i);
}

typedef struct Kernels
{
	Block		(*fill_tweaks) (Block t, uint8_t *tweaks, size_t n);
	void		(*xor_two) (uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n);
	void		(*xor_into) (uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n);
} Kernels;

static const Kernels narrow = {fill_tweaks, xor_two, xor_into};
static const Kernels wide = {fill_tweaks_wide, xor_two_wide, xor_into_wide};

/*
 * Process n whole blocks starting with tweak *t, and advance *t past them.
 */
static TvStatus
xts_blocks(bool encrypt, const XtsSchedule *s, Block *t,
		   const uint8_t *in, uint8_t *out, size_t n)
{
	const Kernels *kern = tv_ipsec_has_wide_clmul() ? &wide : &narrow;
	uint8_t		room[64 + 2 * TILE_BYTES] __attribute__((aligned(64)));
	uint8_t    *x = room + 64;	/* whitened data */
	uint8_t    *tweaks = x + TILE_BYTES;	/* no 4 kB aliasing with x */
	uint8_t    *x_before = x - TV_AES_BLOCK;	/* the same, a block behind */
	TvStatus	status = TV_OK;

	memset(x_before, 0, TV_AES_BLOCK);	/* CBC's IV */
	while (n > 0 && status == TV_OK)
	{
		size_t		now = n < TILE_BLOCKS ? n : TILE_BLOCKS;
		size_t		bytes = now * TV_AES_BLOCK;

		*t = kern->fill_tweaks(*t, tweaks, now);
		kern->xor_two(x, in, tweaks, bytes);
		if (encrypt)
		{
			status = tv_ipsec_ecb_encrypt(s->enc, x, x, bytes);
			kern->xor_two(out, x, tweaks, bytes);
		}
		else
		{
			status = tv_ipsec_cbc_decrypt(s->dec, x_before, x, out, bytes);
			kern->xor_into(out, x_before, tweaks, bytes);
		}
		in += bytes;
		out += bytes;
		n -= now;
	}
	return status;
}

/*
 * Process one block with tweak t.
 */
static TvStatus
xts_one_block(bool encrypt, const XtsSchedule *s, Block t,
			  const uint8_t *in, uint8_t *out)
{
	static const uint8_t zero[TV_AES_BLOCK];
	uint8_t		x[TV_AES_BLOCK];
	TvStatus	status;

	block_store(x, block_xor(block_load(in), t));
	status = encrypt ? tv_ipsec_encrypt_block(s->enc, x, x) :
		tv_ipsec_cbc_decrypt(s->dec, zero, x, x, TV_AES_BLOCK);
	block_store(out, block_xor(block_load(x), t));
	return status;
}

/*
 * Seal or open a whole data unit.
 *
 * Ragged end: the last whole block is processed into "stolen"; its first
 * bytes become the short block, the rest fills up the short input, which is
 * then processed in the place of the last whole block.  When opening, those
 * two blocks take their tweaks in the opposite order.
 */
static TvStatus
xts_crypt(bool encrypt, const XtsSchedule *s, const uint8_t *iv,
		  const uint8_t *in, uint8_t *out, size_t len)
{
	size_t		ragged = len % TV_AES_BLOCK;
	size_t		plain = len / TV_AES_BLOCK - (ragged > 0 ? 1 : 0);
	uint8_t		start[TV_AES_BLOCK];
	uint8_t		stolen[TV_AES_BLOCK];
	uint8_t		filled[TV_AES_BLOCK];
	Block		t;
	TvStatus	status;

	status = tv_ipsec_encrypt_block(s->tweak, iv, start);
	if (status != TV_OK)
		return status;
	t = block_load(start);
	status = xts_blocks(encrypt, s, &t, in, out, plain);
	if (status != TV_OK || ragged == 0)
		return status;

	in += plain * TV_AES_BLOCK;
	out += plain * TV_AES_BLOCK;
	status = xts_one_block(encrypt, s, encrypt ? t : block_shift(t, 1),
						   in, stolen);
	if (status != TV_OK)
		return status;
	memcpy(filled, in + TV_AES_BLOCK, ragged);
	memcpy(filled + ragged, stolen + ragged, TV_AES_BLOCK - ragged);
	memcpy(out + TV_AES_BLOCK, stolen, ragged);
	status = xts_one_block(encrypt, s, encrypt ? block_shift(t, 1) : t,
						   filled, out);

	/* the last plaintext block passed through these */
	tv_secret_wipe(stolen, sizeof(stolen));
	tv_secret_wipe(filled, sizeof(filled));
	return status;
}

/* Make the schedules of both keys. */
TvStatus
tv_ipsec_xts_init(void *schedule, const uint8_t *key)
{
	XtsSchedule *s = schedule;

	tv_ipsec_aes_keys(key, s->enc, s->dec);
	tv_ipsec_aes_keys(key + TV_KEY_LEN, s->tweak, NULL);
	return TV_OK;
}

/* Encrypt a data unit. */
TvStatus
tv_ipsec_xts_seal(const void *schedule, const uint8_t *iv,
				  const uint8_t *aad, size_t aadlen,
				  const uint8_t *in, uint8_t *out, size_t len,
				  uint8_t *tag)
{
	(void) aad, (void) aadlen, (void) tag;
	return xts_crypt(true, schedule, iv, in, out, len);
}

/* Decrypt a data unit. */
TvStatus
tv_ipsec_xts_open(const void *schedule, const uint8_t *iv,
				  const uint8_t *aad, size_t aadlen,
				  const uint8_t *in, uint8_t *out, size_t len,
				  const uint8_t *tag)
{
	(void) aad, (void) aadlen, (void) tag;
	return xts_crypt(false, schedule, iv, in, out, len);
}

#endif							/* __x86_64__ */
