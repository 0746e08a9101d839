-- Command rules ON DATABASE: everything that is in it, and itself.
SET client_min_messages = warning;
CREATE ROLE vrd_security LOGIN;
CREATE ROLE vrd_auditor LOGIN;
CREATE ROLE vrd_dba LOGIN SUPERUSER;
CREATE DATABASE vault_rules_database;
\c vault_rules_database
SET client_min_messages = warning;
CREATE EXTENSION tde_vault;
CREATE EXTENSION citext;
CREATE SCHEMA s;
CREATE TABLE s.t (id int PRIMARY KEY, n int);
CREATE VIEW s.v AS SELECT id FROM s.t;
CREATE STATISTICS s.st ON id, n FROM s.t;
CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE s.p() LANGUAGE sql AS 'SELECT 1';
CREATE TYPE s.mood AS ENUM ('good');
CREATE TYPE s.pair AS (a int, b int);
CREATE DOMAIN s.d AS int;
CREATE OPERATOR s.### (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
CREATE COLLATION s.c FROM "C";
CREATE TEXT SEARCH CONFIGURATION s.ts (COPY = simple);
SET client_min_messages = error;
CREATE PUBLICATION pub FOR TABLE s.t;
CREATE CAST (s.pair AS text) WITH INOUT AS ASSIGNMENT;
CREATE CAST (s.pair AS varchar) WITH INOUT AS ASSIGNMENT;
CREATE TRANSFORM FOR int LANGUAGE sql (TO SQL WITH FUNCTION int4recv(internal));
CALL tde_vault.enable_vault();
GRANT vault_admin TO vrd_security;
\c - vrd_security
CREATE COMMAND RULE frozen FOR DROP, ALTER, GRANT ON DATABASE DENY FROM ROLE vrd_dba MESSAGE 'not without a change request';
\c - vrd_dba
\set VERBOSITY terse
-- rows are no business of the rule
INSERT INTO s.t VALUES (1, 1);
SELECT s.f(), lo_unlink(lo_create(0)) AS unlinked;
-- what is put into a schema changes it
CREATE FUNCTION s.g() RETURNS int LANGUAGE sql AS 'SELECT 2';
DROP TABLE s.t;
DROP VIEW s.v;
DROP STATISTICS s.st;
DROP SCHEMA s CASCADE;
DROP FUNCTION s.f();
DROP PROCEDURE s.p();
DROP TYPE s.mood;
DROP TYPE s.pair CASCADE;
DROP DOMAIN s.d;
DROP OPERATOR s.### (int, int);
DROP COLLATION s.c;
DROP TEXT SEARCH CONFIGURATION s.ts;
DROP PUBLICATION pub;
DROP CAST (s.pair AS text);
DROP TRANSFORM FOR int LANGUAGE sql;
DROP EXTENSION citext;
DROP OWNED BY vrd_dba;
ALTER TABLE s.t ADD COLUMN x int;
ALTER FUNCTION s.f() IMMUTABLE;
ALTER FUNCTION s.f() RENAME TO g;
ALTER FUNCTION s.f() OWNER TO vrd_dba;
ALTER FUNCTION s.f() SET SCHEMA public;
CREATE OR REPLACE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 3';
ALTER TYPE s.mood ADD VALUE 'bad';
ALTER TYPE s.pair ADD ATTRIBUTE c int;
ALTER DOMAIN s.d SET NOT NULL;
ALTER OPERATOR s.### (int, int) OWNER TO vrd_dba;
ALTER COLLATION s.c RENAME TO e;
ALTER TEXT SEARCH CONFIGURATION s.ts RENAME TO e;
ALTER PUBLICATION pub SET (publish = 'insert');
ALTER STATISTICS s.st SET STATISTICS 10;
ALTER SCHEMA s RENAME TO e;
ALTER EXTENSION citext SET SCHEMA s;
ALTER DATABASE vault_rules_database SET work_mem = '1MB';
ALTER DATABASE vault_rules_database OWNER TO vrd_dba;
ALTER DATABASE vault_rules_database CONNECTION LIMIT 5;
ALTER DATABASE contrib_regression SET work_mem = '1MB';
ALTER DATABASE contrib_regression RESET work_mem;
GRANT SELECT ON s.t TO PUBLIC;
GRANT EXECUTE ON FUNCTION s.f() TO PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA s TO PUBLIC;
GRANT USAGE ON TYPE s.mood TO PUBLIC;
GRANT USAGE ON LANGUAGE sql TO vrd_dba;
REVOKE CREATE ON DATABASE vault_rules_database FROM PUBLIC;
GRANT CONNECT ON DATABASE contrib_regression TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
\c - postgres
-- others may
\set VERBOSITY terse
ALTER FUNCTION s.f() IMMUTABLE;
CREATE OR REPLACE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 3';
GRANT EXECUTE ON FUNCTION s.f() TO PUBLIC;
DROP FUNCTION s.f();
\c - vrd_security
ALTER COMMAND RULE frozen DISABLE;
\c - vrd_dba
SET client_min_messages = warning;
-- they are named in the log
DROP CAST (s.pair AS text);
DROP TRANSFORM FOR int LANGUAGE sql;
DROP TYPE s.mood, s.pair CASCADE;
DROP SCHEMA s CASCADE;
\c - vrd_security
GRANT vault_auditor TO vrd_auditor;
\c - vrd_auditor
SELECT object, result FROM tde_vault.audit_log WHERE "user" = 'vrd_dba' AND action LIKE 'DROP%'
AND object ~ 'pair|mood|int' ORDER BY "timestamp";
\c - vrd_security
DROP COMMAND RULE frozen;
CALL tde_vault.disable_vault();
\c contrib_regression postgres
DROP DATABASE vault_rules_database;
DROP ROLE vrd_security, vrd_auditor, vrd_dba;
