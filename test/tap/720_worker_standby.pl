# Background work on a standby that is promoted in the middle; pausing, over
# restarts; the key provider away; keys that are rotated for their age; what is
# left of plaintext.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeKeyring;
use TdeVault;
use TdeWorker;
use PostgreSQL::Test::Utils;
use Test::More;

my $marker = TdeVault::marker('online');
my $primary = TdeVault->create('primary', streaming => 1, conf => <<'CONF');
wal_keep_size = 0
max_wal_size = 64MB
min_wal_size = 32MB
tde_vault.worker_cost_delay = 10ms
tde_vault.worker_cost_limit = 200
CONF
my $rows = 'SELECT count(*), md5(string_agg(t::text, $$,$$ ORDER BY id)) FROM t';
$primary->safe_psql('postgres', <<"SQL");
CREATE TABLE t (id int PRIMARY KEY, v text, b text);
INSERT INTO t SELECT g, '$marker ' || g, (SELECT string_agg(md5((g * i)::text), '') FROM generate_series(1, 20) i) FROM generate_series(1, 20000) g;
CREATE INDEX t_v ON t (v);
CREATE INDEX t_gin ON t USING gin (string_to_array(v, ' '));
VACUUM t;
SQL
my $sum = $primary->safe_psql('postgres', $rows);
$primary->backup('b');
my $standby = TdeVault->create_from_backup('standby', $primary, 'b', has_streaming => 1);
$standby->start;

my $working = q{SELECT state = 'running' AND rewritten > 300 FROM tde_vault.encryption_progress ORDER BY started DESC NULLS FIRST LIMIT 1};
my $id = q{SELECT id FROM tde_vault.encryption_progress WHERE state <> 'done'};
sub unthrottle
{
	my ($node) = @_;
	$node->safe_psql('postgres', q{ALTER SYSTEM SET tde_vault.worker_cost_delay = 0});
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	return;
}

# --- pause, over a restart and a crash -------------------------------------------

$primary->safe_psql('postgres', 'ALTER TABLE t ENABLE ENCRYPTION');
ok($primary->poll_query_until('postgres', $working), 'encryption is under way');
$primary->safe_psql('postgres', 'CALL tde_vault.pause(' . $primary->safe_psql('postgres', $id) . ')');
ok($primary->poll_query_until('postgres', q{SELECT state = 'paused' FROM tde_vault.encryption_progress}), 'it can be paused');
$primary->crash;
ok($primary->poll_query_until('postgres', q{SELECT state = 'paused' FROM tde_vault.encryption_progress}), 'and stays so over a crash');
$primary->sql_is($rows, $sum, 'the half encrypted table is read');
$primary->sql_is(q{SELECT tde_vault.is_encrypted('t')}, 'f', 'and is not called encrypted');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->sql_is($rows, $sum, 'also on the standby');
ok($standby->poll_query_until('postgres', q{SELECT state IN ('paused', 'done by the primary') FROM tde_vault.encryption_progress}), 'which says who works');
$primary->safe_psql('postgres', 'CALL tde_vault.resume(' . $primary->safe_psql('postgres', $id) . ')');
ok($primary->poll_query_until('postgres', $working), 'it is resumed');

# --- promotion in the middle -------------------------------------------------------

$primary->kill_postmaster;
$standby->promote;
ok($standby->poll_query_until('postgres', $working), 'the promoted standby goes on by itself');
$standby->sql_is($rows, $sum, 'with the same rows');
unthrottle($standby);
ok($standby->poll_query_until('postgres', DONE), 'to the end');
$standby->sql_is($rows, $sum, 'the same rows at the end');
$standby->verify_ok('verify is clean', min => 1);
$standby->sql_is(q{SELECT tde_vault.is_encrypted('t')}, 't', 'it is encrypted');

# --- no plaintext is left -----------------------------------------------------------

my $end = $standby->safe_psql('postgres', q{SELECT old_wal FROM tde_vault.work() WHERE state = 'done'});
for (1 .. 3)
{
	$standby->safe_psql('postgres', 'SELECT pg_switch_wal(); CREATE TABLE s (); DROP TABLE s');
	$standby->safe_psql('postgres', 'CHECKPOINT');
}
$standby->safe_psql('postgres', q{SELECT pg_switch_wal(); CHECKPOINT});
ok($standby->poll_query_until('postgres', q{SELECT detail ~ '^no WAL before' FROM tde_vault.encryption_progress}), 'progress says that no old WAL is left');
$standby->stop('fast');
# recycled segments keep their bytes until they are written again
my @found = grep { !m{^pg_wal/} } $standby->find_marker(marker => $marker, skip_statistics_until_sealed => 1);
is("@found", '', 'no file but recycled WAL holds the marker');
$standby->start;

# --- a standby of the promoted server sees a rotation ---------------------------------

$standby->backup('b2');
my $second = TdeVault->create_from_backup('second', $standby, 'b2', has_streaming => 1);
$second->start;
$standby->safe_psql('postgres', 'ALTER TABLE t ROTATE ENCRYPTION KEY; UPDATE t SET b = b || id::text WHERE id % 7 = 0');
$sum = $standby->safe_psql('postgres', $rows);
ok($standby->poll_query_until('postgres', DONE), 'rotation is done');
$standby->wait_for_catchup($second, 'replay', $standby->lsn('insert'));
$second->sql_is($rows, $sum, 'a standby has the same rows');
$second->crash;
$second->sql_is($rows, $sum, 'also after a crash');
$standby->safe_psql('postgres', 'CHECKPOINT');
$standby->wait_for_catchup($second, 'replay', $standby->lsn('insert'));
$second->safe_psql('postgres', 'CHECKPOINT');
$second->verify_ok('verify is clean on it', min => 1);
my $versions = q{SELECT string_agg(version::text, ',') FROM tde_vault.table_keys() WHERE "table" = 't'::regclass};
$standby->safe_psql('postgres', 'CHECKPOINT');
ok($standby->poll_query_until('postgres', "$versions", '2'), 'the old version is destroyed on the primary');
$standby->wait_for_catchup($second, 'replay', $standby->lsn('insert'));
$second->safe_psql('postgres', 'CHECKPOINT');
ok($second->poll_query_until('postgres', "$versions", '2'), 'and by the standby, for itself');
$second->restart;
$second->sql_is($rows, $sum, 'which reads on');
$second->stop;

# --- the provider away -----------------------------------------------------------------

$standby->safe_psql('postgres', q{ALTER SYSTEM SET tde_vault.worker_cost_delay = 20; ALTER SYSTEM SET tde_vault.max_workers = 0});
$standby->safe_psql('postgres', 'SELECT pg_reload_conf()');
$standby->safe_psql('postgres', 'ALTER TABLE t ROTATE ENCRYPTION KEY');
$standby->sql_is(q{SELECT state FROM tde_vault.encryption_progress WHERE state <> 'done'}, 'waiting', 'without workers it waits');
$standby->stop('fast');
$standby->hide_token;
$standby->append_conf('postgresql.conf', "tde_vault.max_workers = 2\n");
$standby->start;
$standby->safe_psql('postgres', q{ALTER SYSTEM RESET ALL});
$standby->safe_psql('postgres', 'SELECT pg_reload_conf()');
ok($standby->poll_query_until('postgres', q{SELECT state ~ '^error' AND detail IS NOT NULL FROM tde_vault.encryption_progress}), 'the provider is away: the state says so');
$standby->restore_token;
ok($standby->poll_query_until('postgres', DONE), 'it goes on when the provider is back');
$standby->sql_is($rows, $sum, 'the same rows');
$standby->verify_ok('verify is clean', min => 1);

# --- age ------------------------------------------------------------------------------

my $before = $standby->safe_psql('postgres', q{SELECT max(version) FROM tde_vault.table_keys() WHERE "table" = 't'::regclass});
$standby->stop('fast');
age_table_keys($standby, 40);
$standby->append_conf('postgresql.conf', "tde_vault.key_rotation_days = 30\n");
$standby->start;
ok($standby->poll_query_until('postgres', qq{SELECT max(version) = $before + 1 FROM tde_vault.table_keys() WHERE "table" = 't'::regclass}), 'an old key is rotated by itself');
ok($standby->poll_query_until('postgres', "SELECT count(*) > 0 AND bool_and(state = 'done') FROM tde_vault.encryption_progress"), 'to the end');
$standby->sql_is($rows, $sum, 'the same rows');
$standby->verify_ok('verify is clean', min => 1);
unlike(slurp_file($_->logfile), qr/PANIC|authentication tag|was forged/, 'nothing amiss in the log of ' . $_->name) foreach ($primary, $standby, $second);
done_testing();
