# A table is encrypted, decrypted and encrypted again between two checkpoints,
# and the server crashes: recovery, which begins with a keyring that is ahead of
# the log, reads and writes pages that are evicted and read again meanwhile.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use TdeWorker;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('ahead', conf => <<'CONF');
shared_buffers = 1MB
checkpoint_timeout = 1h
max_wal_size = 4GB
bgwriter_lru_maxpages = 0
autovacuum = off
tde_vault.worker_cost_delay = 0
CONF
my $rows = q{SELECT count(*), sum(n), md5(string_agg(v, ',' ORDER BY id)) FROM t};
my $change = 'UPDATE t SET n = n + 1';

sub workers
{
	my ($number) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET tde_vault.max_workers = $number");
	$node->reload;
	return;
}

# Statements with changes between and after them, and a crash.  Recovery begins
# before the first one, or between it and its end.
sub crash_after
{
	my ($name, @statements) = @_;
	foreach my $begun (0, 1)
	{
		my $how = $begun ? "$name, begun before" : $name;
		my $first = 1;
		$node->psql('postgres', 'ALTER TABLE t ENABLE ENCRYPTION') if $statements[0] =~ /ROTATE/;
		$node->poll_query_until('postgres', SETTLED) or die 'not encrypted';
		$node->safe_psql('postgres', "CHECKPOINT; $change WHERE id % 40 = 0");
		foreach my $statement (@statements)
		{
			workers(0) if $begun && $first;
			$node->safe_psql('postgres', "ALTER TABLE t $statement");
			if ($begun && $first)
			{
				$node->safe_psql('postgres', "CHECKPOINT; $change WHERE id % 40 = 0");
				workers(2);
			}
			$first = 0;
			$node->poll_query_until('postgres', SETTLED) or die "$statement: not done";
			# of pages that have their image in the log
			$node->safe_psql('postgres', "$change WHERE id % 40 = 1");
		}
		my $sum = $node->safe_psql('postgres', $rows);
		$node->kill_postmaster;
		ok($node->start(fail_ok => 1), "$how: recovery succeeds") or BAIL_OUT('no recovery');
		$node->sql_is($rows, $sum, "$how: the same rows");
		my $sealed = $statements[-1] !~ /DISABLE/;
		$node->verify_ok("$how: verify is clean") if $sealed;
		$node->sql_is(q{SELECT tde_vault.is_encrypted('t')}, $sealed ? 't' : 'f', "$how: it is what it was");
	}
	return;
}

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id int PRIMARY KEY, n int, v text) WITH (fillfactor = 50);
INSERT INTO t SELECT g, 0, repeat(md5(g::text), 4) FROM generate_series(1, 10000) g;
CREATE INDEX t_n ON t (n);
SQL
crash_after('encrypted and decrypted', 'ENABLE ENCRYPTION', 'DISABLE ENCRYPTION');
crash_after('encrypted and rotated', q{ENABLE ENCRYPTION USING 'AES-256-XTS'}, 'ROTATE ENCRYPTION KEY');
crash_after('rotated, decrypted', 'ROTATE ENCRYPTION KEY', 'DISABLE ENCRYPTION', q{ENABLE ENCRYPTION USING 'CHACHA20-POLY1305'}, 'DISABLE ENCRYPTION');
crash_after('from cipher to cipher', q{ENABLE ENCRYPTION USING 'AES-256-XTS'}, q{ENABLE ENCRYPTION USING 'AES-256-GCM'}, q{ENABLE ENCRYPTION USING 'AES-256-CTR'});

unlike(slurp_file($node->logfile), qr/PANIC|authentication tag|relation is not encrypted|was forged|under a key version/, 'nothing amiss in the log');
done_testing();
