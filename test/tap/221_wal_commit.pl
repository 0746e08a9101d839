# Standbys and commits: each mode of synchronous_commit, transactions that are
# prepared here and committed there, subtransactions, unlogged tables; standbys
# that are fed from an archive only, or from what pg_receivewal wrote.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $archive = PostgreSQL::Test::Utils::tempdir_short();
my $received = PostgreSQL::Test::Utils::tempdir_short();
my $primary = TdeVault->create('primary', streaming => 1, conf => <<"CONF");
default_table_access_method = tde_heap
wal_keep_size = 512MB
max_prepared_transactions = 10
archive_mode = on
archive_command = 'cp %p $archive/%f'
CONF
$primary->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id int PRIMARY KEY, mode text);
CREATE UNLOGGED TABLE u (id int PRIMARY KEY, v text);
INSERT INTO u SELECT g, 'unlogged' FROM generate_series(1, 100) g;
SELECT pg_create_physical_replication_slot('receive', true);
SQL
$primary->backup($_) foreach 'sync', 'archived', 'received';
my $standby = TdeVault->create_from_backup('standby', $primary, 'sync', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'archive_mode = off');
$standby->start;
$primary->append_conf('postgresql.conf', "synchronous_standby_names = 'standby'");
$primary->reload;
$primary->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'}) or die 'no synchronous standby';

# --- modes of commit -----------------------------------------------------------

my $rows = 0;
foreach my $mode (qw(off local remote_write on remote_apply))
{
	foreach my $i (1 .. 20)
	{
		$rows++;
		$primary->safe_psql('postgres', "SET synchronous_commit = $mode; INSERT INTO t VALUES ($rows, '$mode'); BEGIN; SAVEPOINT a; INSERT INTO t VALUES (-$rows, 'rolled back'); ROLLBACK TO a; SAVEPOINT b; UPDATE t SET mode = '$mode!' WHERE id = $rows; COMMIT");
		$standby->sql_is("SELECT mode FROM t WHERE id = $rows", 'remote_apply!', 'remote_apply: the row is there when the client knows')
		  if $mode eq 'remote_apply' && $i % 10 == 0;
	}
}
my $new_table = 'SET synchronous_commit = remote_apply; CREATE TABLE made AS SELECT g FROM generate_series(1, 100) g';
$primary->safe_psql('postgres', $new_table);
$standby->sql_is('SELECT count(*) FROM made', '100', 'remote_apply: a new table, with its key');
foreach my $id (1001 .. 1004)
{
	$primary->safe_psql('postgres', "BEGIN; INSERT INTO t VALUES ($id, 'prepared'); SAVEPOINT s; INSERT INTO t VALUES ($id + 10, 'prepared'); CREATE TABLE p$id AS SELECT $id AS x; PREPARE TRANSACTION 'p$id'");
}
$primary->safe_psql('postgres', q{COMMIT PREPARED 'p1001'});
$primary->safe_psql('postgres', q{ROLLBACK PREPARED 'p1002'});
$primary->safe_psql('postgres', "INSERT INTO t VALUES (5000, 'last'); CHECKPOINT");

# --- from the archive, and from pg_receivewal -----------------------------------

my $end = $primary->lsn('insert');
$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
$primary->safe_psql('postgres', "INSERT INTO t VALUES (5001, 'in the next segment')");
$primary->poll_query_until('postgres', "SELECT last_archived_wal >= pg_walfile_name('$end') FROM pg_stat_archiver") or die 'archiving did not finish';
$primary->command_ok([ 'pg_receivewal', '-D', $received, '--slot', 'receive', '--no-loop', '--endpos', $primary->lsn('flush') ], 'pg_receivewal');
foreach my $case ([ 'archived', $archive ], [ 'received', $received ])
{
	my ($name, $dir) = @$case;
	my $copy = TdeVault->create_from_backup($name, $primary, $name);
	$copy->append_conf('postgresql.conf', <<"CONF");
archive_mode = off
synchronous_standby_names = ''
restore_command = 'cp $dir/%f %p || cp $dir/%f.partial %p'
CONF
	$copy->set_standby_mode;
	$copy->start;
	$copy->poll_query_until('postgres', q{SELECT count(*) = 1 FROM t WHERE id = 5000}) or die "$name did not follow";
	$copy->sql_is('SELECT count(*) FILTER (WHERE id BETWEEN 1 AND 100), (SELECT count(*) FROM made), (SELECT x FROM p1001) FROM t', '100|100|1001', "$name: everything up to there");
	$copy->promote;
	$copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'promotion';
	$copy->sql_is(q{COMMIT PREPARED 'p1003'; SELECT x FROM p1003}, '1003', "$name: a prepared transaction can be committed");
	$copy->verify_ok("$name: verify is clean", min => 4);
	$copy->stop;
}

# --- the primary is gone ------------------------------------------------------------

my $wanted = $primary->safe_psql('postgres', 'SELECT count(*), sum(hashtext(t::text)) FROM t');
$primary->kill_postmaster;
$standby->crash;
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'promotion';
$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$standby->reload;
$standby->sql_is('SELECT count(*), sum(hashtext(t::text)) FROM t', $wanted, 'no row that was acknowledged is lost');
$standby->sql_is(q{SELECT count(*) FROM t WHERE mode NOT IN (SELECT m || '!' FROM unnest(ARRAY['off', 'local', 'remote_write', 'on', 'remote_apply']) m) AND id BETWEEN 1 AND 100 OR id < 0}, '0', 'subtransactions ended as they should');
$standby->sql_is(q{SELECT string_agg(gid, ',' ORDER BY gid) FROM pg_prepared_xacts}, 'p1003,p1004', 'prepared transactions are there');
$standby->sql_is(q{COMMIT PREPARED 'p1003'; SELECT x FROM p1003}, '1003', 'one is committed');
$standby->sql_is(q{ROLLBACK PREPARED 'p1004'; SELECT to_regclass('p1004') IS NULL, count(*) FROM t WHERE id IN (1004, 1014)}, 't|0', 'one rolled back');
$standby->sql_is('SELECT count(*) FROM t WHERE mode = \'prepared\'', '4', 'with their rows');
$standby->sql_is('SELECT count(*) FROM u', '0', 'an unlogged table is empty on what was a standby');
$standby->safe_psql('postgres', q{INSERT INTO u SELECT g, 'again' FROM generate_series(1, 50) g});
$standby->sql_is('SELECT count(*), tde_vault.is_encrypted(\'u\') FROM u', '50|t', 'and can be used');
$standby->restart;
$standby->sql_is('SELECT count(*) FROM u WHERE v = \'again\'', '50', 'also after a restart');
$standby->verify_ok('verify is clean', min => 4);
done_testing();
