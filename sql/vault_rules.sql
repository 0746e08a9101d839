-- Command rules: what they cover, whom, when; conditions.
SET client_min_messages = warning;
CREATE ROLE vru_security LOGIN;
CREATE ROLE vru_app LOGIN;
CREATE ROLE vru_batch LOGIN;
CREATE DATABASE vault_rules;
RESET client_min_messages;
\c vault_rules
SET client_min_messages = warning;
CREATE EXTENSION tde_vault;
RESET client_min_messages;
CREATE TABLE accounts (id int PRIMARY KEY, iban text, balance numeric) USING tde_heap;
CREATE TABLE other (id int);
CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE FUNCTION evil.pass() RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE FUNCTION evil.hour(timestamptz) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 12';
CALL tde_vault.enable_vault();
GRANT vault_admin TO vru_security;
\c - vru_security
CALL tde_vault.create_realm('money', owner => 'vru_app');
CALL tde_vault.realm_add('money', ARRAY['accounts']);
CALL tde_vault.realm_authorize('money', ARRAY['vru_app', 'vru_batch']);

-- conditions are checked when the rule is made
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table', 'accounts', condition => 'HOUR(');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table', 'accounts', condition => 'HOUR(CURRENT_TIMESTAMP)');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table', 'accounts', condition => 'true, false');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table', 'accounts', condition => 'true FROM pg_class');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table', 'accounts', condition => '(SELECT true)');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table', 'accounts', condition => 'user_name = ''x''');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table', 'accounts', condition => 'accounts.id = 1');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table', 'accounts', condition => 'random() < 0.5');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table', 'accounts', condition => 'evil.pass()');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table', 'accounts', condition => 'current_setting(''a.b'') = ''x''');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table', 'accounts', condition => 'CURRENT_DATE = ''2024-01-01''');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table', 'accounts', condition => 'bool_and(true)');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table', 'accounts', condition => '$1');
CALL tde_vault.create_command_rule('r', ARRAY['EXPLODE'], 'table', 'accounts');
CALL tde_vault.create_command_rule('r', ARRAY[]::text[], 'table', 'accounts');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'table');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'index', 'accounts_pkey');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'column', 'accounts.nothing');
CALL tde_vault.create_command_rule('r', ARRAY['DELETE'], 'realm', 'nothing');

-- the specification's
CALL tde_vault.create_command_rule('hours', ARRAY['DELETE'], 'table', 'accounts',
    condition => 'HOUR(CURRENT_TIMESTAMP) NOT BETWEEN 9 AND 17', message => 'only in office hours');
CALL tde_vault.create_command_rule('hours', ARRAY['DELETE'], 'table', 'accounts');
CALL tde_vault.create_command_rule('hours', ARRAY['DELETE'], 'table', 'accounts', if_not_exists => true);
CALL tde_vault.drop_command_rule('hours');
CALL tde_vault.drop_command_rule('hours', if_exists => true);
CALL tde_vault.drop_command_rule('hours');
CALL tde_vault.alter_command_rule('hours', 'disable');

CALL tde_vault.create_command_rule('no_delete', ARRAY['DELETE'], 'table', 'accounts',
    roles => ARRAY['vru_batch'], message => 'batch jobs delete nothing');
CALL tde_vault.create_command_rule('psql', ARRAY['UPDATE'], 'realm', 'money', condition => 'program_name = ''bad program''');
CALL tde_vault.create_command_rule('facts', ARRAY['INSERT'], 'realm', 'money', condition =>
    'NOT (session_user = ''vru_app'' AND current_user = ''vru_app'' AND "session_user" = session_user
     AND client_addr IS NULL AND database = ''vault_rules'' AND NOT ssl AND realm = ''money''
     AND now() = CURRENT_TIMESTAMP AND DAY_OF_WEEK(''2024-01-01 00:30+00''::timestamptz) = 1
     AND HOUR(''2024-01-01 00:30+02''::timestamptz) = 22 AND HOUR(''2024-01-01 07:30''::timestamp) = 7)');
CALL tde_vault.create_command_rule('broken', ARRAY['GRANT'], 'table', 'other', condition => '1 / length(realm) = 1');
CALL tde_vault.create_command_rule('unknown', ARRAY['LOCK', 'ALTER'], 'table', 'other');
CALL tde_vault.create_command_rule('unknown', ARRAY['ALTER'], 'table', 'other', condition => 'client_addr = ''10.0.0.1''');
CALL tde_vault.create_command_rule('column', ARRAY['SELECT'], 'column', 'accounts.iban', roles => ARRAY['vru_batch'], simulate => true);
CALL tde_vault.create_command_rule('all', ARRAY['ALL'], 'database', roles => ARRAY['vru_batch'], simulate => true);
CALL tde_vault.alter_command_rule('all', 'disable');
SELECT rule, actions, object_kind, object, roles, mode FROM tde_vault.command_rules;

\c - vru_batch
SELECT action, a.verdict, a.rule, a.simulate FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'DROP']) action
CROSS JOIN LATERAL tde_vault.vault_access('accounts', action) a;
SELECT * FROM tde_vault.command_rules;
CALL tde_vault.drop_command_rule('no_delete');
\c - vru_app
-- an error and an unknown deny; the session's settings change nothing
SET timezone = 'Pacific/Kiritimati';
SET datestyle = 'German';
SET search_path = evil, public;
SELECT action, a.verdict, a.rule FROM unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) action
CROSS JOIN LATERAL tde_vault.vault_access('public.accounts', action) a;
SET application_name = 'bad program';
SELECT verdict, rule FROM tde_vault.vault_access('public.accounts', 'UPDATE');
SELECT action, a.verdict, a.rule FROM unnest(ARRAY['GRANT', 'ALTER', 'SELECT']) action
CROSS JOIN LATERAL tde_vault.vault_access('public.other', action) a;
-- an error inside leaves the transaction as it was
BEGIN;
SELECT verdict FROM tde_vault.vault_access('public.other', 'GRANT');
SELECT verdict FROM tde_vault.vault_access('public.other', 'SELECT');
COMMIT;
-- the owner of a realm sees its rules
SELECT rule FROM tde_vault.command_rules;
\c - vru_security
CALL tde_vault.alter_command_rule('all', 'simulate');
CALL tde_vault.drop_realm('money');
SELECT rule FROM tde_vault.command_rules;
CALL tde_vault.disable_vault();
\c contrib_regression postgres
DROP DATABASE vault_rules;
DROP ROLE vru_security, vru_app, vru_batch;
