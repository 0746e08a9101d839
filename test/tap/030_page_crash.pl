# Crashes at random moments under load: every row accounted for, every page
# verifies.  Torn pages and lost sidecar writes are repaired by recovery.  A
# full disk is an error and nothing more.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $seed = $ENV{TDE_VAULT_TEST_SEED} // time;
srand($seed);
note "TDE_VAULT_TEST_SEED=$seed repeats this run's choices";

# --- SIGKILL and immediate stop under pgbench ------------------------------

# Few buffers and frequent checkpoints: pages are written, read back and
# written again all the time, and crashes fall between page and sidecar.
my $node = TdeVault->create('main', conf => <<'CONF');
default_table_access_method = tde_heap
fsync = on
restart_after_crash = on
shared_buffers = 2MB
checkpoint_timeout = 30s
checkpoint_completion_target = 0.1
max_wal_size = 32MB
min_wal_size = 32MB
bgwriter_delay = 10ms
bgwriter_lru_maxpages = 1000
autovacuum = on
autovacuum_naptime = 1s
autovacuum_vacuum_cost_delay = 0
CONF

my $scripts = $node->basedir;
append_to_file("$scripts/churn.sql", <<'SQL');
\set k random(1, 200)
\set len random(10, 9000)
DELETE FROM churn WHERE k = :k;
INSERT INTO churn SELECT :k, b, md5(b) FROM (SELECT string_agg(md5(random()::text), '') AS b FROM generate_series(1, :len / 32 + 1)) x;
SQL
append_to_file("$scripts/checkpoint.sql", "CHECKPOINT;\n");
append_to_file("$scripts/ddl.sql", <<'SQL');
BEGIN;
TRUNCATE scratch;
INSERT INTO scratch SELECT g, md5(g::text) FROM generate_series(1, 300) g;
COMMIT;
VACUUM scratch;
SQL

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE churn (k int, body text, sum text);
ALTER TABLE churn ALTER body SET STORAGE EXTERNAL;
CREATE INDEX churn_k ON churn (k);
CREATE INDEX churn_sum ON churn USING hash (sum);
CREATE TABLE scratch (id int PRIMARY KEY, v text);
CREATE EXTENSION amcheck;
SQL
$node->command_ok([ 'pgbench', '-i', '-q', '-s', '1', '--foreign-keys', 'postgres' ], 'pgbench -i');
$node->sql_is(q{SELECT bool_and(tde_vault.is_encrypted(c.oid::regclass)), count(*) FROM pg_class c WHERE relname LIKE 'pgbench%'},
	't|7', 'pgbench tables and indexes are encrypted');

my $pgbench;
my ($bench_out, $bench_err);

sub start_load
{
	($bench_out, $bench_err) = ('', '');
	local %ENV = $node->_get_env(PGAPPNAME => 'pgbench');
	$pgbench = IPC::Run::start(
		[ 'pgbench', '-n', '-c', '4', '-j', '1', '-T', '600', '-b', 'tpcb-like@60',
			'-f', "$scripts/churn.sql\@30", '-f', "$scripts/ddl.sql\@2", '-f', "$scripts/checkpoint.sql\@1", 'postgres' ],
		'<', \undef, '>', \$bench_out, '2>', \$bench_err);
	return;
}

# A number that grows with every transaction, to choose the moment by.
sub xid { return $node->safe_psql('postgres', 'SELECT pg_snapshot_xmax(pg_current_snapshot())'); }

sub wait_for_load
{
	my ($transactions) = @_;
	my $from = xid();
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	while (xid() < $from + $transactions)
	{
		die "load is not running: $bench_err" if time > $deadline || !$pgbench->pumpable;
		$pgbench->pump_nb;
		Time::HiRes::usleep(1000);
	}
	return;
}

# End pgbench; returns how many TPC-B transactions it heard were committed.
sub finish_load
{
	eval { $pgbench->finish; };
	my ($done) = $bench_out =~ /^SQL script 1: .*\n - weight: .*\n - (\d+) transactions/m;
	die "no count from pgbench: $bench_out $bench_err" unless defined $done;
	return $done;
}

# Every row accounted for.
sub check_rows
{
	my ($name, $before, $reported) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	subtest $name => sub {
		my $history = $node->safe_psql('postgres', 'SELECT count(*) FROM pgbench_history');
		my $new = $history - $before;
		# Each of the 4 clients may have committed one that it did not hear of.
		ok($new >= $reported && $new <= $reported + 4, "no transaction lost: $reported reported, $new found")
		  or diag("$reported reported, $new found");
		$node->sql_is(q{
			SELECT (SELECT sum(delta) FROM pgbench_history) = (SELECT sum(abalance) FROM pgbench_accounts),
				   (SELECT sum(delta) FROM pgbench_history) = (SELECT sum(tbalance) FROM pgbench_tellers),
				   (SELECT sum(delta) FROM pgbench_history) = (SELECT sum(bbalance) FROM pgbench_branches),
				   (SELECT count(*) FROM pgbench_accounts)}, 't|t|t|100000', 'sums agree');
		$node->sql_is('SELECT count(*) FILTER (WHERE md5(body) IS DISTINCT FROM sum) FROM churn', '0', 'wide rows are whole');
		$node->sql_is(q{SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off;
			SELECT count(*) FROM churn c WHERE NOT EXISTS (SELECT FROM churn d WHERE d.sum = c.sum AND d.k = c.k)},
			'0', 'the hash index finds them');
		$node->sql_is('SELECT count(*) IN (0, 300) FROM scratch', 't', 'truncation is whole');
		$node->sql_is(q{SELECT count(bt_index_parent_check(c.oid, true)) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
			WHERE a.amname = 'btree' AND c.relnamespace = 'public'::regnamespace}, '5', 'amcheck of every index');
		$node->verify_ok('verify is clean', min => 10);
	};
	return;
}

my %crash = (
	'backend killed' => sub {
		my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench' ORDER BY random() LIMIT 1});
		kill 'KILL', $pid;
	},
	'checkpointer killed' => sub {
		kill 'KILL', $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'});
	},
	'postmaster killed' => sub { $node->kill_postmaster; },
	'immediate stop' => sub { $node->stop('immediate'); },
);
my $rounds = $ENV{TDE_VAULT_CRASH_ROUNDS} // 2;
foreach my $round (1 .. $rounds)
{
	foreach my $how (sort keys %crash)
	{
		my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM pgbench_history');
		my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
		start_load();
		wait_for_load(100 + int(rand(700)));
		$crash{$how}->();
		my $reported = finish_load();
		if ($how =~ /postmaster|immediate/)
		{
			$node->start;
		}
		else
		{
			ok($node->wait_until_ready, "$how: the server is back");
		}
		check_rows("$how, round $round", $before, $reported);
	}
}

# Killed again while it recovers.
{
	my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM pgbench_history');
	start_load();
	wait_for_load(1500);
	$node->kill_postmaster;
	my $reported = finish_load();
	local %ENV = $node->_get_env();
	foreach (1 .. 2)
	{
		my $offset = $node->log_size;
		system_log('pg_ctl', '-W', '-D', $node->data_dir, '-l', $node->logfile, 'start');
		my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
		until (slurp_file($node->logfile, $offset) =~ /redo starts|ready to accept connections/)
		{
			die 'recovery did not begin' if time > $deadline;
			Time::HiRes::usleep(1000);
		}
		$node->_update_pid(1);
		$node->kill_postmaster;
	}
	$node->start;
	check_rows('killed during recovery', $before, $reported);
}
$node->stop;

# --- torn pages ------------------------------------------------------------

# A page is changed after a checkpoint and written out; then the server
# crashes.  Any mixture of old and new, in page and entry, must be repaired.
my $torn = TdeVault->create('torn', initdb => ['-k'], conf => <<'CONF');
default_table_access_method = tde_heap
shared_buffers = 1MB
checkpoint_timeout = 1h
bgwriter_lru_maxpages = 0
CONF
$torn->safe_psql('postgres', <<'SQL');
CREATE TABLE filler (id int PRIMARY KEY, v text);
INSERT INTO filler SELECT g, repeat('f', 500) FROM generate_series(1, 4000) g;
SQL

# case => [first half of the page, second half, sidecar entry]
my %mix = (
	whole_new      => [ 'new', 'new', 'new' ],
	torn           => [ 'new', 'old', 'new' ],
	torn_reversed  => [ 'old', 'new', 'old' ],
	torn_old_entry => [ 'new', 'old', 'old' ],
	entry_lost     => [ 'new', 'new', 'old' ],
	page_lost      => [ 'old', 'old', 'new' ],
	entry_torn     => [ 'new', 'new', 'mixed' ],
	noise          => [ 'noise', 'noise', 'noise' ],
);
foreach my $cipher ('aes-256-gcm', 'aes-256-ctr', 'aes-256-xts')
{
	my $p = substr($cipher, -3) . '_';
	my $sealed_apart = $cipher ne 'aes-256-xts';    # has a sidecar
	my (%path, %sidecar, %old);
	foreach my $case (sort keys %mix)
	{
		$torn->safe_psql('postgres', <<"SQL");
SET tde_vault.cipher = '$cipher';
CREATE TABLE $p$case (id int, v text);
INSERT INTO $p$case SELECT g, repeat('o', 1000) FROM generate_series(1, 7) g;
VACUUM $p$case;
SQL
		$path{$case}    = $torn->relation_path("$p$case");
		$sidecar{$case} = $torn->sidecar_path("$p$case");
	}
	$torn->safe_psql('postgres', 'CHECKPOINT');
	$old{$_} = [ $torn->read_page($path{$_}, 0), $sealed_apart ? $torn->read_entry($sidecar{$_}, 0) : '' ] foreach sort keys %mix;
	$torn->safe_psql('postgres', join '', map { "UPDATE $p$_ SET v = repeat('n', 1000) WHERE id = 3; DELETE FROM $p$_ WHERE id = 7;" } sort keys %mix);

	# Push the changed pages out of the buffers, without a checkpoint.
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	while (my @waiting = grep { $torn->read_page($path{$_}, 0) eq $old{$_}[0] } sort keys %mix)
	{
		die "not written: @waiting" if time > $deadline;
		$torn->safe_psql('postgres', 'SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT sum(length(v)) FROM filler WHERE id > 0');
	}
	$torn->stop('immediate');

	foreach my $case (sort keys %mix)
	{
		my ($new_page, $new_entry) = ($torn->read_page($path{$case}, 0), $sealed_apart ? $torn->read_entry($sidecar{$case}, 0) : '');
		my ($old_page, $old_entry) = @{ $old{$case} };
		my ($noise_page, $noise_entry) = map { my $n = $_; join '', map { chr(int(rand(256))) } 1 .. $n } TdeVault::BLCKSZ, TdeVault::SIDECAR_ENTRY;
		my %page  = (old => $old_page,  new => $new_page,  noise => $noise_page);
		my %entry = (old => $old_entry, new => $new_entry, noise => $noise_entry,
			mixed => $sealed_apart ? substr($new_entry, 0, 16) . substr($old_entry, 16) : '');
		my ($first, $second, $entry) = @{ $mix{$case} };
		my $half = TdeVault::BLCKSZ / 2;
		$torn->write_page($path{$case}, 0, substr($page{$first}, 0, $half) . substr($page{$second}, $half), keep_checksum => 1);
		$torn->write_entry($sidecar{$case}, 0, $entry{$entry}) if $sealed_apart;
	}
	$torn->start;
	foreach my $case (sort keys %mix)
	{
		$torn->sql_is("SELECT string_agg(id || left(v, 1), ',' ORDER BY id), min(length(v)) FROM $p$case",
			'1o,2o,3n,4o,5o,6o|1000', "$cipher, $case: repaired");
	}
	$torn->verify_ok("$cipher: verify is clean after repair", min => 8);
}

# FSM and VM may be torn for good: the server then starts them anew.
$torn->safe_psql('postgres', 'CREATE TABLE maps AS SELECT g AS id, repeat(\'m\', 200) AS v FROM generate_series(1, 2000) g; DELETE FROM maps WHERE id % 4 = 0; VACUUM maps');
my $maps = $torn->relation_path('maps');
$torn->stop_clean;
foreach my $fork ("${maps}_fsm", "${maps}_vm")
{
	ok(-s $fork, 'the fork is there: ' . substr($fork, -3));
	$torn->sealed_on_disk_ok($fork, 'and is ciphertext');
	$torn->write_page($fork, $_, substr($torn->read_page($fork, $_), 0, 4096) . join('', map { chr(int(rand(256))) } 1 .. 4096), keep_checksum => 1)
	  foreach 0 .. (-s $fork) / TdeVault::BLCKSZ - 1;
}
$torn->start;
$torn->sql_is(q{INSERT INTO maps SELECT g, repeat('m', 200) FROM generate_series(3001, 3400) g; VACUUM maps; SELECT count(*), count(DISTINCT id) FROM maps},
	'1900|1900', 'torn FSM and VM: the table works');
$torn->sql_is(q{SET enable_seqscan = off; CREATE INDEX ON maps (id); VACUUM maps; SELECT count(id) FROM maps WHERE id > 0}, '1900', 'and index-only scans too');
$torn->stop;

# --- disk full -------------------------------------------------------------

my $small = TdeVault::small_file_system();
my $full = TdeVault->create('full',
	data_dir => "$small/pgdata",
	initdb   => [ '--wal-segsize=1', '-X', $scripts . '/../full_wal' ],
	conf     => "default_table_access_method = tde_heap\nshared_buffers = 1MB\nmax_wal_size = 8MB\nfsync = on\n");
$full->safe_psql('postgres', 'CREATE TABLE grow (id serial PRIMARY KEY, v text); CREATE TABLE keep AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 5000) g; CHECKPOINT');
my $committed = 0;
# Different amounts, so that sometimes the relation and sometimes the sidecar
# is the first to find no room.
foreach my $round (0 .. 5)
{
	TdeVault::leave_free($small, 2_000_000 + 4096 * $round);
	my ($state, $err) = ('', '');
	foreach (1 .. 400)
	{
		($state, $err) = $full->sql_error(q{INSERT INTO grow (v) SELECT repeat('g', 900) FROM generate_series(1, 100)});
		last if $state ne '';
		$committed += 100;
	}
	is($state, '53100', "disk full, round $round: the insert fails with disk_full") or diag($err);
	$full->sql_is('SELECT count(*) FROM grow', $committed, "disk full, round $round: committed rows are there");
	$full->sql_is('SELECT count(*), count(DISTINCT v) FROM keep', '5000|5000', "disk full, round $round: so are others");
	$full->stop('immediate') if $round % 3 == 2;
	TdeVault::make_room($small);
	$full->start if $round % 3 == 2;
	$full->sql_is('SELECT count(*), min(length(v)) FROM grow', "$committed|900", "disk full, round $round: after room was made");
	$full->safe_psql('postgres', q{INSERT INTO grow (v) SELECT repeat('g', 900) FROM generate_series(1, 100)});
	$committed += 100;
	$full->verify_ok("disk full, round $round: verify is clean", min => 3);
}
$full->safe_psql('postgres', 'DROP TABLE grow');
$full->stop;

done_testing();
