# FailingDisk.pm
#	  A disk that fails when it is told to, for TAP tests.
#
#	my $disk = FailingDisk->new;
#	$ENV{LD_PRELOAD} = $disk->library;		# of servers that are started from here on
#	$disk->fail('fsync', '/tde_vault/keyring', times => 1);
#	...
#	ok($disk->mend, 'it did');

package FailingDisk;

use strict;
use warnings;

use PostgreSQL::Test::Utils ();

# Calls of the C library ask the file "fail", which is one line: CALL ERRNO SUFFIX
# SKIP TIMES CUT.
use constant SOURCE => <<'C';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* One more, unless there are limit (-1: no limit) already. */
static int
counted(const char *name, long limit)
{
	FILE	   *file = fopen(name, "a+");
	int			more;

	if (file == NULL)
		return 0;
	flock(fileno(file), LOCK_EX);
	fseek(file, 0, SEEK_END);
	more = limit < 0 || ftell(file) < limit;
	if (more)
		fputc('x', file);
	fclose(file);
	return more;
}

/* What the disk did not keep: the last bytes, or what is past a length that stands at "@byte". */
static void
cut(int fd, const char *how)
{
	struct stat st;
	uint64_t	length;

	if (fstat(fd, &st) != 0)
		abort();
	length = (uint64_t) (st.st_size - atol(how));
	if (how[0] == '@' && pread(fd, &length, sizeof(length), atol(how + 1)) != sizeof(length))
		abort();
	if (ftruncate(fd, (off_t) length) != 0)
		abort();
}

static int
told_to_fail(const char *call, const char *path, int fd)
{
	char		name[16];
	char		suffix[64];
	char		how[16];
	int			code;
	long		skip;
	long		times;
	int			n;
	FILE	   *file = fopen(DIR "/fail", "r");

	if (file == NULL)
		return 0;
	n = fscanf(file, "%15s %d %63s %ld %ld %15s", name, &code, suffix, &skip, &times, how);
	fclose(file);
	if (n != 6 || strcmp(name, call) != 0 || strlen(path) < strlen(suffix) ||
		strcmp(path + strlen(path) - strlen(suffix), suffix) != 0)
		return 0;
	if (counted(DIR "/skipped", skip) || !counted(DIR "/failed", times))
		return 0;
	if (strcmp(how, "0") != 0)
		cut(fd, how);
	errno = code;
	return 1;
}

/* A call that works leaves errno as it was: what tells of a short write. */
static int
fails(const char *call, const char *path, int fd)
{
	int			before = errno;

	if (told_to_fail(call, path, fd))
		return 1;
	errno = before;
	return 0;
}

static int
fails_fd(const char *call, int fd)
{
	char		link[64];
	char		path[4096];
	ssize_t		len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return 0;
	path[len] = '\0';
	return fails(call, path, fd);
}

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))

int rename(const char *from, const char *to) { return fails("rename", to, -1) ? -1 : REAL(rename)(from, to); }
ssize_t write(int fd, const void *data, size_t len) { return fails_fd("write", fd) ? -1 : REAL(write)(fd, data, len); }
ssize_t pwrite(int fd, const void *data, size_t len, off_t at) { return fails_fd("pwrite", fd) ? -1 : REAL(pwrite)(fd, data, len, at); }
ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at) { return fails_fd("pwrite", fd) ? -1 : REAL(pwrite64)(fd, data, len, at); }
ssize_t read(int fd, void *data, size_t len) { return fails_fd("read", fd) ? -1 : REAL(read)(fd, data, len); }
int fsync(int fd) { return fails_fd("fsync", fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails_fd("fdatasync", fd) ? -1 : REAL(fdatasync)(fd); }
C

sub new
{
	my ($class) = @_;
	my $self = bless { dir => PostgreSQL::Test::Utils::tempdir_short() }, $class;
	my $source = "$self->{dir}/shim.c";
	PostgreSQL::Test::Utils::append_to_file($source, SOURCE);
	PostgreSQL::Test::Utils::system_or_bail('cc', '-shared', '-fPIC', '-o', $self->library, qq{-DDIR="$self->{dir}"}, $source, '-ldl');
	return $self;
}

# For LD_PRELOAD.
sub library { my ($self) = @_; return "$self->{dir}/shim.so"; }

# From now on call (write, pwrite, read, fsync, fdatasync, rename) fails for files
# whose name, or new name, ends in suffix.
#
#	errno		with which (default: 5, input/output error)
#	skip		so many succeed before
#	times		so many fail (default: all, until it is mended)
#	cut			the file loses so many bytes at its end; "@n": what is past the
#				length that stands in it at byte n
sub fail
{
	my ($self, $call, $suffix, %opt) = @_;
	my $dir = $self->{dir};
	unlink map { "$dir/$_" } qw(fail skipped failed);
	PostgreSQL::Test::Utils::append_to_file("$dir/fail.new",
		join(' ', $call, $opt{errno} // 5, $suffix, $opt{skip} // 0, $opt{times} // -1, $opt{cut} // 0) . "\n");
	rename "$dir/fail.new", "$dir/fail" or die "could not rename $dir/fail.new: $!";
	return;
}

# It works again.  How many calls failed.
sub mend
{
	my ($self) = @_;
	unlink "$self->{dir}/fail" or die "the disk was not told to fail: $!";
	return -s "$self->{dir}/failed" // 0;
}

1;
