# Encryption in place in transactions of all sorts, of relations of all kinds, and
# of what is dropped meanwhile.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use TdeWorker;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('ddl', conf => <<'CONF');
max_prepared_transactions = 5
tde_vault.max_workers = 4
CONF
$node->safe_psql('postgres', 'CREATE TABLE parent (id int, v text, b text) PARTITION BY RANGE (id)');
$node->safe_psql('postgres', ALTERED_TABLE);
my $sum = $node->safe_psql('postgres', ALTERED_ROWS);

# --- the statements themselves in transactions ------------------------------------

slow_workers($node);
my $family = q{SELECT tde_vault.is_encrypted('t'), (SELECT count(*) > 0 FROM tde_vault.encryption_status WHERE relation IN (SELECT tde_vault.relation_family('t'::regclass)))};
foreach my $case (
	[ 'f', 'a savepoint that is rolled back', "BEGIN; SAVEPOINT s; ALTER TABLE t ENABLE ENCRYPTION; ROLLBACK TO s; UPDATE t SET v = v; COMMIT" ],
	[ 't', 'once more after a savepoint', "BEGIN; SAVEPOINT s; ALTER TABLE t ENABLE ENCRYPTION; UPDATE t SET v = v; ROLLBACK TO s; ALTER TABLE t ENABLE ENCRYPTION; UPDATE t SET v = v; COMMIT" ],
	[ 'f', 'both in one transaction', "BEGIN; ALTER TABLE t ENABLE ENCRYPTION; UPDATE t SET v = v; ALTER TABLE t DISABLE ENCRYPTION; COMMIT" ],
	[ 't', 'there, back and there', "BEGIN; ALTER TABLE t ENABLE ENCRYPTION; ALTER TABLE t DISABLE ENCRYPTION; UPDATE t SET v = v; ALTER TABLE t ENABLE ENCRYPTION USING 'AES-256-XTS'; COMMIT" ],
	[ 't', 'with a rewrite', "BEGIN; ALTER TABLE t ENABLE ENCRYPTION; ALTER TABLE t ALTER id TYPE bigint; COMMIT" ],
	[ 'f', 'with a rewrite, rolled back', "BEGIN; ALTER TABLE t ENABLE ENCRYPTION; ALTER TABLE t ALTER id TYPE bigint; ROLLBACK" ],
	[ 't', 'after a rewrite', "BEGIN; ALTER TABLE t ALTER id TYPE bigint; ALTER TABLE t ENABLE ENCRYPTION; COMMIT" ],
	[ 'f', 'after a rewrite, rolled back', "BEGIN; ALTER TABLE t ALTER id TYPE bigint; ALTER TABLE t ENABLE ENCRYPTION; UPDATE t SET v = v; ROLLBACK" ],
	[ 't', 'and the other way', "BEGIN; ALTER TABLE t ENABLE ENCRYPTION; ALTER TABLE t SET ACCESS METHOD heap; ALTER TABLE t SET ACCESS METHOD tde_heap; COMMIT" ],
	[ 'f', 'and plain by the other way', "BEGIN; ALTER TABLE t ENABLE ENCRYPTION; ALTER TABLE t SET ACCESS METHOD heap; COMMIT" ],
	[ 't', 'two phases', "BEGIN; ALTER TABLE t ENABLE ENCRYPTION; UPDATE t SET v = v; PREPARE TRANSACTION 'p'", "COMMIT PREPARED 'p'" ],
	[ 'f', 'two phases, rolled back', "BEGIN; ALTER TABLE t ENABLE ENCRYPTION; UPDATE t SET v = v; PREPARE TRANSACTION 'p'", "ROLLBACK PREPARED 'p'" ],
	[ 't', 'decrypted in two phases, rolled back', "ALTER TABLE t ENABLE ENCRYPTION; BEGIN; ALTER TABLE t DISABLE ENCRYPTION; UPDATE t SET v = v; PREPARE TRANSACTION 'p'", "ROLLBACK PREPARED 'p'" ])
{
	my ($encrypted, $name, @sql) = @$case;
	$node->safe_psql('postgres', ALTERED_TABLE);
	my ($rc, $out, $err) = $node->psql('postgres', "SET client_min_messages = warning;\n" . join(";\n", split /; /, $sql[0]));
	is($err, '', "$name: works");
	if (@sql > 1)
	{
		# what was prepared outlives a crash, and the worker waits for it
		$node->crash;
		$node->poll_query_until('postgres', q{SELECT count(*) > 0 AND bool_or(state <> 'done') FROM tde_vault.encryption_progress WHERE relation = 't'::regclass})
		  or die 'nothing to be done';
		$node->safe_psql('postgres', $sql[1]);
	}
	$node->poll_query_until('postgres', SETTLED) or BAIL_OUT("$name: not done");
	$node->sql_is(ALTERED_ROWS, $sum, "$name: the same rows");
	$node->sql_is($family, "$encrypted|$encrypted", "$name: all of it is as wanted");
}

# --- a transaction that has the table ---------------------------------------------

# The statement waits for it, and nobody waits for the statement.
foreach my $partitioned (0, 1)
{
	my $name = $partitioned ? 'a partition in use' : 'a table in use';
	$node->safe_psql('postgres', ALTERED_TABLE . ($partitioned ? 'ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ALTER id DROP NOT NULL; ALTER TABLE parent ATTACH PARTITION t FOR VALUES FROM (0) TO (10000)' : ''));
	my $reader = $node->background_psql('postgres');
	$reader->query_safe('BEGIN');
	$reader->query_safe('SELECT count(*) FROM t');
	my ($out, $err) = ('', '');
	my $statement = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres'), '-c', 'ALTER TABLE ' . ($partitioned ? 'parent' : 't') . ' ENABLE ENCRYPTION' ],
		'<', \undef, '>', \$out, '2>', \$err);
	while ($err !~ /waiting for transactions that use table/)
	{
		last unless $statement->pumpable;
		$statement->pump;
	}
	like($err, qr/NOTICE:  waiting for transactions that use table/, "$name: the statement says that it waits");
	my ($state, $message) = ('', '');
	for (my $i = 0; $i < 30 && $state eq ''; $i++)
	{
		($state, $message) = $node->sql_error("SET lock_timeout = '20s'; UPDATE t SET v = v WHERE id = $i");
	}
	is($state, '', "$name: others are not held up") or diag($message);
	$node->sql_is(q{SELECT tde_vault.is_encrypted('t')}, 'f', "$name: while the statement still waits");
	$node->sql_fails("SET lock_timeout = 100; ALTER TABLE t ENABLE ENCRYPTION", '55P03', qr/lock timeout/, "$name: lock_timeout is heeded");
	$node->sql_fails("BEGIN; SET LOCAL lock_timeout = 100; ALTER TABLE t ENABLE ENCRYPTION", '55P03', qr/lock timeout/, "$name: also in a transaction");
	$reader->query_safe('COMMIT');
	$reader->quit;
	$statement->finish;
	unlike($err, qr/ERROR/, "$name: then it goes on");
	$node->poll_query_until('postgres', SETTLED) or die 'not done';
	$node->sql_is(ALTERED_ROWS, $sum, "$name: the same rows");
	$node->sql_is(q{SELECT tde_vault.is_encrypted('t')}, 't', "$name: it is encrypted");
}

# --- kinds of relations ----------------------------------------------------------

$node->safe_psql('postgres', <<'SQL');
DROP TABLE t;
CREATE TABLE empty (id int PRIMARY KEY, v text);
CREATE TABLE narrow (id int) WITH (fillfactor = 100);
INSERT INTO narrow SELECT generate_series(1, 1000);
CREATE TABLE nothing ();
CREATE TABLE base (id int);
CREATE TABLE child (more int) INHERITS (base);
INSERT INTO child SELECT g, g FROM generate_series(1, 100) g;
CREATE MATERIALIZED VIEW mv AS SELECT * FROM narrow;
CREATE UNIQUE INDEX ON mv (id);
CREATE SEQUENCE seq;
CREATE TABLE kid PARTITION OF parent FOR VALUES FROM (0) TO (10);
CREATE TABLE sub PARTITION OF parent FOR VALUES FROM (10) TO (20) PARTITION BY LIST (id);
CREATE TABLE grandkid PARTITION OF sub FOR VALUES IN (11, 12);
INSERT INTO parent SELECT g, g::text FROM unnest('{1, 2, 11, 12}'::int[]) g;
CREATE INDEX ON parent (id);
CREATE UNLOGGED TABLE fleeting AS SELECT generate_series(1, 100) AS id;
SQL
foreach my $table ('empty', 'narrow', 'nothing', 'base', 'mv', 'parent', 'fleeting')
{
	$node->safe_psql('postgres', "ALTER TABLE $table ENABLE ENCRYPTION");
}
$node->poll_query_until('postgres', SETTLED) or die 'not done';
$node->safe_psql('postgres', "ALTER TABLE $_ ROTATE ENCRYPTION KEY") foreach 'empty', 'narrow', 'nothing', 'base', 'mv', 'parent', 'fleeting';
$node->poll_query_until('postgres', SETTLED) or die 'not done';
$node->sql_is(q{SELECT string_agg(r::text, ',' ORDER BY n) FROM unnest('{empty,narrow,nothing,base,mv,kid,grandkid,fleeting,child}'::regclass[]) WITH ORDINALITY AS x(r, n) WHERE tde_vault.is_encrypted(r)},
	'empty,narrow,nothing,base,mv,kid,grandkid,fleeting', 'tables of all kinds; a child by inheritance is a table of its own');
$node->safe_psql('postgres', q{INSERT INTO empty VALUES (1, 'x'); INSERT INTO nothing DEFAULT VALUES; REFRESH MATERIALIZED VIEW CONCURRENTLY mv; REFRESH MATERIALIZED VIEW mv; INSERT INTO parent VALUES (3, 'three')});
$node->sql_is('SELECT (SELECT count(*) FROM empty), (SELECT count(*) FROM narrow), (SELECT count(*) FROM nothing), (SELECT count(*) FROM base), (SELECT count(*) FROM mv), (SELECT count(*) FROM parent), (SELECT count(*) FROM fleeting)',
	'1|1000|1|100|1000|5|100', 'and their rows');
$node->verify_ok('verify is clean', min => 6);
$node->sql_fails("ALTER TABLE seq ENABLE ENCRYPTION", '42809', qr/is not a table or materialized view/, 'a sequence is refused');
$node->safe_psql('postgres', "ALTER TABLE $_ DISABLE ENCRYPTION") foreach 'empty', 'narrow', 'nothing', 'base', 'mv', 'parent', 'fleeting';
$node->poll_query_until('postgres', SETTLED) or die 'not done';
$node->sql_is(q{SELECT count(*) FROM tde_vault.encryption_status WHERE relation::oid >= 16384 AND relation::text !~ '^tde_vault'}, '0', 'all are plain again');

# a table that is dropped, and a database, while there is work
slow_workers($node, 1, 100);
$node->safe_psql('postgres', ALTERED_TABLE . 'ALTER TABLE t ENABLE ENCRYPTION');
$node->poll_query_until('postgres', q{SELECT bool_or(state = 'running') FROM tde_vault.encryption_progress}) or die 'not under way';
$node->safe_psql('postgres', 'DROP TABLE t');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM tde_vault.encryption_progress WHERE state NOT IN ('done')}), 'work on a table that was dropped ends');
$node->create_database('other');
$node->safe_psql('other', 'CREATE TABLE t AS SELECT generate_series(1, 1000) AS id; ALTER TABLE t ENABLE ENCRYPTION');
$node->poll_query_until('postgres', q{SELECT bool_or(state = 'running' AND database = 'other') FROM tde_vault.encryption_progress}) or die 'not under way';
$node->safe_psql('postgres', 'DROP DATABASE other WITH (FORCE)');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM tde_vault.encryption_progress WHERE state NOT IN ('done')}), 'and in a database that was dropped');

unlike(slurp_file($node->logfile), qr/PANIC|authentication tag|relation is not encrypted|was forged/, 'nothing amiss in the log');
done_testing();
