# What the keyring's file has and WAL has not, because the server was killed
# in between, does not count: a standby and a restored backup would not have it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $seed  = $ENV{TDE_VAULT_TEST_SEED} // time;
my $rounds = $ENV{TDE_VAULT_CRASH_ROUNDS} // 4;
srand($seed);
note "TDE_VAULT_TEST_SEED=$seed repeats this run's choices; TDE_VAULT_CRASH_ROUNDS=$rounds";

# Without fsync each record is committed at once, and nothing is ever cut.
my $primary = TdeVault->create('primary', streaming => 1, conf => <<'CONF');
default_table_access_method = tde_heap
wal_writer_delay = 10s
wal_keep_size = 1GB
fsync = on
CONF
$primary->backup('first');
my $standby = TdeVault->create_from_backup('standby', $primary, 'first', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'wal_retrieve_retry_interval = 100ms');
$standby->start;
$primary->safe_psql('postgres', 'CREATE TABLE kept AS SELECT g, md5(g::text) AS m FROM generate_series(1, 100) g');

my $keys = q{SELECT string_agg(format('%s/%s by %s', id, version, master_id), E'\n' ORDER BY id, version) FROM tde_vault.table_keys() WHERE files > 0};
my $masters = q{SELECT string_agg(format('%s %s %s', id, key_id, state), E'\n' ORDER BY id) FROM tde_vault.master_keys()};

sub same_keys
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	# a commit flushes WAL, which the WAL writer does seldom here
	$primary->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'now', '')});
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
	foreach my $query ($keys, $masters)
	{
		$standby->sql_is($query, $primary->safe_psql('postgres', $query),
			"$name: the standby has the same " . ($query eq $keys ? 'table keys' : 'master keys'));
	}
	return;
}

# --- appended, and WAL not flushed -------------------------------------------

my ($before, $size, $session, $said);

# The server writes WAL for reasons of its own, now and then: begin again until it has not.
foreach my $attempt (1 .. 20)
{
	$primary->safe_psql('postgres', 'CHECKPOINT');
	$before = $primary->safe_psql('postgres', $keys);
	$size = -s $primary->keyring_path;
	my $begun = $primary->lsn('insert');
	$said = '';
	$session = IPC::Run::start([ 'psql', '-X', '-q', '-d', $primary->connstr('postgres'),
			map { ('-c', $_) } 'BEGIN', 'CREATE TABLE lost (id int)', 'SELECT pg_sleep(600)' ], '<', \undef, '>', \$said, '2>&1');
	$primary->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND wait_event = 'PgSleep'}) or die;
	last if $attempt == 20 || $primary->safe_psql('postgres', "SELECT pg_current_wal_lsn() <= '$begun'") eq 't';
	note "attempt $attempt: WAL was written meanwhile";
	$primary->safe_psql('postgres', q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND wait_event = 'PgSleep'});
	$session->finish;
}
cmp_ok(-s $primary->keyring_path, '>', $size, 'a key was appended');
isnt($primary->safe_psql('postgres', $keys), $before, '... and counts');
my $offset = $primary->log_size;
$primary->kill_server;
$session->finish;
$primary->start;
my ($cut) = slurp_file($primary->logfile, $offset) =~ /keyring was cut to the (\d+) bytes that were committed/;
cmp_ok($cut // $size + 1, '<=', $size, 'after a crash the file is cut to what WAL has, before the key');
$primary->sql_is($keys, $before, '... and the key counts no more');
same_keys('appended, and WAL not flushed');
$primary->sql_is('CREATE TABLE next (id int); INSERT INTO next VALUES (1); SELECT count(*) FROM next', '1', 'tables can be made');
same_keys('the next table');
$standby->sql_is('SELECT count(*) FROM next', '1', '... and it can be read there');

# What was cut does not come back with a clean restart.
$primary->restart;
$primary->sql_is('SELECT count(*) FROM kept', '100', 'after a clean restart, too');
same_keys('restarted');

# --- at random ------------------------------------------------------------------

my $script = $primary->basedir . '/load.sql';
append_to_file($script, <<'SQL');
CREATE TABLE x (id int);
INSERT INTO x VALUES (1);
DROP TABLE x;
BEGIN;
CREATE TABLE never (id int);
ROLLBACK;
CALL tde_vault.rotate_master_key();
CREATE TABLE x (id int);
DROP TABLE x;
SQL
foreach my $round (1 .. $rounds)
{
	$said = '';
	my $call = IPC::Run::start([ 'pgbench', '-n', '-T', 60, '-f', $script, '-d', $primary->connstr('postgres') ], '<', \undef, '>', \$said, '2>&1');
	Time::HiRes::usleep(int(200_000 + rand(800_000)));
	$primary->kill_server;
	$call->finish;
	$primary->start;
	same_keys("killed, round $round");
	$standby->sql_is('SELECT count(*) FROM kept', '100', "killed, round $round: the standby reads");
	$primary->safe_psql('postgres', 'DROP TABLE IF EXISTS x');
}
$standby->restart;
$standby->sql_is('SELECT count(*) FROM kept', '100', 'the standby opens its keys again');
$standby->promote;
$standby->verify_ok('the promoted standby: verify is clean', min => 1);
$standby->sql_is('CREATE TABLE y AS SELECT 1 AS x; SELECT x FROM y', '1', 'and makes tables');

$standby->stop;
$primary->stop;
done_testing();
