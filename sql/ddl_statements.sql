-- Statements that wait for their features: the grammar is complete.
ALTER DATABASE "Some Where" ENABLE ENCRYPTION;
ALTER DATABASE DISABLE ENCRYPTION;
BACKUP DATABASE TO 'path' ENCRYPTED WITH KEY 'id';
RESTORE DATABASE FROM 'path' DECRYPT WITH KEY 'id';
RESTORE DATABASE FROM 'path' INTO 'directory' DECRYPT WITH KEY 'id' VAULT PASSWORD 'secret';

-- and precise
ALTER DATABASE d ROTATE MASTER KEY ENCRYPTION;
ALTER DATABASE d ROTATE MASTER KEY KEY_ID;
ALTER DATABASE d ENABLE ENCRYPTION USING 'AES256';
ALTER TABLE t ENABLE ENCRYPTION USING AES256;
ALTER TABLE t ROTATE ENCRYPTION;
ALTER TABLE t ROTATE ENCRYPTION KEYS;
ALTER TABLE t ENABLE ENCRYPTION, ADD COLUMN x int;
CREATE TABLESPACE ts LOCATION '/dir' ENCRYPTION;
CREATE TABLESPACE ts LOCATION '/dir' ENCRYPTION USING 'AES256' WITH (seq_page_cost = 1);
ALTER TABLESPACE ts ENABLE ENCRYPTION KEY_ID 'id';
BACKUP DATABASE TO path ENCRYPTED WITH KEY 'id';
BACKUP DATABASE d TO 'path' ENCRYPTED WITH KEY 'id';
BACKUP DATABASE TO 'path' ENCRYPTED BY KEY 'id';
BACKUP TABLE t TO 'path' ENCRYPTED WITH KEY 'id';
RESTORE DATABASE FROM 'path' DECRYPT WITH KEY 'id' PASSWORD 'p';
RESTORE DATABASE FROM 'path' DECRYPT WITH KEY 'id' VAULT PASSWORD;

-- ordinary statements that look alike
CREATE DATABASE regress_ddl ENCRYPTION = 1;
ALTER DATABASE regress_ddl_none ROTATE MASTER;
ALTER DATABASE ROTATE MASTER KEY 5;
ALTER DATABASE enable ENCRYPTION 5;
ALTER TABLE IF EXISTS regress_ddl_none ENABLE TRIGGER encryption;
CREATE TABLESPACE regress_ddl LOCATION 'encryption';
CREATE ROLE regress_ddl ENCRYPTED PASSWORD 'x';
DROP ROLE regress_ddl;

-- Several statements in one string: results, tags, positions.
CREATE TABLE m_log (n int)\; INSERT INTO m_log VALUES (1)\; CREATE TABLE m_one (id int) ENCRYPTION USING 'aes-256-ctr'\; SELECT n AS "before", ';' AS "encryption;" FROM m_log;
SELECT count(*) FROM m_one\; CREATE TABLE m_two (id int) ENCRYPTION USING 'aes-256-ctr'\; SELECT nowhere;
SELECT count(*) FROM m_two;
SELECT 1\; SELEC 2\; CREATE TABLE m_three (id int) ENCRYPTION USING 'aes-256-ctr';
SELECT 1\; CREATE MASTER KEY ENCRYPTION WITH HSM\; SELEC 2;
SELEC 1\; CREATE MASTER KEY ENCRYPTION WITH HSM;
SELECT 'é'\; CREATE TABLE m_three (id int) ENCRYPTION USING 'aes-256-ctr'\; SELECT 'ü', nowhere;
SELECT 1\; CREATE TABLE m_three (id int) ENCRYPTION USING 'rot13'\; SELECT 2;
SELECT 1 \; \; CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'unfinished;
';
CREATE TABLE m_three (id int) ENCRYPTION USING 'aes-256-ctr
';

-- Semicolons that end nothing.
CREATE RULE m_rule AS ON INSERT TO m_one DO ALSO (INSERT INTO m_log VALUES (2); INSERT INTO m_log VALUES (3))\; CREATE TABLE m_four (id int) ENCRYPTION USING 'aes-256-ctr'\; INSERT INTO m_one VALUES (1);
SELECT n FROM m_log ORDER BY n;
CREATE FUNCTION m_atomic(a int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN a > 1 THEN 2 ELSE 3 END AS end\; SELECT a\; END\; CREATE TABLE m_five (id int) ENCRYPTION USING 'aes-256-ctr'\; SELECT m_atomic(7);
CREATE FUNCTION m_bad() RETURNS int BEGIN ATOMIC CREATE TABLE m_six (id int) ENCRYPTION USING 'aes-256-ctr'; SELECT 1; END;
CREATE FUNCTION m_bad() RETURNS int BEGIN ATOMIC SELECT 1; CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'k'; END;

-- PL/pgSQL, DO, EXECUTE, SQL functions, PREPARE.
DO $$
BEGIN
	CREATE TABLE p_do (id int) ENCRYPTION USING 'aes-256-ctr';
	EXECUTE 'CREATE TABLE p_execute (id int) ENCRYPTION USING ''aes-256-xts''';
	EXECUTE format('CREATE TABLE %I (id int) ENCRYPTION USING %L', 'p format', 'aes256');
END
$$;
CREATE FUNCTION p_make(again boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	encryption text := 'encryption';
BEGIN
	CREATE TABLE p_function (id int) ENCRYPTION USING 'aes-256-ctr';
	IF again THEN
		DROP TABLE p_function;
		CREATE TABLE p_function (id int) USING tde_heap ENCRYPTION USING 'aes-256-xts';
	END IF;
	RETURN encryption;
EXCEPTION WHEN duplicate_table THEN
	RETURN 'there already, and the cipher is ' || current_setting('tde_vault.cipher');
END
$$;
SELECT p_make(true);
SELECT p_make(false);
CREATE FUNCTION p_sql() RETURNS void LANGUAGE sql AS $$
	CREATE TABLE p_sql_function (id int) ENCRYPTION USING 'aes-256-ctr';
$$;
SELECT p_sql();
SELECT relation, cipher FROM tde_vault.encryption_status
WHERE relation::text ~ '^"?p[_ ]' AND fork = 'main' ORDER BY relation::text COLLATE "C";
\set VERBOSITY terse
CREATE FUNCTION p_wrong() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CREATE MASTER KEY ENCRYPTION BY NOBODY KEY_ID 'k';
END
$$;
DO $$ BEGIN BACKUP DATABASE TO 'path' ENCRYPTED WITH KEY 'id'; END $$;
DO $$ BEGIN CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'ddl_regress_key'; END $$;
DO $$ BEGIN EXECUTE 'SELECT 1; CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID ''ddl_regress_key'''; END $$;
PREPARE p_stmt AS CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'k';
\set VERBOSITY default

-- strings with backslashes
SET standard_conforming_strings = off;
SET escape_string_warning = on;
CREATE TABLE s_off (id int) ENCRYPTION USING 'aes\x2d256-ctr';
SELECT 'a\'; CREATE MASTER KEY ENCRYPTION BY HSM' AS encryption;
RESET standard_conforming_strings;
SELECT cipher FROM tde_vault.relation_files('s_off'::regclass) WHERE fork = 'main';

-- notices of the scanner appear once
SELECT 1 AS encryption_with_a_name_that_is_rather_longer_than_an_identifier_may_be\; CREATE TABLE s_long (id int) ENCRYPTION USING 'aes256';

-- an aborted transaction knows syntax errors, and nothing else
BEGIN;
SELECT nowhere;
CREATE MASTER KEY ENCRYPTION BY NOBODY;
CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'k';
CREATE TABLE s_aborted (id int) ENCRYPTION USING 'aes256';
ROLLBACK;
