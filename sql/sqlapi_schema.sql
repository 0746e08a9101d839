-- A schema tde_vault that somebody made before the extension could hold functions
-- that the extension's own would call with their rights: it is not used.

\set SHOW_CONTEXT never
SELECT current_database() AS home \gset
CREATE ROLE regress_schema_thief;
CREATE DATABASE regress_schema TEMPLATE template0;
\connect regress_schema
SET client_min_messages = warning;
GRANT CREATE ON DATABASE regress_schema TO regress_schema_thief;

-- the thief's own
SET SESSION AUTHORIZATION regress_schema_thief;
CREATE SCHEMA tde_vault;
CREATE FUNCTION tde_vault.may_inspect(integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
RESET SESSION AUTHORIZATION;
CREATE EXTENSION tde_vault;
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM pg_extension WHERE extname = 'tde_vault';
DROP SCHEMA tde_vault CASCADE;

-- the superuser's, but the thief may create in it
CREATE SCHEMA tde_vault;
GRANT CREATE ON SCHEMA tde_vault TO regress_schema_thief;
CREATE EXTENSION tde_vault;
\echo :LAST_ERROR_SQLSTATE
DROP SCHEMA tde_vault CASCADE;

-- the superuser's, made by the thief first
SET SESSION AUTHORIZATION regress_schema_thief;
CREATE SCHEMA tde_vault;
CREATE FUNCTION tde_vault.may_inspect(integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
RESET SESSION AUTHORIZATION;
ALTER SCHEMA tde_vault OWNER TO CURRENT_USER;
CREATE EXTENSION tde_vault;
\echo :LAST_ERROR_SQLSTATE
DROP SCHEMA tde_vault CASCADE;

-- none
CREATE EXTENSION tde_vault;
SELECT nspowner = (SELECT oid FROM pg_roles WHERE rolname = current_user) AS ours,
       has_schema_privilege('regress_schema_thief', 'tde_vault', 'CREATE') AS may_create
FROM pg_namespace WHERE nspname = 'tde_vault';

-- that of an extension which was dropped
DROP EXTENSION tde_vault;
CREATE EXTENSION tde_vault;
SELECT count(*) FROM pg_extension WHERE extname = 'tde_vault';
\connect :home
DROP DATABASE regress_schema;
DROP ROLE regress_schema_thief;
