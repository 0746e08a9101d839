# ALTER DATABASE ENABLE ENCRYPTION: what exists in place, what is new at once,
# whatever its access method; catalogs not; over crashes; and the end of it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', streaming => 1);
$node->safe_psql('postgres', 'CREATE DATABASE keyless TEMPLATE template0');
$node->sql_fails('ALTER DATABASE keyless ENABLE ENCRYPTION', 'TV003', qr/has no master key/, 'not without a master key');
$node->sql_fails('ALTER DATABASE nowhere ENABLE ENCRYPTION', '3D000', qr/does not exist/, 'not without a database');
$node->create_database('d');
my ($old, $new) = (TdeVault::marker('database old'), TdeVault::marker('database new'));
$node->safe_psql('d', <<"SQL");
CREATE FUNCTION put(a text, b text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN a || b; END';
CREATE TABLE a (id serial PRIMARY KEY, v text);
INSERT INTO a (v) SELECT '$old' || g FROM generate_series(1, 3000) g;
CREATE INDEX ON a (v);
CREATE TABLE big (v text);
INSERT INTO big SELECT repeat('$old' || g, 500) FROM generate_series(1, 20) g;
CREATE MATERIALIZED VIEW mv AS SELECT * FROM a;
CREATE UNLOGGED TABLE u AS SELECT * FROM a;
CREATE SEQUENCE s START 17;
SELECT nextval('s');
ANALYZE;
SQL
my $left = q{SELECT coalesce(string_agg(DISTINCT reason, '; ' ORDER BY reason), '') FROM tde_vault.plaintext_files};
my $catalogs = 'large objects, which no table owns; system catalog; system catalog, shared by all databases';
my $rows = q{SELECT (SELECT count(*) FROM a), (SELECT sum(length(v)) FROM big), (SELECT count(*) FROM mv)};
my $want = $node->safe_psql('d', $rows);

$node->safe_psql('d', 'ALTER DATABASE ENABLE ENCRYPTION');
ok($node->poll_query_until('d', "$left", $catalogs), 'what exists is encrypted, but for catalogs');
$node->safe_psql('d', 'CHECKPOINT');
is(join(' ', grep { !/^pg_wal/ } $node->find_marker(marker => $old)), '', 'no plaintext of it is left');
$node->sql_is($rows, $want, 'all rows are there', db => 'd');
$node->sql_is(q{SELECT nextval('s')}, '18', 'and the sequence goes on', db => 'd');

$node->safe_psql('d', <<"SQL");
CREATE TABLE fresh (id serial PRIMARY KEY, v text) USING heap;
INSERT INTO fresh (v) SELECT put(substr('$new', 1, 12), substr('$new', 13)) || g FROM generate_series(1, 3000) g;
CREATE INDEX ON fresh USING gin ((ARRAY[v]));
CREATE MATERIALIZED VIEW fresh_mv AS SELECT * FROM fresh;
CREATE SEQUENCE fresh_s;
VACUUM FULL fresh;
SQL
$node->safe_psql('d', 'ANALYZE');
$node->sql_is($left, $catalogs, 'what is new is encrypted', db => 'd');
$node->safe_psql('d', $_) foreach 'VACUUM FULL pg_class', 'VACUUM FULL pg_proc', 'REINDEX TABLE pg_proc', 'VACUUM FULL pg_statistic', 'VACUUM FULL information_schema.sql_features';
$node->sql_is($left, $catalogs, 'catalogs stay as they are', db => 'd');
$node->sql_is(q{SELECT string_agg(DISTINCT relation::text, ' ') FROM tde_vault.encryption_status JOIN pg_class c ON c.oid = relation
	WHERE relation::text !~ 'pg_statistic' AND (c.relnamespace = 'pg_catalog'::regnamespace OR c.relname ~ '^pg_toast_1255')},
	'', '... those that are rewritten, too', db => 'd');
$node->hide_token;
$node->restart;
$node->sql_is('SELECT count(*) > 0 FROM pg_proc', 't', '... so that one can connect while the provider is away', db => 'd');
$node->restore_token;
$node->crash;
$node->sql_is($rows, $want, 'all rows are there after a crash', db => 'd');
$node->safe_psql('d', "CREATE TABLE later (v text) USING heap; INSERT INTO later SELECT put(substr('$new', 1, 12), substr('$new', 13)) FROM generate_series(1, 300) g");
$node->safe_psql('d', 'CHECKPOINT');
$node->sql_is($left, $catalogs, 'and it goes on', db => 'd');
is(join(' ', $node->find_marker(marker => $new)), '', 'what is new was never plaintext, in no file and not in the log');
$node->verify_ok('every page is sealed', db => 'd', min => 5);
$node->sql_is(q{SELECT pg_relation_filenode('pg_statistic')}, '2619', 'another database is left alone', db => 'keyless');

$node->safe_psql('postgres', 'ALTER DATABASE d DISABLE ENCRYPTION');
$node->safe_psql('d', 'CREATE TABLE plain (id int) USING heap');
$node->sql_is(q{SELECT tde_vault.is_encrypted('plain')}, 'f', 'disabled: new ones are plain', db => 'd');
ok($node->poll_query_until('d', q{SELECT count(*) = 0 FROM tde_vault.encryption_status WHERE relation::text !~ 'pg_statistic|pg_toast|information_schema'}), 'and those that there were');
$node->sql_is($rows, $want, 'all rows are there', db => 'd');
$node->safe_psql('d', 'ALTER DATABASE d ENABLE ENCRYPTION');
$node->safe_psql('postgres', 'DROP DATABASE d WITH (FORCE)');
$node->sql_is('SELECT count(*) FROM tde_vault.table_keys() k WHERE k.database NOT IN (SELECT oid FROM pg_database) AND k.database <> 0 AND k.files > 0', '0', 'dropped, nothing of it is in use');

done_testing();
