# Standbys, promotion, base backups and point-in-time recovery of sealed
# tables; every copy agrees row by row and verifies.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $archive = PostgreSQL::Test::Utils::tempdir_short();
my $primary = TdeVault->create('primary', streaming => 1, conf => <<"CONF");
default_table_access_method = tde_heap
wal_consistency_checking = all
wal_keep_size = 1GB
archive_mode = on
archive_command = 'cp %p $archive/%f'
shared_buffers = 4MB
CONF

# What a database holds: its tables, their rows.
my $digest = q{SELECT relname || ' ' || (xpath('/row/d/text()', query_to_xml(format(
		'SELECT count(*) || '':'' || coalesce(md5(string_agg(t::text, '','' ORDER BY t::text)), '''') AS d FROM %I t', relname), false, true, '')))[1]
	FROM pg_class WHERE relkind IN ('r', 'm') AND relnamespace = 'public'::regnamespace ORDER BY 1};
sub same_rows
{
	my ($node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->sql_is($digest, $primary->safe_psql('postgres', $digest), $name);
	return;
}
sub caught_up
{
	my ($node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$primary->wait_for_catchup($node, 'replay', $primary->lsn('insert'));
	same_rows($node, "$name: the same rows");
	$node->verify_ok("$name: verify is clean", min => 1);
	return;
}

# --- a standby that has nothing yet: keys come by WAL ----------------------

$primary->backup('first');
my $standby = TdeVault->create_from_backup('standby', $primary, 'first', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION bloom;
CREATE TABLE t (id int PRIMARY KEY, v text, p point, body text);
INSERT INTO t SELECT g, 'row ' || g, point(g, g), repeat(md5(g::text), g % 200) FROM generate_series(1, 3000) g;
CREATE INDEX ON t USING hash (v);
CREATE INDEX ON t USING gin (string_to_array(v, ' '));
CREATE INDEX ON t USING gist (p);
CREATE INDEX ON t USING spgist (v);
CREATE INDEX ON t USING brin (id);
CREATE INDEX ON t USING bloom (v);
CREATE UNLOGGED TABLE u AS SELECT g FROM generate_series(1, 100) g;
CREATE MATERIALIZED VIEW m AS SELECT id, v FROM t WHERE id % 3 = 0;
CREATE TABLE s (id serial PRIMARY KEY, v text);
INSERT INTO s (v) SELECT 'x' FROM generate_series(1, 100);
SQL
$primary->safe_psql('postgres', 'DROP TABLE u');
caught_up($standby, 'standby');

$primary->safe_psql('postgres', $_) foreach (
	'UPDATE t SET v = v || v WHERE id % 2 = 0', 'DELETE FROM t WHERE id % 5 = 0', 'VACUUM t', 'VACUUM FULL t',
	'CLUSTER t USING t_pkey', 'REINDEX TABLE t', 'REFRESH MATERIALIZED VIEW m', 'TRUNCATE s RESTART IDENTITY',
	q{INSERT INTO s (v) SELECT 'y' FROM generate_series(1, 50)}, 'ALTER TABLE s ALTER v TYPE varchar(20)',
	'CREATE TABLE gone AS SELECT g FROM generate_series(1, 1000) g', 'DROP TABLE gone',
	'BEGIN; CREATE TABLE never AS SELECT 1 AS x; ROLLBACK',
	'CREATE TABLE other USING heap AS SELECT g FROM generate_series(1, 10) g', 'ALTER TABLE other SET ACCESS METHOD tde_heap');
caught_up($standby, 'after rewrites');
$standby->sql_is(q{SELECT count(*) FROM t WHERE p <@ box '((10,10),(20,20))'}, $primary->safe_psql('postgres', q{SELECT count(*) FROM t WHERE p <@ box '((10,10),(20,20))'}), 'an index on the standby');

# A standby that crashes, or restarts from a restartpoint.
$standby->kill_postmaster;
$primary->safe_psql('postgres', q{CREATE TABLE meanwhile AS SELECT g, md5(g::text) FROM generate_series(1, 1000) g; CHECKPOINT; UPDATE meanwhile SET g = -g});
$standby->start;
caught_up($standby, 'standby after a crash');
$standby->safe_psql('postgres', 'CHECKPOINT');
$primary->safe_psql('postgres', 'DROP TABLE meanwhile; CHECKPOINT');
$standby->restart;
caught_up($standby, 'standby after a restart');

# The provider is away when a standby needs a key: replay waits, what is there
# stays readable, and replay goes on by itself.
$primary->safe_psql('postgres', 'CHECKPOINT');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->safe_psql('postgres', 'CHECKPOINT');
$standby->stop('fast');
my $offset = $standby->log_size;
$primary->safe_psql('postgres', q{CREATE TABLE waits AS SELECT g, md5(g::text) AS m FROM generate_series(1, 1000) g});
$primary->hide_token;
$standby->start;
$standby->wait_for_log(qr/WARNING: .*\n.*DETAIL: .*\n?.*HINT:  Replay goes on by itself|Replay goes on by itself/, $offset);
$standby->sql_is('SELECT count(*) > 0, to_regclass(\'waits\') IS NULL FROM pg_class', 't|t', 'the standby answers while it waits for a key');
$primary->restore_token;
caught_up($standby, 'after the wait');

# --- a base backup while keys come and go ----------------------------------

my $loop = $primary->basedir . '/loop.sql';
append_to_file($loop, <<'SQL');
CREATE TABLE b:client_id AS SELECT g, md5(g::text) AS m FROM generate_series(1, 300) g;
CREATE INDEX ON b:client_id (m);
UPDATE b:client_id SET g = g + 1;
DROP TABLE b:client_id;
INSERT INTO s (v) SELECT 'z' FROM generate_series(1, 20);
SQL
foreach my $method ('stream', 'fetch')
{
	my ($out, $err) = ('', '');
	my $load;
	{
		local %ENV = $primary->_get_env();
		$load = IPC::Run::start([ 'pgbench', '-n', '-c', '3', '-T', '6', '-f', $loop, 'postgres' ], '<', \undef, '>', \$out, '2>', \$err);
	}
	$primary->command_ok([ 'pg_basebackup', '-D', $primary->backup_dir . "/$method", '-h', $primary->host, '-p', $primary->port,
			'--checkpoint', 'fast', '-X', $method, '--no-sync' ], "pg_basebackup -X $method");
	$primary->command_ok([ 'pg_verifybackup', $primary->backup_dir . "/$method" ], "pg_verifybackup of it");
	$load->finish;
	unlike($err, qr/ERROR/, "load during -X $method");
	my $restored = TdeVault->create_from_backup("restored_$method", $primary, $method);
	$restored->append_conf('postgresql.conf', 'archive_mode = off');
	$restored->start;
	$restored->verify_ok("restored from -X $method: verify is clean", min => 5);
	# How much of the load came before the backup's end is chance; no insert is there by half.
	$restored->sql_is(q{SELECT count(*) FILTER (WHERE v = 'y'), count(*) FILTER (WHERE v = 'z') % 20, count(*) FILTER (WHERE v NOT IN ('y', 'z')) FROM s},
		'50|0|0', 'its rows are read');
	$restored->safe_psql('postgres', 'CREATE TABLE fresh AS SELECT g FROM generate_series(1, 100) g; INSERT INTO s (v) VALUES (\'new\')');
	$restored->crash;
	$restored->sql_is('SELECT count(*) FROM fresh', '100', 'it is a server of its own');
	$restored->stop;
}

# --- to a time between two changes of keys ---------------------------------

$primary->backup('pitr');
$primary->safe_psql('postgres', 'CREATE TABLE k1 AS SELECT g FROM generate_series(1, 100) g');
my $between = $primary->lsn('insert');
$primary->safe_psql('postgres', 'DROP TABLE k1; CREATE TABLE k2 AS SELECT g FROM generate_series(1, 200) g; VACUUM FULL t');
my $segment = $primary->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
$primary->poll_query_until('postgres', "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver") or die 'archiving did not finish';
my $pitr = TdeVault->create_from_backup('pitr', $primary, 'pitr');
$pitr->append_conf('postgresql.conf', <<"CONF");
archive_mode = off
restore_command = 'cp $archive/%f %p'
recovery_target_lsn = '$between'
recovery_target_action = promote
CONF
$pitr->set_recovery_mode;
$pitr->start;
$pitr->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery did not end';
$pitr->sql_is(q{SELECT count(*), to_regclass('k2') IS NULL FROM k1}, '100|t', 'recovered to between two keys');
$pitr->verify_ok('verify is clean there');
$pitr->safe_psql('postgres', 'CREATE TABLE k3 AS SELECT g FROM generate_series(1, 300) g');
$pitr->restart;
$pitr->sql_is('SELECT count(*) FROM k3', '300', 'and goes its own way');
$pitr->stop;

# --- promotion, and the old primary's other standby follows ----------------

my $cascade_root = $standby;
$standby->backup('of_standby');
my $cascaded = TdeVault->create_from_backup('cascaded', $standby, 'of_standby', has_streaming => 1);
$cascaded->append_conf('postgresql.conf', "archive_mode = off\n");
$cascaded->start;
caught_up($standby, 'before promotion');
$primary->stop('fast');
my $rows = $standby->safe_psql('postgres', $digest);
$standby->promote;
$standby->sql_is($digest, $rows, 'promoted: the same rows');
$standby->safe_psql('postgres', q{INSERT INTO s (v) VALUES ('promoted'); CREATE TABLE after (v text); INSERT INTO after SELECT 'new ' || g FROM generate_series(1, 500) g; CREATE INDEX ON after (v)});
$standby->wait_for_catchup($cascaded, 'replay', $standby->lsn('insert'));
$cascaded->sql_is($digest, $standby->safe_psql('postgres', $digest), 'a cascaded standby follows the new timeline');
$cascaded->verify_ok('verify is clean on it');
$standby->crash;
$standby->sql_is('SELECT count(*) FROM after', '500', 'the promoted server survives a crash');
$standby->verify_ok('verify is clean on it, too');

foreach my $node ($standby, $cascaded)
{
	unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/PANIC|inconsistent page|encrypted WAL record/, $node->name . ': nothing amiss in its log');
}
done_testing();
