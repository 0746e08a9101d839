/*
 * tv_vault_recovery.c
 *	  Recovery shares: m of n people can name a vault administrator when there
 *	  is none left.
 *
 * A random secret is divided by Shamir's scheme (libgfshare); the policy keeps
 * its salted hash only.  Who brings m shares knows the secret, and nobody who
 * has fewer knows anything about it.  Shares serve once.
 */
#include "vault/tv_vault_commands.h"

#include <libgfshare.h>

#include "catalog/pg_authid.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "base/tv_report.h"
#include "base/tv_secret.h"
#include "crypto/tv_kdf.h"
#include "vault/tv_vault_audit.h"
#include "vault/tv_vault_rights.h"
#include "vault/tv_vault_role.h"

#define CREATE "CREATE RECOVERY SHARES"
#define RECOVER "RECOVER VAULT ADMIN"
#define SECRET_LEN TV_VAULT_HASH_LEN
#define MAX_SHARES 32
#define PREFIX "tv1-"			/* version of the text of a share */
#define CHECK_LEN 4

static bool recovering = false;
static bool random_failed = false;

bool
tv_vault_recovering(void)
{
	return recovering;
}

static void
fill_random(unsigned char *out, unsigned int len)
{
	random_failed |= tv_random(out, len) != TV_OK;
}

/* SHA-256(salt || secret) */
static void
hash_secret(const uint8 *salt, const uint8 *secret, uint8 *hash)
{
	uint8	   *buf = tv_secret_alloc(TV_VAULT_SALT_LEN + SECRET_LEN);
	TvStatus	status = TV_ERR_NO_MEMORY;

	if (buf != NULL)
	{
		memcpy(buf, salt, TV_VAULT_SALT_LEN);
		memcpy(buf + TV_VAULT_SALT_LEN, secret, SECRET_LEN);
		status = tv_sha256(buf, TV_VAULT_SALT_LEN + SECRET_LEN, hash);
	}
	tv_secret_free(buf);
	tv_vault_check_status(status, "hash the recovery secret");
}

/* tv1-<number>-<hex of the share>-<hex of a check of both> */
static char *
share_text(uint8 number, const uint8 *share)
{
	uint8		checked[1 + SECRET_LEN];
	uint8		hash[TV_MAC_LEN];
	char		hex[2 * SECRET_LEN + 1] = {0};
	char		check[2 * CHECK_LEN + 1] = {0};

	checked[0] = number;
	memcpy(checked + 1, share, SECRET_LEN);
	tv_vault_check_status(tv_sha256(checked, sizeof(checked), hash), "write a recovery share");
	hex_encode((const char *) share, SECRET_LEN, hex);
	hex_encode((const char *) hash, CHECK_LEN, check);
	return psprintf(PREFIX "%02x-%s-%s", number, hex, check);
}

/* Number and share; false if it is none, or mistyped. */
static bool
parse_share(const char *text, uint8 *number, uint8 *share)
{
	unsigned int n;
	char		hex[2 * SECRET_LEN + 1];
	char		check[2 * CHECK_LEN + 1];
	bool		good;
	char	   *again;

	if (sscanf(text, PREFIX "%2x-%64[0-9a-f]-%8[0-9a-f]", &n, hex, check) != 3 ||
		n == 0 || n > MAX_SHARES || strlen(hex) != 2 * SECRET_LEN)
		return false;
	*number = n;
	(void) hex_decode(hex, 2 * SECRET_LEN, (char *) share);
	again = share_text(*number, share);
	good = strcmp(again, text) == 0;
	tv_secret_wipe(again, strlen(again));
	return good;
}

/* --- making them --- */

static void
divide(const uint8 *secret, int m, int n, char **out)
{
	unsigned char numbers[MAX_SHARES];
	unsigned char share[SECRET_LEN];
	gfshare_ctx *context;

	for (int i = 0; i < n; i++)
		numbers[i] = i + 1;
	random_failed = false;
	gfshare_fill_rand = fill_random;
	context = gfshare_ctx_init_enc(numbers, n, m, SECRET_LEN);
	if (context == NULL)
		tv_vault_out_of_memory();
	gfshare_ctx_enc_setsecret(context, unconstify(uint8 *, secret));
	for (int i = 0; i < n; i++)
	{
		gfshare_ctx_enc_getshare(context, i, share);
		out[i] = share_text(numbers[i], share);
	}
	gfshare_ctx_free(context);
	tv_secret_wipe(share, sizeof(share));
	if (random_failed)
		tv_vault_check_status(TV_ERR_INTERNAL, "get random bytes");
}

void
tv_vault_create_shares(int m, int n, char **out)
{
	TvPolicy   *policy = tv_vault_begin_command(CREATE);
	uint8	   *secret;

	tv_vault_require_admin(CREATE);
	if (m < 2 || n < m || n > MAX_SHARES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(CREATE ": %d of %d is not possible", m, n),
				 errhint("At least 2 shares must be needed, and at most %d can be made.", MAX_SHARES)));
	secret = tv_secret_alloc(SECRET_LEN);
	if (secret == NULL)
		tv_vault_out_of_memory();
	PG_TRY();
	{
		tv_vault_check_status(tv_random(secret, SECRET_LEN), "get random bytes");
		tv_vault_check_status(tv_random(policy->recovery.salt, TV_VAULT_SALT_LEN), "get random bytes");
		hash_secret(policy->recovery.salt, secret, policy->recovery.hash);
		divide(secret, m, n, out);
	}
	PG_FINALLY();
	{
		tv_secret_free(secret);
	}
	PG_END_TRY();
	policy->recovery.m = m;
	policy->recovery.n = n;
	policy->recovery.created = GetCurrentTimestamp();
	tv_vault_audit_change(CREATE, NULL, psprintf("%d of %d", m, n));
	tv_vault_change_done();
}

/* --- using them --- */

static void
refuse_shares(const char *why)
{
	tv_vault_audit_refused(RECOVER, NULL, why);
	ereport(ERROR,
			(errcode(ERRCODE_TV_VAULT_ADMIN),
			 errmsg(RECOVER ": %s", why),
			 errhint("Shares are those of the last CALL of tde_vault.create_recovery_shares(), and serve once.")));
}

/* The secret that the shares give, whatever they are. */
static void
combine(List *shares, uint8 *secret)
{
	unsigned char numbers[MAX_SHARES];
	uint8		parts[MAX_SHARES][SECRET_LEN];
	gfshare_ctx *context;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, shares)
	{
		if (n == MAX_SHARES || !parse_share(lfirst(lc), &numbers[n], parts[n]))
			refuse_shares("a share is mistyped");
		for (int i = 0; i < n; i++)
		{
			if (numbers[i] == numbers[n])
				refuse_shares("a share is there twice");
		}
		n++;
	}
	gfshare_fill_rand = fill_random;	/* releasing a context overwrites it with that */
	context = gfshare_ctx_init_dec(numbers, n, SECRET_LEN);
	if (context == NULL)
		tv_vault_out_of_memory();
	for (int i = 0; i < n; i++)
		gfshare_ctx_dec_giveshare(context, i, parts[i]);
	gfshare_ctx_dec_extract(context, secret);
	gfshare_ctx_free(context);
	tv_secret_wipe(parts, sizeof(parts));
}

static bool
shares_fit(const TvRecovery *recovery, List *shares)
{
	uint8	   *secret = tv_secret_alloc(SECRET_LEN);
	uint8		hash[TV_VAULT_HASH_LEN];

	if (secret == NULL)
		tv_vault_out_of_memory();
	PG_TRY();
	{
		combine(shares, secret);
		hash_secret(recovery->salt, secret, hash);
	}
	PG_FINALLY();
	{
		tv_secret_free(secret);
	}
	PG_END_TRY();
	return tv_equal_secret(hash, recovery->hash, sizeof(hash));
}

/* GRANT vault_admin, which nobody who is logged in may do. */
static void
grant_admin(Oid admin_role, const char *name)
{
	StringInfoData sql;
	Oid			user;
	int			context;

	initStringInfo(&sql);
	appendStringInfo(&sql, "GRANT %s TO %s", quote_identifier(GetUserNameFromId(admin_role, false)),
					 quote_identifier(name));
	GetUserIdAndSecContext(&user, &context);
	recovering = true;
	PG_TRY();
	{
		SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
		SPI_connect();
		if (SPI_execute(sql.data, false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "could not execute \"%s\"", sql.data);
		SPI_finish();
	}
	PG_FINALLY();
	{
		recovering = false;
		SetUserIdAndSecContext(user, context);
	}
	PG_END_TRY();
}

void
tv_vault_recover_admin(List *shares, const char *name)
{
	TvPolicy   *policy = tv_vault_begin_command(RECOVER);
	Oid			role = tv_vault_find_role(name);

	if (policy->recovery.n == 0)
		refuse_shares("there are no recovery shares");
	if (list_length(shares) < policy->recovery.m)
		refuse_shares(psprintf("%d shares are needed", policy->recovery.m));
	if (!shares_fit(&policy->recovery, shares))
		refuse_shares("the shares are not the right ones");
	memset(&policy->recovery, 0, sizeof(policy->recovery));
	tv_vault_audit_recovery(GetUserNameFromId(role, false));
	tv_vault_change_done();
	grant_admin(policy->admin_role, name);
}
