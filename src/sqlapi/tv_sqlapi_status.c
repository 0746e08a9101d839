/*
 * tv_sqlapi_status.c
 *	  SQL functions that report what is encrypted, and how.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "common/relpath.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "attach/tv_attach.h"
#include "audit/tv_audit_format.h"
#include "base/tv_secret.h"
#include "keyring/tv_keyring.h"
#include "page/tv_page_file.h"
#include "page/tv_page_format.h"
#include "page/tv_page_smgr.h"
#include "page/tv_page_verify.h"
#include "provider/tv_provider.h"
#include "spill/tv_spill.h"
#include "spill/tv_spill_format.h"
#include "vault/tv_vault_failures_format.h"
#include "vault/tv_vault_format.h"
#include "wal/tv_wal_format.h"

PG_FUNCTION_INFO_V1(tv_sql_file_info);
PG_FUNCTION_INFO_V1(tv_sql_verify_relation);
PG_FUNCTION_INFO_V1(tv_sql_master_keys);
PG_FUNCTION_INFO_V1(tv_sql_table_keys);
PG_FUNCTION_INFO_V1(tv_sql_system_info);

#define KEY_NAME_LEN 17			/* 16 hex digits */

static void
key_name(uint64 id, char *out)
{
	snprintf(out, KEY_NAME_LEN, "%016" INT64_MODIFIER "x", id);
}

static void
put_row(ReturnSetInfo *rsinfo, Datum *values, bool *nulls)
{
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* The relation, or NULL when it is gone or has no files. */
static Relation
open_with_storage(Oid relid)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);

	if (rel != NULL && !RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
	{
		relation_close(rel, AccessShareLock);
		return NULL;
	}
	return rel;
}

/*
 * relation_files(oid) -> setof (fork, cipher, authenticated, key_id,
 * key_version, pages): the files of one relation.  cipher is NULL for a file
 * that is not sealed.  A relation whose file was never written yet is sealed
 * if it will be.
 */
Datum
tv_sql_file_info(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Relation	rel = open_with_storage(PG_GETARG_OID(0));
	TvPageFile *file;

	SetSingleFuncCall(fcinfo, 0);
	if (rel == NULL)
		return (Datum) 0;
	file = tv_page_file(RelationGetSmgr(rel)->smgr_rnode);
	(void) tv_page_file_refresh(file);
	if (file->state == TV_STATE_UNRESOLVED)
		(void) tv_page_file_resolve(file);
	for (ForkNumber fork = MAIN_FORKNUM; fork <= MAX_FORKNUM; fork++)
	{
		Datum		values[6] = {0};
		bool		nulls[6] = {0};
		bool		sealed = file->state == TV_STATE_SEALED && (file->temporary || file->known.sealed);
		char		name[KEY_NAME_LEN];
		TvCipher	cipher = tv_page_has_sidecar(file, fork) ? (TvCipher) file->cipher : TV_CIPHER_AES_256_XTS;

		if (!smgrexists(RelationGetSmgr(rel), fork))
			continue;
		values[0] = CStringGetTextDatum(forkNames[fork]);
		values[5] = Int64GetDatum(smgrnblocks(RelationGetSmgr(rel), fork));
		nulls[1] = nulls[3] = nulls[4] = !sealed;
		if (sealed)
		{
			values[1] = CStringGetTextDatum(tv_cipher_name(cipher));
			values[2] = BoolGetDatum(tv_cipher_has_tag(cipher));
			if (file->temporary)
				strlcpy(name, "session", sizeof(name));
			else
				key_name(file->key, name);
			values[3] = CStringGetTextDatum(name);
			values[4] = Int32GetDatum(file->epoch);
		}
		put_row(rsinfo, values, nulls);
	}
	relation_close(rel, AccessShareLock);
	return (Datum) 0;
}

/*
 * Replay may come to the end of a rotation meanwhile, and buffers may be right
 * where the file is not any more.
 */
static void
verify_fork(Relation rel, ForkNumber fork, TvPageCounts *counts)
{
	tv_page_verify_fork(RelationGetSmgr(rel), fork, counts);
	if (counts->bad + counts->unsealed == 0 || !RecoveryInProgress())
		return;
	FlushRelationBuffers(rel);
	memset(counts, 0, sizeof(*counts));
	tv_page_verify_fork(RelationGetSmgr(rel), fork, counts);
}

/* verify_relation(oid) -> setof (fork, pages, sealed, unsealed, bad) */
Datum
tv_sql_verify_relation(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Relation	rel = open_with_storage(PG_GETARG_OID(0));

	SetSingleFuncCall(fcinfo, 0);
	if (rel == NULL)
		return (Datum) 0;
	/* a worker writes out what it has renewed, replay leaves that to restartpoints */
	if (RecoveryInProgress())
		FlushRelationBuffers(rel);
	for (ForkNumber fork = MAIN_FORKNUM; fork <= MAX_FORKNUM; fork++)
	{
		TvPageCounts counts = {0};
		Datum		values[5];
		bool		nulls[5] = {0};

		if (!smgrexists(RelationGetSmgr(rel), fork))
			continue;
		verify_fork(rel, fork, &counts);
		values[0] = CStringGetTextDatum(forkNames[fork]);
		values[1] = Int64GetDatum(counts.pages);
		values[2] = Int64GetDatum(counts.sealed);
		values[3] = Int64GetDatum(counts.unsealed);
		values[4] = Int64GetDatum(counts.bad);
		put_row(rsinfo, values, nulls);
	}
	relation_close(rel, AccessShareLock);
	return (Datum) 0;
}

static const char *
master_state(TvMasterState state)
{
	switch (state)
	{
		case TV_MASTER_ACTIVE:
			return "active";
		case TV_MASTER_ROTATING:
			return "rotating";
		case TV_MASTER_RETIRED:
			return "retired";
	}
	return NULL;
}

/*
 * master_keys() -> setof (id, database, key_id, provider, created, state,
 * keys), in the order in which they were made
 */
Datum
tv_sql_master_keys(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TvKeyringMaster master;

	SetSingleFuncCall(fcinfo, 0);
	for (uint32 i = 0; tv_keyring_master_at(i, &master); i++)
	{
		Datum		values[7];
		bool		nulls[7] = {0};
		char		id[KEY_NAME_LEN];
		char		uri[TV_PROVIDER_URI_MAX];

		if (master.past)
			continue;
		key_name(master.id, id);
		tv_provider_display_uri(master.uri, uri, sizeof(uri));
		values[0] = CStringGetTextDatum(id);
		values[1] = ObjectIdGetDatum(master.database);
		nulls[1] = !OidIsValid(master.database);
		values[2] = CStringGetTextDatum(master.key_id);
		values[3] = CStringGetTextDatum(uri);
		values[4] = TimestampTzGetDatum(master.created);
		values[5] = CStringGetTextDatum(master_state(master.state));
		values[6] = Int32GetDatum(master.keys);
		put_row(rsinfo, values, nulls);
	}
	return (Datum) 0;
}

/*
 * table_keys() -> setof (id, database, table, version, cipher, master_id,
 * created, open, files)
 */
Datum
tv_sql_table_keys(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TvKeyringKey key;
	uint32		slot = 0;

	SetSingleFuncCall(fcinfo, 0);
	while (tv_keyring_next_key(&slot, &key))
	{
		Datum		values[9];
		bool		nulls[9] = {0};
		char		id[KEY_NAME_LEN];
		char		master[KEY_NAME_LEN];

		key_name(key.id, id);
		key_name(key.master_key, master);
		values[0] = CStringGetTextDatum(id);
		values[1] = ObjectIdGetDatum(key.database);
		nulls[1] = !OidIsValid(key.database);
		values[2] = ObjectIdGetDatum(key.table);
		values[3] = Int32GetDatum(key.epoch);
		values[4] = CStringGetTextDatum(tv_cipher_name(key.cipher));
		values[5] = CStringGetTextDatum(master);
		values[6] = TimestampTzGetDatum(key.created);
		values[7] = BoolGetDatum(key.open);
		values[8] = Int32GetDatum(key.files);
		put_row(rsinfo, values, nulls);
	}
	return (Datum) 0;
}

static void
put_info(ReturnSetInfo *rsinfo, const char *name, const char *value)
{
	Datum		values[2] = {CStringGetTextDatum(name), CStringGetTextDatum(value)};
	bool		nulls[2] = {0};

	put_row(rsinfo, values, nulls);
}

/* As the table at the top of contrib/doc/formats.md has them. */
static const struct
{
	const char *name;
	int			version;
}			formats[] = {
	{"keyring", TV_KEYRING_VERSION},
	{"sealed page", TV_PAGE_VERSION},
	{"sidecar", TV_SIDECAR_VERSION},
	{"sealed WAL record", TV_WAL_FORM_NEWEST},
	{"temporary file", TV_SPILL_VERSION},
	{"audit log", TV_AUDIT_VERSION},
	{"vault policy", TV_VAULT_VERSION},
	{"failed unlocks", TV_FAILURES_VERSION},
};

/* system_info() -> setof (name, value) */
Datum
tv_sql_system_info(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *name;
	const char *value;
	uint32		files;
	uint32		keys;
	uint32		masters;

	SetSingleFuncCall(fcinfo, 0);
	for (int i = 0; tv_attach_info(i, &name, &value); i++)
		put_info(rsinfo, name, value);
	for (int cipher = TV_CIPHER_AES_256_GCM; cipher <= TV_CIPHER_AES_256_XTS; cipher++)
		put_info(rsinfo, psprintf("cipher: %s", tv_cipher_name(cipher)),
				 tv_cipher_implementation(cipher));
	tv_keyring_counts(&files, &keys, &masters);
	for (size_t i = 0; i < lengthof(formats); i++)
		put_info(rsinfo, psprintf("format: %s", formats[i].name), psprintf("%d", formats[i].version));
	put_info(rsinfo, "keyring: files", psprintf("%u", files));
	put_info(rsinfo, "keyring: table keys", psprintf("%u", keys));
	put_info(rsinfo, "keyring: master keys", psprintf("%u", masters));
	put_info(rsinfo, "memory: key shield locked", tv_keyring_shield_locked() ? "yes" : "no");
	put_info(rsinfo, "memory: key of temporary files locked", tv_spill_key_locked() ? "yes" : "no");
	put_info(rsinfo, "memory: session keys locked", tv_secret_all_locked() ? "yes" : "no");
	return (Datum) 0;
}
