-- The audit log.

CREATE FUNCTION tde_vault.audit_lines(
    OUT file text, OUT "position" bigint, OUT line jsonb)
RETURNS SETOF record
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'tv_sql_audit_lines';
COMMENT ON FUNCTION tde_vault.audit_lines() IS
    'the lines of the audit log as they are in its files';

CREATE FUNCTION tde_vault.audit_verify(
    OUT ok boolean, OUT records bigint, OUT first_bad text, OUT reason text)
RETURNS record
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'tv_sql_audit_verify';
COMMENT ON FUNCTION tde_vault.audit_verify() IS
    'check the chain of the audit log from its first record to its last';

CREATE VIEW tde_vault.audit_log AS
    SELECT l.line->>'event_id' AS event_id,
           (l.line->>'timestamp')::timestamptz AS "timestamp",
           l.line->>'event_type' AS event_type,
           l.line->>'severity' AS severity,
           l.line->>'user' AS "user",
           l.line->>'realm' AS realm,
           l.line->>'object' AS object,
           l.line->>'ip_address' AS ip_address,
           l.line->>'session_id' AS session_id,
           l.line->>'result' AS result,
           nullif(l.line->'detail', 'null') AS detail,
           l.line->>'action' AS action,
           l.line->>'reason' AS reason,
           l.line->>'current_user' AS "current_user",
           (l.line->>'user_oid')::oid AS user_oid,
           l.line->>'database' AS database,
           (l.line->>'pid')::integer AS pid,
           l.line->>'application_name' AS application_name,
           l.file, l."position"
    FROM tde_vault.audit_lines() l;
COMMENT ON VIEW tde_vault.audit_log IS
    'the audit log of the cluster as rows, in the order of events';

CREATE FUNCTION tde_vault.audit_note(note text)
RETURNS void
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'tv_sql_audit_note';
COMMENT ON FUNCTION tde_vault.audit_note(text) IS
    'write a remark into the audit log; ROLLBACK does not take it back';
