-- The planner's statistics hold values of encrypted tables.

CREATE PROCEDURE tde_vault.seal_statistics()
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_seal_statistics';
COMMENT ON PROCEDURE tde_vault.seal_statistics() IS
    'seal pg_statistic and pg_statistic_ext_data of this database, now';
