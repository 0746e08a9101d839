-- Nothing is executable by PUBLIC beyond the status of one's own tables.

GRANT USAGE ON SCHEMA tde_vault TO PUBLIC;

DO $$
DECLARE
    routine regprocedure;
BEGIN
    FOR routine IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'tde_vault'::regnamespace
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', routine);
    END LOOP;
END
$$;

GRANT EXECUTE ON FUNCTION tde_vault.is_encrypted(regclass) TO PUBLIC;
GRANT EXECUTE ON FUNCTION tde_vault.encryption_status_rows() TO PUBLIC;
GRANT EXECUTE ON FUNCTION tde_vault.plaintext_reason(pg_catalog.pg_class) TO PUBLIC;
GRANT SELECT ON tde_vault.encryption_status TO PUBLIC;
GRANT SELECT ON tde_vault.plaintext_files TO PUBLIC;

-- The vault's statements check the authenticated user themselves.
DO $$
DECLARE
    routine regprocedure;
BEGIN
    FOR routine IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'tde_vault'::regnamespace
          AND p.proname IN (
            'enable_vault', 'disable_vault', 'create_realm', 'drop_realm',
            'realm_add', 'realm_remove', 'realm_owner', 'realm_description',
            'realm_mode', 'realm_authorize', 'realm_revoke',
            'grant_vault_password', 'revoke_vault_password', 'unlock_realm',
            'lock_realm', 'vault_access', 'function_frozen')
    LOOP
        EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO PUBLIC', routine);
    END LOOP;
END
$$;

GRANT EXECUTE ON FUNCTION tde_vault.audit_lines() TO vault_auditor;
GRANT EXECUTE ON FUNCTION tde_vault.audit_verify() TO vault_auditor;
GRANT SELECT ON tde_vault.audit_log TO vault_auditor;
GRANT EXECUTE ON FUNCTION tde_vault.audit_note(text) TO vault_admin, vault_operator;
