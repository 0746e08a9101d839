# Encryption, decryption and rotation of a table that is being altered: each
# works, or refuses clearly, and at the end every row is there and every page is
# as the catalogs want it.

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
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '" . PostgreSQL::Test::Utils::tempdir() . "'");
$node->safe_psql('postgres', 'CREATE TABLE parent (id int, v text, b text) PARTITION BY RANGE (id)');
$node->safe_psql('postgres', ALTERED_TABLE);
my $sum = $node->safe_psql('postgres', ALTERED_ROWS);

# name => [ DDL, rows after it (default: the same) ]
my @ddl = (
	[ 'TRUNCATE', "TRUNCATE t; INSERT INTO t SELECT g, md5(g::text), repeat(md5(g::text), CASE WHEN g % 50 = 0 THEN 100 ELSE 1 END) FROM generate_series(1, 3000) g" ],
	[ 'VACUUM FULL', 'VACUUM FULL t' ],
	[ 'CLUSTER', 'CLUSTER t USING t_v' ],
	[ 'VACUUM that truncates', 'DELETE FROM t WHERE id > 100; VACUUM t; INSERT INTO t SELECT g, md5(g::text), repeat(md5(g::text), CASE WHEN g % 50 = 0 THEN 100 ELSE 1 END) FROM generate_series(101, 3000) g' ],
	[ 'indexes', 'CREATE INDEX CONCURRENTLY t_c ON t USING hash (v); REINDEX TABLE CONCURRENTLY t; CREATE INDEX t_gin ON t USING gin (string_to_array(v, \'a\')); DROP INDEX t_c; REINDEX TABLE t' ],
	[ 'ALTER TYPE', 'ALTER TABLE t ALTER id TYPE bigint' ],
	[ 'SET TABLESPACE', 'ALTER TABLE t SET TABLESPACE elsewhere; ALTER INDEX t_v SET TABLESPACE elsewhere' ],
	[ 'SET UNLOGGED, LOGGED', 'ALTER TABLE t SET UNLOGGED; ALTER TABLE t SET LOGGED' ],
	[ 'partition', 'ALTER TABLE t ALTER id DROP IDENTITY IF EXISTS; ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ALTER id DROP NOT NULL; ALTER TABLE parent ATTACH PARTITION t FOR VALUES FROM (0) TO (10000); ALTER TABLE parent DETACH PARTITION t' ],
	[ 'columns', 'ALTER TABLE t ADD c int DEFAULT random() * 10; ALTER TABLE t DROP c; ALTER TABLE t ADD c serial; ALTER TABLE t DROP c' ],
	[ 'savepoint', "BEGIN; SAVEPOINT s; ALTER TABLE t ALTER id TYPE bigint; TRUNCATE t; ROLLBACK TO s; UPDATE t SET v = v WHERE id < 100; COMMIT" ],
	[ 'two phases', "BEGIN; ALTER TABLE t ALTER id TYPE bigint; UPDATE t SET v = v; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'" ],
	[ 'two phases, rolled back', "BEGIN; ALTER TABLE t ALTER id TYPE bigint; DELETE FROM t; PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'" ],
	[ 'rename', 'ALTER TABLE t RENAME TO t2; CREATE SCHEMA IF NOT EXISTS s; ALTER TABLE t2 SET SCHEMA s; ALTER TABLE s.t2 SET SCHEMA public; ALTER TABLE t2 RENAME TO t' ],
);
# what is under way => [ what comes before, the statement, encrypted in the end ]
my @work = (
	[ 'encryption', '', 'ENABLE ENCRYPTION', 't' ],
	[ 'rotation', 'ENABLE ENCRYPTION', 'ROTATE ENCRYPTION KEY', 't' ],
	[ 'other cipher', q{ENABLE ENCRYPTION USING 'AES-256-XTS'}, q{ENABLE ENCRYPTION USING 'AES-256-GCM'}, 't' ],
	[ 'decryption', 'ENABLE ENCRYPTION', 'DISABLE ENCRYPTION', 'f' ]);

sub begin
{
	my ($before, $statement) = @_;
	slow_workers($node);
	$node->safe_psql('postgres', ALTERED_TABLE);
	$node->safe_psql('postgres', "ALTER TABLE t $before") if $before ne '';
	$node->poll_query_until('postgres', SETTLED) or die 'not done';
	slow_workers($node, 1, 100);
	$node->safe_psql('postgres', "ALTER TABLE t $statement");
	$node->poll_query_until('postgres', q{SELECT bool_or(state = 'running' AND relation = 't'::regclass) FROM tde_vault.encryption_progress}) or die 'not under way';
	return;
}

# All with encryption; of the others, each one statement in three.
foreach my $i (0 .. $#work)
{
	my ($what, $before, $statement, $encrypted) = @{ $work[$i] };
	foreach my $ddl (map { $ddl[$_] } grep { $i == 0 || $_ % 3 == $i - 1 } 0 .. $#ddl)
	{
		my $name = "$what, $ddl->[0]";
		begin($before, $statement);
		my ($rc, $out, $err) = $node->psql('postgres', "SET client_min_messages = warning;\n" . join(";\n", split /; /, $ddl->[1]));
		is($err, '', "$name: works");
		$node->sql_is(ALTERED_ROWS, $sum, "$name: the same rows");
		slow_workers($node);
		$node->poll_query_until('postgres', SETTLED)
		  or BAIL_OUT("$name: not done: " . $node->safe_psql('postgres', 'SELECT * FROM tde_vault.encryption_progress'));
		$node->sql_is('SET enable_seqscan = off; ' . ALTERED_ROWS, $sum, "$name: the same rows in the end");
		$node->sql_is(q{SELECT tde_vault.is_encrypted('t'), (SELECT count(*) > 0 FROM tde_vault.encryption_status WHERE relation IN (SELECT tde_vault.relation_family('t'::regclass)))}, "$encrypted|$encrypted", "$name: all of it is as wanted");
	}
}
unlike(slurp_file($node->logfile), qr/PANIC|authentication tag|relation is not encrypted|was forged/, 'nothing amiss in the log');
done_testing();
