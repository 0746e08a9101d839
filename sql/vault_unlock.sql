-- Vault passwords, emergencies, and what is shown of them.
SET client_min_messages = warning;
CREATE ROLE vu_security LOGIN;
CREATE ROLE vu_officer LOGIN;
CREATE ROLE vu_auditor LOGIN;
CREATE ROLE vu_owner LOGIN;
CREATE ROLE vu_alice LOGIN;
CREATE ROLE vu_dba LOGIN SUPERUSER;
CREATE ROLE vu_doctors;
GRANT vu_doctors TO vu_alice;
CREATE DATABASE vault_unlock;
RESET client_min_messages;
\c vault_unlock
SET client_min_messages = warning;
CREATE EXTENSION tde_vault;
RESET client_min_messages;
CREATE TABLE patients (id int PRIMARY KEY, name text) USING tde_heap;
CREATE VIEW answer AS SELECT verdict, emergency FROM tde_vault.vault_access('patients');
GRANT SELECT ON answer TO PUBLIC;
GRANT vault_admin TO vu_security, vu_officer;
GRANT vault_auditor TO vu_auditor;
CALL tde_vault.enable_vault();
\c - vu_security
CALL tde_vault.create_realm('pii', owner => 'vu_owner', require_password => true);
CALL tde_vault.realm_add('pii', ARRAY['patients']);
CALL tde_vault.realm_authorize('pii', ARRAY['vu_alice']);

-- a group's password, and a person's
\c - vu_owner
CALL tde_vault.grant_vault_password('pii', 'vu_doctors', 'doctors know');
CALL tde_vault.grant_vault_password('pii', 'vu_alice', 'alice knows', '2 hours');
SELECT realm, role, granted_by, valid_until - created BETWEEN '1:59' AND '2:01' AS two_hours, expired, parameters
FROM tde_vault.vault_passwords ORDER BY role;
SELECT * FROM answer;
\c - vu_alice
CALL tde_vault.unlock_realm('pii', 'doctors know');
SELECT * FROM answer;
SELECT realm, "user", pid = pg_backend_pid() AS mine, expires - since AS lasts FROM tde_vault.unlocked_realms;
-- another role locks it: the session may serve somebody else now
SET ROLE vu_doctors;
SELECT * FROM answer;
RESET ROLE;
CALL tde_vault.lock_realm('pii');
SELECT * FROM answer;
CALL tde_vault.unlock_realm('pii', 'alice knows');
SELECT * FROM answer;
SELECT * FROM tde_vault.vault_passwords;
\c - vu_owner
CALL tde_vault.revoke_vault_password('pii', 'vu_doctors');
CALL tde_vault.revoke_vault_password('pii', 'vu_doctors');

-- challenge and response
\c - vu_alice
CALL tde_vault.unlock_response('pii', '\x00');
DO $$
DECLARE salt bytea; params text; nonce bytea;
BEGIN
    CALL tde_vault.unlock_challenge('pii', salt, params, nonce);
    RAISE NOTICE '% % %', length(salt), params, length(nonce);
END $$;
CALL tde_vault.unlock_response('pii', '\x00');
DO $$ DECLARE salt bytea; params text; nonce bytea; BEGIN CALL tde_vault.unlock_challenge('pii', salt, params, nonce); END $$;
CALL tde_vault.unlock_response('pii', decode(repeat('00', 32), 'hex'));

-- with that one, five wrong ones lock out; ROLLBACK takes none back
BEGIN;
CALL tde_vault.unlock_realm('pii', 'wrong');
ROLLBACK;
DO $$ BEGIN CALL tde_vault.unlock_realm('pii', 'wrong'); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%', SQLERRM; END $$;
CALL tde_vault.unlock_realm('pii', 'wrong');
CALL tde_vault.unlock_realm('pii', 'wrong');
SELECT 'locked' AS verdict FROM answer WHERE verdict = 'locked';
\set VERBOSITY terse
DO $$ BEGIN CALL tde_vault.unlock_realm('pii', 'alice knows'); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%: %', SQLSTATE, SQLERRM; END $$;
\set VERBOSITY default
-- until there is a new password
\c - vu_owner
CALL tde_vault.grant_vault_password('pii', 'vu_alice', 'alice knows more');
\c - vu_alice
CALL tde_vault.unlock_realm('pii', 'alice knows more');
SELECT * FROM answer;

-- an emergency: who may ask, authorize, approve, review
\c - vu_dba
SELECT * FROM answer;
CALL tde_vault.emergency_unlock('pii', 'vu_dba', 'outage', '1 hour');
CALL tde_vault.emergency_unlock('pii', 'vu_alice', 'outage', '1 hour');
CALL tde_vault.emergency_unlock('pii', 'vu_officer', ' ', '1 hour');
CALL tde_vault.emergency_unlock('pii', 'vu_officer', 'outage', '61 minutes');
CALL tde_vault.emergency_unlock('pii', 'vu_officer', 'outage', '0');
CALL tde_vault.emergency_unlock('pii', 'vu_officer', 'outage', '1 month');
BEGIN;
CALL tde_vault.emergency_unlock('pii', 'vu_officer', 'database is down', '1 hour');
ROLLBACK;
CALL tde_vault.emergency_unlock('pii', 'vu_officer', 'database is down', '1 hour');
CALL tde_vault.approve_emergency_unlock(1);
SET SESSION AUTHORIZATION vu_officer;
CALL tde_vault.approve_emergency_unlock(1);
RESET SESSION AUTHORIZATION;
SELECT * FROM answer;
\c - vu_security
CALL tde_vault.approve_emergency_unlock(1);
CALL tde_vault.approve_emergency_unlock(2);
\c - vu_officer
CALL tde_vault.approve_emergency_unlock(1);
CALL tde_vault.approve_emergency_unlock(1);
\c - vu_dba
SELECT * FROM answer;
SELECT id, realm, state, requested_by, authorized_by, reason, valid_for, expires - approved AS lasts, note FROM tde_vault.emergency_unlocks;
CALL tde_vault.review_emergency_unlock(1, 'all fine');
\c - vu_alice
SELECT * FROM tde_vault.emergency_unlocks;
CALL tde_vault.review_emergency_unlock(1, 'all fine');
\c - vu_auditor
CALL tde_vault.review_emergency_unlock(1, '');
CALL tde_vault.review_emergency_unlock(1, 'looked at the log, all fine');
CALL tde_vault.review_emergency_unlock(1, 'again');
SELECT id, state, reviewed_by, note FROM tde_vault.emergency_unlocks;
SELECT realm, owner, mode, require_password FROM tde_vault.realms;
SELECT realm, kind, object FROM tde_vault.realm_objects;
SELECT realm, role, granted_by FROM tde_vault.realm_authorizations;
CALL tde_vault.realm_mode('pii', 'disable');
-- a review ends it
\c - vu_dba
SELECT * FROM answer;
\c - vu_security
CALL tde_vault.disable_vault();
\c contrib_regression postgres
DROP DATABASE vault_unlock;
DROP ROLE vu_security, vu_officer, vu_auditor, vu_owner, vu_alice, vu_dba, vu_doctors;
