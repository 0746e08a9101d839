# What is in the keyring's records of WAL is described; a changed record is
# found by whoever reads it: decoding, description, a standby, which goes on
# with the right segment; a standby is backed up while keys come and go, and is
# not promoted before it could replay all that it has.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use File::Copy ();
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main', streaming => 1, conf => <<'CONF');
wal_level = logical
wal_keep_size = 512MB
full_page_writes = off
allow_in_place_tablespaces = on
tde_vault.worker_cost_delay = 0
CONF
$node->sql_is('SHOW full_page_writes', 'on', 'full-page images cannot be switched off');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_walinspect');
$node->backup($_) foreach 'one', 'two';
my $standby = TdeVault->create_from_backup('standby', $node, 'one', has_streaming => 1);
$standby->start;

# --- descriptions ------------------------------------------------------------------

my $from = $node->lsn('insert');
my $done = q{SELECT coalesce(bool_and(state = 'done'), true) FROM tde_vault.encryption_progress};
$node->restart;
foreach my $sql (q{CREATE TABLESPACE enc LOCATION '' ENCRYPTION USING 'AES256'}, 'CREATE TABLE t (id int, v text) USING tde_heap', q{INSERT INTO t VALUES (1, 'x')},
	'CALL tde_vault.rotate_master_key()', 'ALTER TABLE t ROTATE ENCRYPTION KEY', 'CREATE TABLE p (id int) USING heap; INSERT INTO p VALUES (1)', 'ALTER TABLE p ENABLE ENCRYPTION', 'ALTER TABLE p DISABLE ENCRYPTION', 'CREATE TABLE gone (id int) USING tde_heap', 'DROP TABLE gone', 'CHECKPOINT')
{
	$node->safe_psql('postgres', $sql);
	$node->poll_query_until('postgres', $done) or die "$sql was not done";
}
my $kinds = "SELECT string_agg(DISTINCT record_type, ' ' ORDER BY record_type), count(*) FILTER (WHERE description ~ 'damaged' OR description = '') FROM pg_get_wal_records_info_till_end_of_wal('$from') WHERE resource_manager = 'tde_vault'";
my ($there, $undescribed) = split /\|/, $node->safe_psql('postgres', $kinds);
my %there = map { $_ => 1 } split / /, $there;
is(join(' ', grep { !$there{$_} } qw(FILE FILE_DROPPED FILE_RELEASED MASTER_KEY MASTER_KEY_RETIRED NONCE_PREFIX SCOPE TABLE_KEY TABLE_KEY_FLOOR TABLE_KEY_WORK)), '', 'records of the keyring are identified');
is($undescribed . join(' ', grep { /UNKNOWN/ } keys %there), '0', 'and described');

# --- a changed record ----------------------------------------------------------------

my @crc_table = map { my $c = $_; $c = $c & 1 ? 0x82F63B78 ^ ($c >> 1) : $c >> 1 foreach 1 .. 8; $c } 0 .. 255;
sub crc32c
{
	my $crc = 0xFFFFFFFF;
	$crc = $crc_table[ ($crc ^ $_) & 0xff ] ^ ($crc >> 8) foreach unpack 'C*', $_[0];
	return $crc ^ 0xFFFFFFFF;
}

$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$standby->stop('fast');
$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('slot', 'test_decoding')});
my ($lsn, $length, $offset);
do
{
	my $before = $node->lsn('insert');
	$node->safe_psql('postgres', q{INSERT INTO t VALUES (2, 'to be changed')});
	($lsn, $length) = split /\|/, $node->safe_psql('postgres', "SELECT start_lsn, record_length FROM pg_get_wal_records_info_till_end_of_wal('$before') WHERE description LIKE 'Heap/INSERT:%' AND record_length < 300 LIMIT 1");
	$offset = defined $length ? hex((split m{/}, $lsn)[1]) % (16 * 1024 * 1024) : 0;
} until (defined $length && $offset % 8192 > 40 && $offset % 8192 + $length <= 8192);
$node->safe_psql('postgres', q{INSERT INTO t VALUES (3, 'after it')});
my $segment = $node->safe_psql('postgres', "SELECT pg_walfile_name('$lsn')");
my $path = $node->data_dir . "/pg_wal/$segment";
my $filenode = $node->safe_psql('postgres', q{SELECT pg_relation_filenode('t')});
my $good = $node->read_bytes($path, $offset, $length);
my $bad = $good;
substr($bad, $length - 35, 1) = chr(ord(substr($bad, $length - 35, 1)) ^ 1);
substr($bad, 20, 4) = pack 'V', crc32c(substr($bad, 24) . substr($bad, 0, 20));
$node->write_bytes($path, $offset, $bad);

my $changes = q{SELECT count(*) FROM pg_logical_slot_peek_changes('slot', NULL, NULL) WHERE data ~ 'to be changed'};
my $damaged = qr/encrypted WAL record at \Q$lsn\E is damaged: authentication tag verification failed/;
$node->sql_fails($changes, 'XX001', [ $damaged, qr/about block \d+ of fork 0 of file \d+\/\d+\/$filenode/ ], 'decoding: a changed record is an error that names record and relation');
$node->sql_is("SELECT description ~ 'encrypted' FROM pg_get_wal_record_info('$lsn')", 't', 'and is described as what it is');
my $at = $standby->log_size;
$standby->start(fail_ok => 1);
$standby->wait_for_log(qr/FATAL:  $damaged/, $at);
$standby->wait_for_processes_gone;
$standby->{_pid} = undef;
$node->write_bytes($path, $offset, $good);
cmp_ok($node->safe_psql('postgres', $changes), '>', 0, 'with the right segment it is decoded');
File::Copy::copy($path, $standby->data_dir . "/pg_wal/$segment") or die;
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
my $rows = 'SELECT count(*), sum(hashtext(t::text)) FROM t';
$standby->sql_is($rows, $node->safe_psql('postgres', $rows), 'and the standby goes on');

# --- a backup of a standby while keys come and go ---------------------------------------

append_to_file($node->basedir . '/loop.sql', <<'SQL');
CREATE TABLE b:client_id USING tde_heap AS SELECT g, md5(g::text) AS m FROM generate_series(1, 200) g;
CREATE INDEX ON b:client_id (m);
INSERT INTO t SELECT g, 'load' FROM generate_series(1, 10) g;
DROP TABLE b:client_id;
SQL
my ($out, $err) = ('', '');
my $load;
{
	local %ENV = $node->_get_env();
	$load = IPC::Run::start([ 'pgbench', '-n', '-c', '2', '-T', '5', '-f', $node->basedir . '/loop.sql', 'postgres' ], '<', \undef, '>', \$out, '2>', \$err);
}
$standby->backup('of_standby');
$node->command_ok([ 'pg_verifybackup', $standby->backup_dir . '/of_standby' ], 'a standby is backed up under load');
$load->finish;
unlike($err, qr/ERROR/, 'the load ran');
my $restored = TdeVault->create_from_backup('restored', $standby, 'of_standby', has_streaming => 1);
$restored->append_conf('postgresql.conf', "primary_conninfo = '" . $node->connstr . "'\n");
$restored->start;
$node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pg_stat_replication}) or die 'not connected';
my $end = $node->lsn('insert');
$restored->poll_query_until('postgres', "SELECT pg_last_wal_replay_lsn() >= '$end'") or die 'not replayed';
$restored->sql_is($rows, $node->safe_psql('postgres', $rows), 'what is made of it follows the primary');
$node->safe_psql('postgres', 'CHECKPOINT');
$restored->verify_ok('verify is clean on it');
$restored->stop;

# --- no promotion past what cannot be opened ----------------------------------------------

$node->safe_psql('postgres', 'CHECKPOINT');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$standby->safe_psql('postgres', 'CHECKPOINT');
$standby->stop('fast');
$node->safe_psql('postgres', q{CREATE TABLE last USING tde_heap AS SELECT g FROM generate_series(1, 500) g});
$node->hide_token;
$at = $standby->log_size;
$standby->start;
$standby->wait_for_log(qr/Replay goes on by itself/, $at);
command_ok([ 'pg_ctl', 'promote', '-W', '-D', $standby->data_dir ], 'a standby that waits for a key is told to promote itself');
$at = $standby->log_size;
$standby->wait_for_log(qr/Replay goes on by itself/, $at);
$standby->sql_is('SELECT pg_is_in_recovery()', 't', 'it does not, without what it has received');
$node->restore_token;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'promotion';
$standby->sql_is('SELECT count(*) FROM last', '500', 'with the key it does, and has all of it');
$standby->verify_ok('verify is clean on it');
done_testing();
