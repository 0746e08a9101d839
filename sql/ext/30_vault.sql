-- Vault: a procedure for each statement.

CREATE PROCEDURE tde_vault.enable_vault(database text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_enable_vault';
CREATE PROCEDURE tde_vault.disable_vault(database text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_disable_vault';

CREATE PROCEDURE tde_vault.create_realm(
    realm text, description text DEFAULT NULL, owner text DEFAULT NULL,
    require_password boolean DEFAULT false, simulate boolean DEFAULT false,
    if_not_exists boolean DEFAULT false)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_create_realm';
CREATE PROCEDURE tde_vault.drop_realm(realm text, if_exists boolean DEFAULT false)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_drop_realm';
CREATE PROCEDURE tde_vault.realm_add(
    realm text, tables text[] DEFAULT '{}', schemas text[] DEFAULT '{}')
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_realm_add';
CREATE PROCEDURE tde_vault.realm_remove(
    realm text, tables text[] DEFAULT '{}', schemas text[] DEFAULT '{}')
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_realm_remove';
CREATE PROCEDURE tde_vault.realm_owner(realm text, owner text)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_realm_owner';
CREATE PROCEDURE tde_vault.realm_description(realm text, description text)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_realm_description';
CREATE PROCEDURE tde_vault.realm_mode(realm text, mode text)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_realm_mode';
CREATE PROCEDURE tde_vault.realm_authorize(realm text, roles text[])
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_realm_authorize';
CREATE PROCEDURE tde_vault.realm_revoke(realm text, roles text[])
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_realm_revoke';

CREATE PROCEDURE tde_vault.grant_vault_password(
    realm text, role text, password text DEFAULT NULL,
    valid_for interval DEFAULT NULL, INOUT generated text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_grant_vault_password';
COMMENT ON PROCEDURE tde_vault.grant_vault_password(text, text, text, interval, text) IS
    'without a password, one is generated and shown this once';
CREATE PROCEDURE tde_vault.set_vault_password(
    realm text, role text, password text, valid_for interval DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_set_vault_password';
COMMENT ON PROCEDURE tde_vault.set_vault_password(text, text, text, interval) IS
    'the same with a password that is given, and no answer';
CREATE PROCEDURE tde_vault.revoke_vault_password(realm text, role text)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_revoke_vault_password';
CREATE PROCEDURE tde_vault.unlock_realm(realm text, password text)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_unlock_realm';
CREATE PROCEDURE tde_vault.lock_realm(realm text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_lock_realm';

CREATE PROCEDURE tde_vault.unlock_challenge(
    realm text, INOUT salt bytea DEFAULT NULL, INOUT params text DEFAULT NULL,
    INOUT nonce bytea DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_unlock_challenge';
CREATE PROCEDURE tde_vault.unlock_response(realm text, proof bytea)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_unlock_response';

CREATE PROCEDURE tde_vault.emergency_unlock(
    realm text, authorized_by text, reason text, valid_for interval,
    INOUT id bigint DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_emergency_unlock';
CREATE PROCEDURE tde_vault.approve_emergency_unlock(id bigint)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_approve_emergency_unlock';
CREATE PROCEDURE tde_vault.review_emergency_unlock(id bigint, note text)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_review_emergency_unlock';

CREATE PROCEDURE tde_vault.create_command_rule(
    rule text, actions text[], object_kind text, object text DEFAULT NULL,
    roles text[] DEFAULT NULL, condition text DEFAULT NULL,
    message text DEFAULT NULL, simulate boolean DEFAULT false,
    if_not_exists boolean DEFAULT false)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_create_command_rule';
CREATE PROCEDURE tde_vault.alter_command_rule(rule text, mode text)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_alter_command_rule';
CREATE PROCEDURE tde_vault.drop_command_rule(rule text, if_exists boolean DEFAULT false)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_drop_command_rule';

-- For conditions of command rules: the same whatever time zone the session set.
CREATE FUNCTION tde_vault.hour(ts timestamptz) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT
RETURN EXTRACT(hour FROM ts AT TIME ZONE 'UTC')::integer;
CREATE FUNCTION tde_vault.hour(ts timestamp) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT
RETURN EXTRACT(hour FROM ts)::integer;
CREATE FUNCTION tde_vault.day_of_week(ts timestamptz) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT
RETURN EXTRACT(isodow FROM ts AT TIME ZONE 'UTC')::integer;
CREATE FUNCTION tde_vault.day_of_week(ts timestamp) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT
RETURN EXTRACT(isodow FROM ts)::integer;
COMMENT ON FUNCTION tde_vault.hour(timestamptz) IS 'hour of the day in UTC, 0 to 23';
COMMENT ON FUNCTION tde_vault.day_of_week(timestamptz) IS 'in UTC, 1 Monday to 7 Sunday';

CREATE FUNCTION tde_vault.create_recovery_shares(
    m integer, n integer, OUT number integer, OUT share text)
RETURNS SETOF record LANGUAGE C STRICT VOLATILE
AS 'MODULE_PATHNAME', 'tv_sql_create_recovery_shares';
COMMENT ON FUNCTION tde_vault.create_recovery_shares(integer, integer) IS
    'n shares, shown this once, of which m make a vault administrator';
CREATE PROCEDURE tde_vault.recover_vault_admin(shares text[], new_admin text)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_recover_vault_admin';

CREATE FUNCTION tde_vault.vault_access(
    relation regclass, action text DEFAULT 'SELECT', OUT verdict text,
    OUT realm text, OUT rule text, OUT simulate boolean, OUT emergency boolean)
LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'tv_sql_vault_access';
COMMENT ON FUNCTION tde_vault.vault_access(regclass, text) IS
    'what the vault would say if this session did that';

CREATE FUNCTION tde_vault.function_frozen(function regprocedure)
RETURNS boolean
LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'tv_sql_function_frozen';
COMMENT ON FUNCTION tde_vault.function_frozen(regprocedure) IS
    'may the function not be replaced, because a protected table runs it?';

-- State. The functions show what the authenticated user may see.
CREATE FUNCTION tde_vault.vault_realms(
    OUT realm text, OUT description text, OUT owner text, OUT mode text,
    OUT require_password boolean, OUT created timestamptz)
RETURNS SETOF record LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'tv_sql_vault_realms';
CREATE VIEW tde_vault.realms AS SELECT * FROM tde_vault.vault_realms();

CREATE FUNCTION tde_vault.vault_objects(
    OUT realm text, OUT kind text, OUT object text, OUT object_id oid)
RETURNS SETOF record LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'tv_sql_vault_objects';
CREATE VIEW tde_vault.realm_objects AS SELECT * FROM tde_vault.vault_objects();

CREATE FUNCTION tde_vault.vault_authorizations(
    OUT realm text, OUT role text, OUT granted_by text, OUT granted timestamptz)
RETURNS SETOF record LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'tv_sql_vault_authorizations';
CREATE VIEW tde_vault.realm_authorizations AS SELECT * FROM tde_vault.vault_authorizations();

CREATE FUNCTION tde_vault.vault_rules(
    OUT rule text, OUT actions text[], OUT object_kind text, OUT object text,
    OUT roles text[], OUT condition text, OUT message text, OUT mode text,
    OUT created timestamptz)
RETURNS SETOF record LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'tv_sql_vault_rules';
CREATE VIEW tde_vault.command_rules AS SELECT * FROM tde_vault.vault_rules();

CREATE FUNCTION tde_vault.vault_password_rows(
    OUT realm text, OUT role text, OUT granted_by text, OUT created timestamptz,
    OUT valid_until timestamptz, OUT expired boolean, OUT parameters text)
RETURNS SETOF record LANGUAGE C STRICT STABLE AS 'MODULE_PATHNAME', 'tv_sql_vault_password_rows';
CREATE VIEW tde_vault.vault_passwords AS SELECT * FROM tde_vault.vault_password_rows();

CREATE FUNCTION tde_vault.vault_unlocks(
    OUT realm text, OUT "user" text, OUT pid integer, OUT since timestamptz,
    OUT expires timestamptz)
RETURNS SETOF record LANGUAGE C STRICT VOLATILE AS 'MODULE_PATHNAME', 'tv_sql_vault_unlocks';
CREATE VIEW tde_vault.unlocked_realms AS SELECT * FROM tde_vault.vault_unlocks();

CREATE FUNCTION tde_vault.vault_emergencies(
    OUT id bigint, OUT realm text, OUT state text, OUT requested_by text,
    OUT authorized_by text, OUT reason text, OUT valid_for interval,
    OUT requested timestamptz, OUT approved timestamptz, OUT expires timestamptz,
    OUT reviewed timestamptz, OUT reviewed_by text, OUT note text)
RETURNS SETOF record LANGUAGE C STRICT VOLATILE AS 'MODULE_PATHNAME', 'tv_sql_vault_emergencies';
CREATE VIEW tde_vault.emergency_unlocks AS SELECT * FROM tde_vault.vault_emergencies();

-- A dump carries the policy as statements: pg_dump copies this table joined
-- with what the policy is at the moment.  Restored, they are rows to look at
-- and to run by a vault administrator, and nothing more.
CREATE TABLE tde_vault.vault_script (number integer NOT NULL, statement text NOT NULL) USING heap;
CREATE FUNCTION tde_vault.vault_statements(OUT number integer, OUT statement text)
RETURNS SETOF record LANGUAGE C STRICT VOLATILE AS 'MODULE_PATHNAME', 'tv_sql_vault_statements';
COMMENT ON FUNCTION tde_vault.vault_statements() IS
    'the policy as statements, without passwords';
SELECT pg_catalog.pg_extension_config_dump('tde_vault.vault_script',
    'NATURAL FULL JOIN tde_vault.vault_statements()');
