/*
 * provider_session_test.c
 *	  The pkcs11 provider over time: fork, sessions that are lost, tokens
 *	  that are made anew, modules that hang, memory, and where the PIN stays.
 */
#include "provider_softhsm.h"

#include "provider/tv_bounded_call.h"

static const uint8_t aad[] = "relation 16384 epoch 1";
static const uint8_t tek[32] = {1, 2, 3, 4};

/* Run fn in a child; its result is the child's exit status. */
static int
in_child(int (*fn) (TvProvider *), TvProvider *p)
{
	pid_t		pid = fork();
	int			rc = 0;

	if (pid == 0)
		_exit(fn(p));
	waitpid(pid, &rc, 0);
	return WIFEXITED(rc) ? WEXITSTATUS(rc) : 128 + WTERMSIG(rc);
}

static int
child_uses_own_handle(TvProvider *parents)
{
	TvProvider *p = NULL;
	TvError		err;
	uint8_t		wrapped[TV_WRAPPED_MAX];
	uint8_t		back[32];
	size_t		len;

	if (tv_provider_wrap(parents, NULL, 0, tek, wrapped, &len, &err) !=
		TV_ERR_INVALID_ARGUMENT)
		return 1;
	if (tv_provider_open(hsm_uri("alpha"), "mek", NULL, false, &p, &err) != TV_OK)
		return 2;
	if (tv_provider_wrap(p, aad, sizeof(aad), tek, wrapped, &len, &err) != TV_OK ||
		tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err) != TV_OK ||
		memcmp(back, tek, 32) != 0)
		return 3;
	tv_provider_close(p);
	tv_provider_close(parents);
	return 0;
}

/* A child must log in for itself, not live on its parent's login. */
static int
child_needs_pin(TvProvider *parents)
{
	TvProvider *p = NULL;
	TvError		err;

	(void) parents;
	hsm_write_pin("22222222", 0600);
	return tv_provider_open(hsm_uri("alpha"), "mek", NULL, false, &p, &err) ==
		TV_ERR_BAD_PIN ? 0 : 1;
}

/* Ends with everything still open, through all exit handlers. */
static int
child_exits_open(TvProvider *parents)
{
	TvProvider *p = NULL;
	TvError		err;

	(void) parents;
	if (tv_provider_open(hsm_uri("alpha"), "mek", NULL, false, &p, &err) != TV_OK)
		return 1;
	exit(0);
}

static void
test_fork(void)
{
	TvProvider *p = NULL;
	TvError		err;
	uint8_t		wrapped[TV_WRAPPED_MAX];
	uint8_t		back[32];
	size_t		len;

	ok(in_child(child_exits_open, NULL) != 0, "no key yet, in a child");
	ok_status(tv_provider_open(hsm_uri("alpha"), "mek", NULL, true, &p, &err),
			  TV_OK, &err, "open in the parent");
	tv_provider_wrap(p, aad, sizeof(aad), tek, wrapped, &len, &err);
	ok(in_child(child_uses_own_handle, p) == 0,
	   "a child refuses its parent's handle and opens its own");
	ok(in_child(child_needs_pin, p) == 0, "a child does not inherit the login");
	hsm_write_pin(HSM_PIN "\n", 0600);
	ok(in_child(child_exits_open, p) == 0, "a child exits without closing");
	ok_status(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err),
			  TV_OK, &err, "the parent's handle is unharmed");
	tv_provider_close(p);
	ok(in_child(child_exits_open, NULL) == 0, "a child after the parent closed");
}

/* Take the session away behind the provider's back. */
static void
close_all_sessions(void)
{
	void	   *lib = dlopen(SOFTHSM_MODULE, RTLD_NOW);
	CK_C_GetFunctionList get;
	CK_FUNCTION_LIST *api;
	CK_SLOT_ID	slots[16];
	CK_ULONG	n = 16;

	*(void **) &get = dlsym(lib, "C_GetFunctionList");
	get(&api);
	api->C_GetSlotList(CK_TRUE, slots, &n);
	for (CK_ULONG i = 0; i < n; i++)
		api->C_CloseAllSessions(slots[i]);
	dlclose(lib);
}

static void
test_lost_session(void)
{
	TvProvider *p = NULL;
	TvProvider *q = NULL;
	TvError		err;
	uint8_t		wrapped[TV_WRAPPED_MAX];
	uint8_t		back[32];
	size_t		len;

	tv_provider_open(hsm_uri("alpha"), "mek", NULL, true, &p, &err);
	tv_provider_open(hsm_uri("alpha"), "mek-b", NULL, true, &q, &err);
	ok(p != NULL && q != NULL, "two keys of one token open");
	close_all_sessions();
	ok_status(tv_provider_wrap(p, aad, sizeof(aad), tek, wrapped, &len, &err),
			  TV_OK, &err, "wrap reopens a lost session");
	ok_status(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err),
			  TV_OK, &err, "unwrap");
	ok_status(tv_provider_wrap(q, aad, sizeof(aad), tek, wrapped, &len, &err),
			  TV_OK, &err, "the other key follows");
	ok_status(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err),
			  TV_ERR_AUTH, &err, "and is another key");
	close_all_sessions();
	hsm_write_pin("33333333", 0600);
	ok_status(tv_provider_wrap(p, aad, sizeof(aad), tek, wrapped, &len, &err),
			  TV_ERR_BAD_PIN, &err, "reopening with a PIN that went wrong");
	ok_status(tv_provider_wrap(q, aad, sizeof(aad), tek, wrapped, &len, &err),
			  TV_ERR_BAD_PIN, &err, "which is sent once only");
	ok(strstr(err.message, "refused before") != NULL, "across all handles");
	hsm_write_pin(HSM_PIN "\n", 0600);
	ok_status(tv_provider_wrap(p, aad, sizeof(aad), tek, wrapped, &len, &err),
			  TV_OK, &err, "the PIN corrected, the handle works on");
	tv_provider_close(p);
	ok_status(tv_provider_wrap(q, aad, sizeof(aad), tek, wrapped, &len, &err),
			  TV_OK, &err, "one handle closed, the other works on");
	tv_provider_close(q);
}

static void
test_token_made_anew(void)
{
	TvProvider *p = NULL;
	TvError		err;
	uint8_t		wrapped[TV_WRAPPED_MAX];
	uint8_t		back[32];
	size_t		len;

	ok(hsm_init_token("omega"), "a token");
	ok(tv_provider_open(hsm_uri("omega"), "mek", NULL, true, &p, &err) == TV_OK,
	   "a key on it");
	tv_provider_wrap(p, aad, sizeof(aad), tek, wrapped, &len, &err);
	ok(shell("softhsm2-util --delete-token --token omega >%s/log 2>&1",
			 hsm_dir) == 0, "the token goes");
	ok_status(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err),
			  TV_ERR_NO_TOKEN, &err, "an open handle says so");
	ok(hsm_init_token("omega"), "a token of the same label comes");
	ok_status(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err),
			  TV_ERR_NO_KEY, &err, "without the key");
	tv_provider_close(p);
	p = NULL;
	ok_status(tv_provider_open(hsm_uri("omega"), "mek", NULL, true, &p, &err),
			  TV_OK, &err, "a new handle makes a new key");
	ok_status(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err),
			  TV_ERR_AUTH, &err, "which is not the old one");
	tv_provider_wrap(p, aad, sizeof(aad), tek, wrapped, &len, &err);
	ok(shell("softhsm2-util --init-token --token omega --label omega --pin %s "
			 "--so-pin %s >%s/log 2>&1", HSM_PIN, HSM_SO_PIN, hsm_dir) == 0,
	   "the token initialized in place");
	ok_status(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err),
			  TV_ERR_NO_KEY, &err, "an open handle says so");
	tv_provider_close(p);
	p = NULL;
	ok_status(tv_provider_open(hsm_uri("omega"), "mek", NULL, true, &p, &err),
			  TV_OK, &err, "and it can be used again");
	tv_provider_close(p);
}

/*
 * A token that appears while the module is open for another one.
 */
static void
test_late_token(void)
{
	TvProvider *p = NULL;
	TvProvider *q = NULL;
	TvError		err;
	uint8_t		wrapped[TV_WRAPPED_MAX];
	size_t		len;

	tv_provider_open(hsm_uri("alpha"), "mek", NULL, true, &p, &err);
	ok(hsm_init_token("late"), "a token appears");
	ok_status(tv_provider_open(hsm_uri("late"), "mek", NULL, true, &q, &err),
			  TV_OK, &err, "and is found");
	ok_status(tv_provider_wrap(p, aad, sizeof(aad), tek, wrapped, &len, &err),
			  TV_OK, &err, "the first key works on");
	ok_status(tv_provider_wrap(q, aad, sizeof(aad), tek, wrapped, &len, &err),
			  TV_OK, &err, "so does the second");
	tv_provider_close(p);
	tv_provider_close(q);
}

/*
 * Lock the files that SoftHSM locks itself, from another process, so that its
 * calls wait in the kernel: a hang inside the module, made without tricks.
 * Returns the locking process; it ends when the pipe closes.
 */
static pid_t
hang_softhsm(int *release_fd)
{
	int			go[2];
	int			ready[2];
	pid_t		pid;
	char		c;

	if (pipe(go) != 0 || pipe(ready) != 0)
		abort();
	pid = fork();
	if (pid == 0)
	{
		char		path[256];
		FILE	   *list;

		close(go[1]);
		snprintf(path, sizeof(path), "find %s/tokens -type f", hsm_dir);
		list = popen(path, "r");
		while (list != NULL && fgets(path, sizeof(path), list) != NULL)
		{
			struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
			int			fd;

			path[strcspn(path, "\n")] = '\0';
			fd = open(path, O_RDWR);
			if (fd < 0 || fcntl(fd, F_SETLKW, &lock) != 0)
				_exit(1);
		}
		(void) !write(ready[1], "x", 1);
		(void) !read(go[0], &c, 1);
		_exit(0);
	}
	close(go[0]);
	close(ready[1]);
	(void) !read(ready[0], &c, 1);
	close(ready[0]);
	*release_fd = go[1];
	return pid;
}

static void
test_hang(void)
{
	TvProvider *p = NULL;
	TvProvider *q = NULL;
	TvError		err;
	uint8_t		wrapped[TV_WRAPPED_MAX];
	uint8_t		back[32];
	size_t		len;
	double		start;
	int			fd;
	pid_t		pid;

	tv_provider_timeout_ms = 300;
	pid = hang_softhsm(&fd);
	ok_status(tv_provider_open(hsm_uri("alpha"), "mek", NULL, false, &p, &err),
			  TV_ERR_UNAVAILABLE, &err, "opening at a module that hangs ends");
	/* if the next attempt waited, the alarm would end this program */
	tv_provider_timeout_ms = 3600 * 1000;
	alarm(60);
	ok_status(tv_provider_open(hsm_uri("alpha"), "mek", NULL, false, &p, &err),
			  TV_ERR_UNAVAILABLE, &err, "the next attempt does not wait");
	alarm(0);
	close(fd);
	waitpid(pid, NULL, 0);
	tv_provider_timeout_ms = TV_PROVIDER_TIMEOUT_DEFAULT_MS;
	start = now_ms();
	while (tv_provider_open(hsm_uri("alpha"), "mek", NULL, false, &p, &err) ==
		   TV_ERR_UNAVAILABLE && now_ms() - start < 5000)
		usleep(1000);
	ok(p != NULL, "the module recovers when the hang is over");
	ok(tv_provider_wrap(p, aad, sizeof(aad), tek, wrapped, &len, &err) == TV_OK &&
	   tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err) == TV_OK,
	   "and works");

	/* a second open hangs while a handle is in use */
	tv_provider_timeout_ms = 300;
	pid = hang_softhsm(&fd);
	ok(tv_provider_open(hsm_uri("alpha"), "mek-b", NULL, false, &q, &err) ==
	   TV_ERR_UNAVAILABLE, "opening another key hangs");
	ok(tv_provider_wrap(p, aad, sizeof(aad), tek, wrapped, &len, &err) ==
	   TV_ERR_UNAVAILABLE, "the open key reports it");
	close(fd);
	waitpid(pid, NULL, 0);
	tv_provider_timeout_ms = TV_PROVIDER_TIMEOUT_DEFAULT_MS;
	start = now_ms();
	while (tv_provider_wrap(p, aad, sizeof(aad), tek, wrapped, &len, &err) ==
		   TV_ERR_UNAVAILABLE && now_ms() - start < 5000)
		usleep(1000);
	ok(tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err) == TV_OK,
	   "and works again afterwards");
	tv_provider_close(p);
}

static long
resident_kib(void)
{
	FILE	   *f = fopen("/proc/self/statm", "r");
	long		size = 0;
	long		resident = 0;

	if (f == NULL || fscanf(f, "%ld %ld", &size, &resident) != 2)
		abort();
	fclose(f);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/*
 * Is a tool at work that keeps freed memory for itself?  Such a tool finds
 * leaks by itself; the process's size says nothing then.
 */
static bool
instrumented(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(UNIT_VALGRIND)
	return true;
#else
	return false;
#endif
}

static void
ok_growth(long before, long limit)
{
	long		grown = resident_kib() - before;

	if (instrumented())
		unit_skip("the tool at work looks for leaks itself");
	else
		ok(grown < limit, "memory grew by %ld kB", grown);
}

static int
count_threads(void)
{
	DIR		   *dir = opendir("/proc/self/task");
	int			n = 0;

	while (dir != NULL && readdir(dir) != NULL)
		n++;
	if (dir != NULL)
		closedir(dir);
	return n - 2;
}

static void
test_many_wraps(int rounds)
{
	TvProvider *p = NULL;
	TvError		err;
	uint8_t		wrapped[TV_WRAPPED_MAX];
	uint8_t		back[32];
	size_t		len;
	long		before = 0;
	double		start = now_ms();
	double		wrap_ms;
	int			failed = 0;

	tv_provider_open(hsm_uri("alpha"), "mek", NULL, true, &p, &err);
	printf("# open %.2f ms\n", now_ms() - start);
	start = now_ms();
	for (int i = 0; i < rounds; i++)
	{
		if (i == rounds / 10)
			before = resident_kib();
		if (tv_provider_wrap(p, aad, sizeof(aad), tek, wrapped, &len, &err) != TV_OK)
			failed++;
	}
	wrap_ms = (now_ms() - start) / rounds;
	start = now_ms();
	for (int i = 0; i < rounds; i++)
		if (tv_provider_unwrap(p, aad, sizeof(aad), wrapped, len, back, &err) != TV_OK)
			failed++;
	printf("# wrap %.3f ms, unwrap %.3f ms\n", wrap_ms, (now_ms() - start) / rounds);
	ok(failed == 0, "%d wraps and unwraps", rounds);
	ok_growth(before, 512);
	tv_provider_close(p);
	ok(count_threads() == 1, "no thread is left");
}

static void
test_many_opens(int rounds)
{
	TvError		err;
	long		before = 0;
	int			failed = 0;
	double		start = now_ms();

	for (int i = 0; i < rounds; i++)
	{
		TvProvider *p = NULL;

		if (i == rounds / 5)
			before = resident_kib();
		if (tv_provider_open(hsm_uri("alpha"), "mek", NULL, false, &p, &err) != TV_OK)
			failed++;
		tv_provider_close(p);
	}
	ok(failed == 0, "%d times open and close, %.2f ms each", rounds,
	   (now_ms() - start) / rounds);
	ok_growth(before, 1024);
}

/*
 * Look for the PIN in all memory of this process.  The needle is kept
 * inverted so that the search does not find itself.
 */
static int
count_pin_in_memory(void)
{
	static char inverted[sizeof(HSM_PIN)];
	FILE	   *maps = fopen("/proc/self/maps", "r");
	int			mem = open("/proc/self/mem", O_RDONLY);
	static char buf[65536];
	char		line[512];
	int			hits = 0;

	for (size_t i = 0; i < sizeof(HSM_PIN) - 1; i++)
		inverted[i] = (char) ~HSM_PIN[i];
	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
	{
		unsigned long from;
		unsigned long to;

		if (sscanf(line, "%lx-%lx rw", &from, &to) != 2 || !strstr(line, " rw"))
			continue;
		for (unsigned long at = from; at < to; at += sizeof(buf) - 16)
		{
			ssize_t		n = pread(mem, buf, sizeof(buf), (off_t) at);

			if (at <= (unsigned long) buf && (unsigned long) buf < at + sizeof(buf))
				continue;
			for (ssize_t i = 0; i + 8 <= n; i++)
			{
				int			j = 0;

				while (j < 8 && buf[i + j] == (char) ~inverted[j])
					j++;
				hits += j == 8;
			}
		}
	}
	close(mem);
	fclose(maps);
	memset(buf, 0, sizeof(buf));
	return hits;
}

/*
 * In a child, because this process's own heap and stack have held the PIN as
 * an argument of shell commands.
 */
static int
child_searches_pin(TvProvider *unused)
{
	(void) unused;
	setenv("PIN_SEARCH", hsm_dir, 1);
	execl("/proc/self/exe", "provider_session_test", "--search-pin", (char *) NULL);
	return 99;
}

static int
search_pin(void)
{
	TvProvider *p = NULL;
	TvError		err;
	char	   *control;
	int			before;
	int			after;

	snprintf(hsm_dir, sizeof(hsm_dir), "%s", getenv("PIN_SEARCH"));
	control = strdup(HSM_PIN);
	if (count_pin_in_memory() != 1)
		return 97;				/* the search does not work */
	memset(control, 0, strlen(HSM_PIN));
	free(control);
	before = count_pin_in_memory();
	if (tv_provider_open(hsm_uri("alpha"), "mek", NULL, false, &p, &err) != TV_OK)
		return 98;
	after = count_pin_in_memory();
	tv_provider_close(p);
	fprintf(stderr, "# PIN in memory: %d before, %d after\n", before, after);
	return after - before;
}

static void
sleep_briefly(void *arg)
{
	usleep(*(int *) arg * 1000);
	*(int *) arg = -1;
}

static void
test_bounded(void)
{
	TvBoundedCall *call;
	TvError		err;
	int			ms = 1;

	ok(tv_bounded_run(sleep_briefly, &ms, tv_bounded_now() + 5000, &call, &err) ==
	   TV_OK && call == NULL && ms == -1, "a call that returns in time");
	ms = 300;
	ok(tv_bounded_run(sleep_briefly, &ms, tv_bounded_now() + 20, &call, &err) ==
	   TV_ERR_UNAVAILABLE && call != NULL, "a call that does not");
	ok(!tv_bounded_reap(call), "is not over yet");
	while (!tv_bounded_reap(call))
		usleep(1000);
	ok(ms == -1, "and then is");
}

int
main(int argc, char **argv)
{
	int			rounds = 10000;

	if (argc > 1 && strcmp(argv[1], "--search-pin") == 0)
		return search_pin();
	if (getenv("TV_TEST_ROUNDS") != NULL)
		rounds = atoi(getenv("TV_TEST_ROUNDS"));
	hsm_start();
	test_bounded();
	test_fork();
	test_lost_session();
	test_token_made_anew();
	test_late_token();
	test_hang();
	test_many_wraps(rounds);
	test_many_opens(rounds / 50 + 5);
	if (instrumented())
		unit_skip("memory is searched for the PIN without tools only");
	else
		ok(in_child(child_searches_pin, NULL) == 0, "the PIN is not left in memory");
	hsm_stop();
	return unit_done();
}
