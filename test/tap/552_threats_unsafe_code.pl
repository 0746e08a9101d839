# Code that reaches rows without a function of the attacker on the stack: what
# the server trusts superusers with because a mistake in it reads any memory
# (language "internal", casts, types, operator classes ...), members that are
# smuggled into an extension while its script runs, aggregates, rules and
# policies made of the server's own functions, and settings that run code.
# More of rows 17, 27, 28, 31 and 34 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(sql => <<'SQL');
CREATE DATABASE other;
GRANT CREATE ON SCHEMA public TO alice;
SET ROLE alice;
CREATE TABLE public.notes (id int, v text);
INSERT INTO public.notes VALUES (1, 'hers');
RESET ROLE;
GRANT ALL ON public.notes TO PUBLIC;
SQL
my $off = qr/is refused while a vault is on/;

# --- 17: what the server leaves to superusers, because it reads any memory ---
my @unsafe = (
	q{CREATE FUNCTION public.peek(bigint) RETURNS cstring LANGUAGE internal STRICT AS 'uuid_out'},
	q{CREATE OR REPLACE FUNCTION public.address(text) RETURNS bigint AS 'int8up' LANGUAGE 'internal'},
	q{CREATE FUNCTION public.supported(text) RETURNS text LANGUAGE sql SUPPORT brin_minmax_opcinfo AS 'SELECT $1'},
	'ALTER FUNCTION public.before() SUPPORT brin_minmax_opcinfo',
	'CREATE CAST (text AS jsonb) WITHOUT FUNCTION',
	'CREATE AGGREGATE public.confused(anynonarray) (sfunc = array_agg_transfn, stype = internal, finalfunc = string_agg_finalfn)',
	'CREATE AGGREGATE public.confused(anynonarray) (sfunc = array_append, stype = anyarray, msfunc = array_agg_transfn, minvfunc = array_agg_transfn, mstype = internal)',
	'CREATE AGGREGATE public.confused (basetype = "any", sfunc = array_agg_transfn, stype = pg_catalog.internal)',
	'CREATE OPERATOR CLASS public.confused FOR TYPE bigint USING gin AS FUNCTION 1 bttextcmp(text, text), FUNCTION 2 gin_extract_tsvector(tsvector, internal, internal)',
	'ALTER OPERATOR FAMILY integer_ops USING hash ADD FUNCTION 1 (bigint, bigint) hashtext(text)',
	'ALTER TYPE tsquery SET (SUBSCRIPT = jsonb_subscript_handler)',
	'CREATE TYPE public.confused (INPUT = textin, OUTPUT = textout, LIKE = text)',
	'CREATE TEXT SEARCH TEMPLATE public.confused (INIT = dsimple_init, LEXIZE = dsynonym_lexize)',
	'CREATE TEXT SEARCH PARSER public.confused (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)',
	'CREATE TRUSTED LANGUAGE confused HANDLER plpgsql_call_handler INLINE plpgsql_inline_handler',
	'CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal))',
	'CREATE ACCESS METHOD confused TYPE INDEX HANDLER bthandler');
foreach my $database (qw(postgres other))
{
	my $out = run_as('mallory', join('', map { "\\echo case $_\n$unsafe[$_];\n" } 0 .. $#unsafe), database => $database);
	like($out, qr/^case $_\nERROR:  TV036: [^\n]* is refused while a vault is on/m, "17: in $database: $unsafe[$_]") foreach 0 .. $#unsafe;
	attack("17: in $database, in a block", 'mallory', "DO \$do\$ BEGIN EXECUTE \$e\$ $unsafe[0] \$e\$; END \$do\$;", $off, database => $database);
}
my @harmless = (
	'CREATE TYPE public.shell', "CREATE TYPE public.mood AS ENUM ('sad')", 'CREATE TYPE public.span AS RANGE (subtype = int)',
	'CREATE AGGREGATE public.add(int) (sfunc = int4pl, stype = int)', 'CREATE CAST (public.mood AS int) WITH INOUT',
	'CREATE TEXT SEARCH DICTIONARY public.d (TEMPLATE = simple)', 'CREATE OPERATOR FAMILY public.f USING btree',
	'CREATE EXTENSION citext', 'CREATE EXTENSION btree_gin', 'CREATE EXTENSION hstore');
my $made = run_as('mallory', join('', map { "$_;\n" } @harmless));
is(() = $made =~ /^CREATE /mg, scalar(@harmless), 'control: what is safe, and extensions') or diag($made);

# --- 17: a provider of master keys is a library, or a key that somebody knows ---
foreach my $uri ('pkcs11:token=x?module-path=/usr/lib/postgresql/15/lib/test_decoding.so&pin-value=1', 'file:/tmp/key', 'env:PATH')
{
	attack("17: provider $uri: $_", 'mallory', "CALL tde_vault.$_;", qr/naming a key provider is refused while a vault is on/)
	  foreach ("rotate_master_key('other', '$uri')", "create_master_key('other', '$uri', true)");
}
like(run_as('postgres', q{CALL tde_vault.rotate_master_key('next'); 
CALL tde_vault.create_master_key('of_the_cluster', current_setting('tde_vault.key_provider'), true);}), qr/is "next" now.*^CALL/ms,
	'control: with the provider that is configured');

# --- 34: smuggled into an extension by an event trigger ---
foreach my $database (qw(postgres other))
{
	run_as('mallory', <<'SQL', database => $database);
CREATE FUNCTION public.smuggle() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE what text := current_setting('my.what', true);
BEGIN
	IF what <> '' THEN
		PERFORM set_config('my.what', '', false);
		EXECUTE what;
	END IF;
END$$;
CREATE EVENT TRIGGER smuggle ON ddl_command_end WHEN TAG IN ('CREATE FUNCTION') EXECUTE FUNCTION public.smuggle();
SQL
	foreach my $what (
		q{CREATE FUNCTION public.native(bigint) RETURNS text LANGUAGE c STRICT AS '$libdir/fuzzystrmatch', 'soundex'},
		q{CREATE FUNCTION public.peek(bigint) RETURNS cstring LANGUAGE internal STRICT AS 'uuid_out'})
	{
		attack("34: in $database, an event trigger makes $what", 'mallory',
			"SET my.what = \$w\$$what\$w\$; CREATE EXTENSION fuzzystrmatch; SELECT count(*) AS n FROM pg_proc WHERE proname IN ('native', 'peek');",
			qr/is refused while a vault is on.*^0$/ms, database => $database);
	}
}
foreach my $what (
	q{CREATE FUNCTION public.trojan(t text) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM pg_notify(''loot'', left(t, 30)); RETURN t; END'},
	q{CREATE TABLE public.member (v text)},
	q{ALTER FUNCTION public.smuggle() OWNER TO alice},
	q{ALTER FUNCTION public.citextin(cstring) RENAME TO other})
{
	attack("34: an event trigger: $what", 'mallory',
		"SET my.what = \$w\$$what\$w\$; CREATE EXTENSION fuzzystrmatch; SELECT count(*) FROM pg_extension WHERE extname = 'fuzzystrmatch';",
		qr/is refused while a vault is on.*^0$/ms);
}
run_as('mallory', <<'SQL');
CREATE TABLE public.history (v text);
CREATE OR REPLACE FUNCTION public.smuggle() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.history VALUES (tg_tag); END$$;
CREATE FUNCTION public.install() RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'CREATE EXTENSION fuzzystrmatch'; END$$;
SQL
like(run_as('mallory', 'SELECT public.install(); SELECT count(*) > 5 FROM public.history;'), qr/^t$/m,
	'control: an extension that a function installs, and a trigger that keeps a history of it');
run_as('mallory', 'DROP EVENT TRIGGER smuggle;');
run_as('mallory', 'DROP EVENT TRIGGER smuggle;', database => 'other');

# --- 12, 13: what says that it is leakproof and cheap is asked before everything else ---
run_as('mallory', <<'SQL');
CREATE FUNCTION public.spy(pg_statistic) RETURNS boolean LANGUAGE plpgsql LEAKPROOF COST 0.0000001 AS $$BEGIN RAISE NOTICE '%', $1; RETURN true; END$$;
CREATE FUNCTION public.spy(pg_statistic_ext_data) RETURNS boolean LANGUAGE plpgsql LEAKPROOF COST 0.0000001 AS $$BEGIN RAISE NOTICE '%', pg_mcv_list_items($1.stxdmcv); RETURN true; END$$;
SQL
attack("13: $_", 'mallory', "SET client_min_messages = notice; $_;", qr/^NOTICE|^0$|Filter: \(tde_vault/m)
  foreach ('SELECT count(*) FROM pg_statistic WHERE public.spy(pg_statistic)',
	'SELECT count(*) FROM pg_statistic_ext_data d WHERE public.spy(d)',
	q{SELECT count(*) FROM pg_statistic s WHERE public.spy(s) AND starelid = 'secret.patients'::regclass},
	q{SET enable_seqscan = off; SELECT count(*) FROM pg_statistic s WHERE public.spy(s) AND starelid > 0},
	q{SET enable_seqscan = off; SET enable_indexscan = off; SELECT count(*) FROM pg_statistic s WHERE public.spy(s) AND starelid > 0},
	'SELECT count(*) FROM pg_statistic s WHERE tde_vault.statistics_visible(1259) AND public.spy(s)',
	'PREPARE p AS SELECT count(*) FROM pg_statistic s WHERE public.spy(s); EXECUTE p; EXECUTE p; EXPLAIN EXECUTE p');

# --- 35: tuples of catalogs are killed, or brought back to life ---
foreach my $database (qw(postgres other))
{
	run_as('mallory', 'CREATE EXTENSION pg_surgery;', database => $database);
	attack("35: in $database: $_", 'mallory', "SELECT $_;", qr/changing pg_catalog\.pg_\w+ is refused while a vault is on/, database => $database)
	  foreach (q{heap_force_kill('pg_depend', array_agg(ctid)) FROM pg_depend WHERE objid = (SELECT max(reltoastrelid) FROM pg_class)},
		q{heap_force_freeze('pg_auth_members', ARRAY['(0,1)'::tid])}, q{heap_force_kill(1213, ARRAY['(0,1)'::tid])});
}
attack('35: of the realm', 'mallory', q{SELECT heap_force_kill('secret.small', ARRAY['(0,1)'::tid]);}, REFUSED);
like(run_as('mallory', q{CREATE TABLE public.broken AS SELECT 1 AS a; SELECT heap_force_kill('public.broken', ARRAY['(0,1)'::tid]); SELECT count(*) FROM public.broken;}), qr/^0$/m,
	'control: of another table');

# --- 28: aggregates of somebody, made of functions of the server ---
run_as('mallory', <<'SQL');
CREATE AGGREGATE public.count(text) (sfunc = textcat, stype = text, initcond = '');
CREATE AGGREGATE public.bytes(bytea) (sfunc = lo_from_bytea, stype = oid, initcond = '0');
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
SQL
my $untrusted = qr/may not be called in a transaction that uses a realm/;
foreach my $read ('SELECT public.count(ssn) FROM secret.patients', 'SELECT count(ssn) FROM secret.patients',
	'SELECT count(ssn) OVER () FROM secret.patients', 'SELECT public.bytes(ssn::bytea) FROM secret.patients WHERE id = 1',
	q{BEGIN; SELECT count(*) FROM secret.patients; SELECT public.count('x'::text); COMMIT},
	'DO $$BEGIN PERFORM public.count(ssn) FROM secret.patients; END$$')
{
	like(run_as('alice', UNLOCK . "$read;"), $untrusted, "28: an aggregate: $read");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_largeobject_metadata'), '0', '28: no row became a large object');
like(run_as('mallory', q{SELECT public.count(v) FROM public.plain;}), qr/^nothing$/m, 'control: it works elsewhere');
run_as('alice', 'CREATE AGGREGATE public.mine(text) (sfunc = textcat, stype = text, initcond = $$$$);');
control('an aggregate of alice', 'SELECT length(public.mine(ssn)) > 0 FROM secret.patients;', qr/^t$/m);
control('aggregates of the server', 'SELECT max(id), string_agg(ssn, $$,$$) IS NULL FROM secret.patients;', qr/^60\|f$/m);
run_as('mallory', 'DROP AGGREGATE public.count(text);');

# --- 27: rules and policies on tables of somebody, which read the realm as whoever uses them ---
run_as('mallory', <<'SQL');
CREATE TABLE public.ruled (id int, v text);
CREATE RULE tell AS ON INSERT TO public.ruled DO ALSO SELECT pg_notify('loot', left(p.ssn, 30)) FROM secret.patients p;
CREATE TABLE public.lured (id int, v text);
INSERT INTO public.lured VALUES (1, 'x');
ALTER TABLE public.lured ENABLE ROW LEVEL SECURITY;
CREATE POLICY tell ON public.lured USING ((SELECT count(pg_notify('loot', left(p.ssn, 30))) FROM secret.patients p) >= 0);
CREATE TABLE public.lured_through (id int);
INSERT INTO public.lured_through VALUES (1);
ALTER TABLE public.lured_through ENABLE ROW LEVEL SECURITY;
CREATE POLICY tell ON public.lured_through USING (EXISTS (SELECT FROM public.lured));
CREATE TABLE public.lured_parts (id int, v text) PARTITION BY LIST (id);
CREATE TABLE public.lured_parts_1 PARTITION OF public.lured_parts FOR VALUES IN (1);
INSERT INTO public.lured_parts VALUES (1, 'x');
ALTER TABLE public.lured_parts ENABLE ROW LEVEL SECURITY;
CREATE POLICY tell ON public.lured_parts USING ((SELECT count(pg_notify('loot', left(p.ssn, 30))) FROM secret.patients p) >= 0);
CREATE TABLE public.plain_policy (id int);
INSERT INTO public.plain_policy VALUES (1);
ALTER TABLE public.plain_policy ENABLE ROW LEVEL SECURITY;
CREATE POLICY tell ON public.plain_policy USING (EXISTS (SELECT FROM public.plain));
GRANT ALL ON public.ruled, public.lured, public.lured_through, public.lured_parts, public.plain_policy TO PUBLIC;
SQL
foreach my $use (q{INSERT INTO public.ruled VALUES (1, 'y')}, 'SELECT * FROM public.lured', 'SELECT count(*) FROM public.lured_through',
	'SELECT * FROM public.lured_parts', 'UPDATE public.lured SET v = v', 'DELETE FROM public.lured', 'COPY public.lured TO STDOUT',
	'SELECT * FROM public.lured FOR UPDATE', 'MERGE INTO public.lured l USING public.plain p ON p.id = l.id WHEN MATCHED THEN DELETE',
	'DO $$BEGIN PERFORM FROM public.lured; END$$', 'PREPARE p AS SELECT FROM public.lured; EXECUTE p')
{
	my $out = run_as('alice', 'LISTEN loot; ' . UNLOCK . "$use; SELECT 1;");
	unlike($out, qr/qmarker/, "27: $use");
	like($out, qr/may not carry rows of/, '27: is refused');
}
control('a policy that reads no realm', 'SELECT count(*) FROM secret.patients, public.plain_policy;', qr/^60$/m);
like(run_as('mallory', 'SELECT count(*) FROM public.plain_policy;'), qr/^1$/m, 'control: nor is it anybody else\'s matter');
attack("27: on a table of alice: $_", 'mallory', "$_;", $off)
  foreach (q{CREATE POLICY tell ON public.notes USING ((SELECT count(pg_notify('loot', p.ssn)) FROM secret.patients p) >= 0)},
	q{CREATE RULE tell AS ON INSERT TO public.notes DO ALSO SELECT pg_notify('loot', p.ssn) FROM secret.patients p});
like(run_as('alice', <<'SQL'), qr/CREATE POLICY/, 'alice makes one of her own');
ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.notes FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON public.notes USING (EXISTS (SELECT FROM secret.patients));
SQL
control('which works', 'SELECT v FROM public.notes;', qr/^hers$/m);
attack('27: and nobody changes it', 'mallory', "ALTER POLICY mine ON public.notes USING ((SELECT count(pg_notify('loot', p.ssn)) FROM secret.patients p) >= 0);", $off);

# --- 28, 31: settings of everybody ---
attack("28: $_", 'mallory', "$_;", qr/setting search_path for sessions of every role is refused/)
  foreach (q{ALTER SYSTEM SET search_path = 'evil', 'pg_catalog'}, 'ALTER SYSTEM RESET search_path');
my @settings = qw(plperl.on_init plperl.on_plperl_init plperl.on_plperlu_init pltcl.start_proc pltclu.start_proc pljava.vmoptions pljava.libjvm_location);
my $said = run_as('mallory', join('', map { "ALTER SYSTEM SET $_ = 'x'; SET $_ = 'x'; SELECT set_config('$_', 'x', false);\n" } @settings));
is(() = $said =~ /ERROR:  TV036: setting "\Q$_\E" cannot be changed while a vault is on/g, 3, "31: $_") foreach @settings;
# the server takes any name here, and looks at it when a session begins
run_as('mallory', join('', map { "ALTER DATABASE postgres SET $_ = 'x';\n" } @settings));
is(() = run_as('alice', join('', map { "SELECT coalesce(current_setting('$_', true), '') = '';\n" } @settings)) =~ /^t$/mg,
	scalar(@settings), '31: no session has them');
done_testing();
