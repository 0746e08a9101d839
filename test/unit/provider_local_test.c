/*
 * provider_local_test.c
 *	  The file, env and passphrase providers: permissions, formats, wrapping.
 *	  Run as root, the permission checks are made as another user too.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/tv_status.h"
#include "provider/tv_provider.h"
#include "unit.h"

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"
#define OTHER_UID 65534

static char dir[64];
static char path[128];
static char uri[160];
static const uint8_t salt[TV_PROVIDER_SALT_LEN] = "0123456789abcdef";

static void
put(const void *data, size_t len, mode_t mode)
{
	int			fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, data, len) != (ssize_t) len || fchmod(fd, mode) != 0)
		abort();
	close(fd);
}

static TvStatus
try_open(const char *u, TvError *err)
{
	TvProvider *p = NULL;
	TvStatus	status;

	memset(err, 0, sizeof(*err));
	status = tv_provider_open(u, "mek", salt, true, &p, err);
	tv_provider_close(p);
	return status;
}

static void
expect(const char *u, TvStatus want, const char *message, const char *what)
{
	TvError		err;
	TvStatus	got = try_open(u, &err);

	if (!ok(got == want && strstr(err.message, message) != NULL, "%s", what) ||
		got != TV_OK)
		printf("# status %d: %s\n#   detail: %s\n#   hint: %s\n", (int) got,
			   err.message, err.detail, err.hint);
}

static void
test_file_format(void)
{
	uint8_t		raw[33];
	char		text[128];

	for (int i = 0; i < 33; i++)
		raw[i] = (uint8_t) (i + 200);
	put(HEX, 64, 0600);
	expect(uri, TV_OK, "", "64 hexadecimal characters");
	put(HEX "\n", 65, 0400);
	expect(uri, TV_OK, "", "with newline, mode 0400");
	put(raw, 32, 0600);
	expect(uri, TV_OK, "", "32 raw bytes");
	put(HEX "\n\n", 66, 0600);
	expect(uri, TV_ERR_BAD_KEY, "hex key must be 64 characters (32 bytes), got 65",
		   "two newlines");
	put(HEX "\r\n", 66, 0600);
	expect(uri, TV_ERR_BAD_KEY, "got 65", "carriage return");
	put(HEX, 63, 0600);
	expect(uri, TV_ERR_BAD_KEY, "hex key must be 64 characters (32 bytes), got 63",
		   "one short");
	put(HEX, 32, 0600);
	expect(uri, TV_ERR_BAD_KEY, "hex key must be 64 characters (32 bytes), got 32",
		   "32 hexadecimal characters are no raw key");
	put(raw, 33, 0600);
	expect(uri, TV_ERR_BAD_KEY, "got 33", "33 raw bytes");
	put("", 0, 0600);
	expect(uri, TV_ERR_BAD_KEY, "got 0", "empty");
	memcpy(text, HEX, 64);
	text[20] = 'g';
	put(text, 64, 0600);
	expect(uri, TV_ERR_BAD_KEY, "invalid character at position 21", "not hexadecimal");
	text[20] = '\0';
	put(text, 64, 0600);
	expect(uri, TV_ERR_BAD_KEY, "invalid character at position 21", "NUL inside");
	{
		char		big[5000];

		memset(big, 'a', sizeof(big));
		put(big, sizeof(big), 0600);
		expect(uri, TV_ERR_BAD_KEY, "more than", "too big");
	}
}

static void
test_file_permissions(void)
{
	static const mode_t open_modes[] = {0640, 0604, 0601, 0610, 0700, 0666, 0620, 04600};
	char		other[160];

	for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++)
	{
		put(HEX, 64, open_modes[i]);
		expect(uri, TV_ERR_INSECURE, "has insecure permissions", "mode too open");
	}
	put(HEX, 64, 0600);
	snprintf(other, sizeof(other), "%s/link", dir);
	if (symlink(path, other) != 0)
		abort();
	snprintf(other, sizeof(other), "file:%s/link", dir);
	expect(other, TV_OK, "", "a symbolic link to a good file");
	snprintf(other, sizeof(other), "file:%s", dir);
	expect(other, TV_ERR_INSECURE, "is not a regular file", "a directory");
	snprintf(other, sizeof(other), "%s/fifo", dir);
	mkfifo(other, 0600);
	snprintf(other, sizeof(other), "file:%s/fifo", dir);
	expect(other, TV_ERR_INSECURE, "is not a regular file", "a FIFO does not hang");
	snprintf(other, sizeof(other), "file:%s/none", dir);
	expect(other, TV_ERR_IO, "No such file or directory", "no such file");
}

/* As an unprivileged user, because root may read everything. */
static void
test_other_user(void)
{
	int			rc = 0;
	pid_t		pid;

	if (!ok(geteuid() == 0, "run as root, to become another user"))
		return;
	put(HEX, 64, 0600);
	chmod(dir, 0755);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
	{
		unit_failed = 0;
		if (setgid(OTHER_UID) != 0 || setuid(OTHER_UID) != 0)
			_exit(99);
		expect(uri, TV_ERR_IO, "Permission denied", "# as another user: root's file");
		_exit(unit_failed);
	}
	waitpid(pid, &rc, 0);
	ok(WIFEXITED(rc) && WEXITSTATUS(rc) == 0, "a file that the server may not read");
	if (chown(path, OTHER_UID, OTHER_UID) != 0)
		abort();
	expect(uri, TV_ERR_INSECURE, "has insecure permissions",
		   "a file of another user, though we could read it");
	fflush(stdout);
	pid = fork();
	if (pid == 0)
	{
		TvError		err;

		if (setgid(OTHER_UID) != 0 || setuid(OTHER_UID) != 0)
			_exit(99);
		_exit(try_open(uri, &err) == TV_OK ? 0 : 1);
	}
	waitpid(pid, &rc, 0);
	ok(WIFEXITED(rc) && WEXITSTATUS(rc) == 0, "its owner may use it");
}

static void
test_env(void)
{
	unsetenv("TV_TEST_MEK");
	expect("env:TV_TEST_MEK", TV_ERR_NO_KEY,
		   "environment variable \"TV_TEST_MEK\" not found", "no variable");
	setenv("TV_TEST_MEK", HEX, 1);
	expect("env:TV_TEST_MEK", TV_OK, "", "a good variable");
	setenv("TV_TEST_MEK", "abc", 1);
	expect("env:TV_TEST_MEK", TV_ERR_BAD_KEY,
		   "hex key must be 64 characters (32 bytes), got 3", "too short");
	setenv("TV_TEST_MEK", "", 1);
	expect("env:TV_TEST_MEK", TV_ERR_BAD_KEY, "got 0", "empty");
}

static void
test_passphrase(void)
{
	char		u[160];
	TvProvider *p = NULL;
	TvProvider *q = NULL;
	TvError		err;
	uint8_t		key[32] = {5};
	uint8_t		back[32];
	uint8_t		wrapped[TV_WRAPPED_MAX];
	uint8_t		salt2[TV_PROVIDER_SALT_LEN] = {0};
	size_t		len;

	snprintf(u, sizeof(u), "passphrase:%s", path);
	put("", 0, 0600);
	expect(u, TV_ERR_BAD_PIN, "at least 8 characters", "empty passphrase");
	put("sevench\n", 8, 0600);
	expect(u, TV_ERR_BAD_PIN, "at least 8 characters", "seven characters");
	put("\303\244\303\244\303\244\303\244\303\244\n", 11, 0600);
	expect(u, TV_ERR_BAD_PIN, "at least 8 characters", "five characters in ten bytes");
	put("correct horse\n", 14, 0644);
	expect(u, TV_ERR_INSECURE, "passphrase file", "mode too open");
	put("correct horse\n", 14, 0600);
	ok(tv_provider_open(u, "mek", NULL, true, &p, &err) == TV_ERR_INVALID_ARGUMENT,
	   "no salt");
	ok(tv_provider_open(u, "mek", salt, true, &p, &err) == TV_OK, "open");
	tv_provider_wrap(p, NULL, 0, key, wrapped, &len, &err);
	put("correct horse", 13, 0600);
	ok(tv_provider_open(u, "mek", salt, true, &q, &err) == TV_OK &&
	   tv_provider_unwrap(q, NULL, 0, wrapped, len, back, &err) == TV_OK &&
	   memcmp(key, back, 32) == 0, "the newline does not count");
	tv_provider_close(q);
	ok(tv_provider_open(u, "mek", salt2, true, &q, &err) == TV_OK &&
	   tv_provider_unwrap(q, NULL, 0, wrapped, len, back, &err) == TV_ERR_AUTH,
	   "the salt does");
	tv_provider_close(q);
	put("Correct horse", 13, 0600);
	ok(tv_provider_open(u, "mek", salt, true, &q, &err) == TV_OK &&
	   tv_provider_unwrap(q, NULL, 0, wrapped, len, back, &err) == TV_ERR_AUTH,
	   "another passphrase");
	tv_provider_close(q);
	tv_provider_close(p);
}

static void
test_wrap(void)
{
	TvProvider *p = NULL;
	TvError		err;
	uint8_t		key[32] = {7};
	uint8_t		back[32];
	uint8_t		zero[32] = {0};
	uint8_t		big[200] = {0};
	uint8_t		wrapped[TV_WRAPPED_MAX];
	size_t		len;
	int			caught = 0;
	int			rc = 0;
	pid_t		pid;

	put(HEX, 64, 0600);
	(void) !chown(path, geteuid(), getegid());
	tv_provider_open(uri, "mek", NULL, false, &p, &err);
	ok(tv_provider_wrap(p, big, 128, key, wrapped, &len, &err) == TV_OK && len == 60,
	   "wrap with 128 bytes of AAD");
	ok(tv_provider_unwrap(p, big, 128, wrapped, len, back, &err) == TV_OK &&
	   memcmp(key, back, 32) == 0, "unwrap");
	ok(tv_provider_wrap(p, big, 129, key, wrapped, &len, &err) ==
	   TV_ERR_INVALID_ARGUMENT, "129 bytes of AAD");
	tv_provider_wrap(p, big, 5, key, wrapped, &len, &err);
	ok(tv_provider_unwrap(p, big, 6, wrapped, len, back, &err) == TV_ERR_AUTH &&
	   memcmp(back, zero, 32) == 0, "other AAD");
	for (size_t i = 0; i < len; i++)
	{
		wrapped[i] ^= 1;
		caught += tv_provider_unwrap(p, big, 5, wrapped, len, back, &err) == TV_ERR_AUTH;
		wrapped[i] ^= 1;
	}
	ok(caught == 60, "every flipped byte is caught");
	for (size_t n = 0; n < 60; n++)
		caught -= tv_provider_unwrap(p, big, 5, wrapped, n, back, &err) ==
			TV_ERR_TRUNCATED;
	ok(caught == 0, "every shorter length is caught");
	ok(tv_provider_unwrap(p, big, 5, wrapped, 61, back, &err) == TV_ERR_CORRUPT,
	   "a longer one too");
	fflush(stdout);
	pid = fork();
	if (pid == 0)
	{
		bool		refused = tv_provider_unwrap(p, big, 5, wrapped, len, back,
												 &err) == TV_ERR_INVALID_ARGUMENT;

		tv_provider_close(p);
		_exit(refused ? 0 : 1);
	}
	waitpid(pid, &rc, 0);
	ok(WIFEXITED(rc) && WEXITSTATUS(rc) == 0, "a child cannot use the handle");
	ok(tv_provider_unwrap(p, big, 5, wrapped, len, back, &err) == TV_OK,
	   "the parent still can");
	tv_provider_close(p);
	tv_provider_close(NULL);
	p = NULL;
	ok(tv_provider_open(uri, "", NULL, false, &p, &err) == TV_ERR_INVALID_ARGUMENT,
	   "empty key id");
	ok(tv_provider_open(uri, "a\nb", NULL, false, &p, &err) ==
	   TV_ERR_INVALID_ARGUMENT, "control character in key id");
	memset(big, 'k', 129);
	ok(tv_provider_open(uri, (char *) big, NULL, false, &p, &err) ==
	   TV_ERR_INVALID_ARGUMENT && p == NULL, "key id too long");
}

int
main(void)
{
	snprintf(dir, sizeof(dir), "/tmp/tv_local_XXXXXX");
	if (mkdtemp(dir) == NULL)
		abort();
	snprintf(path, sizeof(path), "%s/key", dir);
	snprintf(uri, sizeof(uri), "file:%s", path);
	test_file_format();
	test_file_permissions();
	test_other_user();
	test_env();
	test_passphrase();
	test_wrap();
	snprintf(path, sizeof(path), "rm -rf '%s'", dir);
	(void) !system(path);
	return unit_done();
}
