-- Background work on pages: encryption and decryption in place, key rotation.

CREATE PROCEDURE tde_vault.encrypt_table(
    "table" regclass, cipher text DEFAULT NULL, if_exists boolean DEFAULT false)
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_encrypt_table';
COMMENT ON PROCEDURE tde_vault.encrypt_table(regclass, text, boolean) IS
    'encrypt a table in place while it is in use, or change its cipher';

CREATE PROCEDURE tde_vault.decrypt_table("table" regclass, if_exists boolean DEFAULT false)
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_decrypt_table';
COMMENT ON PROCEDURE tde_vault.decrypt_table(regclass, boolean) IS
    'decrypt a table in place while it is in use';

CREATE PROCEDURE tde_vault.rotate_table_key("table" regclass, if_exists boolean DEFAULT false)
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_rotate_table_key';
COMMENT ON PROCEDURE tde_vault.rotate_table_key(regclass, boolean) IS
    'give a table a new version of its key while it is in use';

CREATE PROCEDURE tde_vault.pause(operation bigint)
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_pause';
COMMENT ON PROCEDURE tde_vault.pause(bigint) IS
    'pause an operation of encryption_progress, also over restarts';

CREATE PROCEDURE tde_vault.resume(operation bigint)
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_resume';
COMMENT ON PROCEDURE tde_vault.resume(bigint) IS
    'go on with a paused operation';

CREATE FUNCTION tde_vault.work(
    OUT id bigint, OUT operation text, OUT database oid, OUT relation oid,
    OUT pages_done bigint, OUT pages_total bigint, OUT rewritten bigint,
    OUT started timestamptz, OUT finished timestamptz, OUT rate double precision,
    OUT state text, OUT message text, OUT old_wal pg_lsn,
    OUT old_wal_is_gone boolean, OUT old_wal_gone timestamptz, OUT old_wal_holder text)
RETURNS SETOF record
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'tv_sql_work';

CREATE FUNCTION tde_vault.encryption_progress_rows()
RETURNS TABLE (id bigint, operation text, database name, relation regclass,
               pages_done bigint, pages_total bigint, percent numeric,
               started timestamptz, rate double precision, eta interval,
               state text, finished timestamptz, rewritten bigint, detail text,
               old_wal_gone timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT w.id, w.operation, d.datname,
           CASE WHEN d.datname = current_database() THEN w.relation::regclass END,
           w.pages_done, w.pages_total,
           CASE WHEN w.state = 'done' THEN 100
                WHEN w.pages_total > 0
                THEN round(100.0 * w.pages_done / w.pages_total, 1) ELSE 0 END,
           w.started, w.rate,
           CASE WHEN w.rate > 0 AND w.state IN ('running', 'checking')
                THEN make_interval(secs => round((w.pages_total - w.pages_done) / w.rate)) END,
           w.state, w.finished, w.rewritten,
           coalesce(w.message,
               CASE WHEN w.old_wal_is_gone
                    THEN format('no WAL before %s, which may hold rows that are not encrypted, is left in pg_wal since %s; archives, standbys and backups may have it',
                                w.old_wal, date_trunc('second', w.old_wal_gone))
                    WHEN NOT w.old_wal_is_gone
                    THEN format('WAL before %s, here, in archives and on standbys, may hold rows that are not encrypted; %s', w.old_wal,
                                coalesce(w.old_wal_holder,
                                         format('gone from pg_wal after %s', date_trunc('second', w.old_wal_gone))))
               END),
           w.old_wal_gone
    FROM tde_vault.work() w
    LEFT JOIN pg_database d ON d.oid = w.database
    WHERE CASE WHEN d.datname = current_database()
               THEN coalesce(tde_vault.may_inspect(w.relation), pg_has_role(session_user, 'vault_operator', 'MEMBER'))
               ELSE (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user) END
       OR pg_has_role(session_user, 'vault_operator', 'MEMBER')
    UNION ALL
    SELECT NULL, 'rotate master key', d.datname, NULL, m.keys_done, m.keys_total,
           CASE WHEN m.keys_total > 0 THEN round(100.0 * m.keys_done / m.keys_total, 1) ELSE 0 END,
           m.started, r.rate,
           CASE WHEN r.rate > 0 THEN make_interval(secs => round((m.keys_total - m.keys_done) / r.rate)) END,
           'running', NULL, NULL, 'counts table keys, not pages', NULL
    FROM tde_vault.master_key_rotation() m
    LEFT JOIN pg_database d ON d.oid = m.database
    CROSS JOIN LATERAL (SELECT m.keys_done / nullif(extract(epoch FROM clock_timestamp() - m.started)::double precision, 0) AS rate) r
    WHERE (SELECT s.rolsuper FROM pg_roles s WHERE s.rolname = session_user)
       OR pg_has_role(session_user, 'vault_operator', 'MEMBER')
    UNION ALL
    SELECT NULL, 'rotate master key', d.datname, NULL, m.keys_done, m.keys_total,
           CASE WHEN m.keys_total > 0 THEN round(100.0 * m.keys_done / m.keys_total, 1) ELSE 0 END,
           NULL, NULL, NULL, 'unfinished', NULL, NULL,
           format('goes on when the server starts, or now: %s',
                  CASE WHEN m.database IS NULL THEN 'CALL tde_vault.rotate_master_key(for_cluster => true)'
                       ELSE format('ALTER DATABASE %I ROTATE MASTER KEY', d.datname) END),
           NULL
    FROM tde_vault.unfinished_rotations() m
    LEFT JOIN pg_database d ON d.oid = m.database
    WHERE NOT EXISTS (SELECT FROM tde_vault.master_key_rotation() r
                      WHERE r.database IS NOT DISTINCT FROM m.database)
      AND ((SELECT s.rolsuper FROM pg_roles s WHERE s.rolname = session_user)
           OR pg_has_role(session_user, 'vault_operator', 'MEMBER'))
$$;

CREATE VIEW tde_vault.encryption_progress AS
    SELECT * FROM tde_vault.encryption_progress_rows();
COMMENT ON VIEW tde_vault.encryption_progress IS
    'background work on pages: running, and finished since the server started';

-- The same under the name that the language gives it.  A schema of that name
-- that somebody else has made is left alone.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = 'system') THEN
        CREATE SCHEMA system;
        GRANT USAGE ON SCHEMA system TO PUBLIC;
        CREATE VIEW system.encryption_progress AS
            SELECT * FROM tde_vault.encryption_progress_rows();
        GRANT SELECT ON system.encryption_progress TO PUBLIC;
    ELSE
        RAISE NOTICE USING
            ERRCODE = 'duplicate_schema',
            MESSAGE = 'schema "system" exists already: system.encryption_progress is not made',
            HINT = 'Use tde_vault.encryption_progress.';
    END IF;
END
$$;
