# Expressions that somebody stored and an authorized, unlocked user meets: a
# default, check, view, rule, policy, domain, operator, cast.  They need no
# function of their owner's: the server and its modules have ones that run SQL,
# that open what they are told, and that take a value elsewhere.  None of it is
# for who stored it: no row, no value of statistics, no large object, no unlock
# ticket, no recovery share.  More of rows 12, 18, 25, 27, 28 and 29 of the list
# of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my @modules = qw(dblink tablefunc xml2 refint);
my $node = realm_server(
	conf => "wal_level = logical\nmax_replication_slots = 4\n",
	sql => join('', map { "CREATE EXTENSION $_;\n" } @modules) . <<'SQL');
CREATE TABLE public.loot (v text);
GRANT ALL ON public.loot TO PUBLIC;
CREATE SCHEMA alice;
GRANT USAGE ON SCHEMA alice TO PUBLIC;
CREATE EXTENSION pgtap;
SELECT pg_create_logical_replication_slot('slot', 'test_decoding');
GRANT EXECUTE ON FUNCTION pg_backup_start, pg_replication_origin_advance TO alice;
SET ROLE alice;
SELECT lo_from_bytea(7001, 'qmarker7kx2vw9 of alice');
RESET ROLE;
SQL
run_as('mallory', 'GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;');
my ($host, $port) = ($node->host, $node->port);

# What mallory stores is sprung by alice, unlocked; then mallory looks.
sub sprung
{
	my ($name, $make, $spring, $expected, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $who = $opt{who} // 'alice';
	my $first = $opt{first} // UNLOCK;

	unlike(run_as($opt{by} // 'mallory', "$make;\nGRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;"), qr/ERROR/, "$name: stored");
	my $said = run_as($who, "$first\n$spring;");
	like($said, $expected, "$name: refused") unless !defined $expected;
	my $loot = run_as('mallory', q{SELECT count(*) FROM public.loot; SELECT coalesce(current_setting('my.loot', true), '');
		SELECT data FROM pg_logical_slot_peek_changes('slot', NULL, NULL) WHERE data LIKE 'message%';} . ($opt{look} // ''));
	unlike($loot, qr/\A[1-9]|qmarker7kx2vw9/, "$name: nothing is taken") or diag("$said\n$loot");
	run_as('mallory', ($opt{clean} // 'DROP TABLE IF EXISTS public.inbox CASCADE; DROP VIEW IF EXISTS public.inboxv CASCADE') . '; TRUNCATE public.loot;');
	return $said;
}

my $stored = qr/by an expression that is stored|is called by an expression that is stored|may not carry rows/;

# --- functions that run SQL, or open what they are told ------------------------------------

my $all = q{'SELECT * FROM secret.patients'};
my %telling = (
	query => "query_to_xml($all, true, true, '')::text",
	schema => "query_to_xml_and_xmlschema($all, true, true, '')::text",
	table => q{table_to_xml('secret.patients', true, true, '')::text},
	everything => q{schema_to_xml('secret', true, true, '')::text},
	database => q{database_to_xml(true, true, '')::text},
	rewrite => q{ts_rewrite('a'::tsquery, 'SELECT ssn::tsquery, name::tsquery FROM secret.patients')::text},
	object => q{encode(lo_get(7001), 'escape')},
	part => q{encode(lo_get(7001, 0, 14), 'escape')},
	insert => q{dblink_build_sql_insert('secret.small', '1', 1, '{1}', '{1}')},
	nested => q{query_to_xml('SELECT query_to_xml($$SELECT * FROM secret.small$$, true, true, $$$$)', true, true, '')::text});
foreach my $kind (sort keys %telling)
{
	my $call = $telling{$kind};

	sprung("default: $kind", "CREATE TABLE public.inbox (id int, v text DEFAULT $call)", 'INSERT INTO public.inbox (id) VALUES (1)', $stored,
		look => 'SELECT v FROM public.inbox;');
	# a view of the whole database would read itself
	next if $kind eq 'database';
	sprung("view: $kind", "CREATE TABLE public.inbox (v text); CREATE VIEW public.inboxv AS SELECT $call AS v", 'SELECT length(v) FROM public.inboxv', $stored);
}
my %places = (
	check => [ q{CREATE TABLE public.inbox (id int, CHECK (lo_from_bytea(0, CALL::bytea) > 0))}, 'INSERT INTO public.inbox VALUES (1)' ],
	'COPY of a default' => [ q{CREATE TABLE public.inbox (id int, v text DEFAULT CALL)}, "COPY public.inbox (id) FROM STDIN;\n1\n\\.\nSELECT 1" ],
	'COPY of a check' => [ q{CREATE TABLE public.inbox (id int, CHECK (lo_from_bytea(0, CALL::bytea) > 0))}, "COPY public.inbox FROM STDIN;\n1\n\\.\nSELECT 1" ],
	rule => [ q{CREATE TABLE public.inbox (id int); CREATE RULE r AS ON INSERT TO public.inbox DO ALSO INSERT INTO public.loot VALUES (CALL)}, 'INSERT INTO public.inbox VALUES (1)' ],
	'rule that selects' => [ q{CREATE TABLE public.inbox (id int); CREATE RULE r AS ON UPDATE TO public.inbox DO ALSO SELECT pg_notify('loot', left(CALL, 7000)); INSERT INTO public.inbox VALUES (1)}, 'UPDATE public.inbox SET id = 2' ],
	policy => [ q{CREATE TABLE public.inbox AS SELECT 1 AS id; ALTER TABLE public.inbox ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON public.inbox USING (lo_from_bytea(0, CALL::bytea) > 0)}, 'SELECT * FROM public.inbox' ],
	'policy for inserts' => [ q{CREATE TABLE public.inbox (id int); ALTER TABLE public.inbox ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON public.inbox WITH CHECK (lo_from_bytea(0, CALL::bytea) > 0)}, 'INSERT INTO public.inbox VALUES (1)' ],
	'condition of a trigger' => [ q{CREATE TABLE public.inbox (id int); CREATE TRIGGER t BEFORE INSERT ON public.inbox FOR EACH ROW WHEN (lo_from_bytea(0, CALL::bytea) > 0) EXECUTE FUNCTION suppress_redundant_updates_trigger()}, 'INSERT INTO public.inbox VALUES (1)' ],
	domain => [ q{CREATE TABLE public.inbox (id int); CREATE DOMAIN public.d AS int CHECK (lo_from_bytea(0, CALL::bytea) > 0)}, 'SELECT 1::public.d', 'DROP DOMAIN public.d; DROP TABLE public.inbox' ],
	'input of a domain' => [ q{CREATE TABLE public.inbox (id public.d2)}, "COPY public.inbox FROM STDIN;\n1\n\\.\nSELECT 1", undef, q{CREATE DOMAIN public.d2 AS int CHECK (lo_from_bytea(0, CALL::bytea) > 0); } ],
	'default of an argument' => [ q{CREATE TABLE public.inbox (id int); CREATE FUNCTION public.arg(t text DEFAULT CALL) RETURNS void LANGUAGE sql AS $$INSERT INTO public.loot VALUES (t)$$}, 'SELECT public.arg()', 'DROP FUNCTION public.arg; DROP TABLE public.inbox' ],
	prepared => [ q{CREATE TABLE public.inbox (id int, v text DEFAULT CALL)}, 'PREPARE p AS INSERT INTO public.inbox (id) VALUES (1); EXECUTE p' ],
	'function of alice' => [ q{CREATE TABLE public.inbox (id int, v text DEFAULT CALL)}, 'DO $$BEGIN INSERT INTO public.inbox (id) VALUES (1); END$$' ],
	'MERGE' => [ q{CREATE TABLE public.inbox (id int, v text DEFAULT CALL)}, 'MERGE INTO public.inbox i USING public.plain p ON p.id = i.id WHEN NOT MATCHED THEN INSERT (id) VALUES (p.id)' ],
	'materialised view' => [ q{CREATE TABLE public.inbox (v text); CREATE VIEW public.inboxv AS SELECT CALL AS v}, 'CREATE MATERIALIZED VIEW public.copied AS SELECT * FROM public.inboxv; DROP MATERIALIZED VIEW public.copied' ]);
foreach my $place (sort keys %places)
{
	my ($make, $spring, $clean, $before) = @{ $places{$place} };

	$make = ($before // '') . $make;
	$make =~ s/CALL/$telling{query}/;
	sprung($place, $make, $spring, qr/$stored|may not use realm/, clean => $clean,
		look => q{SELECT encode(lo_get(oid), 'escape') FROM pg_largeobject_metadata WHERE oid <> 7001;});
	run_as('mallory', 'DROP DOMAIN IF EXISTS public.d2 CASCADE;');
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_largeobject_metadata'), '1', 'no row became a large object');

# of modules, and of extensions in a language that executes what it is given
sprung("ts_stat", q{CREATE TABLE public.inbox (id int); CREATE RULE r AS ON INSERT TO public.inbox DO ALSO INSERT INTO public.loot SELECT word FROM ts_stat('SELECT to_tsvector(''simple'', ssn) FROM secret.patients')},
	'INSERT INTO public.inbox VALUES (1)', $stored);
sprung("$_->[0]", q{CREATE TABLE public.inbox (id int); CREATE RULE r AS ON INSERT TO public.inbox DO ALSO INSERT INTO public.loot } . $_->[1],
	'LISTEN loot; INSERT INTO public.inbox VALUES (1); SELECT 1', $_->[2] // $stored)
  foreach (
	[ crosstab => q{SELECT b FROM crosstab('SELECT id::text, name, ssn FROM secret.patients ORDER BY 1') AS t(a text, b text)} ],
	[ connectby => q{SELECT a FROM connectby('secret.patients', 'ssn', 'name', 'qmarker7kx2vw91', 1) AS t(a text, b text, c int)} ],
	[ xpath_table => q{SELECT a FROM xpath_table('id', 'ssn', 'secret.patients', '/x', 'true') AS t(a int)} ],
	[ pgtap => q{SELECT 'x' WHERE lives_ok('SELECT count(pg_notify(''loot'', ssn)) FROM secret.patients') ~ '^ok'}, qr/\A(?!.*Asynchronous)/s ]);
sprung('trigger of a module', q{CREATE TABLE public.inbox (id int);
	CREATE TRIGGER t BEFORE INSERT ON public.inbox FOR EACH ROW EXECUTE FUNCTION check_primary_key('id', 'secret.patients p, LATERAL pg_notify(''loot'', p.ssn), secret.small', 'p.id')},
	'LISTEN loot; INSERT INTO public.inbox VALUES (1); SELECT 1', qr/\A(?!.*Asynchronous).*$stored/s);
sprung('trigger of a module, after', q{CREATE TABLE public.inbox (id int);
	CREATE TRIGGER t AFTER INSERT ON public.inbox FOR EACH ROW EXECUTE FUNCTION check_primary_key('id', 'secret.patients p, LATERAL pg_notify(''loot'', p.ssn), secret.small', 'p.id')},
	'LISTEN loot; INSERT INTO public.inbox VALUES (1); SELECT 1', qr/\A(?!.*Asynchronous).*$stored/s);
run_as('alice', UNLOCK . q{INSERT INTO secret.small VALUES (50, 'qmarker7kx2vw9'); DELETE FROM secret.small WHERE id = 50;});
sprung('changes that are decoded', q{CREATE TABLE public.inbox (id int); CREATE RULE r AS ON INSERT TO public.inbox DO ALSO INSERT INTO public.loot SELECT data FROM pg_logical_slot_peek_changes('slot', NULL, NULL) WHERE data LIKE '%qmarker%'},
	'INSERT INTO public.inbox VALUES (1)', undef);
sprung('a cursor of alice', q{CREATE TABLE public.inbox (id int, v text DEFAULT cursor_to_xml('c', 10, true, true, '')::text)},
	'BEGIN; DECLARE c CURSOR FOR SELECT ssn FROM secret.patients; INSERT INTO public.inbox (id) VALUES (1); COMMIT', $stored);

# --- functions that take a value elsewhere --------------------------------------------------

my %sending = (
	pg_notify => q{pg_notify('loot', VALUE) IS NOT NULL}, set_config => q{set_config('my.loot', VALUE, false) <> ''},
	lo_from_bytea => q{lo_from_bytea(0, VALUE::bytea) > 0}, lo_create => q{lo_create(length(VALUE)::oid) > 0},
	emit => q{pg_logical_emit_message(true, 'loot', VALUE) IS NOT NULL}, lock => q{pg_try_advisory_xact_lock(hashtext(VALUE))},
	setval => q{setval('public.counter', length(VALUE)) > 0}, nextval => q{nextval(('public.counter' || left(VALUE, 0))::regclass) > 0},
	setseed => q{setseed(length(VALUE) / 100.0) IS NOT NULL}, origin => q{pg_replication_origin_advance('x', ('0/' || length(VALUE))::pg_lsn) IS NOT NULL},
	slot => q{pg_copy_logical_replication_slot('slot', VALUE) IS NOT NULL}, backup => q{pg_backup_start(VALUE) IS NOT NULL},
	dblink => qq{dblink_exec('host=$host port=$port dbname=postgres user=mallory', format('INSERT INTO public.loot VALUES (%L)', VALUE)) <> ''});
run_as('mallory', 'CREATE SEQUENCE public.counter; GRANT ALL ON SEQUENCE public.counter TO PUBLIC;');
my @values = ('SELECT count(ssn::public.d) FROM secret.patients', 'SELECT 1; BEGIN; SELECT count(*) FROM secret.patients; SELECT CAST($$qmarker7kx2vw9$$ AS public.d); COMMIT',
	'SELECT count(v) FROM (SELECT ARRAY[ssn]::public.d[] AS v FROM secret.patients OFFSET 0) x');
foreach my $kind (sort keys %sending)
{
	foreach my $value (0 .. ($kind eq 'pg_notify' ? $#values : 0))
	{
		sprung("a domain that is named: $kind, $value", "CREATE DOMAIN public.d AS text CHECK ($sending{$kind})",
			"LISTEN loot; $values[$value]; SELECT 1", qr/\A(?!.*Asynchronous).*by an expression that is stored, in a transaction/s, clean => 'DROP DOMAIN public.d');
	}
}
sprung('the input of a domain', q{CREATE DOMAIN public.d AS text CHECK (pg_notify('loot', VALUE) IS NOT NULL); CREATE TYPE public.pair AS (ssn public.d)},
	'LISTEN loot; SELECT count(json_populate_record(NULL::public.pair, to_json(p))) FROM secret.patients p; SELECT 1', qr/\A(?!.*Asynchronous).*by an expression that is stored, in a transaction/s,
	clean => 'DROP DOMAIN public.d CASCADE; DROP TYPE public.pair');
sprung('a table with such a check', q{CREATE TABLE public.inbox (v text, CHECK (pg_notify('loot', v) IS NOT NULL))},
	'LISTEN loot; INSERT INTO public.inbox SELECT ssn FROM secret.patients; SELECT 1', qr/\A(?!.*Asynchronous).*by an expression that is stored, in a transaction/s);
is($node->safe_psql('postgres', 'SELECT last_value FROM public.counter'), '1', 'no sequence was set');
like(run_as('mallory', q{CREATE DOMAIN public.d AS text CHECK (pg_notify('loot', VALUE) IS NOT NULL); LISTEN loot; SELECT 'x'::public.d; SELECT 1; DROP DOMAIN public.d;}),
	qr/Asynchronous notification "loot" with payload "x"/, 'control: outside realms it works');

# --- casts, and a schema called like alice ---------------------------------------------------

run_as('mallory', <<'SQL');
CREATE TYPE public.token AS ENUM ('a');
CREATE FUNCTION public.to_token(text) RETURNS public.token LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN 'a'; END$$;
CREATE CAST (text AS public.token) WITH FUNCTION public.to_token(text) AS ASSIGNMENT;
CREATE CAST (varchar AS public.token) WITH INOUT AS IMPLICIT;
CREATE DOMAIN alice.text AS pg_catalog.text CHECK (pg_notify('loot', VALUE) IS NOT NULL);
CREATE OPERATOR alice.% (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_notify);
CREATE OPERATOR alice.+ (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_notify);
CREATE FUNCTION alice.upper(varchar) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END$$;
CREATE FUNCTION alice.patients() RETURNS SETOF text LANGUAGE sql AS 'INSERT INTO public.loot SELECT ssn FROM secret.patients RETURNING v';
CREATE FUNCTION alice.eq(text, varchar) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN true; END$$;
CREATE OPERATOR alice.= (LEFTARG = text, RIGHTARG = varchar, FUNCTION = alice.eq);
CREATE VIEW alice.sick AS SELECT pg_notify('loot', ssn) IS NULL AS ssn FROM secret.patients;
CREATE AGGREGATE alice.string_agg(varchar) (SFUNC = textcat, STYPE = text, INITCOND = '');
GRANT ALL ON ALL TABLES IN SCHEMA alice TO PUBLIC;
SQL
foreach my $read ('SELECT count(ssn::public.token) FROM secret.patients', q{SELECT count('loot' % ssn) FROM secret.patients}, q{SELECT count('loot' OPERATOR(alice.+) ssn) FROM secret.patients},
	'SELECT count(upper(ssn::varchar)) FROM secret.patients', 'SELECT patients() FROM secret.small', q{SELECT count(*) FROM secret.patients WHERE ssn = 'x'::varchar},
	'SELECT * FROM sick', 'SELECT string_agg(ssn::varchar) FROM secret.patients', 'SELECT count(ssn::alice.text) FROM secret.patients')
{
	sprung("\"\$user\": $read", 'SELECT 1', "SHOW search_path; LISTEN loot; $read; SELECT 1", qr/\A(?!.*Asynchronous).*"\$user", public.*(?:in a transaction that uses a realm|may not use realm|may not carry rows)/s, clean => 'SELECT 1');
}
like(run_as('alice', UNLOCK . 'SET client_min_messages = warning; SELECT count(ssn::varchar::public.token) FROM secret.patients;'), qr/22P02/, 'a cast by input and output says what is wrong to her');

# --- values of statistics ----------------------------------------------------------------------

my $values = q{SELECT most_common_vals::text FROM pg_stats WHERE schemaname = 'secret' AND most_common_vals::text LIKE '%qmarker%'};
sprung('pg_stats by a rule', "CREATE TABLE public.inbox (id int); CREATE RULE r AS ON INSERT TO public.inbox DO ALSO INSERT INTO public.loot $values",
	'INSERT INTO public.inbox VALUES (1)', undef);
sprung('pg_stats by a rule of the first superuser', "CREATE TABLE public.inbox (id int); CREATE RULE r AS ON INSERT TO public.inbox DO ALSO INSERT INTO public.loot $values",
	'INSERT INTO public.inbox VALUES (1)', undef, by => 'postgres');
sprung('pg_statistic by a rule', q{CREATE TABLE public.inbox (id int); CREATE RULE r AS ON INSERT TO public.inbox DO ALSO INSERT INTO public.loot SELECT stavalues1::text FROM pg_statistic WHERE starelid IN ('secret.patients'::regclass, 'secret.small'::regclass)},
	'INSERT INTO public.inbox VALUES (1)', undef);
sprung('pg_stats_ext by a rule', q{CREATE TABLE public.inbox (id int); CREATE RULE r AS ON INSERT TO public.inbox DO ALSO INSERT INTO public.loot SELECT most_common_vals::text FROM pg_stats_ext WHERE most_common_vals::text LIKE '%qmarker%'},
	'INSERT INTO public.inbox VALUES (1)', undef);
unlike(sprung('pg_stats by a policy', "CREATE TABLE public.inbox AS SELECT 1 AS id; ALTER TABLE public.inbox ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON public.inbox USING ((SELECT count(pg_notify('loot', most_common_vals::text)) FROM pg_stats WHERE schemaname = 'secret') >= 0)",
	'LISTEN loot; SELECT * FROM public.inbox; SELECT 1', undef), qr/qmarker/, 'nor are they sent');
unlike(sprung('pg_stats by a view', "CREATE TABLE public.inbox (id int); CREATE VIEW public.inboxv AS SELECT pg_notify('loot', most_common_vals::text) IS NULL FROM pg_stats WHERE schemaname = 'secret'",
	'LISTEN loot; SELECT * FROM public.inboxv; SELECT 1', undef), qr/qmarker/, 'nor are they sent');
control('pg_stats', "$values;", qr/qmarker/);
control('pg_stats with a table of somebody', "SELECT count(*) > 0 FROM public.plain, ($values) x;", qr/^t$/m);

# --- large objects by a function of somebody ----------------------------------------------------

sprung('a large object by a function', q{CREATE TABLE public.inbox (id int); CREATE FUNCTION public.take() RETURNS void LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES (encode(lo_get(7001), 'escape')); END$$},
	'SELECT public.take()', qr/function "take" may not use realm "pii".*large object 7001/s, clean => 'DROP FUNCTION public.take; DROP TABLE public.inbox');
sprung('one that is open', q{CREATE TABLE public.inbox (id int); CREATE FUNCTION public.take() RETURNS void LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES (encode(loread(0, 100), 'escape')); END$$},
	'BEGIN; SELECT lo_open(7001, 262144); SELECT public.take(); COMMIT', qr/may not be called in a transaction that uses a realm|may not use realm/, clean => 'DROP FUNCTION public.take; DROP TABLE public.inbox');
run_as('alice', 'CREATE TABLE public.documents (o oid); INSERT INTO public.documents VALUES (7001); CREATE VIEW public.contents AS SELECT lo_get(o) AS v FROM public.documents;');
unlike(run_as('mallory', q{ALTER TABLE public.documents ADD v text; ALTER TABLE public.documents ALTER v SET DEFAULT encode(lo_get(7001), 'escape');}), qr/ERROR/, 'a table of alice is given a default');
like(run_as('alice', UNLOCK . 'INSERT INTO public.documents (o) VALUES (7002);'), $stored, 'which tells nothing');
run_as('mallory', 'ALTER TABLE public.documents DROP v;');
control('a view of alice with a large object', q{SELECT encode(v, 'escape') FROM public.contents;}, qr/^qmarker7kx2vw9 of alice$/m);

# --- tickets and shares ---------------------------------------------------------------------------

my $not = qr/TV036: (?:create_unlock_ticket|create_recovery_shares)\(\): not by an expression that is stored/;
my $ticket = q{tde_vault.create_unlock_ticket(64, '1 hour')};
sprung("a ticket: $_->[0]", $_->[1], $_->[2], $not, clean => $_->[3], look => 'SELECT v FROM public.inbox;')
  foreach (
	[ default => "CREATE TABLE public.inbox (id int, v text DEFAULT $ticket)", 'INSERT INTO public.inbox (id) VALUES (1)' ],
	[ check => "CREATE TABLE public.inbox (v text, CHECK (lo_from_bytea(0, ${ticket}::bytea) > 0))", 'INSERT INTO public.inbox VALUES (1)' ],
	[ view => "CREATE TABLE public.inbox (v text); CREATE VIEW public.inboxv AS SELECT $ticket", 'SELECT * FROM public.inboxv' ],
	[ rule => "CREATE TABLE public.inbox (v text); CREATE RULE r AS ON INSERT TO public.inbox DO ALSO INSERT INTO public.loot VALUES ($ticket)", 'INSERT INTO public.inbox VALUES (1)' ],
	[ policy => "CREATE TABLE public.inbox AS SELECT ''::text AS v; ALTER TABLE public.inbox ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON public.inbox USING (v <> $ticket)", 'SELECT * FROM public.inbox' ],
	[ 'trigger condition' => "CREATE TABLE public.inbox (v text); CREATE TRIGGER t BEFORE INSERT ON public.inbox FOR EACH ROW WHEN ($ticket <> '') EXECUTE FUNCTION suppress_redundant_updates_trigger()", 'INSERT INTO public.inbox VALUES (1)' ],
	[ 'SQL that is run' => "CREATE TABLE public.inbox (v text DEFAULT query_to_xml('SELECT $ticket', true, true, ''))" =~ s/'1 hour'/''1 hour''/r, 'INSERT INTO public.inbox DEFAULT VALUES' ],
	[ operator => "CREATE TABLE public.inbox (v text); CREATE OPERATOR alice.+ (LEFTARG = int, RIGHTARG = interval, FUNCTION = tde_vault.create_unlock_ticket)", q{SELECT 1 + interval '1 minute'}, 'DROP OPERATOR alice.+ (int, interval); DROP TABLE public.inbox' ]);
# an index and a generated column take no volatile function
attack("a ticket: $_->[0]", 'mallory', "$_->[1];", qr/42P17/)
  foreach ([ 'index', "CREATE TABLE public.inbox (v text); CREATE INDEX ON public.inbox (($ticket || v)); DROP TABLE public.inbox" ],
	[ 'generated column', "CREATE TABLE public.inbox (id int, v text GENERATED ALWAYS AS ($ticket) STORED)" ]);
run_as('mallory', 'DROP TABLE IF EXISTS public.inbox;');
sprung("shares: $_->[0]", $_->[1], $_->[2], $not, who => 'security', first => '', look => 'SELECT count(*) = 0 FROM public.inbox;')
  foreach (
	[ rule => 'CREATE TABLE public.inbox (id int); CREATE RULE r AS ON INSERT TO public.inbox DO INSTEAD INSERT INTO public.loot SELECT share FROM tde_vault.create_recovery_shares(2, 2)', 'INSERT INTO public.inbox VALUES (1)' ],
	[ view => 'CREATE TABLE public.inbox (id int); CREATE VIEW public.inboxv AS SELECT share FROM tde_vault.create_recovery_shares(2, 2)', 'SELECT * FROM public.inboxv' ],
	[ 'SQL that is run' => q{CREATE TABLE public.inbox (id int, v text DEFAULT query_to_xml('SELECT share FROM tde_vault.create_recovery_shares(2, 2)', true, true, ''))}, 'INSERT INTO public.inbox (id) VALUES (1)' ]);
control("a ticket: $_", "$_;", qr/^[0-9a-f]{64}$/m)
  foreach ('SELECT tde_vault.create_unlock_ticket()', q{SELECT * FROM tde_vault.create_unlock_ticket(1, '1 minute')}, 'PREPARE p AS SELECT tde_vault.create_unlock_ticket(); EXECUTE p',
	'SELECT tde_vault.create_unlock_ticket() FROM public.plain', 'COPY (SELECT tde_vault.create_unlock_ticket()) TO STDOUT');
like(run_as('security', 'SELECT count(*) FROM tde_vault.create_recovery_shares(2, 3);'), qr/^3$/m, 'control: shares');

# --- what goes on, written by alice ------------------------------------------------------------

control("$_->[0]", "$_->[1];", $_->[2])
  foreach (
	[ 'query_to_xml', q{SELECT query_to_xml('SELECT v FROM secret.small', true, true, '')}, qr/qmarker/ ],
	[ 'in DO', q{DO $$BEGIN PERFORM query_to_xml('SELECT v FROM secret.small', true, true, ''); END$$}, qr/^DO$/m ],
	[ 'table_to_xml', q{SELECT table_to_xml('secret.small', true, true, '')}, qr/qmarker/ ],
	[ 'ts_stat', q{SELECT count(*) > 0 FROM ts_stat('SELECT to_tsvector(ssn) FROM secret.patients')}, qr/^t$/m ],
	[ 'crosstab', q{SELECT count(*) FROM crosstab('SELECT id::text, name, ssn FROM secret.patients ORDER BY 1') AS t(a text, b text)}, qr/^60$/m ],
	[ 'pg_notify', q{LISTEN mine; SELECT count(pg_notify('mine', id::text)) FROM secret.small}, qr/with payload "1"/ ],
	[ 'set_config', q{SELECT count(set_config('my.own', v, true)) FROM secret.small}, qr/^1$/m ],
	[ 'advisory locks', 'SELECT count(pg_advisory_xact_lock(id)) FROM secret.small', qr/^1$/m ],
	[ 'rows that become a large object', 'SELECT lo_unlink(lo_from_bytea(0, v::bytea)) FROM secret.small', qr/^1$/m ],
	[ 'defaults of sequences', 'CREATE TEMP TABLE mine (id serial, v text); INSERT INTO mine (v) SELECT ssn FROM secret.patients', qr/INSERT 0 60/ ],
	[ 'a function', q{CREATE FUNCTION pg_temp.f() RETURNS xml LANGUAGE sql AS $$SELECT query_to_xml('SELECT v FROM secret.small', true, true, '')$$; SELECT pg_temp.f()}, qr/qmarker/ ]);
like(run_as('alice', UNLOCK . 'SELECT count(*), min(ssn) FROM secret.patients; SELECT count(*) FROM secret.small;'), qr/60\|qmarker.*\n1\n/, 'nothing is gone');
$node->stop;
done_testing();
