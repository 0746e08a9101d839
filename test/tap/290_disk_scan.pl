# Everything asked for: then no file under the data directory holds a value of a
# table, temporary files of running statements included, and plaintext_files
# says exactly what is left, and why.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', streaming => 1, conf => <<'CONF');
work_mem = 64kB
track_activity_query_size = 100
log_min_duration_statement = -1
log_statement = none
CONF
$node->safe_psql('postgres', "CREATE TABLESPACE enc ENCRYPTION USING 'AES256'");
$node->safe_psql('postgres', $_) foreach 'CREATE EXTENSION pg_trgm', 'CREATE EXTENSION bloom', 'ALTER DATABASE postgres SET default_table_access_method = tde_heap';

# Values come from a function, so that they are in no catalog.
my %marker = map { $_ => TdeVault::marker("scan $_") } qw(table converted placed matview sequence temporary toast unlogged part array);
$node->safe_psql('postgres', q{CREATE FUNCTION put(a text, b text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN a || b; END'});
sub value { my ($what) = @_; return "put('" . substr($marker{$what}, 0, 12) . "', '" . substr($marker{$what}, 12) . "')" }

$node->safe_psql('postgres', 'CREATE TABLE converted (id int, v text) USING heap');
my $n = 5000;
$node->safe_psql('postgres', $_) foreach (
	'CREATE TABLE many (id serial PRIMARY KEY, v text)',
	'INSERT INTO many (v) SELECT ' . value('table') . " || g FROM generate_series(1, $n) g",
	'CREATE INDEX ON many USING gin (v gin_trgm_ops)', 'CREATE INDEX ON many (lower(v))', 'CREATE INDEX ON many USING hash (v)',
	'CREATE INDEX ON many USING gist (v gist_trgm_ops)', 'CREATE INDEX ON many USING spgist (v)', 'CREATE INDEX ON many USING brin (v)', 'CREATE INDEX ON many USING bloom (v)',
	'CREATE INDEX ON many (id) INCLUDE (v)', q{CREATE INDEX ON many (id) WHERE left(v, 1) = 'q'},
	'CREATE STATISTICS st (mcv) ON id, v FROM many',
	'CREATE TABLE big (id int, v text)', 'INSERT INTO big SELECT g, repeat(' . value('toast') . ' || g, 500) FROM generate_series(1, 50) g',
	'ALTER TABLE converted ENABLE ENCRYPTION',
	'INSERT INTO converted SELECT g, ' . value('converted') . " || g FROM generate_series(1, $n) g",
	'CREATE TABLE placed (id int, v text) USING heap TABLESPACE enc', 'INSERT INTO placed SELECT g, ' . value('placed') . " || g FROM generate_series(1, $n) g",
	'CREATE MATERIALIZED VIEW mv AS SELECT id, ' . value('matview') . ' || id AS v FROM many', 'CREATE UNIQUE INDEX ON mv (id)',
	'REFRESH MATERIALIZED VIEW CONCURRENTLY mv',
	'CREATE UNLOGGED TABLE fleeting (id int, v text)', 'INSERT INTO fleeting SELECT g, ' . value('unlogged') . " || g FROM generate_series(1, $n) g", 'CREATE INDEX ON fleeting (v)',
	'CREATE TABLE parts (id int, v text) PARTITION BY HASH (id)', 'CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0)', 'CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1)',
	'INSERT INTO parts SELECT g, ' . value('part') . " || g FROM generate_series(1, $n) g", 'CREATE INDEX ON parts (v)',
	'CREATE TABLE lists (id int, v text[])', 'INSERT INTO lists SELECT g, ARRAY[' . value('array') . " || g, 'x'] FROM generate_series(1, 500) g", 'CREATE INDEX ON lists USING gin (v)',
	'CREATE SEQUENCE seq OWNED BY many.id',
	'UPDATE many SET v = v WHERE id % 3 = 0', 'DELETE FROM many WHERE id % 5 = 0', 'ANALYZE', 'VACUUM', 'CHECKPOINT');
$node->poll_query_until('postgres', q{SELECT bool_and(tde_vault.is_encrypted(r)) FROM unnest('{many,big,converted,placed,mv,fleeting,parts_0,parts_1,lists}'::regclass[]) r}) or die 'not encrypted';

# Statements that are in the middle of it.
my @sessions;
foreach my $sql ('DECLARE c CURSOR FOR SELECT * FROM many ORDER BY v', 'DECLARE c CURSOR FOR SELECT a.v, b.v FROM placed a JOIN placed b USING (v)',
	'DECLARE c CURSOR FOR WITH x AS MATERIALIZED (SELECT * FROM mv) SELECT * FROM x, (SELECT max(v) AS m FROM x) y',
	'DECLARE c CURSOR WITH HOLD FOR SELECT * FROM converted; COMMIT; BEGIN',
	'SET LOCAL temp_buffers = 100; CREATE TEMP TABLE tt USING heap AS SELECT g AS id, repeat(' . value('temporary') . ' || g, 20) AS v FROM generate_series(1, 3000) g; CREATE INDEX ON tt (left(v, 30)); DECLARE c CURSOR FOR SELECT * FROM tt ORDER BY v')
{
	my $session = $node->background_psql('postgres');
	$session->query_safe("BEGIN; $sql; FETCH c");
	push @sessions, $session;
}
my @temporary = glob($node->data_dir . '/base/pgsql_tmp/*');
cmp_ok(scalar(@temporary), '>=', 5, 'temporary files are there');
ok((grep { -s $_ > 65536 } glob($node->data_dir . '/base/*/t*_*')) > 0, 'and those of a temporary table');
$node->safe_psql('postgres', 'CHECKPOINT');
my $found = $node->find_markers(\%marker);
is("@{ $found->{$_} }", '', "$_: in no file") foreach sort grep { $_ ne 'sequence' } keys %marker;
foreach my $session (@sessions)
{
	$session->query_safe('FETCH ALL FROM c; COMMIT');
	$session->quit;
}
# nor in what a stop leaves behind
$node->stop('fast');
$found = $node->find_markers(\%marker);
is("@{ $found->{$_} }", '', "$_: in no file of a server that is stopped") foreach sort grep { $_ ne 'sequence' } keys %marker;
$node->start;

# --- what is left -------------------------------------------------------------

# (the extension's own table holds statements that a dump is to repeat)
my $left = q{SELECT string_agg(DISTINCT reason, '; ' ORDER BY reason) FROM tde_vault.plaintext_files WHERE relation NOT IN (SELECT tde_vault.relation_family('tde_vault.vault_script'))};
$node->sql_is($left, 'large objects, which no table owns; system catalog; system catalog, shared by all databases', 'plaintext_files: catalogs and large objects');
$node->safe_psql('postgres', $_) foreach 'CREATE TABLE pl (id int PRIMARY KEY) USING heap', 'CREATE SEQUENCE pseq', 'CREATE TABLE mixed (id int, v text) USING heap', 'CREATE INDEX mixed_old ON mixed (id)', 'ALTER TABLE mixed SET TABLESPACE enc';
$node->sql_is(q{SELECT string_agg(relation || ': ' || reason, '; ' ORDER BY relation::text COLLATE "C") FROM tde_vault.plaintext_files WHERE relation::oid >= 16384 AND relation NOT IN (SELECT tde_vault.relation_family('tde_vault.vault_script'))},
	'mixed_old: index that is older than the encryption of its table; REINDEX encrypts it; pl: access method is heap; pl_pkey: index of public.pl, which is not encrypted; pseq: sequence of no encrypted table',
	'and what else is not, with the reason');
$node->safe_psql('postgres', 'REINDEX INDEX mixed_old; DROP SEQUENCE pseq; ALTER TABLE pl SET TABLESPACE enc; ALTER INDEX pl_pkey SET TABLESPACE enc');
$node->sql_is($left, 'large objects, which no table owns; system catalog; system catalog, shared by all databases', 'mended');
# what the view says is what is on the disk
my %plain = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT DISTINCT path FROM tde_vault.plaintext_files');
my $db = $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'postgres'});
$node->safe_psql('postgres', 'CHECKPOINT');
my @unnamed;
foreach my $path (glob($node->data_dir . "/base/$db/[0-9]*"))
{
	(my $name = $path) =~ s{^.*/(base/\d+/\d+).*$}{$1};
	next if -s $path == 0 || $plain{$name};
	my $page = $node->read_page($path, 0);
	push @unnamed, $path if $page =~ /[^\0]/ && TdeVault::page_epoch($page) == 0;
}
is("@unnamed", '', 'every file that it does not name is sealed');

done_testing();
