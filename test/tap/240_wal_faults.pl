# What can be wrong with sealed WAL: a record was damaged or changed, a key
# provider is away, the keyring is too old, the module is not loaded.  Each has
# its own clear error, stops recovery before anything is lost, and recovery
# succeeds once the cause is gone.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use WalRecord;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main', streaming => 1, conf => "restart_after_crash = off\nwal_keep_size = 512MB\n");
$node->safe_psql('postgres', 'CREATE TABLE t (id int, v text) USING tde_heap; CREATE TABLE plain (id int) USING heap; CREATE EXTENSION pg_walinspect');

# Rows, checkpointed, and then one more record; returns segment path and
# offset, length and LSN of a sealed record that lies within one WAL page.
my $next = 0;
sub make_record
{
	$node->safe_psql('postgres', "INSERT INTO t SELECT g, 'checkpointed' FROM generate_series(1, 10) g; CHECKPOINT");
	while (1)
	{
		$next++;
		my $from = $node->lsn('insert');
		$node->safe_psql('postgres', "INSERT INTO t VALUES ($next, 'in WAL only')");
		my ($lsn, $length) = split /\|/, $node->safe_psql('postgres',
			"SELECT start_lsn, record_length FROM pg_get_wal_records_info_till_end_of_wal('$from') WHERE description LIKE 'Heap/INSERT:%' AND record_length < 300 ORDER BY start_lsn DESC LIMIT 1");
		next unless defined $length;
		my ($high, $low) = map { hex } split m{/}, $lsn;
		next if $low % 8192 + $length > 8192 || $low % 8192 < 40;
		my $file = $node->safe_psql('postgres', "SELECT pg_walfile_name('$lsn')");
		return ($node->data_dir . "/pg_wal/$file", $low % (16 * 1024 * 1024), $length, $lsn);
	}
}

sub count_rows { return $node->safe_psql('postgres', 'SELECT count(*) FROM t'); }

# --- a changed record ------------------------------------------------------

my $relfile = $node->safe_psql('postgres', q{SELECT pg_relation_filenode('t')});
foreach my $case (
	[ 'payload', sub { $_[0] - 30 }, 1, 'damaged: authentication tag verification failed' ],
	[ 'tag', sub { $_[0] - 10 }, 1, 'damaged: authentication tag verification failed' ],
	[ 'nonce', sub { $_[0] - 1 }, 1, 'damaged: authentication tag verification failed' ],
	[ 'nonce in the header', sub { 18 }, 1, 'damaged: authentication tag verification failed' ],
	[ 'resource manager', sub { 19 }, 0x10, 'damaged: authentication tag verification failed' ],
	[ 'key version', sub { 19 }, 2, '' ],
	[ 'transaction id', sub { 4 }, 1, 'damaged: authentication tag verification failed' ],
	[ 'block number', sub { 24 + 4 + 12 }, 1, 'damaged: authentication tag verification failed' ])
{
	my ($name, $at, $bits, $message) = @$case;
	my ($path, $offset, $length, $lsn) = make_record();
	my $rows = count_rows();
	$node->kill_postmaster;
	my $copy = $node->read_bytes($path, $offset, $length);
	WalRecord::change($node, $path, $offset, $length, $at->($length), $bits);
	my $log = $node->start_expecting_failure;
	ok(defined $log, "$name changed: the server does not start");
	if ($message eq '')
	{
		like($log // '', qr/FATAL:  keyring does not hold the key of file "base\/\d+\/$relfile"\n.*DETAIL:  The WAL record at \Q$lsn\E/, "$name changed: the error names relation and record");
	}
	else
	{
		like($log // '', qr/FATAL:  encrypted WAL record at \Q$lsn\E is (?:$message)/, "$name changed: the error names the record");
		like($log // '', qr/DETAIL:  The record says that it is about block \d+ of fork 0 of file \d+\/\d+\/$relfile/, "$name changed: and the relation")
		  unless $name eq 'block number';
	}
	$node->write_bytes($path, $offset, $copy);
	$node->start;
	is(count_rows(), $rows, "$name repaired: nothing is lost");
}

# --- the key provider is away ----------------------------------------------

my (undef, undef, undef, $lsn) = make_record();
my $rows = count_rows();
$node->kill_postmaster;
$node->hide_token;
my $log = $node->start_expecting_failure;
like($log, qr/FATAL:  .*(?:token|provider)/, 'provider away: a clear error');
like($log, qr/needed for the WAL record at|HINT/, 'provider away: with more to say');
unlike($log, qr/PANIC|segmentation/i, 'provider away: no crash');
$log = $node->start_expecting_failure;
ok(defined $log, 'provider away: again');
$node->restore_token;
$node->start;
is(count_rows(), $rows, 'provider back: nothing is lost');
$node->verify_ok('verify is clean');

# --- the keyring is older than the data ------------------------------------

my $old = PostgreSQL::Test::Utils::slurp_file($node->keyring_path);
$node->safe_psql('postgres', q{CREATE TABLE later (v text) USING tde_heap; INSERT INTO later VALUES ('x'); CHECKPOINT; INSERT INTO later VALUES ('y')});
$node->kill_postmaster;
my $new = PostgreSQL::Test::Utils::slurp_file($node->keyring_path);
$node->write_file($node->keyring_path, $old);
$log = $node->start_expecting_failure;
like($log // '', qr/FATAL:  keyring does not hold the key of file|FATAL:  .*keyring/, 'old keyring: recovery ends with the reason');
$node->write_file($node->keyring_path, $new);
$node->start;
$node->sql_is('SELECT count(*) FROM later', '2', 'right keyring: nothing is lost');

# A keyring that lacks only what WAL will bring is no problem.
$node->safe_psql('postgres', 'CHECKPOINT');
$old = PostgreSQL::Test::Utils::slurp_file($node->keyring_path);
$node->safe_psql('postgres', q{CREATE TABLE latest (id serial, v text) USING tde_heap; INSERT INTO latest (v) SELECT 'x' || g FROM generate_series(1, 1000) g; CREATE INDEX ON latest (v); DROP TABLE later});
$node->kill_postmaster;
$node->write_file($node->keyring_path, $old);
$node->start;
$node->sql_is('SELECT count(*), max(id) FROM latest', '1000|1000', 'WAL brings back what the keyring lost');
$node->verify_ok('verify is clean after that');

# --- the module is not loaded ----------------------------------------------

make_record();
$rows = count_rows();
$node->kill_postmaster;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$log = $node->start_expecting_failure;
like($log // '', qr/resource manager with ID 21[67] not registered/, 'without the module: recovery refuses');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'tde_vault'");
$node->start;
is(count_rows(), $rows, 'with it: nothing is lost');
$node->verify_ok('verify is clean at the end');

# --- keystream: two images of a WAL page share none ------------------------

# The same row again and again: the bytes of no two records are alike.
my $from = $node->lsn('insert');
$node->safe_psql('postgres', "INSERT INTO t VALUES (7, 'the same text every time')") foreach 1 .. 40;
my $file = $node->safe_psql('postgres', "SELECT pg_walfile_name('$from')");
my $wal = $node->read_bytes($node->data_dir . "/pg_wal/$file", 0, 16 * 1024 * 1024);
my %seen;
my $repeated = 0;
foreach my $row (split /\n/, $node->safe_psql('postgres',
	"SELECT start_lsn, record_length, fpi_length FROM pg_get_wal_records_info_till_end_of_wal('$from') WHERE description LIKE 'Heap/INSERT:%'"))
{
	my ($start, $length, $fpi) = split /\|/, $row;
	my $offset = hex((split m{/}, $start)[1]) % (16 * 1024 * 1024);
	next if $fpi > 0 || $offset % 8192 + $length > 8192;
	my $payload = substr($wal, $offset + 24 + 20 + 2, $length - 24 - 20 - 2 - 17);
	$repeated++ if grep { $seen{$_}++ } $payload =~ /(.{8})/gs;
}
cmp_ok(scalar(keys %seen), '>', 100, 'ciphertext was compared');
is($repeated, 0, 'no eight bytes of ciphertext come twice');

done_testing();
