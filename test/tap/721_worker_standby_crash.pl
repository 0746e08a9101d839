# A standby that crashes replays WAL about pages as they were before a table was
# encrypted in place, with a keyring that knows all that came later: the maps on
# its disk are plain, and that is right.  One that is promoted then writes pages
# that it never had on disk encrypted.  And one replays rotations under load.
# What a standby has not written yet, verify has it write.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use TdeWorker;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = TdeVault->create('primary', streaming => 1, conf => "wal_keep_size = 512MB\ntde_vault.worker_cost_delay = 0\nshared_buffers = 64MB\nbgwriter_lru_maxpages = 0\n");
$primary->safe_psql('postgres', q{CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 5000) g; DELETE FROM t WHERE id % 9 = 0});
$primary->safe_psql('postgres', 'VACUUM t; CHECKPOINT');
$primary->backup('b');
my $standby = TdeVault->create_from_backup('standby', $primary, 'b', has_streaming => 1);
$standby->start;
foreach my $statement ('ALTER TABLE t ENABLE ENCRYPTION', 'ALTER TABLE t ROTATE ENCRYPTION KEY')
{
	$primary->safe_psql('postgres', "UPDATE t SET v = v || '!' WHERE id % 11 = 0; $statement");
	$primary->poll_query_until('postgres', DONE) or die "$statement was not done";
}
$primary->safe_psql('postgres', q{UPDATE t SET v = v || '?' WHERE id % 13 = 0});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
my $rows = 'SELECT count(*), md5(string_agg(t::text, $$,$$ ORDER BY id)) FROM t';
my $offset = $standby->log_size;
$standby->crash;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
ok(slurp_file($standby->logfile, $offset) !~ /is not encrypted|damaged/, 'a standby that replays from before a table was encrypted finds nothing wrong');
$standby->sql_is($rows, $primary->safe_psql('postgres', $rows), 'the same rows');
$standby->sql_is("SET enable_seqscan = off; SELECT count(*) FROM t WHERE id > 0", $primary->safe_psql('postgres', 'SELECT count(*) FROM t'), 'also by the map of visibility');

# Its files are from before all that: pages are right in buffers only.
$standby->sql_is(q{SELECT sum(pages) > 0, sum(bad), sum(unsealed) FROM tde_vault.verify('t')}, 't|0|0', 'verify has them written first');
$primary->safe_psql('postgres', 'CHECKPOINT');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->verify_ok('verify is clean', min => 1);

# The same, promoted before it has written any of it.
$primary->safe_psql('postgres', q{CREATE TABLE t2 AS SELECT * FROM t; CREATE INDEX ON t2 (id)});
$primary->safe_psql('postgres', 'VACUUM t2; CHECKPOINT');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->safe_psql('postgres', 'CHECKPOINT');
foreach my $statement ('ALTER TABLE t2 ENABLE ENCRYPTION', 'ALTER TABLE t2 ROTATE ENCRYPTION KEY')
{
	$primary->safe_psql('postgres', $statement);
	$primary->poll_query_until('postgres', DONE) or die "$statement was not done";
}

# --- versions of a key under load -------------------------------------------------

# The record of a new version is in WAL before the first that needs it, however
# many sessions wait to write: a standby that could not open one would stop.
$primary->safe_psql('postgres', 'CREATE TABLE busy (id int, v text) USING tde_heap; INSERT INTO busy VALUES (0, $$x$$)');
append_to_file($primary->basedir . '/busy.sql', "INSERT INTO busy VALUES (:client_id, 'x');\n");
append_to_file($primary->basedir . '/rotate.sql', "\\if :client_id = 0\nALTER TABLE busy ROTATE ENCRYPTION KEY;\n\\else\nINSERT INTO busy VALUES (:client_id, 'y');\n\\endif\n");
$primary->safe_psql('postgres', 'ALTER SYSTEM SET synchronous_commit = off');
$primary->safe_psql('postgres', 'SELECT pg_reload_conf()');
$primary->command_ok([ 'pgbench', '-n', '-c', '8', '-t', '400', '-f', $primary->basedir . '/busy.sql@1', '-f', $primary->basedir . '/rotate.sql@1', 'postgres' ], 'keys are rotated under load');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->sql_is('SELECT count(*) FROM busy', $primary->safe_psql('postgres', 'SELECT count(*) FROM busy'), 'the standby has every row');

# --- promotion ---------------------------------------------------------------------

$rows = 'SELECT count(*), md5(string_agg(t::text, $$,$$ ORDER BY id)) FROM t2 t';
my $expected = $primary->safe_psql('postgres', $rows);
$primary->poll_query_until('postgres', DONE) or die 'rotations were not done';
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->promote;
$standby->sql_is($rows, $expected, 'promoted: the same rows');
$standby->safe_psql('postgres', q{DELETE FROM t WHERE id % 7 = 0; VACUUM t; INSERT INTO t SELECT g, 'y' FROM generate_series(10001, 11000) g});
$standby->verify_ok('also when it is promoted', min => 1);
done_testing();
