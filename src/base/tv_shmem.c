/*
 * tv_shmem.c
 *	  Shared memory: one table of areas, and regions outside the server's
 *	  segment.
 */
#include "base/tv_shmem.h"

#include <sys/mman.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#define TRANCHE "tde_vault"
#define MAX_AREAS 16

static TvShmemArea areas[MAX_AREAS];
static int	n_areas = 0;
static LWLockPadded *locks = NULL;

static shmem_request_hook_type next_shmem_request_hook = NULL;
static shmem_startup_hook_type next_shmem_startup_hook = NULL;

static void
shmem_request(void)
{
	if (next_shmem_request_hook)
		next_shmem_request_hook();
	for (int i = 0; i < n_areas; i++)
		RequestAddinShmemSpace(MAXALIGN(areas[i].size));
	RequestNamedLWLockTranche(TRANCHE, TV_LOCK_COUNT);
}

static void
shmem_startup(void)
{
	if (next_shmem_startup_hook)
		next_shmem_startup_hook();

	/*
	 * Without EXEC_BACKEND this hook runs only where shared memory is made,
	 * so nobody else can see the areas yet (ipci.c,
	 * CreateSharedMemoryAndSemaphores).
	 */
	locks = GetNamedLWLockTranche(TRANCHE);
	for (int i = 0; i < n_areas; i++)
	{
		bool		found;
		void	   *memory;

		memory = ShmemInitStruct(areas[i].name, areas[i].size, &found);
		memset(memory, 0, areas[i].size);
		areas[i].init(memory);
	}
}

void
tv_shmem_add(const TvShmemArea *area)
{
	if (n_areas >= MAX_AREAS)
		elog(FATAL, "too many shared memory areas");
	areas[n_areas++] = *area;
}

void
tv_shmem_init(void)
{
	next_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
	next_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

LWLock *
tv_shmem_lock(TvLock lock)
{
	return &locks[lock].lock;
}

void *
tv_shmem_region(const char *name, Size size, bool secret, bool *locked)
{
	void	   *memory;
	bool		is_locked = false;

	memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map %zu bytes of shared memory for %s: %m",
						size, name),
				 errhint("Reduce tde_vault.max_relation_files, or allow more memory to be committed (vm.overcommit_memory, vm.overcommit_ratio).")));
	if (secret)
	{
		if (madvise(memory, size, MADV_DONTDUMP) != 0)
			ereport(FATAL,
					(errcode(ERRCODE_SYSTEM_ERROR),
					 errmsg("could not keep %s out of core dumps: %m", name)));
		is_locked = mlock(memory, size) == 0;
	}
	if (locked)
		*locked = is_locked;
	return memory;
}
