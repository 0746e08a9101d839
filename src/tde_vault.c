/*
 * tde_vault.c
 *	  Load the module: an ordered list of what each area sets up.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "attach/tv_attach.h"
#include "audit/tv_audit.h"
#include "base/tv_report.h"
#include "base/tv_settings.h"
#include "base/tv_shmem.h"
#include "crypto/tv_cipher.h"
#include "crypto/tv_kdf.h"
#include "ddl/tv_ddl.h"
#include "guard/tv_guard.h"
#include "guard/tv_guard_utility.h"
#include "keyring/tv_keyring.h"
#include "page/tv_page_nonce.h"
#include "page/tv_page_smgr.h"
#include "spill/tv_spill.h"
#include "vault/tv_vault.h"
#include "wal/tv_wal_rmgr.h"
#include "worker/tv_worker.h"

PG_MODULE_MAGIC;

/* base/tv_settings.c numbers the ciphers without seeing TvCipher */
StaticAssertDecl(TV_CIPHER_AES_256_GCM == 1 && TV_CIPHER_CHACHA20_POLY1305 == 2 &&
				 TV_CIPHER_AES_256_CTR == 3 && TV_CIPHER_AES_256_XTS == 4,
				 "settings and ciphers disagree");

void		_PG_init(void);

static void
crypto_init(void)
{
	TvError		err;

	if (tv_cipher_setup(&err) != TV_OK || tv_crypto_self_test(&err) != TV_OK)
		tv_report(FATAL, &err);
}

/*
 * A page that a crash tears can only be replaced whole, so the first change of
 * a page after a checkpoint must be logged whole, hint bits included
 * (contrib/doc/formats.md, "Torn pages").
 */
static void
require_settings(void)
{
	SetConfigOption("wal_log_hints", "on", PGC_POSTMASTER, PGC_S_OVERRIDE);
	SetConfigOption("full_page_writes", "on", PGC_SIGHUP, PGC_S_OVERRIDE);
}

void
_PG_init(void)
{
	tv_attach_check_server();
	tv_settings_init();
	require_settings();
	crypto_init();
	tv_keyring_init();
	tv_page_nonce_init();
	tv_spill_init();
	tv_vault_init();
	tv_audit_init();
	tv_shmem_init();
	tv_page_attach();
	tv_wal_init();
	tv_guard_utility_init();
	tv_ddl_init();
	tv_guard_init();
	tv_worker_init();
	tv_attach_end();
}
