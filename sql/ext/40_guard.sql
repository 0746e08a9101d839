-- Guard: the qualification of pg_statistic and pg_statistic_ext_data.

CREATE FUNCTION tde_vault.statistics_visible(relation oid)
RETURNS boolean
LANGUAGE C STRICT STABLE LEAKPROOF PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tv_sql_statistics_visible';
COMMENT ON FUNCTION tde_vault.statistics_visible(oid) IS
    'may this session see values of the relation in the planner''s statistics?';

CREATE FUNCTION tde_vault.extended_statistics_visible(statistics oid)
RETURNS boolean
LANGUAGE C STRICT STABLE LEAKPROOF PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tv_sql_extended_statistics_visible';
COMMENT ON FUNCTION tde_vault.extended_statistics_visible(oid) IS
    'the same for an object of CREATE STATISTICS';
