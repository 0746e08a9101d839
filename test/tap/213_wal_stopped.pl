# A session is stopped when it has sealed a record, and has not inserted it, while
# others write gigabytes of WAL.  The record's nonce is of where WAL was then: it
# must be found when the record is read, by recovery after a crash and by a
# standby.  Distances: more than what the bits in a record tell apart (4 MB), more
# than the reader's first attempts (32 MB), and more than 4 GB, over the position
# at which counters of nonces outgrow 40 bits (64 TB).

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use WalStop;
use PostgreSQL::Test::Utils;
use Test::More;

# No checkpoint but ours: a record would be assembled, and sealed, again.
my $archive = PostgreSQL::Test::Utils::tempdir();
my $node = TdeVault->create('main', streaming => 1, start => 0, initdb => [ '--wal-segsize=64' ], conf => <<"CONF");
checkpoint_timeout = 1h
max_wal_size = 100GB
wal_buffers = 32MB
wal_init_zero = off
wal_recycle = off
archive_mode = on
archive_command = 'ln %p $archive/%f'
default_table_access_method = tde_heap
CONF
command_ok([ 'pg_resetwal', '-l', '0000000100003FFF0000003F', $node->data_dir ], 'WAL begins 64 MB before 64 TB');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tde_vault; CREATE EXTENSION pg_walinspect');
$node->create_master_key('postgres', 'test_key');
my $stop = WalStop->new($node);

# A table for each, with a page that has its image in WAL already.
my @tables = map { s/\W/_/gr } TdeVault::ALL_CIPHERS;
foreach my $name ('four_mb', 'near', 'indexed', TdeVault::ALL_CIPHERS)
{
	(my $table = $name) =~ s/\W/_/g;
	my $cipher = $name =~ /\d/ ? $name : 'aes-256-gcm';
	$node->safe_psql('postgres', "SET tde_vault.cipher = '$cipher'; CREATE TABLE $table (id int, v text)");
}
my $backup_tables = join '', map { "INSERT INTO $_ VALUES (0, 'before');" } 'four_mb', 'near', 'indexed', @tables;
$node->safe_psql('postgres', $backup_tables);
$node->backup('b');
my $standby = TdeVault->create_from_backup('standby', $node, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', "archive_mode = off\nrestore_command = 'ln $archive/%f %p'");
$node->safe_psql('postgres', "UPDATE $_ SET v = 'image'") foreach 'four_mb', 'near', 'indexed', @tables;

sub position
{
	my ($high, $low) = map { hex } split m{/}, $node->lsn('insert');
	return ($high << 32) + $low;
}
sub write_mb { $node->safe_psql('postgres', "SELECT pg_logical_emit_message(false, 'test', repeat('x', $_[0] << 20))") }

my (%session, %from);
foreach my $table ('four_mb', 'near', @tables)
{
	$session{$table} = $stop->session;
	$stop->arm($session{$table}, WalStop::SEALED, WalStop::ANY);
	$stop->stop_in($session{$table}, "INSERT INTO $table VALUES (1, 'late')");
	$from{$table} = position();
}
# This one has no page locked, and no checkpoint waits for it.
$session{indexed} = $stop->session;
$stop->arm($session{indexed}, WalStop::SEALED, WalStop::FPI);
$stop->stop_in($session{indexed}, 'CREATE INDEX i ON indexed (id)');
$from{indexed} = position();

# The session inserts its record; how far that is, and whether it is the record
# that was sealed then (another would have an image).
my $images = 0;
sub release
{
	my ($table, $least, $name) = @_;
	my $lsn = $node->lsn('insert');
	cmp_ok(position() - $from{$table}, '>', $least, "$table: $name");
	$stop->release($session{$table});
	$stop->end($session{$table});
	my ($kind, $images) = split /\|/, $node->safe_psql('postgres', <<"SQL");
SELECT description, fpi_length FROM pg_get_wal_records_info('$lsn', pg_current_wal_flush_lsn()) WHERE resource_manager = 'tde_vault_sealed' ORDER BY start_lsn LIMIT 1
SQL
	like($kind, $table eq 'indexed' ? qr{XLOG/FPI:} : qr{Heap/INSERT:}, "$table: the record can be read");
	is($images, 0, "$table: it is the one that was sealed before") unless $table eq 'indexed';
	return;
}
write_mb(5);
release('four_mb', 4 << 20, 'farther than a record says');
write_mb(40);
release('near', 40 << 20, 'farther than the first attempts');
$node->safe_psql('postgres', q{DO $$ BEGIN FOR i IN 1 .. 68 LOOP PERFORM pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal(); END LOOP; END $$});
release($_, 4 << 30, 'more than 4 GB') foreach @tables;
my $old = $node->safe_psql('postgres', 'SELECT min(name) FROM pg_ls_waldir()');
$node->safe_psql('postgres', 'CHECKPOINT');
ok(!-e $node->data_dir . "/pg_wal/$old", 'the log from there is gone');
release('indexed', 4 << 30, 'more than 4 GB, and a checkpoint');
cmp_ok(position(), '>', 64 << 40, 'all of that passed 64 TB');

sub all_there
{
	my ($server, $what) = @_;
	$server->sql_is("SELECT count(*), min(v), max(v) FROM $_", '2|image|late', "$what: $_") foreach 'four_mb', 'near', @tables;
	$server->sql_is('SET enable_seqscan = off; SELECT v FROM indexed WHERE id = 0', 'image', "$what: index");
	$server->verify_ok("$what: verify is clean", min => 7);
	return;
}
$node->crash;
all_there($node, 'after a crash');
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$node->safe_psql('postgres', 'CHECKPOINT');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
all_there($standby, 'on a standby');
done_testing();
