-- tde_vault.enforce_encryption: no new table in plaintext, temporary ones excepted.

\set SHOW_CONTEXT never
CREATE TABLE before_enforcing (id integer);
CREATE TABLE sealed_before (id integer) USING tde_heap;
SET tde_vault.enforce_encryption = on;

CREATE TABLE refused (id integer);
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE refused AS SELECT 1;
CREATE MATERIALIZED VIEW refused AS SELECT 1;
SELECT 1 AS one INTO refused;
CREATE UNLOGGED TABLE refused (id integer);
CREATE TEMPORARY TABLE temporary_is_allowed (id integer);
ALTER TABLE sealed_before SET ACCESS METHOD heap;
\echo :LAST_ERROR_SQLSTATE

-- allowed
CREATE TABLE allowed (id integer PRIMARY KEY, t text) USING tde_heap;
SET default_table_access_method = tde_heap;
CREATE TABLE allowed_by_default (LIKE allowed);
CREATE TABLE allowed_parted (id integer) PARTITION BY HASH (id);
CREATE TABLE allowed_part PARTITION OF allowed_parted FOR VALUES WITH (MODULUS 1, REMAINDER 0);
RESET default_table_access_method;
CREATE TABLE refused_part PARTITION OF allowed_parted DEFAULT;
CREATE VIEW allowed_view AS SELECT 1;

-- what was there stays usable, rewrites included
INSERT INTO before_enforcing VALUES (1);
ALTER TABLE before_enforcing ALTER id TYPE bigint;
VACUUM FULL before_enforcing;
ALTER TABLE before_enforcing SET ACCESS METHOD tde_heap;
SELECT tde_vault.is_encrypted('before_enforcing');

RESET tde_vault.enforce_encryption;
DROP VIEW allowed_view;
DROP TABLE before_enforcing, sealed_before,
    temporary_is_allowed, allowed, allowed_by_default, allowed_parted;

-- plaintext that is not yet in the log does not get there
CREATE UNLOGGED TABLE unlogged_plain (id serial PRIMARY KEY);
CREATE UNLOGGED TABLE unlogged_sealed (id serial PRIMARY KEY) USING tde_heap;
SET tde_vault.enforce_encryption = on;
ALTER TABLE unlogged_plain SET LOGGED;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE IF EXISTS nowhere SET LOGGED;
ALTER TABLE unlogged_plain SET LOGGED, SET ACCESS METHOD tde_heap;
ALTER TABLE unlogged_sealed SET LOGGED;
ALTER TABLE unlogged_sealed SET UNLOGGED;
ALTER TABLE unlogged_sealed SET LOGGED, SET ACCESS METHOD heap;
SELECT relname, relpersistence, tde_vault.is_encrypted(oid) FROM pg_class
WHERE relname LIKE 'unlogged%' AND relkind = 'r' ORDER BY 1;
RESET tde_vault.enforce_encryption;
DROP TABLE unlogged_plain, unlogged_sealed;
