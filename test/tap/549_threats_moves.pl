# Out of a realm by moving: schemas that are in a realm, their tables renamed,
# moved, inherited, attached, taken along by an extension; and into it, by the
# first copy of a subscription.  More of rows 5, 6, 7 and 18 of the list of
# threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	conf => "wal_level = logical\nmax_replication_slots = 8\nmax_wal_senders = 8\nwal_retrieve_retry_interval = 200\n",
	sql => <<'SQL');
CREATE DATABASE publisher;
CREATE ROLE subscriber SUPERUSER LOGIN;
GRANT CREATE ON DATABASE postgres TO alice;
CREATE SCHEMA vaulted AUTHORIZATION owner;
GRANT ALL ON SCHEMA vaulted TO alice;
CREATE SCHEMA elsewhere AUTHORIZATION owner;
SET ROLE owner;
CREATE TABLE vaulted.t (id serial PRIMARY KEY, v text) USING tde_heap;
INSERT INTO vaulted.t (v) SELECT 'qmarker7kx2vw9' || g FROM generate_series(1, 5) g;
CREATE TABLE vaulted.parent (id int, v text) PARTITION BY LIST (id);
CREATE TABLE vaulted.part PARTITION OF vaulted.parent FOR VALUES IN (1) USING tde_heap;
INSERT INTO vaulted.parent VALUES (1, 'qmarker7kx2vw9');
CREATE MATERIALIZED VIEW vaulted.mv USING tde_heap AS SELECT * FROM vaulted.t;
CREATE TABLE vaulted.of_extension (v text) USING tde_heap;
INSERT INTO vaulted.of_extension VALUES ('qmarker7kx2vw9');
CREATE TYPE public.row_type AS (id int, v text);
CREATE TABLE public.empty_parent (id int, v text) PARTITION BY LIST (id);
CREATE TABLE public.like_t (id int NOT NULL, v text);
RESET ROLE;
SET ROLE alice;
CREATE EXTENSION tcn SCHEMA vaulted;
RESET ROLE;
-- an extension of tables alone
ALTER EXTENSION tcn DROP FUNCTION vaulted.triggered_change_notification();
DROP FUNCTION vaulted.triggered_change_notification();
ALTER EXTENSION tcn ADD TABLE vaulted.of_extension;
ALTER TABLE vaulted.of_extension OWNER TO alice;
SQL
like(run_as('security', 'ALTER REALM pii ADD SCHEMA vaulted;'), qr/^ALTER REALM$/m, 'a schema is in the realm');

# --- by who may not --------------------------------------------------------------------------

attack_each("6: $_", "$_;")
  foreach (
	'SELECT * FROM vaulted.t', 'TABLE vaulted.mv', 'TABLE vaulted.of_extension',
	'ALTER TABLE vaulted.t SET SCHEMA elsewhere', 'ALTER TABLE IF EXISTS vaulted.part SET SCHEMA elsewhere', 'ALTER MATERIALIZED VIEW vaulted.mv SET SCHEMA elsewhere',
	'ALTER TABLE vaulted.mv SET SCHEMA elsewhere', 'ALTER SEQUENCE vaulted.t_id_seq SET SCHEMA elsewhere',
	'ALTER SCHEMA vaulted RENAME TO harmless', 'ALTER SCHEMA vaulted OWNER TO CURRENT_USER', 'DROP SCHEMA vaulted CASCADE',
	'ALTER TABLE vaulted.t RENAME TO harmless', 'ALTER TABLE vaulted.t INHERIT public.like_t', 'ALTER TABLE public.like_t INHERIT vaulted.t',
	'ALTER TABLE public.empty_parent ATTACH PARTITION vaulted.t FOR VALUES IN (7)', 'ALTER TABLE vaulted.parent ATTACH PARTITION public.like_t FOR VALUES IN (8)',
	'ALTER TABLE vaulted.parent DETACH PARTITION vaulted.part', 'ALTER TABLE vaulted.t OF public.row_type', 'ALTER TABLE public.like_t SET SCHEMA vaulted',
	'CREATE TABLE elsewhere.child () INHERITS (vaulted.t)', q{CREATE TABLE elsewhere.np PARTITION OF vaulted.parent FOR VALUES IN (2)},
	'ALTER EXTENSION tcn ADD TABLE vaulted.t', 'ALTER EXTENSION tcn DROP TABLE vaulted.of_extension', 'ALTER EXTENSION tcn ADD SCHEMA vaulted',
	q{DO $$BEGIN EXECUTE 'ALTER TABLE vaulted.t SET ' || 'SCHEMA elsewhere'; END$$});
attack('6: an extension takes its table along', $_, 'ALTER EXTENSION tcn SET SCHEMA elsewhere;', qr/TV036: vaulted\.of_extension would leave realm "pii"/) foreach qw(mallory alice);
attack("6: an extension is dropped with its table: $_", $_, 'DROP EXTENSION tcn CASCADE;', REFUSED) foreach qw(mallory alice);

# --- by who may change the tables, unlocked ---------------------------------------------------

my $leaves = qr/TV036: vaulted\.\w+ would leave realm "pii"/;
like(run_as('alice', UNLOCK . "$_;"), $leaves, "6: alice, unlocked: $_")
  foreach (
	'ALTER TABLE vaulted.t SET SCHEMA elsewhere', 'ALTER MATERIALIZED VIEW vaulted.mv SET SCHEMA elsewhere', 'ALTER EXTENSION tcn SET SCHEMA elsewhere', q{DO $$BEGIN ALTER EXTENSION tcn SET SCHEMA elsewhere; END$$});
control('6: a partition may move: its parent protects it', 'ALTER TABLE vaulted.part SET SCHEMA elsewhere;', qr/^ALTER TABLE$/m);
attack_each('6: still', 'SELECT * FROM elsewhere.part;');
like(run_as('alice', UNLOCK . 'ALTER EXTENSION tcn ADD TABLE vaulted.t;'), qr/TV036: ALTER EXTENSION ADD and DROP is refused/, '6: alice, unlocked: ADD TABLE');
control('6: a schema renamed is the same schema', 'ALTER SCHEMA vaulted RENAME TO renamed;', qr/ALTER SCHEMA/);
$node->safe_psql('postgres', 'CREATE SCHEMA vaulted; GRANT ALL ON SCHEMA vaulted TO owner, alice');
attack_each('6: the realm goes with it', 'SELECT * FROM renamed.t;');
attack_each('6: what is made in its old name reads nothing', 'CREATE TABLE vaulted.t AS SELECT * FROM renamed.t;');
control('6: renamed back', 'DROP SCHEMA vaulted; ALTER SCHEMA renamed RENAME TO vaulted;', qr/ALTER SCHEMA|must be owner/);
run_as('postgres', 'DROP SCHEMA vaulted;');
control('6: renamed back', 'ALTER SCHEMA renamed RENAME TO vaulted;', qr/ALTER SCHEMA/) if $node->safe_psql('postgres', q{SELECT to_regnamespace('vaulted') IS NULL}) eq 't';
like(run_as('alice', UNLOCK . 'ALTER TABLE public.like_t SET SCHEMA vaulted;'), qr/cannot be in a realm: it is not a tde_heap table/, '6: a plain table does not come in');
like(run_as('security', q{ALTER REALM pii ADD TABLE vaulted.t;}), qr/^ALTER REALM$/m, 'a table is put into the realm itself');
control('6: then it may move', 'ALTER TABLE vaulted.t SET SCHEMA elsewhere;', qr/ALTER TABLE/);
attack_each('6: and is protected still', 'SELECT * FROM elsewhere.t;');
control('nothing is gone', 'SELECT count(*), (SELECT count(*) FROM vaulted.parent), (SELECT count(*) FROM vaulted.of_extension) FROM elsewhere.t;', qr/^5\|1\|1$/m);

# --- 18: the first copy of a subscription ------------------------------------------------------

# It waits for a lock while the vault is switched on.
run_as('security', 'ALTER DATABASE DISABLE DATABASE VAULT;');
$node->safe_psql('publisher', q{CREATE SCHEMA secret; CREATE TABLE secret.small (id int PRIMARY KEY, v text); INSERT INTO secret.small SELECT g, 'copied' FROM generate_series(500, 509) g; CREATE PUBLICATION p FOR ALL TABLES; SELECT pg_create_logical_replication_slot('sub', 'pgoutput')});
my $holds = $node->background_psql('postgres');
$holds->query_safe('BEGIN');
$holds->query_safe('LOCK TABLE secret.small IN SHARE MODE');
$node->safe_psql('postgres', q{CREATE SUBSCRIPTION sub CONNECTION '} . ($node->connstr('publisher') =~ s{'}{''}gr) . q{' PUBLICATION p WITH (create_slot = false, slot_name = 'sub')}, extra_params => [ '-U', 'subscriber' ]);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE relation = 'secret.small'::regclass AND mode = 'RowExclusiveLock' AND NOT granted}), '18: the copy waits');
run_as('security', 'ALTER DATABASE ENABLE DATABASE VAULT;');
my $from = -s $node->logfile;
$holds->query_safe('COMMIT');
$holds->quit;
$node->wait_for_log(qr/not authorized for realm "pii"/, $from);
my $rows = UNLOCK . 'SELECT count(*), count(*) FILTER (WHERE id >= 500) FROM secret.small;';
like(run_as('alice', $rows), qr/^1\|0$/m, '18: nothing is copied into the realm, by a superuser\'s subscription');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_subscription_rel WHERE srsubstate IN ('f', 's', 'r')}), 0, '18: nor is it done');
attack_each("18: $_", "$_;")
  foreach ('ALTER SUBSCRIPTION sub REFRESH PUBLICATION', 'ALTER SUBSCRIPTION sub DISABLE', 'ALTER SUBSCRIPTION sub SET PUBLICATION p', q{CREATE SUBSCRIPTION mine CONNECTION 'dbname=publisher' PUBLICATION p WITH (create_slot = false, slot_name = 'sub')});
# an owner who is authorized
like(run_as('security', 'ALTER REALM pii AUTHORIZE subscriber;'), qr/ALTER REALM/, 'the owner of the subscription is authorized');
ok($node->poll_query_until('postgres', q{SELECT srsubstate = 'r' FROM pg_subscription_rel WHERE srrelid = 'secret.small'::regclass}), '18: then it is copied');
like(run_as('alice', $rows), qr/^11\|10$/m, '18: all of it');
attack('18: which opens nothing to that owner', 'subscriber', 'SELECT * FROM secret.small;', qr/TV030: vault password required/);

$node->stop;
done_testing();
