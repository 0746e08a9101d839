# Backups and a rotation: recovery to a point in the middle of one; a base backup
# during which one ends and the old version of the key is destroyed; the key
# provider away in the middle; what a logical slot has not read yet.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use TdeWorker;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $node = TdeVault->create('primary', streaming => 1, conf => <<'CONF');
wal_level = logical
wal_keep_size = 0
max_wal_size = 64MB
min_wal_size = 32MB
shared_buffers = 4MB
CONF
$node->enable_archiving;
$node->restart;
my $archive = $node->archive_dir;
my $rows = q{SELECT count(*), sum(n), md5(string_agg(v, ',' ORDER BY id)) FROM t};
my $versions = q{SELECT string_agg(version::text, ',' ORDER BY version) FROM tde_vault.table_keys() WHERE "table" = 't'::regclass};
my $working = q{SELECT bool_or(state = 'running' AND rewritten > 100) FROM tde_vault.encryption_progress};

# When the work is done and checkpoints have passed, no WAL before needs the old
# version.  (After a start it takes a moment until the work is known at all.)
sub settle
{
	my ($server, $name, $wanted) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $left = '';
	for (my $i = 0; $i < 4 * $PostgreSQL::Test::Utils::timeout_default && $left ne "$wanted|t"; $i++)
	{
		Time::HiRes::usleep(250_000) if $i > 0;
		$server->safe_psql('postgres', 'CHECKPOINT');
		$left = $server->safe_psql('postgres', "SELECT ($versions), (" . SETTLED . ')');
	}
	is($left, "$wanted|t", "$name: only version $wanted is left")
	  or diag($server->safe_psql('postgres', 'SELECT * FROM tde_vault.encryption_progress'));
	return;
}

sub archived
{
	my $segment = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	$node->poll_query_until('postgres', "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver") or die 'archiving did not finish';
	return;
}

# A server from the backup, recovered to the target.
sub restore
{
	my ($name, $backup, $target) = @_;
	my $server = TdeVault->create_from_backup($name, $node, $backup);
	$server->append_conf('postgresql.conf', "archive_mode = off\nrestore_command = 'cp $archive/%f %p'\nrecovery_target_action = promote\n$target\n");
	$server->append_conf('postgresql.auto.conf', "tde_vault.worker_cost_delay = 0\n");
	$server->set_recovery_mode;
	$server->start;
	$server->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery did not end';
	return $server;
}

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id int PRIMARY KEY, n int, v text) WITH (fillfactor = 80);
INSERT INTO t SELECT g, 0, repeat(md5(g::text), 4) FROM generate_series(1, 30000) g;
CREATE INDEX t_n ON t (n);
ALTER TABLE t ENABLE ENCRYPTION;
SQL
$node->poll_query_until('postgres', SETTLED) or die 'not encrypted';

# --- recovery to the middle of a rotation ----------------------------------------------

$node->backup('before');
slow_workers($node, 40, 20);
$node->safe_psql('postgres', 'ALTER TABLE t ROTATE ENCRYPTION KEY');
$node->poll_query_until('postgres', $working) or die 'not under way';
$node->safe_psql('postgres', 'UPDATE t SET n = n + 1 WHERE id % 10 = 1');
my $middle = $node->safe_psql('postgres', $rows);
$node->safe_psql('postgres', q{SELECT pg_create_restore_point('middle')});
$node->sql_is(SETTLED, 'f', 'the point lies in the middle');
$node->backup('middle');
my $since_middle = $node->safe_psql('postgres', q{SELECT pg_create_restore_point('after')});
$node->safe_psql('postgres', 'UPDATE t SET n = n + 1 WHERE id % 10 = 2; DELETE FROM t WHERE id % 100 = 7');
slow_workers($node);
settle($node, 'rotation', '2');
my $end = $node->safe_psql('postgres', $rows);
archived();
foreach my $case ([ 'before', "recovery_target_name = 'middle'", $middle ], [ 'middle', "recovery_target_lsn = '$since_middle'", $middle ])
{
	my ($backup, $target, $sum) = @$case;
	my $server = restore("from_$backup", $backup, $target);
	$server->sql_is($rows, $sum, "from a backup $backup, to the middle: its rows");
	settle($server, "from a backup $backup", '2');
	$server->sql_is($rows, $sum, "from a backup $backup: the same rows at the end");
	$server->verify_ok("from a backup $backup: verify is clean");
	$server->restart;
	$server->sql_is($rows, $sum, "from a backup $backup: also after a restart");
	$server->stop;
}

# --- a base backup during which a version is destroyed -----------------------------------

sub rotate_slowly
{
	slow_workers($node, 40, 20);
	$node->safe_psql('postgres', 'ALTER TABLE t ROTATE ENCRYPTION KEY');
	$node->poll_query_until('postgres', $working) or die 'not under way';
	return;
}

# Of these backups, one takes the pages first and the keyring last, the others the
# other way round; in between the rotation ends, and in the last one it begins there,
# too: the pages are of a version that its keyring gets from WAL.
foreach my $case ([ 'base', 'before' ], [ 'tde_vault', 'before' ], [ 'tde_vault', 'between' ])
{
	my ($first, $begins) = @$case;
	my $version = $node->safe_psql('postgres', $versions);
	my $name = "$first-first-$begins";
	my $target = $node->backup_dir . "/$name";
	rotate_slowly() if $begins eq 'before';
	my $session = $node->background_psql('postgres');
	$session->query_safe(q{SELECT pg_backup_start('slow', true)});
	$node->safe_psql('postgres', 'UPDATE t SET n = n + 1 WHERE id % 10 = 3');
	mkdir $target or die;
	chmod 0700, $target;
	PostgreSQL::Test::RecursiveCopy::copypath($node->data_dir . "/$first", "$target/$first");
	$node->safe_psql('postgres', 'UPDATE t SET n = n + 1 WHERE id % 10 = 4');
	if ($begins eq 'between')
	{
		$node->safe_psql('postgres', 'VACUUM t');
		rotate_slowly();
	}
	slow_workers($node);
	settle($node, "backup, $name", $version + 1);
	$node->safe_psql('postgres', 'UPDATE t SET n = n + 1 WHERE id % 10 = 5');
	system_or_bail('sh', '-c', 'cd "$0" && for f in *; do [ -e "$1/$f" ] || [ "$f" = pg_wal ] || [ "$f" = postmaster.pid ] || [ "$f" = postmaster.opts ] || cp -r "$f" "$1/"; done; mkdir -p -m 0700 "$1/pg_wal"; rm -rf "$1"/pg_replslot/*',
		$node->data_dir, $target);
	my $label = $session->query_safe(q{SELECT labelfile FROM pg_backup_stop(false)});
	$session->quit;
	$node->write_file("$target/backup_label", "$label\n");
	my $sum = $node->safe_psql('postgres', $rows);
	archived();
	my $server = restore("restored_$name", $name, '');
	$server->sql_is($rows, $sum, "backup, $name: every row");
	$server->verify_ok("backup, $name: verify is clean");
	settle($server, "backup, $name", $version + 1);
	$server->sql_is($rows, $sum, "backup, $name: under the new version");
	unlike(slurp_file($server->logfile), qr/damaged|key version that/, "backup, $name: nothing is called damaged");
	$server->stop;
}

# --- what a logical slot has not read ------------------------------------------------------

my $version = $node->safe_psql('postgres', $versions);
$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('slot', 'test_decoding')});
$node->safe_psql('postgres', q{UPDATE t SET v = 'decoded ' || id WHERE id % 1000 = 1});
$node->safe_psql('postgres', 'ALTER TABLE t ROTATE ENCRYPTION KEY');
$node->poll_query_until('postgres', SETTLED) or die 'not done';
$node->safe_psql('postgres', 'CHECKPOINT') foreach 1, 2;
# another table's old version would go now
$node->safe_psql('postgres', 'CREATE TABLE u (id int) USING tde_heap; INSERT INTO u VALUES (1); ALTER TABLE u ROTATE ENCRYPTION KEY');
$node->poll_query_until('postgres', SETTLED) or die 'not done';
$node->safe_psql('postgres', 'CHECKPOINT') foreach 1, 2;
$node->restart;
$node->sql_is($versions, $version . ',' . ($version + 1), 'the version that a slot needs stays');
$node->sql_is(q{SELECT count(*) FROM pg_logical_slot_get_changes('slot', NULL, NULL) WHERE data ~ 'decoded'}, '30', 'and it decodes what was logged under it');
$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('slot')});
settle($node, 'without the slot', $version + 1);

# --- the provider away in the middle -------------------------------------------------------

my $sum = $node->safe_psql('postgres', $rows);
slow_workers($node, 40, 20);
$node->safe_psql('postgres', 'ALTER TABLE t ROTATE ENCRYPTION KEY');
$node->poll_query_until('postgres', $working) or die 'not under way';
$node->hide_token;
$node->sql_is($rows, $sum, 'without its provider: the rows are read');
$node->restart;
# (sessions are warned that there is no key for statistics)
my $state = '';
for (my $i = 0; $i < 10 * $PostgreSQL::Test::Utils::timeout_default && $state !~ /^error.*token/; $i++)
{
	Time::HiRes::usleep(100_000) if $i > 0;
	$state = ($node->psql('postgres', q{SELECT state, detail FROM tde_vault.encryption_progress WHERE state <> 'done'}))[1];
}
like($state, qr/^error, will be tried again\|no PKCS#11 token/, 'and after a restart the work says what it waits for');
$node->restore_token;
slow_workers($node);
settle($node, 'with the provider', $version + 2);
$node->sql_is($rows, $sum, 'with the provider: the same rows');
$node->verify_ok('with the provider: verify is clean');
unlike(slurp_file($node->logfile), qr/PANIC|authentication tag|was forged/, 'nothing amiss in the log');
done_testing();
