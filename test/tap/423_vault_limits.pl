# What the vault's own roles cannot do, and replication connections, which
# take SQL, too.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(conf => "wal_level = logical\nmax_wal_senders = 5\nmax_replication_slots = 5\n", sql => <<'SQL');
CREATE ROLE auditor LOGIN;
CREATE ROLE operator LOGIN;
CREATE ROLE replicant LOGIN REPLICATION;
ALTER ROLE alice REPLICATION;
CREATE ROLE other;
GRANT USAGE ON SCHEMA secret TO security, auditor, operator;
ALTER ROLE security CREATEROLE;
CREATE TABLE public.of_security (id int);
INSERT INTO public.of_security VALUES (1);
ALTER TABLE public.of_security OWNER TO security;
GRANT ALL ON SCHEMA public TO PUBLIC;
SQL
run_as('security', 'GRANT vault_auditor TO auditor; GRANT vault_operator TO operator;');

sub refused
{
	my ($who, $sql, $why) = @_;
	my $out = run_as($who, "$sql;");
	like($out, $why // qr/refused while a vault is on|only a vault administrator|permission denied|must be (owner|superuser|able)|cannot be changed|not authorized for realm|vault password required/, "$who: $sql");
	unlike($out, qr/qmarker/, "$who: $sql: shows nothing");
	return;
}

# --- vault_admin: no tables, no grants, no rows ----------------------------------------

refused('security', $_)
  foreach ('CREATE TABLE public.x (id int)', 'CREATE TABLE public.x AS SELECT 1', 'SELECT 1 INTO public.x',
	'CREATE MATERIALIZED VIEW public.x AS SELECT 1', 'CREATE TEMP TABLE x (id int)', 'CREATE UNLOGGED TABLE public.x (id int)',
	'CREATE TABLE public.x (id int) USING tde_heap', 'CREATE TABLE public.x PARTITION OF secret.log DEFAULT',
	'DO $$ BEGIN CREATE TABLE public.x (id int); END $$', 'CREATE SCHEMA x CREATE TABLE y (id int)',
	'GRANT SELECT ON public.of_security TO PUBLIC', 'GRANT SELECT ON public.plain TO other', 'GRANT SELECT ON secret.small TO security',
	'GRANT ALL ON ALL TABLES IN SCHEMA secret TO security',
	'GRANT pg_read_all_data TO security', 'GRANT owner TO security', 'GRANT pg_execute_server_program TO security',
	'ALTER ROLE security SUPERUSER', 'ALTER ROLE security BYPASSRLS', 'ALTER ROLE security REPLICATION', 'CREATE ROLE x SUPERUSER',
	'SELECT * FROM secret.small', 'INSERT INTO secret.small VALUES (2)', 'DELETE FROM secret.small', 'TRUNCATE secret.small',
	'ALTER TABLE secret.small OWNER TO security', 'COPY secret.small TO STDOUT',
	'SET ROLE owner', 'SET SESSION AUTHORIZATION owner',
	'SELECT count(*) FROM tde_vault.audit_log', 'CALL tde_vault.rotate_master_key()', 'SELECT * FROM tde_vault.keys');

# Nor does a superuser make it more than it is, or less.
refused('mallory', $_)
  foreach ('ALTER ROLE security SUPERUSER', 'ALTER ROLE security NOLOGIN', 'ALTER ROLE vault_admin LOGIN',
	q{ALTER ROLE vault_admin LOGIN PASSWORD 'x'}, 'ALTER ROLE vault_admin SUPERUSER', 'ALTER ROLE vault_admin RENAME TO x',
	'DROP ROLE vault_admin', 'CREATE ROLE x IN ROLE vault_admin', 'CREATE ROLE x LOGIN IN ROLE security', 'GRANT security TO mallory',
	'GRANT vault_admin TO mallory', 'GRANT vault_auditor TO mallory', 'GRANT vault_operator TO mallory', 'REVOKE vault_admin FROM security',
	'INSERT INTO pg_auth_members VALUES (1, 2, 3, true)', 'DROP OWNED BY security', 'REASSIGN OWNED BY security TO mallory',
	'ALTER GROUP vault_admin ADD USER mallory', 'CREATE USER x IN GROUP vault_admin');

# --- vault_auditor reads, vault_operator turns keys ----------------------------------------

refused($_->[0], $_->[1])
  foreach map { my $who = $_; map { [ $who, $_ ] } (
	'CREATE REALM x', 'DROP REALM pii', 'ALTER REALM pii DISABLE', 'ALTER REALM pii AUTHORIZE other', 'ALTER REALM pii REMOVE TABLE secret.small',
	q{GRANT VAULT PASSWORD ON REALM pii TO alice PASSWORD 'x'}, 'REVOKE VAULT PASSWORD ON REALM pii FROM alice',
	'CREATE COMMAND RULE x FOR ALL ON DATABASE DENY', 'ALTER DATABASE DISABLE DATABASE VAULT',
	'SELECT * FROM tde_vault.create_recovery_shares(2, 2)', 'GRANT vault_admin TO auditor', 'GRANT vault_operator TO other',
	'SELECT * FROM secret.small', 'SET ROLE vault_admin', 'ALTER SYSTEM SET tde_vault.unlock_timeout = 1') } qw(auditor operator);
refused('auditor', $_) foreach ('CALL tde_vault.rotate_master_key()', 'SELECT * FROM tde_vault.keys', q{SELECT tde_vault.audit_note('x')});
refused('operator', $_) foreach ('SELECT count(*) FROM tde_vault.audit_log', 'SELECT * FROM tde_vault.audit_verify()');
like(run_as('auditor', 'SELECT count(*) > 0 FROM tde_vault.audit_log;'), qr/^t$/m, 'the auditor reads the log');
like(run_as('operator', 'SELECT count(*) > 0 FROM tde_vault.keys;'), qr/^t$/m, 'the operator sees keys');

# --- replication connections ---------------------------------------------------------------------

sub stream
{
	my ($who, $sql, $mode) = @_;
	my $out = '';
	local $ENV{PGOPTIONS} = '';
	IPC::Run::run([ 'psql', '-X', '-A', '-t', '-v', 'VERBOSITY=verbose', '-d',
			$node->connstr('postgres') . " user=$who replication=" . ($mode // 'database'),
			map { ('-c', $_) } @$sql ], '>', \$out, '2>&1');
	return $out;
}

sub stream_refused
{
	my ($who, $sql, $why) = @_;
	my $from = $node->log_size;
	my $out = stream($who, ref $sql ? $sql : [ $sql ]);
	my $name = join('; ', ref $sql ? @$sql : $sql);
	like($out, $why // REFUSED, "replication, $who: $name");
	unlike($out . PostgreSQL::Test::Utils::slurp_file($node->logfile, $from), qr/qmarker/, "replication, $who: $name: shows nothing");
	return;
}

like(stream('replicant', ['IDENTIFY_SYSTEM']), qr/^\d+\|1\|/m, 'replication works');
stream_refused('mallory', $_)
  foreach ('SELECT * FROM secret.small', 'COPY secret.small TO STDOUT', 'SELECT * FROM secret.patients WHERE id = 1',
	'ALTER REALM pii DISABLE', 'ALTER DATABASE DISABLE DATABASE VAULT', 'GRANT vault_admin TO mallory', 'CREATE REALM x',
	q{SELECT pg_read_file('PG_VERSION')}, 'ALTER TABLE secret.small OWNER TO mallory', q{DO $$ BEGIN PERFORM * FROM secret.small; END $$},
	q{SET session_replication_role = replica},
	[ q{BEGIN}, 'SELECT * FROM secret.small' ], 'SET ROLE alice; SELECT * FROM secret.small');
stream('mallory', ['CREATE_REPLICATION_SLOT x LOGICAL test_decoding']);
like(run_as('alice', UNLOCK . q{INSERT INTO secret.small VALUES (9, 'qmarker7kx2vw9');}), qr/^INSERT 0 1$/m, 'a change of the realm');
# a slot is given the transaction, and no row of the realm
stream_refused('mallory', q{SELECT * FROM pg_logical_slot_get_changes('x', NULL, NULL)}, qr/BEGIN \d+\n[^\n]*COMMIT \d+$/m);
stream_refused('alice', 'SELECT * FROM secret.small', qr/vault password required/);
like(stream('alice', [ q{UNLOCK REALM pii PASSWORD 'open sesame'}, 'SELECT left(v, 5) FROM secret.small WHERE id = 1', 'LOCK REALM ALL', 'SELECT left(v, 5) FROM secret.small' ]),
	qr/UNLOCK REALM\nqmark\nLOCK REALM\n.*vault password required/s, 'who is authorized unlocks there, too');
stream_refused('alice', q{UNLOCK REALM pii PASSWORD 'wrong'}, qr/is not correct/);
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/open sesame'/, 'and no password is in the log');
like(stream('mallory', ['SELECT 1'], 'true'), qr/cannot execute SQL commands in WAL sender|syntax error/, 'a physical one takes no SQL');
like(stream('mallory', ['READ_REPLICATION_SLOT x'], 'true'), qr/./, 'commands of the protocol are the server\'s');

$node->stop;
done_testing();
