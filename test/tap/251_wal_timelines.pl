# Standbys have read more than they have replayed, and then it goes on in another way:
# the primary loses the end of its WAL in the middle of a record that a standby has
# read half of; one standby is promoted while others wait with what they have; the
# old primary is rewound.  All of them replay what counts, and nothing else.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $archive = PostgreSQL::Test::Utils::tempdir_short();
my $primary = TdeVault->create('primary', streaming => 1, initdb => ['--wal-segsize=1'], conf => <<"CONF");
default_table_access_method = tde_heap
tde_vault.cipher = 'aes-256-xts'
recovery_prefetch = try
checkpoint_timeout = 1h
archive_mode = on
archive_command = 'cp %p $archive/%f'
wal_keep_size = 200MB
wal_retrieve_retry_interval = 100ms
CONF
use constant ROWS => q{SELECT count(*), md5(string_agg(id || v, ',' ORDER BY id)) FROM t};
my $id = 0;

# Small records, and keys that come and get versions.
sub work
{
	my ($node, $n) = @_;
	my @sql;
	foreach (1 .. $n)
	{
		$id++;
		push @sql, "INSERT INTO t VALUES ($id, 'row $id')";
		push @sql, "UPDATE t SET v = v || '!' WHERE id = $id - 7" if $id % 4 == 0;
		push @sql, "CREATE TABLE k$id (a int); INSERT INTO k$id VALUES (1)" if $id % 60 == 0;
		push @sql, 'ALTER TABLE t ROTATE ENCRYPTION KEY' if $id % 500 == 0;
	}
	$node->safe_psql('postgres', join ";\n", @sql, 'SELECT pg_switch_wal()');
	return;
}

sub archived
{
	my ($node) = @_;
	$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'}) or die 'archiving did not end';
	return;
}

sub follows_ok
{
	my ($node, $source, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $lsn = $source->lsn('insert');
	$source->safe_psql('postgres', 'CREATE TABLE IF NOT EXISTS mark (); DROP TABLE mark; SELECT pg_switch_wal()');
	$node->poll_query_until('postgres', "SELECT pg_last_wal_replay_lsn() >= '$lsn'::pg_lsn") or diag('it does not come so far');
	$node->sql_is(ROWS, $source->safe_psql('postgres', ROWS), "$name: the same rows");
	$node->verify_ok("$name: verify is clean");
	return;
}
sub pause { $_->safe_psql('postgres', 'SELECT pg_wal_replay_pause()') foreach @_; return; }
sub resume { $_->safe_psql('postgres', 'SELECT pg_wal_replay_resume()') foreach @_; return; }

$primary->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE pad (v text);
CREATE TABLE big (v text);
ALTER TABLE big ALTER v SET STORAGE PLAIN;
INSERT INTO big VALUES ('small');
SQL
sub standby
{
	my ($name, $conf) = @_;
	$primary->backup("for_$name");
	my $node = TdeVault->create_from_backup($name, $primary, "for_$name");
	$node->append_conf('postgresql.conf', $conf);
	$node->set_standby_mode;
	$node->start;
	return $node;
}
my $streaming = standby('streaming', "primary_conninfo = '" . $primary->connstr . "'");
my $cascaded = standby('cascaded', "archive_mode = off\nprimary_conninfo = '" . $streaming->connstr . "'");
my $fed = standby('fed', "archive_mode = off\nrestore_command = 'cp $archive/%f %p'");

# --- the end of WAL is lost in the middle of a record ------------------------------

pause($fed, $cascaded);
work($primary, 500);
$primary->wait_for_catchup($streaming, 'replay', $primary->lsn('insert'));
$streaming->stop;
$cascaded->stop('immediate');
my ($lsn, $cut, $lost) = split /\n/, $primary->safe_psql('postgres', <<'SQL');
DO $$
DECLARE
	at bigint;
BEGIN
	LOOP
		at := (pg_current_wal_insert_lsn() - '0/0')::bigint % 1048576;
		EXIT WHEN at BETWEEN 1048576 - 2500 AND 1048576 - 700;
		INSERT INTO pad SELECT CASE WHEN at > 1048576 - 12000 THEN 'x' ELSE (SELECT string_agg(md5((g * at)::text), '') FROM generate_series(1, 50) g) END;
		COMMIT;
	END LOOP;
END $$;
SELECT pg_current_wal_insert_lsn();
SELECT pg_walfile_name(pg_current_wal_insert_lsn());
INSERT INTO big SELECT string_agg(md5(g::text), '') FROM generate_series(1, 180) g;
SELECT pg_walfile_name(pg_current_wal_insert_lsn());
SQL
isnt($lost, $cut, 'a record lies in two segments');
$primary->kill_server;
system_or_bail('cp', $primary->data_dir . "/pg_wal/$cut", "$archive/$cut");
unlink $primary->data_dir . "/pg_wal/$lost", $primary->data_dir . "/pg_wal/archive_status/$lost.ready", "$archive/$lost";
resume($fed);
$fed->poll_query_until('postgres', "SELECT pg_last_wal_replay_lsn() >= '$lsn'::pg_lsn") or die 'the standby did not read that far';
pause($fed);
$primary->start;
$primary->sql_is('SELECT count(*) FROM big', '1', 'what that record said is lost');
work($primary, 200);
archived($primary);
$_->start foreach $streaming, $cascaded;
$primary->wait_for_catchup($streaming, 'replay', $primary->lsn('insert'));
resume($fed);
follows_ok($streaming, $primary, 'lost end, streaming');
follows_ok($fed, $primary, 'lost end, from the archive, where half of the record was');
follows_ok($cascaded, $primary, 'lost end, cascaded');

# --- another timeline ------------------------------------------------------------------

pause($fed, $cascaded);
work($primary, 300);
archived($primary);
$primary->wait_for_catchup($streaming, 'replay', $primary->lsn('insert'));
$streaming->promote;
$streaming->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'promotion';

# the old one goes on for a while, and nobody hears of it
$primary->kill_server;
$primary->append_conf('postgresql.conf', 'archive_mode = off');
$primary->start;
my $parted = $id;
work($primary, 200);
$primary->stop;
$id = $parted;

my $new = $streaming;
work($new, 300);
archived($new);
resume($fed, $cascaded);
follows_ok($fed, $new, 'new timeline, from the archive');
follows_ok($cascaded, $new, 'new timeline, cascaded');

# --- the old primary -------------------------------------------------------------------

my $conf = slurp_file($primary->data_dir . '/postgresql.conf');
$new->safe_psql('postgres', 'CHECKPOINT');
$new->command_ok([ 'pg_rewind', '--target-pgdata', $primary->data_dir, '--source-server', $new->connstr('postgres'), '--no-sync' ], 'pg_rewind runs');
$primary->write_file($primary->data_dir . '/postgresql.conf', $conf);
$primary->enable_streaming($new);
work($new, 200);
$primary->start;
follows_ok($primary, $new, 'rewound');
foreach my $node ($primary, $new, $fed, $cascaded)
{
	unlike(slurp_file($node->logfile), qr/PANIC|encrypted WAL record|does not hold the key/, $node->name . ': nothing amiss in its log');
	$node->stop('immediate');
}
done_testing();
