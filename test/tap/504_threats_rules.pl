# Command rules judge what a statement does to which object, never how it is
# written.  Each rule meets every disguise of its statement, and leaves alone
# what it is not about.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE ROLE dba SUPERUSER LOGIN;
CREATE ROLE carol LOGIN SUPERUSER;
CREATE SCHEMA app;
CREATE TABLE app.orders (id int PRIMARY KEY, customer text, amount int);
CREATE TABLE app.other (id int PRIMARY KEY, v text);
CREATE TABLE app.parts (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM (0) TO (100);
CREATE TABLE app.parent (id int);
CREATE TABLE app.kid () INHERITS (app.parent);
CREATE TABLE app.ref (id int REFERENCES app.orders ON DELETE CASCADE);
CREATE VIEW app.v AS SELECT * FROM app.orders;
CREATE SCHEMA archive;
CREATE TABLE archive.old (id int);
CREATE FUNCTION app.deletes() RETURNS bigint LANGUAGE sql AS 'DELETE FROM app.orders; SELECT 1::bigint';
CREATE FUNCTION app.deletes_dynamically(t text) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'DELETE FROM ' || t; END$$;
CREATE PROCEDURE app.deletes_too() LANGUAGE plpgsql AS 'BEGIN DELETE FROM app.orders; END';
CREATE FUNCTION app.on_other() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM app.orders; RETURN NEW; END';
CREATE TRIGGER t AFTER INSERT ON app.other FOR EACH ROW EXECUTE FUNCTION app.on_other();
CREATE TABLE app.ruled (id int);
CREATE RULE r AS ON INSERT TO app.ruled DO ALSO DELETE FROM app.orders;
INSERT INTO app.orders VALUES (1, 'one', 1), (2, 'two', 2);
INSERT INTO app.parts VALUES (1, 'x');
GRANT USAGE ON SCHEMA app, archive TO security;
SQL

unlike(run_as('security', <<'SQL'), qr/ERROR/, 'the rules are made');
CALL tde_vault.create_command_rule('no_delete', ARRAY['DELETE'], 'table', 'app.orders', ARRAY['dba'], NULL, 'orders are kept');
CALL tde_vault.create_command_rule('no_part', ARRAY['UPDATE', 'DELETE', 'INSERT'], 'table', 'app.parts_1', ARRAY['dba'], NULL, 'parts are kept');
CALL tde_vault.create_command_rule('no_parent', ARRAY['SELECT'], 'table', 'app.kid', ARRAY['dba'], NULL, 'kids are private');
CALL tde_vault.create_command_rule('no_customer', ARRAY['SELECT', 'COPY'], 'column', 'app.orders.customer', ARRAY['dba'], NULL, 'customers are private');
CALL tde_vault.create_command_rule('no_ddl', ARRAY['ALTER', 'DROP', 'GRANT', 'TRUNCATE', 'COPY'], 'schema', 'archive', ARRAY['dba'], NULL, 'the archive stays');
SQL

my $dba = sub { my ($sql) = @_; return run_as('dba', $sql); };
sub denied { my ($text, @list) = @_; like($dba->("$_;"), qr/\Q$text\E/, "denied: $_") foreach @list; return; }
sub allowed { unlike($dba->("$_;"), qr/ERROR/, "allowed: $_") foreach @_; return; }

# --- DELETE, in every disguise ---
denied('orders are kept',
	'DELETE FROM app.orders', 'DELETE FROM ONLY app.orders', 'DELETE FROM app.orders WHERE false',
	'DELETE FROM app.orders o USING app.other x WHERE o.id = x.id',
	'WITH d AS (DELETE FROM app.orders RETURNING id) SELECT count(*) FROM d',
	'WITH d AS (DELETE FROM app.orders) SELECT 1',
	'WITH d AS (DELETE FROM app.orders RETURNING id) INSERT INTO app.other SELECT id FROM d',
	'EXPLAIN ANALYZE DELETE FROM app.orders', 'EXPLAIN (ANALYZE, COSTS OFF) WITH d AS (DELETE FROM app.orders) SELECT 1',
	'COPY (DELETE FROM app.orders RETURNING id) TO STDOUT',
	'MERGE INTO app.orders o USING app.other x ON o.id = x.id WHEN MATCHED THEN DELETE',
	'MERGE INTO app.orders o USING app.other x ON o.id = x.id WHEN MATCHED AND false THEN DELETE WHEN NOT MATCHED THEN DO NOTHING',
	'PREPARE p AS DELETE FROM app.orders; EXECUTE p', 'PREPARE p AS DELETE FROM app.orders; EXPLAIN ANALYZE EXECUTE p',
	'DO $$BEGIN DELETE FROM app.orders; END$$', 'DO $$BEGIN EXECUTE \'del\' || \'ete from app.orders\'; END$$',
	'SELECT app.deletes()', 'SELECT app.deletes_dynamically(\'app.orders\')', 'CALL app.deletes_too()',
	'INSERT INTO app.other VALUES (9)', 'INSERT INTO app.ruled VALUES (1)',
	'DELETE FROM app.v', 'SET search_path = app; DELETE FROM orders', '/* SELECT */ dElEtE FROM "app"."orders"',
	'SELECT 1; DELETE FROM app.orders', 'CREATE TEMP TABLE x AS WITH q AS (SELECT 1) SELECT 1; DELETE FROM app.orders',
	'BEGIN; SET ROLE carol; DELETE FROM app.orders; ROLLBACK', 'SET SESSION AUTHORIZATION carol; DELETE FROM app.orders',
	# what DELETE means, too
	'TRUNCATE app.orders CASCADE', 'TRUNCATE app.other, app.orders, app.ref', 'DROP TABLE app.orders CASCADE',
	'CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql AS \'DELETE FROM app.orders\'; SELECT pg_temp.f()',
	'DO $$BEGIN TRUNCATE app.orders CASCADE; END$$');
like($dba->('DROP SCHEMA app CASCADE;'), qr/are kept/, 'denied: DROP SCHEMA');
like(run_as('postgres', 'SELECT count(*) FROM app.orders;'), qr/^2$/m, 'nothing was deleted');
allowed('SELECT id FROM app.orders', 'SELECT count(*) FROM app.orders', 'UPDATE app.orders SET amount = 3', 'INSERT INTO app.orders (id) VALUES (3)',
	'SELECT id FROM app.orders FOR UPDATE', 'DELETE FROM app.other', 'EXPLAIN SELECT id FROM app.orders',
	'WITH d AS (UPDATE app.orders SET amount = 4 RETURNING id) SELECT * FROM d',
	'MERGE INTO app.orders o USING app.other x ON o.id = x.id WHEN MATCHED THEN UPDATE SET amount = 1',
	'CREATE TABLE app.delete_from_orders (i int)', q{SELECT 'DELETE FROM app.orders'}, 'CREATE INDEX ON app.orders (amount)');
unlike(run_as('carol', 'BEGIN; DELETE FROM app.orders; ROLLBACK;'), qr/ERROR/, 'another role is not concerned');

# --- partitions and children ---
denied('parts are kept', 'DELETE FROM app.parts', 'UPDATE app.parts SET v = 1', 'DELETE FROM app.parts_1', 'UPDATE app.parts SET v = 1 WHERE id = 1',
	'WITH d AS (DELETE FROM app.parts RETURNING *) SELECT * FROM d');
allowed('SELECT * FROM app.parts', 'SELECT * FROM app.parts FOR UPDATE');
denied('kids are private', 'SELECT * FROM app.parent', 'SELECT * FROM app.kid', 'TABLE app.parent');
allowed('SELECT * FROM ONLY app.parent');

# --- columns ---
denied('customers are private', 'SELECT customer FROM app.orders', 'SELECT * FROM app.orders', 'TABLE app.orders', 'SELECT o FROM app.orders o',
	q{SELECT id FROM app.orders WHERE customer LIKE 'o%'}, 'SELECT id FROM app.orders ORDER BY customer', 'COPY app.orders TO STDOUT',
	'COPY app.orders (customer) TO STDOUT', 'SELECT customer FROM app.v', 'UPDATE app.orders SET amount = length(customer)',
	'UPDATE app.orders SET amount = 1 RETURNING *', 'SELECT count(customer) FROM app.orders', 'SELECT row_to_json(o) FROM app.orders o',
	'SELECT o.id FROM app.orders o JOIN app.other x ON x.v = o.customer', 'CREATE TABLE app.x AS SELECT customer FROM app.orders');
allowed('SELECT id, amount FROM app.orders', 'COPY app.orders (id, amount) TO STDOUT', 'COPY (SELECT id FROM app.orders) TO STDOUT', 'SELECT count(*) FROM app.orders',
	'UPDATE app.orders SET amount = 9 WHERE id = 1 RETURNING id');

# --- other statements ---
denied('the archive stays', 'ALTER TABLE archive.old ADD COLUMN x int', 'ALTER TABLE archive.old RENAME TO older', 'DROP TABLE archive.old', 'TRUNCATE archive.old',
	'GRANT SELECT ON archive.old TO PUBLIC', 'COPY archive.old TO STDOUT', 'CREATE TABLE app.y AS TABLE archive.old', 'CREATE INDEX ON archive.old (id)',
	'DROP SCHEMA archive CASCADE', 'GRANT SELECT ON ALL TABLES IN SCHEMA archive TO PUBLIC', 'COMMENT ON TABLE archive.old IS $$x$$', 'ALTER SCHEMA archive RENAME TO a',
	'DO $$BEGIN EXECUTE \'ALTER TABLE archive.old ADD y int\'; END$$', 'CREATE RULE r AS ON INSERT TO archive.old DO NOTHING', 'LOCK archive.old');
allowed('SELECT * FROM archive.old', 'INSERT INTO archive.old VALUES (1)', 'DELETE FROM archive.old');

# --- a condition means the same whatever a session has set ---
foreach my $condition (q{length('\\d') = 2}, q{(client_addr = NULL) IS NULL}, q{cardinality('{NULL}'::text[]) = 1 AND '{NULL}'::text[] = ARRAY[NULL::text]})
{
	my $rule = $condition =~ s/'/''/gr;

	run_as('security', "CALL tde_vault.create_command_rule('hours', ARRAY['SELECT'], 'table', 'app.other', ARRAY['dba'], '$rule', 'not now');");
	denied('not now', map { "${_}SELECT * FROM app.other" }
		  '', 'SET standard_conforming_strings = off; ', 'SET transform_null_equals = on; ', 'SET array_nulls = off; ', 'SET backslash_quote = off; ');
	run_as('security', q{CALL tde_vault.drop_command_rule('hours');});
}
allowed('SELECT * FROM app.other');

# --- modes ---
run_as('security', q{CALL tde_vault.alter_command_rule('no_delete', 'simulate');});
unlike($dba->('BEGIN; DELETE FROM app.orders; ROLLBACK;'), qr/ERROR/, 'simulated: nothing is refused');
run_as('security', q{CALL tde_vault.alter_command_rule('no_delete', 'enable');});
denied('orders are kept', 'DELETE FROM app.orders');
run_as('security', q{CALL tde_vault.drop_command_rule('no_delete');});
allowed('BEGIN; DELETE FROM app.orders; ROLLBACK');

$node->stop;
done_testing();
