# Reading a realm through functions that run queries, and under another name:
# rows 4 to 7 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(sql => 'CREATE EXTENSION tablefunc; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; GRANT USAGE ON FOREIGN SERVER s TO PUBLIC;');

# --- 4: functions that run queries ---
attack_each("4: $_", "SELECT * FROM $_ AS x;", REFUSED)
  foreach (
	q{table_to_xml('secret.patients', true, false, '')},
	q{query_to_xml('SELECT * FROM secret.patients', true, false, '')},
	q{schema_to_xml('secret', true, false, '')},
	q{cursor_to_xml((SELECT 'x'::refcursor FROM secret.patients LIMIT 1), 1, true, false, '')},
	q{ts_stat('SELECT to_tsvector(ssn) FROM secret.patients')});
attack('4: crosstab', $_, q{SELECT * FROM crosstab('SELECT id, name, ssn FROM secret.patients') AS x(a int, b text);}, REFUSED)
  foreach qw(mallory owner alice);

# --- 5, 6, 7: the same rows under another name ---
attack_each("5/6: $_->[0]", $_->[1], REFUSED)
  foreach (
	[ 'INHERIT', 'CREATE TABLE public.p (LIKE secret.small); ALTER TABLE secret.small INHERIT public.p; SELECT * FROM public.p;' ],
	[ 'INHERITS', 'CREATE TABLE public.child () INHERITS (secret.small);' ],
	[ 'ATTACH', 'CREATE TABLE public.parts (LIKE secret.small) PARTITION BY LIST (id); ALTER TABLE public.parts ATTACH PARTITION secret.small DEFAULT; TABLE public.parts;' ],
	[ 'DETACH', 'ALTER TABLE secret.log DETACH PARTITION secret.log_1; TABLE secret.log_1;' ],
	[ 'a new partition', q{CREATE TABLE public.np PARTITION OF secret.log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01'); TABLE public.np;} ],
	[ 'a foreign partition', q{CREATE FOREIGN TABLE public.fp PARTITION OF secret.log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') SERVER s;} ],
	[ 'SET SCHEMA', 'ALTER TABLE secret.patients SET SCHEMA public; TABLE public.patients;' ],
	[ 'RENAME', 'ALTER TABLE secret.patients RENAME TO harmless; TABLE secret.harmless;' ],
	[ 'RENAME column', 'ALTER TABLE secret.patients RENAME ssn TO harmless;' ],
	[ 'RENAME SCHEMA', 'ALTER SCHEMA secret RENAME TO elsewhere; CREATE SCHEMA secret; CREATE TABLE secret.patients (name text); ALTER SCHEMA elsewhere RENAME TO secret;' ],
	[ 'RENAME CONSTRAINT', 'ALTER TABLE secret.patients RENAME CONSTRAINT patients_pkey TO other;' ],
	[ 'OWNER', 'ALTER TABLE secret.patients OWNER TO CURRENT_USER;' ],
	[ 'DROP', 'DROP TABLE secret.patients; CREATE TABLE secret.patients (ssn text);' ],
	[ 'DROP CASCADE of the schema', 'DROP SCHEMA secret CASCADE;' ],
	[ 'DROP OWNED', 'DROP OWNED BY owner CASCADE;' ],
	[ 'REASSIGN OWNED', 'REASSIGN OWNED BY owner TO CURRENT_USER;' ],
	[ 'DROP COLUMN', 'ALTER TABLE secret.patients DROP COLUMN ssn;' ],
	[ 'DROP INDEX', 'DROP INDEX secret.patients_ssn;' ],
	[ 'TRUNCATE', 'TRUNCATE secret.patients;' ],
	[ 'rule on a view', 'CREATE VIEW public.v AS SELECT * FROM secret.patients; SELECT * FROM public.v;' ]);
like(run_as('alice', UNLOCK . 'SELECT count(*) FROM secret.patients; SELECT count(*) FROM secret.log; SELECT count(*) FROM secret.small;'),
	qr/60.*\n.*1.*\n.*1/, 'nothing is gone');


control('XML', q{SELECT table_to_xml('secret.small', true, false, '');}, qr/qmarker7kx2vw9/);
control('crosstab', q{SELECT * FROM crosstab('SELECT 1, id, v FROM secret.small') AS x(a int, b text);}, qr/qmarker7kx2vw9/);

$node->stop;
done_testing();
