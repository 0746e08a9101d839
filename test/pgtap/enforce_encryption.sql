-- tde_vault.enforce_encryption refuses permanent tables that are not
-- encrypted, on every path that makes one, and nothing else.
BEGIN;
SELECT no_plan();
CREATE TABLE before (id int) USING heap;
CREATE TABLE source USING tde_heap AS SELECT 1 AS id, 'x'::text AS v;
CREATE TYPE row_type AS (id int, v text);
CREATE TABLE parent (id int) PARTITION BY RANGE (id);
SET tde_vault.enforce_encryption = on;

CREATE FUNCTION pg_temp.refused(statement text) RETURNS SETOF text LANGUAGE sql AS
$$SELECT throws_ok(statement, 'TV007', NULL, 'refused: ' || statement)$$;
CREATE FUNCTION pg_temp.allowed(statement text) RETURNS SETOF text LANGUAGE sql AS
$$SELECT lives_ok(statement, 'allowed: ' || statement)$$;

SELECT pg_temp.refused(s) FROM unnest(ARRAY[
	'CREATE TABLE t (id int) USING heap',
	'CREATE TABLE t (id int)',
	'CREATE TABLE t USING heap AS SELECT 1 AS id',
	'CREATE TABLE t AS SELECT 1 AS id',
	'SELECT 1 AS id INTO t',
	'CREATE TABLE t (LIKE source INCLUDING ALL)',
	'CREATE TABLE t OF row_type',
	'CREATE TABLE t () INHERITS (source)',
	'CREATE TABLE t PARTITION OF parent DEFAULT',
	'CREATE MATERIALIZED VIEW t AS SELECT 1 AS id',
	'CREATE UNLOGGED TABLE t (id int)',
	'CREATE SCHEMA s CREATE TABLE t (id int)',
	'ALTER TABLE source SET ACCESS METHOD heap',
	'DO $do$BEGIN CREATE TABLE t2 (id int); END$do$']) s;

SELECT pg_temp.allowed(s) FROM unnest(ARRAY[
	'CREATE TABLE a1 (id serial PRIMARY KEY, v text) USING tde_heap',
	'CREATE TABLE a2 USING tde_heap AS SELECT 1 AS id',
	'CREATE TABLE a3 PARTITION OF parent DEFAULT USING tde_heap',
	'CREATE MATERIALIZED VIEW a4 USING tde_heap AS SELECT 1 AS id',
	'CREATE TEMP TABLE a5 (id int) USING heap',
	'CREATE VIEW a6 AS SELECT 1 AS x',
	'CREATE TABLE a7 (id int) PARTITION BY RANGE (id)',
	'INSERT INTO before VALUES (1)',
	'CREATE INDEX ON before (id)',
	'TRUNCATE before',
	'ALTER TABLE before ALTER id TYPE bigint',
	'ALTER TABLE before SET ACCESS METHOD tde_heap',
	'SET default_table_access_method = tde_heap; CREATE TABLE a8 (id int)']) s;
SELECT is(tde_vault.is_encrypted('a8'), true, 'and the last one is encrypted');
SELECT is(tde_vault.is_encrypted('before'), true, 'and so is the one from before');
SELECT is(tde_vault.is_encrypted('source'), true, 'and the one that should have been changed to heap');

SELECT * FROM finish();
ROLLBACK;
