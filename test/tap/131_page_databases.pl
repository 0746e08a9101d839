# A tablespace that relations of several databases are in, and a database that
# one is not connected to, are encrypted as a whole: what the other databases
# have follows in the background, also when somebody is in the way, without the
# extension, and after a crash.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main', conf => "tde_vault.worker_cost_delay = 0\n");
my $dir = $node->basedir . '/shared';
mkdir $dir or die;
$node->safe_psql('postgres', "CREATE TABLESPACE shared LOCATION '$dir'");
$node->create_database('mine');
$node->create_database('busy');
$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE template0") foreach qw(bare closed keyless);
my %marker = map { $_ => TdeVault::marker("database $_") } qw(postgres mine busy bare closed keyless);
foreach my $db (sort keys %marker)
{
	$node->safe_psql($db, <<"SQL");
CREATE TABLE there (id serial PRIMARY KEY USING INDEX TABLESPACE shared, v text) TABLESPACE shared;
INSERT INTO there (v) SELECT '$marker{$db}' || g FROM generate_series(1, 1000) g;
CREATE MATERIALIZED VIEW seen TABLESPACE shared AS SELECT * FROM there;
CREATE TABLE elsewhere AS SELECT g AS id, g || 'x' AS v FROM generate_series(1, 100) g;
CREATE INDEX elsewhere_v ON elsewhere (v) TABLESPACE shared;
SQL
}
$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS false');
$node->safe_psql('postgres', 'CHECKPOINT');

# The databases whose marker is in a relation file.
sub plain_ones
{
	my (@of) = @_;
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $found = $node->find_markers({ map { $_ => $marker{$_} } keys %marker });
	return join ' ', grep { my $db = $_; grep { !/^pg_wal/ } @{ $found->{$db} } } sort keys %marker;
}

# Until only these are plain.
sub wait_for_plain
{
	my ($want, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $got = plain_ones();
	while ($got ne $want && time < $deadline)
	{
		$node->safe_psql('postgres', 'SELECT pg_sleep(0.3)');
		$got = plain_ones();
	}
	is($got, $want, $name);
	return;
}

is(plain_ones(), join(' ', sort keys %marker), 'at first, everything is plain');

# those that have no key to do it with
my ($rc, $out, $err) = $node->psql('postgres', 'ALTER TABLESPACE shared ENABLE ENCRYPTION');
like($err, qr/WARNING:.*database "$_" has relations in the tablespace, and no master key: they stay plaintext/, "without a master key: $_ is named") foreach qw(bare closed keyless);
like($err, qr/What is there of (?:"busy", "mine"|"mine", "busy") follows in the background/, '... and those that follow');
wait_for_plain('bare closed keyless', 'those that have a key are encrypted');
$node->sql_is(q{SELECT count(*), min(reason) FROM tde_vault.plaintext_files WHERE tablespace = 'shared'}, '0|', 'nothing is left there in plain', db => $_) foreach qw(mine busy);
$node->sql_is(q{SELECT tde_vault.is_encrypted('elsewhere_v'), tde_vault.is_encrypted('there_id_seq')}, 't|t', 'indexes and sequences come along', db => 'mine');
$node->sql_is(q{SELECT count(*) FROM pg_class WHERE relname = 'pg_statistic' AND tde_vault.is_encrypted(oid)}, '1', "and the planner's statistics", db => 'mine');

# A key for all; one table is in use for long, and nobody waits behind it.
$node->safe_psql('postgres', "CALL tde_vault.create_master_key('of_cluster', for_cluster => true)");
my $user = $node->background_psql('bare');
$user->query_safe('BEGIN; SELECT count(*) FROM there');
my $logged = $node->log_size;
$node->safe_psql('postgres', 'ALTER TABLESPACE shared ENABLE ENCRYPTION');
wait_for_plain('bare', 'without the extension, and without connections, too; a table that is in use waits');
$node->wait_for_log(qr/canceling statement due to lock timeout/, $logged);
$node->safe_psql('bare', q{SET statement_timeout = '5s'; SELECT count(*) FROM there});
$user->query_safe('COMMIT');
$user->quit;
wait_for_plain('', 'and is encrypted when it can be had');
foreach my $db (sort grep { $_ ne 'closed' } keys %marker)
{
	$node->sql_is("SELECT count(*) FROM there WHERE v ~ '^$marker{$db}'; SELECT count(*) FROM seen; SET enable_seqscan = off; SELECT id FROM elsewhere WHERE v = '7x'; SELECT nextval('there_id_seq') > 1000",
		"1000\n1000\n7\nt", "every row of $db is there", db => $db);
}

# A database that one is not in; killed before anything can be done.
my $whole = TdeVault::marker('whole');
$node->safe_psql('mine', <<"SQL");
CREATE TABLE whole (id serial PRIMARY KEY, v text);
INSERT INTO whole (v) SELECT '$whole' || g FROM generate_series(1, 1000) g;
CREATE SEQUENCE alone;
SELECT nextval('alone');
CREATE UNLOGGED TABLE light AS SELECT * FROM whole;
CHECKPOINT;
SQL
$marker{whole} = $whole;
($rc, $out, $err) = $node->psql('postgres', 'ALTER DATABASE mine ENABLE ENCRYPTION');
like($err, qr/DETAIL:  What exists there follows in the background/, 'another database: it follows');
$node->crash;
wait_for_plain('', 'also after a crash');
$node->sql_is(q{SELECT count(*), min(reason) FROM tde_vault.plaintext_files WHERE reason !~ 'system catalog|large objects'}, '0|', 'nothing is left but catalogs', db => 'mine');
$node->sql_is("SELECT count(*) FROM whole; SELECT nextval('alone')", "1000\n2", 'every row is there', db => 'mine');

# A promise that cannot be held.
$node->safe_psql('postgres', 'ALTER TABLESPACE shared DISABLE ENCRYPTION');
mkdir $node->basedir . '/home' or die;
$node->safe_psql('postgres', "CREATE TABLESPACE home LOCATION '" . $node->basedir . "/home'");
$node->safe_psql('postgres', 'CREATE DATABASE resident TABLESPACE home');
$node->sql_fails('ALTER TABLESPACE home ENABLE ENCRYPTION', '0A000', [ qr/cannot be encrypted as a whole/, qr/default of database "resident"/, qr/ALTER DATABASE resident ENABLE ENCRYPTION/ ],
	'not a tablespace that catalogs are in');
$node->stop;
done_testing();
