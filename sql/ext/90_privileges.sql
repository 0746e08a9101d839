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
GRANT EXECUTE ON FUNCTION tde_vault.create_unlock_ticket(integer, interval) TO PUBLIC;
GRANT EXECUTE ON FUNCTION tde_vault.statistics_visible(oid) TO PUBLIC;
GRANT EXECUTE ON FUNCTION tde_vault.extended_statistics_visible(oid) TO PUBLIC;
GRANT EXECUTE ON FUNCTION tde_vault.code_trust(oid, oid) TO PUBLIC;
GRANT SELECT ON tde_vault.trusted_code TO PUBLIC;
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
            'grant_vault_password', 'set_vault_password', 'revoke_vault_password', 'unlock_realm',
            'lock_realm', 'unlock_challenge', 'unlock_response',
            'emergency_unlock', 'approve_emergency_unlock', 'review_emergency_unlock',
            'create_command_rule', 'alter_command_rule', 'drop_command_rule',
            'hour', 'day_of_week', 'create_recovery_shares', 'recover_vault_admin', 'vault_statements',
            'vault_access', 'function_frozen',
            'vault_realms', 'vault_objects', 'vault_authorizations', 'vault_rules',
            'vault_password_rows', 'vault_unlocks', 'vault_emergencies')
    LOOP
        EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO PUBLIC', routine);
    END LOOP;
END
$$;

GRANT EXECUTE ON FUNCTION tde_vault.audit_lines() TO vault_auditor;
GRANT EXECUTE ON FUNCTION tde_vault.audit_verify() TO vault_auditor;
GRANT SELECT ON tde_vault.audit_log TO vault_auditor;
GRANT EXECUTE ON FUNCTION tde_vault.audit_note(text) TO vault_admin, vault_operator;

GRANT SELECT ON tde_vault.realms, tde_vault.realm_objects, tde_vault.realm_authorizations,
    tde_vault.command_rules, tde_vault.vault_passwords, tde_vault.unlocked_realms,
    tde_vault.emergency_unlocks, tde_vault.vault_script TO PUBLIC;

-- Keys are an operator's: their metadata and their rotation.
GRANT EXECUTE ON PROCEDURE tde_vault.rotate_master_key(text, text, boolean, text) TO vault_operator;
GRANT EXECUTE ON FUNCTION tde_vault.master_key_rotation() TO vault_operator;
GRANT EXECUTE ON FUNCTION tde_vault.unfinished_rotations() TO vault_operator;
GRANT EXECUTE ON FUNCTION tde_vault.master_keys() TO vault_operator;
GRANT EXECUTE ON FUNCTION tde_vault.table_keys() TO vault_operator;
GRANT SELECT ON tde_vault.keys TO vault_operator;

-- The statements on tables check that the caller owns them.
GRANT EXECUTE ON PROCEDURE tde_vault.encrypt_table(regclass, text, boolean) TO PUBLIC;
GRANT EXECUTE ON PROCEDURE tde_vault.decrypt_table(regclass, boolean) TO PUBLIC;
GRANT EXECUTE ON PROCEDURE tde_vault.rotate_table_key(regclass, boolean) TO PUBLIC;
GRANT EXECUTE ON FUNCTION tde_vault.encryption_progress_rows() TO PUBLIC;
GRANT SELECT ON tde_vault.encryption_progress TO PUBLIC;
GRANT EXECUTE ON PROCEDURE tde_vault.pause(bigint) TO vault_operator;
GRANT EXECUTE ON PROCEDURE tde_vault.resume(bigint) TO vault_operator;
