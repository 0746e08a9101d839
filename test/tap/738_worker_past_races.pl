# Files in pg_wal that are overwritten because they hold WAL from before an
# encryption: never one that the server writes or is about to, wherever whoever
# overwrites it is stopped, for how long, and however that ends.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Time::HiRes ();
use Test::More;

# What stops or fails, once, if there is a file of its name: "rename" stops
# before a segment is taken away, "write" before it is overwritten; with "fail"
# that cannot be done.
my $dir = PostgreSQL::Test::Utils::tempdir_short();
append_to_file("$dir/shim.c", <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int
is_past(const char *path)
{
	size_t		len = strlen(path);

	return len > 5 && strncmp(path + len - 5, ".past", 5) == 0;
}

static void
stop_at(const char *file)
{
	char		pid[32];
	FILE	   *out;

	if (unlink(file) != 0)
		return;
	snprintf(pid, sizeof(pid), "%d\n", (int) getpid());
	out = fopen(DIR "/stopped.new", "w");
	fputs(pid, out);
	fclose(out);
	renameat(-100, DIR "/stopped.new", -100, DIR "/stopped");
	raise(SIGSTOP);
}

int
rename(const char *from, const char *to)
{
	static int	(*real) (const char *, const char *) = NULL;

	if (real == NULL)
		real = (int (*) (const char *, const char *)) dlsym(RTLD_NEXT, "rename");
	if (is_past(to))
		stop_at(DIR "/rename");
	return real(from, to);
}

ssize_t
pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
	static ssize_t (*real) (int, const void *, size_t, off64_t) = NULL;
	char		link[64];
	char		path[4096];
	ssize_t		path_len;

	if (real == NULL)
		real = (ssize_t (*) (int, const void *, size_t, off64_t)) dlsym(RTLD_NEXT, "pwrite64");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	path_len = readlink(link, path, sizeof(path) - 1);
	path[path_len > 0 ? path_len : 0] = '\0';
	if (is_past(path))
	{
		stop_at(DIR "/write");
		if (unlink(DIR "/fail") == 0)
		{
			errno = EIO;
			return -1;
		}
	}
	return real(fd, data, len, offset);
}

ssize_t
pwrite(int fd, const void *data, size_t len, off_t offset)
{
	return pwrite64(fd, data, len, offset);
}
C
command_ok([ 'cc', '-shared', '-fPIC', '-o', "$dir/shim.so", "-DDIR=\"$dir\"", "$dir/shim.c", '-ldl' ], 'the shim builds');
$ENV{LD_PRELOAD} = "$dir/shim.so";
my $node = TdeVault->create('main', streaming => 1, initdb => ['--wal-segsize=1'], conf => <<'CONF');
checkpoint_timeout = 1h
min_wal_size = 16MB
max_wal_size = 32MB
wal_keep_size = 0
tde_vault.worker_cost_delay = 0
restart_after_crash = on
CONF
$node->safe_psql('postgres', 'CREATE TABLE ledger (id int, v text) USING tde_heap');
my $booked = 0;
my $encrypted = 0;

# WAL: a megabyte or more of it, and rows that must not get lost.
sub book { my ($n) = @_; return "INSERT INTO ledger SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, $n) g"; }

# Have a table encrypted, so that its WAL is to go, and the server rename it.
sub encrypt
{
	my $table = 't' . ++$encrypted;
	my $marker = TdeVault::marker("race $table");
	$node->safe_psql('postgres', "CREATE TABLE $table AS SELECT g, '$marker' || g AS v FROM generate_series(1, 60000) g; ALTER TABLE $table ENABLE ENCRYPTION");
	$node->poll_query_until('postgres', "SELECT state = 'done' FROM tde_vault.encryption_progress WHERE relation = '$table'::regclass") or die "$table is not encrypted";
	return $marker;
}
sub recycle { $node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT'); return; }

sub stopped
{
	my ($where) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	while (!-e "$dir/stopped")
	{
		die "nobody stopped at $where" if time > $deadline;
		Time::HiRes::usleep(20_000);
	}
	my ($pid) = slurp_file("$dir/stopped") =~ /(\d+)/;
	unlink "$dir/stopped";
	while (slurp_file("/proc/$pid/stat") !~ /\) T /)
	{
		die "$pid does not stop at $where" if time > $deadline;
		Time::HiRes::usleep(20_000);
	}
	return $pid;
}

sub all_there
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->kill_postmaster;
	$node->start;
	$node->sql_is('SELECT count(*) FROM ledger', $booked, "$what: after a crash every row is there");
	return;
}
sub gone_ok
{
	my ($marker, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM tde_vault.encryption_progress WHERE detail !~ '^no WAL before'}) or die 'WAL of the past stays';
	is(join(' ', grep { /^pg_wal/ } $node->find_marker(marker => $marker)), '', "$what: nothing of it is left in pg_wal");
	return;
}

# --- before a file is taken away: the server waits --------------------------------

my $marker = encrypt();
append_to_file("$dir/rename", '');
my $session = $node->background_psql('postgres');
my $watcher = $node->background_psql('postgres');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $state = "SELECT wait_event FROM pg_stat_get_activity($pid)";
$watcher->query_safe($state);
recycle();
my $launcher = stopped('rename');
$session->query_until(qr/begun/, "\\echo begun\n" . book(20000) . ";\n\\echo ended\n");
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
while ($watcher->query_safe($state) !~ /WALWrite/)
{
	die 'nobody waits to write' if time > $deadline;
	Time::HiRes::usleep(20_000);
}
pass('who writes waits while a file is being taken away');
kill 'CONT', $launcher;
$session->query_until(qr/ended/, '');
$booked += 20000;
$_->quit foreach $session, $watcher;
gone_ok($marker, 'taken away');
all_there('taken away');

# --- before it is overwritten: the server goes on, far past that segment -------------

$marker = encrypt();
append_to_file("$dir/write", '');
recycle();
$launcher = stopped('write');
for (1 .. 5)
{
	$node->safe_psql('postgres', book(20000));
	$booked += 20000;
	recycle();
}
kill 'CONT', $launcher;
gone_ok($marker, 'overwritten late');
all_there('overwritten late');

# --- ... and until the server has crashed -----------------------------------------------

# Who overwrites it is killed before the first byte.  The file is overwritten all the
# same, also if nothing tells any more that there was something to overwrite: the
# floor of a key went with its table.
foreach my $what ('killed', 'killed, all tables dropped')
{
	$marker = encrypt();
	append_to_file("$dir/write", '');
	recycle();
	$launcher = stopped('write');
	my ($taken) = glob($node->data_dir . '/pg_wal/*.past');
	my $seen = $node->basedir . "/taken.$encrypted";
	link $taken, $seen or die "could not link $taken: $!";
	like(slurp_file($seen), qr/[^\0]/, "$what: a file is taken away");
	$node->safe_psql('postgres', book(20000));
	$booked += 20000;
	$node->safe_psql('postgres', join(';', map { "DROP TABLE t$_" } 1 .. $encrypted) . '; CHECKPOINT') if $what =~ /dropped/;
	kill 'KILL', $launcher;
	Time::HiRes::usleep(100_000) while $node->psql('postgres', 'SELECT 1') == 0 && kill 0, $launcher;
	$node->wait_until_ready or die 'the server does not come back';
	all_there($what);
	$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_ls_waldir() WHERE name ~ 'past$'}) or die 'the file stays';
	unlike(slurp_file($seen), qr/[^\0]/, "$what: it is overwritten before it is removed");
}

# --- it cannot be overwritten ------------------------------------------------------------

$marker = encrypt();
append_to_file("$dir/fail", '');
my $offset = $node->log_size;
recycle();
$node->wait_for_log(qr/could not write file "pg_wal\/[0-9A-F]+\.past": Input\/output error/, $offset);
$node->restart;
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_ls_waldir() WHERE name ~ 'past$'}) or die 'the file stays';
pass('what could not be overwritten is, later');
recycle();
gone_ok($marker, 'failed once');
$node->safe_psql('postgres', book(20000));
$booked += 20000;
all_there('failed once');
$node->verify_ok('verify is clean');
done_testing();
