# What a superuser plants, copies or weakens around a realm.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

# No master key of the cluster: the copy of a database begins with none.
my $node = TdeVault->create('main');
$node->create_database('clinic');

$node->safe_psql('clinic', q{
	CREATE ROLE officer LOGIN; CREATE ROLE nurse LOGIN; CREATE ROLE dba LOGIN SUPERUSER;
	CREATE SCHEMA ward; GRANT USAGE ON SCHEMA ward TO nurse;
	CREATE TABLE ward.patients (id int, name text) USING tde_heap;
	INSERT INTO ward.patients VALUES (1, 'marker_row');
	CREATE TABLE public.rooms (id int);
	GRANT SELECT ON ward.patients TO nurse;
	ALTER DATABASE ENABLE DATABASE VAULT;
	GRANT vault_admin TO officer});

sub as
{
	my ($user, $sql, %opt) = @_;
	my ($rc, $out, $err) = $node->psql($opt{db} // 'clinic', $sql,
		extra_params => [ '-U', $user ], on_error_stop => 1);
	return $rc == 0 ? $out : "refused: $err";
}

is(as('officer', 'CREATE REALM records; ALTER REALM records ADD SCHEMA ward; ALTER REALM records AUTHORIZE nurse'),
	'', 'a realm');
is(as('nurse', 'SELECT name FROM ward.patients'), 'marker_row', 'control: who is authorized reads');

foreach my $case (
	[ 'a function of the server is replaced',
		q{CREATE OR REPLACE FUNCTION pg_catalog.lpad(text, integer) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN $1; END'},
		qr/changing a function of the server is refused/ ],
	[ 'a function of the server is renamed', 'ALTER FUNCTION pg_catalog.lpad(text, integer) RENAME TO lpad2',
		qr/changing a function of the server is refused/ ],
	[ 'a function in the schema of a realm',
		q{CREATE FUNCTION ward.lower(text) RETURNS text LANGUAGE sql AS 'SELECT $1'},
		qr/not authorized for realm/ ],
	[ 'a type in the schema of a realm', q{CREATE TYPE ward.mood AS ENUM ('sad')}, qr/not authorized for realm/ ],
	[ 'a table is moved into the schema of a realm', 'ALTER TABLE public.rooms SET SCHEMA ward',
		qr/not authorized for realm/ ],
	[ 'a search path for everybody', 'ALTER ROLE ALL SET search_path = evil', qr/setting search_path .* is refused/ ],
	[ 'a search path for the database', 'ALTER DATABASE clinic SET search_path = evil',
		qr/setting search_path .* is refused/ ],
	[ 'a role for everybody', 'ALTER ROLE ALL SET role = dba', qr/setting role .* is refused/ ],
	[ 'a weaker cipher', q{CALL tde_vault.encrypt_table('ward.patients', 'aes-256-ctr')},
		qr/not authorized for realm/ ],
	[ 'no cipher', q{CALL tde_vault.decrypt_table('ward.patients')}, qr/not authorized for realm/ ],
	[ 'an extension takes a function in',
		q{CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER EXTENSION tde_vault ADD FUNCTION f()},
		qr/ALTER EXTENSION ADD and DROP is refused/ ])
{
	my ($what, $sql, $expected) = @$case;
	like(as('dba', $sql), $expected, "refused: $what");
}
is(as('dba', 'ALTER ROLE ALL SET work_mem = 4096; ALTER ROLE ALL RESET work_mem'), '',
	'other settings are the DBA\'s');
is(as('dba', q{CREATE SCHEMA more; ALTER TABLE public.rooms SET SCHEMA more}), '', 'and other schemas');
is(as('nurse', 'SELECT lpad(name, 10) FROM ward.patients'), 'marker_row', 'the server\'s function is what it was');

# A copy of the database, where neither it nor the cluster has a master key.
is(as('dba', 'CREATE DATABASE stolen TEMPLATE clinic'), '', 'the database is copied');
foreach my $user (qw(dba nurse))
{
	my $answer = as($user, 'SELECT name FROM ward.patients', db => 'stolen');
	like($answer, qr/the vault of this database is closed/, "$user reads nothing in the copy");
	unlike($answer, qr/marker_row/, '... and no row is in the error');
}
$node->restart;
like(as('dba', 'SELECT name FROM ward.patients', db => 'stolen'),
	qr/the vault of this database is closed/, 'nor after a restart');
is(as('officer', 'ALTER DATABASE ENABLE DATABASE VAULT', db => 'stolen'), '', 'its vault administrator opens it');
is(as('nurse', 'SELECT name FROM ward.patients', db => 'stolen'), 'marker_row', '... for who is authorized');
like(as('dba', 'SELECT name FROM ward.patients', db => 'stolen'),
	qr/not authorized for realm/, '... and nobody else');

# Reads that a realm allows can be left out of the audit log, refusals cannot.
sub audited
{
	my ($pattern) = @_;
	my $n = 0;
	$n += () = slurp_file($_) =~ /$pattern/g foreach glob($node->data_dir . '/tde_vault/audit/*.jsonl');
	return $n;
}
my $allowed = qr/"REALM_ACCESS".*"action":"SELECT".*"result":"ALLOWED"/;
my $denied  = qr/"REALM_ACCESS".*"action":"SELECT".*"result":"DENIED"/;
my $before = audited($allowed);
as('nurse', 'SELECT name FROM ward.patients');
is(audited($allowed), $before + 1, 'a read is audited');
$node->append_conf('postgresql.conf', 'tde_vault.audit_realm_reads = off');
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('tde_vault.audit_realm_reads') = 'off'});
my $refused = audited($denied);
is(as('nurse', 'SELECT name FROM ward.patients'), 'marker_row', 'and works without');
is(audited($allowed), $before + 1, '... when that is switched off');
like(as('dba', 'SELECT name FROM ward.patients'), qr/not authorized for realm/, 'a refusal');
is(audited($denied), $refused + 1, '... is audited all the same');
like(as('dba', 'ALTER SYSTEM SET tde_vault.audit_realm_reads = off'), qr/cannot be changed while a vault is on/,
	'the setting is not the DBA\'s');
done_testing();
