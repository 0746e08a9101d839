# A table of more than one segment is encrypted in place while rows are added
# and cut off on both sides of the boundary; every row is compared.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', conf => <<'CONF');
autovacuum = off
shared_buffers = 64MB
tde_vault.worker_cost_delay = 20ms
tde_vault.worker_cost_limit = 200
CONF
my $boundary = TdeVault::SEGMENT_BLOCKS;
my $near = $boundary - 1200;    # VACUUM does not bother for less than 1000 blocks

# A row a block; what it holds tells which one it is.
sub rows { my ($from, $to) = @_; return "SELECT g, md5(g::text) || repeat(chr(97 + g % 26), 7900) FROM generate_series($from, $to) g"; }
sub insert { my ($from, $to) = @_; return 'INSERT INTO big ' . rows($from, $to); }

# Compared in full, in both directions.
sub rows_ok
{
	my ($name, @ranges) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $want = join ' UNION ALL ', map { rows(@$_) } @ranges;
	$node->sql_is("SET enable_indexscan = off; WITH want AS MATERIALIZED (SELECT id, md5(v) FROM ($want) w(id, v)), have AS MATERIALIZED (SELECT id, md5(v) FROM big) SELECT (SELECT count(*) FROM (TABLE want EXCEPT ALL TABLE have) x), (SELECT count(*) FROM (TABLE have EXCEPT ALL TABLE want) x)",
		'0|0', "$name: every row, and no other");
	return;
}

$node->safe_psql('postgres', 'CREATE TABLE big (id int, v text); ALTER TABLE big ALTER v SET STORAGE PLAIN; ' . insert(1, 100));
my $path = $node->relation_path('big');
my $sidecar = $node->sidecar_path('big');
$node->stop('fast');
# New pages up to near the boundary, as crashes leave them: they cost nothing.
truncate $path, $near * TdeVault::BLCKSZ or die "could not make $path longer: $!";
$node->start;
$node->safe_psql('postgres', insert(101, 2100) . '; CHECKPOINT');
ok(-s "$path.1" > 700 * TdeVault::BLCKSZ, 'there are rows in the second segment');
rows_ok('plain', [ 1, 2100 ]);

$node->safe_psql('postgres', 'ALTER TABLE big ENABLE ENCRYPTION');
$node->poll_query_until('postgres', q{SELECT state = 'running' AND pages_done > 1000 FROM tde_vault.encryption_progress}) or die 'nobody works';
rows_ok('while it is worked on', [ 1, 2100 ]);
$node->safe_psql('postgres', insert(2101, 2300) . '; UPDATE big SET id = id WHERE id = 2300');
rows_ok('longer', [ 1, 2300 ]);
$node->safe_psql('postgres', "DELETE FROM big WHERE id > 200; VACUUM (TRUNCATE, INDEX_CLEANUP OFF) big");
cmp_ok($node->safe_psql('postgres', q{SELECT pg_relation_size('big') / 8192}), '<', $boundary - 1000, 'cut off before the boundary');
# Without the map of free space, rows go to the end, not to the new pages.
$node->stop('fast');
unlink "${path}_fsm" or die "could not remove ${path}_fsm: $!";
$node->start;
$node->safe_psql('postgres', insert(3001, 5000));
ok(-s "$path.1" > 700 * TdeVault::BLCKSZ, 'there are rows in the second segment again');
rows_ok('and longer again', [ 1, 200 ], [ 3001, 5000 ]);
$node->sql_is(q{SELECT state <> 'done' FROM tde_vault.encryption_progress}, 't', 'all that while it was worked on');
$node->crash;
rows_ok('after a crash', [ 1, 200 ], [ 3001, 5000 ]);
$node->safe_psql('postgres', $_) foreach 'ALTER SYSTEM SET tde_vault.worker_cost_delay = 0', 'SELECT pg_reload_conf()', insert(5001, 5200);
ok($node->poll_query_until('postgres', q{SELECT bool_and(state = 'done') FROM tde_vault.encryption_progress}), 'encrypted')
  or diag($node->safe_psql('postgres', 'SELECT * FROM tde_vault.encryption_progress'));
$node->safe_psql('postgres', 'CHECKPOINT');
rows_ok('encrypted', [ 1, 200 ], [ 3001, 5200 ]);
$node->sql_is(q{SELECT sum(unsealed), sum(bad), sum(sealed) > 2300 FROM tde_vault.verify('big') WHERE fork = 'main'}, '0|0|t', 'every page is sealed');
$node->sealed_on_disk_ok("$path.1", 'the second segment is ciphertext');
ok(-s "$sidecar.1" > TdeVault::SIDECAR_HEADER, 'and has a sidecar');
$node->crash;
rows_ok('encrypted, after a crash', [ 1, 200 ], [ 3001, 5200 ]);
$node->stop;
done_testing();
