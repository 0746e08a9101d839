# More attacks that are in no list: contributed modules, foreign tables that
# point back, whole rows and their type, statements about many tables, and what
# a superuser sets up around somebody who is authorized.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my @modules = qw(pageinspect pgstattuple pg_visibility pg_prewarm pg_buffercache pg_freespacemap xml2 dblink postgres_fdw
  tablefunc refint tsm_system_rows pg_stat_statements hstore);
my $node = realm_server(
	master => 'cluster',
	conf => "wal_level = logical\nmax_replication_slots = 4\nshared_preload_libraries = 'tde_vault,pg_stat_statements'\n",
	sql => join('', map { "CREATE EXTENSION $_;\n" } @modules) . <<'SQL');
SET ROLE owner;
CREATE INDEX patients_hash ON secret.patients USING hash (ssn);
CREATE INDEX patients_gin ON secret.patients USING gin (to_tsvector('simple', ssn));
CREATE INDEX patients_brin ON secret.patients USING brin (ssn);
CREATE INDEX patients_gist ON secret.patients USING gist (to_tsvector('simple', ssn));
RESET ROLE;
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE elsewhere LOCATION '';
GRANT CREATE ON TABLESPACE elsewhere TO PUBLIC;
CREATE TABLE public.asks (id int);
GRANT ALL ON public.asks TO PUBLIC;
CREATE TRIGGER asks BEFORE INSERT ON public.asks FOR EACH ROW EXECUTE FUNCTION check_primary_key('id', 'secret.small', 'id');
SELECT pg_create_logical_replication_slot('peek', 'test_decoding');
SQL

# --- whole rows, their type, and what makes text of them ---
attack_each($_, "$_;")
  foreach (
	'SELECT p::text FROM secret.patients p', 'SELECT row_to_json(p), to_jsonb(p) FROM secret.patients p', 'SELECT json_agg(p) FROM secret.patients p',
	'SELECT xmlforest(ssn) FROM secret.patients', 'SELECT hstore(p) FROM secret.patients p', 'SELECT pg_column_size(p) FROM secret.patients p',
	'SELECT (p).* FROM (SELECT p FROM secret.patients p) x', 'CREATE VIEW public.w AS SELECT t.*::text FROM secret.small t; TABLE public.w',
	'SELECT hashtext(p::text) FROM secret.patients p', 'SELECT * FROM secret.patients TABLESAMPLE system_rows(10)',
	'SELECT * FROM secret.patients TABLESAMPLE BERNOULLI (100) REPEATABLE (1)', q{SELECT * FROM xmltable('/x' PASSING (SELECT xmlelement(name x, ssn) FROM secret.patients LIMIT 1) COLUMNS v text PATH '.')},
	q{SELECT jsonb_path_query((SELECT to_jsonb(p) FROM secret.patients p LIMIT 1), '$.ssn')}, 'SELECT GROUPING(name), count(*) FROM secret.patients GROUP BY ROLLUP (name)',
	'SELECT lag(ssn) OVER () FROM secret.patients', 'SELECT * FROM secret.patients ORDER BY id FETCH FIRST 1 ROWS WITH TIES');

# --- contributed modules ---
attack_each($_, "SELECT $_;")
  foreach (
	q{* FROM xpath_table('id', 'ssn', 'secret.patients', '/x', 'true') AS t(a int)},
	q{dblink_build_sql_insert('secret.small', '1', 1, '{1}', '{1}')}, q{dblink_build_sql_update('secret.small', '1', 1, '{1}', '{1}')},
	q{* FROM connectby('secret.patients', 'name', 'ssn', 'x', 0) AS t(a text, b text, c int)},
	q{ts_rewrite('a'::tsquery, 'SELECT ssn::tsquery, name::tsquery FROM secret.patients')});
attack_each($_, "SELECT $_;", undef, who => ['mallory'])
  foreach (
	q{pgstattuple_approx('secret.patients')}, q{pg_relpages('secret.patients')}, q{pgstathashindex('secret.patients_hash')}, q{pgstatginindex('secret.patients_gin')},
	q{hash_metapage_info(get_raw_page('secret.patients_hash', 0))}, q{hash_page_items(get_raw_page('secret.patients_hash', 1))},
	q{hash_bitmap_info('secret.patients_hash', 1)}, q{gin_leafpage_items(get_raw_page('secret.patients_gin', 1))}, q{gin_metapage_info(get_raw_page('secret.patients_gin', 0))},
	q{brin_page_items(get_raw_page('secret.patients_brin', 2), 'secret.patients_brin')}, q{gist_page_items(get_raw_page('secret.patients_gist', 0), 'secret.patients_gist')},
	q{fsm_page_contents(get_raw_page('secret.patients', 'fsm', 0))}, q{get_raw_page('secret.patients', 'vm', 0)},
	q{pg_check_visible('secret.patients')}, q{pg_truncate_visibility_map('secret.patients')}, q{pg_visibility_map_summary('secret.patients')});
attack("asking by a trigger: $_", 'mallory', "INSERT INTO public.asks VALUES ($_);", REFUSED) foreach (1, 99);
like(run_as('mallory', "SELECT $_;"), qr/^(?!.*(?:ERROR|qmarker))/s, "tells no row: $_")
  foreach (
	q{pg_prewarm('secret.patients')}, q{count(*) FROM pg_buffercache}, q{count(*) FROM pg_freespace('secret.patients')}, q{* FROM pg_stat_statements},
	q{* FROM pg_stat_get_activity(NULL)}, q{pg_logical_slot_peek_changes('peek', NULL, NULL)}, q{pg_logical_slot_get_changes('peek', NULL, NULL)},
	q{pg_export_snapshot()}, q{* FROM pg_locks}, q{pg_log_backend_memory_contexts(pg_backend_pid())}, q{* FROM pg_prepared_xacts}, q{pg_get_indexdef('secret.patients_gin'::regclass)});

# --- a foreign table that points back: a new session, and so a locked one ---
my ($host, $port) = ($node->host, $node->port);
run_as('mallory', <<"SQL");
CREATE SERVER back FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres', async_capable 'true');
CREATE USER MAPPING FOR PUBLIC SERVER back OPTIONS (user 'alice', password_required 'false');
CREATE FOREIGN TABLE public.mirror (id int, name text, ssn text, note text) SERVER back OPTIONS (schema_name 'secret', table_name 'patients');
CREATE TABLE public.both_ways (id int, name text, ssn text, note text) PARTITION BY LIST (id);
ALTER TABLE public.both_ways ATTACH PARTITION public.mirror DEFAULT;
GRANT ALL ON public.mirror, public.both_ways TO PUBLIC;
SQL
attack('a foreign table that points back', 'mallory', "$_;", qr/vault password required/)
  foreach ('SELECT * FROM public.mirror', 'SELECT count(*) FROM public.both_ways', 'DELETE FROM public.mirror', 'EXPLAIN (ANALYZE) SELECT * FROM public.mirror', 'ANALYZE public.mirror');
like(run_as('alice', UNLOCK . 'SELECT * FROM public.mirror;'), qr/vault password required|password is required/, 'also for the unlocked: it is another session');

# --- statements about many tables ---
attack_each($_, "$_;", REFUSED)
  foreach (
	'ALTER TABLE ALL IN TABLESPACE pg_default OWNED BY owner SET TABLESPACE elsewhere', 'ALTER INDEX ALL IN TABLESPACE pg_default OWNED BY owner SET TABLESPACE elsewhere',
	'GRANT SELECT ON ALL TABLES IN SCHEMA secret TO PUBLIC', 'GRANT ALL ON ALL SEQUENCES IN SCHEMA secret TO PUBLIC', 'DROP OWNED BY owner CASCADE',
	'CREATE PUBLICATION everything FOR TABLES IN SCHEMA public, secret', q{DO $$DECLARE t regclass; BEGIN FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'secret'::regnamespace AND relkind = 'r' LOOP EXECUTE format('TRUNCATE %s', t); END LOOP; END$$},
	'TRUNCATE public.plain, secret.small');
attack_each("SECURITY LABEL", q{SECURITY LABEL ON TABLE secret.small IS 'x';});
attack("ALTER SYSTEM SET $_", 'mallory', "ALTER SYSTEM SET $_;", REFUSED)
  foreach (q{dynamic_shared_memory_type = 'mmap'}, q{basebackup_to_shell.command = 'id'}, q{basic_archive.archive_directory = '/tmp'});

# --- around alice ---
run_as('mallory', <<'SQL');
CREATE FUNCTION public.digest(secret.patients) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE WARNING 'leak %', $1; RETURN ''; END$$;
CREATE CAST (secret.small AS text) WITH FUNCTION public.digest2(secret.small) AS ASSIGNMENT;
CREATE FUNCTION public.digest2(secret.small) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE WARNING 'leak %', $1; RETURN ''; END$$;
CREATE CAST (secret.small AS text) WITH FUNCTION public.digest2(secret.small);
CREATE TYPE public.mood AS ENUM ('qmarker7kx2vw9');
CREATE FUNCTION public.compare(secret.small, secret.small) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE WARNING 'leak % %', $1, $2; RETURN 0; END$$;
CREATE FUNCTION public.less(secret.small, secret.small) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE WARNING 'leak % %', $1, $2; RETURN false; END$$;
CREATE OPERATOR public.< (LEFTARG = secret.small, RIGHTARG = secret.small, FUNCTION = public.less);
CREATE OPERATOR public.= (LEFTARG = secret.small, RIGHTARG = secret.small, FUNCTION = public.less);
CREATE OPERATOR CLASS public.small_ops DEFAULT FOR TYPE secret.small USING btree AS OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 public.compare(secret.small, secret.small);
SQL
my $add = UNLOCK . q{INSERT INTO secret.small SELECT g, 'qmarker7kx2vw9' FROM generate_series(10, 15) g; };
run_as('alice', $add);
foreach my $statement ('SELECT p.digest FROM secret.patients p', 'SELECT s::text FROM secret.small s', 'SELECT count(*) FROM (SELECT s FROM secret.small s ORDER BY s) x',
	'SELECT count(DISTINCT s) FROM secret.small s', 'SELECT array_agg(s ORDER BY s) FROM secret.small s', 'SELECT s = s FROM secret.small s')
{
	my $said = run_as('alice', 'SET client_min_messages = warning; ' . UNLOCK . "$statement;");
	unlike($said, qr/leak/, "alice: $statement");
}
like(run_as('alice', UNLOCK . 'SELECT p.digest FROM secret.patients p;'), qr/function "digest" may not be called in a transaction that uses a realm/, 'and is told whose function it is');
unlike(run_as('mallory', 'ANALYZE secret.small;'), qr/leak/, 'the server sorts rows of no such type');

like(run_as('alice', UNLOCK . 'SELECT count(*), min(ssn) FROM secret.patients; DELETE FROM secret.small WHERE id > 9; SELECT count(*) FROM secret.small;'), qr/60\|qmarker.*\nDELETE 6\n1\n/, 'nothing is gone');
$node->stop;
done_testing();
