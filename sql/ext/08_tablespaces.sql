-- Encrypted tablespaces.

CREATE PROCEDURE tde_vault.create_tablespace(
    name text, cipher text DEFAULT NULL, location text DEFAULT NULL,
    owner text DEFAULT NULL, key_id text DEFAULT NULL)
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_create_tablespace';
COMMENT ON PROCEDURE tde_vault.create_tablespace(text, text, text, text, text) IS
    'make a tablespace in which everything is encrypted';

CREATE PROCEDURE tde_vault.encrypt_tablespace(name text, cipher text DEFAULT NULL)
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_encrypt_tablespace';
COMMENT ON PROCEDURE tde_vault.encrypt_tablespace(text, text) IS
    'encrypt a tablespace: what is new there at once, what exists in place';

CREATE PROCEDURE tde_vault.decrypt_tablespace(name text)
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_decrypt_tablespace';
COMMENT ON PROCEDURE tde_vault.decrypt_tablespace(text) IS
    'end the encryption of a tablespace: what is encrypted only because of it is decrypted in place';

CREATE FUNCTION tde_vault.tablespace_scopes(
    OUT tablespace oid, OUT cipher text, OUT master_id text, OUT since timestamptz)
RETURNS SETOF record
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'tv_sql_tablespaces';

CREATE PROCEDURE tde_vault.encrypt_database(database text DEFAULT NULL)
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_encrypt_database';
COMMENT ON PROCEDURE tde_vault.encrypt_database(text) IS
    'encrypt a database: what is new in it at once, what exists in place';

CREATE PROCEDURE tde_vault.decrypt_database(database text DEFAULT NULL)
LANGUAGE C
AS 'MODULE_PATHNAME', 'tv_sql_decrypt_database';
COMMENT ON PROCEDURE tde_vault.decrypt_database(text) IS
    'end the encryption of a database: what is encrypted only because of it is decrypted in place';
