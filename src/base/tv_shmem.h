/*
 * tv_shmem.h
 *	  Shared memory: one table of areas, each with a size and an initialiser,
 *	  and regions outside the server's segment for what grows or is secret.
 */
#ifndef TV_SHMEM_H
#define TV_SHMEM_H

#include "postgres.h"

#include "storage/lwlock.h"

typedef struct TvShmemArea
{
	const char *name;
	Size		size;			/* bytes in the server's shared memory */
	/*
	 * Called in the postmaster (or a single-user backend) whenever shared
	 * memory is made: at start, and again after a crash of a backend.
	 */
	void		(*init) (void *memory);
} TvShmemArea;

typedef enum TvLock
{
	TV_LOCK_KEYRING_FILE,		/* appends to the keyring file, in order */
	TV_LOCK_KEYRING_TABLE,		/* the keyring's tables in shared memory */
	TV_LOCK_KEYRING_SERVICE,	/* which key is a service's */
	TV_LOCK_AUDIT,				/* the audit log: its chain */
	TV_LOCK_AUDIT_SYNC,			/* the audit log: one syncs for all */
	TV_LOCK_VAULT_FILE,			/* policy files, in order */
	TV_LOCK_VAULT_SESSIONS,		/* unlocks and failures in shared memory */
	TV_LOCK_WORKER,				/* operations of background workers */
	TV_LOCK_COUNT
} TvLock;

/* In _PG_init: remember an area; tv_shmem_init() then reserves and hooks. */
extern void tv_shmem_add(const TvShmemArea *area);
extern void tv_shmem_init(void);

/* The lock of that name. */
extern LWLock *tv_shmem_lock(TvLock lock);

/*
 * Map size bytes that all children of the postmaster share.  Pages that
 * nobody touched take no memory.  secret: excluded from core dumps and locked
 * (*locked tells whether that worked; may be NULL).  FATAL when it cannot be
 * mapped.  In _PG_init only.
 */
extern void *tv_shmem_region(const char *name, Size size, bool secret, bool *locked);

#endif							/* TV_SHMEM_H */
