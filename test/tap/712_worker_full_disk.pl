# A disk that is full while a table is encrypted, rotated or decrypted in place:
# an error that says so, no row lost, and the work goes on when there is room.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use TdeWorker;
use PostgreSQL::Test::Utils;
use Test::More;

my $small = TdeVault::small_file_system();
my $rows = q{SELECT count(*), md5(string_agg(t::text, ',' ORDER BY id)) FROM t};
my $state = q{SELECT state FROM tde_vault.encryption_progress ORDER BY started DESC NULLS FIRST LIMIT 1};
my $make = <<'SQL';
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT g, repeat(md5(g::text), 6) FROM generate_series(1, 60000) g;
VACUUM t;
CHECKPOINT;
SQL

# --- no room for data ------------------------------------------------------------

my $node = TdeVault->create('full', data_dir => "$small/pgdata",
	initdb => [ '--wal-segsize=1', '-X', PostgreSQL::Test::Utils::tempdir() . '/wal' ],
	conf   => "shared_buffers = 2MB\nwork_mem = 100MB\nmax_wal_size = 1GB\nautovacuum = off\ntde_vault.worker_cost_delay = 0\ntde_vault.cipher = 'aes-256-xts'\n");
$node->safe_psql('postgres', $make);
my $sum = $node->safe_psql('postgres', $rows);

sub fails_when_full
{
	my ($statement, $encrypted) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	TdeVault::leave_free($small, 0);
	my ($sqlstate, $err) = $node->sql_error("ALTER TABLE t $statement");
	is($sqlstate, '53100', "$statement: the disk is full") or diag($err);
	like($err, qr/No space left on device/, "$statement: and the error says so");
	$node->sql_is($rows, $sum, "$statement: the rows are there");
	$node->sql_is(q{SELECT tde_vault.is_encrypted('t')}, $encrypted, "$statement: and as encrypted as before");
	TdeVault::make_room($small);
	$node->poll_query_until('postgres', SETTLED) or die 'not settled';
	$node->sql_is($rows, $sum, "$statement: also when what was begun was taken back");
	return;
}

sub works
{
	my ($statement, $encrypted) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql('postgres', "ALTER TABLE t $statement");
	ok($node->poll_query_until('postgres', SETTLED), "$statement: done when there is room");
	$node->sql_is($rows, $sum, "$statement: the same rows");
	$node->sql_is(q{SELECT tde_vault.is_encrypted('t')}, $encrypted, "$statement: it is what was asked for");
	$node->verify_ok("$statement: verify is clean") if $encrypted eq 't';
	return;
}

fails_when_full(q{ENABLE ENCRYPTION USING 'AES-256-GCM'}, 'f');
works('ENABLE ENCRYPTION', 't');
fails_when_full(q{ENABLE ENCRYPTION USING 'AES-256-GCM'}, 't');
works(q{ENABLE ENCRYPTION USING 'AES-256-GCM'}, 't');

# What is under way needs no room of its own, but for records of the keyring.
$node->safe_psql('postgres', 'ALTER SYSTEM SET tde_vault.max_workers = 0');
$node->reload;
$node->safe_psql('postgres', 'ALTER TABLE t ROTATE ENCRYPTION KEY');
TdeVault::leave_free($small, 0);
my $id = $node->safe_psql('postgres', q{SELECT id FROM tde_vault.encryption_progress WHERE state <> 'done'});
my ($sqlstate, $err) = ('', '');
for (my $try = 0; $try < 100 && $sqlstate eq ''; $try++)
{
	($sqlstate, $err) = $node->sql_error($try % 2 ? "CALL tde_vault.resume($id)" : "CALL tde_vault.pause($id)");
}
like($err, qr/No space left on device/, 'a keyring without room says so');
$node->append_conf('postgresql.conf', 'tde_vault.max_workers = 2');
$node->safe_psql('postgres', 'SELECT 1');
$node->sql_is($rows, $sum, 'the half rotated table is read');
TdeVault::make_room($small);
$node->safe_psql('postgres', 'ALTER SYSTEM RESET tde_vault.max_workers');
$node->reload;
$node->safe_psql('postgres', "CALL tde_vault.resume($id)");
ok($node->poll_query_until('postgres', SETTLED), 'rotation is done when there is room');
$node->sql_is($rows, $sum, 'rotation: the same rows');
$node->verify_ok('rotation: verify is clean');
fails_or_works('DISABLE ENCRYPTION');
$node->stop;

# In the catalogs there may be room or not; either way the table is read.
sub fails_or_works
{
	my ($statement) = @_;
	TdeVault::leave_free($small, 0);
	$node->sql_error("ALTER TABLE t $statement");
	$node->sql_is($rows, $sum, "$statement on a full disk: the rows are there");
	TdeVault::make_room($small);
	ok($node->poll_query_until('postgres', SETTLED), "$statement: settled when there is room");
	$node->sql_is($rows, $sum, "$statement: the same rows");
	return;
}

# --- no room for WAL --------------------------------------------------------------

$node = TdeVault->create('full_wal', initdb => [ '--wal-segsize=1', '-X', "$small/wal" ],
	conf => "work_mem = 100MB\nmax_wal_size = 60MB\nmin_wal_size = 2MB\nautovacuum = off\ntde_vault.worker_cost_delay = 20\ntde_vault.worker_cost_limit = 100\n");
$node->safe_psql('postgres', $make);
$sum = $node->safe_psql('postgres', $rows);
foreach my $statement ('ENABLE ENCRYPTION', 'ROTATE ENCRYPTION KEY', 'DISABLE ENCRYPTION')
{
	my $from = -s $node->logfile;
	$node->safe_psql('postgres', 'CHECKPOINT');
	TdeVault::leave_free($small, 1_000_000);
	$node->safe_psql('postgres', "ALTER TABLE t $statement");
	# what there is in recycled files is used up soon
	my $sqlstate = '';
	for (my $try = 0; $try < 200 && $sqlstate eq ''; $try++)
	{
		($sqlstate) = $node->sql_error(q{SELECT count(pg_logical_emit_message(false, 'fill', repeat('x', 500000)))});
	}
	isnt($sqlstate, '', "$statement: the disk of the log is full");
	ok($node->wait_for_log(qr/PANIC:  could not write to file "pg_wal/, $from), "$statement: which is a PANIC of the server");
	$node->wait_for_processes_gone;
	TdeVault::make_room($small);
	$node->_update_pid(0);
	$node->start;
	$node->sql_is($rows, $sum, "$statement: after recovery the rows are there");
	ok($node->poll_query_until('postgres', SETTLED), "$statement: it is done when there is room");
	$node->sql_is($rows, $sum, "$statement: the same rows");
	$node->verify_ok("$statement: verify is clean") unless $statement =~ /DISABLE/;
}
$node->stop;
done_testing();
