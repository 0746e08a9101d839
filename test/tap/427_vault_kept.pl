# A session that may read a realm keeps that answer.  Whatever takes it away is
# seen by its next statement, also where nothing makes the server look around:
# in a transaction that has every lock it needs, by a prepared statement, by a
# cursor that is open.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', conf => "tde_vault.audit_realm_reads = off\nwal_level = replica\n");

$node->safe_psql('postgres', q{
	CREATE ROLE officer LOGIN; CREATE ROLE alice LOGIN; CREATE ROLE mallory SUPERUSER LOGIN; CREATE ROLE staff;
	CREATE ROLE auditor LOGIN IN ROLE vault_auditor;
	GRANT staff TO alice; GRANT staff TO officer WITH ADMIN OPTION;
	CREATE TABLE patients (id int PRIMARY KEY, name text) USING tde_heap;
	INSERT INTO patients SELECT g, 'marker_row' FROM generate_series(1, 10) g;
	ANALYZE patients;
	GRANT SELECT ON patients TO alice;
	SET ROLE mallory;
	CREATE FUNCTION public.peep() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT name FROM patients WHERE id = 1); END';
	RESET ROLE;
	ALTER DATABASE ENABLE DATABASE VAULT;
	GRANT vault_admin TO officer});

sub officer { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'officer' ]); }

officer(q{
	CREATE REALM pii REQUIRE VAULT PASSWORD;
	ALTER REALM pii ADD TABLE patients;
	ALTER REALM pii AUTHORIZE staff;
	GRANT VAULT PASSWORD ON REALM pii TO staff PASSWORD 'staff knows';
	CREATE REALM other;
	ALTER REALM other AUTHORIZE officer});

# Errors are marked by what they say, so that a session can be asked on.
my $alice = $node->background_psql('postgres', extra_params => [ '-U', 'alice' ], on_error_stop => 0);

sub says
{
	my ($sql) = @_;
	my $out = $alice->query($sql);
	my $error = $alice->{stderr};
	$alice->{stderr} = '';
	return $out . ($error =~ /ERROR: +(.*)/ ? "refused: $1" : '');
}

my $unlock = q{UNLOCK REALM pii PASSWORD 'staff knows'};
my $read = 'SELECT name FROM patients WHERE id = 1';

# Each: what takes away and gives back; as whom; what is then said
my @changes = (
	[ 'LOCK REALM pii', undef, 'alice', qr/vault password required/ ],
	[ 'REVOKE staff FROM alice', 'GRANT staff TO alice', 'officer', qr/not authorized for realm "pii"/ ],
	[ 'ALTER REALM pii REVOKE staff; REVOKE VAULT PASSWORD ON REALM pii FROM staff',
		q{ALTER REALM pii AUTHORIZE staff; GRANT VAULT PASSWORD ON REALM pii TO staff PASSWORD 'staff knows'}, 'officer',
		qr/not authorized for realm "pii"/ ],
	[ q{GRANT VAULT PASSWORD ON REALM pii TO staff PASSWORD 'another one'},
		q{GRANT VAULT PASSWORD ON REALM pii TO staff PASSWORD 'staff knows'}, 'officer', qr/vault password required/ ],
	[ 'ALTER REALM other ADD TABLE patients', 'ALTER REALM other REMOVE TABLE patients', 'officer',
		qr/not authorized for realm "other"/ ],
	[ 'CREATE COMMAND RULE no FOR SELECT ON TABLE patients DENY', 'DROP COMMAND RULE no', 'officer',
		qr/denied by a command rule/ ],
	[ 'CREATE COMMAND RULE no FOR SELECT ON COLUMN patients.name DENY', 'DROP COMMAND RULE no', 'officer',
		qr/denied by a command rule/ ]);

sub change
{
	my ($sql, $who) = @_;
	return unless defined $sql;
	return $who eq 'alice' ? says($sql) : $node->safe_psql('postgres', $sql, extra_params => [ '-U', $who ]);
}

says("PREPARE by_key(int) AS SELECT name FROM patients WHERE id = \$1");
foreach my $change (@changes)
{
	my ($take, $give, $who, $refusal) = @$change;
	(my $what = $take) =~ s/;.*//s;

	says($unlock);
	is(says($read), 'marker_row', "before $what: rows");
	is(says('EXECUTE by_key(1)'), 'marker_row', '... by a prepared statement');
	change($take, $who);
	like(says($read), qr/^refused: .*$refusal/, '... after it: none');
	like(says('EXECUTE by_key(1)'), qr/^refused: .*$refusal/, '... nor by the prepared statement');
	like(says('EXPLAIN (COSTS OFF) SELECT * FROM patients WHERE name = $$x$$'), qr/^refused: .*$refusal/, '... nor a plan');
	change($give, $who);

	says($unlock);
	says('BEGIN');
	is(says($read), 'marker_row', '... in a transaction, before: rows');
	says("DECLARE c CURSOR FOR SELECT name FROM patients; SAVEPOINT s");
	is(says('FETCH 1 FROM c'), 'marker_row', '... of a cursor, too');
	change($take, $who);
	like(says('FETCH 1 FROM c'), qr/^refused: /, '... after: none of the cursor') if $take !~ /COMMAND RULE/;
	says('ROLLBACK TO s');
	like(says($read), qr/^refused: .*$refusal/, '... nor of the table');
	says('ROLLBACK');
	change($give, $who);
}

# the answer is for who asks, not for whose function is on the stack
says($unlock);
is(says($read), 'marker_row', 'rows for alice');
like(says('SELECT public.peep()'), qr/^refused: .*peep/, '... and none for the function of somebody without a place in the vault');

# a read that is to be in the log is there, though the answer is known
my $logged = q{SELECT count(*) FROM tde_vault.audit_log WHERE event_type = 'REALM_ACCESS' AND result = 'ALLOWED'};
my $before = $node->safe_psql('postgres', $logged, extra_params => [ '-U', 'auditor' ]);
officer('ALTER SYSTEM SET tde_vault.audit_realm_reads = on');
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('tde_vault.audit_realm_reads') = 'on'});
is(says('SELECT 1'), '1', 'the session has the new setting');
is(says($read), 'marker_row', 'rows for alice');
is($node->safe_psql('postgres', $logged, extra_params => [ '-U', 'auditor' ]), $before + 1,
	'... and, with tde_vault.audit_realm_reads, a line in the audit log');
$alice->quit;
done_testing();
