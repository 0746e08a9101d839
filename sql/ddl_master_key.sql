-- CREATE MASTER KEY: what is refused, then the statement itself, verbatim.
\set SHOW_CONTEXT never

-- syntax
CREATE MASTER KEY;
CREATE MASTER KEY ENCRYPTION;
CREATE MASTER ENCRYPTION KEY;
CREATE MASTER KEY ENCRYPTION BY;
CREATE MASTER KEY ENCRYPTION BY KEY_ID 'k';
CREATE MASTER KEY ENCRYPTION BY HSM;
CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID;
CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID k;
CREATE MASTER KEY ENCRYPTION BY "hsm" KEY_ID 'k';
CREATE MASTER KEY ENCRYPTION BY PROVIDER KEY_ID 'k';
CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'k' 'more';
CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID $1;
/* höchst */ CREATE /* nested /* comment */ */ MASTER -- comment
	KEY ENCRYPTION BY HSM KEY_ID 'k' extra;

-- a PIN does not belong into a statement
CREATE MASTER KEY ENCRYPTION BY PROVIDER 'pkcs11:token=x?pin-value=1234' KEY_ID 'k';

-- what the provider and the key store say comes through
CREATE MASTER KEY ENCRYPTION BY PROVIDER 'carrier-pigeon:' KEY_ID 'k';

-- not for everybody, not in a read-only transaction
CREATE ROLE regress_ddl_nobody;
SET ROLE regress_ddl_nobody;
CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'k';
RESET ROLE;
DROP ROLE regress_ddl_nobody;
BEGIN READ ONLY;
CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'k';
ROLLBACK;

-- words of the statement are no keywords
CREATE TEMP TABLE master (hsm int, provider int, key_id int, encryption int);
SELECT hsm, provider, key_id, encryption AS rotate FROM master;

create Master KEY encryption BY hsm KEY_ID
	'ddl_regress'
	'_key';
SELECT key_id, provider LIKE 'pkcs11:%' AS hsm FROM tde_vault.master_keys() m, pg_database d
WHERE m.database = d.oid AND datname = current_database();
CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'ddl_regress_key';
