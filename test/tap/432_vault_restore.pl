# From one cluster to another by pg_dump: roles, rows, and the vault's policy as
# statements, each by who may; afterwards the same realms and rules bind there.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = realm_server(sql => <<'SQL');
GRANT SELECT ON ALL SEQUENCES IN SCHEMA secret TO alice;
GRANT pg_read_all_data TO alice;
CREATE ROLE "Chief Nurse" LOGIN;
CREATE SCHEMA "Wards" AUTHORIZATION owner;
SET ROLE owner;
CREATE TABLE "Wards"."Beds" (id int, note text) USING tde_heap;
RESET ROLE;
SQL
my $made = run_as('security', <<'SQL');
CREATE REALM "Ward's" DESCRIPTION 'it''s a ward' OWNER "Chief Nurse" SIMULATE;
ALTER REALM "Ward's" ADD SCHEMA "Wards";
ALTER REALM "Ward's" AUTHORIZE "Chief Nurse", alice;
CREATE REALM off;
ALTER REALM off DISABLE;
CREATE COMMAND RULE "no copy" FOR COPY, TRUNCATE ON REALM pii DENY FROM ROLE "Chief Nurse" MESSAGE 'don''t';
CREATE COMMAND RULE note FOR SELECT ON COLUMN "Wards"."Beds".note DENY WHEN session_user <> 'alice' AND program_name <> 'it''s' SIMULATE;
CREATE COMMAND RULE plain FOR DELETE ON TABLE public.plain DENY;
CREATE COMMAND RULE db FOR GRANT ON DATABASE DENY;
ALTER COMMAND RULE db DISABLE;
SQL
unlike($made, qr/ERROR/, 'a policy');

use constant POLICY => <<'SQL';
SELECT realm, description, owner, mode, require_password FROM tde_vault.realms ORDER BY 1;
SELECT realm, kind, object FROM tde_vault.realm_objects ORDER BY 1, 2, 3;
SELECT realm, role FROM tde_vault.realm_authorizations ORDER BY 1, 2;
SELECT rule, actions, object_kind, object, roles, condition, message, mode FROM tde_vault.command_rules ORDER BY 1;
SQL
my $before = run_as('security', POLICY);
unlike($before, qr/ERROR/, 'it is seen by its administrator');

# --- out ---

my $dir = PostgreSQL::Test::Utils::tempdir();
sub dump_to
{
	my ($file, $who, $ticket, @command) = @_;
	local $ENV{PGOPTIONS} = $ticket ? "-c tde_vault.unlock_ticket=$ticket" : '';
	my $err = '';
	my $ok = IPC::Run::run([ @command, '-d', $node->connstr('postgres') . " user=$who" ], '>', "$dir/$file", '2>', \$err);
	return $ok ? '' : "failed: $err";
}
is(dump_to('globals.sql', 'postgres', '', 'pg_dumpall', '--globals-only'), '', 'roles, by the superuser');
my ($ticket) = run_as('alice', q{CALL tde_vault.unlock_realm('pii', 'open sesame'); SELECT tde_vault.create_unlock_ticket(1);}) =~ /^([0-9a-f]{64})$/m;
is(dump_to('rows.sql', 'alice', $ticket, 'pg_dump'), '', 'rows, by who is authorized');
is(dump_to('policy.sql', 'security', '', 'psql', '-XAt', '-c', q{SELECT statement || ';' FROM tde_vault.vault_statements() ORDER BY number}), '', 'the policy, by a vault administrator');
my $policy = slurp_file("$dir/policy.sql");
like($policy, qr/CREATE REALM/, 'as statements');
unlike($policy, qr/open sesame|argon/i, 'without passwords');
foreach my $who (qw(owner alice))
{
	unlike(run_as($who, q{SELECT statement FROM tde_vault.vault_statements(); TABLE tde_vault.vault_script;}), qr/CREATE REALM/, "which $who is not told");
}
$node->stop;

# --- in ---

my $new = TdeVault->create('new', conf => "log_min_messages = notice\n");
sub load
{
	my ($file, $who) = @_;
	my $out = '';
	IPC::Run::run([ 'psql', '-X', '-q', '-d', $new->connstr('postgres') . " user=$who", '-f', "$dir/$file" ], '>', \$out, '2>&1');
	return join "\n", grep { /ERROR/ && !/already exists/ } split /\n/, $out;
}
sub as { my ($who, $sql) = @_; my ($rc, $o, $e) = $new->psql('postgres', "\\set VERBOSITY verbose\n$sql", extra_params => [ '-U', $who ], on_error_stop => 0); return "$o\n$e" }

is(load('globals.sql', 'postgres'), '', 'roles are there');
is(load('rows.sql', 'postgres'), '', 'rows are there');
is($new->safe_psql('postgres', q{SELECT count(*) FROM secret.patients}), 60, 'all of them');
is($new->safe_psql('postgres', q{SELECT bool_and(tde_vault.is_encrypted(c)) FROM unnest('{secret.patients,secret.small,"\"Wards\".\"Beds\""}'::regclass[]) c}), 't', 'encrypted');
like(as('security', "CREATE REALM x"), qr/not enabled/, 'no vault yet');
unlike(as('postgres', 'ALTER DATABASE ENABLE DATABASE VAULT'), qr/ERROR/, 'it is switched on');
like(as('postgres', 'GRANT vault_admin TO mallory'), qr/only a vault administrator/, 'who was administrator is, nobody names another');
is(load('policy.sql', 'security'), '', 'the administrator runs the statements');
my $after = as('security', POLICY);
s/^\s+|\s+$//g foreach $before, $after;
is($after, $before, 'the same policy');
like(as($_, 'SELECT count(*) FROM secret.patients'), qr/not authorized for realm "pii"|vault password required/, "$_ is refused as before") foreach qw(mallory owner alice postgres);
like(as('alice', q{UNLOCK REALM pii PASSWORD 'open sesame'}), qr/has no valid vault password/, 'passwords are made anew');
unlike(as('security', q{GRANT VAULT PASSWORD ON REALM pii TO alice PASSWORD 'new'}), qr/ERROR/, 'by the administrator');
like(as('alice', q{UNLOCK REALM pii PASSWORD 'new'; SELECT count(*) FROM secret.patients}), qr/^60$/m, 'and work');
like(as('mallory', 'DELETE FROM public.plain'), qr/TV032|denied/, 'rules bind');
$new->stop;
done_testing();
