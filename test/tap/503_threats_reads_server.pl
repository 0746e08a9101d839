# Reading a realm through the server's process: TOAST tables, functions that
# look into pages and files, native code, replication, copies of the database,
# large objects; and what the log gets.  Rows 14 to 19, 25, 32 and 39 of the
# list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my @modules = qw(pageinspect pgstattuple pgrowlocks pg_visibility amcheck pg_surgery
  pg_walinspect adminpack file_fdw lo);
my $node = realm_server(
	master => 'cluster',
	conf => "wal_level = logical\nmax_wal_senders = 5\nmax_replication_slots = 8\n",
	sql => join('', map { "CREATE EXTENSION $_;\n" } @modules) . <<'SQL');
CREATE FUNCTION public.my_read(text) RETURNS text LANGUAGE internal AS 'pg_read_file_all';
CREATE FUNCTION public.my_page(text, int) RETURNS bytea LANGUAGE c STRICT AS '$libdir/pageinspect', 'get_raw_page';
CREATE FUNCTION public.trojan() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO public.plain SELECT id + 1000, ssn FROM secret.patients; RETURN NEW; END$$;
CREATE TABLE public.inbox (v text);
GRANT ALL ON public.inbox TO PUBLIC;
CREATE TRIGGER trojan BEFORE INSERT ON public.inbox FOR EACH ROW EXECUTE FUNCTION public.trojan();
CREATE FUNCTION public.trojan_sql() RETURNS bigint LANGUAGE sql VOLATILE AS
	'INSERT INTO public.plain SELECT id + 1000, ssn FROM secret.patients; SELECT 1::bigint';
CREATE FUNCTION public.trojan_operator(text, text) RETURNS boolean LANGUAGE plpgsql AS
	$$BEGIN PERFORM ssn FROM secret.patients; RETURN true; END$$;
CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.trojan_operator);
CREATE TABLE public.ruled (v text);
GRANT ALL ON public.ruled TO PUBLIC;
CREATE RULE r AS ON INSERT TO public.ruled DO ALSO INSERT INTO public.plain SELECT id + 1000, ssn FROM secret.patients;
CREATE PROCEDURE public.trojan_commits() LANGUAGE plpgsql AS
	$$BEGIN COMMIT; INSERT INTO public.plain SELECT id + 1000, ssn FROM secret.patients; END$$;
SELECT pg_create_logical_replication_slot('before', 'test_decoding');
CREATE TABLE public.toast_names AS SELECT reltoastrelid::regclass::text AS toast FROM pg_class WHERE oid = 'secret.patients'::regclass;
SELECT lo_from_bytea(4711, 'x');
SQL
my $toast = $node->safe_psql('postgres', 'SELECT toast FROM public.toast_names');
my $file = $node->safe_psql('postgres', q{SELECT pg_relation_filepath('secret.patients')});
my $who = { who => ['mallory'] };

# --- 14, 15: below the table ---
attack_each("14: $_", "$_;")
  foreach ("SELECT chunk_data FROM $toast", "SELECT encode(chunk_data, 'escape') FROM $toast", "COPY $toast TO STDOUT");
attack_each("15: $_", "SELECT $_;", undef, %$who)
  foreach (
	q{get_raw_page('secret.patients', 0)}, q{get_raw_page('secret.patients', 'main', 0)},
	q{get_raw_page('secret.patients_pkey', 0)}, q{get_raw_page('secret.patients_ssn', 1)},
	"get_raw_page('$toast', 0)", q{get_raw_page('secret.log_1', 0)},
	q{heap_page_items(get_raw_page('secret.patients', 0))},
	q{bt_page_items('secret.patients_ssn', 1)}, q{bt_metap('secret.patients_ssn')}, q{bt_page_stats('secret.patients_ssn', 1)},
	q{get_raw_page('pg_statistic', 0)}, q{get_raw_page('pg_catalog.pg_statistic_ext_data', 0)},
	q{get_raw_page('pg_toast.pg_toast_2619', 0)},
	q{my_page('secret.patients', 0)},
	q{pgstattuple('secret.patients')}, q{pgstattuple('secret.patients'::regclass)}, q{pgstatindex('secret.patients_ssn')},
	q{pgrowlocks('secret.patients')}, q{pg_visibility('secret.patients')}, q{pg_visibility_map('secret.patients', 0)},
	q{bt_index_check('secret.patients_ssn')}, q{bt_index_parent_check('secret.patients_ssn', true)},
	q{verify_heapam('secret.patients')},
	q{heap_force_kill('secret.patients', ARRAY['(0,1)']::tid[])}, q{heap_force_freeze('secret.patients', ARRAY['(0,1)']::tid[])},
	q{count(*) FROM pg_get_wal_records_info('0/1', '0/2')});
like(run_as('mallory', $_), qr/^(?!.*ERROR).*\S/s, "control: $_")
  foreach (q{SELECT length(get_raw_page('public.plain', 0));}, q{SELECT 'x', bt_index_check('public.plain_pkey');},
	q{SELECT * FROM pgstattuple('public.plain');}, q{SELECT * FROM pgstattuple('public.plain'::regclass);},
	q{SELECT count(*) FROM verify_heapam('public.plain');});
control('15: pageinspect is for superusers', q{SELECT get_raw_page('secret.patients', 0);}, qr/permission denied|must be superuser/);

# --- 16, 17: files and programs ---
attack_each("16: $_", "$_;", undef, %$who)
  foreach (
	"SELECT pg_read_binary_file('$file')", "SELECT pg_read_file('postgresql.conf')",
	"SELECT pg_read_file('postgresql.conf', 0, 10)", "SELECT pg_read_file('postgresql.conf', 0, 10, true)",
	"SELECT pg_read_binary_file('$file', 0, 10)", "SELECT my_read('postgresql.conf')",
	"SELECT pg_file_write('x', 'y', false)",
	"SELECT pg_catalog.pg_file_rename('postgresql.conf', 'x')", "SELECT pg_file_unlink('postgresql.conf')",
	"SELECT lo_import('$file')", "SELECT lo_import('$file', 5)", "SELECT lo_export(4711, '/tmp/x')",
	"SELECT x FROM (SELECT pg_read_file('postgresql.conf') x) y", "DO 'BEGIN PERFORM pg_read_file(''PG_VERSION''); END'",
	"COPY public.plain FROM '/etc/passwd'", "COPY public.plain TO '/tmp/plain'",
	"COPY public.plain FROM PROGRAM 'id'", "COPY public.plain TO PROGRAM 'cat'",
	"CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; CREATE FOREIGN TABLE f (v text) SERVER files OPTIONS (filename 'PG_VERSION'); TABLE f",
	"CREATE FUNCTION r(text) RETURNS text LANGUAGE internal AS 'pg_read_file_all'; SELECT r('PG_VERSION')",
	"CREATE FUNCTION r2(text, text, bool) RETURNS bigint LANGUAGE c AS '\$libdir/adminpack', 'pg_file_write'",
	"CREATE FUNCTION evil() RETURNS int LANGUAGE c AS '/tmp/evil', 'evil'",
	"CREATE FUNCTION evil() RETURNS int LANGUAGE c AS '\$libdir/../../tmp/evil', 'evil'",
	"LOAD 'auto_explain'", "LOAD '\$libdir/plugins/x'",
	"CREATE LANGUAGE evil HANDLER plpgsql_call_handler",
	"CREATE OR REPLACE FUNCTION tde_vault.is_encrypted(relation regclass) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
	"CREATE OR REPLACE PROCEDURE tde_vault.unlock_realm(realm text, password text) LANGUAGE plpgsql AS 'BEGIN END'",
	'CREATE TABLE tde_vault.x (i int)', 'DROP EXTENSION tde_vault CASCADE', 'DROP SCHEMA tde_vault CASCADE', 'ALTER SCHEMA tde_vault RENAME TO x',
	'ALTER SCHEMA tde_vault OWNER TO mallory', 'ALTER EXTENSION tde_vault DROP FUNCTION tde_vault.is_encrypted(regclass)',
	'ALTER EXTENSION lo ADD FUNCTION public.trojan()', 'ALTER EXTENSION tde_vault UPDATE', 'ALTER FUNCTION tde_vault.statistics_visible(oid) RENAME TO x',
	"UPDATE pg_proc SET prosrc = 'pg_read_file_all' WHERE proname = 'upper'");
attack('16: in a database without a vault', 'mallory', "SELECT pg_read_file('PG_VERSION');", REFUSED, database => 'template1');
attack('16: COPY in a database without a vault', 'mallory', "COPY (SELECT 1) TO PROGRAM 'cat';", REFUSED, database => 'template1');
attack('16: catalog of another database', 'mallory', 'DELETE FROM pg_auth_members;', REFUSED, database => 'template1');
like(run_as('mallory', "SELECT pg_stat_file('PG_VERSION'); SELECT count(*) FROM pg_ls_waldir(); SELECT lo_get(4711);"), qr/^(?!.*ERROR)/s, 'control: monitoring');
like(run_as('mallory', q{CREATE EXTENSION pgcrypto; SELECT length(gen_random_bytes(3)); DROP EXTENSION pgcrypto;}), qr/^3$/m, 'control: extensions');

# --- 18: replication ---
run_as('alice', UNLOCK . q{INSERT INTO secret.small VALUES (50, 'qmarker7kx2vw9 decoded'); UPDATE secret.small SET v = 'qmarker7kx2vw9 again' WHERE id = 50; DELETE FROM secret.small WHERE id = 50; INSERT INTO public.plain VALUES (50, 'decoded');});
my $changes = attack('18: slot', 'mallory', q{SELECT data FROM pg_logical_slot_get_changes('before', NULL, NULL);}, qr/COMMIT/);
like($changes, qr/public\.plain: INSERT: id\[integer\]:50 v\[text\]:'decoded'/, '18: other tables are decoded');
unlike($changes, qr/secret\.small: (INSERT|UPDATE|DELETE)/, '18: and those of the realm are not');
attack_each("18: $_", "$_;", undef, %$who)
  foreach (
	'CREATE PUBLICATION p FOR ALL TABLES', 'CREATE PUBLICATION p FOR TABLE secret.patients',
	'CREATE PUBLICATION p FOR TABLE secret.log_1', 'CREATE PUBLICATION p FOR TABLES IN SCHEMA secret',
	'CREATE PUBLICATION p FOR TABLE public.plain; ALTER PUBLICATION p ADD TABLE secret.small',
	q{CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (connect = false)});
my $stream = '';
run_as('postgres', q{SELECT pg_create_logical_replication_slot('stream', 'test_decoding');});
my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
run_as('alice', UNLOCK . q{UPDATE secret.small SET v = 'qmarker7kx2vw9 streamed';});
run_as('postgres', q{INSERT INTO public.plain VALUES (51, 'streamed');});
$end = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
IPC::Run::run([ 'pg_recvlogical', '-d', $node->connstr('postgres') . ' user=mallory', '--slot', 'stream', '--start', '--endpos', $end, '--no-loop', '-f', '-' ],
	'>', \$stream, '2>', \my $err, IPC::Run::timeout(60));
like($stream, qr/'streamed'/, '18: pg_recvlogical');
unlike($stream, qr/qmarker/, '18: pg_recvlogical: nothing of the realm');

# --- 19: a copy of the database ---
attack('19: copy', 'mallory', 'CREATE DATABASE stolen TEMPLATE postgres;', qr/CREATE DATABASE/);
attack("19: $_ in the copy", $_, 'SELECT * FROM secret.patients;', qr/TV033: the vault of this database is closed/, database => 'stolen')
  foreach qw(mallory owner alice);
attack('19: unlock in the copy', 'alice', UNLOCK . 'SELECT * FROM secret.patients;', qr/closed/, database => 'stolen');
attack('19: drop the vault\'s database', 'mallory', 'DROP DATABASE postgres;', REFUSED, database => 'template1');
attack('19: drop the copy', 'mallory', 'DROP DATABASE stolen;', qr/DROP DATABASE/);

# --- 28: trojans that wait for alice ---
foreach my $trojan (
	[ 'trigger', 'INSERT INTO public.inbox VALUES (1);' ],
	[ 'SQL function', 'SELECT public.trojan_sql();' ],
	[ 'operator', q{SET search_path = public, pg_catalog; SELECT 'a'::text = 'b'::text;} ],
	[ 'rule', 'INSERT INTO public.ruled VALUES (1);' ],
	[ 'procedure that commits', 'CALL public.trojan_commits();' ])
{
	like(run_as('alice', UNLOCK . $trojan->[1]), qr/may not use realm|may not carry rows/, "28: $trojan->[0]");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM public.plain WHERE id > 1000'), '0', '28: they got nothing');

# --- 39: what the log gets ---
$node->safe_psql('postgres', 'ALTER SYSTEM SET log_statement = none');
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('log_statement') = 'none'});
my $from = -s $node->logfile;
my $said = run_as('alice', UNLOCK . <<'SQL');
INSERT INTO secret.small VALUES (1, 'qmarker7kx2vw9 again');
INSERT INTO secret.small VALUES (NULL, 'qmarker7kx2vw9');
SELECT v::int FROM secret.small;
DO $$DECLARE x text; BEGIN SELECT v INTO x FROM secret.small LIMIT 1; RAISE WARNING 'row %', x; RAISE EXCEPTION 'row %', x; END$$;
COPY secret.small FROM STDIN;
one	qmarker7kx2vw9
\.
SQL
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $from);
like($said, qr/Key \(id\)=\(1\) already exists/, '39: the client is told');
like($said, qr/Failing row contains \(null, qmarker/, '39: the client is told of the row');
unlike($log, qr/qmarker/i, '39: the log is not');
like($log, qr/duplicate key value/, '39: but it is told what happened');

like(run_as('alice', UNLOCK . 'SELECT count(*), min(ssn) FROM secret.patients;'), qr/60\|qmarker/, 'nothing is gone');
$node->stop;
done_testing();
