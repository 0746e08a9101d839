/*
 * tv_wal_rewind.c
 *	  Was the data directory made by pg_rewind, and can that work?
 *
 * pg_rewind copies the blocks that changed since two servers parted, and all
 * files that are not relations whole.  So a sidecar is the other server's,
 * while the pages that did not change are this server's own, sealed with
 * nonces of its own.  No WAL would repair those.  Relations without a sidecar
 * (XTS) have all they need in the page.
 */
#include "wal/tv_wal_rewind.h"

#include "postgres.h"

#include <stdio.h>

#include "catalog/pg_database.h"

#include "keyring/tv_keyring.h"

#define LABEL_MAX 4096

/* pg_rewind.c, createBackupLabel() */
#define REWOUND "BACKUP METHOD: pg_rewind\n"

static bool
is_rewound(void)
{
	char		label[LABEL_MAX + 1];
	FILE	   *file = fopen("backup_label", "r");
	size_t		len;

	if (file == NULL)
		return false;
	len = fread(label, 1, LABEL_MAX, file);
	fclose(file);
	label[len] = '\0';
	return strstr(label, REWOUND) != NULL;
}

/*
 * The audit log's key and those of the vault's policies seal whole files, which
 * pg_rewind copies: the former is of no database, the latter are in the name of
 * pg_database.
 */
static bool
seals_pages(const TvKeyringKey *key)
{
	return OidIsValid(key->database) && key->table != DatabaseRelationId;
}

void
tv_wal_refuse_rewound(void)
{
	TvKeyringKey key;
	uint32		slot = 0;

	if (!is_rewound())
		return;
	while (tv_keyring_next_key(&slot, &key))
	{
		if (key.files == 0 || !seals_pages(&key) || !tv_cipher_has_nonce(key.cipher))
			continue;
		ereport(FATAL,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("pg_rewind cannot be used for tables that are encrypted with %s",
						tv_cipher_name(key.cipher)),
				 errdetail("Table %u of database %u is, for one. Its pages and their authentication tags now come from different servers.",
						   key.table, key.database),
				 errhint("Make this server anew from a base backup. Only tables encrypted with aes-256-xts can be rewound.")));
	}
}
