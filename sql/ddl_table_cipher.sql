-- CREATE TABLE ... ENCRYPTION USING: in every form of the statement, for that
-- table only.
SET client_min_messages = warning;

CREATE FUNCTION show_table(name text) RETURNS TABLE (am name, ciphers text)
LANGUAGE sql AS $$
	SELECT a.amname, (SELECT string_agg(DISTINCT coalesce(f.cipher, 'none'), ' ')
		FROM tde_vault.relation_files(c.oid) f WHERE f.fork = 'main')
	FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE c.oid = name::regclass
$$;

CREATE TABLE c_verbatim (id bigint PRIMARY KEY, note text) ENCRYPTION USING 'AES-256-XTS';
SELECT * FROM show_table('c_verbatim');
SELECT DISTINCT cipher FROM tde_vault.encryption_status WHERE relation = 'c_verbatim_pkey'::regclass;
SHOW tde_vault.cipher;

CREATE TABLE c_using (id int) USING tde_heap ENCRYPTION USING 'CHACHA20-POLY1305';
SELECT * FROM show_table('c_using');
CREATE TABLE c_before (id int) ENCRYPTION USING 'AES-256-CTR' USING tde_heap;
SELECT * FROM show_table('c_before');
CREATE TABLE IF NOT EXISTS c_with (id int) ENCRYPTION USING 'aes256' WITH (fillfactor = 70) TABLESPACE pg_default;
SELECT * FROM show_table('c_with');
SELECT reloptions FROM pg_class WHERE relname = 'c_with';
CREATE TABLE IF NOT EXISTS c_with (id int) ENCRYPTION USING 'aes256';
CREATE TABLE c_with (id int) ENCRYPTION USING 'aes-256-ctr';
CREATE TABLE public."C Quoted" (id int) WITH (fillfactor = 60) ENCRYPTION USING $$aes-256-ctr$$;
SELECT * FROM show_table('public."C Quoted"');
CREATE TABLE c_like (LIKE c_verbatim INCLUDING ALL) ENCRYPTION USING U&'aes!002D256!002Dctr' UESCAPE '!';
SELECT * FROM show_table('c_like');
CREATE TABLE c_child () INHERITS (c_verbatim) ENCRYPTION USING E'aes\x2d256-ctr';
SELECT * FROM show_table('c_child');
CREATE TYPE c_type AS (id int, note text);
CREATE TABLE c_typed OF c_type ENCRYPTION USING 'aes-256-ctr';
SELECT * FROM show_table('c_typed');
CREATE TABLE c_parts (id int) PARTITION BY RANGE (id);
CREATE TABLE c_part PARTITION OF c_parts FOR VALUES FROM (1) TO (10) ENCRYPTION USING 'aes-256-ctr';
CREATE TABLE c_rest PARTITION OF c_parts DEFAULT ENCRYPTION USING 'aes-256-xts';
SELECT * FROM show_table('c_part');
SELECT * FROM show_table('c_rest');
CREATE UNLOGGED TABLE c_unlogged (id int) ENCRYPTION USING 'aes-256-xts';
SELECT * FROM show_table('c_unlogged');
CREATE TEMP TABLE c_temp (id int) ENCRYPTION USING 'aes-256-xts' ON COMMIT PRESERVE ROWS;
SELECT am FROM show_table('c_temp');
CREATE TABLE c_as ENCRYPTION USING 'aes-256-ctr' AS SELECT 1 AS encryption, 2 AS encrypted;
SELECT * FROM show_table('c_as');
CREATE TABLE c_as_names (a, b) USING tde_heap ENCRYPTION USING 'aes-256-ctr' AS VALUES (1, 2) WITH NO DATA;
SELECT * FROM show_table('c_as_names');
PREPARE two AS SELECT 1 AS a, 2 AS b;
CREATE TABLE c_execute ENCRYPTION USING 'aes-256-ctr' AS EXECUTE two;
SELECT * FROM show_table('c_execute');
CREATE MATERIALIZED VIEW c_matview ENCRYPTION USING 'aes-256-ctr' AS SELECT 1 AS a;
SELECT * FROM show_table('c_matview');
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off)
	CREATE TABLE c_explain ENCRYPTION USING 'aes-256-ctr' AS SELECT 1 AS a;
SELECT * FROM show_table('c_explain');

-- several tables in one CREATE SCHEMA, each with its own
CREATE SCHEMA c_schema
	CREATE TABLE a (id int) ENCRYPTION USING 'aes-256-ctr'
	CREATE TABLE b (id int)
	CREATE VIEW v AS SELECT 1 AS encryption
	CREATE TABLE c (id int) ENCRYPTION USING 'aes-256-xts';
SELECT n, s.* FROM unnest('{a,b,c}'::text[]) n, show_table('c_schema.' || n) s;

-- the default access method and the setting stand back, and stay
SET default_table_access_method = heap;
SET tde_vault.cipher = 'aes-256-xts';
CREATE TABLE c_plain (id int);
CREATE TABLE c_default (id int) ENCRYPTION USING 'aes-256-ctr';
CREATE TABLE c_setting (id int) USING tde_heap;
SELECT n, s.* FROM unnest('{c_plain,c_default,c_setting}'::text[]) n, show_table(n) s;
SHOW tde_vault.cipher;
BEGIN;
SAVEPOINT s;
CREATE TABLE c_plain (id int) ENCRYPTION USING 'aes-256-ctr';
ROLLBACK TO s;
SHOW tde_vault.cipher;
SET LOCAL tde_vault.cipher = 'aes-256-gcm';
CREATE TABLE c_local (id int) ENCRYPTION USING 'aes-256-ctr';
SHOW tde_vault.cipher;
COMMIT;
SHOW tde_vault.cipher;
RESET tde_vault.cipher;
RESET default_table_access_method;

-- what the table brings along is sealed with it
CREATE TABLE c_family (id serial PRIMARY KEY, g int GENERATED ALWAYS AS IDENTITY, note text UNIQUE)
	ENCRYPTION USING 'aes-256-ctr';
INSERT INTO c_family (note) VALUES ('x');
SELECT relation, cipher FROM tde_vault.encryption_status
WHERE relation::text LIKE 'c_family%' AND fork = 'main' ORDER BY relation::text COLLATE "C";
SET tde_vault.enforce_encryption = on;
CREATE TABLE c_enforced (id int) ENCRYPTION USING 'aes-256-ctr';
SET default_table_access_method = heap;
CREATE TABLE c_enforced_not (id int);
RESET default_table_access_method;
RESET tde_vault.enforce_encryption;

-- refused
CREATE TABLE c_bad (id int) ENCRYPTION USING 'rot13';
CREATE TABLE c_bad (id int) USING heap ENCRYPTION USING 'aes256';
CREATE TABLE c_bad (id int) ENCRYPTION USING 'aes256' ENCRYPTION USING 'aes-256-ctr';
CREATE TABLE c_bad (id int) PARTITION BY RANGE (id) ENCRYPTION USING 'aes256';
CREATE TABLE c_bad (id int) ENCRYPTION USING aes256;
CREATE TABLE c_bad (id int) ENCRYPTION 'aes256';
CREATE TABLE c_bad (id int) ENCRYPTION;
CREATE TABLE c_bad (id int) ENCRYPTION USING 'aes256' nonsense;
CREATE TABLE c_bad (id int) USING tde_heap ENCRYPTION USING aes256;
CREATE TABLE c_bad ENCRYPTION USING 'aes256' (id int);
CREATE TABLE c_bad (id int, ENCRYPTION USING 'aes256');
CREATE VIEW c_bad ENCRYPTION USING 'aes256' AS SELECT 1;
CREATE TABLE c_bad (id int) WITH (tde_vault.cipher = 'aes256');
ALTER TABLE c_plain ENCRYPTION USING 'aes256';

-- ENCRYPTED columns wait for their feature
CREATE TABLE c_bad (id bigint, ssn varchar(11) ENCRYPTED, email text);
CREATE TABLE c_bad (id bigint, "größe" text COLLATE "C" NOT NULL ENCRYPTED);
ALTER TABLE c_plain ADD COLUMN ssn text ENCRYPTED;
SELECT 1; CREATE TABLE c_bad (id bigint ENCRYPTED);

-- as names, all of these words go on working
CREATE TABLE encryption (encryption int, encrypted text, using_ int, rotate int);
CREATE TYPE encrypted AS (encryption int);
CREATE TABLE encrypted_list (a encrypted, b encrypted[]);
CREATE TABLE c_of OF encrypted;
CREATE TABLE encrypted_default (encrypted int DEFAULT 1, CONSTRAINT encrypted CHECK (encrypted > 0));
SELECT encryption, encrypted rotate FROM encryption;
DROP TABLE encryption, encrypted_list, c_of, encrypted_default;
DROP TYPE encrypted;
DROP SCHEMA c_schema CASCADE;
