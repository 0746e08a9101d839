# Random crashes of primary and standby, and promotions, under load that makes,
# rewrites and drops relations, encrypts and decrypts them in place, and rotates
# keys.  After each round both hold the same rows, and
# every page verifies.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $seed = $ENV{TDE_VAULT_TEST_SEED} // time;
my $rounds = $ENV{TDE_VAULT_CRASH_ROUNDS} // 3;
srand($seed);
note "TDE_VAULT_TEST_SEED=$seed repeats this run's choices; TDE_VAULT_CRASH_ROUNDS=$rounds";

my $primary = TdeVault->create('node0', streaming => 1, conf => <<'CONF');
default_table_access_method = tde_heap
wal_consistency_checking = all
wal_keep_size = 6GB
max_wal_size = 64MB
min_wal_size = 32MB
checkpoint_timeout = 30s
shared_buffers = 2MB
bgwriter_delay = 10ms
bgwriter_lru_maxpages = 1000
allow_in_place_tablespaces = on
max_prepared_transactions = 10
autovacuum = on
autovacuum_naptime = 1s
tde_vault.worker_cost_delay = 1
CONF
my $dir = $primary->basedir;
my %script = (
	churn => <<'SQL',
\set k random(1, 100)
\set n random(10, 4000)
BEGIN;
DELETE FROM churn WHERE k = :k;
INSERT INTO churn SELECT :k, b, md5(b) FROM (SELECT string_agg(md5(random()::text), ' ') AS b FROM generate_series(1, :n / 32 + 1)) x;
COMMIT;
SQL
	tables => <<'SQL',
\set n random(1, 3)
DROP TABLE IF EXISTS d:client_id;
CREATE TABLE d:client_id (g int CONSTRAINT p:client_id PRIMARY KEY, m text);
INSERT INTO d:client_id SELECT g, md5(g::text) FROM generate_series(1, 300) g;
CREATE INDEX ON d:client_id USING gin (string_to_array(m, 'a'));
BEGIN; TRUNCATE d:client_id; INSERT INTO d:client_id SELECT g, md5(g::text) FROM generate_series(1, 100) g; COMMIT;
ALTER TABLE d:client_id SET TABLESPACE ts;
VACUUM FULL d:client_id;
ALTER TABLE d:client_id SET UNLOGGED;
ALTER TABLE d:client_id SET LOGGED;
REINDEX TABLE d:client_id;
CLUSTER d:client_id USING p:client_id;
SQL
	plain => <<'SQL',
ALTER TABLE a:client_id SET ACCESS METHOD heap;
UPDATE a:client_id SET g = g + 1;
ALTER TABLE a:client_id SET ACCESS METHOD tde_heap;
UPDATE a:client_id SET g = g - 1;
SQL
	online => <<'SQL',
ALTER TABLE o:client_id ENABLE ENCRYPTION;
UPDATE o:client_id SET g = g + 1 WHERE g % 7 = 0;
ALTER TABLE o:client_id ROTATE ENCRYPTION KEY;
VACUUM o:client_id;
UPDATE o:client_id SET g = g - 1 WHERE g % 5 = 0;
ALTER TABLE o:client_id DISABLE ENCRYPTION;
SQL
	master => <<'SQL',
\if :client_id = 0
CALL tde_vault.rotate_master_key();
\endif
SQL
	checkpoint => "CHECKPOINT;\n");
append_to_file("$dir/$_.sql", $script{$_}) foreach keys %script;

$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION amcheck;
CREATE TABLESPACE ts LOCATION '';
SQL
$primary->safe_psql('postgres', <<'SQL');
CREATE TABLE churn (k int, body text, sum text);
CREATE INDEX ON churn (k);
CREATE INDEX ON churn USING hash (sum);
CREATE INDEX ON churn USING gist (to_tsvector('simple', body));
CREATE INDEX ON churn USING spgist (sum);
SELECT format('CREATE TABLE a%s AS SELECT g, md5(g::text) AS m FROM generate_series(1, 500) g', c) FROM generate_series(0, 3) c \gexec
SELECT format('CREATE TABLE o%s USING heap AS SELECT g, repeat(md5(g::text), 5) AS m FROM generate_series(1, 3000) g', c) FROM generate_series(0, 3) c \gexec
SQL
$primary->command_ok([ 'pgbench', '-i', '-q', '-s', '1', 'postgres' ], 'pgbench -i');

my $names = 0;
sub new_standby
{
	my ($of) = @_;
	$names++;
	$of->backup("backup$names");
	my $node = TdeVault->create_from_backup("node$names", $of, "backup$names", has_streaming => 1);
	$node->start;
	return $node;
}

my ($load, $out, $err);
sub start_load
{
	($out, $err) = ('', '');
	local %ENV = $primary->_get_env(PGOPTIONS => '-c client_min_messages=warning');
	$load = IPC::Run::start([ 'pgbench', '-n', '-c', '4', '-T', '600', '-b', 'tpcb-like@40', '-f', "$dir/churn.sql\@20",
			'-f', "$dir/tables.sql\@6", '-f', "$dir/plain.sql\@3", '-f', "$dir/online.sql\@2", '-f', "$dir/master.sql\@1", '-f', "$dir/checkpoint.sql\@1", 'postgres' ], '<', \undef, '>', \$out, '2>', \$err);
	return;
}

my $digest = q{SELECT relname || ' ' || (xpath('/row/d/text()', query_to_xml(format(
		'SELECT count(*) || '':'' || coalesce(sum(hashtextextended(t::text, 0)), 0) AS d FROM %I t', relname), false, true, '')))[1]
	FROM pg_class WHERE relkind = 'r' AND relpersistence = 'p' AND relnamespace = 'public'::regnamespace ORDER BY 1};
my $standby = new_standby($primary);
foreach my $round (1 .. $rounds)
{
	my $name = "round $round";
	start_load();
	foreach my $step (1 .. 4)
	{
		Time::HiRes::usleep(300_000 + int rand 1_200_000);
		last unless $load->pumpable;
		$load->pump_nb;
		my $choice = rand;
		if ($choice < 0.4) { $standby->crash; }
		elsif ($choice < 0.6) { $standby->restart('fast'); }
		elsif ($choice < 0.8) { $primary->safe_psql('postgres', 'CHECKPOINT'); $standby->safe_psql('postgres', 'CHECKPOINT'); }
		else { $standby->stop('immediate'); $standby->start; }
	}
	my $promote = rand() < 0.4;
	$primary->kill_postmaster;
	eval { $load->finish; };
	unlike($err, qr/ERROR/, "$name: no statement failed") or diag($err);
	if ($promote)
	{
		note "$name: promotion";
		$standby->promote;
		$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'promotion';
		$primary = $standby;
		$standby = new_standby($primary);
	}
	else
	{
		$primary->start;
		$primary->safe_psql('postgres', 'DROP TABLE IF EXISTS d0') if rand() < 0.3;
	}
	$primary->safe_psql('postgres', 'SELECT pg_switch_wal()') if rand() < 0.3;
	$primary->poll_query_until('postgres', q{SELECT coalesce(bool_and(state = 'done'), true) FROM tde_vault.encryption_progress}) or die 'work in the background did not end';
	$primary->safe_psql('postgres', 'CREATE TABLE IF NOT EXISTS mark (r int); INSERT INTO mark VALUES (1)');
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	$standby->sql_is($digest, $primary->safe_psql('postgres', $digest), "$name: the same rows");
	$primary->sql_is(q{SELECT (SELECT sum(delta) FROM pgbench_history) = (SELECT sum(abalance) FROM pgbench_accounts),
		(SELECT count(*) FROM churn WHERE md5(body) <> sum), (SELECT count(bt_index_parent_check(c.oid, true)) > 3 FROM pg_class c JOIN pg_am a ON a.oid = c.relam
		WHERE a.amname = 'btree' AND c.relnamespace = 'public'::regnamespace)}, 't|0|t', "$name: nothing lost, indexes whole");
	$primary->verify_ok("$name: verify is clean on the primary", min => 10);
	$standby->verify_ok("$name: and on the standby", min => 10);
	# A session that forgets files to be synced at its commit, when the postmaster
	# is gone, ends by this PANIC on any server (checkpointer.c, ForwardSyncRequest).
	my $amiss = qr/PANIC:  (?!cannot abort transaction \d+, it was already committed)|inconsistent page|encrypted WAL record|FATAL:  (?:WAL|keyring)|sidecar file|of an encrypted|decryption failed/;
	foreach my $node ($primary, $standby)
	{
		my @found = grep { $_ =~ $amiss } split /\n/, slurp_file($node->logfile);
		is("@found", '', "$name: nothing amiss in the log of " . $node->name);
	}
}
done_testing();
