-- Who may ask what.  The whole matrix is test/pgtap/permissions_matrix.sql;
-- here are the messages.

\set SHOW_CONTEXT never
CREATE ROLE regress_tv_owner;
CREATE ROLE regress_tv_other;
CREATE SCHEMA regress_tv AUTHORIZATION regress_tv_owner;
SET ROLE regress_tv_owner;
CREATE TABLE regress_tv.mine (id integer PRIMARY KEY) USING tde_heap;
CREATE TABLE regress_tv.plain (id integer);
RESET ROLE;
CREATE TABLE regress_tv.not_mine (id integer) USING tde_heap;

SET SESSION AUTHORIZATION regress_tv_owner;
SELECT relation, cipher FROM tde_vault.encryption_status ORDER BY relation::text COLLATE "C";
SELECT relation, reason FROM tde_vault.plaintext_files ORDER BY relation::text COLLATE "C";
SELECT tde_vault.is_encrypted('regress_tv.mine');
SELECT tde_vault.is_encrypted('regress_tv.not_mine');
\echo :LAST_ERROR_SQLSTATE
CALL tde_vault.create_master_key('mine');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM tde_vault.verify('regress_tv.mine');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM tde_vault.keys;
SELECT * FROM tde_vault.system_info();
SELECT * FROM tde_vault.master_keys();
SELECT * FROM tde_vault.relation_files('regress_tv.mine'::regclass);
SET tde_vault.enforce_encryption = off;
SHOW tde_vault.key_provider;
SET tde_vault.cipher = 'aes-256-xts';

-- another role sees nothing of these
SET SESSION AUTHORIZATION regress_tv_other;
SELECT count(*) FROM tde_vault.encryption_status;
SELECT count(*) FROM tde_vault.plaintext_files;
RESET SESSION AUTHORIZATION;
RESET tde_vault.cipher;

SET client_min_messages = warning;
DROP SCHEMA regress_tv CASCADE;
DROP ROLE regress_tv_owner, regress_tv_other;
