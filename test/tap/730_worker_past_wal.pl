# WAL from before a table was encrypted: when it is gone from pg_wal, what holds
# it, and that it is gone then, from files that were renamed, too.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', streaming => 1, initdb => ['--wal-segsize=1'], conf => <<'CONF');
checkpoint_timeout = 30s
checkpoint_completion_target = 0
min_wal_size = 16MB
max_wal_size = 32MB
wal_keep_size = 0
archive_mode = on
archive_command = 'true'
tde_vault.worker_cost_delay = 0
CONF


# Encrypt a new table whose rows are in WAL; returns their marker.
sub encrypt
{
	my ($name) = @_;
	my $marker = TdeVault::marker("past $name");
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE $name (id int, v text);
INSERT INTO $name SELECT g, '$marker' || g FROM generate_series(1, 30000) g;
ALTER TABLE $name ENABLE ENCRYPTION;
SQL
	$node->poll_query_until('postgres', "SELECT state = 'done' FROM tde_vault.encryption_progress WHERE relation = '$name'::regclass")
	  or die "$name is not encrypted";
	return $marker;
}

sub in_wal { my ($marker) = @_; return scalar grep { /^pg_wal/ } $node->find_marker(marker => $marker); }

# What is shown of the table's operation (or of the one from before the start).
sub shown
{
	my ($name) = @_;
	my $which = defined $name ? "relation = '$name'::regclass" : q{operation = 'encrypt, before the server started'};
	return "FROM tde_vault.encryption_progress WHERE $which";
}

sub gone_ok
{
	my ($name, $marker, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', q{SELECT detail ~ '^no WAL before .* is left in pg_wal since' AND old_wal_gone <= now() } . shown($name)), "$what: it is said to be gone, and since when")
	  or diag($node->safe_psql('postgres', 'SELECT detail ' . shown($name)));
	is(in_wal($marker), 0, "$what: and is in no file");
	return;
}

sub held_ok
{
	my ($name, $marker, $by, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
	like($node->safe_psql('postgres', 'SELECT detail ' . shown($name)), $by, "$what: it is said what holds it");
	$node->sql_is('SELECT old_wal_gone IS NULL ' . shown($name), 't', "$what: and no time that would be wrong");
	isnt(in_wal($marker), 0, "$what: it is there");
	return;
}

# --- nothing holds it -------------------------------------------------------------

my $marker = encrypt('idle');
$node->sql_is(q{SELECT old_wal_gone > now() AND old_wal_gone <= finished + interval '180 s', detail ~ '^WAL before .* gone from pg_wal after \d{4}-' } . shown('idle'), 't|t', 'the time after which it is gone');
$node->sql_is(q{SELECT old_wal_gone > now() FROM system.encryption_progress WHERE relation = 'idle'::regclass}, 't', 'under the other name, too');
isnt(in_wal($marker), 0, 'until then it is there');
my $logged = $node->log_size;
$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
gone_ok('idle', $marker, 'after a checkpoint');
$node->wait_for_log(qr/files in pg_wal were overwritten/, $logged);
pass('files were renamed, and overwritten');

# --- what holds it ------------------------------------------------------------------

$node->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('keeps', true)});
$marker = encrypt('slot');
held_ok('slot', $marker, qr/replication slot "keeps" holds it/, 'a slot');
$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('keeps'); SELECT pg_switch_wal(); CHECKPOINT});
gone_ok('slot', $marker, 'without the slot');

sub set
{
	$node->safe_psql('postgres', "ALTER SYSTEM SET $_[0]");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	$node->poll_query_until('postgres', "SELECT current_setting('$_[1]') = '$_[2]'") or die;
	return;
}

set('wal_keep_size = 100', 'wal_keep_size', '100MB');
$marker = encrypt('kept');
held_ok('kept', $marker, qr/wal_keep_size holds it, until \d+ MB more are written/, 'wal_keep_size');
set('wal_keep_size = 0', 'wal_keep_size', '0');
$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
gone_ok('kept', $marker, 'without wal_keep_size');

set(q{archive_command = 'false'}, 'archive_command', 'false');
$marker = encrypt('archived');
held_ok('archived', $marker, qr/it is not archived yet, see pg_stat_archiver/, 'the archiver');

# --- over a crash ---------------------------------------------------------------------

$node->crash;
$node->poll_query_until('postgres', 'SELECT count(*) = 1 ' . shown()) or die 'nothing is shown';
held_ok(undef, $marker, qr/it is not archived yet, see pg_stat_archiver/, 'after a crash');
set(q{archive_command = 'true'}, 'archive_command', 'true');
# by itself: the server is idle
gone_ok(undef, $marker, 'once it is archived');
$node->restart;
$node->safe_psql('postgres', 'SELECT pg_sleep(0)');
$node->sql_is('SELECT count(*) ' . shown(), '0', 'nothing to be shown after a start when nothing is left');
$node->sql_is('SELECT (SELECT count(*) FROM idle) + (SELECT count(*) FROM slot) + (SELECT count(*) FROM kept) + (SELECT count(*) FROM archived)', '120000', 'all rows are there');
$node->crash;
$node->sql_is('SELECT (SELECT count(*) FROM idle) + (SELECT count(*) FROM slot) + (SELECT count(*) FROM kept) + (SELECT count(*) FROM archived)', '120000', 'also after a crash');
$node->stop;
done_testing();
