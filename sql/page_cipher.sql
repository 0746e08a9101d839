-- Which cipher a new relation gets.

\set SHOW_CONTEXT never

SHOW tde_vault.cipher;
SET tde_vault.cipher = 'des';
\echo :LAST_ERROR_SQLSTATE
SET tde_vault.cipher = 'AES256';
SHOW tde_vault.cipher;
SET tde_vault.cipher = 'ChaCha20-Poly1305';
SHOW tde_vault.cipher;

SET tde_vault.cipher = 'aes-256-gcm';
CREATE TABLE cipher_gcm (id integer PRIMARY KEY, t text) USING tde_heap;
SET tde_vault.cipher = 'chacha20-poly1305';
CREATE TABLE cipher_chacha20 (id integer PRIMARY KEY, t text) USING tde_heap;
SET tde_vault.cipher = 'aes-256-ctr';
CREATE TABLE cipher_ctr (id integer PRIMARY KEY, t text) USING tde_heap;
SET tde_vault.cipher = 'aes-256-xts';
CREATE TABLE cipher_xts (id integer PRIMARY KEY, t text) USING tde_heap;
RESET tde_vault.cipher;
CREATE UNLOGGED TABLE cipher_unlogged (id integer PRIMARY KEY, t text) USING tde_heap;
CREATE TEMPORARY TABLE cipher_temp (id integer PRIMARY KEY, t text) USING tde_heap;

CREATE VIEW ciphers AS
    SELECT relation, relkind, fork, cipher, authenticated,
           CASE WHEN key_id = 'session' THEN key_id ELSE 'table key' END AS key_id,
           key_version
    FROM tde_vault.encryption_status
    WHERE relation::text LIKE 'cipher%' AND fork IN ('main', 'init')
    ORDER BY relation::text COLLATE "C", fork COLLATE "C";

SELECT * FROM ciphers;

-- maps are sealed without a tag, whatever the cipher
INSERT INTO cipher_gcm SELECT n, repeat(n::text, 50) FROM generate_series(1, 3000) n;
VACUUM cipher_gcm;
SELECT fork, cipher, authenticated FROM tde_vault.encryption_status
WHERE relation = 'cipher_gcm'::regclass ORDER BY fork COLLATE "C";

-- a table keeps its cipher through rewrites; an index and a TOAST table follow
SET tde_vault.cipher = 'aes-256-xts';
TRUNCATE cipher_gcm;
CREATE INDEX ON cipher_gcm (t);
VACUUM FULL cipher_chacha20;
CLUSTER cipher_ctr USING cipher_ctr_pkey;
ALTER TABLE cipher_chacha20 ADD COLUMN v double precision DEFAULT random();
REINDEX TABLE cipher_chacha20;
SELECT * FROM ciphers WHERE relation::text !~ 'temp|unlogged|xts';

-- what becomes permanent gets the cipher that its table's key was made with
ALTER TABLE cipher_unlogged SET LOGGED;
SELECT * FROM ciphers WHERE relation::text ~ 'unlogged';

DROP VIEW ciphers;
DROP TABLE cipher_gcm, cipher_chacha20, cipher_ctr, cipher_xts, cipher_unlogged, cipher_temp;
