# What a function of somebody else leaves behind in the session of an authorized
# user, or in their name, while it runs there: functions, views, rules and
# policies that would be trusted as the user's own, statements that are prepared,
# a search path.  More of rows 27 and 28 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE ROLE visitor LOGIN;
CREATE TABLE public.loot (v text);
CREATE SCHEMA evil;
CREATE TABLE evil.plain (id int, v text);
GRANT USAGE ON SCHEMA evil TO PUBLIC;
GRANT ALL ON public.loot, evil.plain TO PUBLIC;
SET ROLE alice;
CREATE FUNCTION public.of_alice(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE VIEW public.view_of_alice AS SELECT id, v FROM public.plain;
CREATE TABLE public.table_of_alice (id int, v text);
RESET ROLE;
SQL

# What mallory has alice's session do, by a trigger, a function, an event trigger;
# what alice does then, with the realm unlocked; what is said.
my $take = q{LANGUAGE plpgsql AS $f$BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END$f$};
my $refused = qr/TV036: [^\n]* is refused within function "trap"/;
my @left = (
	[ 'a function is replaced', "CREATE OR REPLACE FUNCTION public.of_alice(text) RETURNS text $take", 'SELECT count(public.of_alice(ssn)) FROM secret.patients' ],
	[ 'a new function', "CREATE FUNCTION public.upper(varchar) RETURNS text $take", 'SELECT count(upper(ssn::varchar)) FROM secret.patients' ],
	[ 'a temporary function', "CREATE FUNCTION pg_temp.mine(text) RETURNS text $take", 'SELECT count(pg_temp.mine(ssn)) FROM secret.patients' ],
	[ 'a function with settings', 'ALTER FUNCTION public.of_alice(text) SET search_path = evil', 'SELECT count(public.of_alice(ssn)) FROM secret.patients' ],
	[ 'an aggregate', 'CREATE AGGREGATE public.count(text) (sfunc = textcat, stype = text)', 'SELECT count(ssn) FROM secret.patients' ],
	[ 'a procedure', q{CREATE PROCEDURE public.proc() LANGUAGE sql AS 'INSERT INTO public.loot SELECT ssn FROM secret.patients'}, 'CALL public.proc()' ],
	[ 'a view is replaced', q{CREATE OR REPLACE VIEW public.view_of_alice AS SELECT id, ssn AS v FROM secret.patients}, 'INSERT INTO public.loot SELECT v FROM public.view_of_alice WHERE v <> $$nothing$$' ],
	[ 'a temporary view, through which is written', 'CREATE TEMP VIEW plain AS SELECT v FROM public.loot', 'INSERT INTO plain (v) SELECT ssn FROM secret.patients' ],
	[ 'a rule', 'CREATE RULE r AS ON INSERT TO public.table_of_alice DO ALSO INSERT INTO public.loot SELECT ssn FROM secret.patients', 'INSERT INTO public.table_of_alice VALUES (1)' ],
	[ 'a policy', 'CREATE POLICY p ON public.table_of_alice USING ((SELECT count(*) FROM secret.patients) > 0)', 'SELECT 1' ],
	[ 'a statement that is prepared', q{PREPARE p AS INSERT INTO public.loot SELECT ssn FROM secret.patients}, 'EXECUTE p' ],
	[ 'one in place of another', q{DEALLOCATE q; PREPARE q AS INSERT INTO public.loot SELECT ssn FROM secret.patients}, 'EXECUTE q' ],
	[ 'a search path', 'SET search_path = evil, public', 'INSERT INTO plain SELECT id, ssn FROM secret.patients' ],
	[ 'one by a function', q{SELECT set_config('search_path', 'evil, public', false)}, 'INSERT INTO plain SELECT id, ssn FROM secret.patients' ],
	[ 'one for the transaction', 'SET LOCAL search_path = evil, public', 'INSERT INTO plain SELECT id, ssn FROM secret.patients; ROLLBACK' ]);
my @springs = (
	[ function => 'CREATE FUNCTION public.trap() RETURNS int LANGUAGE plpgsql AS $t$BEGIN BODY RETURN 1; END$t$', 'SELECT public.trap()' ],
	[ trigger => 'CREATE FUNCTION public.trap() RETURNS trigger LANGUAGE plpgsql AS $t$BEGIN BODY RETURN NULL; END$t$; CREATE TRIGGER trap BEFORE INSERT ON evil.plain FOR EACH ROW EXECUTE FUNCTION public.trap()', 'INSERT INTO evil.plain VALUES (0)' ],
	[ 'function that catches errors' => 'CREATE FUNCTION public.trap() RETURNS int LANGUAGE plpgsql AS $t$BEGIN BEGIN BODY EXCEPTION WHEN OTHERS THEN RAISE WARNING $$% %$$, SQLSTATE, SQLERRM; END; RETURN 1; END$t$', 'SELECT public.trap()' ]);
foreach my $i (0 .. $#left)
{
	my ($name, $body, $then) = @{ $left[$i] };
	my ($how, $make, $spring) = @{ $springs[ $i % @springs ] };

	$body = join ' ', map { "EXECUTE \$b\$$_\$b\$;" } $body =~ /^DEALLOCATE/ ? split(/; /, $body) : $body;
	unlike(run_as('mallory', ($make =~ s/BODY/$body/r) . ';'), qr/ERROR/, "$name, by a $how: planted");
	my $said = run_as('alice', 'SET client_min_messages = warning; ' . UNLOCK . "PREPARE q AS SELECT count(*) FROM secret.patients; BEGIN; $spring; COMMIT; BEGIN; $then; COMMIT;");
	like($said, qr/is refused within function "trap"/, "$name, by a $how: refused");
	is(run_as('mallory', q{SELECT count(*) FROM public.loot; SELECT count(*) FROM evil.plain WHERE v LIKE 'qmarker%';}), "0\n0\n", "$name: nothing is taken") or diag($said);
	run_as('mallory', 'DROP FUNCTION public.trap CASCADE; TRUNCATE public.loot, evil.plain;');
}

# --- what goes on -----------------------------------------------------------------------

run_as('mallory', <<'SQL');
CREATE FUNCTION public.works() RETURNS int LANGUAGE plpgsql SET search_path = public AS $$BEGIN CREATE TEMP TABLE IF NOT EXISTS scratch (id int); RETURN 1; END$$;
CREATE FUNCTION public.makes() RETURNS int LANGUAGE plpgsql AS $$BEGIN EXECUTE 'CREATE OR REPLACE TEMP VIEW made AS SELECT 1 AS x'; PERFORM set_config('search_path', 'public', false); RETURN 1; END$$;
SQL
like(run_as('alice', UNLOCK . 'SELECT public.works();'), qr/^1$/m, 'control: tables, and a SET clause');
like(run_as('visitor', 'SELECT public.makes(); SHOW search_path;'), qr/^1\npublic$/m, 'control: who has no place is not concerned');
like(run_as('alice', UNLOCK . q{DO $$BEGIN EXECUTE 'CREATE FUNCTION pg_temp.mine(text) RETURNS text LANGUAGE sql AS ''SELECT $1'''; PERFORM set_config('search_path', 'public', false); END$$;
	PREPARE p AS SELECT count(pg_temp.mine(ssn)) FROM secret.patients; EXECUTE p; SET search_path = public; CREATE TEMP VIEW v AS SELECT ssn FROM secret.patients; SELECT count(*) FROM v;}), qr/^60\nSET\nCREATE VIEW\n60$/m, 'control: alice herself');
like(run_as('alice', q{CREATE FUNCTION public.maker() RETURNS int LANGUAGE plpgsql AS $$BEGIN EXECUTE 'CREATE OR REPLACE FUNCTION public.of_alice(text) RETURNS text LANGUAGE sql AS ''SELECT $1'''; RETURN 1; END$$; SELECT public.maker();}), qr/^1$/m, 'control: a function of hers');
$node->stop;
done_testing();
