# A session that may read a realm keeps that answer.  What a transaction has
# changed itself, and taken back, does not stay in it; nor does an unlock that
# runs out in the middle of a transaction; nor one that ended with the role, or
# with what the session was handed on for; nor what a process beside has.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', conf => "tde_vault.audit_realm_reads = off\n");

$node->safe_psql('postgres', q{
	CREATE ROLE officer LOGIN; CREATE ROLE alice LOGIN; CREATE ROLE clerk; CREATE ROLE staff; CREATE ROLE late;
	GRANT clerk TO alice; GRANT late TO officer WITH ADMIN OPTION;
	CREATE TABLE patients (id int PRIMARY KEY, name text) USING tde_heap;
	INSERT INTO patients SELECT g, 'marker_row' FROM generate_series(1, 1000) g;
	CREATE TABLE open_files (id int PRIMARY KEY, name text) USING tde_heap;
	INSERT INTO open_files VALUES (1, 'marker_row');
	ANALYZE;
	GRANT SELECT ON patients, open_files TO alice, officer, clerk;
	ALTER DATABASE ENABLE DATABASE VAULT;
	GRANT vault_admin TO officer});

$node->safe_psql('postgres', q{
	CREATE REALM pii REQUIRE VAULT PASSWORD;
	ALTER REALM pii ADD TABLE patients;
	ALTER REALM pii AUTHORIZE alice;
	GRANT VAULT PASSWORD ON REALM pii TO alice PASSWORD 'alice knows';
	CREATE REALM files;
	ALTER REALM files ADD TABLE open_files;
	ALTER REALM files AUTHORIZE staff}, extra_params => [ '-U', 'officer' ]);

my %session = map { $_ => $node->background_psql('postgres', extra_params => [ '-U', $_ ], on_error_stop => 0) } qw(alice officer);

sub says
{
	my ($who, $sql) = @_;
	my $out = $session{$who}->query($sql);
	my $error = $session{$who}{stderr};
	$session{$who}{stderr} = '';
	return $out . ($error =~ /ERROR: +(.*)/ ? "refused: $1" : '');
}

# --- what a transaction has changed itself, and taken back -----------------------------------

my $read = 'SELECT name FROM open_files WHERE id = 1';
my $no = qr/^refused: not authorized for realm "files"/;

says('officer', "PREPARE p AS $read");
foreach my $give ('ALTER REALM files AUTHORIZE officer', q{CALL tde_vault.realm_mode('files', 'disable')})
{
	foreach my $undo ([ 'BEGIN', 'ROLLBACK', '' ], [ 'BEGIN; SAVEPOINT s', 'ROLLBACK TO s', 'ROLLBACK' ])
	{
		my ($begin, $back, $end) = @$undo;
		my $what = "$give; $back";

		like(says('officer', $read), $no, "$what: before: no row");
		says('officer', $begin);
		says('officer', $give);
		is(says('officer', $read), 'marker_row', '... in the transaction: rows');
		is(says('officer', 'EXECUTE p'), 'marker_row', '... of the prepared statement, too');
		says('officer', $back);
		like(says('officer', $read), $no, '... taken back: none');
		says('officer', 'ROLLBACK; BEGIN') if $end;
		like(says('officer', 'EXECUTE p'), $no, '... nor of the prepared statement');
		says('officer', 'ROLLBACK') if $end;
	}
}

# the other way round, and a function that catches an error
$node->safe_psql('postgres', 'ALTER REALM files AUTHORIZE officer', extra_params => [ '-U', 'officer' ]);
is(says('officer', $read), 'marker_row', 'authorized: rows');
says('officer', 'BEGIN; SAVEPOINT s');
says('officer', 'ALTER REALM files REVOKE officer');
like(says('officer', $read), $no, '... revoked in the transaction: none');
says('officer', 'ROLLBACK TO s');
is(says('officer', $read), 'marker_row', '... taken back: rows');
says('officer', 'COMMIT');
is(says('officer', $read), 'marker_row', '... and after it');
says('officer', 'ALTER REALM files REVOKE officer');
says('officer', q{DO $$BEGIN BEGIN CALL tde_vault.realm_authorize('files', ARRAY['officer']); PERFORM name FROM open_files; RAISE EXCEPTION 'x'; EXCEPTION WHEN raise_exception THEN NULL; END; END$$});
like(says('officer', $read), $no, 'a block that has failed gives nothing');

# --- an unlock that runs out -----------------------------------------------------------------

$read = 'SELECT name FROM patients WHERE id = 1';
my $unlock = q{UNLOCK REALM pii PASSWORD 'alice knows'};
my $locked = qr/^refused: vault password required/;

# asks again and again, in one transaction
sub runs_out
{
	my ($sql) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $said;

	do { $said = says('alice', "SAVEPOINT s; $sql; RELEASE s"); } while ($said !~ /refused/ && time < $deadline);
	return $said;
}

says('alice', "PREPARE p AS $read");
foreach my $sql ($read, 'EXECUTE p', 'FETCH 1 FROM c')
{
	my $first;

	# on a busy machine it may end before it was used
	foreach my $try (1 .. 20)
	{
		$node->safe_psql('postgres', q{GRANT VAULT PASSWORD ON REALM pii TO alice PASSWORD 'alice knows' VALID FOR INTERVAL '4 seconds'}, extra_params => [ '-U', 'officer' ]);
		says('alice', $unlock);
		says('alice', 'BEGIN; DECLARE c SCROLL CURSOR FOR SELECT name FROM patients');
		$first = says('alice', $read);
		last if $first eq 'marker_row';
		says('alice', 'ROLLBACK');
	}
	is($first, 'marker_row', "a password that ends: $sql: rows first");
	like(runs_out($sql), $locked, '... and none when it has ended');
	says('alice', 'ROLLBACK');
}
$node->safe_psql('postgres', q{GRANT VAULT PASSWORD ON REALM pii TO alice PASSWORD 'alice knows'}, extra_params => [ '-U', 'officer' ]);

# --- what ends an unlock of the session itself -------------------------------------------------

foreach my $end ('SET ROLE clerk', 'RESET ROLE', 'SET SESSION AUTHORIZATION DEFAULT', 'RESET ALL', 'DISCARD ALL', q{SELECT set_config('role', 'none', false)})
{
	says('alice', $unlock);
	is(says('alice', $read), 'marker_row', "$end: rows before");
	says('alice', $end);
	like(says('alice', $read), $locked, '... none after');
	says('alice', 'RESET ROLE');
}
says('alice', $unlock);
says('alice', "BEGIN; $read; SET LOCAL ROLE clerk");
like(says('alice', $read), $locked, 'SET LOCAL ROLE: none');
says('alice', 'ROLLBACK');
like(says('alice', $read), $locked, '... nor when it is over');

# --- parallel workers ----------------------------------------------------------------------------

says('alice', 'SET force_parallel_mode = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0');
my $all = 'SELECT count(*) FROM patients WHERE name = $$marker_row$$';
says('alice', $unlock);
like(says('alice', "EXPLAIN (COSTS OFF) $all"), qr/Workers Planned/, 'a parallel query');
is(says('alice', $all), '1000', '... has the rows');
$node->safe_psql('postgres', q{REVOKE VAULT PASSWORD ON REALM pii FROM alice}, extra_params => [ '-U', 'officer' ]);
like(says('alice', $all), $locked, '... and none after the password is gone');
$session{$_}->quit foreach keys %session;
$node->stop;
done_testing();
