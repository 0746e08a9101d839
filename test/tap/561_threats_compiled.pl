# Code that is compiled at run time (jit).  It calls functions of the server by
# their names, past what stands in front of them: sequences, large objects,
# functions that take a value elsewhere or run what a stored expression tells
# them.  More of rows 4, 12 and 25 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	conf => "jit = on\njit_above_cost = 0\njit_inline_above_cost = 0\njit_optimize_above_cost = 0\n",
	sql => <<'SQL');
CREATE TABLE public.loot (v text);
GRANT ALL ON public.loot TO PUBLIC;
CREATE FUNCTION public.another_name(text, text) RETURNS void LANGUAGE internal AS 'pg_notify';
ALTER FUNCTION public.another_name OWNER TO alice;
SET ROLE alice;
SELECT lo_from_bytea(7001, 'qmarker7kx2vw9 of alice');
RESET ROLE;
SQL
is($node->safe_psql('postgres', 'SELECT pg_jit_available()'), 't', 'the server can compile');
like(run_as('mallory', 'EXPLAIN (ANALYZE) SELECT id + 1 FROM public.plain WHERE id > 0;'), qr/^JIT:/m, 'expressions are compiled');

# each from a table, so that it is not worked out before the statement runs
attack("$_->[0]", 'mallory', "SELECT $_->[1] FROM public.plain;", REFUSED)
  foreach (
	[ 'nextval', q{nextval('secret.patients_id_seq')} ], [ 'setval', q{setval('secret.patients_id_seq', 1)} ],
	[ 'a large object', q{encode(lo_get(7001), 'escape')} ], [ 'part of it', q{encode(lo_get(7001, 0, 20), 'escape')} ],
	[ 'writing to it', q{lo_put(7001, 0, 'x')} ], [ 'opening it', 'lo_open(7001, 262144)' ], [ 'removing it', 'lo_unlink(7001)' ],
	[ 'GIN', q{gin_clean_pending_list('secret.patients_ssn')} ]);

my $not = qr/by an expression that is stored/;
foreach my $call (q{pg_notify('loot', VALUE)}, q{public.another_name('loot', VALUE)})
{
	run_as('mallory', "CREATE DOMAIN public.d AS text CHECK ($call IS NOT NULL);");
	my $said = run_as('alice', UNLOCK . 'LISTEN loot; SELECT count(ssn::public.d) FROM secret.patients; SELECT 1;');
	like($said, $not, "a domain with $call: refused") if $call =~ /^pg_/;
	unlike($said, qr/Asynchronous/, 'nothing is sent');
	run_as('mallory', 'DROP DOMAIN public.d;');
}
foreach my $call (q{query_to_xml('SELECT * FROM secret.small', true, true, '')::text}, q{table_to_xml('secret.small', true, true, '')::text}, q{encode(lo_get(7001), 'escape')})
{
	run_as('mallory', "CREATE TABLE public.inbox (id int, v text DEFAULT $call); GRANT ALL ON public.inbox TO PUBLIC;");
	like(run_as('alice', UNLOCK . 'INSERT INTO public.inbox (id) SELECT id FROM public.plain;'), $not, "a default with $call: refused");
	is(run_as('mallory', 'SELECT v FROM public.inbox; DROP TABLE public.inbox;'), "DROP TABLE\n", 'nothing is taken');
}

control('a sequence', q{SELECT nextval('secret.patients_id_seq') FROM public.plain;}, qr/^61$/m);
control('a large object', q{SELECT encode(lo_get(7001), 'escape') FROM public.plain;}, qr/^qmarker7kx2vw9 of alice$/m);
control('rows', 'SELECT count(*) FROM secret.patients WHERE length(ssn) > 3;', qr/^60$/m);
like(run_as('mallory', q{LISTEN loot; SELECT pg_notify('loot', v) FROM public.plain; SELECT 1;}), qr/with payload "nothing"/, 'control: outside realms it works');
$node->stop;
done_testing();
