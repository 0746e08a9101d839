-- Recovery shares; the policy as statements.
SET client_min_messages = warning;
CREATE ROLE vre_security LOGIN;
CREATE ROLE vre_nobody LOGIN;
CREATE ROLE vre_new LOGIN;
CREATE ROLE "vre Owner" LOGIN;
CREATE DATABASE vault_recovery;
RESET client_min_messages;
\c vault_recovery
SET client_min_messages = warning;
CREATE EXTENSION tde_vault;
RESET client_min_messages;
CREATE TABLE patients (id int PRIMARY KEY, name text) USING tde_heap;
CREATE SCHEMA "Lab Data";
CREATE TABLE "Lab Data".results (id int, "Value" text) USING tde_heap;
GRANT vault_admin TO vre_security;
CALL tde_vault.enable_vault();
SELECT * FROM tde_vault.create_recovery_shares(2, 3);
\c - vre_security
SELECT * FROM tde_vault.create_recovery_shares(1, 3);
SELECT * FROM tde_vault.create_recovery_shares(4, 3);
SELECT * FROM tde_vault.create_recovery_shares(2, 33);
SELECT number, share ~ '^tv1-[0-9a-f]{2}-[0-9a-f]{64}-[0-9a-f]{8}$' AS good FROM tde_vault.create_recovery_shares(2, 3);
SELECT share AS s2 FROM tde_vault.create_recovery_shares(3, 4) WHERE number = 2 \gset old_
-- the newest count
SELECT array_agg(share ORDER BY number) AS shares FROM tde_vault.create_recovery_shares(2, 3) \gset
SELECT (:'shares'::text[])[1] AS s1, (:'shares'::text[])[2] AS s2, (:'shares'::text[])[3] AS s3 \gset
\set VERBOSITY terse
\set SHOW_CONTEXT never
\c - vre_nobody
CALL tde_vault.recover_vault_admin(ARRAY[:'s1'], 'vre_new');
CALL tde_vault.recover_vault_admin(ARRAY[:'s1', :'s1'], 'vre_new');
CALL tde_vault.recover_vault_admin(ARRAY[:'s1', :'old_s2'], 'vre_new');
CALL tde_vault.recover_vault_admin(ARRAY[:'s1', 'tv1-02-' || repeat('0', 64) || '-00000000'], 'vre_new');
CALL tde_vault.recover_vault_admin(ARRAY[:'s1', ''], 'vre_new');
CALL tde_vault.recover_vault_admin(ARRAY[:'s1', :'s2'], 'vre_missing');
SELECT pg_has_role('vre_new', 'vault_admin', 'MEMBER') AS before;
CALL tde_vault.recover_vault_admin(ARRAY[:'s3', :'s1'], 'vre_new');
SELECT pg_has_role('vre_new', 'vault_admin', 'MEMBER') AS after;
-- shares serve once
CALL tde_vault.recover_vault_admin(ARRAY[:'s2', :'s1'], 'vre_nobody');
\c - vre_new
\set VERBOSITY default
-- statements
CALL tde_vault.create_realm('pii', 'it''s personal', 'vre Owner', true);
CALL tde_vault.create_realm('Lab', simulate => true);
CALL tde_vault.create_realm('off');
CALL tde_vault.realm_mode('off', 'disable');
CALL tde_vault.realm_add('pii', ARRAY['patients'], ARRAY['"Lab Data"']);
CALL tde_vault.realm_add('Lab', ARRAY['"Lab Data".results']);
CALL tde_vault.realm_authorize('pii', ARRAY['vre Owner', 'vre_nobody']);
CALL tde_vault.grant_vault_password('pii', 'vre_nobody', 'not to be seen');
CALL tde_vault.create_command_rule('hours', ARRAY['DELETE', 'COPY'], 'table', 'patients', roles => ARRAY['vre_nobody', 'vre Owner'],
    condition => 'HOUR(CURRENT_TIMESTAMP) NOT BETWEEN 9 AND 17', message => 'not now', simulate => true);
CALL tde_vault.create_command_rule('Col', ARRAY['SELECT'], 'column', '"Lab Data".results."Value"');
CALL tde_vault.create_command_rule('db', ARRAY['ALL'], 'database', roles => ARRAY['vre_nobody']);
CALL tde_vault.alter_command_rule('db', 'disable');
CALL tde_vault.create_command_rule('re', ARRAY['SELECT'], 'realm', 'Lab');
SELECT statement FROM tde_vault.vault_script NATURAL FULL JOIN tde_vault.vault_statements() ORDER BY number;
\c - vre_nobody
SELECT statement FROM tde_vault.vault_statements();
\c - vre_new
CALL tde_vault.drop_realm('pii');
CALL tde_vault.drop_realm('Lab');
CALL tde_vault.disable_vault();
\c contrib_regression postgres
DROP DATABASE vault_recovery;
DROP ROLE vre_security, vre_nobody, vre_new, "vre Owner";
