-- Sequences follow the table that owns them.

\set SHOW_CONTEXT never
CREATE TABLE seq_serial (id serial, t text) USING tde_heap;
CREATE TABLE seq_identity (id bigint GENERATED ALWAYS AS IDENTITY (START 100), t text) USING tde_heap;
CREATE TABLE seq_plain (id serial);
CREATE SEQUENCE seq_free START 5;
CREATE VIEW seqs AS
    SELECT c.relname, tde_vault.is_encrypted(c.oid)
    FROM pg_class c WHERE c.relkind = 'S' AND c.relname LIKE 'seq%'
    ORDER BY c.relname COLLATE "C";
SELECT * FROM seqs;

INSERT INTO seq_serial (t) VALUES ('a'), ('b') RETURNING id;
INSERT INTO seq_identity (t) VALUES ('a') RETURNING id;
SELECT nextval('seq_free'), nextval('seq_free');

-- another owner: it comes along and keeps its value
ALTER SEQUENCE seq_free OWNED BY seq_serial.t;
SELECT * FROM seqs;
SELECT nextval('seq_free');
SELECT * FROM tde_vault.verify('seq_free');
ALTER TABLE seq_plain SET ACCESS METHOD tde_heap;
SELECT tde_vault.is_encrypted('seq_plain_id_seq');

-- later files
TRUNCATE seq_serial, seq_identity RESTART IDENTITY;
ALTER SEQUENCE seq_free RESTART 50 INCREMENT 10;
SELECT * FROM seqs;
INSERT INTO seq_serial (t) VALUES ('c') RETURNING id;
INSERT INTO seq_identity (t) VALUES ('c') RETURNING id;
SELECT nextval('seq_free'), nextval('seq_free');

-- undone
BEGIN;
CREATE SEQUENCE seq_undone;
ALTER SEQUENCE seq_undone OWNED BY seq_serial.id;
SELECT tde_vault.is_encrypted('seq_undone');
ROLLBACK;
SELECT tde_vault.is_encrypted('seq_undone');

-- temporary and unlogged
CREATE TEMPORARY TABLE seq_temp (id serial, t text) USING tde_heap;
CREATE UNLOGGED TABLE seq_unlogged (id serial, t text) USING tde_heap;
INSERT INTO seq_temp (t) VALUES ('a') RETURNING id;
INSERT INTO seq_unlogged (t) VALUES ('a') RETURNING id;
SELECT relation, cipher, key_id = 'session' AS session FROM tde_vault.encryption_status
WHERE relation IN ('seq_temp_id_seq'::regclass, 'seq_unlogged_id_seq'::regclass) AND fork = 'main'
ORDER BY relation::text COLLATE "C";

DROP VIEW seqs;
DROP TABLE seq_serial, seq_identity, seq_plain, seq_temp, seq_unlogged;

-- a sequence goes back with its table, and neither way survives a rollback
CREATE TABLE seq_back (id serial, id2 int GENERATED ALWAYS AS IDENTITY) USING tde_heap;
INSERT INTO seq_back DEFAULT VALUES;
SELECT tde_vault.is_encrypted('seq_back_id_seq'), tde_vault.is_encrypted('seq_back_id2_seq');
BEGIN;
ALTER TABLE seq_back SET ACCESS METHOD heap;
ROLLBACK;
TRUNCATE seq_back RESTART IDENTITY;
SELECT tde_vault.is_encrypted('seq_back_id_seq'), tde_vault.is_encrypted('seq_back_id2_seq');
INSERT INTO seq_back DEFAULT VALUES;
ALTER TABLE seq_back SET ACCESS METHOD heap;
SELECT tde_vault.is_encrypted('seq_back_id_seq'), tde_vault.is_encrypted('seq_back_id2_seq');
INSERT INTO seq_back DEFAULT VALUES RETURNING *;
BEGIN;
ALTER TABLE seq_back SET ACCESS METHOD tde_heap;
ROLLBACK;
TRUNCATE seq_back RESTART IDENTITY;
SELECT tde_vault.is_encrypted('seq_back_id_seq'), tde_vault.is_encrypted('seq_back_id2_seq');
ALTER TABLE seq_back SET ACCESS METHOD tde_heap;
SELECT tde_vault.is_encrypted('seq_back_id_seq'), tde_vault.is_encrypted('seq_back_id2_seq');
INSERT INTO seq_back DEFAULT VALUES RETURNING *;
DROP TABLE seq_back;
