# Workers of parallel queries: what their leader has of a realm may come to them
# in a parameter, and a function that somebody planted, or labelled as parallel
# safe, has none of it there either.  More of rows 21 and 28 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $take = 'LANGUAGE plpgsql PARALLEL SAFE AS $f$BEGIN RAISE WARNING $m$taken: %$m$, $1; RETURN $1; END$f$';
my $node = realm_server(
	sql => <<"SQL");
CREATE ROLE bob SUPERUSER LOGIN;
CREATE TABLE public.many AS SELECT g AS id FROM generate_series(1, 20000) g;
GRANT ALL ON public.many TO PUBLIC;
SET ROLE mallory;
CREATE FUNCTION public.of_mallory(text) RETURNS text $take;
RESET ROLE;
SET ROLE bob;
CREATE FUNCTION public.of_bob(text) RETURNS text $take;
RESET ROLE;
SET ROLE alice;
CREATE FUNCTION public.of_alice(text) RETURNS text $take;
CREATE FUNCTION public.calls_it(text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS 'BEGIN RETURN public.of_mallory(\$1); END';
RESET ROLE;
SQL
run_as('security', q{CALL tde_vault.create_realm('other', owner => 'bob');});
my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off; SET max_parallel_workers_per_gather = 2; ';

# alice, unlocked, has a row in a variable.
sub in_workers
{
	my ($expression) = @_;
	return run_as('alice', $parallel . UNLOCK . "DO \$\$DECLARE v text; BEGIN SELECT ssn INTO v FROM secret.patients LIMIT 1; PERFORM count(*) FROM public.many WHERE id = 7 AND $expression IS NOT NULL; END\$\$;");
}

like(run_as('alice', "$parallel EXPLAIN SELECT count(*) FROM public.many WHERE id = 7 AND public.of_alice('x') IS NOT NULL;"), qr/Workers Planned/, 'workers do it');
foreach my $function (qw(of_mallory of_bob calls_it))
{
	my $said = in_workers("public.$function(v)");
	like($said, qr/may not be called in a transaction that uses a realm/, "$function: refused");
	unlike($said, qr/taken: qmarker/, "$function: no row");
}
like(in_workers('public.of_alice(v)'), qr/taken: qmarker.*CONTEXT:  [^\n]*parallel worker|taken: qmarker/s, 'control: a function of her own');
my $said = run_as('alice', $parallel . UNLOCK . q{DO $$BEGIN PERFORM ssn FROM secret.patients; END$$; SELECT count(*) FROM public.many WHERE id = 7 AND public.of_mallory('nothing') IS NOT NULL;});
like($said, qr/taken: nothing.*^1$/ms, 'control: in a transaction without rows of a realm');
$node->stop;
done_testing();
