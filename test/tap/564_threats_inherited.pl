# A partition or child that is in a realm, below a table that is in none: what
# ANALYZE of that table keeps has values of the realm.  More of rows 7, 12 and 13
# of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE TABLE public.events (id int, v text, w text);
CREATE TABLE public.secret_events () INHERITS (public.events) USING tde_heap;
CREATE TABLE public.parts (id int, v text, w text) PARTITION BY RANGE (id);
CREATE TABLE public.parts_1 PARTITION OF public.parts FOR VALUES FROM (0) TO (1000);
CREATE TABLE public.parts_2 PARTITION OF public.parts FOR VALUES FROM (1000) TO (2000) USING tde_heap;
INSERT INTO public.secret_events SELECT g, 'qmarker7kx2vw9' || g % 3, 'qmarker7kx2vw9' || g % 3 FROM generate_series(1, 300) g;
INSERT INTO public.events SELECT g, 'plain', 'plain' FROM generate_series(1, 300) g;
INSERT INTO public.parts SELECT g, CASE WHEN g < 1000 THEN 'plain' ELSE 'qmarker7kx2vw9' || g % 3 END, 'qmarker7kx2vw9' || g % 3 FROM generate_series(1000, 1999) g;
INSERT INTO public.parts SELECT g, 'plain', 'plain' FROM generate_series(1, 300) g;
CREATE STATISTICS public.parts_stat (mcv) ON v, w FROM public.parts;
CREATE STATISTICS public.events_stat (mcv) ON v, w FROM public.events;
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
CREATE FUNCTION public.leak(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$BEGIN RAISE WARNING 'seen: %', $1; RETURN true; END$$;
CREATE OPERATOR public.~~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = public.leak, RESTRICT = eqsel);
CREATE TABLE public.whole (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE public.whole_1 PARTITION OF public.whole FOR VALUES FROM (0) TO (1000) USING tde_heap;
INSERT INTO public.whole SELECT g, 'qmarker7kx2vw9' || g % 3 FROM generate_series(1, 300) g;
SQL
run_as('security', q{CALL tde_vault.realm_add('pii', ARRAY['public.secret_events', 'public.parts_2', 'public.whole']);});
run_as('mallory', 'ANALYZE;');

my %catalogs = (
	pg_stats => q{SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats WHERE tablename IN ('events', 'parts')},
	pg_statistic => q{SELECT stavalues1::text, stavalues2::text FROM pg_statistic WHERE starelid IN ('public.events'::regclass, 'public.parts'::regclass)},
	pg_stats_ext => q{SELECT most_common_vals::text FROM pg_stats_ext WHERE tablename IN ('events', 'parts')},
	pg_statistic_ext_data => q{SELECT stxdmcv::text, pg_mcv_list_items(stxdmcv)::text FROM pg_statistic_ext_data});
attack_each($_, "ANALYZE public.events; ANALYZE public.parts; SELECT 'asked'; $catalogs{$_};", qr/asked/, who => ['mallory']) foreach sort keys %catalogs;
my @queries = (q{SELECT * FROM public.parts WHERE id < 1000 AND v ~~~ 'x'}, q{SELECT * FROM public.parts WHERE id < 1000 AND v ~~~ 'x' AND w ~~~ 'y'},
	q{SELECT v, count(*) FROM public.parts WHERE id < 1000 AND v ~~~ w GROUP BY v});
attack('a query that needs only what is in no realm', 'mallory', "EXPLAIN $_;", qr/parts_1/) foreach @queries;
attack_each('a query that needs the rest', 'EXPLAIN SELECT * FROM public.parts;');
attack_each('a query of the parent', q{EXPLAIN SELECT * FROM public.events WHERE v ~~~ 'x';});
like(run_as('alice', UNLOCK . "EXPLAIN $_;"), qr/may not be called in a transaction that uses a realm/, 'nor is it given to that function for alice') foreach $queries[0];

control($_, "$catalogs{$_};", qr/qmarker/) foreach qw(pg_stats pg_statistic);
control('a query', q{SELECT count(*) FROM public.parts; SELECT count(*) FROM public.events WHERE v = 'plain';}, qr/^1300\n300$/m);
control('partitions of a realm', q{SELECT count(*) FROM public.whole WHERE v LIKE 'q%';}, qr/^300$/m);
attack_each('partitions of a realm', 'SELECT * FROM public.whole WHERE id = 3;');
like(run_as('mallory', q{EXPLAIN SELECT * FROM public.parts_1 WHERE v = 'plain'; SELECT count(*) FROM public.parts_1; SELECT most_common_vals FROM pg_stats WHERE tablename = 'parts_1' AND attname = 'v';}), qr/rows=300.*^300\n\{plain\}/ms, 'control: what is in no realm');
$node->stop;
done_testing();
