-- The statements of the vault, against the vault.
CREATE TABLE dv_people (id int, ssn text) USING tde_heap;
CREATE TABLE dv_plain (realm int, vault text);
CREATE SCHEMA dv_schema;
CREATE ROLE dv_team;
CREATE ROLE dv_user;

-- refused before there is a vault, each by its own tag
CREATE REALM dv OWNER dv_team;
DROP REALM dv;
DROP REALM IF EXISTS dv;
ALTER REALM dv ADD TABLE dv_people, SCHEMA dv_schema;
ALTER REALM dv OWNER TO dv_team;
ALTER REALM dv DESCRIPTION 'x';
ALTER REALM dv SIMULATE;
ALTER REALM dv AUTHORIZE dv_user;
ALTER REALM dv REVOKE dv_user;
GRANT VAULT PASSWORD ON REALM dv TO dv_user VALID FOR INTERVAL '2 HOURS';
REVOKE VAULT PASSWORD ON REALM dv FROM dv_user;
UNLOCK REALM dv PASSWORD 'p';
LOCK REALM dv;
LOCK REALM ALL;
EMERGENCY UNLOCK REALM dv AUTHORIZED BY dv_user REASON 'x' VALID FOR INTERVAL '1' HOUR;
APPROVE EMERGENCY UNLOCK 1;
REVIEW EMERGENCY UNLOCK 1 NOTE 'x';
CREATE COMMAND RULE dv_rule FOR DELETE ON TABLE dv_people DENY WHEN HOUR(CURRENT_TIMESTAMP) NOT BETWEEN 9 AND 17;
ALTER COMMAND RULE dv_rule DISABLE;
DROP COMMAND RULE dv_rule;
DROP COMMAND RULE IF EXISTS dv_rule;

-- a role that the extension made: a notice, if nothing else is asked for
CREATE ROLE vault_admin;
CREATE ROLE vault_auditor;
CREATE ROLE vault_operator;
CREATE ROLE vault_admin LOGIN;
CREATE USER vault_admin;
CREATE ROLE "Vault_admin_of_dv";
DROP ROLE "Vault_admin_of_dv";

-- syntax errors
CREATE REALM dv OWNER 'x';
CREATE REALM dv SIMULATE DESCRIPTION 'x' SIMULATE;
UNLOCK REALM dv PASSWORD p;
UNLOCK REALM dv PASSWORD 'p' VALID;
CREATE COMMAND RULE dv_rule FOR DELETE ON TABLE dv_people DENY WHEN a = MESSAGE 'x';
CREATE COMMAND RULE dv_rule FOR DELETE ON TABLE dv_people DENY WHEN a IN b SIMULATE;
GRANT VAULT PASSWORD ON REALM dv TO dv_user VALID FOR INTERVAL '2' WEEKS;
APPROVE EMERGENCY UNLOCK 99999999999999999999;

-- the words are names
LOCK REALM NOWAIT;
SELECT realm, vault AS unlock FROM dv_plain AS command;
BEGIN;
ALTER TABLE dv_plain RENAME TO realm;
LOCK realm;
LOCK REALM NOWAIT;
LOCK TABLE realm;
ROLLBACK;

DROP TABLE dv_people, dv_plain;
DROP SCHEMA dv_schema;
DROP ROLE dv_team, dv_user;
