# Recovery ends in the middle of small records that were opened before it was their
# turn: at a position, a transaction, a time, with it and without, paused there and
# promoted.  What was opened and not replayed is not seen, and the server goes its
# own way from there.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $archive = PostgreSQL::Test::Utils::tempdir_short();
my $primary = TdeVault->create('primary', streaming => 1, initdb => ['--wal-segsize=1'], conf => <<"CONF");
default_table_access_method = tde_heap
recovery_prefetch = try
checkpoint_timeout = 1h
archive_mode = on
archive_command = 'cp %p $archive/%f'
CONF
$primary->safe_psql('postgres', 'CREATE EXTENSION pg_walinspect; CREATE TABLE t (id int PRIMARY KEY, v text)');
$primary->backup('b');

# One transaction a statement; between the rows, keys that come, go and get versions.
use constant ROWS => 600;
my $from = $primary->lsn('insert');
my @sql;
foreach my $i (1 .. ROWS)
{
	push @sql, "INSERT INTO t VALUES ($i, 'row $i')";
	push @sql, "UPDATE t SET v = v || '!' WHERE id = $i - 5" if $i % 3 == 0;
	push @sql, "CREATE TABLE k$i (a int PRIMARY KEY); INSERT INTO k$i VALUES (1), (2)" if $i % 40 == 0;
	push @sql, "DROP TABLE k" . ($i - 40) if $i % 80 == 0;
	push @sql, 'ALTER TABLE t ROTATE ENCRYPTION KEY' if $i % 250 == 0;
}
$primary->safe_psql('postgres', join ";\n", @sql);

# What WAL says of it: each commit, in order, with how many rows there are then.
sub wal
{
	my ($columns, $where) = @_;
	return map { [ split /\|/ ] } split /\n/, $primary->safe_psql('postgres',
		"SELECT $columns FROM pg_get_wal_records_info_till_end_of_wal('$from') WHERE $where ORDER BY start_lsn");
}
sub position { my ($high, $low) = map { hex } split m{/}, shift; return ($high << 32) + $low; }
my $file = $primary->safe_psql('postgres', q{SELECT pg_relation_filenode('t')});
my $rows = 0;
my %row_of = map { $_->[0] => ++$rows } wal('xid', "description LIKE 'Heap/INSERT%' AND block_ref LIKE '%/$file %'");
is($rows, ROWS, 'each row is found in WAL');
$rows = 0;
my @commits = map {
	my ($time) = $_->[2] =~ /^(\S+ \S+)/;
	{ lsn => position($_->[0]), xid => $_->[1], time => $time, rows => $rows += exists $row_of{ $_->[1] } }
} wal('start_lsn, xid, description', "resource_manager = 'Transaction' AND record_type = 'COMMIT'");
my @small = map { $_->[0] } wal('start_lsn', "resource_manager = 'tde_vault_sealed' AND record_length < 200");
cmp_ok(scalar @small, '>', ROWS, 'there are small records');

# Rows when recovery ends before the first commit for which that is so.
sub rows_before
{
	my ($is_past) = @_;
	my $n = 0;
	foreach my $commit (@commits)
	{
		last if $is_past->($commit);
		$n = $commit->{rows};
	}
	return $n;
}

$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
$primary->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'}) or die 'archiving did not end';
my $made = 0;
sub recover_to
{
	my ($kind, $target, $inclusive, $action, $wanted) = @_;
	my $name = "$kind, " . ($inclusive eq 'on' ? 'with it' : 'without') . ", $action";
	$made++;
	system_or_bail('cp', '-a', $primary->backup_dir . '/b', $primary->backup_dir . "/b$made");
	my $node = TdeVault->create_from_backup("made$made", $primary, "b$made");
	$node->append_conf('postgresql.conf', <<"CONF");
archive_mode = off
restore_command = 'cp $archive/%f %p'
recovery_target_$kind = '$target'
recovery_target_inclusive = $inclusive
recovery_target_action = '$action'
CONF
	$node->set_recovery_mode;
	$node->start;
	if ($action eq 'pause')
	{
		$node->poll_query_until('postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'}) or die 'not paused';
		$node->sql_is('SELECT count(*), max(id) FROM t', "$wanted|$wanted", "$name: the rows up to there");
		$node->promote;
	}
	$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery did not end';
	$node->sql_is('SELECT count(*), max(id) FROM t', "$wanted|$wanted", "$name: promoted, the same");
	$node->safe_psql('postgres', q{INSERT INTO t SELECT g, 'new' FROM generate_series(2001, 2100) g; ALTER TABLE t ROTATE ENCRYPTION KEY; UPDATE t SET v = v || '?' WHERE id % 9 = 0});
	$node->crash;
	$node->sql_is('SELECT count(*) FROM t', $wanted + 100, "$name: it goes its own way, over a crash");
	$node->verify_ok("$name: verify is clean");
	$node->stop('immediate');
	return;
}

my $lsn = $small[ @small / 3 ];
recover_to('lsn', $lsn, 'off', 'pause', rows_before(sub { $_[0]{lsn} >= position($lsn) }));
$lsn = $small[ @small * 3 / 4 ];
recover_to('lsn', $lsn, 'on', 'promote', rows_before(sub { $_[0]{lsn} > position($lsn) }));
my ($commit) = grep { $_->{rows} == ROWS / 2 } @commits;
recover_to('xid', $commit->{xid}, 'off', 'promote', ROWS / 2 - 1);
recover_to('xid', $commit->{xid}, 'on', 'pause', ROWS / 2);
recover_to('time', $commit->{time}, 'off', 'pause', rows_before(sub { $_[0]{time} ge $commit->{time} }));
$primary->stop;
done_testing();
