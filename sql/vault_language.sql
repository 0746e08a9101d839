-- The vault's statements, one after the other as the language has them, each
-- with every alternative, option and clause.
\set database vault_language
CREATE DATABASE :database;
\c :database
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION tde_vault;
CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'vault_language_key';
RESET client_min_messages;
SELECT kind, state, key_id FROM tde_vault.keys WHERE key_id = 'vault_language_key';
SELECT * FROM system.encryption_progress \g /dev/null

CREATE ROLE security_team LOGIN;
CREATE ROLE security_officer LOGIN;
CREATE ROLE vl_owner LOGIN;
CREATE ROLE vl_alice LOGIN;
CREATE ROLE vl_bob LOGIN;
CREATE ROLE vl_dba SUPERUSER LOGIN;
CREATE SCHEMA vl AUTHORIZATION vl_owner;
CREATE SCHEMA vl_more AUTHORIZATION vl_owner;
SET ROLE vl_owner;
CREATE TABLE vl.t (id int, c text) USING tde_heap;
CREATE TABLE vl.u (id int) USING tde_heap;
CREATE TABLE vl_more.v (id int) USING tde_heap;
INSERT INTO vl.t VALUES (1, 'one');
RESET ROLE;

-- the bootstrap, as typed
ALTER DATABASE ENABLE DATABASE VAULT;
CREATE ROLE vault_admin;
GRANT VAULT_ADMIN TO security_team;
\connect - security_team
CREATE REALM pii_protection OWNER security_team;
SELECT current_user, realm, owner, require_password FROM tde_vault.realms;
DROP REALM pii_protection;
ALTER DATABASE vault_language ENABLE DATABASE VAULT;

-- CREATE REALM: options, in the order of the language and in another one
CREATE REALM r DESCRIPTION 'text' OWNER vl_owner REQUIRE VAULT PASSWORD SIMULATE;
CREATE REALM s SIMULATE REQUIRE VAULT PASSWORD OWNER vl_owner DESCRIPTION 'text';
CREATE REALM x;
CREATE REALM x;
CREATE REALM IF NOT EXISTS x;
SELECT realm, description, owner, mode, require_password FROM tde_vault.realms ORDER BY realm;

-- ALTER REALM; who guards data needs no right on it, nor on its schema
SELECT has_schema_privilege('vl', 'USAGE');
ALTER REALM r ADD TABLE vl.t, TABLE vl.u, SCHEMA vl_more;
ALTER REALM r REMOVE TABLE vl.u, SCHEMA vl_more;
ALTER REALM r ADD SCHEMA vl_more;
ALTER REALM r ADD TABLE vl.u;
ALTER REALM r REMOVE TABLE vl.u;
ALTER REALM r REMOVE SCHEMA vl_more;
SELECT realm, kind, object FROM tde_vault.realm_objects;
SELECT * FROM vl.t;
ALTER REALM r ADD TABLE vl.nowhere;
ALTER REALM r ADD TABLE nowhere.t;
ALTER REALM r OWNER TO security_officer;
ALTER REALM r OWNER TO vl_owner;
ALTER REALM r DESCRIPTION 'another';
ALTER REALM r DISABLE;
ALTER REALM r SIMULATE;
ALTER REALM r ENABLE;
ALTER REALM r AUTHORIZE vl_alice;
ALTER REALM r AUTHORIZE vl_bob, security_officer;
ALTER REALM r REVOKE vl_bob, security_officer;
ALTER REALM r REVOKE vl_bob;
ALTER REALM nowhere ENABLE;
ALTER REALM r AUTHORIZE nobody_at_all;
SELECT realm, description, owner, mode FROM tde_vault.realms WHERE realm = 'r';
SELECT realm, role FROM tde_vault.realm_authorizations;

-- GRANT VAULT PASSWORD: with PASSWORD the command tag is all; without, it is
-- made and shown this once
\t on
GRANT VAULT PASSWORD ON REALM r TO vl_alice PASSWORD 'p';
GRANT VAULT PASSWORD ON REALM r TO vl_alice PASSWORD 'p' VALID FOR INTERVAL '2 HOURS';
GRANT VAULT PASSWORD ON REALM r TO vl_alice VALID FOR INTERVAL '2 HOURS' PASSWORD 'p';
\t off
GRANT VAULT PASSWORD ON REALM r TO vl_bob \gset
SELECT length(:'generated') > 15 AS made;
GRANT VAULT PASSWORD ON REALM r TO vl_bob VALID FOR INTERVAL '2 HOURS' \gset
SELECT length(:'generated') > 15 AS made;
CALL tde_vault.grant_vault_password('r', 'vl_bob', 'q');
CALL tde_vault.set_vault_password('r', 'vl_bob', 'q');
CALL tde_vault.set_vault_password('r', 'vl_bob', NULL);
CALL tde_vault.set_vault_password('r', 'vl_bob', '');
GRANT VAULT PASSWORD ON REALM r TO vl_bob PASSWORD 'q' VALID FOR INTERVAL '-1 HOUR';
GRANT VAULT PASSWORD ON REALM r TO nobody_at_all PASSWORD 'q';
SELECT realm, role, valid_until IS NOT NULL AS ends FROM tde_vault.vault_passwords ORDER BY role;
REVOKE VAULT PASSWORD ON REALM r FROM vl_bob;
REVOKE VAULT PASSWORD ON REALM r FROM vl_bob;

-- COMMAND RULES: every statement, every object, every clause
CREATE COMMAND RULE c1 FOR SELECT ON TABLE vl.t DENY;
CREATE COMMAND RULE c2 FOR INSERT, UPDATE, DELETE ON TABLE vl.t DENY FROM ROLE vl_alice, vl_bob;
CREATE COMMAND RULE c3 FOR TRUNCATE ON SCHEMA vl DENY WHEN session_user <> 'vl_owner';
CREATE COMMAND RULE c4 FOR COPY ON REALM r DENY MESSAGE 'text';
CREATE COMMAND RULE c5 FOR DROP ON DATABASE DENY SIMULATE;
CREATE COMMAND RULE c6 FOR ALTER, GRANT ON COLUMN vl.t.c DENY FROM ROLE vl_alice WHEN ssl OR NOT ssl MESSAGE 'text' SIMULATE;
CREATE COMMAND RULE c7 FOR ALL ON TABLE vl.t DENY WHEN HOUR(CURRENT_TIMESTAMP) NOT BETWEEN 9 AND 17;
CREATE COMMAND RULE c8 FOR ALL ON TABLE vl.t DENY WHEN DAY_OF_WEEK(CURRENT_TIMESTAMP) IN (6, 7)
	OR program_name = 'x' OR current_user = 'x' OR client_addr << '10.0.0.0/8' OR database = 'x' OR realm = 'x';
SELECT rule, actions, object_kind, object, roles, condition, message, mode FROM tde_vault.command_rules ORDER BY rule;
CREATE COMMAND RULE c1 FOR SELECT ON TABLE vl.t DENY;
CREATE COMMAND RULE IF NOT EXISTS c1 FOR SELECT ON TABLE vl.t DENY;
CREATE COMMAND RULE c9 FOR SELECT ON TABLE vl.nowhere DENY;
CREATE COMMAND RULE c9 FOR SELECT ON COLUMN vl.t.nowhere DENY;
CREATE COMMAND RULE c9 FOR SELECT ON SCHEMA nowhere DENY;
CREATE COMMAND RULE c9 FOR SELECT ON REALM nowhere DENY;
CREATE COMMAND RULE c9 FOR SELECT ON TABLE vl.t DENY FROM ROLE nobody_at_all;
CREATE COMMAND RULE c9 FOR SELECT ON TABLE vl.t DENY WHEN nowhere = 1;
ALTER COMMAND RULE c1 DISABLE;
ALTER COMMAND RULE c1 SIMULATE;
ALTER COMMAND RULE c1 ENABLE;
ALTER COMMAND RULE nowhere ENABLE;
DROP COMMAND RULE c1;
DROP COMMAND RULE c1;
DROP COMMAND RULE IF EXISTS c1;
DROP COMMAND RULE c2; DROP COMMAND RULE c3; DROP COMMAND RULE c4; DROP COMMAND RULE c5;
DROP COMMAND RULE c6; DROP COMMAND RULE c7; DROP COMMAND RULE c8;

-- UNLOCK and LOCK
\connect - vl_owner
GRANT USAGE ON SCHEMA vl TO vl_alice;
\connect - security_team
ALTER REALM r AUTHORIZE vl_owner;
GRANT VAULT PASSWORD ON REALM r TO vl_owner PASSWORD 'own';
\connect - vl_owner
UNLOCK REALM r PASSWORD 'own';
GRANT SELECT ON vl.t TO vl_alice;
\connect - vl_alice
SELECT * FROM vl.t;
UNLOCK REALM r PASSWORD 'wrong';
UNLOCK REALM r PASSWORD 'p';
SELECT * FROM vl.t;
LOCK REALM r;
SELECT * FROM vl.t;
UNLOCK REALM r PASSWORD 'p';
SELECT realm, "user" FROM tde_vault.unlocked_realms;
LOCK REALM ALL;
SELECT count(*) FROM tde_vault.unlocked_realms;
UNLOCK REALM nowhere PASSWORD 'p';
LOCK REALM nowhere;

-- emergencies
EMERGENCY UNLOCK REALM r AUTHORIZED BY security_officer REASON 'text' VALID FOR INTERVAL '1 HOUR';
\connect - security_team
GRANT vault_admin TO security_officer;
\connect - vl_bob
EMERGENCY UNLOCK REALM r AUTHORIZED BY security_officer REASON 'text' VALID FOR INTERVAL '1 HOUR';
EMERGENCY UNLOCK REALM r AUTHORIZED BY security_officer REASON 'text' VALID FOR INTERVAL '61 MINUTES';
EMERGENCY UNLOCK REALM r AUTHORIZED BY security_officer REASON ' ' VALID FOR INTERVAL '1 HOUR';
APPROVE EMERGENCY UNLOCK 1;
\connect - security_officer
APPROVE EMERGENCY UNLOCK 1;
APPROVE EMERGENCY UNLOCK 1;
APPROVE EMERGENCY UNLOCK 2;
REVIEW EMERGENCY UNLOCK 1 NOTE 'text';
\connect - security_team
REVIEW EMERGENCY UNLOCK 1 NOTE 'text';
REVIEW EMERGENCY UNLOCK 1 NOTE 'text';
SELECT id, realm, requested_by, authorized_by, reason, valid_for, reviewed_by, note FROM tde_vault.emergency_unlocks;

-- syntax errors are where the mistake is
\set VERBOSITY default
CREATE REALM r OWNER;
CREATE REALM r REQUIRE PASSWORD;
ALTER REALM r ADD vl.t;
ALTER REALM r OWNER vl_owner;
ALTER REALM r AUTHORIZE vl_alice vl_bob;
DROP REALM r CASCADE;
GRANT VAULT PASSWORD ON r TO vl_alice;
GRANT VAULT PASSWORD ON REALM r TO vl_alice PASSWORD p;
GRANT VAULT PASSWORD ON REALM r TO vl_alice VALID FOR '2 HOURS';
REVOKE VAULT PASSWORD ON REALM r TO vl_alice;
UNLOCK REALM r;
EMERGENCY UNLOCK REALM r REASON 'text' VALID FOR INTERVAL '1 HOUR';
EMERGENCY UNLOCK REALM r AUTHORIZED BY security_officer REASON 'text';
APPROVE EMERGENCY UNLOCK one;
REVIEW EMERGENCY UNLOCK 1;
CREATE COMMAND RULE c FOR VACUUM ON TABLE vl.t DENY;
CREATE COMMAND RULE c FOR SELECT ON vl.t DENY;
CREATE COMMAND RULE c FOR SELECT ON TABLE vl.t ALLOW;
CREATE COMMAND RULE c FOR SELECT ON TABLE vl.t DENY FROM vl_alice;
CREATE COMMAND RULE c FOR SELECT ON TABLE vl.t DENY WHEN MESSAGE 'text';
ALTER COMMAND RULE c OFF;
CREATE COMMAND RULE c FOR SELECT ON TABLE vl.t DENY WHEN session_user = nowhere MESSAGE 'text';
CREATE COMMAND RULE c FOR SELECT ON TABLE vl.t DENY WHEN session_user = MESSAGE 'text';
CREATE COMMAND RULE c FOR SELECT ON TABLE vl.t DENY WHEN session_user + 1 > 0;
ALTER DATABASE ENABLE VAULT;
\set VERBOSITY terse

-- the end
\connect - security_team
DROP REALM r;
DROP REALM r;
DROP REALM IF EXISTS r;
DROP REALM s;
DROP REALM x;
REVOKE vault_admin FROM security_officer;
ALTER DATABASE vault_language DISABLE DATABASE VAULT;
ALTER DATABASE ENABLE DATABASE VAULT;
ALTER DATABASE DISABLE DATABASE VAULT;
\connect postgres postgres
DROP DATABASE vault_language;
DROP ROLE security_team, security_officer, vl_owner, vl_alice, vl_bob, vl_dba;
