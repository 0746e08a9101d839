# Workers, backends and the postmaster are killed at random moments while tables
# in use are encrypted, decrypted and given new keys and ciphers.  No row is
# lost, every page opens, and the work goes on by itself.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $seed = $ENV{TDE_VAULT_TEST_SEED} // time;
my $kills = $ENV{TDE_VAULT_KILLS} // 10;
srand($seed);
note "TDE_VAULT_TEST_SEED=$seed repeats this run's choices; TDE_VAULT_KILLS=$kills";

my $node = TdeVault->create('crash', conf => <<'CONF');
shared_buffers = 4MB
max_wal_size = 64MB
min_wal_size = 32MB
checkpoint_timeout = 30s
bgwriter_delay = 10ms
tde_vault.worker_cost_limit = 400
tde_vault.worker_cost_delay = 10ms
restart_after_crash = on
CONF
$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');
$node->command_ok([ 'pgbench', '-i', '-q', '-s', '1', 'postgres' ], 'pgbench -i');
$node->safe_psql('postgres', q{CREATE INDEX ON pgbench_accounts USING hash (abalance); CREATE INDEX ON pgbench_history (tid)});

my ($load, $out, $err);
sub start_load
{
	($out, $err) = ('', '');
	local %ENV = $node->_get_env();
	$load = IPC::Run::start([ 'pgbench', '-n', '-c', '2', '-T', '600', 'postgres' ], '<', \undef, '>', \$out, '2>', \$err);
	return;
}
my @statements = (
	'ENABLE ENCRYPTION', q{ENABLE ENCRYPTION USING 'AES-256-XTS'}, q{ENABLE ENCRYPTION USING 'CHACHA20-POLY1305'},
	q{ENABLE ENCRYPTION USING 'AES-256-GCM'}, 'ROTATE ENCRYPTION KEY', 'ROTATE ENCRYPTION KEY', 'DISABLE ENCRYPTION');
my $done = q{SELECT coalesce(bool_and(state = 'done'), true) FROM tde_vault.encryption_progress};
my $killed = 0;
my %count;

while ($killed < $kills)
{
	start_load();
	Time::HiRes::usleep(int rand 300_000);
	foreach my $table ('pgbench_accounts', 'pgbench_history')
	{
		my $statement = $statements[ rand @statements ];
		$node->psql('postgres', "ALTER TABLE $table $statement");
		$count{$statement}++;
	}
	Time::HiRes::usleep(int rand 1_500_000);
	my $what = ('worker', 'backend', 'postmaster')[ rand 3 ];
	my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE } .
		($what eq 'worker' ? q{backend_type = 'tde_vault worker'} : q{backend_type = 'client backend' AND pid <> pg_backend_pid()}) . ' ORDER BY random() LIMIT 1');
	$what = 'postmaster' if $pid eq '';
	if ($what eq 'postmaster')
	{
		$node->kill_postmaster;
		eval { $load->finish };
		$node->start;
	}
	else
	{
		kill 'KILL', $pid;
		eval { $load->finish };
		die 'no restart after a crash' unless $node->wait_until_ready;
	}
	$killed++;
	$count{$what}++;
	unlike($err, qr/encrypt|decrypt|sidecar|keyring|key version/i, "kill $killed ($what): no client saw an error of ours") or diag($err);
	$node->sql_is(q{SELECT (SELECT count(*) FROM pgbench_accounts), (SELECT sum(delta) FROM pgbench_history) IS NOT DISTINCT FROM (SELECT sum(abalance) FROM pgbench_accounts)
		OR (SELECT count(*) FROM pgbench_history) = 0}, '100000|t', "kill $killed: nothing lost");
	next if $killed % 5;
	ok($node->poll_query_until('postgres', $done), "kill $killed: the work goes on to its end")
	  or diag($node->safe_psql('postgres', 'SELECT * FROM tde_vault.encryption_progress'));
	$node->safe_psql('postgres', q{SELECT bt_index_parent_check(c.oid, true) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'btree' AND c.relnamespace = 'public'::regnamespace});
	$node->verify_ok("kill $killed: verify is clean", min => 0)
	  if $node->safe_psql('postgres', 'SELECT count(*) FROM tde_vault.encryption_status') > 0;
}
note join ', ', map { "$_: $count{$_}" } sort keys %count;
unlike(slurp_file($node->logfile), qr/PANIC|authentication tag|relation is not encrypted|sidecar file|was forged|under a key version/, 'nothing amiss in the log');
done_testing();
