/*
 * walstop.c
 *	  Stops a session just before one of its records goes into WAL, for tests.
 */
#define _GNU_SOURCE
#include "postgres.h"

#include <dlfcn.h>
#include <unistd.h>

#include "access/xlogrecord.h"
#include "fmgr.h"
#include "port/pg_crc32c.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

PG_MODULE_MAGIC;

#define TICK_US 10000L

static char path[MAXPGPATH];
static RmgrId rmid;
static int	info;
static pg_crc32c (*server_crc) (pg_crc32c crc, const void *data, size_t len) = NULL;

static void
wait_until_gone(void)
{
	pgstat_report_wait_start(WAIT_EVENT_PG_SLEEP);
	while (access(path, F_OK) == 0)
		pg_usleep(TICK_US);
	pgstat_report_wait_end();
}

/*
 * Instead of the server's function.  The checksum is the last that tde_vault
 * does to a record before it inserts it, and begins after the record's header.
 */
static pg_crc32c
stopping_crc(pg_crc32c crc, const void *data, size_t len)
{
	const XLogRecord *record = (const XLogRecord *) ((const char *) data - SizeOfXLogRecord);
	Dl_info		caller;

	if (dladdr(__builtin_return_address(0), &caller) != 0 &&
		strstr(caller.dli_fname, "/tde_vault.so") != NULL &&
		record->xl_rmid == rmid && (info < 0 || record->xl_info == info))
	{
		pg_comp_crc32c = server_crc;
		wait_until_gone();
	}
	return server_crc(crc, data, len);
}

/*
 * stop_before_record(file, resource manager, xl_info or -1): when this session
 * has made its next such record, and has not inserted it, it stops until file
 * is gone.  Its wait event is PgSleep then.
 */
PG_FUNCTION_INFO_V1(stop_before_record);
Datum
stop_before_record(PG_FUNCTION_ARGS)
{
	text_to_cstring_buffer(PG_GETARG_TEXT_PP(0), path, sizeof(path));
	rmid = PG_GETARG_INT32(1);
	info = PG_GETARG_INT32(2);
	if (pg_comp_crc32c != stopping_crc)
		server_crc = pg_comp_crc32c;
	pg_comp_crc32c = stopping_crc;
	PG_RETURN_VOID();
}
