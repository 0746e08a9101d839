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
CREATE PROCEDURE tde_vault.revoke_vault_password(realm text, role text)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_revoke_vault_password';
CREATE PROCEDURE tde_vault.unlock_realm(realm text, password text)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_unlock_realm';
CREATE PROCEDURE tde_vault.lock_realm(realm text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'tv_sql_lock_realm';

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
