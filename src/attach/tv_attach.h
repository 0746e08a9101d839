/*
 * tv_attach.h
 *	  The seams into a stock server: mechanism only, no keys, no policy.
 *
 * All of this runs in the postmaster (or a single-user backend), from
 * _PG_init under shared_preload_libraries.  Whatever is not recognised
 * exactly is FATAL, with a message that says what to do.
 */
#ifndef TV_ATTACH_H
#define TV_ATTACH_H

#include "postgres.h"

#include "access/xlog_internal.h"
#include "access/xloginsert.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "storage/block.h"
#include "storage/relfilenode.h"
#include "storage/smgr.h"
#include "storage/sync.h"

/* Mirrors f_smgr of PostgreSQL 15, src/backend/storage/smgr/smgr.c. */
typedef struct TvSmgrCallbacks
{
	void		(*smgr_init) (void);
	void		(*smgr_shutdown) (void);
	void		(*smgr_open) (SMgrRelation reln);
	void		(*smgr_close) (SMgrRelation reln, ForkNumber forknum);
	void		(*smgr_create) (SMgrRelation reln, ForkNumber forknum,
								bool isRedo);
	bool		(*smgr_exists) (SMgrRelation reln, ForkNumber forknum);
	void		(*smgr_unlink) (RelFileNodeBackend rnode, ForkNumber forknum,
								bool isRedo);
	void		(*smgr_extend) (SMgrRelation reln, ForkNumber forknum,
								BlockNumber blocknum, char *buffer,
								bool skipFsync);
	bool		(*smgr_prefetch) (SMgrRelation reln, ForkNumber forknum,
								  BlockNumber blocknum);
	void		(*smgr_read) (SMgrRelation reln, ForkNumber forknum,
							  BlockNumber blocknum, char *buffer);
	void		(*smgr_write) (SMgrRelation reln, ForkNumber forknum,
							   BlockNumber blocknum, char *buffer,
							   bool skipFsync);
	void		(*smgr_writeback) (SMgrRelation reln, ForkNumber forknum,
								   BlockNumber blocknum, BlockNumber nblocks);
	BlockNumber (*smgr_nblocks) (SMgrRelation reln, ForkNumber forknum);
	void		(*smgr_truncate) (SMgrRelation reln, ForkNumber forknum,
								  BlockNumber old_blocks, BlockNumber nblocks);
	void		(*smgr_immedsync) (SMgrRelation reln, ForkNumber forknum);
} TvSmgrCallbacks;

/*
 * Mirrors the first entry (SYNC_HANDLER_MD) of syncsw, static in
 * src/backend/storage/sync/sync.c.
 */
typedef struct TvSyncCallbacks
{
	int			(*sync_syncfiletag) (const FileTag *ftag, char *path);
	int			(*sync_unlinkfiletag) (const FileTag *ftag, char *path);
	bool		(*sync_filetagmatches) (const FileTag *ftag,
										const FileTag *candidate);
} TvSyncCallbacks;

/* Refuse what we do not know: major version, architecture, load time. */
extern void tv_attach_check_server(void);

/*
 * Replace the storage-manager table.  callbacks must have every entry that
 * the server's table has, and no other: smgr_shutdown stays NULL, as nothing
 * would call it (use on_proc_exit).  The server's own entries are returned in
 * *original.  Calls that the compiler made direct are led to callbacks too;
 * md.c's calls of its own functions are not.
 */
extern void tv_attach_smgr(const TvSmgrCallbacks *callbacks,
						   TvSmgrCallbacks *original);

/* Replace the md entry of the file-sync table, in the same way. */
extern void tv_attach_sync(const TvSyncCallbacks *callbacks,
						   TvSyncCallbacks *original);

/*
 * Detour a function of the server at its entry.  target: its exported
 * address; name: for messages; replacement: same signature.  Returns a
 * trampoline through which the original can be called.  Refused (FATAL) when
 * an instruction that must move is position-dependent, when the prologue is
 * shorter than the jump, when a branch leads into what moves, or when no
 * function of the server calls it by its address.  One detour a function.
 */
extern void *tv_attach_detour(void *target, const char *name, void *replacement);

/* A detour whose replacement never calls the original: nothing is moved. */
extern void tv_attach_replace(void *target, const char *name, void *replacement);

/*
 * Lead the server's calls of a function of the C library to replacement.
 * function: its address, as this module sees it; name: that of its symbol.
 * Calls from libraries are not led there: replacement may call function.
 */
extern void tv_attach_import(void *function, const char *name, void *replacement);

/*
 * Lead the direct calls of callee in one exported function of the server to
 * replacement, and no others.  name, caller: their symbols.  Refused (FATAL)
 * when there is no such call.
 */
extern void tv_attach_calls(void *callee, const char *name, const char *caller,
							void *replacement);

/*
 * Replace one function pointer in a constant table of the server.  slot: where
 * it stands; name: of the seam.  Returns what was there.  Refused (FATAL) when
 * slot is not in the server's program, or what it holds is not a function of
 * that.
 */
extern void *tv_attach_pointer(void **slot, const char *name, void *replacement);

/*
 * Have indexes beyond the end of a constant table of the server lead to rows of
 * ours, which are copied.  name: of the seam; server: the whole table as the
 * server has it, which it is recognised by; all rows have row_size bytes, a
 * multiple of a pointer's.  Returns the index of the first of ours; it fits into
 * an int.  Refused (FATAL) when the table is not there, or elsewhere, too.
 */
extern uint32 tv_attach_rows(const char *name, const void *server, size_t server_rows,
							 size_t row_size, const void *rows, size_t nrows);

/* All is attached: free what that took. */
extern void tv_attach_end(void);

/*
 * What was recognised, for system_info(): a row a seam.  Returns false when
 * i is past the end.  Strings live as long as the process.
 */
extern bool tv_attach_info(int i, const char **name, const char **value);

#endif							/* TV_ATTACH_H */
