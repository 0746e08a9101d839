# Directories of sidecars: a name that could not be made durable is not there
# for who tries again, or a power cut would take the sidecars with it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

# While the file "fail" is there, the next fsync of the directory that has those
# of databases fails.  One that succeeds makes the file "synced".
my $dir = PostgreSQL::Test::Utils::tempdir_short();
append_to_file("$dir/shim.c", <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int
is_parent(int fd)
{
	static const char name[] = "/tde_vault/sidecar/1663";
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
	int			result;

	if (real == NULL)
		real = (int (*) (int)) dlsym(RTLD_NEXT, "fsync");
	if (!is_parent(fd))
		return real(fd);
	if (unlink(DIR "/fail") == 0)
	{
		errno = EIO;
		return -1;
	}
	result = real(fd);
	if (result == 0)
		close(open(DIR "/synced", O_CREAT | O_WRONLY, 0600));
	return result;
}
C
command_ok([ 'cc', '-shared', '-fPIC', '-o', "$dir/shim.so", "-DDIR=\"$dir\"", "$dir/shim.c", '-ldl' ], 'a disk that fails');
$ENV{LD_PRELOAD} = "$dir/shim.so";
my $node = TdeVault->create('main', conf => "fsync = on\nrestart_after_crash = on\ndata_sync_retry = on\n");
$node->safe_psql('postgres', 'CREATE TABLE first USING tde_heap AS SELECT 1 AS x');
$node->create_database("db$_") foreach 1, 2;
my %below = map { $_ => $node->data_dir . '/tde_vault/sidecar/1663/' . $node->safe_psql('postgres', "SELECT oid FROM pg_database WHERE datname = '$_'") } qw(db1 db2);
ok(!-e $below{$_}, "$_ has no directory yet") foreach sort keys %below;
my $make = 'CREATE TABLE t USING tde_heap AS SELECT 7 AS x';

sub fails_to_sync
{
	my ($db, $message) = @_;
	append_to_file("$dir/fail", '');
	$node->sql_fails($make, '.*', $message, "$db: does not succeed", db => $db);
	ok(!-e "$dir/fail", "$db: because of the disk");
	unlink "$dir/synced";
	return;
}

# where the server was told to go on
fails_to_sync('db1', qr/could not make directory "tde_vault\/sidecar\/1663\/\d+" durable/);
$node->safe_psql('db1', $make);
ok(-e $below{db1}, 'db1: the next one makes the directory');
ok(-e "$dir/synced", 'db1: and its name durable');

# by default nobody goes on with what the kernel may have thrown away
$node->append_conf('postgresql.conf', 'data_sync_retry = off');
$node->restart;
my $offset = $node->log_size;
fails_to_sync('db2', qr/server closed|connection/);
ok($node->wait_until_ready, 'db2: the server comes back');
like(slurp_file($node->logfile, $offset), qr/PANIC:  could not make directory/, 'db2: it did not go on');
$node->safe_psql('db2', $make);
ok(-e "$dir/synced", 'db2: the name of the directory is durable');
foreach my $db (qw(db1 db2))
{
	$node->sql_is('SELECT x FROM t', '7', "$db: the row is there", db => $db);
	$node->verify_ok("$db: verify is clean", db => $db);
}
done_testing();
