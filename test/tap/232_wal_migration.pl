# A big plain database is moved into an encrypted cluster by logical
# replication while it is in use, as README says.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = PostgreSQL::Test::Cluster->new('old');
$old->init(allows_streaming => 'logical');
$old->start;
$old->safe_psql('postgres', 'CREATE DATABASE clinic');
$old->safe_psql('clinic', <<'SQL');
CREATE TABLE patients (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, big text);
CREATE TABLE visits (id serial PRIMARY KEY, patient int REFERENCES patients, day date NOT NULL DEFAULT '2024-02-02');
CREATE INDEX ON visits (day);
CREATE TABLE measures (day date, value int, PRIMARY KEY (day, value)) PARTITION BY RANGE (day);
CREATE TABLE measures_1 PARTITION OF measures FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE measures_2 PARTITION OF measures FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE log (line text);
ALTER TABLE log REPLICA IDENTITY FULL;
CREATE VIEW seen AS SELECT name, count(*) FROM patients p JOIN visits v ON v.patient = p.id GROUP BY 1;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM patients;
INSERT INTO patients (name, big) SELECT 'patient ' || g, repeat(md5(g::text), g % 200) FROM generate_series(1, 3000) g;
INSERT INTO visits (patient, day) SELECT 1 + g % 3000, '2024-01-01'::date + g % 300 FROM generate_series(1, 5000) g;
INSERT INTO measures SELECT '2023-01-01'::date + g % 700, g FROM generate_series(1, 3000) g;
INSERT INTO log SELECT 'line ' || g FROM generate_series(1, 1000) g;
SQL

my $new = TdeVault->create('new', master => 'cluster', conf => "max_logical_replication_workers = 8\n");
my $dir = PostgreSQL::Test::Utils::tempdir();
my ($from, $to) = ($old->connstr('clinic'), $new->connstr('clinic'));

# --- the new cluster: encrypted from the first page on ---

$new->safe_psql('postgres', 'CREATE DATABASE clinic');
$new->safe_psql('clinic', 'CREATE EXTENSION tde_vault');
$new->safe_psql('postgres', 'ALTER DATABASE clinic SET default_table_access_method = tde_heap; ALTER DATABASE clinic SET tde_vault.enforce_encryption = on');
$old->command_ok([ 'pg_dump', '-d', $from, '--schema-only', '--no-table-access-method', '-f', "$dir/schema.sql" ], 'the schema is dumped without access methods');
$new->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $to, '-f', "$dir/schema.sql" ], 'and loaded');
$old->safe_psql('clinic', 'CREATE PUBLICATION migration FOR ALL TABLES');
$new->safe_psql('clinic', "CREATE SUBSCRIPTION migration CONNECTION '" . ($from =~ s/'//gr) . "' PUBLICATION migration");

# --- the old one is in use meanwhile ---

$old->safe_psql('clinic', <<'SQL') foreach 1 .. 5;
INSERT INTO patients (name, big) SELECT gen_random_uuid(), repeat('x', 3000) FROM generate_series(1, 100) g;
UPDATE visits SET day = day + 1 WHERE id % 50 = 0;
DELETE FROM visits WHERE id % 97 = 0;
UPDATE log SET line = line || '+' WHERE line LIKE 'line 9%';
INSERT INTO measures SELECT '2024-06-01'::date, 10000 + random() * 1000000000 FROM generate_series(1, 50) ON CONFLICT DO NOTHING;
SQL
ok($new->poll_query_until('clinic', q{SELECT count(*) = 5 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel}), 'every table is copied')
  or diag($new->safe_psql('clinic', 'SELECT srrelid::regclass, srsubstate FROM pg_subscription_rel'));

# --- the switch: writers have ended, the rest arrives, sequences are set ---

$old->wait_for_catchup('migration');
my $sequences = $old->safe_psql('clinic', q{SELECT format('SELECT setval(%L, %s);', format('%I.%I', schemaname, sequencename), last_value) FROM pg_sequences WHERE last_value IS NOT NULL});
$new->safe_psql('clinic', "$sequences ALTER SUBSCRIPTION migration DISABLE; DROP SUBSCRIPTION migration; REFRESH MATERIALIZED VIEW counted; ANALYZE");

my $digest = join ' UNION ALL ', map { "SELECT '$_', count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM $_ t" } qw(patients visits measures log seen);
is($new->safe_psql('clinic', $digest), $old->safe_psql('clinic', $digest), 'all rows are there');
is($new->safe_psql('clinic', q{INSERT INTO patients (name) VALUES ('new one') RETURNING id > (SELECT max(id) FROM patients WHERE name <> 'new one'); INSERT INTO visits (patient) VALUES (1) RETURNING id > 5000}), "t\nt", 'sequences go on');
is($new->safe_psql('clinic', q{SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'm') AND NOT tde_vault.is_encrypted(c.oid)}), '', 'every table is encrypted');
is($new->safe_psql('clinic', q{SELECT relation FROM tde_vault.plaintext_files WHERE relation::oid >= 16384 AND relation::oid NOT IN (SELECT m FROM tde_vault.relation_family('tde_vault.vault_script') m)}), '', 'with all files, sequences too');
is($new->safe_psql('clinic', q{SELECT count(*) FROM counted}), '1', 'the materialised view is filled');
is($old->safe_psql('clinic', 'SELECT count(*) FROM pg_replication_slots'), '0', 'no slot is left behind');
$new->verify_ok('verify is clean', db => 'clinic', min => 6);
done_testing();
