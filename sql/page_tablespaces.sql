-- Encrypted tablespaces: statements, twins, what is refused, what is shown.
CREATE TABLESPACE regress_enc OWNER CURRENT_USER ENCRYPTION USING 'AES256';
CREATE TABLESPACE regress_enc ENCRYPTION USING 'AES256';
CREATE TABLESPACE regress_enc2 OWNER nobody_at_all ENCRYPTION USING 'AES256';
CREATE TABLESPACE regress_enc2 LOCATION 'relative' ENCRYPTION USING 'AES256';
CREATE TABLESPACE regress_enc2 LOCATION '/nowhere/at/all' ENCRYPTION USING 'AES256';
CREATE TABLESPACE regress_enc2 ENCRYPTION USING 'rot13';
CREATE TABLESPACE pg_enc ENCRYPTION USING 'AES256';
BEGIN; CREATE TABLESPACE regress_enc2 ENCRYPTION USING 'AES256'; ROLLBACK;
DO $$ BEGIN CREATE TABLESPACE regress_enc2 ENCRYPTION USING 'AES256'; END $$;
CALL tde_vault.create_tablespace(NULL);
CREATE TABLESPACE regress_enc2 OWNER SESSION_USER ENCRYPTION USING 'AES256' KEY_ID 'no such key';
SELECT max(key_id) AS key_id FROM tde_vault.keys WHERE kind = 'master' AND state = 'active' AND database IS NULL \gset
CREATE TABLESPACE "Regress Enc/2" OWNER SESSION_USER ENCRYPTION USING 'aes-256-xts' KEY_ID :'key_id';
SELECT e.tablespace, cipher, key_id = :'key_id' AS key_id, location = pg_tablespace_location(t.oid) AS location, location ~ '_tablespaces/[^/]+$' AS root
FROM tde_vault.encrypted_tablespaces e JOIN pg_tablespace t ON t.spcname = e.tablespace ORDER BY 1;
SELECT count(*) FROM pg_tablespace WHERE spcname ~ 'enc';

-- everything in it, whatever its access method
CREATE TABLE plain_am (id serial PRIMARY KEY, v text) USING heap TABLESPACE regress_enc;
INSERT INTO plain_am (v) SELECT repeat('x', g * 100) FROM generate_series(1, 50) g;
CREATE TABLE elsewhere (id int PRIMARY KEY USING INDEX TABLESPACE regress_enc, v text) USING heap;
INSERT INTO elsewhere SELECT g, 'y' FROM generate_series(1, 50) g;
SET default_tablespace = regress_enc;
CREATE MATERIALIZED VIEW mv_there USING heap AS SELECT * FROM plain_am;
CREATE UNLOGGED TABLE unlogged_there (id int) USING heap;
CREATE TABLE of_tde_heap (id int PRIMARY KEY) USING tde_heap;
RESET default_tablespace;
SELECT relation, relkind, fork, tablespace, cipher FROM tde_vault.encryption_status s
WHERE relkind <> 't' AND relation::text !~ 'toast' AND relation::text ~ '(_there|plain_am|elsewhere|of_tde)' ORDER BY relation::text COLLATE "C", fork;
SELECT bool_and(s.cipher = 'aes-256-gcm') FROM pg_class c JOIN tde_vault.encryption_status s ON s.relation = c.reltoastrelid WHERE c.relname = 'plain_am' AND s.fork = 'main';
SELECT tde_vault.is_encrypted('plain_am'), tde_vault.is_encrypted('elsewhere'), tde_vault.is_encrypted('elsewhere_pkey'), tde_vault.is_encrypted('mv_there');
SELECT relation, reason FROM tde_vault.plaintext_files WHERE relation::text ~ '(_there|plain_am|elsewhere|of_tde)' AND relkind <> 't' ORDER BY relation::text COLLATE "C";
CHECKPOINT;
SELECT sum(sealed) > 0 AS sealed, sum(unsealed) AS unsealed, sum(bad) AS bad FROM tde_vault.verify('plain_am');

-- enforce_encryption is satisfied by the place
SET tde_vault.enforce_encryption = on;
CREATE TABLE enforced (id int) USING heap TABLESPACE regress_enc;
CREATE TABLE enforced2 (id int) USING heap;
RESET tde_vault.enforce_encryption;

-- not as the default of a database
CREATE DATABASE regress_enc_db TABLESPACE regress_enc;
ALTER DATABASE contrib_regression SET TABLESPACE regress_enc;

-- an ordinary tablespace becomes one, and ceases to be
DROP TABLE enforced, unlogged_there, of_tde_heap;
ALTER TABLESPACE regress_enc DISABLE ENCRYPTION;
CREATE TABLE later (id int) USING heap TABLESPACE regress_enc;
DO $$
BEGIN
	FOR i IN 1 .. 1000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM tde_vault.encryption_status WHERE relation IN ('plain_am'::regclass, 'plain_am_id_seq'::regclass, 'mv_there'::regclass, 'elsewhere_pkey'::regclass));
		PERFORM pg_sleep(0.05);
	END LOOP;
END
$$;
SELECT tde_vault.is_encrypted('later'), tde_vault.is_encrypted('plain_am');
SELECT relation, reason FROM tde_vault.plaintext_files WHERE relation IN ('later'::regclass, 'elsewhere'::regclass);
CREATE INDEX ON plain_am (v) TABLESPACE pg_default;
SELECT tde_vault.is_encrypted('plain_am_v_idx');
VACUUM FULL plain_am;
SELECT tde_vault.is_encrypted('plain_am');
SELECT tde_vault.is_encrypted('plain_am'), tde_vault.is_encrypted('later');
SELECT relation, reason FROM tde_vault.plaintext_files WHERE relation::text ~ '^(plain_am|later)' ORDER BY relation::text COLLATE "C", fork;
ALTER TABLESPACE regress_enc ENABLE ENCRYPTION USING 'AES-256-CTR';
DO $$
BEGIN
	FOR i IN 1 .. 1000 LOOP
		EXIT WHEN tde_vault.is_encrypted('plain_am') AND tde_vault.is_encrypted('later');
		PERFORM pg_sleep(0.05);
	END LOOP;
END
$$;
ALTER TABLESPACE regress_enc ENABLE ENCRYPTION USING 'AES-256-CTR';
INSERT INTO later VALUES (1);
CHECKPOINT;
SELECT sum(sealed) > 0 AS sealed, sum(unsealed) AS unsealed, sum(bad) AS bad FROM tde_vault.verify('plain_am');
SELECT tde_vault.is_encrypted('plain_am'), tde_vault.is_encrypted('later');

-- moving in and out
ALTER TABLE elsewhere SET TABLESPACE regress_enc;
SELECT tde_vault.is_encrypted('elsewhere'), count(*) FROM elsewhere;
CREATE INDEX elsewhere_old ON later (id) TABLESPACE pg_default;
ALTER TABLE elsewhere SET TABLESPACE pg_default;
SELECT tde_vault.is_encrypted('elsewhere'), count(*) FROM elsewhere;
CREATE INDEX elsewhere_v ON elsewhere (v);
ALTER TABLE elsewhere SET TABLESPACE regress_enc;
SELECT relation, reason FROM tde_vault.plaintext_files WHERE relation::text ~ '^elsewhere';
REINDEX INDEX elsewhere_v;
SELECT tde_vault.is_encrypted('elsewhere');
ALTER INDEX elsewhere_v SET TABLESPACE regress_enc;
ALTER TABLE plain_am SET TABLESPACE pg_default;
SELECT tde_vault.is_encrypted('plain_am'), tde_vault.is_encrypted('plain_am_id_seq'), count(*) FROM plain_am;
ALTER TABLE plain_am SET TABLESPACE regress_enc;
REINDEX TABLE plain_am;
SELECT tde_vault.is_encrypted('plain_am'), tde_vault.is_encrypted('plain_am_id_seq'), count(*) FROM plain_am;
SELECT nextval('plain_am_id_seq');
BEGIN;
ALTER TABLESPACE regress_enc DISABLE ENCRYPTION;
ROLLBACK;
SELECT tablespace, cipher FROM tde_vault.encrypted_tablespaces WHERE tablespace = 'regress_enc';
ALTER TABLESPACE pg_default ENABLE ENCRYPTION;
ALTER TABLESPACE pg_global ENABLE ENCRYPTION;
ALTER TABLESPACE nowhere ENABLE ENCRYPTION;
CREATE ROLE regress_enc_role;
SET ROLE regress_enc_role;
ALTER TABLESPACE regress_enc DISABLE ENCRYPTION;
CREATE TABLESPACE regress_enc3 ENCRYPTION USING 'AES256';
RESET ROLE;
DROP ROLE regress_enc_role;

-- temporary tables are sealed wherever they are
CREATE TEMP TABLE temporary (id serial PRIMARY KEY, v text) USING heap;
INSERT INTO temporary (v) VALUES ('z');
SELECT tde_vault.is_encrypted('temporary'), tde_vault.is_encrypted('temporary_id_seq');
ALTER TABLE temporary SET TABLESPACE regress_enc;
SELECT tde_vault.is_encrypted('temporary'), count(*) FROM temporary;
DROP TABLE temporary;

-- dropped, it is forgotten
DROP TABLESPACE regress_enc;
DROP MATERIALIZED VIEW mv_there;
DROP TABLE plain_am, elsewhere, later;
DROP TABLESPACE regress_enc;
DROP TABLESPACE "Regress Enc/2";
SELECT count(*) FROM tde_vault.encrypted_tablespaces;
SELECT count(*) FROM tde_vault.tablespace_scopes();
