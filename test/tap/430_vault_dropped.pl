# What is dropped while the vault's policy names it, and who or what gets its
# OID later: a table is not taken under a realm by a dropped one's number, and
# nobody gets a dropped role's place.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(conf => "max_prepared_transactions = 2\n", sql => <<'SQL');
ALTER ROLE security CREATEROLE;
CREATE ROLE bob LOGIN;
CREATE ROLE carol LOGIN;
CREATE ROLE dave LOGIN;
CREATE ROLE officer LOGIN;
GRANT USAGE, CREATE ON SCHEMA secret TO PUBLIC;
CREATE SCHEMA annex AUTHORIZATION owner;
SET ROLE owner;
CREATE TABLE secret.a (id int) USING tde_heap;
CREATE TABLE secret.b (id int) USING tde_heap;
CREATE TABLE secret.c (id int) USING tde_heap;
CREATE TABLE secret.d (id int) USING tde_heap;
CREATE TABLE annex.e (id int) USING tde_heap;
RESET ROLE;
SQL

sub oid_of { return $node->safe_psql('postgres', "SELECT '$_[0]'::regclass::oid") }
sub objects { return join ' ', split /\n/, run_as('security', q{SELECT object FROM tde_vault.realm_objects WHERE realm = 'r' ORDER BY object_id;}) }
sub rules { return join ' ', split /\n/, run_as('security', 'SELECT rule FROM tde_vault.command_rules ORDER BY rule;') }

run_as('security', <<'SQL');
CREATE REALM r;
ALTER REALM r ADD TABLE secret.a, secret.b, secret.c, secret.d, SCHEMA annex;
ALTER REALM r AUTHORIZE owner;
CREATE COMMAND RULE on_a FOR UPDATE ON TABLE secret.a DENY FROM ROLE dave;
CREATE COMMAND RULE on_a_id FOR SELECT ON COLUMN secret.a.id DENY FROM ROLE dave;
CREATE COMMAND RULE on_b FOR UPDATE ON TABLE secret.b DENY FROM ROLE dave;
CREATE COMMAND RULE on_c FOR UPDATE ON TABLE secret.c DENY FROM ROLE dave;
CREATE COMMAND RULE on_annex FOR DROP ON SCHEMA annex DENY FROM ROLE dave;
SQL
is(objects(), 'annex secret.a secret.b secret.c secret.d', 'a realm');

# --- tables and schemas ----------------------------------------------------------------

like(run_as('owner', 'BEGIN; DROP TABLE secret.a; ROLLBACK; BEGIN; SAVEPOINT s; DROP TABLE secret.a; ROLLBACK TO s; COMMIT;'), qr/COMMIT/, 'a DROP that is rolled back');
is(objects() . '/' . rules(), 'annex secret.a secret.b secret.c secret.d/on_a on_a_id on_annex on_b on_c', 'changes nothing');
attack('and what it was about', 'mallory', 'SELECT * FROM secret.a;', qr/not authorized for realm "r"/);
like(run_as('owner', 'DROP TABLE secret.a;'), qr/^DROP TABLE$/m, 'a DROP');
is(objects() . '/' . rules(), 'annex secret.b secret.c secret.d/on_annex on_b on_c', 'takes along what the policy says of it');
like(run_as('owner', 'DROP SCHEMA annex CASCADE;'), qr/^DROP SCHEMA$/m, 'a schema');
is(objects() . '/' . rules(), 'secret.b secret.c secret.d/on_b on_c', 'the same');
is($node->safe_psql('postgres', 'SELECT 1'), 1, 'the server goes on');
run_as('security', 'GRANT vault_auditor TO carol;');
like(run_as('carol', q{SELECT count(*) FROM tde_vault.audit_log WHERE event_type = 'POLICY_CHANGE' AND action = 'DROP';}), qr/^2$/m, 'both are in the audit log');

# Somebody is changing the policy: DROP does not wait.
my $busy = $node->background_psql('postgres', extra_params => [ '-U', 'security' ]);
$busy->query_safe(q{BEGIN; ALTER REALM r DESCRIPTION 'busy'});
my $b = oid_of('secret.b');
like(run_as('owner', 'DROP TABLE secret.b;'), qr/^DROP TABLE$/m, 'a DROP while another changes the policy');
$busy->query_safe('COMMIT');
$busy->quit;
is(objects() . '/' . rules(), 'secret.c secret.d/on_b on_c', 'leaves entries that name nothing');
my $c = oid_of('secret.c');
like(run_as('owner', q{BEGIN; DROP TABLE secret.c; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p';}), qr/^COMMIT PREPARED$/m, 'a prepared DROP');
is(objects() . '/' . rules(), 'secret.d/on_b on_c', 'does, too');

# The number comes again.
sub next_oid
{
	my ($oid) = @_;
	$node->stop;
	PostgreSQL::Test::Utils::system_or_bail('pg_resetwal', '-o', $oid, '-D', $node->data_dir);
	$node->start;
	return;
}
next_oid($b);
like(run_as('bob', 'CREATE TABLE public.reused (id int); INSERT INTO public.reused VALUES (7);'), qr/^INSERT 0 1$/m, 'somebody outside makes a table');
is(oid_of('public.reused'), $b, 'it has the number of the dropped one');
is(run_as('bob', 'SELECT * FROM public.reused;'), "7\n", 'it is not in the realm');
is(objects() . '/' . rules(), 'secret.d/on_c', 'and the rule is gone');
next_oid($c);
run_as('bob', 'BEGIN; CREATE TABLE public.again (id int); ROLLBACK;');
is(objects() . '/' . rules(), 'secret.d/on_c', 'a CREATE that is rolled back leaves it');
next_oid($c);
like(run_as('bob', 'CREATE TABLE public.again (id int); SELECT count(*) FROM public.again;'), qr/^0$/m, 'one that is not');
is(oid_of('public.again'), $c, 'with that number');
is(objects() . '/' . rules(), 'secret.d/', 'removes it');
my $d = oid_of('secret.d');
attack('a table of the realm stays in it', 'mallory', 'SELECT * FROM secret.d;', qr/not authorized for realm "r"/);

# --- roles --------------------------------------------------------------------------------

run_as('security', <<'SQL');
ALTER REALM r AUTHORIZE bob;
GRANT VAULT PASSWORD ON REALM r TO carol PASSWORD 'carol is carol';
CREATE COMMAND RULE dave FOR DELETE ON TABLE public.plain DENY FROM ROLE dave;
ALTER REALM r OWNER TO officer;
SQL
$node->create_database('other');
my %why = (bob => 'is authorized for realm "r"', carol => 'has a vault password for realm "r"',
	dave => 'is named by command rule "dave"', officer => 'owns realm "r"');
foreach my $database (qw(postgres other))
{
	like(run_as('security', "DROP ROLE $_;", database => $database),
		qr/ERROR:  2BP01: role "$_" cannot be dropped because a vault depends on it\nDETAIL:  In database "postgres" it $why{$_}\.\nHINT/,
		"$_ is not dropped by a vault administrator in $database") foreach sort keys %why;
	attack("a role of the vault in $database", 'mallory', 'DROP ROLE bob; DROP OWNED BY bob; DROP ROLE bob;',
		qr/refused while a vault is on/, database => $database);
}
run_as('security', 'ALTER REALM r REVOKE bob, carol; DROP COMMAND RULE dave; ALTER REALM r OWNER TO security;');
run_as('bob', 'DROP TABLE public.reused, public.again;');
like(run_as('security', 'DROP ROLE carol;'), qr/^DROP ROLE$/m, 'who has no place any more is dropped');
like(run_as('security', 'BEGIN; ALTER REALM r AUTHORIZE dave; ALTER REALM r REVOKE dave; DROP ROLE dave; COMMIT;'), qr/DROP ROLE\nCOMMIT/, 'also by who took the place away');

# One authorizes while another drops.
my $authorizes = $node->background_psql('postgres', extra_params => [ '-U', 'security' ]);
$authorizes->query_safe('BEGIN; ALTER REALM r AUTHORIZE bob');
my $out = '';
my $drops = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres') . ' user=security', '-c', 'DROP ROLE bob;' ], '>', \$out, '2>&1');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'DROP ROLE bob;' AND wait_event_type = 'Lock'}), 'DROP ROLE waits');
$authorizes->query_safe('COMMIT');
$drops->finish;
like($out, qr/because a vault depends on it/, 'and is refused');
$authorizes->query_safe('BEGIN; ALTER REALM r REVOKE bob');
$authorizes->query_safe('COMMIT');
$authorizes->quit;

# A vault that is switched off, and on again: who is gone is not let in again.
run_as('security', 'ALTER REALM r AUTHORIZE bob; ALTER REALM r OWNER TO officer; ALTER DATABASE DISABLE DATABASE VAULT; DROP ROLE bob; DROP ROLE officer;');
run_as('security', 'ALTER DATABASE ENABLE DATABASE VAULT;');
is(run_as('security', q{SELECT coalesce(owner, '?') FROM tde_vault.realms WHERE realm = 'r'; SELECT coalesce(role, '?') FROM tde_vault.realm_authorizations WHERE realm = 'r';}),
	"security\nowner\n", 'entries of roles that are gone are not taken up again');

$node->stop;
done_testing();
