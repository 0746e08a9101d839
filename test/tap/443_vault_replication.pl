# Logical replication out of a realm and into one, initial copies included: a
# subscription carries rows only for who is authorized, whoever owns it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $other = TdeVault->create('other', streaming => 1, conf => "wal_level = logical\nmax_logical_replication_workers = 8\nwal_retrieve_retry_interval = 1s\n");
$other->safe_psql('postgres', <<'SQL');
CREATE SCHEMA secret; CREATE SCHEMA inbox;
CREATE TABLE inbox.taken (id int PRIMARY KEY, v text) USING tde_heap;
CREATE TABLE inbox.refused (id int PRIMARY KEY, v text) USING tde_heap;
CREATE TABLE inbox.parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE inbox.parts_1 PARTITION OF inbox.parts FOR VALUES FROM (0) TO (500) USING tde_heap;
CREATE TABLE inbox.parts_2 PARTITION OF inbox.parts FOR VALUES FROM (500) TO (100000) USING tde_heap;
INSERT INTO inbox.taken SELECT g, 'row ' || g FROM generate_series(1, 1000) g;
INSERT INTO inbox.refused TABLE inbox.taken;
INSERT INTO inbox.parts TABLE inbox.taken;
CREATE TABLE inbox.beside AS TABLE inbox.taken; ALTER TABLE inbox.beside ADD PRIMARY KEY (id);
CREATE PUBLICATION loaded FOR TABLE inbox.taken, inbox.parts WITH (publish_via_partition_root = true);
CREATE PUBLICATION forced FOR TABLE inbox.refused, inbox.beside;
SQL

# Subscriptions are made before the vault is on; what they copy at first comes
# after, because there is no worker for it until then.
my $to_other = $other->connstr('postgres') =~ s/'//gr;
my $node = realm_server(streaming => 1, conf => "wal_level = logical\nmax_sync_workers_per_subscription = 0\nwal_retrieve_retry_interval = 1s\nmax_logical_replication_workers = 8\n", sql => <<"SQL");
CREATE ROLE exporter LOGIN REPLICATION;
CREATE ROLE loader LOGIN SUPERUSER;
CREATE SCHEMA inbox AUTHORIZATION owner;
GRANT USAGE ON SCHEMA inbox TO PUBLIC;
SET ROLE owner;
CREATE TABLE secret.orders (id int, region int, note text, PRIMARY KEY (id, region)) USING tde_heap;
CREATE TABLE secret.parts (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
CREATE TABLE secret.parts_1 PARTITION OF secret.parts FOR VALUES FROM (0) TO (500) USING tde_heap;
CREATE TABLE secret.parts_2 PARTITION OF secret.parts FOR VALUES FROM (500) TO (100000) USING tde_heap;
INSERT INTO secret.orders SELECT g, g % 4, '${\VaultAttack::MARKER} ' || g FROM generate_series(1, 1000) g;
INSERT INTO secret.parts SELECT g, '${\VaultAttack::MARKER} ' || g FROM generate_series(1, 1000) g;
CREATE TABLE inbox.taken (id int PRIMARY KEY, v text) USING tde_heap;
CREATE TABLE inbox.refused (id int PRIMARY KEY, v text) USING tde_heap;
CREATE TABLE inbox.beside (id int PRIMARY KEY, v text) USING tde_heap;
CREATE TABLE inbox.parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE inbox.parts_1 PARTITION OF inbox.parts FOR VALUES FROM (0) TO (500) USING tde_heap;
CREATE TABLE inbox.parts_2 PARTITION OF inbox.parts FOR VALUES FROM (500) TO (100000) USING tde_heap;
RESET ROLE;
GRANT SELECT ON ALL TABLES IN SCHEMA secret TO exporter, alice;
GRANT ALL ON ALL TABLES IN SCHEMA inbox TO alice;
GRANT INSERT, UPDATE, DELETE ON secret.orders, secret.parts TO alice;
CREATE PUBLICATION half FOR TABLE secret.orders (id, region, note) WHERE (region < 2);
CREATE PUBLICATION parts FOR TABLE secret.parts WITH (publish_via_partition_root = true);
CREATE PUBLICATION small FOR TABLE secret.small;
CREATE PUBLICATION plain FOR TABLE public.plain;
CREATE SUBSCRIPTION loaded CONNECTION '$to_other' PUBLICATION loaded WITH (enabled = false);
ALTER SUBSCRIPTION loaded OWNER TO loader;
ALTER SUBSCRIPTION loaded ENABLE;
CREATE SUBSCRIPTION forced CONNECTION '$to_other' PUBLICATION forced;
SQL
unlike(run_as('security', <<'SQL'), qr/ERROR/, 'a realm without a password, for programs');
CREATE REALM exchange;
ALTER REALM exchange ADD TABLE secret.orders, TABLE secret.parts, TABLE inbox.taken, TABLE inbox.refused, TABLE inbox.parts;
ALTER REALM exchange AUTHORIZE exporter, loader, alice;
ALTER REALM pii AUTHORIZE exporter;
SQL

# --- out -------------------------------------------------------------------------

my $from_realm = $node->connstr('postgres') =~ s/'//gr;
my $rows = q{SELECT (SELECT count(*) || ' ' || count(DISTINCT region) FROM %1$s.orders), (SELECT count(*) FROM %1$s.parts), (SELECT count(*) FROM %1$s.small), (SELECT count(*) FROM %1$s.plain)};
foreach my $who ('exporter', 'mallory')
{
	$other->safe_psql('postgres', "CREATE DATABASE of_$who");
	$other->safe_psql("of_$who", <<"SQL");
CREATE SCHEMA secret;
CREATE TABLE secret.orders (id int, region int, note text, PRIMARY KEY (id, region));
CREATE TABLE secret.parts (id int PRIMARY KEY, note text);
CREATE TABLE secret.small (id int PRIMARY KEY, v text);
CREATE TABLE public.plain (id int PRIMARY KEY, v text);
CREATE SUBSCRIPTION of_$who CONNECTION '$from_realm user=$who' PUBLICATION half, parts, small, plain WITH (streaming = on);
SQL
}
$node->safe_psql('postgres', 'GRANT SELECT ON public.plain TO exporter');
my $count = q{SELECT (SELECT count(*) || ' ' || count(DISTINCT region) FROM secret.orders), (SELECT count(*) FROM secret.parts), (SELECT count(*) FROM secret.small), (SELECT count(*) FROM public.plain)};
ok($other->poll_query_until('of_exporter', $count, '500 2|1000|0|1'), 'the initial copy of who is authorized: a part by a row filter, partitions as one table');
ok($other->poll_query_until('of_mallory', $count, '0 0|0|0|1'), 'a superuser\'s: what is in no realm');
unlike(run_as('alice', UNLOCK . <<'SQL'), qr/ERROR/, 'changes');
INSERT INTO secret.orders SELECT g, g % 4, 'qmarker7kx2vw9 new' FROM generate_series(1001, 1100) g;
UPDATE secret.orders SET note = 'qmarker7kx2vw9 changed' WHERE region = 1;
DELETE FROM secret.orders WHERE id <= 40;
INSERT INTO secret.parts SELECT g, 'qmarker7kx2vw9 new' FROM generate_series(1001, 1100) g;
UPDATE secret.parts SET id = id + 10000 WHERE id BETWEEN 400 AND 410;
INSERT INTO secret.small VALUES (2, 'qmarker7kx2vw9');
INSERT INTO public.plain VALUES (2, 'after it');
SQL
ok($other->poll_query_until('of_exporter', $count, '530 2|1100|0|2'), 'and its changes');
is($other->safe_psql('of_exporter', q{SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM secret.orders o}) . "\n",
	run_as('exporter', q{SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM secret.orders o WHERE region < 2}), 'the very same');
is($other->safe_psql('of_exporter', q{SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM secret.parts o}) . "\n",
	run_as('exporter', q{SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM secret.parts o}), 'of the partitions, too');
$node->wait_for_log(qr/not authorized for realm "exchange"/);
$node->wait_for_log(qr/vault password required/);
is($other->safe_psql('of_mallory', 'SELECT (SELECT count(*) FROM secret.orders), (SELECT count(*) FROM secret.parts), (SELECT count(*) FROM secret.small)'), '0|0|0', 'the superuser has none, and nobody what needs a password');

$other->safe_psql($_, "ALTER SUBSCRIPTION $_ DISABLE; ALTER SUBSCRIPTION $_ SET (slot_name = NONE); DROP SUBSCRIPTION $_") foreach 'of_exporter', 'of_mallory';

# --- in --------------------------------------------------------------------------

is(run_as('alice', 'SELECT (SELECT count(*) FROM inbox.taken), (SELECT count(*) FROM inbox.refused), (SELECT count(*) FROM inbox.parts)'), "0|0|0\n", 'nothing was copied yet');
$node->append_conf('postgresql.conf', "max_sync_workers_per_subscription = 4\n");
my $log = -s $node->logfile;
$node->reload;
$other->safe_psql('postgres', 'UPDATE inbox.taken SET v = v || \'!\' WHERE id <= 10; UPDATE inbox.parts SET id = id + 1000 WHERE id <= 10; INSERT INTO inbox.refused VALUES (5000, \'x\'); INSERT INTO inbox.beside VALUES (5000, \'x\')');
ok($node->poll_query_until('postgres', q{SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = srsubid WHERE subname = 'loaded'}), 'initial copies of an authorized owner');
$other->wait_for_catchup('loaded');
is(run_as('alice', q{SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM inbox.taken t; SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM inbox.parts t}),
	$other->safe_psql('postgres', q{SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM inbox.taken t; SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM inbox.parts t}) . "\n", 'with changes, into a table and into partitions');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1001 FROM inbox.beside}), 'a superuser\'s subscription copies beside the realm');
$node->wait_for_log(qr/not authorized for realm "exchange"/, $log);
is(run_as('alice', 'SELECT count(*) FROM inbox.refused'), "0\n", 'and nothing into it');
like(run_as('postgres', 'SELECT srsubstate FROM pg_subscription_rel WHERE srrelid = \'inbox.refused\'::regclass'), qr/^[id]$/, 'which stays to be copied');
is(run_as('security', q{ALTER REALM exchange AUTHORIZE postgres}), "ALTER REALM\n", 'its owner is authorized');
ok($node->poll_query_until('postgres', q{SELECT srsubstate = 'r' FROM pg_subscription_rel WHERE srrelid = 'inbox.refused'::regclass}), 'it is copied');
is(run_as('alice', 'SELECT count(*) FROM inbox.refused'), "1001\n", 'whole');
$node->verify_ok('verify is clean');
done_testing();
