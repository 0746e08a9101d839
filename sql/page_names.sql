-- The server names the transient table of a rewrite pg_temp_<oid>.  A name alone
-- gives no access to another table's key.

\set SHOW_CONTEXT never
CREATE ROLE regress_names_thief;
CREATE SCHEMA regress_names_thief AUTHORIZATION regress_names_thief;
CREATE TABLE names_victim (id int PRIMARY KEY, v text) USING tde_heap;
INSERT INTO names_victim SELECT g, 'row ' || g FROM generate_series(1, 10) g;
CREATE VIEW names_keys AS
    SELECT relation::text AS relation, key_id FROM tde_vault.encryption_status WHERE fork = 'main';
SELECT 'names_victim'::regclass::oid AS victim \gset

-- anybody's table, with its own TOAST table and index
SET SESSION AUTHORIZATION regress_names_thief;
CREATE TABLE regress_names_thief.pg_temp_:victim (id int PRIMARY KEY, v text) USING tde_heap;
INSERT INTO regress_names_thief.pg_temp_:victim VALUES (1, 'x');
RESET SESSION AUTHORIZATION;
-- the owner's own
CREATE TABLE pg_temp_:victim (id int PRIMARY KEY, v text) USING tde_heap;
CREATE MATERIALIZED VIEW pg_temp_0:victim USING tde_heap AS SELECT 1 AS x;
SELECT count(DISTINCT key_id) AS keys, count(*) > 3 AS files FROM tde_vault.encryption_status
WHERE relation IN ('names_victim'::regclass, ('pg_temp_' || :victim)::regclass,
    ('regress_names_thief.pg_temp_' || :victim)::regclass, ('pg_temp_0' || :victim)::regclass);

-- with their TOAST tables and indexes
SELECT count(DISTINCT key_id) AS keys FROM tde_vault.encryption_status
WHERE relation IN (SELECT tde_vault.relation_family('names_victim')
    UNION ALL SELECT tde_vault.relation_family(('pg_temp_' || :victim)::regclass::oid::regclass));

-- what a drop of the impostors does not touch
DROP TABLE pg_temp_:victim, regress_names_thief.pg_temp_:victim;
DROP MATERIALIZED VIEW pg_temp_0:victim;
CHECKPOINT;
SELECT count(*), min(v) FROM names_victim;

-- and a rewrite keeps its key
SELECT key_id AS before FROM names_keys WHERE relation = 'names_victim' \gset
VACUUM FULL names_victim;
ALTER TABLE names_victim ALTER id TYPE bigint;
CLUSTER names_victim USING names_victim_pkey;
SELECT key_id = :'before' AS same FROM names_keys WHERE relation = 'names_victim';
DROP VIEW names_keys;
DROP TABLE names_victim;
DROP SCHEMA regress_names_thief;
DROP ROLE regress_names_thief;
