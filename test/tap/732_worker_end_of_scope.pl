# The end of an encrypted tablespace or database: what was encrypted because it
# lies there is decrypted in place, in all databases, over crashes; what was
# asked for by itself, or lies in another encrypted place, is not.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', conf => "tde_vault.worker_cost_delay = 0\nautovacuum = off\n");
my $dir = $node->basedir . '/space';
mkdir $dir or die;
$node->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '$dir'");
$node->safe_psql('postgres', 'ALTER TABLESPACE space ENABLE ENCRYPTION');
$node->create_database('other');
foreach my $db ('postgres', 'other')
{
	$node->safe_psql($db, <<'SQL');
CREATE TABLE because (id serial PRIMARY KEY, v text) USING heap TABLESPACE space;
INSERT INTO because (v) SELECT repeat(md5(g::text), 30) FROM generate_series(1, 2000) g;
ALTER TABLE because ALTER v SET STORAGE EXTERNAL;
INSERT INTO because (v) SELECT repeat(md5(g::text), 100) FROM generate_series(1, 20) g;
CREATE INDEX because_v ON because (left(v, 32));
CREATE MATERIALIZED VIEW because_mv TABLESPACE space AS SELECT * FROM because;
CREATE UNLOGGED TABLE because_u USING heap TABLESPACE space AS SELECT * FROM because;
CREATE TABLE asked (id serial PRIMARY KEY, v text) USING tde_heap TABLESPACE space;
INSERT INTO asked (v) SELECT md5(g::text) FROM generate_series(1, 1000) g;
CREATE TABLE asked_later (id serial PRIMARY KEY, v text) USING heap TABLESPACE space;
INSERT INTO asked_later (v) SELECT md5(g::text) FROM generate_series(1, 1000) g;
CREATE TABLE elsewhere AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 1000) g;
CREATE INDEX elsewhere_v ON elsewhere (v) TABLESPACE space;
ALTER TABLE asked_later ENABLE ENCRYPTION;
SQL
}
my $rows = join ' UNION ALL ', map { "SELECT '$_', count(*), md5(string_agg(t::text, ',' ORDER BY id)) FROM $_ t" }
  qw(because because_mv because_u asked asked_later elsewhere);
my %want = map { $_ => $node->safe_psql($_, $rows) } 'postgres', 'other';

sub done
{
	my ($name, $db) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM tde_vault.encryption_progress WHERE state <> 'done')}), "$name: done")
	  or diag($node->safe_psql('postgres', 'SELECT * FROM tde_vault.encryption_progress'));
	return;
}

# Which of the relations have a sealed file, and which of the sequences.
my $sealed = q{SELECT string_agg(r, ' ' ORDER BY r COLLATE "C") FROM (SELECT DISTINCT relation::text AS r FROM tde_vault.encryption_status WHERE relkind IN ('r', 'm', 'i', 'S') AND relation::text !~ '^(pg_|tde_vault[.])') x};
my $all = 'asked asked_id_seq asked_later asked_later_id_seq asked_later_pkey asked_pkey because because_id_seq because_mv because_pkey because_u because_v elsewhere_v';
my $by_itself = 'asked asked_id_seq asked_later asked_later_id_seq asked_later_pkey asked_pkey';

sub sealed_becomes
{
	my ($db, $which, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($db, $sealed, $which), $name)
	  or diag($node->safe_psql($db, 'SELECT * FROM tde_vault.encryption_progress'));
	return;
}
sub same_rows { my ($name) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; $node->sql_is($rows, $want{$_}, "$name: the same rows in $_", db => $_) foreach 'postgres', 'other'; return; }

sealed_becomes($_, $all, "at first all in the tablespace are sealed ($_)") foreach 'postgres', 'other';
$node->sql_fails('BEGIN; ALTER TABLESPACE space DISABLE ENCRYPTION', '25001', qr/transaction block/, 'not inside a transaction block');

# --- a tablespace ---------------------------------------------------------------

my ($rc, $out, $err) = $node->psql('postgres', q{SET tde_vault.enforce_encryption = on; ALTER TABLESPACE space DISABLE ENCRYPTION});
like($err, qr/What exists stays encrypted: tde_vault.enforce_encryption is on/, 'not while plain tables are refused');
$node->sql_is($sealed, $all, 'all are sealed still');
$node->safe_psql('postgres', 'ALTER TABLESPACE space ENABLE ENCRYPTION');
($rc, $out, $err) = $node->psql('postgres', 'ALTER TABLESPACE space DISABLE ENCRYPTION');
like($err, qr/encrypted only because they are there: 4 of this database, at most 6 of "other"/, 'a notice says how many');
sealed_becomes($_, $by_itself, "decrypted: what lies there, but nothing that was asked for ($_)") foreach 'postgres', 'other';
done('decrypted');
same_rows('decrypted');
$node->safe_psql('postgres', 'CHECKPOINT');
foreach my $db ('postgres', 'other')
{
	$node->sql_is(q{SELECT coalesce(sum(sealed), 0), coalesce(sum(bad), 0) FROM (VALUES ('because'), ('because_mv'), ('elsewhere')) r(r), LATERAL tde_vault.verify(r::regclass) WHERE fork = 'main'}, '0|0', "no page of it is sealed ($db)", db => $db);
	$node->verify_ok("what stays is in order ($db)", db => $db, min => 2);
	$node->sql_is(q{SELECT nextval('because_id_seq'), nextval('asked_id_seq')}, '2021|1001', "sequences go on ($db)", db => $db);
}
$node->sql_is(q{SELECT DISTINCT operation FROM tde_vault.encryption_progress WHERE relation::text ~ 'because|elsewhere' ORDER BY 1}, 'decrypt', 'progress calls it so');

# --- crashes ----------------------------------------------------------------------

# an unlogged table is empty then
$rows = join ' UNION ALL ', grep { !/because_u/ } split / UNION ALL /, $rows;
%want = map { $_ => $node->safe_psql($_, $rows) } 'postgres', 'other';

$node->safe_psql('postgres', 'ALTER TABLESPACE space ENABLE ENCRYPTION');
sealed_becomes($_, $all, "and back ($_)") foreach 'postgres', 'other';
done('encrypted again');
$node->safe_psql('postgres', $_) foreach 'ALTER SYSTEM SET tde_vault.worker_cost_delay = 50', 'ALTER SYSTEM SET tde_vault.worker_cost_limit = 100', 'SELECT pg_reload_conf()', 'CHECKPOINT';
$node->safe_psql('postgres', 'ALTER TABLESPACE space DISABLE ENCRYPTION');
$node->crash;
same_rows('killed just then');
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM tde_vault.encryption_progress WHERE rewritten > 20}) or die 'it does not go on';
$node->crash;
same_rows('killed in the middle');
$node->safe_psql('postgres', $_) foreach 'ALTER SYSTEM RESET ALL', 'SELECT pg_reload_conf()';
sealed_becomes($_, $by_itself, "it goes on by itself, to the end ($_)") foreach 'postgres', 'other';
same_rows('at the end');
$node->crash;
same_rows('after another crash');

# --- a database, which has an encrypted tablespace ----------------------------------

$node->safe_psql('postgres', 'ALTER TABLESPACE space ENABLE ENCRYPTION');
$node->safe_psql('other', q{CREATE SEQUENCE alone START 5; SELECT nextval('alone'); CREATE TABLE outside (id serial, v text) USING heap; INSERT INTO outside (v) SELECT md5(g::text) FROM generate_series(1, 1000) g});
$node->safe_psql('other', 'ALTER DATABASE ENABLE ENCRYPTION');
sealed_becomes('other', 'alone asked asked_id_seq asked_later asked_later_id_seq asked_later_pkey asked_pkey because because_id_seq because_mv because_pkey because_u because_v elsewhere elsewhere_v outside outside_id_seq', 'a whole database');
done('a whole database');
($rc, $out, $err) = $node->psql('postgres', 'ALTER DATABASE other DISABLE ENCRYPTION');
like($err, qr/encrypted only because they are there: 0 of this database, at most \d+ of "other"/, 'from another database');
sealed_becomes('other', $all, 'decrypted: but not what is in the tablespace');
same_rows('a database');
$node->sql_is(q{SELECT count(*) FROM outside; SELECT nextval('alone'), nextval('outside_id_seq')}, "1000\n6|1001", 'what was outside is all there', db => 'other');
$node->sql_is($sealed, $all, 'another database is left alone');
$node->stop;
done_testing();
