/*
 * base_secret_test.c
 *	  Memory for key material: alignment, zeroing, guard pages, core dumps,
 *	  and what a child sees.
 */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/tv_secret.h"
#include "unit.h"

#define MANY 3000

/* the address sanitizer replaces mlock() by nothing */
#if defined(__SANITIZE_ADDRESS__)
#define LOCKING_IS_REAL false
#else
#define LOCKING_IS_REAL true
#endif

static bool
all_bytes(const uint8_t *p, size_t n, uint8_t v)
{
	for (size_t i = 0; i < n; i++)
	{
		if (p[i] != v)
			return false;
	}
	return true;
}

static void
test_sizes(void)
{
	static const size_t sizes[] =
	{1, 32, 63, 64, 65, 240, 1088, 4095, 4096, 4097, 20000, 65535, 65536};
	bool		good = true;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		uint8_t    *p = tv_secret_alloc(sizes[i]);

		if (p == NULL || (uintptr_t) p % 64 != 0 || !all_bytes(p, sizes[i], 0))
			good = false;
		else
			memset(p, 0xa5, sizes[i]);
		tv_secret_free(p);
		p = tv_secret_alloc(sizes[i]);
		if (p == NULL || !all_bytes(p, sizes[i], 0))
			good = false;
		tv_secret_free(p);
	}
	ok(good, "every size is aligned, zeroed, and zeroed again when reused");
	ok(tv_secret_alloc(0) == NULL, "no bytes are refused");
	ok(tv_secret_alloc(65537) == NULL, "more than 64 kB are refused");
	ok(tv_secret_alloc(SIZE_MAX) == NULL, "a huge size is refused");
	tv_secret_free(NULL);
}

static void
test_many(void)
{
	static uint8_t *p[MANY];
	static size_t size[MANY];
	bool		good = true;

	srand(1);
	for (int round = 0; round < 3; round++)
	{
		for (int i = 0; i < MANY; i++)
		{
			if (p[i] != NULL && rand() % 2 == 0)
			{
				good = good && all_bytes(p[i], size[i], (uint8_t) i);
				tv_secret_free(p[i]);
				p[i] = NULL;
			}
			if (p[i] == NULL)
			{
				size[i] = 1 + (size_t) rand() % (i % 50 == 0 ? 9000 : 1500);
				p[i] = tv_secret_alloc(size[i]);
				good = good && p[i] != NULL && all_bytes(p[i], size[i], 0);
				if (p[i] != NULL)
					memset(p[i], (uint8_t) i, size[i]);
			}
		}
	}
	for (int i = 0; i < MANY; i++)
	{
		good = good && all_bytes(p[i], size[i], (uint8_t) i);
		tv_secret_free(p[i]);
	}
	ok(good, "many allocations of all sizes do not touch each other");
}

/* Run f in a child; the signal that ended it, or its exit status + 1000. */
static int
child_result(void (*f) (uint8_t *), uint8_t *arg)
{
	int			status;
	pid_t		pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
	{
		struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGSEGV, SIG_DFL);	/* also under a sanitizer */
		signal(SIGABRT, SIG_DFL);
		f(arg);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? WTERMSIG(status) : 1000 + WEXITSTATUS(status);
}

static void
write_past_large(uint8_t *unused)
{
	uint8_t    *p = tv_secret_alloc(65536);

	(void) unused;
	*(volatile uint8_t *) (p + 65536) = 1;
}

static void
free_twice(uint8_t *unused)
{
	uint8_t    *p = tv_secret_alloc(100);

	(void) unused;
	tv_secret_free(p);
	tv_secret_free(p);
}

static void
free_inside(uint8_t *unused)
{
	uint8_t    *p = tv_secret_alloc(1000);

	(void) unused;
	tv_secret_free(p + 64);
}

static void
look_at_inherited(uint8_t *p)
{
	uint8_t    *mine;

	if (!all_bytes(p, 100, 0))
		_exit(1);
	mine = tv_secret_alloc(100);
	if (mine == NULL || mine == p)
		_exit(2);
	memset(mine, 7, 100);
	tv_secret_free(p);			/* the parent's: nothing happens */
	if (!all_bytes(mine, 100, 7))
		_exit(3);
	tv_secret_free(mine);
}

static void
test_children(void)
{
	uint8_t    *p = tv_secret_alloc(100);

	memset(p, 0x5a, 100);
	ok(child_result(look_at_inherited, p) == 1000,
	   "a child sees zeros, has memory of its own, and may free what it inherited");
	ok(all_bytes(p, 100, 0x5a), "the parent keeps its own");
	tv_secret_free(p);
	ok(child_result(write_past_large, NULL) == SIGSEGV, "an overrun meets the guard page");
	ok(child_result(free_twice, NULL) == SIGABRT, "freeing twice aborts");
	ok(child_result(free_inside, NULL) == SIGABRT, "freeing part of an allocation aborts");
}

/*
 * The kernel's view: the mapping that holds p has the flags dd (not dumped)
 * and wf (wiped on fork), and lo (locked) where locking was possible.
 */
static void
test_kernel_view(void)
{
	uint8_t    *p = tv_secret_alloc(64);
	FILE	   *f = fopen("/proc/self/smaps", "r");
	char		line[512];
	bool		here = false;
	bool		found = false;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
	{
		unsigned long from;
		unsigned long to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (uintptr_t) p >= from && (uintptr_t) p < to;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
		{
			found = true;
			ok(strstr(line, " dd") != NULL, "the pages are not dumped");
			ok(strstr(line, " wf") != NULL, "the pages are wiped on fork");
			if (!LOCKING_IS_REAL)
				unit_skip("mlock() does nothing in this build");
			else if (tv_secret_all_locked())
				ok(strstr(line, " lo") != NULL, "the pages are locked");
			else
				unit_skip("pages cannot be locked here");
		}
	}
	if (f != NULL)
		fclose(f);
	if (!found)
		unit_skip("no /proc/self/smaps");
	tv_secret_free(p);
}

static void
refuse_lock(uint8_t *unused)
{
	struct rlimit none = {0, 0};

	(void) unused;
	setrlimit(RLIMIT_MEMLOCK, &none);
	if (setuid(65534) != 0)		/* root may lock regardless */
		_exit(0);
	if (!tv_secret_all_locked())
		_exit(1);
	if (tv_secret_alloc(64) == NULL)
		_exit(2);
	if (tv_secret_all_locked())
		_exit(3);
}

int
main(void)
{
	test_sizes();
	test_many();
	test_children();
	test_kernel_view();
	if (LOCKING_IS_REAL)
		ok(child_result(refuse_lock, NULL) == 1000,
		   "where locking is refused, memory is given and it is known");
	else
		unit_skip("mlock() does nothing in this build");
	return unit_done();
}
