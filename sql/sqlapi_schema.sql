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

-- another superuser's: what would give the thief rights in what is made there
CREATE ROLE regress_schema_second SUPERUSER;
GRANT regress_schema_second TO regress_schema_thief;
SET SESSION AUTHORIZATION regress_schema_second;
CREATE SCHEMA tde_vault;
GRANT CREATE ON SCHEMA tde_vault TO PUBLIC;
RESET SESSION AUTHORIZATION;
CREATE EXTENSION tde_vault;
\echo :LAST_ERROR_SQLSTATE
REVOKE CREATE ON SCHEMA tde_vault FROM PUBLIC;
GRANT CREATE ON SCHEMA tde_vault TO regress_schema_thief WITH GRANT OPTION;
CREATE EXTENSION tde_vault;
\echo :LAST_ERROR_SQLSTATE
REVOKE ALL ON SCHEMA tde_vault FROM regress_schema_thief;
SELECT current_user AS installer \gset
ALTER DEFAULT PRIVILEGES FOR ROLE :"installer" IN SCHEMA tde_vault GRANT ALL ON TABLES TO regress_schema_thief;
CREATE EXTENSION tde_vault;
\echo :LAST_ERROR_SQLSTATE
ALTER DEFAULT PRIVILEGES FOR ROLE :"installer" IN SCHEMA tde_vault REVOKE ALL ON TABLES FROM regress_schema_thief;
SET client_min_messages = error;
CREATE PUBLICATION regress_schema_all FOR TABLES IN SCHEMA tde_vault;
SET client_min_messages = warning;
CREATE EXTENSION tde_vault;
\echo :LAST_ERROR_SQLSTATE
DROP PUBLICATION regress_schema_all;
-- taken over, it is no longer theirs, nor do members of the role have rights there
GRANT USAGE ON SCHEMA tde_vault TO regress_schema_thief WITH GRANT OPTION;
CREATE EXTENSION tde_vault;
ALTER ROLE regress_schema_second NOSUPERUSER;
SELECT nspowner = (SELECT oid FROM pg_roles WHERE rolname = current_user) AS ours,
       has_schema_privilege('regress_schema_thief', 'tde_vault', 'CREATE') AS thief_may_create,
       has_schema_privilege('regress_schema_second', 'tde_vault', 'CREATE') AS second_may_create
FROM pg_namespace WHERE nspname = 'tde_vault';
SELECT count(*) AS made FROM pg_class WHERE relnamespace = 'tde_vault'::regnamespace AND relowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user);
SET SESSION AUTHORIZATION regress_schema_second;
ALTER SCHEMA tde_vault OWNER TO regress_schema_second;
\echo :LAST_ERROR_SQLSTATE
CREATE FUNCTION tde_vault.may_inspect(integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
\echo :LAST_ERROR_SQLSTATE
RESET SESSION AUTHORIZATION;
DROP EXTENSION tde_vault;
DROP SCHEMA tde_vault;

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
DROP ROLE regress_schema_thief, regress_schema_second;
