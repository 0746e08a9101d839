# The planner's statistics: sealed as soon as a database has an encrypted table,
# before ANALYZE can put a value of it into them; in a crash, on a standby,
# while the key is away, and plain again when the extension goes.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', streaming => 1);
my $sealed = q{SELECT count(*) FILTER (WHERE cipher IS NULL), count(*) >= 4 FROM tde_vault.relation_family('pg_statistic') r, tde_vault.relation_files(r)};
my $sealed_ext = $sealed =~ s/pg_statistic'/pg_statistic_ext_data'/r;

# Wide values, so that TOAST of pg_statistic is used; MCV lists of several columns.
sub analyzed
{
	my ($db, $table, $label, %opt) = @_;
	my $am = $opt{am} // 'tde_heap';
	my $marker = TdeVault::marker($label);
	$node->safe_psql($db, "CREATE TABLE $table (id int, v text, w text) USING $am");
	$node->safe_psql($db, "INSERT INTO $table SELECT g, '$marker' || g % 50, repeat('$marker' || g % 50, 10) FROM generate_series(1, 2000) g");
	$node->safe_psql($db, "CREATE STATISTICS s_$table (mcv, dependencies) ON v, w FROM $table");
	$node->safe_psql($db, $opt{analyze} // "ANALYZE $table");
	$node->safe_psql($db, 'CHECKPOINT; SELECT pg_switch_wal(); CHECKPOINT');
	return $marker;
}
sub found { my ($marker) = @_; return join ' ', grep { !/^pg_stat/ } $node->find_marker(marker => $marker) }

# --- before there is anything encrypted --------------------------------------

like(found(analyzed('postgres', 'plain', 'plain', am => 'heap')), qr{base/\d+/2619}, 'statistics of a plain table are found');
$node->sql_is($sealed, '8|t', 'they are plain while nothing is encrypted');

# --- the first encrypted table -----------------------------------------------

my $first = analyzed('postgres', 'first', 'first');
is(found($first), '', 'values of an encrypted table are in no file, not in the log');
$node->sql_is(q{SELECT count(*) FROM pg_stats WHERE tablename = 'first' AND most_common_vals::text LIKE '%} . $first . q{%'}, '2', 'but in the statistics');
$node->sql_is(q{SELECT count(*) FROM pg_stats_ext WHERE tablename = 'first' AND most_common_vals::text LIKE '%} . $first . q{%'}, '1', 'also in the extended ones');
$node->sql_is("$sealed; $sealed_ext", "0|t\n0|t", 'every file of them is sealed');
$node->sql_is(q{SELECT sum(sealed) > 5, sum(unsealed), sum(bad) FROM tde_vault.verify('pg_statistic')}, 't|0|0', 'every page');
is(join(' ', grep { m{^base/} } split / /, found(TdeVault::marker('plain'))), $node->safe_psql('postgres', q{SELECT pg_relation_filepath('plain')}),
	'those of a plain table are only in the table any more');

# stays so
$node->safe_psql('postgres', $_) foreach 'VACUUM FULL pg_statistic', 'REINDEX TABLE pg_statistic', 'VACUUM pg_statistic', 'REINDEX TABLE CONCURRENTLY first', 'VACUUM FULL pg_statistic_ext_data', 'ANALYZE';
$node->sql_is("$sealed; $sealed_ext", "0|t\n0|t", 'after rewrites');
is(found($first), '', 'still in no file');

# --- ways to make the first one ----------------------------------------------

my %ways = (
	in_a_block => 'BEGIN; CREATE TABLE y (id int, v text) USING tde_heap; INSERT INTO y SELECT g, %M || g FROM generate_series(1, 100) g; ANALYZE y; COMMIT',
	converted => 'CREATE TABLE y (id int, v text) USING heap; INSERT INTO y SELECT g, %M || g FROM generate_series(1, 100) g; ANALYZE y; ALTER TABLE y SET ACCESS METHOD tde_heap; CHECKPOINT; SELECT pg_switch_wal()',
	partitions => 'CREATE TABLE y (id int, v text) PARTITION BY RANGE (id); CREATE TABLE y1 PARTITION OF y FOR VALUES FROM (0) TO (1000) USING tde_heap; INSERT INTO y SELECT g, %M || g FROM generate_series(1, 100) g; ANALYZE y',
	index_expression => 'CREATE TABLE y (id int, v text) USING tde_heap; INSERT INTO y SELECT g, %M || g FROM generate_series(1, 100) g; CREATE INDEX ON y ((v || v)); ANALYZE y',
);
foreach my $way (sort keys %ways)
{
	my $marker = TdeVault::marker("way $way");
	my ($a, $b) = (substr($marker, 0, 12), substr($marker, 12));
	my $sql = $ways{$way} =~ s/%M/'$a' || '$b'/gr;
	$node->create_database($way);
	$node->safe_psql($way, $sql) if $way eq 'in_a_block';
	if ($way ne 'in_a_block') { $node->safe_psql($way, $_) foreach split /; /, $sql }
	$node->safe_psql($way, 'CHECKPOINT');
	$node->sql_is(q{SELECT count(*) > 0 FROM pg_stats WHERE tablename LIKE 'y%' AND histogram_bounds::text LIKE '%} . $marker . q{%'}, 't', "$way: it has statistics", db => $way);
	$node->sql_is("$sealed; $sealed_ext", "0|t\n0|t", "$way: sealed", db => $way);
}
my $ways_found = $node->find_markers({ map { $_ => TdeVault::marker("way $_") } keys %ways });
foreach my $way (sort keys %ways)
{
	# the log rightly holds what was analyzed while the table was plain
	is(join(' ', grep { !m{^pg_wal/} || $way ne 'converted' } @{ $ways_found->{$way} }), '', "$way: in no file");
}
$node->safe_psql('postgres', 'CREATE DATABASE untouched TEMPLATE template0');
$node->sql_is(q{SELECT pg_relation_filenode('pg_statistic')}, '2619', 'a database without is left alone', db => 'untouched');

# --- crash, copy, standby ----------------------------------------------------

$node->create_database('crash');
$node->safe_psql('crash', 'CHECKPOINT');
my $crash = TdeVault::marker('crash');
$node->safe_psql('crash', "CREATE TABLE c (id int, v text) USING tde_heap; INSERT INTO c SELECT g, '$crash' || g FROM generate_series(1, 300) g");
$node->safe_psql('crash', 'ANALYZE');
$node->crash;
$node->sql_is(q{SELECT count(*) FROM pg_stats WHERE tablename = 'c'}, '2', 'statistics after a crash', db => 'crash');
$node->sql_is("$sealed; $sealed_ext", "0|t\n0|t", 'sealed after a crash', db => 'crash');
$node->safe_psql('crash', 'CHECKPOINT');
is(found($crash), '', 'in no file after a crash');

# killed in the middle of sealing: as it was before
$node->create_database('middle');
{
	my $session = $node->background_psql('middle', on_error_stop => 0);
	$session->query_safe("BEGIN; CREATE TABLE m (id int) USING tde_heap; CALL tde_vault.seal_statistics()");
	$node->kill_postmaster;
	$session->{run}->finish;
}
$node->start;
$node->sql_is(q{SELECT pg_relation_filenode('pg_statistic'), count(*) > 0 FROM pg_stats}, '2619|t', 'undone by a crash', db => 'middle');
$node->safe_psql('middle', 'BEGIN; CREATE TABLE m (id int) USING tde_heap; CALL tde_vault.seal_statistics(); ROLLBACK');
$node->sql_is(q{SELECT pg_relation_filenode('pg_statistic'), count(*) > 0 FROM pg_stats}, '2619|t', 'and by ROLLBACK', db => 'middle');
$node->safe_psql('middle', 'CREATE TABLE m (id int) USING tde_heap');
$node->sql_is($sealed, '0|t', 'and done the next time', db => 'middle');

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE crash');
$node->sql_is(q{SELECT count(*) FROM pg_stats WHERE tablename = 'c'}, '2', 'a copy of the database', db => 'copy');
$node->sql_is("$sealed; $sealed_ext", "0|t\n0|t", 'is sealed', db => 'copy');
is(found($crash), '', 'in no file of it');

$node->backup('base');
my $standby = TdeVault->create_from_backup('standby', $node, 'base', has_streaming => 1);
$standby->start;
$node->safe_psql('crash', 'INSERT INTO c SELECT 1000 + g FROM generate_series(1, 100) g; ANALYZE c');
$node->wait_for_catchup($standby);
$standby->sql_is(q{SELECT count(*) FROM pg_stats WHERE tablename = 'c'}, '2', 'a standby reads them', db => 'crash');
$standby->stop;

# --- the key is away ---------------------------------------------------------

$node->stop;
$node->hide_token;
$node->start;
my ($rc, $out, $err) = $node->psql('crash', 'CREATE TABLE IF NOT EXISTS p (id int) USING heap; INSERT INTO p VALUES (1), (2); SELECT count(*) FROM p a JOIN p b USING (id) WHERE a.id < 2');
is("$rc|$out", '0|1', 'plain tables are there while the key is away');
like($err, qr/WARNING:.*\n.*without the planner's statistics/, 'with a warning');
$node->sql_fails('SELECT count(*) FROM c', 'TV00[1-3]', qr/./, 'encrypted ones are not', db => 'crash');
$node->restore_token;
$node->sql_is('SELECT count(*) FROM c WHERE id < 10', '9', 'and are when it is back', db => 'crash');

# --- the extension goes ------------------------------------------------------

$node->sql_fails('DROP EXTENSION tde_vault', '2BP01', qr/holds encrypted files/, 'not while tables are encrypted', db => 'crash');
$node->safe_psql('crash', 'ALTER TABLE c SET ACCESS METHOD heap');
$node->safe_psql('crash', 'DROP EXTENSION tde_vault');
$node->sql_is('SELECT count(*) FROM c', '400', 'without the extension', db => 'crash');
$node->safe_psql('copy', 'DROP EXTENSION tde_vault CASCADE');
$node->safe_psql($_, 'DROP EXTENSION tde_vault CASCADE') foreach 'middle', sort keys %ways;
$node->safe_psql('postgres', 'DROP EXTENSION tde_vault CASCADE');
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->start;
$node->sql_is(q{SELECT count(*) > 0 FROM pg_stats}, 't', 'statistics can be read without the module', db => $_) foreach 'postgres', 'crash', 'copy';

done_testing();
