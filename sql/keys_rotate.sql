-- Rotation of master keys: what rotate_master_key takes, refuses and does.
-- The cluster has a default master key already; a new database has none.

\set SHOW_CONTEXT never
SELECT current_database() AS home \gset
CREATE DATABASE regress_rotate TEMPLATE template0;
\connect regress_rotate
CREATE EXTENSION tde_vault;
\t on
\pset format unaligned

CREATE TABLE r_one (id integer, v text) USING tde_heap;
INSERT INTO r_one SELECT g, md5(g::text) FROM generate_series(1, 100) g;
CREATE MATERIALIZED VIEW r_two USING tde_heap AS SELECT id FROM r_one;

-- what wraps the keys of this database, and how many of them
CREATE VIEW r_wraps AS
    SELECT m.key_id, m.database IS NULL AS clusters, m.state, count(*)
    FROM tde_vault.table_keys() k JOIN tde_vault.master_keys() m ON m.id = k.master_id
    WHERE k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY 1, 2, 3 ORDER BY 1;
CREATE VIEW r_masters AS
    SELECT state, version, key_id, rotated IS NULL AS newest FROM tde_vault.keys
    WHERE kind = 'master' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY version;
SELECT clusters, state, count FROM r_wraps;

-- it cannot be rolled back, so it is not part of a transaction
BEGIN;
CALL tde_vault.rotate_master_key('r_key_0');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
ALTER DATABASE ROTATE MASTER KEY KEY_ID 'r_key_0';
ROLLBACK;
SET default_transaction_read_only = on;
ALTER DATABASE ROTATE MASTER KEY KEY_ID 'r_key_0';
\echo :LAST_ERROR_SQLSTATE
RESET default_transaction_read_only;

-- another database
ALTER DATABASE regress_no_such_database ROTATE MASTER KEY KEY_ID 'r_key_0';
\echo :LAST_ERROR_SQLSTATE
ALTER DATABASE template1 ROTATE MASTER KEY KEY_ID 'r_key_0';
\echo :LAST_ERROR_SQLSTATE

-- key ids and providers
CALL tde_vault.rotate_master_key('');
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.rotate_master_key(repeat('k', 129));
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.rotate_master_key('r_key_0', 'kmip:host');
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.rotate_master_key('r_key_0', 'file:/nonexistent/mek.key');
\echo :LAST_ERROR_SQLSTATE

-- nothing of that has changed anything
SELECT clusters, state, count FROM r_wraps;
SELECT * FROM r_masters;

-- a database that used the cluster's gets a key of its own
ALTER DATABASE regress_rotate ROTATE MASTER KEY KEY_ID 'r_key_1';
SELECT * FROM r_wraps;
SELECT * FROM r_masters;

-- and from then on has it replaced
ALTER DATABASE ROTATE MASTER KEY KEY_ID 'r_key_1';
\echo :LAST_ERROR_SQLSTATE
ALTER DATABASE "regress_rotate" ROTATE MASTER KEY KEY_ID 'r_key_2';
SELECT * FROM r_wraps;
SELECT * FROM r_masters;
CREATE TABLE r_three (id integer) USING tde_heap;
SELECT * FROM r_wraps;

-- a name that was used is a key that was used
CALL tde_vault.rotate_master_key('r_key_1');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM r_masters;

-- without a name, one is made from the old; none runs any more
SET client_min_messages = warning;
CALL tde_vault.rotate_master_key();
ALTER DATABASE ROTATE MASTER KEY;
RESET client_min_messages;
SELECT state, version, regexp_replace(key_id, '\d{8}', 'DATE'), newest FROM r_masters;
SELECT state, count FROM r_wraps;
SELECT * FROM tde_vault.master_key_rotation();

-- the data is what it was
SELECT count(*), count(DISTINCT v) FROM r_one;
SELECT count(*) FROM r_two;
SELECT sum(bad) FROM tde_vault.verify('r_one');

-- only who may
CREATE ROLE regress_rotate_nobody;
CREATE ROLE regress_rotate_operator IN ROLE vault_operator;
SET ROLE regress_rotate_nobody;
CALL tde_vault.rotate_master_key('r_key_9');
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_rotate_operator;
SELECT count(*) FROM r_one;
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.rotate_master_key('r_key_9', 'file:/etc/passwd');
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.rotate_master_key('r_key_9');
RESET ROLE;
DROP ROLE regress_rotate_nobody, regress_rotate_operator;
SELECT * FROM r_wraps;

-- the master keys of a database that is dropped are not kept
SELECT count(*) FROM tde_vault.master_keys() WHERE key_id LIKE 'r\_key%';
SELECT oid AS gone FROM pg_database WHERE datname = current_database() \gset
\connect :home
DROP DATABASE regress_rotate;
CHECKPOINT;
SELECT count(*) FROM tde_vault.master_keys() WHERE database = :gone AND state <> 'retired';

-- a database that is to use a key of its own, and that was cut off on the way:
-- the same command takes what the cluster's key still wraps
CREATE DATABASE regress_rotate TEMPLATE template0;
\connect regress_rotate
CREATE EXTENSION tde_vault;
CREATE TABLE r_one (id integer) USING tde_heap;
INSERT INTO r_one VALUES (1);
CALL tde_vault.create_master_key('r_own');
SELECT m.database IS NULL AS clusters, count(*) > 0 FROM tde_vault.table_keys() k JOIN tde_vault.master_keys() m ON m.id = k.master_id
    WHERE k.database = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY 1;
ALTER DATABASE ROTATE MASTER KEY KEY_ID 'r_own';
SELECT m.key_id, count(*) > 0 FROM tde_vault.table_keys() k JOIN tde_vault.master_keys() m ON m.id = k.master_id
    WHERE k.database = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY 1;
ALTER DATABASE ROTATE MASTER KEY KEY_ID 'r_own';
SELECT id FROM r_one;
\connect :home
DROP DATABASE regress_rotate;
