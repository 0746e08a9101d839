# As 200, for what index access methods log besides insertion: deletion, VACUUM,
# splits, moves, merges, overflow, summaries; and other things that write WAL.
# In pg_wal, in an archive, on a standby; with a control.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $archive = PostgreSQL::Test::Utils::tempdir_short();
my $node = TdeVault->create('primary', streaming => 1, conf => <<"CONF");
wal_level = logical
wal_keep_size = 1GB
archive_mode = on
archive_command = 'cp %p $archive/%f'
CONF
my %am = (vault => 'tde_heap', plain => 'heap');
foreach my $db (sort keys %am)
{
	$node->create_database($db);
	$node->safe_psql($db, 'CREATE EXTENSION bloom; CREATE EXTENSION btree_gist; CREATE EXTENSION pg_trgm');
}
$node->backup('base');
my $standby = TdeVault->create_from_backup('standby', $node, 'base', has_streaming => 1);
$standby->start;

# {M} is the marker; rows fill pages, are deleted and vacuumed, and others come.
my %index = (
	btree => 'CREATE INDEX ON t (v)',
	btree_duplicates => 'CREATE INDEX ON t ((left(v, 24)))',
	btree_included => 'CREATE INDEX ON t (id) INCLUDE (v)',
	hash => 'CREATE INDEX ON t USING hash ((left(v, 24)))',
	gin => q{CREATE INDEX ON t USING gin (string_to_array(v, ','))},
	gin_posting_tree => q{CREATE INDEX ON t USING gin ((ARRAY[left(v, 24)]))},
	gin_trigrams => 'CREATE INDEX ON t USING gin (v gin_trgm_ops)',
	gist => 'CREATE INDEX ON t USING gist (v)',
	gist_trigrams => 'CREATE INDEX ON t USING gist (v gist_trgm_ops)',
	spgist => 'CREATE INDEX ON t USING spgist (v)',
	spgist_included => 'CREATE INDEX ON t USING spgist (v) INCLUDE (id)',
	brin => 'CREATE INDEX ON t USING brin (v) WITH (pages_per_range = 1, autosummarize = off)',
	brin_multi => 'CREATE INDEX ON t USING brin (v text_bloom_ops) WITH (pages_per_range = 1)',
	bloom => 'CREATE INDEX ON t USING bloom (v)');
my %script = map { $_ => <<"SQL" } keys %index;
CREATE TABLE t (id int, v text) USING {AM};
$index{$_};
INSERT INTO t SELECT g, '{M}' || g FROM generate_series(1, 2500) g;
DELETE FROM t WHERE id % 4 <> 0;
VACUUM t;
INSERT INTO t SELECT g, '{M}' || (g * 7) FROM generate_series(3001, 3500) g;
CHECKPOINT;
UPDATE t SET v = v || 'x' WHERE id % 20 = 0;
DELETE FROM t WHERE id < 2000;
VACUUM (INDEX_CLEANUP on) t;
SQL
$script{brin} .= "SELECT brin_summarize_new_values('t_v_idx'); SELECT brin_desummarize_range('t_v_idx', 0);\n";
$script{ambuild_parallel} = q{CREATE TABLE t (id int, v text) USING {AM} WITH (parallel_workers = 2); INSERT INTO t SELECT g, '{M}' || g FROM generate_series(1, 3000) g; SET min_parallel_table_scan_size = 0; CREATE INDEX ON t (v); REINDEX TABLE CONCURRENTLY t;};
$script{on_conflict} = q{CREATE TABLE t (id int PRIMARY KEY, v text) USING {AM}; INSERT INTO t VALUES (1, 'x'); INSERT INTO t VALUES (1, '{M}') ON CONFLICT (id) DO UPDATE SET v = excluded.v;};
$script{speculative} = q{CREATE TABLE t (id int, v text UNIQUE) USING {AM}; INSERT INTO t SELECT g, '{M}' || g FROM generate_series(1, 100) g ON CONFLICT DO NOTHING;};
$script{merge} = q{CREATE TABLE t (id int, v text) USING {AM}; MERGE INTO t USING (SELECT 1 AS i) s ON t.id = s.i WHEN NOT MATCHED THEN INSERT VALUES (1, '{M}');};
$script{partitions} = q{CREATE TABLE r (id int, v text) PARTITION BY RANGE (id); CREATE TABLE t PARTITION OF r FOR VALUES FROM (0) TO (10) USING {AM}; CREATE TABLE t2 PARTITION OF r FOR VALUES FROM (10) TO (20) USING {AM}; INSERT INTO r VALUES (1, '{M}'); UPDATE r SET id = 11;};
$script{set_tablespace} = q{CREATE TABLE t (id int, v text) USING {AM}; INSERT INTO t SELECT g, '{M}' || g FROM generate_series(1, 100) g; ALTER TABLE t SET TABLESPACE ts;};
$script{identity_index} = q{CREATE TABLE t (id int, v text NOT NULL UNIQUE) USING {AM}; ALTER TABLE t REPLICA IDENTITY USING INDEX t_v_key; INSERT INTO t VALUES (1, '{M}'); CHECKPOINT; UPDATE t SET v = 'y'; DELETE FROM t;};
$script{identity_toasted} = q{CREATE TABLE t (id int, v text) USING {AM}; ALTER TABLE t REPLICA IDENTITY FULL; ALTER TABLE t ALTER v SET STORAGE EXTERNAL; INSERT INTO t VALUES (1, repeat('{M}', 200)); CHECKPOINT; DELETE FROM t;};
$node->append_conf('postgresql.conf', 'allow_in_place_tablespaces = on');
$node->reload;
$node->safe_psql('postgres', q{CREATE TABLESPACE ts LOCATION ''});

my (%marker, %failed);
foreach my $db (sort keys %am)
{
	foreach my $label (sort keys %script)
	{
		my $marker = TdeVault::marker("more $db $label");
		(my $sql = $script{$label}) =~ s/\{AM\}/$am{$db}/g;
		$sql =~ s/\{M\}/$marker/g;
		$marker{"$db $label"} = $marker;
		my ($rc, $out, $err) = $node->psql($db, "CREATE SCHEMA $label; SET search_path = $label, public;\n$sql\n", on_error_stop => 1);
		$failed{"$db $label"} = $err if $rc != 0;
	}
}
is_deeply(\%failed, {}, 'every statement ran');
$node->safe_psql('postgres', 'CHECKPOINT');
my $end = $node->lsn('insert');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->wait_for_catchup($standby, 'replay', $end);
$node->poll_query_until('postgres', "SELECT last_archived_wal >= pg_walfile_name('$end') FROM pg_stat_archiver")
  or die 'archiving did not finish';
$standby->safe_psql('postgres', 'CHECKPOINT');
$standby->stop('fast');

my $on_primary = $node->find_markers(\%marker, also => [ $archive ]);
my $on_standby = $standby->find_markers(\%marker);
foreach my $label (sort keys %script)
{
	is("@{ $on_primary->{\"vault $label\"} } @{ $on_standby->{\"vault $label\"} }", ' ', "$label: not found");
	my @control = @{ $on_primary->{"plain $label"} };
	ok((grep { m{^pg_wal/} } @control) && (grep { m{^\Q$archive\E/} } @control), "$label: the control is found in pg_wal and in the archive");
}
$node->verify_ok('verify is clean', db => 'vault', min => 20);
done_testing();
