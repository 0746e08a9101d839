# Workers, backends, the checkpointer and the postmaster are killed at random
# moments, or the server is stopped at once, while tables in use are encrypted,
# decrypted and given new keys and ciphers, with and without sidecars.  No row
# is lost, every page opens, and the work goes on by itself.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use TdeWorker;
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
# what is killed, as pg_stat_activity names it
my %kind_of = (
	worker => 'tde_vault worker', launcher => 'tde_vault launcher', backend => 'client backend',
	checkpointer => 'checkpointer', 'background writer' => 'background writer', postmaster => '', 'immediate stop' => '');
# (which has no entry there)
sub launcher
{
	my $data = Cwd::realpath($node->data_dir);
	my ($pid) = map { m{(\d+)$} } grep { (readlink("$_/cwd") // '') eq $data && slurp_file("$_/cmdline") =~ /tde_vault launcher/ } glob('/proc/[0-9]*');
	return $pid // '';
}
# each transaction adds one number to four tables
my $balance = q{SELECT a.n, a.s = coalesce(h.s, 0), b.s = a.s, t.s = a.s FROM (SELECT count(*) AS n, sum(abalance) AS s FROM pgbench_accounts) a,
	(SELECT sum(delta) AS s FROM pgbench_history) h, (SELECT sum(bbalance) AS s FROM pgbench_branches) b, (SELECT sum(tbalance) AS s FROM pgbench_tellers) t};
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
	my $what = (sort keys %kind_of)[ rand keys %kind_of ];
	my $under_way = $node->safe_psql('postgres', q{SELECT DISTINCT operation FROM tde_vault.encryption_progress WHERE state IN ('running', 'checking')});
	my $pid = $kind_of{$what} eq '' ? '' : $what eq 'launcher' ? launcher() : $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = '$kind_of{$what}' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1");
	$what = 'postmaster' if $what ne 'immediate stop' && ($pid eq '' || !kill 'KILL', $pid);
	if ($what eq 'postmaster' || $what eq 'immediate stop')
	{
		$what eq 'postmaster' ? $node->kill_postmaster : $node->stop('immediate');
		eval { $load->finish };
		$node->start;
	}
	else
	{
		eval { $load->finish };
		die 'no restart after a crash' unless $node->wait_until_ready;
	}
	$count{"$what killed"}++;
	$count{"during $_"}++ foreach $under_way eq '' ? 'nothing' : split /\n/, $under_way;
	$killed++;
	unlike($err, qr/encrypt|decrypt|sidecar|keyring|key version/i, "kill $killed ($what): no client saw an error of ours") or diag($err);
	$node->sql_is($balance, '100000|t|t|t', "kill $killed: nothing lost");
	next if $killed % 5;
	ok($node->poll_query_until('postgres', SETTLED), "kill $killed: the work goes on to its end")
	  or diag($node->safe_psql('postgres', 'SELECT * FROM tde_vault.encryption_progress'));
	$node->safe_psql('postgres', q{SELECT bt_index_parent_check(c.oid, true) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'btree' AND c.relnamespace = 'public'::regnamespace});
	$node->verify_ok("kill $killed: verify is clean", min => 0)
	  if $node->safe_psql('postgres', 'SELECT count(*) FROM tde_vault.encryption_status') > 0;
}
note join ', ', map { "$_: $count{$_}" } sort keys %count;
unlike(slurp_file($node->logfile), qr/PANIC|authentication tag|relation is not encrypted|sidecar file|was forged|under a key version/, 'nothing amiss in the log');
done_testing();
