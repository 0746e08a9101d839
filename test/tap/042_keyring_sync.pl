# A failed fsync of the keyring: the kernel may have thrown away what it could
# not write, and say "done" the next time.  The server must not go on with it;
# recovery brings back from WAL what the file lost.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

# While the file "fail" is there, the next fsync of the keyring fails, and what
# was not on the disk before is gone.
my $dir = PostgreSQL::Test::Utils::tempdir_short();
append_to_file("$dir/shim.c", <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int
is_keyring(int fd)
{
	static const char name[] = "/tde_vault/keyring";
	char		link[64];
	char		path[4096];
	ssize_t		len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path));
	return len >= (ssize_t) strlen(name) &&
		memcmp(path + len - strlen(name), name, strlen(name)) == 0;
}

int
fsync(int fd)
{
	static int	(*real) (int) = NULL;
	uint64_t	synced;

	if (access(FAIL, F_OK) == 0 && is_keyring(fd) &&
		pread(fd, &synced, sizeof(synced), 32) == sizeof(synced) &&
		ftruncate(fd, (off_t) synced) == 0 && unlink(FAIL) == 0)
	{
		errno = EIO;
		return -1;
	}
	if (real == NULL)
		real = (int (*) (int)) dlsym(RTLD_NEXT, "fsync");
	return real(fd);
}
C
command_ok([ 'cc', '-shared', '-fPIC', '-o', "$dir/shim.so", "-DFAIL=\"$dir/fail\"", "$dir/shim.c", '-ldl' ],
	'a disk that fails');
$ENV{LD_PRELOAD} = "$dir/shim.so";
my $node = TdeVault->create('main', streaming => 1, conf => "fsync = on\nrestart_after_crash = on\n");
$node->safe_psql('postgres', q{CREATE TABLE kept (id int) USING tde_heap; INSERT INTO kept SELECT generate_series(1, 100)});

sub fails_to_sync
{
	my ($sql, $message) = @_;
	append_to_file("$dir/fail", '');
	$node->sql_fails($sql, '.*', qr/$message/, "$sql: does not succeed");
	ok(!-e "$dir/fail", "$sql: because of the disk");
	return;
}

my $make = 'CREATE TABLE lost USING tde_heap AS SELECT g FROM generate_series(1, 100) g';
foreach my $sql ($make, 'CHECKPOINT')
{
	my $offset = $node->log_size;
	if ($sql eq 'CHECKPOINT')
	{
		# nothing needs the last change on disk before the checkpoint does
		$node->safe_psql('postgres', 'CREATE TABLE dropped (id int) USING tde_heap; INSERT INTO dropped VALUES (1); DROP TABLE dropped');
	}
	fails_to_sync($sql, 'server closed|connection');
	ok($node->wait_until_ready, "$sql: the server comes back");
	like(slurp_file($node->logfile, $offset), qr/PANIC:  could not fsync file "tde_vault\/keyring": Input\/output error/,
		"$sql: it did not go on");
	$node->sql_is(q{SELECT count(*), to_regclass('lost') IS NULL, to_regclass('dropped') IS NULL FROM kept}, '100|t|t',
		"$sql: what was committed is there, and nothing else");
	$node->safe_psql('postgres', 'CREATE TABLE later USING tde_heap AS SELECT 7 AS x');
	$node->kill_postmaster;
	$node->start;
	$node->sql_is('SELECT x FROM later', '7', "$sql: new tables work, also after a crash");
	$node->safe_psql('postgres', 'DROP TABLE later');
	$node->verify_ok("$sql: verify is clean");
}

# Who has told the server to go on (data_sync_retry) gets an error instead.
$node->append_conf('postgresql.conf', 'data_sync_retry = on');
$node->restart;
fails_to_sync($make, 'could not fsync file "tde_vault/keyring"');
$node->sql_is('SELECT count(*) FROM kept', '100', 'data_sync_retry: the server goes on');
$node->stop('immediate');
$node->start;
$node->sql_is('SELECT count(*) FROM kept', '100', 'data_sync_retry: and nothing is lost');
$node->verify_ok('data_sync_retry: verify is clean');
$node->stop;
done_testing();
