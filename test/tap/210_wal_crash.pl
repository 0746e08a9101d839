# Crash recovery replays sealed records, and every page that it makes is the
# page that the server had (wal_consistency_checking).  With each way to
# compress page images, with prepared transactions, at each wal_level.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main', conf => <<'CONF');
default_table_access_method = tde_heap
wal_consistency_checking = all
max_prepared_transactions = 10
shared_buffers = 4MB
max_wal_size = 256MB
CONF
my $scripts = $node->basedir;
append_to_file("$scripts/mix.sql", <<'SQL');
\set k random(1, 100)
\set n random(1, 3000)
BEGIN;
DELETE FROM mix WHERE k = :k;
INSERT INTO mix SELECT :k, b, point(:k, :n), md5(b) FROM (SELECT string_agg(md5(random()::text), ' ') AS b FROM generate_series(1, :n / 32 + 1)) x;
SAVEPOINT s;
UPDATE mix SET p = point(:n, :k) WHERE k = :k;
ROLLBACK TO s;
UPDATE mix SET p = point(:n, :n) WHERE k = :k % 7;
COMMIT;
SQL
append_to_file("$scripts/two_phase.sql", <<'SQL');
\set k random(1, 1000000000)
BEGIN;
INSERT INTO prepared VALUES (:k, md5(:k::text));
PREPARE TRANSACTION 'p:client_id';
COMMIT PREPARED 'p:client_id';
SQL
append_to_file("$scripts/ddl.sql", <<'SQL');
CREATE TABLE d:client_id AS SELECT g, md5(g::text) AS m FROM generate_series(1, 200) g;
CREATE INDEX ON d:client_id (m);
TRUNCATE d:client_id;
INSERT INTO d:client_id SELECT g, md5(g::text) FROM generate_series(1, 50) g;
VACUUM FULL d:client_id;
DROP TABLE d:client_id;
SQL

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION amcheck;
CREATE EXTENSION bloom;
CREATE TABLE mix (k int, body text, p point, sum text);
CREATE INDEX ON mix (k);
CREATE INDEX ON mix USING hash (sum);
CREATE INDEX ON mix USING gin (to_tsvector('simple', body));
CREATE INDEX ON mix USING gist (p);
CREATE INDEX ON mix USING spgist (p);
CREATE INDEX ON mix USING brin (k) WITH (pages_per_range = 2, autosummarize = on);
CREATE INDEX ON mix USING bloom (sum);
CREATE TABLE prepared (k int, m text);
CREATE TABLE kept (id serial PRIMARY KEY, v text);
SQL
$node->command_ok([ 'pgbench', '-i', '-q', '-s', '1', 'postgres' ], 'pgbench -i');

my $kept = 0;
sub round_ok
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $offset = $node->log_size;
	$node->safe_psql('postgres', 'CHECKPOINT');
	my ($out, $err) = ('', '');
	{
		local %ENV = $node->_get_env();
		IPC::Run::run([ 'pgbench', '-n', '-c', '4', '-t', '60', '-b', 'tpcb-like@4', '-f', "$scripts/mix.sql\@4",
				'-f', "$scripts/two_phase.sql\@2", '-f', "$scripts/ddl.sql\@1", 'postgres' ], '<', \undef, '>', \$out, '2>', \$err);
	}
	unlike($err, qr/ERROR|FATAL/, "$name: load ran") or diag($err);
	$kept++;
	$node->safe_psql('postgres', "VACUUM mix; INSERT INTO kept (v) VALUES ('round $kept'); BEGIN; INSERT INTO kept (v) VALUES ('open'); PREPARE TRANSACTION 'open';");
	my $before = $node->safe_psql('postgres', 'SELECT count(*), sum(hashtext(mix::text)) FROM mix');
	$node->crash;
	my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $offset);
	unlike($log, qr/PANIC|inconsistent|encrypted WAL record|ERROR/, "$name: recovery finds nothing wrong");
	$node->safe_psql('postgres', q{ROLLBACK PREPARED 'open'});
	$node->sql_is('SELECT count(*), sum(hashtext(mix::text)) FROM mix', $before, "$name: the same rows");
	$node->sql_is(q{SELECT (SELECT sum(delta) FROM pgbench_history) = (SELECT sum(abalance) FROM pgbench_accounts),
		(SELECT count(*) FROM kept), (SELECT count(*) FROM mix WHERE md5(body) <> sum), (SELECT count(*) FROM prepared WHERE md5(k::text) <> m)},
		"t|$kept|0|0", "$name: nothing lost or mixed up");
	$node->sql_is(q{SELECT count(bt_index_parent_check(c.oid, true)) > 3 FROM pg_class c JOIN pg_am a ON a.oid = c.relam
		WHERE a.amname = 'btree' AND c.relnamespace = 'public'::regnamespace}, 't', "$name: indexes are whole");
	$node->verify_ok("$name: verify is clean", min => 10);
	return;
}

round_ok('plain images');
foreach my $method (qw(pglz lz4 zstd))
{
	$node->append_conf('postgresql.conf', "wal_compression = $method");
	$node->reload;
	round_ok($method);
}
$node->append_conf('postgresql.conf', "wal_compression = off\nwal_level = minimal\nmax_wal_senders = 0");
$node->restart;
round_ok('wal_level = minimal');
$node->sql_is(q{BEGIN; CREATE TABLE skipped AS SELECT g, md5(g::text) AS m FROM generate_series(1, 5000) g; CREATE INDEX ON skipped (m); COMMIT; SELECT count(*) FROM skipped},
	'5000', 'a table whose pages are not logged');
$node->crash;
$node->sql_is('SELECT count(*), bool_and(md5(g::text) = m) FROM skipped', '5000|t', 'it is there after a crash');
$node->append_conf('postgresql.conf', "wal_level = logical\nmax_wal_senders = 5");
$node->restart;
round_ok('wal_level = logical');

# Records of other sizes than usual.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE wide (id int, v text);
ALTER TABLE wide ALTER v SET STORAGE PLAIN;
INSERT INTO wide SELECT g, repeat(chr(64 + g), 8000) FROM generate_series(1, 20) g;
UPDATE wide SET v = repeat('z', 7999) WHERE id = 3;
CREATE TABLE empty ();
INSERT INTO empty DEFAULT VALUES;
CREATE TABLE many (id int) PARTITION BY RANGE (id);
SELECT format('CREATE TABLE many_%s PARTITION OF many FOR VALUES FROM (%s) TO (%s)', g, g, g + 1) FROM generate_series(1, 50) g \gexec
INSERT INTO many SELECT g FROM generate_series(1, 50) g;
SELECT pg_logical_emit_message(true, 'tde', repeat('message', 300000)) IS NOT NULL;
TRUNCATE many;
INSERT INTO many SELECT g FROM generate_series(1, 50) g;
SQL
$node->crash;
$node->sql_is(q{SELECT count(*), sum(length(v)) FROM wide}, '20|159999', 'records of whole pages');
$node->sql_is('SELECT (SELECT count(*) FROM empty), (SELECT count(*) FROM many)', '1|50', 'records of nearly nothing, and of many files');
$node->verify_ok('verify is clean', min => 60);

done_testing();
