# Threat 40: pg_upgrade knows nothing of keyring, sidecars and realms.  It
# would make a cluster whose tables nobody can read.  So it is refused before
# anything is changed, also with --check and --link, and also when one of the
# two clusters has lost the module; the old cluster stays as it was.  Where
# nothing is encrypted any more, it works.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = TdeVault->create('old');
my $new = TdeVault->new('new');
my $bin = $old->config_data('--bindir');
my $runs = 0;
my $module = "shared_preload_libraries = 'tde_vault'\ntde_vault.key_provider = '" . $old->provider_uri . "'\n";
$new->{$_} = $old->{$_} foreach grep { /^tv_/ } keys %$old;

# A cluster to upgrade to, which reaches the same token.
sub make_new
{
	my ($conf, $with_key) = @_;
	system_or_bail('rm', '-rf', $new->data_dir);
	$new->init;
	$new->append_conf('postgresql.conf', $conf);
	return unless $with_key;
	$new->start;
	$new->safe_psql('postgres', 'CREATE EXTENSION tde_vault');
	$new->create_master_key('postgres', 'key_of_new', cluster => 1);
	$new->safe_psql('postgres', 'DROP EXTENSION tde_vault; DROP ROLE vault_admin, vault_auditor, vault_operator');
	$new->stop;
	return;
}

# Did it end well, and all that it said.
sub upgrade
{
	my (@options) = @_;
	my $dir = $old->basedir . '/run' . ++$runs;
	my $said = '';
	mkdir $dir or die;
	chdir $dir or die;
	local %ENV = $old->_get_env();
	my $done = IPC::Run::run([ "$bin/pg_upgrade", '-d', $old->data_dir, '-D', $new->data_dir, '-b', $bin, '-B', $bin,
			'-p', $old->port, '-P', $new->port, '-s', $new->host, '-N', @options ], '<', \undef, '>', \$said, '2>&1');
	$said .= slurp_file($_) foreach glob($new->data_dir . '/pg_upgrade_output.d/*/loadable_libraries.txt');
	chdir '/' or die;
	return ($done, $said);
}

my $rows = q{SELECT (SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM t), (SELECT md5(string_agg(x::text, ',' ORDER BY id)) FROM x), (SELECT count(*) FROM p), (SELECT last_value FROM t_id_seq)};
$old->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id serial PRIMARY KEY, v text) USING tde_heap;
INSERT INTO t (v) SELECT 'row ' || g FROM generate_series(1, 1000) g;
CREATE INDEX ON t USING gin (string_to_array(v, ' '));
CREATE TABLE x (id int PRIMARY KEY, v text) ENCRYPTION USING 'AES-256-XTS';
INSERT INTO x SELECT g, 'row ' || g FROM generate_series(1, 1000) g;
CREATE TABLE p (id int PRIMARY KEY, v text) USING heap;
INSERT INTO p SELECT g, 'row ' || g FROM generate_series(1, 1000) g;
ANALYZE;
SQL
my $expected = $old->safe_psql('postgres', $rows);

sub refused_ok
{
	my ($name, $why, @options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($done, $said) = upgrade(@options);
	ok(!$done && $said =~ $why, "$name: refused, with the reason") or diag($said);
	like($said, qr/by pg_dump, or by logical replication/, "$name: and with what to do") if "$why" =~ /pg_upgrade/;
	ok(-e $old->data_dir . '/global/pg_control', "$name: the old cluster is not disabled");
	unlike($said, qr/Performing Upgrade\n-+\n.*Copying|Linking/s, "$name: no file was touched");
	return;
}
my $cannot = qr/FATAL:  pg_upgrade cannot be used for a cluster with encrypted tables\n.*DETAIL:  Database \d+ has some/;
my $cannot_load = qr/ERROR:  pg_upgrade cannot be used for databases with extension tde_vault/;

make_new($module, 1);
refused_ok('--check beside a running server', $cannot_load, '--check');
$old->stop_clean;
refused_ok('--check', $cannot, '--check');
refused_ok('copy', $cannot);
refused_ok('--link', $cannot, '--link');
make_new('');
refused_ok('the new one without the module', $cannot);
my $conf = slurp_file($old->data_dir . '/postgresql.conf');
$old->append_conf('postgresql.conf', "shared_preload_libraries = ''");
# The first thing that pg_upgrade asks is answered with the planner's statistics, which are sealed.
my $sealed = qr/ERROR:  invalid page in block 0 of relation base/;
refused_ok('both without the module', $sealed);
make_new($module, 1);
refused_ok('the old one without the module', $sealed, '--link');
$old->write_file($old->data_dir . '/postgresql.conf', $conf);
$old->start;
$old->sql_is($rows, $expected, 'after all that, the old cluster holds every row');
$old->verify_ok('verify is clean', min => 3);

# Encrypted, but in no table yet.
$old->safe_psql('postgres', 'CREATE DATABASE other');
$old->safe_psql('postgres', 'ALTER TABLE t SET ACCESS METHOD heap; ALTER TABLE x SET ACCESS METHOD heap');
$old->safe_psql('postgres', q{CREATE TABLESPACE enc ENCRYPTION USING 'AES256'});
$old->safe_psql('postgres', 'DROP EXTENSION tde_vault');
$old->stop_clean;
refused_ok('an encrypted tablespace', qr/FATAL:  pg_upgrade cannot be used for a cluster with encrypted tables\n.*DETAIL:  It has a tablespace/, '--link');

$old->start;
$old->safe_psql('postgres', 'DROP TABLESPACE enc');
$old->sql_is($rows, $expected, 'decrypted: the same rows');

# Nothing is encrypted any more.
$old->stop_clean;
make_new($module);
my ($done, $said) = upgrade('--link');
ok($done, 'a cluster without encrypted tables is upgraded') or diag($said);
$new->start;
$new->sql_is($rows, $expected, 'with every row');
$new->safe_psql('postgres', 'CREATE EXTENSION tde_vault');
$new->create_master_key('postgres', 'fresh_key');
$new->safe_psql('postgres', 'ALTER TABLE t SET ACCESS METHOD tde_heap');
$new->sql_is("$rows; SELECT tde_vault.is_encrypted('t')", "$expected\nt", 'and can be encrypted there');
$new->verify_ok('verify is clean there');

# What pg_upgrade does in the new cluster, should it get so far.
$new->stop_clean;
my $statements = <<'SQL';
SELECT binary_upgrade_set_next_pg_type_oid(50001), binary_upgrade_set_next_array_pg_type_oid(50002), binary_upgrade_set_next_heap_pg_class_oid(50003), binary_upgrade_set_next_heap_relfilenode(50003)
CREATE TABLE made_for_another (id int) USING tde_heap
SQL
$said = '';
{
	local %ENV = $new->_get_env();
	IPC::Run::run([ 'postgres', '--single', '-b', '-D', $new->data_dir, 'postgres' ], '<', \$statements, '>', \$said, '2>&1');
}
like($said, qr/ERROR:  pg_upgrade cannot be used for a cluster with encrypted tables\n.*nobody could read it/, 'no encrypted file is made for one of the old cluster');
done_testing();
