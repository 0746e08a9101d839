-- Roles of the vault's separation of duties.  They belong to the cluster, so
-- another database may have made them already.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['vault_admin', 'vault_auditor', 'vault_operator']
    LOOP
        IF EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = name) THEN
            RAISE NOTICE USING
                ERRCODE = 'duplicate_object',
                MESSAGE = pg_catalog.format('role "%s" exists already and is used', name);
            IF EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = name
                       AND (r.rolsuper OR r.rolcanlogin OR r.rolcreaterole OR r.rolcreatedb
                            OR r.rolreplication OR r.rolbypassrls)) THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'duplicate_object',
                    MESSAGE = pg_catalog.format('role "%s" exists and has rights of its own', name),
                    HINT = 'Rename it, or take LOGIN, SUPERUSER, CREATEROLE, CREATEDB, REPLICATION and BYPASSRLS from it.';
            END IF;
        ELSE
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
END
$$;
