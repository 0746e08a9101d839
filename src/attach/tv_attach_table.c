/*
 * tv_attach_table.c
 *	  Tables of the server that it does not export.
 *
 * Two are static const arrays of function pointers, and the functions are
 * exported.  So a table is recognised by its whole contents.
 *
 * The compiler knows the contents too, and may call a function directly where
 * the source calls through the table.  (Debian's 15.20 does so for mdinit,
 * mdopen and mdimmedsync.)  So the functions of the server that use the table
 * are read as well: their direct calls are redirected, and each must refer to
 * the table or have such a call.
 */
#include "postgres.h"

#include "access/clog.h"
#include "access/commit_ts.h"
#include "access/multixact.h"
#include "attach/tv_attach_private.h"
#include "attach/tv_redirect.h"
#include "attach/tv_table.h"
#include "storage/md.h"

#define SMGR_ENTRIES (sizeof(TvSmgrCallbacks) / sizeof(void *))
#define SYNC_ENTRIES (sizeof(TvSyncCallbacks) / sizeof(void *))

/* Handlers of syncsw: src/include/storage/sync.h, SyncRequestHandler. */
#define SYNC_HANDLERS SYNC_HANDLER_NONE

StaticAssertDecl(SMGR_ENTRIES == 15,
				 "TvSmgrCallbacks must mirror f_smgr of PostgreSQL 15");
StaticAssertDecl(SYNC_ENTRIES == 3,
				 "TvSyncCallbacks must mirror SyncOps of PostgreSQL 15");
StaticAssertDecl(SYNC_HANDLER_MD == 0 && SYNC_HANDLERS == 5,
				 "the handlers must be those of PostgreSQL 15");

/*
 * smgrsw[0] in src/backend/storage/smgr/smgr.c of PostgreSQL 15: all of md.c
 * but for smgr_shutdown, which is NULL there.
 */
static const TvSmgrCallbacks server_smgr = {
	.smgr_init = mdinit,
	.smgr_shutdown = NULL,
	.smgr_open = mdopen,
	.smgr_close = mdclose,
	.smgr_create = mdcreate,
	.smgr_exists = mdexists,
	.smgr_unlink = mdunlink,
	.smgr_extend = mdextend,
	.smgr_prefetch = mdprefetch,
	.smgr_read = mdread,
	.smgr_write = mdwrite,
	.smgr_writeback = mdwriteback,
	.smgr_nblocks = mdnblocks,
	.smgr_truncate = mdtruncate,
	.smgr_immedsync = mdimmedsync,
};

/* syncsw[] in src/backend/storage/sync/sync.c of PostgreSQL 15. */
static const TvSyncCallbacks server_sync[SYNC_HANDLERS] = {
	[SYNC_HANDLER_MD] = {
		.sync_syncfiletag = mdsyncfiletag,
		.sync_unlinkfiletag = mdunlinkfiletag,
		.sync_filetagmatches = mdfiletagmatches,
	},
	[SYNC_HANDLER_CLOG] = {
		.sync_syncfiletag = clogsyncfiletag,
	},
	[SYNC_HANDLER_COMMIT_TS] = {
		.sync_syncfiletag = committssyncfiletag,
	},
	[SYNC_HANDLER_MULTIXACT_OFFSET] = {
		.sync_syncfiletag = multixactoffsetssyncfiletag,
	},
	[SYNC_HANDLER_MULTIXACT_MEMBER] = {
		.sync_syncfiletag = multixactmemberssyncfiletag,
	},
};

/* A function of the server that calls through a table, and which entries. */
typedef struct TvTableUser
{
	const char *function;
	uint32		entries;		/* bit n: the n-th pointer of the table */
	bool		optional;		/* not in every minor version */
} TvTableUser;

#define ENTRY(type, field) (UINT32_C(1) << offsetof(type, field) / sizeof(void *))
#define SMGR(field) ENTRY(TvSmgrCallbacks, smgr_##field)
#define SYNC(field) ENTRY(TvSyncCallbacks, sync_##field)

/*
 * The exported functions of smgr.c.  Where one calls another, the compiler may
 * have pulled that in; entries names only what the source says.
 */
static const TvTableUser smgr_users[] = {
	{"smgrinit", SMGR(init), false},
	{"smgropen", SMGR(open), false},
	{"smgrsetowner", 0, false},
	{"smgrclearowner", 0, false},
	{"smgrexists", SMGR(exists), false},
	{"smgrclose", SMGR(close), false},
	{"smgrrelease", SMGR(close), false},
	{"smgrreleaseall", 0, false},
	{"smgrcloseall", 0, false},
	{"smgrclosenode", 0, false},
	{"smgrcreate", SMGR(create), false},
	{"smgrdosyncall", SMGR(exists) | SMGR(immedsync), false},
	{"smgrdounlinkall", SMGR(close) | SMGR(unlink), false},
	{"smgrextend", SMGR(extend), false},
	{"smgrprefetch", SMGR(prefetch), false},
	{"smgrread", SMGR(read), false},
	{"smgrwrite", SMGR(write), false},
	{"smgrwriteback", SMGR(writeback), false},
	{"smgrnblocks", SMGR(nblocks), false},
	{"smgrnblocks_cached", 0, false},
	{"smgrtruncate", SMGR(truncate), false},
	{"smgrtruncate2", SMGR(truncate), true},
	{"smgrimmedsync", SMGR(immedsync), false},
	{"AtEOXact_SMgr", 0, false},
	{"ProcessBarrierSmgrRelease", 0, false},
};

/* The exported functions of sync.c that use syncsw. */
static const TvTableUser sync_users[] = {
	{"SyncPostCheckpoint", SYNC(unlinkfiletag), false},
	{"ProcessSyncRequests", SYNC(syncfiletag), false},
	{"RememberSyncRequest", SYNC(filetagmatches), false},
};

static bool smgr_attached = false;
static bool sync_attached = false;

/* Refuse to attach to one table twice. */
static void
check_first_time(const char *seam, bool *attached)
{
	if (*attached)
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tde_vault is attached to %s already", seam),
				 errdetail("Each of the server's tables can be replaced once."),
				 errhint("This is a defect of tde_vault; please report it.")));
	*attached = true;
}

/*
 * Callbacks must have an entry where the server's table has one, for the
 * server calls those without asking; and none where it has none, for the
 * compiler has left those calls out.
 */
static void
check_callbacks(const char *seam, const void *const *server,
				const void *const *callbacks, size_t count)
{
	size_t		i;

	for (i = 0; i < count; i++)
	{
		if ((server[i] == NULL) != (callbacks[i] == NULL))
			ereport(FATAL,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("tde_vault's callbacks for %s do not match the server's",
							seam),
					 errdetail("Callback number %zu is %s.", i,
							   server[i] != NULL ? "missing" : "one that the server would never call"),
					 errhint("This is a defect of tde_vault; please report it.")));
	}
}

/* A table of the server, and what it becomes. */
typedef struct TvTableSeam
{
	const char *name;
	const char *row;
	const void *const *server;	/* its contents, server_count pointers */
	size_t		server_count;
	const void *const *callbacks;	/* replace the first count of them */
	size_t		count;
	const TvTableUser *users;
	size_t		nusers;
} TvTableSeam;

/* Refuse because of one function that uses the table. */
static void
refuse_user(const TvTableSeam *seam, const TvTableUser *user, TvError *error)
{
	char		where[TV_ERROR_TEXT_MAX];

	snprintf(where, sizeof(where), "%s, in the server's function %s",
			 seam->name, user->function);
	tv_attach_refuse(where, error);
}

/*
 * Redirect the direct calls in one function that uses the table.  Returns
 * their number.
 */
static size_t
redirect_user(const TvTableSeam *seam, const TvTableUser *user,
			  const TvMemoryRange *table)
{
	TvMemoryRange code;
	TvError		error;
	size_t		references;
	size_t		sites;
	size_t		total = 0;
	size_t		i;

	if (tv_image_function(tv_attach_image(), user->function, &code,
						  &error) != TV_OK ||
		tv_redirect_references(&code, table, &references, &error) != TV_OK)
		refuse_user(seam, user, &error);
	if (code.size == 0 && user->optional)
		return 0;

	for (i = 0; i < seam->count; i++)
	{
		sites = 0;
		if (seam->server[i] != NULL &&
			tv_redirect_calls(&code, seam->server[i], seam->callbacks[i],
							  &sites, &error) != TV_OK)
			refuse_user(seam, user, &error);
		total += sites;
		if ((user->entries >> i & 1) == 0 || sites > 0 || references > 0)
			continue;
		tv_error(&error, TV_ERR_VERSION, "entry %zu of the table is not used",
				 i);
		tv_error_detail(&error, "The function neither refers to the table nor calls that entry directly.");
		refuse_user(seam, user, &error);
	}
	return total;
}

/* Find a table, replace it, and redirect what does not go through it. */
static void
attach_table(const TvTableSeam *seam)
{
	const TvImage *image = tv_attach_image();
	TvMemoryRange range;
	TvError		error;
	void	   *table;
	size_t		redirected = 0;
	size_t		i;

	check_callbacks(seam->name, seam->server, seam->callbacks, seam->count);
	if (tv_table_find(image->data, image->ndata, seam->server,
					  seam->server_count, &table, &error) != TV_OK)
		tv_attach_refuse(seam->name, &error);

	range.start = table;
	range.size = seam->server_count * sizeof(void *);
	for (i = 0; i < seam->nusers; i++)
		redirected += redirect_user(seam, &seam->users[i], &range);
	if (tv_table_replace(table, seam->callbacks, seam->count, &error) != TV_OK)
		tv_attach_refuse(seam->name, &error);

	tv_attach_note(seam->row,
				   "attached at 0x%zx, %zu of %zu entries, %zu direct calls redirected",
				   (size_t) ((uintptr_t) table - image->base), seam->count,
				   seam->server_count, redirected);
}

void
tv_attach_smgr(const TvSmgrCallbacks *callbacks, TvSmgrCallbacks *original)
{
	const TvTableSeam seam = {
		.name = "the storage manager",
		.row = TV_ATTACH_ROW_SMGR,
		.server = (const void *const *) &server_smgr,
		.server_count = SMGR_ENTRIES,
		.callbacks = (const void *const *) callbacks,
		.count = SMGR_ENTRIES,
		.users = smgr_users,
		.nusers = lengthof(smgr_users),
	};

	tv_attach_check_time(seam.name);
	check_first_time(seam.name, &smgr_attached);
	*original = server_smgr;
	attach_table(&seam);
}

void
tv_attach_sync(const TvSyncCallbacks *callbacks, TvSyncCallbacks *original)
{
	const TvTableSeam seam = {
		.name = "file sync",
		.row = TV_ATTACH_ROW_SYNC,
		.server = (const void *const *) server_sync,
		.server_count = SYNC_ENTRIES * SYNC_HANDLERS,
		.callbacks = (const void *const *) callbacks,
		.count = SYNC_ENTRIES,
		.users = sync_users,
		.nusers = lengthof(sync_users),
	};

	tv_attach_check_time(seam.name);
	check_first_time(seam.name, &sync_attached);
	*original = server_sync[SYNC_HANDLER_MD];
	attach_table(&seam);
}

uint32
tv_attach_rows(const char *name, const void *server, size_t server_rows, size_t row_size,
			   const void *rows, size_t nrows)
{
	const TvImage *image = tv_attach_image();
	char	   *row = psprintf(TV_ATTACH_ROW_DETOUR, name);
	uint32		first;
	TvError		error;
	void	   *table;

	tv_attach_check_time(name);
	if (tv_table_find(image->data, image->ndata, server, server_rows * (row_size / sizeof(void *)),
					  &table, &error) != TV_OK ||
		tv_table_extend(table, row_size, rows, nrows, &first, &error) != TV_OK)
		tv_attach_refuse(name, &error);
	tv_attach_note(row, "found at 0x%zx, %zu rows added to %zu",
				   (size_t) ((uintptr_t) table - image->base), nrows, server_rows);
	pfree(row);
	return first;
}
