-- Master keys: what create_master_key takes and what it refuses.
-- The cluster has a default master key already; a new database has none.

\set SHOW_CONTEXT never
SELECT current_database() AS home \gset
CREATE DATABASE regress_keys TEMPLATE template0;
\connect regress_keys
CREATE EXTENSION tde_vault;
\t on
\pset format unaligned

-- key ids
CALL tde_vault.create_master_key(NULL);
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.create_master_key('');
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.create_master_key(repeat('k', 129));
\echo :LAST_ERROR_SQLSTATE

-- providers that cannot be understood
CALL tde_vault.create_master_key('key', 'vault.example.com');
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.create_master_key('key', 'kmip:host');
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.create_master_key('key', 'file:relative/path');
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.create_master_key('key', 'env:');
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.create_master_key('key', 'pkcs11:token=t');
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.create_master_key('key', 'pkcs11:tokn=t?module-path=/nonexistent/module.so');
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.create_master_key('key', 'file:/' || repeat('x', 1100));
\echo :LAST_ERROR_SQLSTATE

-- providers that are not there
CALL tde_vault.create_master_key('key', 'env:TDE_VAULT_NO_SUCH_VARIABLE');
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.create_master_key('key', 'file:/nonexistent/mek.key');
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.create_master_key('key', 'passphrase:/nonexistent/passphrase');
\echo :LAST_ERROR_SQLSTATE
-- no message shows the PIN
CALL tde_vault.create_master_key('key', 'pkcs11:token=t?module-path=/nonexistent/module.so&pin-value=271828');
\echo :LAST_ERROR_SQLSTATE

-- nothing of that left a key behind
SELECT count(*) FROM tde_vault.keys WHERE key_id = 'key';

-- one for the cluster is there
CALL tde_vault.create_master_key('another', NULL, true);
\echo :LAST_ERROR_SQLSTATE

-- one for this database, and no second
CALL tde_vault.create_master_key('regress_key');
CALL tde_vault.create_master_key('regress_key_2');
\echo :LAST_ERROR_SQLSTATE
SELECT kind, state, version, key_id, rotated IS NULL, created <= now(),
       id ~ '^[0-9a-f]{16}$', "table" IS NULL
FROM tde_vault.keys
WHERE kind = 'master'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- tables of this database are wrapped by its own key
CREATE TABLE keys_wrapped (id integer) USING tde_heap;
SELECT kind, state, version, wrapped_by, "table"
FROM tde_vault.keys WHERE "table" = 'keys_wrapped'::regclass;
DROP TABLE keys_wrapped;

-- not in a transaction that may write nothing
BEGIN READ ONLY;
CALL tde_vault.create_master_key('read_only');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

\connect :home
DROP DATABASE regress_keys;
