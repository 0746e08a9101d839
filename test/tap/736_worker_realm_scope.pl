# Realms and encrypted places: what is encrypted only because it lies in an
# encrypted tablespace or database cannot be in a realm, neither by itself nor by
# its schema; and what is in a realm stays encrypted when the place is no longer.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', conf => "tde_vault.worker_cost_delay = 0\n");
my $dir = $node->basedir . '/space';
mkdir $dir or die;
$node->safe_psql('postgres', $_) foreach "CREATE TABLESPACE space LOCATION '$dir'", 'ALTER TABLESPACE space ENABLE ENCRYPTION', 'ALTER DATABASE postgres ENABLE ENCRYPTION';
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE officer LOGIN; CREATE ROLE nurse LOGIN;
CREATE SCHEMA ward; CREATE SCHEMA mixed;
CREATE TABLE ward.patients (id serial PRIMARY KEY, name text) USING tde_heap;
INSERT INTO ward.patients (name) SELECT repeat(md5(g::text), 40) FROM generate_series(1, 500) g;
ALTER TABLE ward.patients ALTER name SET STORAGE EXTERNAL;
INSERT INTO ward.patients (name) SELECT repeat(md5(g::text), 100) FROM generate_series(1, 20) g;
CREATE INDEX patients_name ON ward.patients (left(name, 32)) TABLESPACE space;
CREATE TABLE ward.placed (id int PRIMARY KEY, name text) USING tde_heap TABLESPACE space;
INSERT INTO ward.placed SELECT g, md5(g::text) FROM generate_series(1, 500) g;
CREATE SEQUENCE ward.numbers;
SELECT nextval('ward.numbers');
CREATE TABLE mixed.because (id int PRIMARY KEY, name text) USING heap TABLESPACE space;
INSERT INTO mixed.because SELECT g, md5(g::text) FROM generate_series(1, 500) g;
CREATE TABLE mixed.database (id int PRIMARY KEY, name text) USING heap;
INSERT INTO mixed.database SELECT g, md5(g::text) FROM generate_series(1, 500) g;
CREATE MATERIALIZED VIEW mixed.copied USING heap AS SELECT * FROM mixed.database;
CREATE TABLE mixed.parts (id int) PARTITION BY LIST (id);
CREATE TABLE mixed.part PARTITION OF mixed.parts FOR VALUES IN (1) USING heap;
CREATE TABLE public.because (id int, name text) USING heap TABLESPACE space;
INSERT INTO public.because SELECT g, md5(g::text) FROM generate_series(1, 500) g;
GRANT USAGE ON SCHEMA ward TO nurse; GRANT ALL ON ALL TABLES IN SCHEMA ward TO nurse; ALTER TABLE ward.patients OWNER TO nurse; ALTER TABLE ward.placed OWNER TO nurse;
GRANT CREATE ON SCHEMA ward TO nurse; GRANT CREATE ON TABLESPACE space TO nurse;
ALTER DATABASE ENABLE DATABASE VAULT;
GRANT vault_admin TO officer;
SQL
my @officer = (extra_params => [ '-U', 'officer' ]);
my @nurse = (extra => [ '-U', 'nurse' ]);
$node->safe_psql('postgres', 'CREATE REALM pii; ALTER REALM pii AUTHORIZE nurse; ALTER REALM pii ADD SCHEMA ward;', @officer);

# --- what cannot join --------------------------------------------------------------------

my $not = qr/cannot be in a realm: it is not a tde_heap table.*Encrypt it first: ALTER TABLE .* SET ACCESS METHOD tde_heap/s;
$node->sql_is("SELECT bool_and(tde_vault.is_encrypted(r)) FROM unnest('{mixed.because,mixed.database,mixed.copied,mixed.parts}'::regclass[]) r", 't', 'they are all encrypted');
$node->sql_fails("ALTER REALM pii ADD $_", '42809', $not, "not in a realm: $_", extra => [ '-U', 'officer' ])
  foreach map({ "TABLE mixed.$_" } qw(because database copied parts part)), 'SCHEMA mixed';
$node->sql_fails($_, '42809', $not, "not in the schema of a realm: $_", @nurse)
  foreach 'CREATE TABLE ward.later (id int) USING heap', 'CREATE TABLE ward.later USING heap TABLESPACE space AS SELECT 1 AS id';
$node->sql_fails($_, 'TV036', qr/must stay a tde_heap table/, "nor does one become such: $_", @nurse)
  foreach 'ALTER TABLE ward.patients SET ACCESS METHOD heap', 'ALTER TABLE ward.placed SET ACCESS METHOD heap, SET TABLESPACE pg_default';

# --- what stays --------------------------------------------------------------------------

my $rows = 'SELECT count(*), md5(string_agg(p::text, $$,$$ ORDER BY id)) FROM ward.patients p UNION ALL SELECT count(*), md5(string_agg(p::text, $$,$$ ORDER BY id)) FROM ward.placed p';
my $want = $node->safe_psql('postgres', $rows, extra_params => [ '-U', 'nurse' ]);
my $of_realm = q{SELECT string_agg(r, ' ' ORDER BY r COLLATE "C") FROM (SELECT DISTINCT relation::text AS r FROM tde_vault.encryption_status WHERE relation::text ~ '^ward[.]') x};
my $all = 'ward.numbers ward.patients ward.patients_id_seq ward.patients_name ward.patients_pkey ward.placed ward.placed_pkey';

sub stays
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok($node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM tde_vault.encryption_progress WHERE state <> 'done')}), "$name: the work is done")
	  or diag($node->safe_psql('postgres', 'SELECT * FROM tde_vault.encryption_progress'));
	$node->sql_is($of_realm, $all, "$name: all of the realm is encrypted");
	$node->sql_is("SELECT bool_and(tde_vault.is_encrypted(r)) FROM unnest('{ward.patients,ward.placed}'::regclass[]) r", 't', "$name: with its TOAST table");
	$node->sql_is($rows, $want, "$name: the rows are there", @nurse);
}

$node->sql_is($of_realm, $all, 'all of the realm is encrypted');
$node->safe_psql('postgres', 'ALTER TABLESPACE space DISABLE ENCRYPTION');
stays('without the tablespace');
$node->safe_psql('postgres', 'ALTER DATABASE postgres DISABLE ENCRYPTION');
ok($node->poll_query_until('postgres', "SELECT NOT bool_or(tde_vault.is_encrypted(r)) FROM unnest('{mixed.because,mixed.database,mixed.copied,mixed.part,public.because}'::regclass[]) r"),
	'what is in no realm is decrypted');
stays('without the database');
$node->restart;
stays('after a restart');
$node->sql_is($_, '', "written anew: $_", @nurse)
  foreach 'VACUUM FULL ward.patients', 'REINDEX TABLE ward.patients', 'CLUSTER ward.placed USING placed_pkey', 'ALTER TABLE ward.placed SET TABLESPACE pg_default', 'ALTER INDEX ward.patients_name SET TABLESPACE pg_default';
stays('written anew');
$node->verify_ok('verify is clean', min => 3);
$node->stop;
done_testing();
