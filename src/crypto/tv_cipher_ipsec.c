/*
 * tv_cipher_ipsec.c
 *	  GCM, ChaCha20-Poly1305, CTR and raw AES blocks by Intel's libipsec-mb.
 *
 * Key schedules are plain memory in the caller's context.  The library's
 * manager is a table of function pointers with a ring of job slots.  Every
 * job submitted here is of a kind that the library completes at once, so the
 * ring is empty between calls, holds no key bytes, and a child can go on with
 * the copy it inherits.  A job that is not completed at once is an error.
 *
 * Debian builds the library with SAFE_DATA and SAFE_PARAM: it clears key
 * material from registers and stack, and checks its arguments.
 */
#include "crypto/tv_cipher_impl.h"

#if defined(__x86_64__)

#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/tv_secret.h"

_Static_assert(sizeof(struct gcm_key_data) <= TV_SCHEDULE_GCM,
			   "GCM schedule does not fit");

#define AES_256_SCHEDULE 240	/* 15 round keys */

static IMB_MGR *manager;
static char label[64];

/*
 * Make the manager for this CPU.
 */
TvStatus
tv_ipsec_setup(bool *usable, TvError *err)
{
	const uint64_t aes = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;
	IMB_MGR    *m;
	IMB_ARCH	arch;
	const char *level;

	*usable = (manager != NULL);
	if (manager != NULL)
		return TV_OK;
	m = alloc_mb_mgr(0);
	if (m == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY,
						"out of memory while setting up ciphers");
	if ((m->features & aes) != aes || (m->features & IMB_FEATURE_SSE4_2) == 0)
	{
		free_mb_mgr(m);
		return TV_OK;			/* not an error: OpenSSL serves */
	}
	init_mb_mgr_auto(m, &arch);
	if (imb_get_errno(m) != 0 ||
		((m->features & IMB_FEATURE_SELF_TEST) != 0 &&
		 (m->features & IMB_FEATURE_SELF_TEST_PASS) == 0))
	{
		int			code = imb_get_errno(m);

		free_mb_mgr(m);
		return tv_error(err, TV_ERR_INTERNAL,
						"libipsec-mb failed its self test: %s",
						imb_get_strerror(code));
	}

	level = arch == IMB_ARCH_AVX512 ? "AVX512" :
		arch == IMB_ARCH_AVX2 ? "AVX2" :
		arch == IMB_ARCH_AVX ? "AVX" : "SSE";
	snprintf(label, sizeof(label), "libipsec-mb %s (%s%s)",
			 imb_get_version_str(), level,
			 (m->features & IMB_FEATURE_VAES) != 0 ? ", VAES" : "");
	manager = m;
	*usable = true;
	return TV_OK;
}

/* Version and instruction set, for people. */
const char *
tv_ipsec_label(void)
{
	return label;
}

/*
 * The library's ChaCha20 beats OpenSSL's only with AVX512 (measured).
 */
bool
tv_ipsec_fast_chacha(void)
{
	return (manager->features & IMB_FEATURE_AVX512_SKX) == IMB_FEATURE_AVX512_SKX;
}

/* Can carry-less multiplication be done on four blocks at once? */
bool
tv_ipsec_has_wide_clmul(void)
{
	const uint64_t need = IMB_FEATURE_AVX512_SKX | IMB_FEATURE_VPCLMULQDQ;

	return (manager->features & need) == need;
}

/*
 * After a call that returns nothing: did the library do its work?
 */
static inline TvStatus
call_status(void)
{
	return imb_get_errno(manager) == 0 ? TV_OK : TV_ERR_INTERNAL;
}

static TvStatus
gcm_init(void *schedule, const uint8_t *key)
{
	IMB_AES256_GCM_PRE(manager, key, (struct gcm_key_data *) schedule);
	return call_status();
}

static TvStatus
gcm_seal(const void *schedule, const uint8_t *iv,
		 const uint8_t *aad, size_t aadlen,
		 const uint8_t *in, uint8_t *out, size_t len,
		 uint8_t *tag)
{
	struct gcm_context_data state;

	IMB_AES256_GCM_ENC(manager, schedule, &state, out, in, len, iv,
					   aad, aadlen, tag, TV_TAG_LEN);
	tv_secret_wipe(&state, sizeof(state));
	return call_status();
}

static TvStatus
gcm_open(const void *schedule, const uint8_t *iv,
		 const uint8_t *aad, size_t aadlen,
		 const uint8_t *in, uint8_t *out, size_t len,
		 const uint8_t *tag)
{
	struct gcm_context_data state;
	uint8_t		computed[TV_TAG_LEN];

	/* wrong, should the library refuse to work */
	for (int i = 0; i < TV_TAG_LEN; i++)
		computed[i] = (uint8_t) ~tag[i];
	IMB_AES256_GCM_DEC(manager, schedule, &state, out, in, len, iv,
					   aad, aadlen, computed, TV_TAG_LEN);
	tv_secret_wipe(&state, sizeof(state));
	if (CRYPTO_memcmp(computed, tag, TV_TAG_LEN) == 0)
		return TV_OK;

	/* the right tag of a forged message is as good as a forgery */
	tv_secret_wipe(computed, sizeof(computed));
	return call_status() == TV_OK ? TV_ERR_AUTH : TV_ERR_INTERNAL;
}

/*
 * Hand a job to the library, which completes it before it returns.
 */
static inline TvStatus
run_job(IMB_JOB *job)
{
	job = IMB_SUBMIT_JOB(manager);
	if (job == NULL || job->status != IMB_STATUS_COMPLETED)
		return TV_ERR_INTERNAL;
	return TV_OK;
}

static TvStatus
chacha_init(void *schedule, const uint8_t *key)
{
	memcpy(schedule, key, TV_KEY_LEN);
	return TV_OK;
}

static TvStatus
chacha_job(IMB_CIPHER_DIRECTION direction, const void *schedule,
		   const uint8_t *iv, const uint8_t *aad, size_t aadlen,
		   const uint8_t *in, uint8_t *out, size_t len, uint8_t *tag)
{
	static const uint8_t nothing[1];
	static uint8_t nowhere[1];
	IMB_JOB    *job = IMB_GET_NEXT_JOB(manager);

	job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
	job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
	job->cipher_direction = direction;
	job->chain_order = direction == IMB_DIR_ENCRYPT ?
		IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->enc_keys = schedule;
	job->dec_keys = schedule;
	job->key_len_in_bytes = TV_KEY_LEN;
	job->src = len > 0 ? in : nothing;
	job->dst = len > 0 ? out : nowhere;
	job->cipher_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = len;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = len;
	job->iv = iv;
	job->iv_len_in_bytes = TV_NONCE_LEN;
	job->auth_tag_output = tag;
	job->auth_tag_output_len_in_bytes = TV_TAG_LEN;
	job->u.CHACHA20_POLY1305.aad = aadlen > 0 ? aad : nothing;
	job->u.CHACHA20_POLY1305.aad_len_in_bytes = aadlen;
	job->u.CHACHA20_POLY1305.ctx = NULL;
	return run_job(job);
}

static TvStatus
chacha_seal(const void *schedule, const uint8_t *iv,
			const uint8_t *aad, size_t aadlen,
			const uint8_t *in, uint8_t *out, size_t len,
			uint8_t *tag)
{
	return chacha_job(IMB_DIR_ENCRYPT, schedule, iv, aad, aadlen,
					  in, out, len, tag);
}

static TvStatus
chacha_open(const void *schedule, const uint8_t *iv,
			const uint8_t *aad, size_t aadlen,
			const uint8_t *in, uint8_t *out, size_t len,
			const uint8_t *tag)
{
	uint8_t		computed[TV_TAG_LEN] = {0};
	TvStatus	status;

	status = chacha_job(IMB_DIR_DECRYPT, schedule, iv, aad, aadlen,
						in, out, len, computed);
	if (status == TV_OK && CRYPTO_memcmp(computed, tag, TV_TAG_LEN) != 0)
		status = TV_ERR_AUTH;
	tv_secret_wipe(computed, sizeof(computed));
	return status;
}

/*
 * Expand an AES-256 key for encryption and, with dec given, for decryption.
 */
void
tv_ipsec_aes_keys(const uint8_t *key, void *enc, void *dec)
{
	uint8_t		unused[AES_256_SCHEDULE] __attribute__((aligned(16)));

	if (dec != NULL)
		IMB_AES_KEYEXP_256(manager, key, enc, dec);
	else
	{
		IMB_AES_KEYEXP_256(manager, key, enc, unused);
		tv_secret_wipe(unused, sizeof(unused));
	}
}

static TvStatus
ctr_init(void *schedule, const uint8_t *key)
{
	tv_ipsec_aes_keys(key, schedule, NULL);
	return call_status();
}

/*
 * One message through the library's synchronous cipher interface, which
 * takes the job from the caller.  iv: 16 bytes.
 */
static TvStatus
run_burst(IMB_CIPHER_MODE mode, IMB_CIPHER_DIRECTION direction,
		  const void *keys, const uint8_t *iv,
		  const uint8_t *in, uint8_t *out, size_t len)
{
	IMB_JOB		job;

	memset(&job, 0, sizeof(job));
	job.enc_keys = keys;
	job.dec_keys = keys;
	job.key_len_in_bytes = IMB_KEY_256_BYTES;
	job.src = in;
	job.dst = out;
	job.msg_len_to_cipher_in_bytes = len;
	job.iv = iv;
	job.iv_len_in_bytes = TV_AES_BLOCK;
	if (IMB_SUBMIT_CIPHER_BURST(manager, &job, 1, mode, direction,
								IMB_KEY_256_BYTES) != 1 ||
		job.status != IMB_STATUS_COMPLETED)
		return TV_ERR_INTERNAL;
	return TV_OK;
}

static TvStatus
ctr_crypt(const void *schedule, const uint8_t *iv,
		  const uint8_t *in, uint8_t *out, size_t len)
{
	uint8_t		counter[TV_AES_BLOCK] = {0};

	if (len == 0)
		return TV_OK;
	memcpy(counter, iv, TV_NONCE_LEN);
	return run_burst(IMB_CIPHER_CNTR, IMB_DIR_ENCRYPT, schedule, counter,
					 in, out, len);
}

static TvStatus
ctr_seal(const void *schedule, const uint8_t *iv,
		 const uint8_t *aad, size_t aadlen,
		 const uint8_t *in, uint8_t *out, size_t len,
		 uint8_t *tag)
{
	(void) aad, (void) aadlen, (void) tag;
	return ctr_crypt(schedule, iv, in, out, len);
}

static TvStatus
ctr_open(const void *schedule, const uint8_t *iv,
		 const uint8_t *aad, size_t aadlen,
		 const uint8_t *in, uint8_t *out, size_t len,
		 const uint8_t *tag)
{
	(void) aad, (void) aadlen, (void) tag;
	return ctr_crypt(schedule, iv, in, out, len);
}

/*
 * Encrypt whole blocks, each on its own.
 */
TvStatus
tv_ipsec_ecb_encrypt(const void *enc, const uint8_t *in, uint8_t *out,
					 size_t len)
{
	IMB_JOB    *job = IMB_GET_NEXT_JOB(manager);

	job->cipher_mode = IMB_CIPHER_ECB;
	job->hash_alg = IMB_AUTH_NULL;
	job->cipher_direction = IMB_DIR_ENCRYPT;
	job->chain_order = IMB_ORDER_CIPHER_HASH;
	job->enc_keys = enc;
	job->dec_keys = enc;
	job->key_len_in_bytes = IMB_KEY_256_BYTES;
	job->src = in;
	job->dst = out;
	job->cipher_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = len;
	job->iv = NULL;
	job->iv_len_in_bytes = 0;
	return run_job(job);
}

/*
 * Encrypt one block: a counter block's keystream.
 */
TvStatus
tv_ipsec_encrypt_block(const void *enc, const uint8_t *in, uint8_t *out)
{
	static const uint8_t zero[TV_AES_BLOCK];
	uint8_t		keystream[TV_AES_BLOCK];
	TvStatus	status;

	status = run_burst(IMB_CIPHER_CNTR, IMB_DIR_ENCRYPT, enc, in,
					   zero, keystream, TV_AES_BLOCK);
	memcpy(out, keystream, TV_AES_BLOCK);
	return status;
}

/*
 * Decrypt whole blocks in CBC mode.
 */
TvStatus
tv_ipsec_cbc_decrypt(const void *dec, const uint8_t *iv,
					 const uint8_t *in, uint8_t *out, size_t len)
{
	return run_burst(IMB_CIPHER_CBC, IMB_DIR_DECRYPT, dec, iv, in, out, len);
}

const TvCipherOps tv_ipsec_ops[TV_CIPHER_COUNT] = {
	[TV_CIPHER_AES_256_GCM] = {gcm_init, gcm_seal, gcm_open},
	[TV_CIPHER_CHACHA20_POLY1305] = {chacha_init, chacha_seal, chacha_open},
	[TV_CIPHER_AES_256_CTR] = {ctr_init, ctr_seal, ctr_open},
	[TV_CIPHER_AES_256_XTS] =
	{tv_ipsec_xts_init, tv_ipsec_xts_seal, tv_ipsec_xts_open},
};

#else							/* !__x86_64__ */

/* The library exists for amd64 only: never usable, never called. */

const TvCipherOps tv_ipsec_ops[TV_CIPHER_COUNT];

TvStatus
tv_ipsec_setup(bool *usable, TvError *err)
{
	(void) err;
	*usable = false;
	return TV_OK;
}

const char *
tv_ipsec_label(void)
{
	return "none";
}

bool
tv_ipsec_fast_chacha(void)
{
	return false;
}

#endif
