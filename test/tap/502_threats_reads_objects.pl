# Reading a realm through what the server does for a table: index builds,
# rewrites, checks, statistics, triggers; and through functions that the table
# runs.  Rows 8 to 13, 22, 23 and 27 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
GRANT CREATE ON SCHEMA public TO owner;
CREATE TABLE public.leak (v text);
GRANT ALL ON public.leak TO PUBLIC;
CREATE FUNCTION public.leak(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
	$$BEGIN RAISE NOTICE 'leak %', $1; RETURN $1; END$$;
CREATE FUNCTION public.leak_int(text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
	$$BEGIN RAISE NOTICE 'leak %', $1; RETURN 1; END$$;
CREATE FUNCTION public.leak_bool(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
	$$BEGIN RAISE NOTICE 'leak %', $1; RETURN true; END$$;
CREATE FUNCTION public.leak_eq(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
	$$BEGIN RAISE NOTICE 'leak % %', $1, $2; RETURN true; END$$;
CREATE FUNCTION public.leak_trigger() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN RAISE NOTICE 'leak %', to_json(NEW); RETURN NEW; END$$;
CREATE OPERATOR public.<<< (LEFTARG = text, RIGHTARG = text, FUNCTION = public.leak_eq, RESTRICT = eqsel);
SET ROLE owner;
CREATE FUNCTION public.runs(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION public.checked(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE DOMAIN public.dom AS text;
ALTER TABLE secret.small ADD COLUMN d public.dom DEFAULT 'qmarker7kx2vw9';
CREATE INDEX small_runs ON secret.small (public.runs(v));
ALTER TABLE secret.small ADD CONSTRAINT checked CHECK (public.checked(v));
CREATE TRIGGER stamp BEFORE INSERT ON secret.small FOR EACH ROW EXECUTE FUNCTION public.stamp();
RESET ROLE;
SQL

sub each_of { my ($row, @list) = @_; attack_each("$row: $_->[0]", $_->[1], REFUSED, %{ $_->[2] // {} }) foreach @list; return; }

each_of(8,
	[ 'index with a function', 'CREATE INDEX ON secret.patients (public.leak(ssn));' ],
	[ 'index concurrently', 'CREATE INDEX CONCURRENTLY ON secret.patients (public.leak(ssn));' ],
	[ 'partial index', 'CREATE INDEX ON secret.patients (id) WHERE public.leak_bool(ssn);' ],
	[ 'unique index', 'CREATE UNIQUE INDEX ON secret.patients (name);' ],
	[ 'exclusion', 'ALTER TABLE secret.patients ADD EXCLUDE USING btree (name WITH =);' ],
	[ 'primary key', 'ALTER TABLE secret.patients ADD UNIQUE (name);' ],
	[ 'index of a partitioned table', 'CREATE INDEX ON secret.log (public.leak(line));' ],
	[ 'index of a partition', 'CREATE INDEX ON secret.log_1 (public.leak(line));' ],
	[ 'index in DO', q{DO $$BEGIN CREATE INDEX ON secret.patients (public.leak(ssn)); END$$;} ]);

each_of(9,
	[ 'ALTER TYPE USING', 'ALTER TABLE secret.patients ALTER ssn TYPE text USING public.leak(ssn);' ],
	[ 'generated column', 'ALTER TABLE secret.patients ADD COLUMN g text GENERATED ALWAYS AS (public.leak(ssn)) STORED;' ],
	[ 'default', 'ALTER TABLE secret.patients ALTER ssn SET DEFAULT public.leak(\'x\');' ],
	[ 'new column', 'ALTER TABLE secret.patients ADD COLUMN n int;' ],
	[ 'CHECK', 'ALTER TABLE secret.patients ADD CHECK (public.leak_bool(ssn));' ],
	[ 'NOT VALID, VALIDATE', 'ALTER TABLE secret.patients ADD CONSTRAINT c CHECK (public.leak_bool(ssn)) NOT VALID; ALTER TABLE secret.patients VALIDATE CONSTRAINT c;' ],
	[ 'CHECK that fails', 'ALTER TABLE secret.patients ADD CHECK (id < 0);' ],
	[ 'SET NOT NULL', 'ALTER TABLE secret.patients ALTER note SET NOT NULL;' ],
	[ 'domain', 'ALTER DOMAIN public.dom ADD CHECK (public.leak_bool(VALUE));' ],
	[ 'domain NOT VALID', 'ALTER DOMAIN public.dom ADD CONSTRAINT x CHECK (public.leak_bool(VALUE)) NOT VALID;' ],
	[ 'domain NOT NULL', 'ALTER DOMAIN public.dom SET NOT NULL;' ],
	[ 'partition bound', q{CREATE TABLE public.parts (id int, v text, d public.dom) PARTITION BY LIST (id); ALTER TABLE public.parts ATTACH PARTITION secret.small FOR VALUES IN (99);} ],
	[ 'ENABLE RLS', 'ALTER TABLE secret.patients ENABLE ROW LEVEL SECURITY;' ],
	[ 'REPLICA IDENTITY', 'ALTER TABLE secret.patients REPLICA IDENTITY FULL;' ],
	[ 'SET UNLOGGED', 'ALTER TABLE secret.patients SET UNLOGGED;' ],
	[ 'SET ACCESS METHOD', 'ALTER TABLE secret.patients SET ACCESS METHOD heap;' ],
	[ 'storage parameters', 'ALTER TABLE secret.patients SET (autovacuum_enabled = off);' ],
	[ 'SET STATISTICS', 'ALTER TABLE secret.patients ALTER ssn SET STATISTICS 10000;' ],
	[ 'ALTER SEQUENCE', 'ALTER SEQUENCE secret.patients_id_seq RESTART;' ],
	[ 'ALTER INDEX', 'ALTER INDEX secret.patients_ssn SET (fillfactor = 50);' ],
	[ 'DISABLE TRIGGER', 'ALTER TABLE secret.small DISABLE TRIGGER ALL;' ]);

each_of(10,
	[ 'CREATE STATISTICS', 'CREATE STATISTICS public.st ON (public.leak(ssn)), name FROM secret.patients; ANALYZE secret.patients;' ],
	[ 'ALTER STATISTICS', 'ALTER STATISTICS secret.patients_stat SET STATISTICS 1000;' ],
	[ 'DROP STATISTICS', 'DROP STATISTICS secret.patients_stat;' ]);

each_of(11,
	[ 'index function', q{CREATE OR REPLACE FUNCTION public.runs(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE NOTICE '%', $1; RETURN $1; END$$; REINDEX TABLE secret.small;} ],
	[ 'trigger function', q{CREATE OR REPLACE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE '%', NEW; RETURN NEW; END$$;} ],
	[ 'check function', q{CREATE OR REPLACE FUNCTION public.checked(text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE '%', $1; RETURN true; END$$;} ],
	[ 'ALTER FUNCTION SET', 'ALTER FUNCTION public.runs(text) SET search_path = public;' ],
	[ 'ALTER FUNCTION RENAME', 'ALTER FUNCTION public.runs(text) RENAME TO runs2;' ],
	[ 'ALTER FUNCTION OWNER', 'ALTER FUNCTION public.stamp() OWNER TO CURRENT_USER;' ],
	[ 'ALTER FUNCTION SET SCHEMA', 'ALTER FUNCTION public.stamp() SET SCHEMA secret;' ],
	[ 'DROP FUNCTION CASCADE', 'DROP FUNCTION public.runs(text) CASCADE;' ]);

# maintenance that hands rows to nobody
unlike(run_as('mallory', 'VACUUM secret.patients; ANALYZE secret.patients; VACUUM; ANALYZE;'), qr/ERROR/, 'VACUUM and ANALYZE go on');
each_of(11,
	[ 'REINDEX', 'REINDEX TABLE secret.patients;' ],
	[ 'REINDEX CONCURRENTLY', 'REINDEX TABLE CONCURRENTLY secret.patients;' ],
	[ 'CLUSTER', 'CLUSTER secret.patients USING patients_pkey;' ],
	[ 'VACUUM FULL', 'VACUUM FULL secret.patients;' ]);

# --- 12: values in catalogs ---
my @catalogs = (
	'SELECT * FROM pg_stats',
	'SELECT most_common_vals FROM pg_stats WHERE schemaname = \'secret\'',
	'SELECT histogram_bounds FROM pg_stats WHERE tablename = \'patients\'',
	'SELECT * FROM pg_statistic',
	'SELECT stavalues1, stavalues2 FROM pg_statistic WHERE starelid = \'secret.patients\'::regclass',
	'SELECT stavalues1 FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid',
	'SELECT (SELECT string_agg(s::text, \'\') FROM pg_statistic s)',
	'SELECT s FROM pg_statistic s',
	'SET enable_seqscan = off; SELECT stavalues1 FROM pg_statistic WHERE starelid = \'secret.patients\'::regclass AND staattnum = 2 AND NOT stainherit',
	'SET enable_seqscan = off; SET enable_indexscan = off; SELECT stavalues1 FROM pg_statistic WHERE starelid = \'secret.patients\'::regclass',
	'SELECT * FROM pg_stats_ext',
	'SELECT * FROM pg_stats_ext_exprs',
	'SELECT * FROM pg_statistic_ext_data',
	'SELECT m.* FROM pg_statistic_ext_data, pg_mcv_list_items(stxdmcv) m',
	'BEGIN; DECLARE c CURSOR FOR SELECT * FROM pg_statistic; FETCH ALL c; ROLLBACK',
	'COPY (SELECT * FROM pg_statistic) TO STDOUT',
	'SELECT * FROM pg_statistic WHERE ctid > \'(0,0)\'',
	'SELECT * FROM pg_statistic TABLESAMPLE SYSTEM (100)',
	'PREPARE p AS SELECT * FROM pg_statistic; EXECUTE p',
	'DO $$DECLARE r record; BEGIN FOR r IN SELECT * FROM pg_statistic LOOP RAISE NOTICE \'%\', r; END LOOP; END$$');
# they answer, without the realm's values, or the vault refuses
attack_each("12: $_", "SELECT 'asked';\n$_;", qr/\Aasked\n(?!.*ERROR:\s++(?!TV0))/s) foreach @catalogs;
attack_each('12: FOR SHARE', "SELECT 'asked'; SELECT * FROM pg_statistic FOR SHARE;", qr/\Aasked\n(?!.*ERROR)/s, superuser => 1);
attack_each("12: $_", "$_;", REFUSED)
  foreach (
	'COPY pg_statistic TO STDOUT',
	'COPY pg_statistic_ext_data TO STDOUT',
	'SELECT * FROM pg_toast.pg_toast_2619',
	'CREATE TABLE public.copy AS SELECT * FROM pg_toast.pg_toast_2619');
attack_each("12: $_", "$_;", REFUSED, superuser => 1)
  foreach ('UPDATE pg_statistic SET starelid = \'public.plain\'::regclass', 'DELETE FROM pg_statistic');
like(run_as('mallory', q{SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'plain';}), qr/^t$/m, '12: statistics of other tables');
like(run_as('mallory', q{SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'patients';}), qr/^f$/m, '12: and none of the realm');
control('12: pg_stats', q{SELECT most_common_vals FROM pg_stats WHERE tablename = 'patients' AND attname = 'name';}, qr/qmarker7kx2vw9/);

# --- 13: the planner ---
each_of(13,
	[ 'leaking operator', q{SELECT 1 FROM secret.patients WHERE name OPERATOR(public.<<<) 'x';} ],
	[ 'leaking operator, EXPLAIN', q{EXPLAIN SELECT 1 FROM secret.patients WHERE name OPERATOR(public.<<<) 'x';} ],
	[ 'leaking operator, UPDATE', q{EXPLAIN UPDATE secret.patients SET name = name WHERE name OPERATOR(public.<<<) 'x';} ],
	[ 'leaking operator, DELETE', q{EXPLAIN DELETE FROM secret.patients WHERE name OPERATOR(public.<<<) 'x';} ],
	[ 'leaking operator, join', q{EXPLAIN SELECT 1 FROM public.plain p JOIN secret.patients s ON s.name OPERATOR(public.<<<) p.v;} ],
	[ 'leaking operator, subquery', q{EXPLAIN SELECT 1 FROM (SELECT name FROM secret.patients OFFSET 0) x WHERE name OPERATOR(public.<<<) 'x';} ],
	[ 'leaking operator, partition', q{EXPLAIN SELECT 1 FROM secret.log WHERE line OPERATOR(public.<<<) 'x';} ],
	[ 'estimates', q{EXPLAIN SELECT * FROM secret.patients WHERE name = 'x';} ],
	[ 'range of an index', q{EXPLAIN SELECT * FROM secret.patients WHERE ssn > 'zzz';} ],
	[ 'GROUP BY', q{EXPLAIN SELECT name FROM secret.patients GROUP BY name;} ]);

# --- 22: foreign keys, 23: statements that touch nothing, 27: triggers ---
each_of(22,
	[ 'foreign key', 'CREATE TABLE public.oracle (id int REFERENCES secret.small);' ],
	[ 'ALTER TABLE ADD FOREIGN KEY', 'ALTER TABLE public.plain ADD FOREIGN KEY (id) REFERENCES secret.small;' ],
	[ 'foreign key from the realm', 'ALTER TABLE secret.small ADD FOREIGN KEY (id) REFERENCES public.plain ON DELETE CASCADE;' ],
	[ 'TRUNCATE', 'TRUNCATE secret.small CASCADE;' ],
	[ 'TRUNCATE partitions', 'TRUNCATE secret.log;' ],
	[ 'TRUNCATE partition', 'TRUNCATE secret.log_1;' ]);
each_of(23,
	[ 'GRANT', 'GRANT SELECT ON secret.patients TO PUBLIC;' ],
	[ 'GRANT on a column', 'GRANT SELECT (ssn) ON secret.patients TO PUBLIC;' ],
	[ 'GRANT on all', 'GRANT SELECT ON ALL TABLES IN SCHEMA secret TO PUBLIC;' ],
	[ 'REVOKE', 'REVOKE ALL ON secret.patients FROM alice;' ],
	[ 'LOCK', 'BEGIN; LOCK TABLE secret.patients IN ACCESS EXCLUSIVE MODE; ROLLBACK;' ],
	[ 'LOCK weakly', 'BEGIN; LOCK TABLE secret.patients IN ACCESS SHARE MODE; ROLLBACK;' ],
	[ 'COMMENT', q{COMMENT ON TABLE secret.patients IS 'x';} ],
	[ 'COMMENT on a column', q{COMMENT ON COLUMN secret.patients.ssn IS 'x';} ],
	[ 'COMMENT on an index', q{COMMENT ON INDEX secret.patients_ssn IS 'x';} ],
	[ 'COMMENT on a constraint', q{COMMENT ON CONSTRAINT checked ON secret.small IS 'x';} ]);
each_of(27,
	[ 'trigger', 'CREATE TRIGGER t BEFORE INSERT ON secret.patients FOR EACH ROW EXECUTE FUNCTION public.leak_trigger();' ],
	[ 'trigger on a partition', 'CREATE TRIGGER t BEFORE INSERT ON secret.log_1 FOR EACH ROW EXECUTE FUNCTION public.leak_trigger();' ],
	[ 'rule', 'CREATE RULE r AS ON INSERT TO secret.patients DO ALSO INSERT INTO public.leak VALUES (NEW.ssn);' ],
	[ 'policy', 'CREATE POLICY p ON secret.patients USING (public.leak_bool(ssn));' ],
	[ 'DROP TRIGGER', 'DROP TRIGGER stamp ON secret.small;' ],
	[ 'ALTER TRIGGER', 'ALTER TRIGGER stamp ON secret.small RENAME TO other;' ]);

# --- controls: an authorized, unlocked user who may by SQL does all of that ---
$node->safe_psql('postgres', 'GRANT owner TO alice');
my %made = (
	'index' => 'CREATE INDEX ON secret.small (v);',
	'unique index that fails' => 'CREATE UNIQUE INDEX ON secret.patients (name);',
	'ALTER TABLE' => 'ALTER TABLE secret.small ADD COLUMN n int DEFAULT 5, ADD CHECK (n > 0);',
	'rewrite' => 'ALTER TABLE secret.small ALTER n TYPE bigint;',
	'statistics' => 'CREATE STATISTICS secret.st ON v, n FROM secret.small;',
	'foreign key' => 'CREATE TABLE public.orders (id int REFERENCES secret.small);',
	'REINDEX' => 'REINDEX TABLE secret.small; REINDEX TABLE CONCURRENTLY secret.small;',
	'CLUSTER' => 'CLUSTER secret.small USING small_pkey; VACUUM FULL secret.small;',
	'GRANT' => 'GRANT SELECT ON secret.small TO owner; COMMENT ON TABLE secret.small IS $$x$$;',
	'partition' => q{CREATE TABLE secret.log_2 PARTITION OF secret.log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') USING tde_heap;},
	'TRUNCATE' => 'TRUNCATE secret.log_1;',
	'DROP' => 'DROP TABLE secret.log;');
foreach my $name (sort { ($a eq 'DROP') <=> ($b eq 'DROP') || ($a eq 'partition') <=> ($b eq 'partition') || ($b eq 'ALTER TABLE') <=> ($a eq 'ALTER TABLE') || $a cmp $b } keys %made)
{
	my $output = control($name, "\\set ON_ERROR_STOP on\n$made{$name}\n\\echo done", $name =~ /fails/ ? qr/Key \(name\)=\(qmarker/ : qr/^done$/m);
}
# a partition that is not encrypted does not join
control('heap partition', q{CREATE TABLE secret.logs (day date) PARTITION BY RANGE (day);}, qr/CREATE TABLE/);
like(run_as('alice', UNLOCK . 'SELECT count(*), min(ssn) FROM secret.patients; SELECT count(*) FROM secret.small;'),
	qr/60\|qmarker.*\n1\n/, 'nothing is gone');
$node->stop;
done_testing();
