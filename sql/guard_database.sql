-- Databases that hold encrypted tables: copying, moving, dropping.

\set SHOW_CONTEXT never
SELECT current_database() AS home \gset
CREATE DATABASE regress_source TEMPLATE template0;
\connect regress_source
SET client_min_messages = warning;
CREATE EXTENSION tde_vault;
CREATE TABLE sealed (id serial PRIMARY KEY, t text) USING tde_heap;
INSERT INTO sealed (t) SELECT 'row ' || n FROM generate_series(1, 1000) n;
CREATE TABLE empty (id integer) USING tde_heap;
CREATE TABLE plain (id integer);
INSERT INTO plain VALUES (1);
\connect :home

-- file by file it cannot be copied or moved
CREATE DATABASE regress_copy TEMPLATE regress_source STRATEGY file_copy;
\echo :LAST_ERROR_SQLSTATE
ALTER DATABASE regress_source SET TABLESPACE pg_default;
\echo :LAST_ERROR_SQLSTATE
-- a database without encrypted tables can
CREATE DATABASE regress_copy TEMPLATE template0 STRATEGY file_copy;
DROP DATABASE regress_copy;

-- through the log it can, and the copy has keys of its own
CREATE DATABASE regress_copy TEMPLATE regress_source;
\connect regress_copy
SELECT count(*), min(t), max(id), nextval('sealed_id_seq') FROM sealed;
SELECT tde_vault.is_encrypted('sealed') AS sealed, tde_vault.is_encrypted('empty') AS empty,
       tde_vault.is_encrypted('sealed_id_seq') AS sequence, tde_vault.is_encrypted('plain') AS plain;
INSERT INTO empty VALUES (1);
INSERT INTO sealed (t) VALUES ('new');
CHECKPOINT;
SELECT sum(pages) > 0 AS pages, sum(unsealed) AS unsealed, sum(bad) AS bad
FROM pg_class c, tde_vault.verify(c.oid) v WHERE c.relname IN ('sealed', 'empty');
SELECT count(DISTINCT database) AS databases, count(DISTINCT id) AS keys
FROM tde_vault.table_keys() WHERE database IN (SELECT oid FROM pg_database WHERE datname LIKE 'regress%');
\connect :home

-- keys go with their database
SELECT oid AS copy FROM pg_database WHERE datname = 'regress_copy' \gset
DROP DATABASE regress_copy;
SELECT coalesce(sum(files), 0) AS files FROM tde_vault.table_keys() WHERE database = :copy;
DROP DATABASE regress_source;
