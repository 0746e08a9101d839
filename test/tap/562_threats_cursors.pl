# Rows that a cursor keeps, and queries that a cursor runs later.  A cursor WITH
# HOLD has its rows without any query that could be asked about; and it runs its
# query when the transaction commits, with no function on the stack that has
# made it.  More of rows 20, 28 and 29 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE TABLE public.loot (v text);
GRANT ALL ON public.loot TO PUBLIC;
CREATE ROLE visitor LOGIN;
CREATE ROLE inspector LOGIN;
SET ROLE alice;
CREATE FUNCTION public.rows_of_alice() RETURNS SETOF text LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT ssn FROM secret.patients; END';
RESET ROLE;
SET ROLE mallory;
CREATE FUNCTION public.taker() RETURNS int LANGUAGE plpgsql AS $$DECLARE c refcursor := 'h'; r record;
BEGIN
	LOOP FETCH c INTO r; EXIT WHEN NOT FOUND; INSERT INTO public.loot VALUES (r::text); END LOOP;
	RETURN 1;
END$$;
CREATE FUNCTION public.taker_of_xml() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.loot VALUES (cursor_to_xml('h', 100, true, true, '')::text);
	RETURN 1;
END$$;
CREATE FUNCTION public.keep(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END';
CREATE FUNCTION public.planter(query text) RETURNS int LANGUAGE plpgsql AS $$BEGIN EXECUTE 'DECLARE h CURSOR WITH HOLD FOR ' || query; RETURN 1; END$$;
CREATE FUNCTION public.preparer() RETURNS int LANGUAGE plpgsql AS $$BEGIN EXECUTE 'PREPARE q AS SELECT 1'; RETURN 1; END$$;
CREATE FUNCTION public.misleader() RETURNS int LANGUAGE plpgsql AS $$BEGIN SET search_path = pg_catalog; RETURN 1; END$$;
RESET ROLE;
SQL
run_as('security', 'GRANT vault_auditor TO inspector;');

sub nothing_taken
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(run_as('mallory', 'SELECT count(*) FROM public.loot; TRUNCATE public.loot;'), "0\nTRUNCATE TABLE\n", "$name: nothing is taken");
}

# --- rows that are kept, after the realm was locked ------------------------------------

my %queries = (table => 'SELECT ssn FROM secret.patients', function => 'SELECT * FROM public.rows_of_alice()',
	'SQL that is run' => q{SELECT query_to_xml('SELECT ssn FROM secret.patients', true, true, '')::text});
my %fetches = (
	FETCH => 'FETCH 1 FROM h', 'FETCH of PL/pgSQL' => q{DO $$DECLARE c refcursor := 'h'; r record; BEGIN FETCH c INTO r; RAISE WARNING 'got %', r; END$$},
	'FETCH in SQL that is run' => q{DO $$DECLARE r record; BEGIN EXECUTE 'FETCH 1 FROM h' INTO r; RAISE WARNING 'got %', r; END$$},
	cursor_to_xml => q{SELECT cursor_to_xml('h', 1, true, true, '')});
foreach my $query (sort keys %queries)
{
	foreach my $fetch (sort keys %fetches)
	{
		my $said = run_as('alice', UNLOCK . "DECLARE h SCROLL CURSOR WITH HOLD FOR $queries{$query};\n$fetches{$fetch};\nCALL tde_vault.lock_realm();\n\\echo locked\n$fetches{$fetch};");
		my ($before, $after) = split /^locked$/m, $said;

		like($before, qr/qmarker/, "control: $fetch, $query");
		like($after, qr/vault password required/, "$fetch of a cursor that was held, $query: locked");
		unlike($after, qr/qmarker/, 'no row');
	}
}
my $said = run_as('alice', UNLOCK . q{CREATE PROCEDURE pg_temp.p() LANGUAGE plpgsql AS $$DECLARE r record; n int := 0;
	BEGIN FOR r IN SELECT ssn FROM secret.patients LOOP COMMIT; n := n + 1; IF n = 1 THEN CALL tde_vault.lock_realm(); END IF; END LOOP; RAISE WARNING '% rows', n; END$$; CALL pg_temp.p();});
like($said, qr/vault password required/, 'a loop over COMMIT: locked');
like(run_as('alice', UNLOCK . q{CREATE PROCEDURE pg_temp.p() LANGUAGE plpgsql AS $$DECLARE r record; n int := 0;
	BEGIN FOR r IN SELECT ssn FROM secret.patients LOOP COMMIT; n := n + 1; END LOOP; RAISE WARNING '% rows', n; END$$; CALL pg_temp.p();}), qr/60 rows/, 'control: such a loop');

# --- by code of others, in the session of who has them --------------------------------------

foreach my $query (sort keys %queries)
{
	foreach my $take ('SELECT public.taker()', 'SELECT public.taker_of_xml()')
	{
		like(run_as('alice', UNLOCK . "DECLARE h CURSOR WITH HOLD FOR $queries{$query}; $take;"), qr/may not use realm "pii"/, "$take, $query: refused");
		nothing_taken("$take, $query");
	}
}
like(run_as('alice', UNLOCK . q{DECLARE h CURSOR WITH HOLD FOR SELECT ssn FROM secret.patients; DO $$DECLARE c refcursor := 'h'; r record; BEGIN FETCH c INTO r; PERFORM public.keep(r.ssn); END$$;}),
	qr/may not be called in a transaction that uses a realm/, 'a row that was kept is given to a function: refused');
nothing_taken('a function that is given a row');
like(run_as('inspector', q{DECLARE h CURSOR WITH HOLD FOR SELECT * FROM tde_vault.audit_log; SELECT public.taker();}), qr/may not have lines of the audit log/, 'lines of the audit log: refused');
nothing_taken('lines of the audit log');
like(run_as('alice', 'DECLARE h CURSOR WITH HOLD FOR SELECT v FROM public.plain; SELECT public.taker();'), qr/^1$/m, 'control: rows of no realm');
run_as('mallory', 'TRUNCATE public.loot;');

# --- queries that others leave behind ---------------------------------------------------------

my @left = (
	[ alice => UNLOCK, $queries{table}, 'rows' ], [ alice => UNLOCK, $queries{function}, 'rows by a function' ],
	[ alice => UNLOCK, $queries{'SQL that is run'}, 'rows by SQL that is run' ],
	[ alice => UNLOCK, q{SELECT tde_vault.create_unlock_ticket(64, '1 hour')}, 'an unlock ticket' ],
	[ security => '', 'SELECT share FROM tde_vault.create_recovery_shares(2, 2)', 'recovery shares' ],
	[ inspector => '', 'SELECT line FROM tde_vault.audit_lines()', 'lines of the audit log' ]);
foreach my $left (@left)
{
	my ($who, $first, $query, $what) = @$left;

	like(run_as($who, "$first SELECT public.planter(\$\$$query\$\$); SELECT public.taker();"), qr/TV036: DECLARE CURSOR WITH HOLD is refused within function "planter"|may not use realm|may not have lines/, "$what: refused");
	nothing_taken($what);
}
foreach my $who (qw(security inspector))
{
	like(run_as($who, 'SELECT public.preparer();'), qr/TV036: PREPARE is refused/, "PREPARE in the session of $who");
	like(run_as($who, 'SELECT public.misleader();'), qr/TV036: setting search_path is refused/, "a search path in the session of $who");
}
like(run_as('visitor', q{SELECT public.planter('SELECT 1'); SELECT public.preparer(); SELECT public.misleader();}), qr/^1\n1\n1$/m, 'control: who has no place is not concerned');
like(run_as('alice', UNLOCK . "DO \$\$BEGIN EXECUTE 'DECLARE h CURSOR WITH HOLD FOR $queries{table}'; END\$\$; FETCH 1 FROM h;"), qr/^qmarker/m, 'control: alice herself');
$node->stop;
done_testing();
