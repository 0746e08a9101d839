/*
 * tv_attach.c
 *	  Which server we are in, and what was recognised there.
 */
#include "postgres.h"

#include "attach/tv_attach_private.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/*
 * Everything this folder knows about the server's inside is that of major
 * version 15; a module is only ever built for one major version.
 */
#define TV_ATTACH_MAJOR 15
#define TV_ATTACH_BLCKSZ 8192

StaticAssertDecl(PG_VERSION_NUM / 10000 == TV_ATTACH_MAJOR,
				 "tde_vault knows PostgreSQL 15 only");
StaticAssertDecl(BLCKSZ == TV_ATTACH_BLCKSZ,
				 "tde_vault needs pages of 8192 bytes");
StaticAssertDecl(sizeof(void *) == 8, "tde_vault needs a 64-bit server");

#define TV_ATTACH_ROWS_MAX 160

typedef struct TvAttachRow
{
	char	   *name;
	char	   *value;
} TvAttachRow;

static TvAttachRow rows[TV_ATTACH_ROWS_MAX];
static int	nrows = 0;

static TvImage image;
static bool image_known = false;
static bool server_checked = false;

/*
 * The module's library may only be loaded by the postmaster, or by a
 * single-user backend, before anything forks.
 *
 * Nothing more than an error for who comes late: a worker of autovacuum that
 * was ended by the first encrypted table would never get to the plain ones.
 */
static void
check_load_time(void)
{
	if (process_shared_preload_libraries_in_progress)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("tde_vault must be loaded by shared_preload_libraries"),
			 errdetail("Pages and WAL of every process pass through tde_vault, so it attaches before the server's processes start."),
			 errhint("Add tde_vault to shared_preload_libraries in postgresql.conf and restart the server.")));
}

/* A setting of the server that is fixed at its build. */
static int
server_number(const char *setting)
{
	const char *value = GetConfigOption(setting, false, false);

	return value == NULL ? 0 : atoi(value);
}

void
tv_attach_check_server(void)
{
	int			version;
	int			block_size;

	check_load_time();

	version = server_number("server_version_num");
	if (version / 10000 != TV_ATTACH_MAJOR ||
		version / 10000 != PG_VERSION_NUM / 10000)
		ereport(FATAL,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tde_vault does not support server version %d", version),
				 errdetail("This library was built for PostgreSQL %d.",
						   TV_ATTACH_MAJOR),
				 errhint("Install the tde_vault package for this major version of the server.")));

	block_size = server_number("block_size");
	if (block_size != TV_ATTACH_BLCKSZ)
		ereport(FATAL,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tde_vault does not support a block size of %d",
						block_size),
				 errdetail("Sealed pages are laid out for blocks of %d bytes.",
						   TV_ATTACH_BLCKSZ),
				 errhint("Use a server built with the default block size.")));

	server_checked = true;
	tv_attach_note("server version", "%s",
				   GetConfigOption("server_version", false, false));
	tv_attach_note("server build id", "%s",
				   tv_attach_image()->build_id[0] != '\0' ?
				   tv_attach_image()->build_id : "none");
	tv_attach_note("built for server version", "%s", PG_VERSION);
	tv_attach_note("architecture", "x86-64");
	tv_attach_note(TV_ATTACH_ROW_SMGR, "not attached");
	tv_attach_note(TV_ATTACH_ROW_SYNC, "not attached");
}

void
tv_attach_check_time(const char *seam)
{
	check_load_time();
	if (!server_checked)
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not attach to %s: the server has not been checked",
						seam),
				 errdetail("tv_attach_check_server must be called first."),
				 errhint("This is a defect of tde_vault; please report it.")));
}

const TvImage *
tv_attach_image(void)
{
	TvError		error;

	if (!image_known)
	{
		if (tv_image_main(&image, &error) != TV_OK)
			tv_attach_refuse("the server's program", &error);
		image_known = true;
	}
	return &image;
}

/* The SQLSTATE of a refusal. */
static int
refusal_errcode(TvStatus status)
{
	switch (status)
	{
		case TV_ERR_VERSION:
			return ERRCODE_FEATURE_NOT_SUPPORTED;
		case TV_ERR_IO:
			return ERRCODE_SYSTEM_ERROR;
		case TV_ERR_NO_MEMORY:
			return ERRCODE_OUT_OF_MEMORY;
		case TV_ERR_INVALID_ARGUMENT:
			return ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
		default:
			return ERRCODE_INTERNAL_ERROR;
	}
}

void
tv_attach_refuse(const char *seam, const TvError *error)
{
	const char *build_id = image_known ? image.build_id : "";

	ereport(FATAL,
			(errcode(refusal_errcode(error->status)),
			 errmsg("tde_vault could not attach to %s: %s", seam,
					error->message),
			 errdetail("%s%sThe server is version %s, build id \"%s\".",
					   error->detail, error->detail[0] != '\0' ? " " : "",
					   GetConfigOption("server_version", true, false),
					   build_id),
			 errhint("%s", error->hint[0] != '\0' ? error->hint :
					 "Use the distribution's server package, and list tde_vault first in shared_preload_libraries.")));
	pg_unreachable();
}

void
tv_attach_note(const char *name, const char *fmt,...)
{
	char		value[256];
	va_list		args;
	int			i;

	va_start(args, fmt);
	vsnprintf(value, sizeof(value), fmt, args);
	va_end(args);

	for (i = 0; i < nrows; i++)
	{
		if (strcmp(rows[i].name, name) == 0)
			break;
	}
	if (i == TV_ATTACH_ROWS_MAX)
		ereport(FATAL,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("tde_vault has too many seams"),
				 errdetail("At most %d rows can be noted.", TV_ATTACH_ROWS_MAX),
				 errhint("This is a defect of tde_vault; please report it.")));
	if (i == nrows)
	{
		rows[i].name = MemoryContextStrdup(TopMemoryContext, name);
		nrows++;
	}
	/* An older value stays allocated: a reader may hold it. */
	rows[i].value = MemoryContextStrdup(TopMemoryContext, value);
}

bool
tv_attach_info(int i, const char **name, const char **value)
{
	if (i < 0 || i >= nrows)
		return false;
	*name = rows[i].name;
	*value = rows[i].value;
	return true;
}
