# What must not work: loading late, running without the library, key files
# that others can read.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $node = TdeVault->create('main');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE sealed (id int PRIMARY KEY, v text) USING tde_heap;
INSERT INTO sealed SELECT g, 'row ' || g FROM generate_series(1, 1000) g;
CREATE EXTENSION amcheck;
SQL
my $marker = TdeVault::marker('not without the library');
$node->safe_psql('postgres', "UPDATE sealed SET v = '$marker' WHERE id = 500");

# --- without the library ---------------------------------------------------

$node->stop_clean;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
if ($node->start(fail_ok => 1))
{
	my $sealed = qr/shared_preload_libraries/;
	foreach my $sql (
		'SELECT count(*) FROM sealed',
		'SELECT v FROM sealed WHERE id = 500',
		'COPY sealed TO STDOUT',
		'TABLE sealed LIMIT 1',
		"INSERT INTO sealed VALUES (5000, 'x')",
		'UPDATE sealed SET id = id',
		'DELETE FROM sealed',
		'TRUNCATE sealed',
		'VACUUM sealed',
		'VACUUM FULL sealed',
		'ANALYZE sealed',
		'CREATE INDEX ON sealed (v)',
		'REINDEX TABLE sealed',
		'ALTER TABLE sealed SET ACCESS METHOD heap',
		'ALTER TABLE sealed ALTER id TYPE bigint',
		'CREATE TABLE late (id int) USING tde_heap',
		"CALL tde_vault.create_master_key('late')")
	{
		$node->sql_fails($sql, '55000|0A000|TV...', $sealed, "not loaded: refused: $sql");
	}
	# the planner's statistics are sealed as well, so no query can be planned
	$node->sql_fails("SELECT tde_vault.is_encrypted('sealed')", '55000|0A000|TV...|XX001',
		qr/shared_preload_libraries|invalid page/, 'not loaded: no function answers');
	$node->sql_fails("LOAD 'tde_vault'", '55000|0A000|TV...', qr/shared_preload_libraries/, 'LOAD is refused');
	$node->sql_is("SET session_preload_libraries = ''; SELECT 1", '1', 'the server itself works');

	# By way of the catalogs: still nothing but ciphertext.  (They are changed
	# with the library, because without it the planner finds no statistics.)
	$node->stop;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'tde_vault'");
	$node->start;
	$node->safe_psql('postgres', q{UPDATE pg_class SET relam = (SELECT oid FROM pg_am WHERE amname = 'heap') WHERE relname = 'sealed'});
	$node->stop;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$node->start;
	my ($rc, $out, $err) = $node->psql('postgres', 'COPY sealed TO STDOUT', on_error_stop => 0);
	unlike($out, qr/row \d|$marker/, 'not loaded, access method forged: no row');
	like($err, qr/invalid page/, 'but an error');
	$node->stop;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'tde_vault'");
	$node->start;
	$node->safe_psql('postgres', q{UPDATE pg_class SET relam = (SELECT oid FROM pg_am WHERE amname = 'tde_heap') WHERE relname = 'sealed'});
	$node->stop;
}
else
{
	fail('the server without the library should start: its plain tables are the owner\'s');
}
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'tde_vault'");
$node->start;
$node->sql_is("SELECT count(*), count(*) FILTER (WHERE v = '$marker') FROM sealed", '1000|1', 'loaded again: every row is there');
$node->verify_ok('loaded again: verify is clean', min => 2);

# session_preload_libraries and LOAD are too late, and say so.
$node->safe_psql('postgres', "LOAD 'tde_vault'");
pass('LOAD of the library that is loaded already is harmless');

# --- key files ---------------------------------------------------------------

my $dir = $node->basedir . '/keys';
mkdir $dir or die;
my $hex = '00112233445566778899aabbccddeeff' x 2;
my $n   = 0;

sub key_file
{
	my ($content, $mode) = @_;
	my $path = "$dir/key" . ++$n;
	$node->write_file($path, $content);
	chmod $mode, $path;
	return $path;
}

# A database, a provider: does a table work under it, also after a restart?
sub provider_works
{
	my ($name, $uri) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $db = 'db' . ++$n;
	$node->create_database($db, key_id => "key_$db", provider => $uri);
	$node->safe_psql($db, 'CREATE TABLE t USING tde_heap AS SELECT g AS id FROM generate_series(1, 300) g');
	$node->restart;
	$node->sql_is("SELECT tde_vault.is_encrypted('t'), count(*) FROM t", 't|300', "$name: a table works, also after a restart", db => $db);
	return $db;
}

$node->create_database('refused', key_id => '');

sub provider_fails
{
	my ($name, $uri, $state, $message) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->sql_fails("CALL tde_vault.create_master_key('k', '$uri')", $state, $message, $name, db => 'refused');
	return;
}

my $file = key_file($hex, 0600);
my $file_db = provider_works('file: 64 hexadecimal digits', "file:$file");
provider_works('file: with a newline', 'file:' . key_file("$hex\n", 0400));
provider_works('file: 32 bytes', 'file:' . key_file(pack('H*', $hex), 0600));
provider_works('passphrase:', 'passphrase:' . key_file("correct horse battery staple\n", 0600));

provider_fails(sprintf('file: mode %04o', $_), 'file:' . key_file($hex, $_), 'TV002', qr/key file ".*" has insecure permissions/)
  foreach 0644, 0640, 0604, 0660, 0666;
provider_fails('passphrase: mode 0644', 'passphrase:' . key_file('correct horse battery staple', 0644), 'TV002', qr/has insecure permissions/);
my $closed = key_file($hex, 0000);
provider_fails('file: not readable', "file:$closed", 'TV002|58030|42501', qr/failed to read key file "\Q$closed\E": Permission denied/);
provider_fails('file: not there', "file:$dir/none", '58030|58P01|TV...', qr/failed to read key file "\Q$dir\E\/none": No such file/);
provider_fails('file: a directory', "file:$dir", 'TV...|58030|22023', qr/\Q$dir\E/);
provider_fails('file: a short key', 'file:' . key_file(substr($hex, 0, 60), 0600), 'TV004|22023', qr/hex key must be 64 characters \(32 bytes\), got 60/);
provider_fails('file: a long key', 'file:' . key_file($hex . '00', 0600), 'TV004|22023', qr/hex key must be 64 characters \(32 bytes\), got 66/);
provider_fails('file: not hexadecimal', 'file:' . key_file('x' x 64, 0600), 'TV004|22023', qr/hex/);
provider_fails('file: empty', 'file:' . key_file('', 0600), 'TV004|22023', qr/got 0|empty/);
provider_fails('file: relative path', 'file:key', '22023', qr/absolute/);
provider_fails('passphrase: too short', 'passphrase:' . key_file('abc', 0600), 'TV...|22023', qr/passphrase/);
provider_fails('env: not set', 'env:TDE_VAULT_TEST_NONE', 'TV003|TV001|22023', qr/environment variable "TDE_VAULT_TEST_NONE" not found/);
provider_fails('unknown scheme', 'vaultish:x', '22023', qr/scheme/);
provider_fails('pkcs11: without a module', 'pkcs11:token=tdevault', '22023', qr/module-path/);
provider_fails('pkcs11: no such token', 'pkcs11:token=nobody?module-path=' . $node->{tv_module} . '&pin-source=file:' . $node->{tv_pin_file}, 'TV001', qr/nobody/);
$node->sql_is('SELECT count(*) FROM tde_vault.keys k JOIN pg_database d ON d.oid = k.database WHERE d.datname = current_database()', '0', 'no refused provider left a key behind', db => 'refused');
$node->sql_fails('CREATE TABLE t (id int) USING tde_heap; INSERT INTO t VALUES (1)', 'TV...|55000', qr/master key/, 'and no table can be made', db => 'refused');

# A key file that is opened up, changed or lost after the fact.
chmod 0644, $file;
$node->restart;
$node->sql_fails('SELECT count(*) FROM t', 'TV002', qr/has insecure permissions/, 'file: opened up later: refused', db => $file_db);
chmod 0600, $file;
$node->sql_is('SELECT count(*) FROM t', '300', 'file: closed again: works', db => $file_db);
$node->write_file($file, scalar reverse $hex);
$node->restart;
$node->sql_fails('SELECT count(*) FROM t', 'TV004', qr/key_$file_db/, 'file: another key: refused', db => $file_db);
unlink $file or die;
$node->restart;
$node->sql_fails('SELECT count(*) FROM t', '58030|58P01|TV...', qr/failed to read key file/, 'file: lost: refused', db => $file_db);
$node->write_file($file, $hex);
chmod 0600, $file;
$node->sql_is('SELECT count(*) FROM t', '300', 'file: brought back: works', db => $file_db);

# The environment is the postmaster's.
$node->stop;
{
	local $ENV{TDE_VAULT_TEST_KEY}   = $hex;
	local $ENV{TDE_VAULT_TEST_SHORT} = 'abcd';
	$node->start;
	provider_fails('env: a short key', 'env:TDE_VAULT_TEST_SHORT', 'TV004|22023', qr/hex key must be 64 characters \(32 bytes\), got 4/);
	provider_works('env:', 'env:TDE_VAULT_TEST_KEY');
	$node->stop;
}

# Key material and PINs are in no log.
my $log = slurp_file($node->logfile);
unlike($log, qr/$hex/, 'no key in the server log');
unlike($log, qr/@{[TdeVault::PIN]}/, 'no PIN in the server log');

done_testing();
