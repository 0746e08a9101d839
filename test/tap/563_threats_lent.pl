# Functions that are trusted with a realm's rows, called for somebody else: by a
# default, a rule or a trigger that puts what they return into a table of no
# realm; in workers of a query that somebody else's function runs; and a trigger
# that claims to be one of a realm's table, so that its function would be trusted.
# More of rows 3, 21, 27 and 28 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use IPC::Run ();
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE TABLE public.loot (v text);
CREATE TABLE public.many AS SELECT g AS id FROM generate_series(1, 20000) g;
CREATE TABLE public.visits (id int, doctor text);
GRANT ALL ON public.loot, public.many, public.visits TO PUBLIC;
SET ROLE owner;
CREATE FUNCTION public.one() RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS 'BEGIN RETURN (SELECT ssn FROM secret.patients ORDER BY id LIMIT 1); END';
CREATE FUNCTION public.of(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM secret.patients WHERE id = $1';
CREATE FUNCTION public.all_of_them() RETURNS SETOF text LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT ssn FROM secret.patients; END';
CREATE FUNCTION public.is_there(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN EXISTS (SELECT FROM secret.patients WHERE id = $1); END';
CREATE FUNCTION public.fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.v := (SELECT ssn FROM secret.patients WHERE id = NEW.id); RETURN NEW; END';
CREATE FUNCTION public.some(int) RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT ssn FROM secret.patients WHERE id < $1';
CREATE TABLE public.checked (id int CHECK (public.is_there(id)));
CREATE TABLE public.filled (id int, v text);
CREATE TRIGGER t BEFORE INSERT ON public.filled FOR EACH ROW EXECUTE FUNCTION public.fill();
CREATE TABLE secret.more (id int, v text DEFAULT public.one()) USING tde_heap;
RESET ROLE;
GRANT ALL ON public.checked, public.filled, secret.more TO alice;
SET ROLE alice;
CREATE FUNCTION public.one_of_alice() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT ssn FROM secret.patients ORDER BY id LIMIT 1); END';
CREATE FUNCTION public.one_of_alice(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM secret.patients WHERE id = $1';
CREATE FUNCTION public.some_of_alice(int) RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT ssn FROM secret.patients WHERE id < $1';
RESET ROLE;
SQL
run_as('security', q{CALL tde_vault.realm_owner('pii', 'owner'); CALL tde_vault.realm_add('pii', ARRAY['secret.more']);});

# --- what somebody stores ----------------------------------------------------------------

sub stored
{
	my ($name, $make, $spring, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	unlike(run_as('mallory', "$make; GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;"), qr/ERROR/, "$name: stored");
	my $said = run_as('alice', UNLOCK . "$spring;");
	like($said, $expected // qr/function "\w+" may not use realm "pii".*called by an expression that is stored/s, "$name: refused");
	unlike(run_as('mallory', 'TABLE public.loot; TABLE public.inbox; DROP TABLE public.inbox CASCADE; TRUNCATE public.loot;'), qr/qmarker/, "$name: nothing is taken");
	return;
}

stored('a default', 'CREATE TABLE public.inbox (id int, v text DEFAULT public.one())', 'INSERT INTO public.inbox VALUES (1)');
stored('a default, by COPY', 'CREATE TABLE public.inbox (id int, v text DEFAULT public.one())', "COPY public.inbox (id) FROM STDIN;\n1\n\\.\nSELECT 1");
stored('a default in an expression', q{CREATE TABLE public.inbox (id int, v text DEFAULT 'x' || upper(public.of(3)))}, 'INSERT INTO public.inbox VALUES (1)');
stored('a default that is prepared', 'CREATE TABLE public.inbox (id int, v text DEFAULT public.one())', 'PREPARE p AS INSERT INTO public.inbox VALUES (1); EXECUTE p');
stored('a default, in a function of hers', 'CREATE TABLE public.inbox (id int, v text DEFAULT public.one())', 'DO $$BEGIN INSERT INTO public.inbox VALUES (1); END$$');
stored('a rule', 'CREATE TABLE public.inbox (id int); CREATE RULE r AS ON INSERT TO public.inbox DO ALSO INSERT INTO public.loot SELECT * FROM public.all_of_them()', 'INSERT INTO public.inbox VALUES (1)');
stored('a rule with what she writes', 'CREATE TABLE public.inbox (id int); CREATE RULE r AS ON INSERT TO public.inbox DO ALSO INSERT INTO public.loot VALUES (public.of(NEW.id))', 'INSERT INTO public.inbox VALUES (1), (2)');
stored('an operator', 'CREATE OPERATOR public.@@@ (RIGHTARG = int, FUNCTION = public.of); CREATE TABLE public.inbox (id int, v text DEFAULT @@@ 3)', 'INSERT INTO public.inbox VALUES (1)');
stored('a default while a table is filled', 'CREATE TABLE public.inbox (id int, v text DEFAULT public.one())', 'MERGE INTO public.inbox i USING public.plain p ON p.id = i.id WHEN NOT MATCHED THEN INSERT (id) VALUES (p.id)');

# also her own, which may become part of the statement
my $in_rule = qr/rules of public\.inbox may not carry rows of a realm/;
stored("$_, her own", "CREATE TABLE public.inbox (id int, v text DEFAULT public.$_)", 'INSERT INTO public.inbox VALUES (1)') foreach ('one_of_alice()', 'one_of_alice(3)');
stored("a rule with $_", "CREATE TABLE public.inbox (id int); CREATE RULE r AS ON INSERT TO public.inbox DO ALSO INSERT INTO public.loot SELECT * FROM public.$_", 'INSERT INTO public.inbox VALUES (1)', qr/$in_rule|may not use realm/)
  foreach ('some(9)', 'some_of_alice(9)');
stored('a rule in place of the statement', 'CREATE TABLE public.inbox (id int); CREATE RULE r AS ON UPDATE TO public.inbox DO INSTEAD INSERT INTO public.loot SELECT * FROM public.some_of_alice(9); INSERT INTO public.inbox VALUES (1)', 'UPDATE public.inbox SET id = 2', qr/$in_rule|may not use realm/);

# --- triggers --------------------------------------------------------------------------------

attack("$_->[0]", 'mallory', "CREATE TABLE public.inbox (id int, v text); $_->[1]; INSERT INTO public.inbox VALUES (1); DROP TABLE public.inbox;", qr/making a trigger of a function of role "owner" is refused/)
  foreach ([ 'a trigger' => 'CREATE TRIGGER t BEFORE INSERT ON public.inbox FOR EACH ROW EXECUTE FUNCTION public.fill()' ],
	[ 'a constraint trigger' => 'CREATE CONSTRAINT TRIGGER t AFTER INSERT ON public.inbox FOR EACH ROW EXECUTE FUNCTION public.fill()' ]);

# The name of the other table means one that is mallory's until the server waits
# for a lock on the first, and the realm's after.
sub trigger_from
{
	my $wait = "SELECT count(*) FROM pg_locks WHERE relation = 'public.first'::regclass AND NOT granted";
	my ($out, $in) = ('', '');

	run_as('mallory', <<'SQL');
CREATE TABLE public.first (id int, v text);
GRANT ALL ON public.first TO PUBLIC;
CREATE TABLE public.patients (id int);
CREATE FUNCTION public.take() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot SELECT ssn FROM secret.patients; RETURN NULL; END$$;
SQL
	my $holder = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'mallory' ]);
	$holder->query_safe('BEGIN; LOCK TABLE public.first');
	my $maker = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres') . ' user=mallory', '-c', 'SET search_path = public, secret', '-c',
		'CREATE CONSTRAINT TRIGGER t AFTER INSERT ON public.first FROM patients FOR EACH ROW EXECUTE FUNCTION public.take()' ], '<', \$in, '>', \$out, '2>&1');
	$node->poll_query_until('postgres', "$wait", '1');
	$holder->query_safe('DROP TABLE public.patients; COMMIT');
	IPC::Run::finish($maker);
	$holder->quit;
	return $out;
}
my $said = trigger_from();
like($said, qr/not authorized for realm "pii"/, 'a trigger from a table of the realm: refused');
run_as('alice', UNLOCK . 'INSERT INTO public.first VALUES (1);');
is(run_as('mallory', 'SELECT count(*) FROM public.loot; TRUNCATE public.loot; DROP TABLE public.first;'), "0\nTRUNCATE TABLE\nDROP TABLE\n", 'its function is not trusted');

# --- workers -----------------------------------------------------------------------------------

my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off; SET max_parallel_workers_per_gather = 2; ';
run_as('mallory', q{CREATE FUNCTION public.asks() RETURNS int LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot SELECT v FROM (SELECT min(public.one()) AS v FROM public.many) x; RETURN 1; END$$;
	CREATE FUNCTION public.asks_query() RETURNS text LANGUAGE plpgsql AS $$DECLARE r text; BEGIN EXECUTE 'SELECT min(public.one()) FROM public.many WHERE id < 10' INTO r; INSERT INTO public.loot VALUES (r); RETURN 1; END$$;});
like(run_as('alice', "$parallel EXPLAIN SELECT min(public.one()) FROM public.many WHERE id < 10;"), qr/Workers Planned/, 'workers do it');
foreach my $function (qw(asks asks_query))
{
	like(run_as('alice', $parallel . UNLOCK . "SELECT public.$function();"), qr/may not use realm "pii"/, "$function: refused, in workers, too");
	is(run_as('mallory', 'SELECT count(*) FROM public.loot; TRUNCATE public.loot;'), "0\nTRUNCATE TABLE\n", 'nothing is taken');
}
stored('SQL that is run, in workers', q{CREATE TABLE public.inbox (id int, v text DEFAULT query_to_xml('SELECT min(public.one()) FROM public.many WHERE id < 10', true, true, '')::text)}, $parallel . 'INSERT INTO public.inbox VALUES (1)', qr/by an expression that is stored/);
like(run_as('alice', $parallel . UNLOCK . 'SELECT min(public.one()) FROM public.many WHERE id < 10;'), qr/^qmarker/m, 'control: alice herself');
like(run_as('alice', $parallel . UNLOCK . q{DO $$DECLARE r text; BEGIN EXECUTE 'SELECT min(public.one()) FROM public.many WHERE id < 10' INTO r; RAISE WARNING '%', r; END$$;}), qr/qmarker/, 'control: in DO');

# --- what goes on -----------------------------------------------------------------------------

control("$_->[0]", "$_->[1];", $_->[2])
  foreach (
	[ 'written by herself', 'INSERT INTO public.visits SELECT 1, public.one()', qr/^INSERT 0 1$/m ],
	[ 'in a condition', 'SELECT count(*) FROM public.visits WHERE doctor <> public.of(2)', qr/^1$/m ],
	[ 'in a condition within a function', q{CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT min(v) FROM secret.small WHERE v <> public.of(2)); END$$; INSERT INTO public.visits SELECT 1, pg_temp.f()}, qr/^INSERT 0 1$/m ],
	[ 'rows of a function of hers', 'INSERT INTO public.visits SELECT 1, x FROM public.some_of_alice(3) x', qr/^INSERT 0 2$/m ],
	[ 'with rows that are locked', 'INSERT INTO public.visits SELECT 1, ssn FROM secret.patients, public.plain WHERE plain.id = patients.id FOR UPDATE', qr/^INSERT 0 1$/m ],
	[ 'through a view of hers', 'CREATE VIEW public.visits_of_alice AS SELECT * FROM public.visits; INSERT INTO public.visits_of_alice SELECT 1, x FROM public.some_of_alice(3) x', qr/^INSERT 0 2$/m ],
	[ 'in a function of the owner', 'INSERT INTO public.visits VALUES (1, public.of(1))', qr/^INSERT 0 1$/m ],
	[ 'a default of a table of the realm', 'INSERT INTO secret.more (id) VALUES (1) RETURNING v', qr/^qmarker/m ],
	[ 'such a default, by COPY', "COPY secret.more (id) FROM STDIN;\n1\n\\.\nSELECT count(v) FROM secret.more", qr/^2$/m ],
	[ 'a check', 'INSERT INTO public.checked VALUES (1)', qr/^INSERT 0 1$/m ],
	[ "the owner's trigger", 'INSERT INTO public.filled VALUES (1) RETURNING v', qr/^qmarker/m ],
	[ 'a table of her own', 'CREATE TEMP TABLE mine AS SELECT public.one() AS v; SELECT v FROM mine', qr/^qmarker/m ]);
like(run_as('owner', 'CREATE TABLE public.another (id int, v text); CREATE TRIGGER t BEFORE INSERT ON public.another FOR EACH ROW EXECUTE FUNCTION public.fill();'), qr/CREATE TRIGGER/, 'control: a trigger by the owner of its function');
$node->stop;
done_testing();
