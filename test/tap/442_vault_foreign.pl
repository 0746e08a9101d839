# Partitions on another server, by postgres_fdw: the rows are encrypted and in a
# realm there, and that realm decides, for whomever the coordinator maps a user
# to.  On the coordinator a foreign table is nothing that could be protected.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $shard = realm_server(sql => <<'SQL');
CREATE ROLE branch LOGIN;
SET ROLE owner;
CREATE TABLE secret.visits_2023 (day date NOT NULL, patient int, note text) USING tde_heap;
CREATE TABLE secret.visits_2024 (LIKE secret.visits_2023) USING tde_heap;
CREATE INDEX ON secret.visits_2024 (patient);
INSERT INTO secret.visits_2023 SELECT '2023-01-01'::date + g % 365, g % 50, 'qmarker7kx2vw9 ' || g FROM generate_series(1, 1000) g;
INSERT INTO secret.visits_2024 SELECT '2024-01-01'::date + g % 365, g % 50, 'qmarker7kx2vw9 ' || g FROM generate_series(1, 1000) g;
GRANT SELECT, INSERT, UPDATE, DELETE ON secret.visits_2023, secret.visits_2024, secret.small TO branch;
RESET ROLE;
SQL
# for programs, which cannot be asked for a password: a realm without one
unlike(run_as('security', <<'SQL'), qr/ERROR/, 'the realm of the shard');
CREATE REALM visits;
ALTER REALM visits ADD TABLE secret.visits_2023, TABLE secret.visits_2024;
ALTER REALM visits AUTHORIZE branch;
ALTER REALM pii AUTHORIZE branch;
SQL

my $coordinator = TdeVault->create('coordinator', conf => "log_min_messages = notice\n");
my ($host, $port) = ($shard->host, $shard->port);
$coordinator->safe_psql('postgres', <<"SQL");
CREATE EXTENSION postgres_fdw;
CREATE ROLE doctor LOGIN;
CREATE ROLE security LOGIN;
CREATE SERVER shard FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres', async_capable 'true');
CREATE USER MAPPING FOR doctor SERVER shard OPTIONS (user 'branch', password_required 'false');
CREATE USER MAPPING FOR postgres SERVER shard OPTIONS (user 'mallory');
CREATE TABLE visits (day date NOT NULL, patient int, note text) PARTITION BY RANGE (day);
CREATE FOREIGN TABLE visits_2023 PARTITION OF visits FOR VALUES FROM ('2023-01-01') TO ('2024-01-01') SERVER shard OPTIONS (schema_name 'secret');
CREATE FOREIGN TABLE visits_2024 PARTITION OF visits FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') SERVER shard OPTIONS (schema_name 'secret');
CREATE TABLE visits_2025 PARTITION OF visits FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') USING tde_heap;
CREATE FOREIGN TABLE locked (id int, v text) SERVER shard OPTIONS (schema_name 'secret', table_name 'small');
GRANT ALL ON visits, visits_2023, visits_2024, visits_2025, locked TO doctor;
SQL
my $doctor = [ '-U', 'doctor' ];
sub as_doctor { my ($sql, $want, $name) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; $coordinator->sql_is($sql, $want, $name, extra => $doctor); return; }

# --- who is authorized there ---

as_doctor('SELECT count(*), min(day), max(day) FROM visits', '2000|2023-01-01|2024-12-30', 'an authorized user reads all partitions');
as_doctor(q{SELECT count(*) FROM visits WHERE patient = 7 AND day >= '2024-01-01'}, '20', 'with a condition that is sent there');
as_doctor(q{SET enable_partitionwise_aggregate = on; SELECT count(*), sum(n) FROM (SELECT patient, count(*) AS n FROM visits GROUP BY patient) x}, '50|2000', 'with aggregates');
as_doctor(q{INSERT INTO visits SELECT d::date, 99, 'new' FROM generate_series('2023-12-01'::date, '2025-01-31', '1 month') d; SELECT tableoid::regclass, count(*) FROM visits WHERE patient = 99 GROUP BY 1 ORDER BY 1::text},
	"visits_2023|1\nvisits_2024|12\nvisits_2025|1", 'rows go to where they belong');
as_doctor(q{UPDATE visits SET note = 'changed' WHERE patient = 99; DELETE FROM visits WHERE patient = 99 AND day < '2024-01-01'; SELECT count(*) FROM visits WHERE note = 'changed'}, '13', 'and are changed and deleted there');
is(run_as('branch', q{SELECT count(*) FROM secret.visits_2024 WHERE note = 'changed'}), "12\n", 'the shard has them');
$shard->verify_ok('the shard is whole');
$coordinator->sql_is(q{ANALYZE visits_2025; SELECT tde_vault.is_encrypted('visits_2025')}, 't', 'the partition that is here is encrypted here');

# --- who is not ---

$coordinator->sql_fails('SELECT * FROM visits', 'TV031', [ qr/not authorized for realm "visits"/, qr/CONTEXT:.*remote SQL command|remote SQL/i ], 'a superuser on both sides is refused by the shard');
foreach my $sql ('SELECT count(*) FROM visits_2024', 'SELECT max(note) FROM visits WHERE patient = 7', 'ANALYZE visits_2024', q{INSERT INTO visits VALUES ('2024-05-05', 1, 'x')},
	q{UPDATE visits_2023 SET note = ''}, 'DELETE FROM visits_2023', 'TRUNCATE visits_2024', 'COPY visits_2024 FROM PROGRAM \'echo 2024-05-05\' (FORMAT csv)', 'CREATE TABLE stolen AS TABLE visits_2023')
{
	my ($state, $err) = $coordinator->sql_error($sql);
	ok($state ne '' && $err !~ /qmarker/, "so with $sql") or diag("$state $err");
	like($err, qr/realm|missing data|not-null/, 'because of the realm');
}
$coordinator->sql_fails('SELECT count(*) FROM locked', 'TV030', qr/vault password required/, 'a realm with a password opens for no program that cannot give it', extra => $doctor);

# --- what the coordinator cannot protect ---

$coordinator->sql_is(q{SELECT tde_vault.is_encrypted('visits'), tde_vault.is_encrypted('visits_2024'), tde_vault.is_encrypted('visits_2025')}, 'f|f|t', 'a table with foreign partitions is not called encrypted');
$coordinator->sql_fails('ALTER TABLE visits_2024 ENABLE ENCRYPTION', '42809', qr/HINT:.*another server: encrypt them there/, 'a foreign table is not encrypted here');
my ($rc, $out, $err) = $coordinator->psql('postgres', 'ALTER TABLE visits ENABLE ENCRYPTION');
is($rc, 0, 'a table with foreign partitions is, as far as it is here');
like($err, qr/WARNING:  ENABLE ENCRYPTION leaves out partition "visits_2024", a foreign table/, 'and says what is left out');
$coordinator->safe_psql('postgres', q{CREATE SCHEMA remote; CREATE FOREIGN TABLE remote.f (day date) SERVER shard; CREATE TABLE parted (id int) PARTITION BY LIST (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1) USING tde_heap; CALL tde_vault.enable_vault(); GRANT vault_admin TO security});
my $security = [ '-U', 'security' ];
$coordinator->safe_psql('postgres', 'CREATE REALM r; ALTER REALM r ADD TABLE parted', extra_params => $security);
foreach my $what ('TABLE visits_2024', 'TABLE visits', 'SCHEMA remote')
{
	$coordinator->sql_fails("ALTER REALM r ADD $what", '42809', [ qr/cannot be in a realm: it is a foreign table/, qr/HINT:.*another server: put them into a realm there/ ], "nor is $what put into a realm", extra => $security);
}
$coordinator->sql_fails(q{CREATE FOREIGN TABLE parted_2 PARTITION OF parted FOR VALUES IN (2) SERVER shard}, 'TV036|TV031|42809', qr/realm|vault/, 'nor does one become a partition of what is in a realm');
$coordinator->sql_is('SET ROLE doctor; SELECT count(*) > 0 FROM visits', 't', 'a superuser of the coordinator uses the mapping of whomever it becomes, as README says');
$shard->stop;
$coordinator->stop;
done_testing();
