# Rotation of the master key meets what can go wrong: the provider goes away
# in the middle, the session is cancelled, the server is killed, two rotate at
# a time, a standby is promoted half way, an old keyring is put back.  At every
# moment every table can be read.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

use constant TABLES => 24;

my $seed  = $ENV{TDE_VAULT_TEST_SEED} // time;
my $kills = $ENV{TDE_VAULT_CRASH_ROUNDS} // 12;
srand($seed);
note "TDE_VAULT_TEST_SEED=$seed repeats this run's choices; TDE_VAULT_CRASH_ROUNDS=$kills";

my $primary = TdeVault->create('primary', streaming => 1, conf => "default_table_access_method = tde_heap\n");
my $dir = $primary->basedir;
my $hsm = $primary->provider_uri;
my $made = 0;

sub make_tables
{
	my ($n) = @_;
	$primary->safe_psql('postgres', join('', map { "CREATE TABLE t$_ AS SELECT g, md5(g::text) AS m FROM generate_series(1, 50) g;\n" } $made + 1 .. $made + $n));
	$made += $n;
	return;
}

sub key_file
{
	my ($name) = @_;
	open(my $random, '<:raw', '/dev/urandom') or die;
	read($random, my $key, 32) == 32 or die;
	$primary->write_file("$dir/$name", unpack('H*', $key));
	chmod 0600, "$dir/$name";
	return "file:$dir/$name";
}

# Every table has its rows, and its key is wrapped by a master key that is known.
sub all_readable
{
	my ($name, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $node = $opt{node} // $primary;
	my $from = $opt{from} // 1;
	my $to = $opt{to} // $made;
	my $sum = join(' + ', map { "(SELECT count(DISTINCT m) FROM t$_)" } $from .. $to);
	$node->sql_is("SELECT $sum", 50 * ($to - $from + 1), "$name: every table can be read");
	$node->sql_is(q{SELECT count(*) FROM tde_vault.table_keys() k WHERE k.master_id NOT IN (SELECT m.id FROM tde_vault.master_keys() m)},
		'0', '... and every key is wrapped by a known master key') unless $opt{partly};
	return;
}

# Nothing is left of a rotation: one active key, which wraps all.
sub all_rotated
{
	my ($name, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $node = $opt{node} // $primary;
	$node->sql_is(q{SELECT string_agg(DISTINCT m.state || ' ' || m.key_id, ', ') FROM tde_vault.table_keys() k JOIN tde_vault.master_keys() m ON m.id = k.master_id},
		"active $opt{key}", "$name: the new master key wraps every table key");
	$node->sql_is(q{SELECT count(*) FROM tde_vault.master_keys() WHERE state = 'rotating'}, '0', '... and the old one is retired');
	return;
}

# It goes on by itself.
sub goes_on
{
	my ($name, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $node = $opt{node} // $primary;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM tde_vault.encryption_progress WHERE operation = 'rotate master key'}),
		"$name: it goes on by itself");
	return;
}

make_tables(TABLES);

# --- the provider of the old key goes away in the middle ----------------------

# What is open in the server is wrapped anew without it, then it is missed.
my $first_file = key_file('mek1');
$primary->restart;
all_readable('before', to => TABLES / 2, partly => 1);
$primary->hide_token;
$primary->sql_fails("CALL tde_vault.rotate_master_key('file_key', '$first_file')", 'TV001',
	[ qr/token/, qr/rotation of the master key of database "postgres": \d+ of \d+ table keys are wrapped by "file_key"/ ],
	'old provider away in the middle: the rotation says so, and how far it got');
$primary->sql_is(q{SELECT state, keys > 0 FROM tde_vault.master_keys() ORDER BY created}, "rotating|t\nactive|t", '... and is neither here nor there');
all_readable('old provider away', to => TABLES / 2, partly => 1);
$primary->safe_psql('postgres', 'CREATE TABLE meanwhile AS SELECT 1 AS x');
$primary->sql_is(q{SELECT m.key_id FROM tde_vault.table_keys() k JOIN tde_vault.master_keys() m ON m.id = k.master_id WHERE k."table" = 'meanwhile'::regclass},
	'file_key', '... and new tables use the new key');
$primary->sql_is(q{SELECT database, state, detail FROM tde_vault.encryption_progress WHERE operation = 'rotate master key'},
	'postgres|unfinished|goes on when the server starts, or now: ALTER DATABASE postgres ROTATE MASTER KEY', '... which encryption_progress says, and what to do');
$primary->backup('half');
$primary->restore_token;

# --- a standby that is promoted half way --------------------------------------

my $standby = TdeVault->create_from_backup('standby', $primary, 'half', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
all_readable('standby', node => $standby);
$standby->sql_fails('CALL tde_vault.rotate_master_key()', '25006', [ qr/during recovery/, qr/primary/ ], 'not on a standby');
$standby->promote;
all_readable('promoted half way', node => $standby);
goes_on('promoted half way', node => $standby);
all_rotated('promoted half way', node => $standby, key => 'file_key');
$standby->restart;
all_readable('promoted half way, then restarted', node => $standby);
$standby->verify_ok('promoted half way: verify is clean', min => TABLES);
$standby->stop;

my ($rc, $out, $err) = $primary->psql('postgres', 'ALTER DATABASE ROTATE MASTER KEY');
like($err, qr/NOTICE:.*"file_key" had not ended, and goes on/, 'the same command goes on with it');
all_rotated('resumed', key => 'file_key');
all_readable('resumed');

# --- from a file to the HSM ---------------------------------------------------

$primary->sql_fails('CALL tde_vault.rotate_master_key()', '42710', qr/is the same key as master key "file_key"/, 'a key file cannot follow itself');
system('cp', '-p', "$dir/mek1", "$dir/copy") == 0 or die;
$primary->sql_fails("CALL tde_vault.rotate_master_key('copied', 'file:$dir/copy')", '42710', qr/is the same key as master key "file_key"/, '... nor a copy of it');
$primary->sql_fails("CALL tde_vault.rotate_master_key('test_key', '$hsm')", '42710', qr/"test_key" is, or was, the master key/, 'nor does a retired key come back');
$primary->hide_token;
$primary->sql_fails("CALL tde_vault.rotate_master_key('hsm_key', '$hsm')", 'TV001', qr/token/, 'new provider away: nothing is begun');
$primary->restore_token;
$primary->sql_is(q{SELECT count(*) FROM tde_vault.master_keys() WHERE state <> 'retired'}, '1', '... nor recorded');
$primary->safe_psql('postgres', "CALL tde_vault.rotate_master_key('hsm_key', '$hsm')");
all_rotated('file to HSM', key => 'hsm_key');
unlink("$dir/mek1", "$dir/copy") == 2 or die;
$primary->restart;
all_readable('file to HSM, without the file');

# --- cancelled ------------------------------------------------------------------

make_tables(2 * TABLES);
my ($cancelled, $timeout) = (0, 5);
my $key = 'cancel_key';
while ($cancelled < 40)
{
	local $ENV{PGOPTIONS} = '-c statement_timeout=' . int($timeout);
	my ($state, $said) = $primary->sql_error("CALL tde_vault.rotate_master_key('$key')");
	last if $state eq '' || $state eq '42710';
	is($state, '57014', 'a rotation can be cancelled') or diag($said);
	$cancelled++;
	$timeout *= 1.3;
}
cmp_ok($cancelled, '>', 0, 'it was');
all_rotated('cancelled and resumed', key => $key);
all_readable('cancelled and resumed');

# --- killed ---------------------------------------------------------------------

my $interrupted = 0;
my $begun = Time::HiRes::time();
system('psql', '-X', '-q', '-d', $primary->connstr('postgres'), '-c', 'SET client_min_messages = warning', '-c', "CALL tde_vault.rotate_master_key('timed')") == 0 or die;
my $takes = Time::HiRes::time() - $begun;
foreach my $round (1 .. $kills)
{
	my $said = '';
	my $logged = $primary->log_size;
	my $call = IPC::Run::start([ 'psql', '-X', '-q', '-d', $primary->connstr('postgres'), '-c', "ALTER DATABASE ROTATE MASTER KEY KEY_ID 'kill_$round'" ],
		'<', \undef, '>', \$said, '2>&1');
	Time::HiRes::usleep(int((0.2 + rand(0.9)) * $takes * 1_000_000));
	$primary->kill_server;
	$call->finish;
	$primary->start;
	all_readable("killed, round $round");
	goes_on("killed, round $round");
	$interrupted++ if slurp_file($primary->logfile, $logged) =~ /had not ended, and goes on/;
	$primary->safe_psql('postgres', "DROP TABLE IF EXISTS again; CREATE TABLE again AS SELECT $round AS x");
}
note "$interrupted of $kills found a rotation that had not ended";
$primary->safe_psql('postgres', "CALL tde_vault.rotate_master_key('last')");
all_rotated('killed, then rotated', key => 'last');
$primary->restart;
all_readable('killed, then rotated');
$primary->verify_ok('killed: verify is clean', min => TABLES);

# --- an old keyring is put back ---------------------------------------------------

$primary->stop;
my $old = slurp_file($primary->keyring_path);
$primary->start;
$primary->safe_psql('postgres', "CREATE TABLE newer AS SELECT 7 AS x; CHECKPOINT");
$primary->safe_psql('postgres', "CALL tde_vault.rotate_master_key('after')");
$primary->stop;
my $new = slurp_file($primary->keyring_path);
$primary->write_file($primary->keyring_path, $old);
chmod 0600, $primary->keyring_path;
$primary->start;
all_readable('an old keyring put back');
$primary->sql_fails('SELECT * FROM newer', 'TV005', qr/keyring does not know the file/, '... and a table that it does not know is not read as plaintext');
$primary->stop;
$primary->write_file($primary->keyring_path, $new);
chmod 0600, $primary->keyring_path;
$primary->start;
all_readable('the right one is back');
$primary->sql_is('SELECT x FROM newer', '7', '... and the newer table');
all_rotated('the right one is back', key => 'after');

$primary->stop;
done_testing();
