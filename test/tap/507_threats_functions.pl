# Functions that would be given a realm's rows without being asked for: below
# what a table runs, as members of domains and operator families that it uses,
# in language "internal", behind views; and tables that would leave the realm.
# More of rows 5 to 11, 22, 25, 27 and 28 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	conf => "autovacuum_naptime = 1\n",
	sql => <<'SQL');
GRANT CREATE ON SCHEMA public TO owner;
CREATE TABLE public.loot (v text);
GRANT ALL ON public.loot TO PUBLIC;
CREATE FUNCTION public.tell(varchar, text) RETURNS boolean LANGUAGE internal AS 'pg_notify';
ALTER FUNCTION public.tell(varchar, text) OWNER TO mallory;
SET ROLE owner;
CREATE FUNCTION public.below(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
CREATE FUNCTION public.above(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.below($1); END';
CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.below(NEW.v); RETURN NEW; END';
CREATE TABLE secret.deep (id int PRIMARY KEY, v text) USING tde_heap
	WITH (autovacuum_analyze_threshold = 0, autovacuum_analyze_scale_factor = 0);
INSERT INTO secret.deep SELECT g, 'qmarker7kx2vw9' || g FROM generate_series(1, 20) g;
CREATE INDEX deep_above ON secret.deep (public.above(v));
CREATE STATISTICS secret.deep_stat ON (public.above(v)), id FROM secret.deep;
CREATE TABLE secret.stamped (v text) USING tde_heap;
CREATE TRIGGER stamp BEFORE INSERT ON secret.stamped FOR EACH ROW EXECUTE FUNCTION public.stamp();
CREATE DOMAIN public.dom AS text;
CREATE TYPE public.pair AS (a public.dom, b int);
CREATE TYPE public.span AS RANGE (subtype = text);
CREATE TABLE secret.domains (a public.dom[], p public.pair, q public.pair[]) USING tde_heap;
CREATE TABLE secret.words (a text[]) USING tde_heap;
CREATE TABLE secret.parts (id int, v text) PARTITION BY LIST (id);
CREATE TABLE secret.parts_1 PARTITION OF secret.parts FOR VALUES IN (1) USING tde_heap;
CREATE TABLE secret.parts_parent (v text) USING tde_heap;
CREATE TABLE secret.child () INHERITS (secret.parts_parent) USING tde_heap;
INSERT INTO secret.parts VALUES (1, 'qmarker7kx2vw9');
CREATE TABLE secret.brin (v text) USING tde_heap;
CREATE INDEX brin_v ON secret.brin USING brin (v);
CREATE TABLE secret.key (id int PRIMARY KEY) USING tde_heap;
INSERT INTO secret.key VALUES (1);
CREATE TABLE public.refers (id int REFERENCES secret.key ON DELETE CASCADE);
CREATE TABLE public.referred (id int PRIMARY KEY);
INSERT INTO public.referred VALUES (1);
CREATE TABLE secret.refers (id int REFERENCES public.referred ON DELETE CASCADE ON UPDATE CASCADE) USING tde_heap;
INSERT INTO secret.refers VALUES (1);
GRANT ALL ON public.refers, public.referred TO alice;
CREATE FUNCTION public.utility(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN public.below($1); END';
RESET ROLE;
SET ROLE alice;
CREATE VIEW public.trusted AS SELECT id, ssn FROM secret.patients;
RESET ROLE;
GRANT SELECT ON public.trusted TO PUBLIC;
CREATE OPERATOR CLASS public.words_ops FOR TYPE text[] USING gin AS
	OPERATOR 1 &&(anyarray, anyarray), OPERATOR 2 @>(anyarray, anyarray),
	FUNCTION 2 ginarrayextract(anyarray, internal, internal),
	FUNCTION 3 ginqueryarrayextract(anyarray, internal, smallint, internal, internal, internal, internal),
	FUNCTION 4 ginarrayconsistent(internal, smallint, anyarray, integer, internal, internal, internal, internal),
	STORAGE text;
CREATE INDEX words_gin ON secret.words USING gin (a public.words_ops);
GRANT ALL ON ALL TABLES IN SCHEMA secret TO alice;
SQL
like(run_as('security', q{CALL tde_vault.realm_add('pii', ARRAY['secret.deep', 'secret.stamped', 'secret.domains', 'secret.words', 'secret.parts', 'secret.parts_parent', 'secret.brin', 'secret.key', 'secret.refers']);}),
	qr/^CALL$/m, 'the realm');
my $untrusted = qr/may not be called in a transaction that uses a realm/;
my $spy = q{LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE WARNING 'leak %', $1; RETURN $1; END$$};

# --- 11: what a function of the table calls by name is replaced ---
foreach my $who (qw(mallory owner))
{
	like(run_as($who, "CREATE OR REPLACE FUNCTION public.below(text) RETURNS text $spy;"), qr/CREATE FUNCTION/, "$who replaces it");
	attack("11: below the index: $_", $who, "$_;", $untrusted)
	  foreach ('ANALYZE secret.deep', 'VACUUM (ANALYZE) secret.deep',
		q{BEGIN; SELECT public.above('x'); ANALYZE secret.deep; COMMIT});
	attack("11: below the index: $_", $who, "$_;", REFUSED)
	  foreach ('REINDEX TABLE secret.deep', 'VACUUM FULL secret.deep', 'CLUSTER secret.deep USING deep_above');
}
foreach my $statement ('INSERT INTO secret.deep VALUES (100, $$qmarker7kx2vw9$$)', 'UPDATE secret.deep SET v = v || 1',
	'INSERT INTO secret.stamped VALUES ($$qmarker7kx2vw9$$)', 'REINDEX TABLE secret.deep', 'ANALYZE secret.deep')
{
	my $out = run_as('alice', 'SET client_min_messages = warning; ' . UNLOCK . "$statement;");
	unlike($out, qr/leak qmarker/, "11: alice, unlocked: $statement");
	like($out, $untrusted, '11: is told');
}
# the server itself
my $from = -s $node->logfile;
$node->safe_psql('postgres', 'ALTER SYSTEM SET autovacuum = on');
$node->reload;
run_as('alice', UNLOCK . 'DELETE FROM secret.deep WHERE id > 15;');
ok($node->poll_query_until('postgres', q{SELECT count(*) >= 0 FROM pg_stat_all_tables WHERE relid = 'secret.deep'::regclass AND n_mod_since_analyze > 0}), 'there is something for autovacuum');
$node->wait_for_log(qr/function "below" may not be called in a transaction/, $from);
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile, $from), qr/leak/, '11: autovacuum hands it nothing');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET autovacuum');
$node->reload;
like(run_as('owner', q{SELECT public.utility('harmless');}), qr/^harmless$/m, 'it works for others on what is theirs');
run_as('owner', "CREATE OR REPLACE FUNCTION public.below(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT \$1';");
attack('11: in the language SQL, too', 'mallory', 'ANALYZE secret.deep;', $untrusted);
# a role of the vault may own it
run_as('mallory', 'DROP FUNCTION public.below(text);');
$node->safe_psql('postgres', 'GRANT CREATE ON SCHEMA public TO alice');
like(run_as('alice', q{CREATE FUNCTION public.below(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';}), qr/CREATE FUNCTION/, 'alice makes it');
attack('11: and nobody replaces that', 'mallory', "CREATE OR REPLACE FUNCTION public.below(text) RETURNS text $spy;", qr/is refused while a vault is on/);
unlike(run_as('mallory', 'ANALYZE secret.deep;'), qr/ERROR/, 'ANALYZE works again');
control('insert', 'INSERT INTO secret.deep VALUES (101, $$qmarker7kx2vw9$$), (102, NULL);', qr/INSERT 0 2/);

# --- 9, 11: becoming part of what a table runs ---
run_as('mallory', <<'SQL');
CREATE FUNCTION public.leak_bool(text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE WARNING 'leak %', $1; RETURN true; END$$;
CREATE FUNCTION public.leak_compare(text, text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE WARNING 'leak % %', $1, $2; RETURN bttextcmp($1, $2); END$$;
SQL
attack_each("9: $_", "$_;")
  foreach (
	'ALTER DOMAIN public.dom ADD CONSTRAINT x CHECK (public.leak_bool(VALUE)) NOT VALID',
	'ALTER DOMAIN public.dom ADD CHECK (VALUE IS NOT NULL) NOT VALID',
	'DROP OPERATOR FAMILY public.words_ops USING gin CASCADE',
	'DROP OPERATOR CLASS public.words_ops USING gin CASCADE');
attack_each("9: $_", "$_;", REFUSED)
  foreach ('ALTER OPERATOR FAMILY public.words_ops USING gin ADD FUNCTION 1 (text[], text[]) public.leak_compare(text, text)');
foreach my $row (q{INSERT INTO secret.domains (a) VALUES (ARRAY['qmarker7kx2vw9']::public.dom[])}, q{INSERT INTO secret.domains (p, q) VALUES (('qmarker7kx2vw9', 1), ARRAY[('qmarker7kx2vw9', 1)::public.pair])},
	q{INSERT INTO secret.words VALUES (ARRAY['qmarker7kx2vw9', 'b'])})
{
	like(control($row, "$row;", qr/INSERT 0 1/), qr/^(?!.*leak)/s, 'nobody is given it');
}
attack_each("11: $_", "SELECT $_;")
  foreach (q{gin_clean_pending_list('secret.words_gin')}, q{brin_summarize_new_values('secret.brin_v')},
	q{brin_summarize_range('secret.brin_v', 0)}, q{brin_desummarize_range('secret.brin_v', 0)});
$node->safe_psql('postgres', 'GRANT owner TO alice');
control('maintenance of an index', q{SELECT brin_summarize_new_values('secret.brin_v'), gin_clean_pending_list('secret.words_gin');}, qr/^0\|\d/m);
control('a domain', 'ALTER DOMAIN public.dom ADD CHECK (length(VALUE) > 2) NOT VALID;', qr/ALTER DOMAIN/);

# --- 28: functions of the server in somebody's name ---
run_as('mallory', <<'SQL');
CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = text, FUNCTION = public.tell);
CREATE VIEW public.dash AS SELECT id, pg_notify('loot', ssn) IS NULL AS n FROM secret.patients;
CREATE VIEW public.dash_invoker WITH (security_invoker = true) AS SELECT id, pg_notify('loot', ssn) IS NULL AS n FROM secret.patients;
CREATE VIEW public.dash_over AS SELECT id, pg_notify('loot', ssn) IS NULL AS n FROM public.trusted;
CREATE VIEW public.dash_lo AS SELECT lo_from_bytea(0, ssn::bytea) AS n FROM secret.patients;
CREATE VIEW public.dash_through AS SELECT * FROM public.dash_over;
CREATE VIEW public.harmless AS SELECT v FROM public.plain;
GRANT ALL ON public.dash, public.dash_invoker, public.dash_over, public.dash_lo, public.dash_through, public.harmless TO PUBLIC;
GRANT USAGE, SELECT ON ALL TABLES IN SCHEMA secret TO mallory;
SQL
foreach my $read (
	'SELECT count(n) FROM (SELECT * FROM public.dash OFFSET 0) x', 'SELECT count(n) FROM (SELECT * FROM public.dash_invoker OFFSET 0) x',
	'SELECT count(n) FROM (SELECT * FROM public.dash_over OFFSET 0) x', 'SELECT count(n) FROM (SELECT * FROM public.dash_through OFFSET 0) x',
	'SELECT count(n) FROM (SELECT * FROM public.dash_lo OFFSET 0) x', 'COPY (SELECT * FROM public.dash) TO STDOUT',
	'DO $$BEGIN PERFORM n FROM public.dash; END$$', 'PREPARE p AS SELECT n FROM public.dash_invoker; EXECUTE p', 'EXPLAIN ANALYZE SELECT n FROM public.dash')
{
	my $out = run_as('alice', 'LISTEN loot; ' . UNLOCK . "$read; SELECT 1;");
	unlike($out, qr/qmarker/, "28: $read");
	like($out, qr/view public\.dash\w* may not carry rows of a realm|view or rule may not carry rows/, '28: is refused');
}
my $out = run_as('alice', 'LISTEN loot; ' . UNLOCK . q{SELECT count(*) FROM secret.patients WHERE 'loot'::varchar = ssn; SELECT 1;});
unlike($out, qr/qmarker/, '28: an operator in language internal');
like($out, $untrusted, '28: is refused');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_largeobject_metadata'), '0', '28: no row became a large object');
control('a view of alice', 'SELECT ssn FROM public.trusted;', qr/qmarker/);
control('a view that reads no realm', 'SELECT count(*) FROM secret.patients, public.harmless;', qr/^60$/m);
control('a view of the server', q{SELECT count(*) FROM secret.patients, pg_stats WHERE tablename = 'pg_class' AND attname = 'relname';}, qr/^60$/m);

# --- 5, 6: leaving the realm, also by somebody who may change the table ---
my $leaves = qr/would leave realm "pii"/;
foreach my $statement (
	'ALTER TABLE secret.parts DETACH PARTITION secret.parts_1', 'ALTER TABLE secret.parts DETACH PARTITION secret.parts_1 CONCURRENTLY',
	'ALTER TABLE secret.child NO INHERIT secret.parts_parent', 'ALTER SEQUENCE secret.patients_id_seq OWNED BY NONE',
	'ALTER TABLE secret.small SET ACCESS METHOD heap', q{CALL tde_vault.decrypt_table('secret.small')}, 'ALTER TABLE secret.small DISABLE ENCRYPTION')
{
	attack_each("6: $statement", "$statement;");
	my $said = run_as('alice', UNLOCK . "$statement;");
	like($said, qr/$leaves|must stay a tde_heap table|must stay encrypted|cannot change ownership of identity sequence/, "6: $statement: alice, unlocked");
}
attack('6: still there', 'mallory', 'SELECT * FROM secret.parts_1; SELECT * FROM secret.child; SELECT * FROM secret.small;', REFUSED);
like(run_as('security', q{CALL tde_vault.realm_add('pii', ARRAY['secret.parts_1']);}), qr/^CALL$/m, 'a partition is put into the realm itself');
control('then it can be detached', 'ALTER TABLE secret.parts DETACH PARTITION secret.parts_1;', qr/ALTER TABLE/);
attack('6: and is protected still', 'mallory', 'SELECT * FROM secret.parts_1;', REFUSED);

# --- 22: keys from before the vault was on ---
$node->safe_psql('postgres', 'GRANT ALL ON public.refers, public.referred TO alice');
attack_each("22: $_", "$_;", qr/not authorized for realm|vault password required/)
  foreach (
	'INSERT INTO public.refers VALUES (1)', 'INSERT INTO public.refers VALUES (99)', 'DELETE FROM public.referred',
	'UPDATE public.referred SET id = 7', 'TRUNCATE public.referred CASCADE', q{COPY public.refers FROM STDIN;
1
\.
});

like(run_as('alice', UNLOCK . 'SELECT count(*), min(ssn) FROM secret.patients; SELECT count(*) FROM secret.refers;'), qr/60\|qmarker.*\n1\n/, 'nothing is gone');
$node->stop;
done_testing();
