# A failed fsync of the keyring: the kernel may have thrown away what it could
# not write, and say "done" the next time.  The server must not go on with it;
# recovery brings back from WAL what the file lost.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use FailingDisk;
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $disk = FailingDisk->new;
$ENV{LD_PRELOAD} = $disk->library;
my $node = TdeVault->create('main', streaming => 1, conf => "fsync = on\nrestart_after_crash = on\n");
$node->safe_psql('postgres', q{CREATE TABLE kept (id int) USING tde_heap; INSERT INTO kept SELECT generate_series(1, 100)});

# The next fsync of the keyring fails, and what was not on the disk before is gone.
sub fails_to_sync
{
	my ($sql, $message) = @_;
	$disk->fail('fsync', '/tde_vault/keyring', times => 1, cut => '@32');
	$node->sql_fails($sql, '.*', qr/$message/, "$sql: does not succeed");
	ok($disk->mend, "$sql: because of the disk");
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
	$node->crash;
	$node->sql_is('SELECT x FROM later', '7', "$sql: new tables work, also after a crash");
	$node->safe_psql('postgres', 'DROP TABLE later');
	$node->verify_ok("$sql: verify is clean");
}

# So, too, where the server was told to go on (data_sync_retry): what is written
# next would stand behind a hole.
$node->append_conf('postgresql.conf', 'data_sync_retry = on');
$node->restart;
fails_to_sync($make, 'server closed|connection');
ok($node->wait_until_ready, 'data_sync_retry: the server comes back');
$node->sql_is(q{SELECT count(*), to_regclass('lost') IS NULL FROM kept}, '100|t', 'data_sync_retry: and nothing is lost');
$node->safe_psql('postgres', 'CREATE TABLE later USING tde_heap AS SELECT 7 AS x');
$node->crash;
$node->sql_is('SELECT x FROM later', '7', 'data_sync_retry: new tables work, also after a crash');
$node->verify_ok('data_sync_retry: verify is clean');
$node->safe_psql('postgres', 'DROP TABLE later');

# --- a power cut: what was not synced is gone -----------------------------------

sub lose_what_is_not_synced
{
	my $path = $node->keyring_path;
	my $synced = unpack 'Q<', $node->read_bytes($path, 32, 8);
	my $lost = (-s $path) - $synced;
	truncate $path, $synced or die "could not truncate $path: $!";
	return $lost;
}

# Under load, with all of it in WAL.
append_to_file("$dir/ddl.sql", <<'SQL');
\set n random(1, 5)
DROP TABLE IF EXISTS d:client_id;
CREATE TABLE d:client_id (g int PRIMARY KEY, m text) USING tde_heap;
INSERT INTO d:client_id SELECT g, md5(g::text) FROM generate_series(1, 100 * :n) g;
CREATE INDEX ON d:client_id (m);
BEGIN; TRUNCATE d:client_id; INSERT INTO d:client_id SELECT g, md5(g::text) FROM generate_series(1, 100) g; COMMIT;
VACUUM FULL d:client_id;
SQL
$node->append_conf('postgresql.conf', 'restart_after_crash = off');
$node->restart;
foreach my $round (1 .. 3)
{
	my ($out, $err) = ('', '');
	my $load;
	{
		local %ENV = $node->_get_env();
		$load = IPC::Run::start([ 'pgbench', '-n', '-c', '4', '-T', '600', '-f', "$dir/ddl.sql", 'postgres' ],
			'<', \undef, '>', \$out, '2>', \$err);
	}
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $at = $node->lsn('insert');
	$node->poll_query_until('postgres', "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$at') > 1000000 * $round")
	  or die 'no load';
	$node->kill_postmaster;
	eval { $load->finish };
	note 'the keyring loses ' . lose_what_is_not_synced() . ' bytes';
	$node->start;
	$node->sql_is('SELECT count(*) FROM kept', '100', "power cut $round: what was there is there");
	$node->sql_is(q{SELECT count(*) FROM pg_class, LATERAL (SELECT query_to_xml(format('SELECT count(*) AS n FROM %I WHERE md5(g::text) <> m', relname), false, true, '')::text AS wrong) x
		WHERE relname ~ '^d[0-9]$' AND relkind = 'r' AND wrong NOT LIKE '%<n>0</n>%'}, '0', "power cut $round: every row can be read, and is right");
	$node->verify_ok("power cut $round: verify is clean");
}

# Without WAL: pages of an index that is built reach the disk before anything
# else about it does.
$node->append_conf('postgresql.conf', "wal_writer_delay = 10s\nwal_writer_flush_after = 1GB");
$node->restart;
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN');
$session->query_safe($_) foreach (
	'CREATE TABLE orphan (g int PRIMARY KEY, v text) USING tde_heap',
	q{INSERT INTO orphan SELECT g, 'x' FROM generate_series(1, 2000) g},
	'CREATE INDEX i ON orphan (g, v)');
my $data = $node->data_dir;
my $backend = $session->query_safe('SELECT pg_backend_pid()');
my ($flushed, $inserted, $path) = split /\|/, $session->query_safe(q{SELECT pg_current_wal_flush_lsn(), pg_current_wal_insert_lsn(), pg_relation_filepath('i')});
# the session must not find the time to remove its files
kill 'STOP', slurp_file("$data/postmaster.pid") =~ /^(\d+)/;
kill 'KILL', $backend;
$node->kill_postmaster;
eval { $session->quit };
cmp_ok(-s "$data/$path", '>', 8192, 'pages of an index that nobody committed are on the disk');
isnt($flushed, $inserted, 'its WAL is not');
lose_what_is_not_synced();
$node->start;
$node->sql_is(q{SELECT count(*), to_regclass('orphan') IS NULL FROM kept}, '100|t', 'power cut without WAL: as if it had never been');
$node->safe_psql('postgres', q{CREATE TABLE orphan (g int PRIMARY KEY, v text) USING tde_heap; INSERT INTO orphan SELECT g, 'y' FROM generate_series(1, 2000) g; CREATE INDEX i ON orphan (g, v)});
$node->kill_postmaster;
lose_what_is_not_synced();
$node->start;
$node->sql_is(q{SET enable_seqscan = off; SELECT count(*) FROM orphan WHERE g > 0 AND v = 'y'}, '2000', 'and the same can be made again');
$node->verify_ok('power cut without WAL: verify is clean');
$node->stop;
done_testing();
