-- What CREATE EXTENSION makes: names, columns, types.  Users, scripts and
-- monitoring rely on them.
BEGIN;
SELECT no_plan();

SELECT has_extension('tde_vault');
SELECT has_schema('tde_vault');
SELECT results_eq(
	$$SELECT amtype::text FROM pg_am WHERE amname = 'tde_heap'$$,
	ARRAY['t'], 'tde_heap is a table access method');

-- Functions: name(arguments), kind, result, returns a set.
SELECT bag_eq(
	$$SELECT p.proname || '(' || oidvectortypes(p.proargtypes) || ')', p.prokind::text, p.proretset
	  FROM pg_proc p WHERE p.pronamespace = 'tde_vault'::regnamespace
	  AND p.proname IN ('is_encrypted', 'verify', 'system_info', 'create_master_key', 'seal_statistics', 'seal_catalogs', 'unseal_catalogs')$$,
	$$VALUES ('is_encrypted(regclass)', 'f', false),
			 ('verify(regclass)', 'f', true),
			 ('system_info()', 'f', true),
			 ('create_master_key(text, text, boolean)', 'p', false),
			 ('seal_statistics()', 'p', false), ('seal_catalogs()', 'p', false), ('unseal_catalogs()', 'p', false)$$,
	'functions and procedures');

-- (name, type) of what a relation or a function gives.
CREATE FUNCTION pg_temp.columns(what text) RETURNS TABLE (n text, t text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TEMP VIEW shape AS SELECT * FROM %s', what);
	RETURN QUERY SELECT attname::text, format_type(atttypid, atttypmod)::text FROM pg_attribute
		WHERE attrelid = 'pg_temp.shape'::regclass AND attnum > 0 ORDER BY attnum;
	DROP VIEW pg_temp.shape;
END$$;

SELECT results_eq($$SELECT n FROM pg_temp.columns('tde_vault.encryption_status')$$,
	ARRAY['relation', 'relkind', 'fork', 'tablespace', 'cipher', 'authenticated', 'key_id', 'key_version', 'pages', 'sealed_pages'],
	'columns of encryption_status');
SELECT results_eq($$SELECT t FROM pg_temp.columns('tde_vault.encryption_status') WHERE n IN ('relation', 'authenticated', 'pages', 'sealed_pages')$$,
	ARRAY['regclass', 'boolean', 'bigint', 'bigint'], 'types of encryption_status');
SELECT results_eq($$SELECT n FROM pg_temp.columns('tde_vault.verify(''pg_class'')')$$,
	ARRAY['relation', 'fork', 'pages', 'sealed', 'unsealed', 'bad'], 'columns of verify');
SELECT results_eq($$SELECT t FROM pg_temp.columns('tde_vault.verify(''pg_class'')')$$,
	ARRAY['regclass', 'text', 'bigint', 'bigint', 'bigint', 'bigint'], 'types of verify');
SELECT results_eq($$SELECT n FROM pg_temp.columns('tde_vault.keys') LIMIT 7$$,
	ARRAY['id', 'kind', 'state', 'version', 'created', 'rotated', 'wrapped_by'], 'columns of keys');
SELECT results_eq($$SELECT n FROM pg_temp.columns('tde_vault.system_info()')$$,
	ARRAY['name', 'value'], 'columns of system_info');
SELECT results_eq($$SELECT n FROM pg_temp.columns('tde_vault.plaintext_files') WHERE n IN ('relation', 'fork', 'reason')$$,
	ARRAY['relation', 'fork', 'reason'], 'columns of plaintext_files');

-- Every function is safe to call whatever the caller's search_path, and none
-- runs with its owner's rights.
SELECT is_empty(
	$$SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
	  WHERE p.pronamespace = 'tde_vault'::regnamespace AND l.lanname IN ('sql', 'plpgsql') AND p.prosqlbody IS NULL
	  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%')$$,
	'SQL functions pin their search_path');
SELECT is_empty(
	$$SELECT p.oid::regprocedure FROM pg_proc p
	  WHERE p.pronamespace = 'tde_vault'::regnamespace AND p.prosecdef
	  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%')$$,
	'SECURITY DEFINER functions pin theirs too');

-- Settings: type, default, who may change them.
SELECT set_eq(
	$$SELECT name, context, boot_val FROM pg_settings
	  WHERE name IN ('tde_vault.cipher', 'tde_vault.enforce_encryption', 'tde_vault.key_provider')$$,
	$$VALUES ('tde_vault.cipher', 'user', 'aes-256-gcm'),
			 ('tde_vault.enforce_encryption', 'superuser', 'off'),
			 ('tde_vault.key_provider', 'sighup', '')$$,
	'settings');
SELECT set_eq(
	$$SELECT name, setting FROM pg_settings WHERE name IN ('wal_log_hints', 'full_page_writes')$$,
	$$VALUES ('wal_log_hints', 'on'), ('full_page_writes', 'on')$$,
	'the server settings that sealed pages rely on');
SELECT throws_ok($$SET tde_vault.cipher = 'rot13'$$, '22023', NULL, 'an unknown cipher is refused');
SELECT lives_ok($$SET tde_vault.cipher = 'AES-256-XTS'$$, 'cipher names are not case-sensitive');
SELECT lives_ok($$SET tde_vault.cipher = 'AES256'$$, 'AES256 is a cipher name');
RESET tde_vault.cipher;

-- system_info reports seams, cipher library and format versions.
SELECT cmp_ok((SELECT count(*) FROM tde_vault.system_info() WHERE value IS NULL OR value = ''), '=', 0::bigint,
	'system_info has a value for each name');
SELECT isnt_empty($$SELECT FROM tde_vault.system_info() WHERE name ILIKE '%storage manager%' OR name ILIKE '%smgr%'$$,
	'system_info names the storage manager seam');
SELECT set_eq($$SELECT name FROM tde_vault.system_info() WHERE name LIKE 'cipher: %'$$,
	ARRAY['cipher: aes-256-gcm', 'cipher: chacha20-poly1305', 'cipher: aes-256-ctr', 'cipher: aes-256-xts'],
	'system_info names the library of each cipher');
SELECT isnt_empty($$SELECT FROM tde_vault.system_info() WHERE name ILIKE '%keyring%'$$,
	'system_info has the keyring format version');

-- Views do not fail on relations of any kind.
CREATE TABLE part (id int) PARTITION BY RANGE (id);
CREATE VIEW v AS SELECT 1 AS x;
CREATE TABLE no_storage_yet (id int) USING tde_heap;
SELECT lives_ok('SELECT count(*) FROM tde_vault.encryption_status', 'encryption_status works');
SELECT lives_ok('SELECT count(*) FROM tde_vault.plaintext_files', 'plaintext_files works');
SELECT is(tde_vault.is_encrypted('no_storage_yet'), true, 'an empty table is encrypted');
SELECT lives_ok('SELECT tde_vault.is_encrypted(''part'')', 'is_encrypted of a partitioned table does not fail');
SELECT is(tde_vault.is_encrypted(NULL), NULL, 'is_encrypted of NULL');
SELECT throws_ok('SELECT tde_vault.is_encrypted(4294967290::oid::regclass)', '42P01', NULL, 'is_encrypted of what does not exist');
SELECT throws_ok('SELECT * FROM tde_vault.verify(4294967290::oid::regclass)', '42P01', NULL, 'verify of what does not exist');

SELECT * FROM finish();
ROLLBACK;
