# Reading a realm by queries: rows 1 to 3, 20, 21 and 24 of the list of threats.
# Each by a superuser, by the table's owner, and by an authorized user whose
# realm is locked.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE EXTENSION dblink;
SET ROLE alice;
CREATE VIEW public.by_alice AS SELECT ssn FROM secret.patients;
CREATE FUNCTION public.definer() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT ssn FROM secret.patients';
CREATE FUNCTION public.definer_plpgsql() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
	$$BEGIN RETURN (SELECT string_agg(ssn, ',') FROM secret.patients); END$$;
RESET ROLE;
GRANT SELECT ON public.by_alice TO PUBLIC;
CREATE MATERIALIZED VIEW secret.mv USING tde_heap AS SELECT ssn FROM secret.patients WITH NO DATA;
ALTER MATERIALIZED VIEW secret.mv OWNER TO owner;
SQL

# --- 1: every way to begin a query ---
my @reads = (
	'SELECT ssn FROM secret.patients',
	'TABLE secret.patients',
	'SELECT count(*) FROM secret.patients',
	'SELECT 1 FROM secret.patients',
	'SELECT ctid FROM secret.patients',
	'SELECT p FROM secret.patients p',
	'SELECT * FROM ONLY secret.patients',
	'SELECT * FROM secret.patients TABLESAMPLE SYSTEM (100)',
	'SELECT * FROM secret.patients WHERE ctid = \'(0,1)\'',
	'SELECT * FROM secret.patients FOR UPDATE',
	'SELECT * FROM secret.patients FOR KEY SHARE',
	'SELECT EXISTS (SELECT FROM secret.patients WHERE ssn > \'a\')',
	'SELECT (SELECT max(ssn) FROM secret.patients)',
	'SELECT * FROM public.plain JOIN LATERAL (SELECT * FROM secret.patients LIMIT 1) x ON true',
	'SELECT * FROM public.plain UNION ALL SELECT id, ssn FROM secret.patients',
	'WITH RECURSIVE x AS (SELECT ssn FROM secret.small, secret.patients) SELECT * FROM x',
	'VALUES ((SELECT ssn FROM secret.patients LIMIT 1))',
	'SELECT * FROM secret.log',
	'SELECT * FROM secret.log_1',
	'SELECT line FROM secret.log WHERE day = \'2024-05-05\'',
	'SELECT last_value FROM secret.patients_id_seq',
	'EXPLAIN SELECT * FROM secret.patients WHERE name = \'x\'',
	'EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM secret.patients',
	'EXPLAIN (ANALYZE) DELETE FROM secret.patients',
	'DO $$BEGIN PERFORM ssn FROM secret.patients; END$$',
	'DO $$DECLARE r record; BEGIN FOR r IN SELECT * FROM secret.patients LOOP RAISE NOTICE \'%\', r.ssn; END LOOP; END$$',
	'DO $$DECLARE x text; BEGIN EXECUTE \'SELECT ssn FROM secret.\' || \'patients LIMIT 1\' INTO x; RAISE EXCEPTION \'%\', x; END$$',
	'PREPARE p AS SELECT * FROM secret.patients; EXECUTE p; EXPLAIN ANALYZE EXECUTE p',
	'BEGIN; DECLARE c CURSOR FOR SELECT * FROM secret.patients; FETCH ALL c; ROLLBACK',
	'WITH d AS (DELETE FROM secret.patients RETURNING *) SELECT * FROM d',
	'WITH d AS (UPDATE secret.patients SET name = name RETURNING *) SELECT * FROM d',
	'WITH d AS (INSERT INTO secret.small VALUES (7, \'x\') RETURNING *) SELECT * FROM d',
	'INSERT INTO secret.small VALUES (1, \'x\') ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING *',
	'INSERT INTO public.plain SELECT id + 100, ssn FROM secret.patients',
	'UPDATE public.plain SET v = (SELECT max(ssn) FROM secret.patients)',
	'UPDATE public.plain SET v = p.ssn FROM secret.patients p',
	'DELETE FROM public.plain USING secret.patients p WHERE p.ssn LIKE \'q%\' RETURNING p.*',
	'MERGE INTO public.plain t USING secret.patients p ON t.id = p.id WHEN MATCHED THEN UPDATE SET v = p.ssn',
	'MERGE INTO secret.small t USING public.plain p ON t.id = p.id WHEN MATCHED THEN DELETE',
	'INSERT INTO secret.small VALUES (2, \'planted\')',
	'UPDATE secret.small SET v = NULL',
	'DELETE FROM secret.small');
attack_each('1: ' . substr($_, 0, 70), "$_;", REFUSED) foreach @reads;

# --- 2: copies ---
attack_each("2: $_->[0]", $_->[1], REFUSED)
  foreach (
	[ 'COPY TO', 'COPY secret.patients TO STDOUT;' ],
	[ 'COPY of a partition', 'COPY secret.log_1 TO STDOUT;' ],
	[ 'COPY of a query', 'COPY (SELECT * FROM secret.patients) TO STDOUT;' ],
	[ 'COPY of DML', 'COPY (DELETE FROM secret.patients RETURNING *) TO STDOUT;' ],
	[ '\\copy', '\\copy secret.patients to stdout' ],
	[ 'CREATE TABLE AS', 'CREATE TABLE stolen AS SELECT * FROM secret.patients; SELECT * FROM stolen;' ],
	[ 'CREATE TABLE AS EXECUTE', 'PREPARE p AS SELECT * FROM secret.patients; CREATE TABLE stolen AS EXECUTE p;' ],
	[ 'EXPLAIN ANALYZE CREATE TABLE AS', 'EXPLAIN ANALYZE CREATE TABLE stolen AS SELECT * FROM secret.patients;' ],
	[ 'SELECT INTO', 'SELECT * INTO stolen FROM secret.patients; TABLE stolen;' ],
	[ 'temporary table', 'CREATE TEMP TABLE stolen AS TABLE secret.patients; TABLE stolen;' ],
	[ 'materialised view', 'CREATE MATERIALIZED VIEW stolen AS TABLE secret.patients; TABLE stolen;' ],
	[ 'refresh', 'REFRESH MATERIALIZED VIEW secret.mv; TABLE secret.mv;' ],
	[ 'COPY FROM', "COPY secret.small FROM STDIN;\n5\tx\n\\.\n" ]);

# --- 3: somebody else's rights ---
attack_each("3: $_->[0]", $_->[1], REFUSED)
  foreach (
	[ 'view of the authorized', 'SELECT * FROM public.by_alice;' ],
	[ 'function of the authorized', 'SELECT * FROM public.definer();' ],
	[ 'PL/pgSQL function of the authorized', 'SELECT public.definer_plpgsql();' ],
	[ 'row security', 'SET row_security = off; SELECT * FROM secret.patients;' ]);

# owner is no member of alice: PostgreSQL refuses
attack("3: $_->[1]", $_->[0], "$_->[1]; SELECT * FROM secret.patients;", REFUSED)
  foreach ([ 'mallory', 'SET ROLE alice' ], [ 'alice', 'SET ROLE alice' ], [ 'alice', 'SET ROLE owner' ],
	[ 'mallory', 'SET SESSION AUTHORIZATION alice' ], [ 'alice', 'SET SESSION AUTHORIZATION alice' ]);
attack("3: $_", 'owner', "$_; SELECT * FROM secret.patients;", REFUSED, postgres => 1) foreach ('SET ROLE alice', 'SET SESSION AUTHORIZATION alice');

# --- 20: what was begun while the realm was open ---
my $rows = qr/qmarker7kx2vw9/;
my $session = sub {
	my ($sql) = @_;
	return run_as('alice', UNLOCK . $sql);
};
my $out = $session->(<<'SQL');
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM secret.patients;
FETCH 1 c;
CALL tde_vault.lock_realm('pii');
\echo locked
FETCH 1 c;
ROLLBACK;
SQL
like($out, qr/^\d+\nCALL\nlocked\n.*vault password required/ms, '20: a cursor opened before');
$out = $session->(<<'SQL');
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT id FROM secret.patients;
CALL tde_vault.lock_realm('pii');
\echo locked
COMMIT;
SQL
like($out, qr/locked\n.*vault password required/s, '20: a cursor that is kept');
$out = $session->(<<'SQL');
PREPARE p AS SELECT id FROM secret.patients LIMIT 1;
EXECUTE p; EXECUTE p; EXECUTE p; EXECUTE p; EXECUTE p; EXECUTE p;
CALL tde_vault.lock_realm('pii');
\echo locked
EXECUTE p;
SQL
like($out, qr/1\nCALL\nlocked\n.*vault password required/s, '20: a prepared statement');
foreach my $forget ('DISCARD ALL', 'RESET ALL', 'SET ROLE alice', 'SET SESSION AUTHORIZATION alice',
	q{SELECT set_config('role', 'alice', false)}, 'RESET ROLE')
{
	$out = $session->("SELECT count(*) FROM secret.small;\n$forget;\n\\echo locked\nSELECT count(*) FROM secret.small;\n");
	like($out, qr/\b1\n.*locked\n.*vault password required/s, "29: $forget locks");
}

# --- 21: parallel workers ---
my $parallel = <<'SQL';
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2; SET force_parallel_mode = on;
SQL
attack_each('21: parallel query', "$parallel SELECT count(*), max(ssn) FROM secret.patients;", REFUSED);
$out = $session->("$parallel EXPLAIN (COSTS OFF) SELECT count(*) FROM secret.patients; SELECT count(*) FROM secret.patients;");
like($out, qr/Gather.*\n60\n/s, '21: control: parallel query of the unlocked');

# --- 24: another session is locked ---
attack('24: dblink', 'mallory', q{SELECT * FROM dblink('dbname=postgres user=alice host=' || current_setting('unix_socket_directories') || ' port=' || current_setting('port'), 'SELECT ssn FROM secret.patients') AS x(s text);},
	qr/vault password required/);

# --- controls: alice, unlocked ---
control('SELECT', 'SELECT ssn FROM secret.patients;', $rows);
control('view', 'SELECT * FROM public.by_alice;', $rows);
control('COPY', 'COPY secret.patients TO STDOUT;', $rows);
control('COPY of a query', 'COPY (SELECT ssn FROM secret.patients) TO STDOUT;', $rows);
control('CREATE TABLE AS', 'CREATE TEMP TABLE mine AS TABLE secret.patients; TABLE mine;', $rows);
control('partition', 'SELECT * FROM secret.log_1;', $rows);
control('DML', q{BEGIN; INSERT INTO secret.small VALUES (8, 'x'); UPDATE secret.small SET v = 'y' WHERE id = 8; DELETE FROM secret.small WHERE id = 8 RETURNING v; ROLLBACK;}, qr/^y$/m);
control('EXPLAIN', 'EXPLAIN SELECT * FROM secret.patients;', qr/Scan on patients/);
control('definer function', 'SELECT * FROM public.definer();', $rows);
# unprotected tables go on
like(run_as($_, 'SELECT v FROM public.plain;'), qr/nothing/, "an unprotected table: $_") foreach qw(mallory owner alice);

$node->stop;
done_testing();
