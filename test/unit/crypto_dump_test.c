/*
 * crypto_dump_test.c
 *	  While a password is stretched, the process cannot be dumped: neither by
 *	  another one of the same user nor by crashing.
 *
 * The library's function is led through here, so what is asked is asked in the
 * middle of the work, however fast it is.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/tv_kdf.h"
#include "unit.h"

#if defined(__SANITIZE_ADDRESS__) || defined(UNIT_VALGRIND)
#define UNDER_TOOL true
#else
#define UNDER_TOOL false
#endif

#define NOBODY 65534

#define BEFORE 1				/* looked into, as it should be */
#define MEANWHILE 2				/* not looked into, as it should be */
#define AFTER 4					/* looked into again */

static void (*meanwhile) (void) = NULL;

int
crypto_pwhash_argon2id(unsigned char *const out, unsigned long long outlen,
					   const char *const passwd, unsigned long long passwdlen,
					   const unsigned char *const salt, unsigned long long opslimit,
					   size_t memlimit, int alg)
{
	int			(*next) (unsigned char *, unsigned long long, const char *, unsigned long long,
						 const unsigned char *, unsigned long long, size_t, int);

	*(void **) &next = dlsym(RTLD_NEXT, "crypto_pwhash_argon2id");
	if (next == NULL)
		return -1;
	if (meanwhile != NULL)
		meanwhile();
	return next(out, outlen, passwd, passwdlen, salt, opslimit, memlimit, alg);
}

static bool
stretch(void)
{
	static const uint8_t salt[16] = "0123456789abcde";
	uint8_t		key[32];

	return tv_argon2id((const uint8_t *) "correct horse", 13, salt, 16, 1024, 2, 1, key, 32) == TV_OK;
}

/* A process that root's rights do not help, and that can be dumped. */
static void
become_ordinary(void)
{
	if (getuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
		_exit(0);
	(void) prctl(PR_SET_DUMPABLE, 1);
	(void) prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
}

/* --- by another process ---------------------------------------------------- */

static bool
can_read_memory(pid_t pid)
{
	char		path[64];
	int			fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int) pid);
	fd = open(path, O_RDONLY);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Does a child of this process, of the same user, get into it?  In one way at least. */
static bool
is_looked_into(void)
{
	pid_t		self = getpid();
	pid_t		other = fork();
	int			status = 0;

	if (other == 0)
		_exit((can_read_memory(self) || ptrace(PTRACE_SEIZE, self, NULL, NULL) == 0) ? 1 : 0);
	return other > 0 && waitpid(other, &status, 0) == other && WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

static int	seen = 0;

static void
look(void)
{
	if (!is_looked_into())
		seen |= MEANWHILE;
}

static void
test_other_process(void)
{
	pid_t		pid;
	int			status = 0;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
	{
		become_ordinary();
		seen = is_looked_into() ? BEFORE : 0;
		meanwhile = look;
		if (!stretch())
			_exit(0);
		_exit(seen | (is_looked_into() ? AFTER : 0));
	}
	waitpid(pid, &status, 0);
	status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	if ((status & BEFORE) == 0)
	{
		unit_skip("processes of one user do not look into each other here");
		return;
	}
	ok((status & MEANWHILE) != 0, "nobody of the same user looks into a process that stretches a password");
	ok((status & AFTER) != 0, "afterwards they do, as before");
}

/* --- by a crash --------------------------------------------------------------- */

/* In a directory of its own; does the process leave a core file?  stretching: it crashes in the middle. */
static bool
dumps_core(const char *directory, bool stretching)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	pid_t		pid;
	int			status = 0;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
	{
		become_ordinary();
		if (chdir(directory) != 0 || setrlimit(RLIMIT_CORE, &unlimited) != 0)
			_exit(0);
		(void) prctl(PR_SET_DUMPABLE, 1);
		meanwhile = abort;
		if (stretching)
			(void) stretch();
		abort();
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && WCOREDUMP(status);
}

static void
clean(const char *directory)
{
	char		pattern[128];
	glob_t		files;

	snprintf(pattern, sizeof(pattern), "%s/*", directory);
	if (glob(pattern, 0, NULL, &files) == 0)
	{
		for (size_t i = 0; i < files.gl_pathc; i++)
			(void) unlink(files.gl_pathv[i]);
		globfree(&files);
	}
	(void) rmdir(directory);
}

static void
test_crash(void)
{
	char		directory[] = "/tmp/tde_vault_core.XXXXXX";

	if (UNDER_TOOL)
	{
		unit_skip("a core file would be the tool's");
		return;
	}
	if (mkdtemp(directory) == NULL || chmod(directory, 0777) != 0)
	{
		unit_skip("no temporary directory");
		return;
	}
	if (dumps_core(directory, false))
		ok(!dumps_core(directory, true), "a crash while a password is stretched leaves no core file");
	else
		unit_skip("crashes leave no core files here");
	clean(directory);
}

int
main(void)
{
	ok(stretch(), "the library does its work");
	test_other_process();
	test_crash();
	return unit_done();
}
