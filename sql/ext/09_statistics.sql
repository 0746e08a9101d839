-- The planner's statistics hold values of encrypted tables.

CREATE PROCEDURE tde_vault.seal_statistics()
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_seal_statistics';
COMMENT ON PROCEDURE tde_vault.seal_statistics() IS
    'seal pg_statistic and pg_statistic_ext_data of this database, now';

-- The other system catalogs of the database: if it is asked for.

CREATE PROCEDURE tde_vault.seal_catalogs()
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_seal_catalogs';
COMMENT ON PROCEDURE tde_vault.seal_catalogs() IS
    'encrypt all system catalogs of this database, one after another';

CREATE PROCEDURE tde_vault.unseal_catalogs()
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_unseal_catalogs';
COMMENT ON PROCEDURE tde_vault.unseal_catalogs() IS
    'decrypt what seal_catalogs() encrypted';
