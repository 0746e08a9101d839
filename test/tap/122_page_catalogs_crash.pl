# Killed at random moments while all catalogs of a database are sealed and
# unsealed, and others use it: it can always be used afterwards, its catalogs
# are whole, and what was begun can be ended.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;
use Time::HiRes ();

my $seed = $ENV{TDE_VAULT_TEST_SEED} // time;
my $kills = $ENV{TDE_VAULT_KILLS} // 6;
srand($seed);
note "TDE_VAULT_TEST_SEED=$seed repeats this run's choices; TDE_VAULT_KILLS=$kills";

my $node = TdeVault->create('crash', conf => <<'CONF');
shared_buffers = 4MB
restart_after_crash = on
deadlock_timeout = 100ms
CONF
$node->create_database('d');
my $marker = TdeVault::marker('crash');
$node->safe_psql('d', <<"SQL");
CREATE EXTENSION amcheck;
CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN ''$marker''; END';
CREATE VIEW v AS SELECT '$marker'::text AS $marker;
COMMENT ON FUNCTION f() IS '$marker';
SELECT lo_from_bytea(4711, convert_to('$marker' || repeat('x', 5000), 'UTF8'));
CREATE TABLE secret (i int, t text) USING tde_heap;
INSERT INTO secret SELECT g, md5(g::text) FROM generate_series(1, 1000) g;
SQL
my $dboid = $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'd'});

# Catalogs as they must be: rows, every index against its table, every table.
my $rows = qq{SELECT f() = '$marker', (SELECT $marker FROM v) = '$marker', obj_description('f()'::regprocedure, 'pg_proc') = '$marker', encode(lo_get(4711, 0, 24), 'escape') = '$marker', (SELECT count(*) FROM secret)};
my $whole = q{SELECT count(bt_index_check(indexrelid, true)) > 100 FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relam = 403 AND c.oid < 16384 AND NOT c.relisshared;
SELECT count(*) FROM pg_class c, verify_heapam(c.oid) h WHERE c.relkind IN ('r', 't') AND c.oid < 16384 AND NOT c.relisshared};
my $left = q{SELECT count(*) FROM tde_vault.plaintext_files WHERE relation::oid < 16384 AND reason <> 'system catalog, shared by all databases'};

my (@load, $stop);
sub start_load
{
	local %ENV = $node->_get_env();
	my $script = $node->basedir . '/load.sql';
	$node->write_file($script, <<'SQL') unless -e $script;
\set n random(1, 1000000000)
CREATE TABLE l_:n (i serial PRIMARY KEY, t text DEFAULT 'x');
COMMENT ON TABLE l_:n IS 'of the load';
CREATE FUNCTION l_:n() RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT count(*) FROM pg_attribute WHERE attrelid = 'l_:n'::regclass;
DROP FUNCTION l_:n();
DROP TABLE l_:n;
SQL
	foreach my $connect ('-C', '-n')
	{
		push @load, IPC::Run::start([ 'pgbench', '-n', $connect, '-T', '60', '-f', $script, 'd' ], '<', \undef, '>', \my $out, '2>', \my $err);
	}
	return;
}

my %count;
my $aim = 'seal';
foreach my $kill (1 .. $kills)
{
	start_load();
	my ($out, $err) = ('', '');
	my $worker;
	{
		local %ENV = $node->_get_env();
		$worker = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('d'), '-c', "CALL tde_vault.${aim}_catalogs()" ], '<', \undef, '>', \$out, '2>', \$err);
	}
	Time::HiRes::usleep(int rand 700_000);
	my $how = ('server', 'backend')[ rand 2 ];
	my $pid = $how eq 'backend' ? $node->safe_psql('postgres', qq{SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL tde_vault.%seal_catalogs%' AND pid <> pg_backend_pid()}) : '';
	if ($pid ne '')
	{
		kill 'KILL', $pid;
	}
	else
	{
		$node->kill_server;
	}
	IPC::Run::finish($_) foreach $worker, @load;
	@load = ();
	if ($pid eq '') { $node->start; }
	else { $node->wait_until_ready or die 'not back'; }
	my ($what, $state) = ($err =~ /NOTICE/ ? 'after' : 'in the middle', '');
	$node->poll_query_until('d', 'SELECT true') or die 'cannot be used';
	$state = $node->safe_psql('d', $left);
	$count{"$aim $what"}++;
	note "$kill: $how killed, $aim $what, $state files plain";
	$node->sql_is($rows, 't|t|t|t|1000', "$kill: rows", db => 'd');
	$node->sql_is($whole, "t\n0", "$kill: catalogs are whole", db => 'd');
	$aim = $aim eq 'seal' ? 'unseal' : 'seal' if $what eq 'after' || rand(3) < 1;
}
note join ', ', map { "$_: $count{$_}" } sort keys %count;

# to the end
foreach my $end ('unseal', 'seal')
{
	$node->safe_psql('d', "CALL tde_vault.${end}_catalogs()");
	$node->sql_is("SELECT ($left) " . ($end eq 'seal' ? '= 0' : '> 100'), 't', "$end: done", db => 'd');
	$node->sql_is($rows, 't|t|t|t|1000', "$end: rows", db => 'd');
	$node->sql_is($whole, "t\n0", "$end: catalogs are whole", db => 'd');
}
$node->verify_ok('every page', db => 'd', min => 50);
# (files that a crash left behind are no relation's: the server forgets them)
my %used = map { ("base/$dboid/$_" => 1) } split /\n/, $node->safe_psql('d', 'CHECKPOINT; SELECT pg_relation_filenode(oid) FROM pg_class WHERE pg_relation_filenode(oid) IS NOT NULL');
is(join(' ', grep { $used{ s/[._].*//r } } $node->find_marker(marker => $marker)), '', 'in no file of a relation');

done_testing();
