-- Settings, and what system_info() tells.

\set SHOW_CONTEXT never
SELECT name, vartype, context, boot_val, min_val, max_val, unit
FROM pg_settings WHERE name LIKE 'tde\_vault.%' AND name <> 'tde_vault.key_provider'
ORDER BY name COLLATE "C";
SELECT context FROM pg_settings WHERE name = 'tde_vault.key_provider';
SET tde_vault.no_such_setting = 1;
\echo :LAST_ERROR_SQLSTATE
SET tde_vault.max_relation_files = 10;
\echo :LAST_ERROR_SQLSTATE

-- what sealed pages need is on, whatever the configuration says
SELECT name, setting, source FROM pg_settings
WHERE name IN ('full_page_writes', 'wal_log_hints') ORDER BY name;

SELECT name FROM tde_vault.system_info() WHERE name ~ '^(cipher|format|keyring|memory)' ORDER BY name COLLATE "C";
SELECT name, value FROM tde_vault.system_info() WHERE name LIKE 'format:%' ORDER BY name COLLATE "C";
SELECT bool_and(value <> '') FROM tde_vault.system_info();

SELECT amname, amtype, amhandler FROM pg_am WHERE amname = 'tde_heap';
SELECT extversion, extrelocatable, nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace
WHERE extname = 'tde_vault';

-- the extension stays while a table needs it
CREATE TABLE info_needs (id integer) USING tde_heap;
\set VERBOSITY terse
DROP EXTENSION tde_vault;
\echo :LAST_ERROR_SQLSTATE
DROP TABLE info_needs;
