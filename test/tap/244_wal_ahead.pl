# Small records are opened before it is their turn to be replayed.  That is not to be
# seen: not when keys and files change in between, not in a record that is damaged,
# and not where recovery decodes nothing ahead.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use WalRecord;
use Test::More;

my $node = TdeVault->create('main', conf => "restart_after_crash = off\nrecovery_prefetch = try\ndefault_table_access_method = tde_heap\n");
$node->safe_psql('postgres', 'CREATE EXTENSION pg_walinspect; CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE other (id int, v text)');

# One transaction a statement: records about rows, and between them those about keys
# and files, old ones and new ones.
my $round = 0;
sub work
{
	$round++;
	my @sql;
	foreach my $i (1 .. 120)
	{
		my $id = $round * 1000 + $i;
		push @sql, "INSERT INTO t VALUES ($id, 'row $id')", "INSERT INTO other VALUES ($id, repeat('x', $i))";
		push @sql, "UPDATE t SET v = v || ' again' WHERE id = $id - 3" if $i % 4 == 0;
		push @sql, "CREATE TABLE made_$id (id int PRIMARY KEY); INSERT INTO made_$id VALUES (1), (2)" if $i % 10 == 0;
		push @sql, 'TRUNCATE other' if $i % 25 == 0;
		push @sql, "DROP TABLE made_" . ($id - 10) if $i % 20 == 0;
		push @sql, 'ALTER TABLE other SET (fillfactor = 80); VACUUM FULL other' if $i == 60;
	}
	$node->safe_psql('postgres', 'CHECKPOINT');
	$node->safe_psql('postgres', join ";\n", @sql);
	return;
}

sub rows
{
	return $node->safe_psql('postgres', <<'SQL');
SELECT count(*), md5(string_agg(id || v, ',' ORDER BY id)) FROM t;
SELECT count(*), md5(string_agg(id || v, ',' ORDER BY id)) FROM other;
SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relname ~ '^made_' ORDER BY 1;
SQL
}

foreach my $prefetch ('try', 'off')
{
	$node->append_conf('postgresql.conf', "recovery_prefetch = $prefetch");
	work();
	my $before = rows();
	$node->crash;
	is(rows(), $before, "recovery_prefetch = $prefetch: all rows are back, and no others");
	is($node->safe_psql('postgres', q{SELECT sum(unsealed + bad) FROM pg_class, tde_vault.verify(oid) WHERE relname IN ('t', 'other')}), '0', "recovery_prefetch = $prefetch: all pages are sound");
}
$node->append_conf('postgresql.conf', 'recovery_prefetch = try');
$node->reload;

# A record in the middle of many small ones.
$node->safe_psql('postgres', 'CHECKPOINT');
my $from = $node->lsn('insert');
$node->safe_psql('postgres', join ';', map { "INSERT INTO t VALUES ($_, 'in WAL only')" } 1 .. 60);
my @found = grep {
	my ($low) = map { hex } $_->[0] =~ m{/(.*)};
	$low % 8192 + $_->[1] <= 8192 && $low % 8192 >= 40
  } map { [ split /\|/ ] } split /\n/, $node->safe_psql('postgres',
	"SELECT start_lsn, record_length FROM pg_get_wal_records_info_till_end_of_wal('$from') WHERE description LIKE 'Heap/INSERT:%' AND record_length < 200 ORDER BY start_lsn");
my ($lsn, $length) = @{ $found[ @found / 2 ] };
my ($low) = map { hex } $lsn =~ m{/(.*)};
my $path = $node->data_dir . '/pg_wal/' . $node->safe_psql('postgres', "SELECT pg_walfile_name('$lsn')");
my $before = rows();
$node->kill_postmaster;
WalRecord::change($node, $path, $low % (16 * 1024 * 1024), $length, $length - 30, 1);
my $log = $node->start_expecting_failure // '';
like($log, qr/FATAL:  encrypted WAL record at \Q$lsn\E is damaged: authentication tag verification failed/, 'a damaged record is named');
like($log, qr/CONTEXT:  WAL redo at \Q$lsn\E for tde_vault_sealed\//, 'when it is its turn');
WalRecord::change($node, $path, $low % (16 * 1024 * 1024), $length, $length - 30, 1);
$node->start;
is(rows(), $before, 'and once it is repaired, all is there');
done_testing();
