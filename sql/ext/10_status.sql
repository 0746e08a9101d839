-- Status: what is encrypted, and how.

CREATE FUNCTION tde_vault.relation_files(
    relation oid, OUT fork text, OUT cipher text, OUT authenticated boolean,
    OUT key_id text, OUT key_version integer, OUT pages bigint)
RETURNS SETOF record
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'tv_sql_file_info';

CREATE FUNCTION tde_vault.verify_relation(
    relation oid, OUT fork text, OUT pages bigint, OUT sealed bigint,
    OUT unsealed bigint, OUT bad bigint)
RETURNS SETOF record
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'tv_sql_verify_relation';

CREATE FUNCTION tde_vault.master_keys(
    OUT id text, OUT database oid, OUT key_id text, OUT provider text,
    OUT created timestamptz, OUT state text, OUT keys integer)
RETURNS SETOF record
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'tv_sql_master_keys';

CREATE FUNCTION tde_vault.table_keys(
    OUT id text, OUT database oid, OUT "table" oid, OUT version integer,
    OUT cipher text, OUT master_id text, OUT created timestamptz,
    OUT open boolean, OUT files integer)
RETURNS SETOF record
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'tv_sql_table_keys';

CREATE FUNCTION tde_vault.system_info(OUT name text, OUT value text)
RETURNS SETOF record
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'tv_sql_system_info';
COMMENT ON FUNCTION tde_vault.system_info() IS
    'server build recognised, seams attached, cipher libraries, formats';

-- A table with its TOAST table and the indexes of both; a partitioned table
-- with its partitions; anything else alone.
CREATE FUNCTION tde_vault.relation_family(root regclass)
RETURNS SETOF oid
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE members(oid) AS (
        SELECT root::pg_catalog.oid
        UNION
        SELECT next.oid
        FROM members m
        CROSS JOIN LATERAL (
            SELECT c.reltoastrelid AS oid FROM pg_class c
            WHERE c.oid = m.oid AND c.reltoastrelid <> 0
            UNION ALL
            SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = m.oid
            UNION ALL
            SELECT h.inhrelid FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent
            WHERE h.inhparent = m.oid AND p.relkind IN ('p', 'I')
        ) next
    )
    SELECT m.oid FROM members m JOIN pg_class c ON c.oid = m.oid
    WHERE c.relkind IN ('r', 'i', 't', 'm', 'S')
$$;

-- Owners see their own relations; a superuser sees all.
CREATE FUNCTION tde_vault.may_inspect(relation oid)
RETURNS boolean
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_has_role(session_user, c.relowner, 'MEMBER')
    FROM pg_class c WHERE c.oid = relation
$$;

-- The relation, if it exists.
CREATE FUNCTION tde_vault.require_relation(relation oid)
RETURNS oid
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF relation IS NULL OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = relation) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'undefined_table',
            MESSAGE = format('relation with OID %s does not exist', relation),
            HINT = 'Name the relation, for example ''schema.name''.';
    END IF;
    RETURN relation;
END
$$;

CREATE FUNCTION tde_vault.is_encrypted(relation regclass)
RETURNS boolean
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM tde_vault.require_relation(relation::pg_catalog.oid);
    IF NOT tde_vault.may_inspect(relation::pg_catalog.oid) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = format('permission denied for relation %s', relation),
            HINT = 'Encryption status is shown to the owner of a relation.';
    END IF;
    RETURN coalesce((SELECT bool_and(f.cipher IS NOT NULL)
        FROM tde_vault.relation_family(relation) m
        CROSS JOIN LATERAL tde_vault.relation_files(m) f), false)
        -- a foreign partition has its rows where nobody here can tell
        AND NOT EXISTS (SELECT FROM pg_partition_tree(relation) t
            JOIN pg_class c ON c.oid = t.relid WHERE c.relkind = 'f');
END
$$;
COMMENT ON FUNCTION tde_vault.is_encrypted(regclass) IS
    'is every file of the relation, its TOAST table and its indexes sealed?';

CREATE FUNCTION tde_vault.verify(relation regclass)
RETURNS TABLE (relation regclass, fork text, pages bigint, sealed bigint,
               unsealed bigint, bad bigint)
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m::regclass, v.fork, v.pages, v.sealed, v.unsealed, v.bad
    FROM tde_vault.relation_family(tde_vault.require_relation($1::pg_catalog.oid)::regclass) m
    CROSS JOIN LATERAL tde_vault.verify_relation(m) v
$$;
COMMENT ON FUNCTION tde_vault.verify(regclass) IS
    'read the files of a relation from disk and check every page';

CREATE FUNCTION tde_vault.encryption_status_rows()
RETURNS TABLE (relation regclass, relkind "char", fork text, tablespace name,
               cipher text, authenticated boolean, key_id text,
               key_version integer, pages bigint, sealed_pages bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.oid::regclass, c.relkind, f.fork, coalesce(s.spcname, d.spcname),
           f.cipher, f.authenticated, f.key_id, f.key_version, f.pages,
           CASE WHEN f.cipher IS NULL THEN 0 ELSE f.pages END
    FROM pg_class c
    LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
    CROSS JOIN (SELECT t.spcname FROM pg_database b
                JOIN pg_tablespace t ON t.oid = b.dattablespace
                WHERE b.datname = current_database()) d
    CROSS JOIN LATERAL tde_vault.relation_files(c.oid) f
    WHERE c.relkind IN ('r', 'i', 't', 'm', 'S')
      AND (c.relpersistence <> 't' OR c.relnamespace = pg_my_temp_schema())
      AND tde_vault.may_inspect(c.oid)
$$;

CREATE VIEW tde_vault.encryption_status AS
    SELECT * FROM tde_vault.encryption_status_rows() s
    WHERE s.cipher IS NOT NULL;
COMMENT ON VIEW tde_vault.encryption_status IS
    'a row for each encrypted relation file that the user owns';

CREATE FUNCTION tde_vault.plaintext_reason(class pg_catalog.pg_class)
RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN class.relisshared OR class.reltablespace = 1664 THEN 'system catalog, shared by all databases'
        WHEN class.oid IN (2613, 2683) THEN 'large objects, which no table owns'
        WHEN class.oid IN (2619, 2696, 2840, 2841, 3429, 3430, 3431, 3433) THEN
            'planner''s statistics, which are sealed with the first encrypted table'
        WHEN class.oid < 16384 THEN 'system catalog'
        WHEN class.relkind = 'i' AND EXISTS (
            SELECT FROM pg_index i, tde_vault.relation_files(i.indrelid) f
            WHERE i.indexrelid = class.oid AND f.cipher IS NOT NULL) THEN
            'index that is older than the encryption of its table; REINDEX encrypts it'
        WHEN class.relkind = 'i' THEN
            format('index of %s, which is not encrypted',
                   (SELECT i.indrelid::regclass FROM pg_index i
                    WHERE i.indexrelid = class.oid))
        WHEN class.relkind = 'S' THEN 'sequence of no encrypted table'
        WHEN class.reltablespace IN (SELECT s.tablespace FROM tde_vault.tablespace_scopes() s) THEN
            'written before its tablespace was encrypted; VACUUM FULL encrypts it'
        WHEN class.relkind = 't' THEN 'TOAST table of a table that is not encrypted'
        ELSE format('access method is %s',
                    (SELECT a.amname FROM pg_am a WHERE a.oid = class.relam))
    END
$$;

CREATE VIEW tde_vault.plaintext_files AS
    SELECT s.relation, s.relkind, s.fork, s.tablespace, s.pages,
           pg_catalog.pg_relation_filepath(s.relation) AS path,
           tde_vault.plaintext_reason(c) AS reason
    FROM tde_vault.encryption_status_rows() s
    JOIN pg_catalog.pg_class c ON c.oid = s.relation
    WHERE s.cipher IS NULL;
COMMENT ON VIEW tde_vault.plaintext_files IS
    'every relation file of this database that is not sealed, and why';

CREATE VIEW tde_vault.encrypted_tablespaces AS
    SELECT t.spcname AS tablespace, s.cipher,
           (SELECT m.key_id FROM tde_vault.master_keys() m WHERE m.id = s.master_id) AS key_id,
           s.since, pg_catalog.pg_tablespace_location(t.oid) AS location
    FROM tde_vault.tablespace_scopes() s
    JOIN pg_catalog.pg_tablespace t ON t.oid = s.tablespace;
COMMENT ON VIEW tde_vault.encrypted_tablespaces IS
    'tablespaces in which everything new is encrypted';

CREATE VIEW tde_vault.keys AS
    SELECT m.id, 'master'::text AS kind, m.state,
           (pg_catalog.row_number() OVER made)::integer AS version, m.created,
           pg_catalog.lead(m.created) OVER made AS rotated,
           m.provider AS wrapped_by, m.key_id,
           m.database, NULL::regclass AS "table"
    FROM tde_vault.master_keys() WITH ORDINALITY
         m(id, database, key_id, provider, created, state, keys, n)
    WINDOW made AS (PARTITION BY m.database ORDER BY m.n)
    UNION ALL
    SELECT k.id, 'table', CASE WHEN k.files > 0 THEN 'active' ELSE 'unused' END, k.version, k.created, NULL,
           m.key_id, NULL, k.database,
           CASE WHEN k.database = d.oid THEN k."table"::regclass END
    FROM tde_vault.table_keys() k
    LEFT JOIN tde_vault.master_keys() m ON m.id = k.master_id
    CROSS JOIN (SELECT oid FROM pg_catalog.pg_database
                WHERE datname = pg_catalog.current_database()) d;
COMMENT ON VIEW tde_vault.keys IS
    'metadata of master and table keys, never material';
