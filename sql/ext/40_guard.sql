-- Guard: the qualification of pg_statistic and pg_statistic_ext_data; what is
-- trusted with rows of realms.

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

CREATE FUNCTION tde_vault.code_trust(catalog oid, object oid)
RETURNS text
LANGUAGE C STRICT STABLE
AS 'MODULE_PATHNAME', 'tv_sql_code_trust';
COMMENT ON FUNCTION tde_vault.code_trust(oid, oid) IS
    'why a function or view may be given rows of realms; null if it may not, or is the server''s own';

CREATE VIEW tde_vault.trusted_code AS
    SELECT p.oid::regprocedure::text AS object, 'function'::text AS kind,
           pg_catalog.pg_get_userbyid(p.proowner) AS owner, l.lanname AS language, t.reason,
           pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws('|',
               p.prosrc, p.probin, p.prosqlbody, p.proconfig, p.prosecdef, p.proowner), 'UTF8')), 'hex') AS fingerprint
      FROM pg_catalog.pg_proc p
      JOIN pg_catalog.pg_language l ON l.oid = p.prolang
      CROSS JOIN LATERAL (SELECT tde_vault.code_trust('pg_catalog.pg_proc'::regclass, p.oid) AS reason) t
     WHERE p.pronamespace <> 'tde_vault'::regnamespace AND t.reason IS NOT NULL
    UNION ALL
    SELECT c.oid::regclass::text, 'view', pg_catalog.pg_get_userbyid(c.relowner), 'sql', t.reason,
           pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws('|',
               pg_catalog.pg_get_viewdef(c.oid), c.reloptions, c.relowner), 'UTF8')), 'hex')
      FROM pg_catalog.pg_class c
      CROSS JOIN LATERAL (SELECT tde_vault.code_trust('pg_catalog.pg_class'::regclass, c.oid) AS reason) t
     WHERE c.relkind = 'v' AND c.relnamespace <> 'tde_vault'::regnamespace AND t.reason IS NOT NULL;
COMMENT ON VIEW tde_vault.trusted_code IS
    'functions and views that the vault lets have rows of realms, and why';
