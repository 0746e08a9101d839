# The HSM goes away, refuses, or holds another key; the keyring is cut,
# changed or from the future: a clear error each time, and nothing is lost
# once the cause is gone.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

# SQLSTATEs of class TV: see base/tv_report.h.
my %state = (unavailable => 'TV001', denied => 'TV002', missing => 'TV003', mismatch => 'TV004');

my $node = TdeVault->create('main', conf => "restart_after_crash = on\n");
my $session;
my $rows = 0;

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE warm (id int PRIMARY KEY, v text) USING tde_heap;
CREATE TABLE cold (id int PRIMARY KEY, v text) USING tde_heap;
CREATE TABLE plain (id int) USING heap;
INSERT INTO warm SELECT g, md5(g::text) FROM generate_series(1, 500) g;
INSERT INTO cold SELECT g, md5(g::text) FROM generate_series(1, 500) g;
INSERT INTO plain VALUES (1);
SQL

sub open_session
{
	$session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('SELECT count(*) FROM warm');
	return;
}

# Restart, so that keys have to be asked for again; warm's key is opened.
sub restart_warm
{
	$session->quit if $session;
	$session = undef;
	$node->restart;
	open_session();
	return;
}

# Everything is there, also after a restart.
sub all_well
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$session->quit if $session;
	$session = undef;
	$node->restart;
	$node->sql_is('SELECT (SELECT count(DISTINCT v) FROM warm WHERE id <= 500), (SELECT count(DISTINCT v) FROM cold), (SELECT count(*) FROM warm)',
		'500|500|' . (500 + $rows), "$name: all rows are there afterwards");
	$node->sql_is('CREATE TABLE probe USING tde_heap AS SELECT 1 AS x; SELECT tde_vault.is_encrypted(\'probe\'), x FROM probe; DROP TABLE probe',
		't|1', "$name: new tables can be made");
	$node->verify_ok("$name: verify is clean", min => 4);
	return;
}

sub insert_row { $rows++; return 'INSERT INTO warm VALUES (' . (1000 + $rows) . ", 'row $rows')"; }

# What works and what does not while the provider does not.
sub provider_fault
{
	my ($name, $state, $message, $break, $mend) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	# While running.
	restart_warm();
	$break->();
	is($session->query_safe('SELECT count(*) FROM warm'), 500 + $rows, "$name: an open table can be read");
	$session->query_safe(insert_row());
	is($session->query_safe('SELECT count(*) FROM warm'), 500 + $rows, '... and written');
	$node->sql_is('SELECT count(*) FROM warm', 500 + $rows, '... also by a new session');
	$node->safe_psql('postgres', insert_row());
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $begun = time;
	$node->sql_fails('SELECT count(*) FROM cold', $state, $message, "$name: a table not opened yet gives a clear error");
	$node->sql_fails('CREATE TABLE fresh USING tde_heap AS SELECT 1 AS x', $state, $message, "$name: so does CREATE TABLE");
	cmp_ok(time - $begun, '<', 60, "$name: and both in bounded time");
	$node->sql_is(q{SELECT to_regclass('fresh'), (SELECT count(*) FROM plain)}, '|1', "$name: nothing is left of it, and plain tables work");
	$mend->();
	$node->sql_is('SELECT count(DISTINCT v) FROM cold', '500', "$name: works again, with no restart");
	$node->sql_is('CREATE TABLE fresh USING tde_heap AS SELECT 1 AS x; SELECT x FROM fresh; DROP TABLE fresh', '1', "$name: CREATE TABLE too");

	# At restart.
	$session->quit;
	$session = undef;
	$node->stop;
	$break->();
	ok($node->start(fail_ok => 1), "$name: the server starts after a clean shutdown");
	$node->sql_fails('SELECT count(*) FROM warm', $state, $message, "$name: encrypted tables give a clear error");
	$node->sql_is('SELECT count(*) FROM plain', '1', "$name: plain tables work");
	$mend->();
	$node->sql_is('SELECT count(*) FROM warm', 500 + $rows, "$name: and encrypted ones, with no restart");
	return;
}

my $gone = qr/token|module|provider|pkcs/i;
provider_fault('token gone', $state{unavailable}, $gone, sub { $node->hide_token }, sub { $node->restore_token });
provider_fault('module gone', $state{unavailable}, $gone, sub { $node->hide_module }, sub { $node->restore_module });
provider_fault('PIN wrong', $state{denied}, qr/PIN/i, sub { $node->write_pin('314159') }, sub { $node->write_pin(TdeVault::PIN) });
provider_fault('PIN file gone', "$state{denied}|58030|58P01|$state{unavailable}", qr/PIN|pin-source/i,
	sub { rename($node->{tv_pin_file}, "$node->{tv_pin_file}.away") or die },
	sub { rename("$node->{tv_pin_file}.away", $node->{tv_pin_file}) or die });
provider_fault('PIN file open to others', $state{denied}, qr/insecure permissions/,
	sub { chmod 0644, $node->{tv_pin_file} }, sub { chmod 0600, $node->{tv_pin_file} });

# The key was replaced: a token of the same name holds another key of that
# name, or none.
my $other = TdeVault->create('other');
my $swap = sub {
	my ($from) = @_;
	return sub {
		$node->hide_token;
		File::Path::remove_tree($node->{tv_token_dir});
		PostgreSQL::Test::RecursiveCopy::copypath($from, $node->{tv_token_dir});
	};
};
provider_fault('key replaced', $state{mismatch}, [ qr/test_key/, qr/replaced|not the key/ ],
	$swap->($other->{tv_token_dir}), sub { $node->restore_token });
$other->stop;
my $empty = TdeVault->create('empty', start => 0);
provider_fault('key missing', $state{missing}, qr/test_key/, $swap->($empty->{tv_token_dir}), sub { $node->restore_token });
all_well('provider faults');

# In the middle: the session has made one table when the HSM goes away.
open_session();
$session->query_safe('BEGIN; CREATE TABLE mid_a USING tde_heap AS SELECT g AS id FROM generate_series(1, 100) g; SAVEPOINT s');
$node->hide_token;
$node->hide_module;
my (undef, $failed) = $session->query('CREATE TABLE mid_b USING tde_heap AS SELECT g AS id FROM generate_series(1, 100) g');
my $message = $session->{stderr};
# A session that is logged in may still be served by its token.
like($message, $failed ? $gone : qr/^$/, 'HSM gone in mid-transaction: CREATE TABLE works or says why not');
$session->{stderr} = '';
$session->query('ROLLBACK TO s') if $failed;
$session->query_safe('INSERT INTO mid_a VALUES (101)');
$session->query_safe('COMMIT');
$node->sql_is('SELECT count(*) FROM mid_a', '101', 'HSM gone in mid-transaction: the first table is committed');
$node->sql_is(q{SELECT to_regclass('mid_b') IS NULL}, $failed ? 't' : 'f', 'HSM gone in mid-transaction: the second as reported');
$node->restore_token;
$node->restore_module;
all_well('HSM gone in mid-transaction');
$node->sql_is('SELECT count(*) FROM mid_a', '101', 'HSM gone in mid-transaction: first table after restart');
$node->safe_psql('postgres', 'DROP TABLE mid_a; DROP TABLE IF EXISTS mid_b');

# A crash, and no HSM when recovery needs keys: refuse, and lose nothing.
open_session();
$session->query_safe('CHECKPOINT');
$session->query_safe(insert_row());
$session->quit;
$session = undef;
$node->hide_token;
$node->stop('immediate');
my $log = $node->start_expecting_failure;
if (defined $log)
{
	like($log, qr/(FATAL|PANIC|ERROR).*(token|provider)/i, 'crash without HSM: recovery stops and says why');
	$node->restore_token;
	$node->start;
}
else
{
	$node->sql_fails('SELECT count(*) FROM warm', $state{unavailable}, $gone, 'crash without HSM: tables give a clear error');
	$node->restore_token;
}
$node->sql_is('SELECT count(*) FROM warm', 500 + $rows, 'crash without HSM: rows are there once it is back');
all_well('crash without HSM');

# --- the keyring file --------------------------------------------------------

# The last record is one that pages depend on, so it is synced, and the header
# says so: a shorter file is damaged, not the trace of a crash.
$node->safe_psql('postgres', 'CREATE TABLE last USING tde_heap AS SELECT g AS id FROM generate_series(1, 100) g');
$node->stop;
my $keyring = $node->keyring_path;
my $good    = slurp_file($keyring);
cmp_ok(length $good, '>', 1000, 'the keyring has records');

sub keyring_fault
{
	my ($name, $message, $bytes) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	if   (defined $bytes) { $node->write_file($keyring, $bytes); }
	else                  { unlink $keyring or die; }
	my $said = $node->start_expecting_failure;
	ok(defined $said && $said =~ /FATAL/ && $said =~ $message, "$name: the server refuses to start and says why")
	  or diag($said // 'it started');
	my $after = -e $keyring ? slurp_file($keyring) : undef;
	ok((defined $after ? $after : '') eq ($bytes // ''), "$name: the file was not touched") if defined $said;
	$node->stop unless defined $said;
	$node->write_file($keyring, $good);
	chmod 0600, $keyring;
	$node->start;
	$node->sql_is('SELECT (SELECT count(*) FROM warm), (SELECT count(*) FROM cold), (SELECT count(*) FROM last)', (500 + $rows) . '|500|100',
		"$name: no row is lost once the file is back");
	$node->stop;
	$good = slurp_file($keyring);
	return;
}

sub flipped { my ($at) = @_; return TdeVault::flip_bit($good, $at, 3); }

keyring_fault('keyring cut in its last record', qr/keyring.*truncated|truncated.*keyring/i, substr($good, 0, length($good) - 5));
keyring_fault('keyring cut in the middle', qr/keyring/i, substr($good, 0, int(length($good) / 2)));
keyring_fault('keyring cut in its header', qr/keyring/i, substr($good, 0, 100));
keyring_fault('keyring empty', qr/keyring/i, '');
keyring_fault('keyring gone', qr/keyring/i, undef);
keyring_fault('keyring magic changed', qr/keyring.*damaged/i, flipped(0));
foreach my $part (1 .. 6)
{
	my $at = 512 + int($part * (length($good) - 513) / 6);
	# (of a record's length: then it seems to end beyond the file)
	keyring_fault("keyring byte $at flipped", qr/keyring.*(damaged|changed|truncated)/i, flipped($at));
}
my $newer = $good;
substr($newer, 8, 4) = pack('V', 99);
keyring_fault('keyring of a newer version', qr/keyring.*version/i, $newer);
keyring_fault('keyring of another cluster', qr/keyring.*(another|cluster|system identifier)/i, slurp_file($other->keyring_path));

# An append that a crash cut off is no damage.
$node->write_file($keyring, $good . substr($good, 512, 37));
$node->start;
all_well('keyring with an unfinished append');
$node->safe_psql('postgres', 'CREATE TABLE later USING tde_heap AS SELECT 7 AS x');
$node->stop('immediate');
$node->start;
$node->sql_is('SELECT x FROM later', '7', 'keyring with an unfinished append: records after it are found');
all_well('crash after appending');

# Without a master key: a clear error, not a plain table.
$node->create_database('keyless', key_id => '');
$node->sql_fails('CREATE TABLE t USING tde_heap AS SELECT 1 AS x', 'TV...|55000', [ qr/master key/, qr/HINT:.*create_master_key/s ],
	'no master key: CREATE TABLE says what to do', db => 'keyless');
$node->sql_fails("CALL tde_vault.create_master_key('test_key_2')", '42710', qr/master key/, 'a second master key is refused');

$node->stop;
done_testing();
