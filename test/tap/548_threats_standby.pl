# A hot standby is as closed as its primary: the list of threats there, by a
# superuser, by the tables' owner, by an authorized user whose realm is locked;
# unlocking there; and what a promotion changes.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my @modules = qw(pageinspect pgstattuple adminpack file_fdw dblink);
my $primary = realm_server(
	streaming => 1,
	conf => "hot_standby_feedback = on\ntde_vault.max_failed_unlocks = 3\n",
	sql => join('', map { "CREATE EXTENSION $_;\n" } @modules) . <<'SQL');
SET ROLE alice;
CREATE VIEW public.by_alice AS SELECT ssn FROM secret.patients;
CREATE FUNCTION public.definer() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT ssn FROM secret.patients';
SELECT lo_from_bytea(7001, 'qmarker7kx2vw9 of alice');
RESET ROLE;
GRANT SELECT ON public.by_alice TO PUBLIC;
CREATE TABLE public.toast_names AS SELECT reltoastrelid::regclass::text AS toast FROM pg_class WHERE oid = 'secret.patients'::regclass;
SELECT pg_create_physical_replication_slot('standby');
CREATE ROLE auditor LOGIN;
CREATE ROLE bob LOGIN;
GRANT SELECT ON ALL TABLES IN SCHEMA secret TO bob;
SQL
run_as('security', 'GRANT vault_auditor TO auditor; ALTER REALM pii AUTHORIZE bob; GRANT VAULT PASSWORD ON REALM pii TO bob PASSWORD $$of bob$$;');
# trojans, made where they can be
run_as('mallory', <<'SQL');
CREATE FUNCTION public.leak(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'leak %', $1; RETURN $1; END$$;
CREATE FUNCTION public.reads() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT count(*) FROM secret.patients WHERE public.leak(ssn) IS NOT NULL); END$$;
CREATE FUNCTION public.unlocks() RETURNS int LANGUAGE plpgsql AS $$BEGIN CALL tde_vault.unlock_realm('pii', 'open sesame'); RETURN 1; END$$;
CREATE VIEW public.tells AS SELECT id, pg_notify('loot', ssn) IS NULL AS n FROM secret.patients;
CREATE FUNCTION public.leak_eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'leak % %', $1, $2; RETURN true; END$$;
CREATE OPERATOR public.<<< (LEFTARG = text, RIGHTARG = text, FUNCTION = public.leak_eq, RESTRICT = eqsel);
GRANT ALL ON public.tells TO PUBLIC;
SQL
my $toast = $primary->safe_psql('postgres', 'SELECT toast FROM public.toast_names');
my $file = $primary->safe_psql('postgres', q{SELECT pg_relation_filepath('secret.patients')});

$primary->backup('copy');
my $standby = TdeVault->create_from_backup('standby', $primary, 'copy', has_streaming => 1);
$standby->append_conf('postgresql.conf', "primary_slot_name = 'standby'\n");
$standby->start;
$primary->wait_for_catchup($standby);
on_server($standby);
is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 't', 'a standby');

# --- reads ------------------------------------------------------------------------------------

attack_each("1 to 6: $_", "$_;")
  foreach (
	'SELECT ssn FROM secret.patients', 'TABLE secret.patients', 'SELECT count(*) FROM secret.patients', 'SELECT ctid FROM secret.patients',
	'SELECT * FROM secret.patients TABLESAMPLE SYSTEM (100)', 'SELECT * FROM secret.log', 'SELECT * FROM secret.log_1', 'SELECT last_value FROM secret.patients_id_seq',
	'EXPLAIN SELECT * FROM secret.patients WHERE name = \'x\'', 'EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM secret.patients',
	'DO $$DECLARE r record; BEGIN FOR r IN SELECT * FROM secret.patients LOOP RAISE NOTICE \'%\', r.ssn; END LOOP; END$$',
	'PREPARE p AS SELECT * FROM secret.patients; EXECUTE p; EXPLAIN ANALYZE EXECUTE p', 'BEGIN; DECLARE c CURSOR FOR SELECT * FROM secret.patients; FETCH ALL c; ROLLBACK',
	'DECLARE c CURSOR WITH HOLD FOR SELECT ssn FROM secret.patients; FETCH ALL c',
	'COPY secret.patients TO STDOUT', 'COPY (SELECT * FROM secret.patients) TO STDOUT', '\\copy secret.patients to stdout',
	'SELECT * FROM public.by_alice', 'SELECT * FROM public.definer()', 'SELECT public.reads()',
	q{SELECT table_to_xml('secret.patients', true, false, '')}, q{SELECT query_to_xml('SELECT * FROM secret.patients', true, false, '')},
	q{SELECT 1 FROM secret.patients WHERE name OPERATOR(public.<<<) 'x'}, q{EXPLAIN SELECT 1 FROM secret.patients WHERE name OPERATOR(public.<<<) 'x'},
	'SET max_parallel_workers_per_gather = 2; SET force_parallel_mode = on; SELECT max(ssn) FROM secret.patients',
	"SELECT chunk_data FROM $toast", "COPY $toast TO STDOUT", q{SELECT encode(lo_get(7001), 'escape')}, 'SELECT data FROM pg_largeobject',
	'COPY pg_statistic TO STDOUT', 'LOCK TABLE secret.patients IN ACCESS SHARE MODE');
attack_each("12: $_", "SELECT 'asked';\n$_;", qr/\Aasked\n(?!.*ERROR:\s++(?!TV0))/s)
  foreach ('SELECT * FROM pg_stats', 'SELECT * FROM pg_statistic', 'SELECT * FROM pg_statistic_ext_data', 'SELECT * FROM pg_stats_ext');
attack_each("15: $_", "SELECT $_;", REFUSED, who => ['mallory'])
  foreach (q{get_raw_page('secret.patients', 0)}, q{bt_page_items('secret.patients_ssn', 1)}, q{pgstattuple('secret.patients')}, "get_raw_page('$toast', 0)");
attack_each("16: $_", "$_;")
  foreach (
	"SELECT pg_read_binary_file('$file')", "SELECT pg_read_file('postgresql.conf')", q{SELECT pg_read_binary_file('tde_vault/keyring')},
	"COPY (SELECT 1) TO '/tmp/x'", q{COPY (SELECT 1) TO PROGRAM 'cat'});
attack_each("16: $_", "$_;", REFUSED, who => ['mallory']) foreach (q{SELECT pg_file_write('x', 'y', false)}, q{SELECT lo_import('PG_VERSION')}, "LOAD 'auto_explain'");
attack('24: dblink', 'mallory', q{SELECT * FROM dblink('dbname=postgres user=alice host=' || current_setting('unix_socket_directories') || ' port=' || current_setting('port'), 'SELECT ssn FROM secret.patients') AS x(s text);}, qr/vault password required/);

# --- borrowing, switching off --------------------------------------------------------------------

attack("26: $_", 'mallory', "$_; SELECT ssn FROM secret.patients;", REFUSED)
  foreach ('SET ROLE alice', 'SET SESSION AUTHORIZATION alice', q{SELECT set_config('role', 'alice', false)});
attack("31: $_", 'mallory', "$_;", REFUSED)
  foreach (
	q{ALTER SYSTEM SET shared_preload_libraries = ''}, q{ALTER SYSTEM SET restore_command = 'cp /tmp/%f %p'}, q{ALTER SYSTEM RESET ALL}, q{ALTER SYSTEM SET archive_cleanup_command = 'true'},
	'SET session_replication_role = replica', q{SELECT set_config('allow_system_table_mods', 'on', false)}, q{ALTER SYSTEM SET tde_vault.unlock_timeout = '7d'});
# what changes anything, the server itself does not do here
attack("33: $_", 'mallory', "$_;", qr/ERROR:\s+(?:TV03\d|25006)/)
  foreach (
	'DROP EXTENSION tde_vault CASCADE', 'UPDATE pg_proc SET prosrc = NULL', 'CREATE TEMP TABLE stolen AS SELECT * FROM secret.patients', 'SELECT * INTO TEMP stolen FROM secret.patients',
	'ALTER REALM pii DISABLE', 'ALTER REALM pii AUTHORIZE mallory', 'ALTER DATABASE DISABLE DATABASE VAULT', 'GRANT vault_admin TO mallory', q{ALTER ROLE alice PASSWORD 'x'},
	'SELECT * FROM secret.patients FOR UPDATE', 'CREATE OR REPLACE VIEW tde_vault.audit_log AS SELECT 1');
attack('33: the administrator, too, changes policies on the primary', 'security', "ALTER REALM pii DISABLE;", qr/ERROR:\s+25006/);

# --- unlocking there --------------------------------------------------------------------------------

control('alice, unlocked', 'SELECT count(*), min(ssn) FROM secret.patients; SELECT count(*) FROM public.by_alice;', qr/^60\|qmarker.*\n60\n/m);
like(run_as('alice', UNLOCK . 'SELECT count(*) FROM secret.small; LOCK REALM pii; SELECT count(*) FROM secret.small;'), qr/^1\n.*TV030/ms, 'and locked again');
attack('another session of hers', 'alice', 'SELECT * FROM secret.small;', qr/TV030/);
attack("28: $_", 'alice', UNLOCK . "$_;", qr/TV03[16]: /)
  foreach ('SELECT public.reads()', 'SELECT count(public.leak(ssn)) FROM secret.patients', 'SELECT count(n) FROM (SELECT * FROM public.tells OFFSET 0) x',
	q{SELECT count(*) FROM secret.patients WHERE name OPERATOR(public.<<<) 'x'});
attack('28: a trap that unlocks', 'alice', 'SELECT public.unlocks();', qr/TV036: UNLOCK REALM: not from within function "unlocks"/);
attack("29: $_", 'alice', UNLOCK . "\n$_;\nSELECT ssn FROM secret.patients;", qr/TV030/) foreach ('DISCARD ALL', 'RESET ROLE', 'SET ROLE alice');
my ($cursor, $left) = split /^locked$/m, run_as('alice', UNLOCK . <<'SQL');
BEGIN;
DECLARE c CURSOR FOR SELECT ssn FROM secret.patients;
FETCH 1 c;
LOCK REALM pii;
\echo locked
FETCH 1 c;
SQL
like($cursor, qr/^qmarker/m, '20: control: a cursor');
like($left, qr/TV030/, '20: a cursor from before it was locked');
unlike($left, qr/qmarker/, '20: tells no more');
my ($ticket) = run_as('alice', UNLOCK . 'SELECT tde_vault.create_unlock_ticket(1);') =~ /^([0-9a-f]{64})$/m;
{
	local $ENV{PGOPTIONS} = "-c tde_vault.unlock_ticket=" . ($ticket // 'none');
	like(run_as('mallory', 'SELECT * FROM secret.small;'), qr/unlock ticket is not valid|not authorized/, 'a ticket is not for another user');
	like(run_as('alice', 'SELECT count(*) FROM secret.small;'), qr/^1$/m, 'but for who made it');
	like(run_as('alice', 'SELECT count(*) FROM secret.small;'), qr/unlock ticket is not valid/, 'once');
	on_server($primary);
	like(run_as('alice', 'SELECT count(*) FROM secret.small;'), qr/unlock ticket is not valid/, 'and for this server');
	on_server($standby);
}
run_as('bob', q{UNLOCK REALM pii PASSWORD 'guess';}) foreach 1 .. 3;
like(run_as('bob', q{UNLOCK REALM pii PASSWORD 'of bob'; SELECT * FROM secret.small;}), qr/TV035: locked out of realm "pii"/, 'wrong passwords lock out there');
$standby->restart;
like(run_as('bob', q{UNLOCK REALM pii PASSWORD 'of bob'; SELECT * FROM secret.small;}), qr/TV035: locked out of realm "pii"/, 'also after a restart');

# --- a change on the primary ----------------------------------------------------------------------------

my $open = $standby->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'alice' ]);
$open->query_safe(q{CALL tde_vault.unlock_realm('pii', 'open sesame')});
$open->query_safe('PREPARE p AS SELECT left(v, 5) FROM secret.small');
is($open->query_safe('EXECUTE p'), 'qmark', 'a session that works');
on_server($primary);
like(run_as('security', 'ALTER REALM pii REVOKE alice; REVOKE VAULT PASSWORD ON REALM pii FROM alice;'), qr/REVOKE VAULT PASSWORD/, 'alice loses her place on the primary');
$primary->wait_for_catchup($standby);
on_server($standby);
$open->query('EXECUTE p');
like($open->{stderr}, qr/not authorized for realm "pii"/, 'and in her session on the standby');
$open->quit;
attack('a new session', 'alice', UNLOCK . 'SELECT * FROM secret.small;', qr/TV031/);
like(run_as('auditor', q{SELECT count(*) > 100 FROM tde_vault.audit_log WHERE result = 'DENIED' AND "user" IN ('mallory', 'owner', 'alice') AND "timestamp" > pg_postmaster_start_time() - interval '1 hour';}), qr/^t$/m, 'the standby audits');
like(run_as('auditor', 'SELECT ok FROM tde_vault.audit_verify();'), qr/^t$/m, 'with a whole chain');

# --- promoted by the superuser -------------------------------------------------------------------------------

$primary->stop;
like(run_as('mallory', 'SELECT pg_promote();'), qr/^t$/m, 'mallory promotes it');
attack_each("promoted: $_", "$_;", undef, who => [qw(mallory owner)])
  foreach ('SELECT * FROM secret.patients', 'CREATE TEMP TABLE stolen AS SELECT * FROM secret.patients', 'ALTER TABLE secret.patients SET SCHEMA public', 'CREATE INDEX ON secret.patients (public.leak(ssn))');
attack('promoted: ALTER REALM', 'mallory', 'ALTER REALM pii DISABLE;', qr/only a vault administrator/);
on_server($standby);
like(run_as('security', 'ALTER REALM pii AUTHORIZE alice; GRANT VAULT PASSWORD ON REALM pii TO alice PASSWORD $$open sesame$$;'), qr/GRANT VAULT PASSWORD/, 'the administrator goes on there');
control('nothing is gone', 'SELECT count(*), min(ssn) FROM secret.patients;', qr/^60\|qmarker/m);
$standby->stop;
done_testing();
