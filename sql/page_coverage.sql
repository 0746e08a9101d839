-- Which relations are encrypted, and how one sees it.

\set SHOW_CONTEXT never
CREATE SCHEMA cov;
SET search_path = cov, public;
SET client_min_messages = warning;

-- a table with all that belongs to it
CREATE TABLE base (
    id bigserial PRIMARY KEY,
    n integer UNIQUE,
    p point,
    a integer[],
    r int4range,
    long text
) USING tde_heap;
CREATE INDEX base_hash ON base USING hash (n);
CREATE INDEX base_gist ON base USING gist (p);
CREATE INDEX base_spgist ON base USING spgist (p);
CREATE INDEX base_gin ON base USING gin (a);
CREATE INDEX base_brin ON base USING brin (n);
CREATE INDEX base_expression ON base ((n % 7)) WHERE n > 10;
CREATE INDEX CONCURRENTLY base_concurrently ON base (r);
ALTER TABLE base ALTER long SET STORAGE EXTERNAL;
INSERT INTO base (n, p, a, r, long)
    SELECT n, point(n, -n), ARRAY[n, n + 1], int4range(n, n + 5), repeat('long ', 1000)
    FROM generate_series(1, 200) n;

CREATE VIEW files AS
    SELECT CASE WHEN relkind = 't' THEN 'its TOAST table'
                WHEN relation::text LIKE 'pg_toast%' THEN 'index of its TOAST table'
                ELSE relation::text END AS relation,
           relkind, fork, tablespace, cipher, authenticated, key_version
    FROM tde_vault.encryption_status
    WHERE relation IN (SELECT tde_vault.relation_family('cov.base'::regclass) UNION SELECT 'cov.base_id_seq'::regclass);
SELECT * FROM files ORDER BY relation COLLATE "C", fork COLLATE "C";
SELECT count(DISTINCT key_id) AS keys FROM tde_vault.encryption_status
WHERE relation IN (SELECT tde_vault.relation_family('base'::regclass) UNION SELECT 'base_id_seq'::regclass);
SELECT tde_vault.is_encrypted('base'), tde_vault.is_encrypted('base_gin'),
       tde_vault.is_encrypted('base_id_seq');
DROP VIEW files;

-- verify reads the disk
CHECKPOINT;
SELECT count(*) AS files, sum(pages) > 40 AS has_pages, sum(pages) = sum(sealed) AS all_sealed,
       sum(unsealed) AS unsealed, sum(bad) AS bad
FROM tde_vault.verify('base');
SELECT relation, fork, pages, sealed, unsealed, bad FROM tde_vault.verify('base_n_key');

-- ways to make a table
SET default_table_access_method = tde_heap;
CREATE TABLE made_as AS SELECT n FROM generate_series(1, 10) n;
SELECT n INTO made_into FROM generate_series(1, 10) n;
CREATE TABLE made_like (LIKE base INCLUDING ALL);
CREATE TABLE made_inherits (extra integer) INHERITS (made_as);
CREATE TYPE composite AS (id integer, t text);
CREATE TABLE made_of OF composite;
CREATE MATERIALIZED VIEW made_matview AS SELECT n FROM made_as;
CREATE UNIQUE INDEX ON made_matview (n);
REFRESH MATERIALIZED VIEW CONCURRENTLY made_matview;
REFRESH MATERIALIZED VIEW made_matview;
CREATE UNLOGGED TABLE made_unlogged (id integer PRIMARY KEY);
CREATE TEMPORARY TABLE made_temp (id integer PRIMARY KEY);
RESET default_table_access_method;
SELECT c.relname, tde_vault.is_encrypted(c.oid)
FROM pg_class c
WHERE c.relname LIKE 'made%' AND c.relkind IN ('r', 'm') ORDER BY c.relname COLLATE "C";

-- partitions: each has an access method of its own
CREATE TABLE parted (id integer, t text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100) USING tde_heap;
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100) TO (200) USING tde_heap;
INSERT INTO parted SELECT n, 'row ' || n FROM generate_series(0, 199) n;
SELECT tde_vault.is_encrypted('parted') AS all_encrypted;
CREATE TABLE parted_3 PARTITION OF parted FOR VALUES FROM (200) TO (300) USING heap;
SELECT tde_vault.is_encrypted('parted') AS one_is_not;
SELECT relation, sum(unsealed) AS unsealed FROM tde_vault.verify('parted')
WHERE relation::text !~ '^pg_toast' GROUP BY relation
ORDER BY relation::text COLLATE "C";
DROP TABLE parted;

-- plaintext, and why
CREATE TABLE plain (id serial PRIMARY KEY, long text);
INSERT INTO plain (long) VALUES ('x');
CREATE SEQUENCE nobodys;
SELECT CASE WHEN relation::text ~ '^pg_toast' THEN 'TOAST' ELSE relation::text END AS relation,
       f.relkind, fork, tablespace,
       regexp_replace(path, '[0-9]+', 'N', 'g') AS path,
       regexp_replace(reason, 'pg_toast_[0-9]+', 'N') AS reason
FROM tde_vault.plaintext_files f JOIN pg_class c ON c.oid = f.relation
WHERE c.oid IN ('plain'::regclass, 'plain_pkey'::regclass, 'plain_id_seq'::regclass, 'nobodys'::regclass)
    OR c.oid IN (SELECT tde_vault.relation_family('plain'::regclass))
ORDER BY reason COLLATE "C", f.relkind, f.relation::text COLLATE "C";
SELECT count(*) > 60 AS catalogs FROM tde_vault.plaintext_files WHERE reason = 'system catalog';
SELECT tde_vault.is_encrypted('plain'), tde_vault.is_encrypted('pg_class');

-- there and back
ALTER TABLE plain SET ACCESS METHOD tde_heap;
SELECT tde_vault.is_encrypted('plain'), tde_vault.is_encrypted('plain_id_seq');
SELECT nextval('plain_id_seq');
ALTER TABLE plain SET ACCESS METHOD heap;
SELECT tde_vault.is_encrypted('plain'), count(*) AS plaintext_files
FROM tde_vault.plaintext_files WHERE relation IN ('plain'::regclass, 'plain_pkey'::regclass);
SELECT * FROM plain;

-- what has no files
CREATE VIEW no_files AS SELECT 1;
SELECT tde_vault.is_encrypted('no_files');
SELECT * FROM tde_vault.verify('no_files');
SELECT tde_vault.is_encrypted(NULL);
SELECT tde_vault.is_encrypted('no_such_relation');

DROP SCHEMA cov CASCADE;
