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
