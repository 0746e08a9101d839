-- Objects that somebody else could put into our schema could be called with the
-- rights of these: it must be new, or its owner ours, and nobody else's to create
-- in.  (The one of an extension that was dropped is, with USAGE for everybody.)
-- A dump makes it, and gives it to who owned it where it was dumped: a superuser,
-- who may be another one, and from whom it is taken below.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace n
               WHERE n.nspname = 'tde_vault'
                 AND (EXISTS (SELECT FROM pg_catalog.aclexplode(n.nspacl) a
                              WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner)
                      OR NOT EXISTS (SELECT FROM pg_catalog.pg_roles r
                                     WHERE r.oid = n.nspowner
                                       AND (r.rolname = current_user OR r.rolsuper)))) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = 'schema "tde_vault" exists and is not yours alone',
            HINT = 'Drop or rename it, then create the extension.';
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_depend d
               JOIN pg_catalog.pg_namespace n ON n.oid = d.refobjid
               WHERE n.nspname = 'tde_vault'
                 AND d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
                 AND d.classid <> 'pg_catalog.pg_extension'::pg_catalog.regclass) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'schema "tde_vault" exists and is not empty',
            HINT = 'Drop or rename it, then create the extension.';
    END IF;
END
$$;
ALTER SCHEMA tde_vault OWNER TO CURRENT_USER;

-- Keys: master key, access method.

CREATE FUNCTION tde_vault.tde_heap_handler(internal)
RETURNS table_am_handler
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'tv_heap_handler';

CREATE ACCESS METHOD tde_heap TYPE TABLE HANDLER tde_vault.tde_heap_handler;
COMMENT ON ACCESS METHOD tde_heap IS
    'heap whose tables, indexes and TOAST are encrypted on disk';

CREATE PROCEDURE tde_vault.create_master_key(
    key_id text, provider text DEFAULT NULL, for_cluster boolean DEFAULT false)
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_create_master_key';
COMMENT ON PROCEDURE tde_vault.create_master_key(text, text, boolean) IS
    'make the master key of this database, or the default one of the cluster';

CREATE PROCEDURE tde_vault.rotate_master_key(
    key_id text DEFAULT NULL, provider text DEFAULT NULL,
    for_cluster boolean DEFAULT false, database text DEFAULT NULL)
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_rotate_master_key';
COMMENT ON PROCEDURE tde_vault.rotate_master_key(text, text, boolean, text) IS
    'replace the master key of this database, or the default one of the cluster, and wrap table keys by the new one';

CREATE FUNCTION tde_vault.master_key_rotation(
    OUT pid integer, OUT database oid, OUT keys_done bigint, OUT keys_total bigint,
    OUT started timestamptz)
RETURNS SETOF record
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'tv_sql_master_key_rotation';
COMMENT ON FUNCTION tde_vault.master_key_rotation() IS
    'what a running rotation of a master key has done; no row if none runs';

CREATE FUNCTION tde_vault.unfinished_rotations(
    OUT database oid, OUT keys_done bigint, OUT keys_total bigint)
RETURNS SETOF record
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'tv_sql_unfinished_rotations';
COMMENT ON FUNCTION tde_vault.unfinished_rotations() IS
    'master keys that do not yet wrap all table keys that they are to wrap';
