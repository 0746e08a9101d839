-- Unlock tickets, for programs that connect by themselves.

CREATE FUNCTION tde_vault.create_unlock_ticket(
    sessions integer DEFAULT 1, valid_for interval DEFAULT '5 minutes')
RETURNS text
LANGUAGE C STRICT VOLATILE
AS 'MODULE_PATHNAME', 'tv_sql_create_unlock_ticket';
COMMENT ON FUNCTION tde_vault.create_unlock_ticket(integer, interval) IS
    'passes on what this session has unlocked to the next sessions of the same user';
