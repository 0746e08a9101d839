# What administrators run all day goes on with a vault on, by a role for
# monitoring and by a superuser, neither of whom may see a row of a realm: what
# collectors of metrics ask, a standby and what is asked there, base backups,
# autovacuum, and dumps of whole clusters, which say what to do.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use IPC::Run ();
use PostgreSQL::Test::Utils ();
use Test::More;

my $node = realm_server(
	streaming => 1,
	conf      => "shared_preload_libraries = 'tde_vault,pg_stat_statements'\ntrack_io_timing = on\ntrack_functions = all\n",
	sql       => <<'SQL');
CREATE EXTENSION pg_stat_statements;
CREATE ROLE monitor LOGIN;
GRANT pg_monitor TO monitor;
GRANT pg_read_all_data TO alice;
SQL

# As postgres_exporter, check_postgres and pganalyze-like collectors ask, one each.
my @questions = (
	[ 'settings', 'SELECT name, setting, short_desc, unit, vartype FROM pg_settings' ],
	[ 'activity', q{SELECT pid, usename, state, wait_event_type, wait_event, query, backend_xmin, age(backend_xid) FROM pg_stat_activity} ],
	[ 'longest transaction', q{SELECT datname, max(extract(epoch FROM now() - xact_start)) FROM pg_stat_activity GROUP BY 1} ],
	[ 'databases', 'SELECT datname, numbackends, xact_commit, blks_read, deadlocks, temp_bytes, checksum_failures, pg_database_size(datname) FROM pg_stat_database WHERE datname IS NOT NULL' ],
	[ 'conflicts', 'SELECT * FROM pg_stat_database_conflicts' ],
	[ 'tables', 'SELECT schemaname, relname, seq_scan, n_tup_ins, n_live_tup, n_dead_tup, last_autovacuum, last_autoanalyze FROM pg_stat_user_tables' ],
	[ 'their blocks', 'SELECT * FROM pg_statio_user_tables' ],
	[ 'indexes', 'SELECT s.indexrelname, s.idx_scan, pg_relation_size(s.indexrelid), i.indisunique FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid)' ],
	[ 'blocks of indexes', 'SELECT * FROM pg_statio_user_indexes' ],
	[ 'sequences', 'SELECT * FROM pg_statio_user_sequences' ],
	[ 'sizes', q{SELECT c.oid::regclass, pg_total_relation_size(c.oid), pg_table_size(c.oid), pg_indexes_size(c.oid), pg_relation_size(c.oid, 'fsm') FROM pg_class c WHERE relkind IN ('r', 'm', 'p')} ],
	[ 'bloat', q{SELECT s.schemaname, s.tablename, c.reltuples, c.relpages, sum((1 - s.null_frac) * s.avg_width) FROM pg_stats s JOIN pg_class c ON c.relname = s.tablename JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = s.schemaname GROUP BY 1, 2, 3, 4} ],
	[ 'wraparound', q{SELECT c.oid::regclass, age(c.relfrozenxid), mxid_age(c.relminmxid) FROM pg_class c WHERE relkind IN ('r', 't', 'm') ORDER BY 2 DESC} ],
	[ 'age of databases', 'SELECT datname, age(datfrozenxid) FROM pg_database' ],
	[ 'locks', 'SELECT pg_locks.mode, count(*) FROM pg_locks LEFT JOIN pg_database ON oid = database GROUP BY 1' ],
	[ 'who waits for whom', 'SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity' ],
	[ 'background writer', 'SELECT * FROM pg_stat_bgwriter' ],
	[ 'archiver', 'SELECT * FROM pg_stat_archiver' ],
	[ 'log volume', 'SELECT * FROM pg_stat_wal' ],
	[ 'caches', 'SELECT * FROM pg_stat_slru' ],
	[ 'replication', 'SELECT application_name, state, sent_lsn, replay_lsn, sync_state FROM pg_stat_replication' ],
	[ 'slots', 'SELECT slot_name, active, restart_lsn, wal_status FROM pg_replication_slots' ],
	[ 'receiver', 'SELECT * FROM pg_stat_wal_receiver' ],
	[ 'recovery', 'SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END' ],
	[ 'lag', 'SELECT extract(epoch FROM now() - pg_last_xact_replay_timestamp())' ],
	[ 'segments', 'SELECT count(*), sum(size) FROM pg_ls_waldir()' ],
	[ 'temporary files', 'SELECT count(*) FROM pg_ls_tmpdir()' ],
	[ 'progress of vacuum', 'SELECT * FROM pg_stat_progress_vacuum' ],
	[ 'progress of others', 'SELECT * FROM pg_stat_progress_create_index, pg_stat_progress_cluster, pg_stat_progress_analyze, pg_stat_progress_copy, pg_stat_progress_basebackup' ],
	[ 'statements', 'SELECT queryid, query, calls, total_exec_time, rows, wal_bytes FROM pg_stat_statements ORDER BY total_exec_time DESC' ],
	[ 'functions', 'SELECT * FROM pg_stat_user_functions' ],
	[ 'extended statistics', 'SELECT * FROM pg_stats_ext' ],
	[ 'prepared transactions', 'SELECT * FROM pg_prepared_xacts' ],
	[ 'subscriptions', 'SELECT * FROM pg_stat_subscription' ],
	[ 'encryption of connections', 'SELECT * FROM pg_stat_ssl, pg_stat_gssapi' ],
	[ 'roles', 'SELECT rolname, rolvaliduntil, rolsuper FROM pg_roles' ],
	[ 'extensions', 'SELECT * FROM pg_extension, pg_available_extensions' ],
	[ 'invalid indexes', 'SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid' ],
	[ 'unused indexes', 'SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_stat_user_indexes WHERE idx_scan = 0' ],
	[ 'constraints', 'SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint' ],
	[ 'file settings', 'SELECT pg_conf_load_time(), pg_postmaster_start_time(), version()' ]);

sub asks
{
	my ($where, $server, @who) = @_;
	foreach my $question (@questions)
	{
		my ($name, $sql) = @$question;
		foreach my $who (@who)
		{
			my ($rc, $out, $err) = $server->psql('postgres', $sql, extra_params => [ '-U', $who ]);
			ok($rc == 0 && "$out$err" !~ /${\VaultAttack::MARKER}/, "$where: $name, asked by $who") or diag("$err\n" . substr($out, 0, 500));
		}
	}
	return;
}

like(run_as('alice', UNLOCK . 'UPDATE secret.small SET v = v; SELECT count(ssn) FROM secret.patients;'), qr/^60$/m, 'somebody uses the realm');
asks('primary', $node, 'monitor', 'mallory');

# --- replication ------------------------------------------------------------------------------------

$node->backup('copy');
pass('a base backup is taken');
my $standby = TdeVault->create_from_backup('standby', $node, 'copy', has_streaming => 1);
$standby->start;
like(run_as('alice', UNLOCK . q{INSERT INTO secret.small VALUES (2, 'qmarker7kx2vw9'); SELECT count(*) FROM secret.small;}), qr/^2$/m, 'the realm is written to');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
my $out = '';
IPC::Run::run([ 'psql', '-XAt', '-d', $standby->connstr('postgres') . ' user=alice' ], '<', \(UNLOCK . 'SELECT count(*) FROM secret.small;'), '>', \$out, '2>&1');
like($out, qr/^2$/m, 'the standby has it, for who unlocks the realm there');
asks('standby', $standby, 'monitor', 'mallory');
is($node->safe_psql('postgres', q{SELECT state FROM pg_stat_replication}), 'streaming', 'the standby is seen from the primary');
$standby->stop;

# --- autovacuum ------------------------------------------------------------------------------------------

my $log_from = -s $node->logfile;
$node->safe_psql('postgres', q{ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET autovacuum_naptime = 1; ALTER SYSTEM SET autovacuum_vacuum_threshold = 10; ALTER SYSTEM SET autovacuum_analyze_threshold = 10; ALTER SYSTEM SET autovacuum_vacuum_scale_factor = 0});
$node->reload;
run_as('alice', UNLOCK . 'UPDATE secret.patients SET name = name; UPDATE secret.patients SET name = name;');
ok($node->poll_query_until('postgres', q{SELECT autovacuum_count > 0 AND autoanalyze_count > 0 FROM pg_stat_user_tables WHERE relid = 'secret.patients'::regclass}), 'autovacuum works on a table of a realm');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile, $log_from), qr/ERROR.*(?:realm|vault)/, 'without errors');

# --- dumps of the cluster ------------------------------------------------------------------------------------

sub dump_all
{
	my ($who, $ticket, @args) = @_;
	my ($dump, $err) = ('', '');
	local $ENV{PGOPTIONS} = defined $ticket ? "-c tde_vault.unlock_ticket=$ticket" : '';
	my $ok = IPC::Run::run([ 'pg_dumpall', '-d', $node->connstr('postgres') . " user=$who", @args ], '>', \$dump, '2>', \$err);
	return ($ok, $dump, $err);
}
my ($ok, $dump, $err) = dump_all('mallory', undef);
ok(!$ok && $dump !~ /${\VaultAttack::MARKER}/, 'a superuser gets no dump of the cluster');
like($err, qr/not authorized for realm "pii".*HINT:.*ALTER REALM pii AUTHORIZE/s, 'and is told why, and what helps');
($ok, $dump, $err) = dump_all('mallory', undef, '--globals-only');
ok($ok && $dump =~ /CREATE ROLE alice/, 'but what belongs to no database') or diag($err);
($ok, $dump, $err) = dump_all('mallory', undef, '--schema-only');
ok(!$ok, 'definitions of a realm take the lock of who reads it');
like($err, qr/not authorized for realm/, 'which is refused');
($ok, $dump, $err) = dump_all('alice', undef, '--no-role-passwords');
ok(!$ok, 'nor does an authorized user, with the realm locked');
like($err, qr/vault password required.*HINT:.*create_unlock_ticket/s, 'who is told what to do');
my ($ticket) = run_as('alice', UNLOCK . 'SELECT tde_vault.create_unlock_ticket();') =~ /^([0-9a-f]{64})$/m;
($ok, $dump, $err) = dump_all('alice', $ticket, '--no-role-passwords');
ok($ok, 'with a ticket it works') or diag($err);
is(scalar(() = $dump =~ /^\d+\tqmarker7kx2vw9/mg), 62, 'all rows are in it');
unlike($dump, qr/\Q$ticket\E/, 'and not the ticket');

$node->stop;
done_testing();
