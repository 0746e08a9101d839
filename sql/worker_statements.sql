-- ALTER TABLE ... ENABLE, DISABLE and ROTATE: rights, errors, tags.  What they do
-- to pages is in test/tap/700_worker_online.pl.

\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE ROLE regress_tv_owner;
CREATE ROLE regress_tv_other;
RESET client_min_messages;
CREATE SCHEMA regress_tv AUTHORIZATION regress_tv_owner;
SET ROLE regress_tv_owner;
CREATE TABLE regress_tv."My Table" (id serial PRIMARY KEY, v text);
INSERT INTO regress_tv."My Table" (v) SELECT 'row ' || g FROM generate_series(1, 100) g;
CREATE TABLE regress_tv.parts (id int) PARTITION BY RANGE (id);
CREATE TABLE regress_tv.p1 PARTITION OF regress_tv.parts FOR VALUES FROM (0) TO (10);
CREATE TABLE regress_tv.p2 PARTITION OF regress_tv.parts FOR VALUES FROM (10) TO (20);
CREATE VIEW regress_tv.v AS SELECT 1 AS x;
CREATE TEMP TABLE temporary (id int);
RESET ROLE;

-- what cannot be
ALTER TABLE regress_tv.none ENABLE ENCRYPTION;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE IF EXISTS regress_tv.none ENABLE ENCRYPTION USING 'AES-256-XTS';
ALTER TABLE IF EXISTS ONLY regress_tv.none * DISABLE ENCRYPTION;
ALTER TABLE IF EXISTS regress_tv.none ROTATE ENCRYPTION KEY;
ALTER TABLE regress_tv."My Table" ENABLE ENCRYPTION USING 'rot13';
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE regress_tv."My Table" DISABLE ENCRYPTION USING 'AES256';
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE regress_tv.v ENABLE ENCRYPTION;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE temporary ENABLE ENCRYPTION;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE pg_catalog.pg_class ENABLE ENCRYPTION;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE regress_tv."My Table" ROTATE ENCRYPTION KEY;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE regress_tv."My Table" DISABLE ENCRYPTION;
CALL tde_vault.encrypt_table(NULL);
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.encrypt_table(4294967290::oid::regclass);
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.pause(1);
\echo :LAST_ERROR_SQLSTATE
BEGIN READ ONLY;
ALTER TABLE regress_tv."My Table" ENABLE ENCRYPTION;
ROLLBACK;
DECLARE c CURSOR WITH HOLD FOR SELECT 1;
CLOSE c;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM regress_tv."My Table";
FETCH c;
ALTER TABLE regress_tv."My Table" ENABLE ENCRYPTION;
ROLLBACK;

-- who
SET ROLE regress_tv_other;
ALTER TABLE regress_tv."My Table" ENABLE ENCRYPTION;
RESET ROLE;
GRANT USAGE ON SCHEMA regress_tv TO regress_tv_other;
SET ROLE regress_tv_other;
ALTER TABLE regress_tv."My Table" ENABLE ENCRYPTION;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE regress_tv."My Table" DISABLE ENCRYPTION;
ALTER TABLE regress_tv."My Table" ROTATE ENCRYPTION KEY;
CALL tde_vault.pause(1);
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- and what can
SET client_min_messages = warning;
SET ROLE regress_tv_owner;
ALTER TABLE regress_tv."My Table" ENABLE ENCRYPTION USING 'AES-256-XTS';
ALTER TABLE regress_tv.parts ENABLE ENCRYPTION;
RESET ROLE;
DO $$
BEGIN
	WHILE EXISTS (SELECT FROM tde_vault.encryption_progress WHERE relation::text LIKE 'regress_tv.%' AND state <> 'done') LOOP
		PERFORM pg_sleep(0.05);
		PERFORM pg_stat_clear_snapshot();
	END LOOP;
END$$;
SELECT relation, fork, cipher FROM tde_vault.encryption_status
WHERE relation::text LIKE 'regress_tv.%' AND fork = 'main' ORDER BY relation::text COLLATE "C";
SELECT relation, operation, percent, state FROM system.encryption_progress
WHERE relation::text LIKE 'regress_tv.%' ORDER BY relation::text COLLATE "C";
SELECT count(*), max(v) FROM regress_tv."My Table";
SET SESSION AUTHORIZATION regress_tv_other;
SELECT count(*) FROM tde_vault.encryption_progress WHERE relation::text LIKE 'regress_tv.%';
RESET SESSION AUTHORIZATION;
SET tde_vault.enforce_encryption = on;
ALTER TABLE regress_tv."My Table" DISABLE ENCRYPTION;
\echo :LAST_ERROR_SQLSTATE
RESET tde_vault.enforce_encryption;
DROP SCHEMA regress_tv CASCADE;
DROP TABLE temporary;
DROP ROLE regress_tv_owner, regress_tv_other;
