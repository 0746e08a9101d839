# A process has room for 512 contexts of keys.  One that works with more tables at
# once gives up contexts, and makes them again, while others stay in use: a session
# that reads and writes all of them in turn, and a recovery that replays what it
# wrote.  One table is in use throughout.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $tables = 400;				# each with an index: two keys for pages and two for WAL
my $node = TdeVault->create('main', conf => <<'CONF');
shared_buffers = 2MB
max_locks_per_transaction = 512
default_table_access_method = tde_heap
checkpoint_timeout = 1h
CONF

$node->safe_psql('postgres', <<"SQL");
CREATE TABLE busy (id bigint, note text);
DO \$\$
BEGIN
	FOR i IN 1 .. $tables LOOP
		EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, filler text)', i);
		IF i % 50 = 0 THEN COMMIT; END IF;
	END LOOP;
END \$\$;
CHECKPOINT;
SQL

# more pages than there are buffers, so that they are written and read again
$node->safe_psql('postgres', <<"SQL");
DO \$\$
BEGIN
	FOR round IN 1 .. 3 LOOP
		FOR i IN 1 .. $tables LOOP
			EXECUTE format('INSERT INTO t%s VALUES (%s, repeat(md5(%L), 60))', i, round, i || '/' || round);
			INSERT INTO busy VALUES (i * 10 + round, 'seen');
		END LOOP;
		COMMIT;
	END LOOP;
END \$\$;
SQL
$node->crash;

my $sums = <<"SQL";
CREATE FUNCTION pg_temp.wrong() RETURNS bigint LANGUAGE plpgsql AS \$\$
DECLARE
	wrong bigint := 0;
	found bigint;
BEGIN
	FOR round IN 1 .. 3 LOOP
		FOR i IN 1 .. $tables LOOP
			EXECUTE format('SELECT count(*) FROM t%s WHERE id = %s AND filler = repeat(md5(%L), 60)', i, round, i || '/' || round) INTO found;
			wrong := wrong + (found <> 1)::int;
			SELECT count(*) INTO found FROM busy WHERE id = i * 10 + round;
			wrong := wrong + (found <> 1)::int;
		END LOOP;
	END LOOP;
	RETURN wrong;
END \$\$;
SELECT pg_temp.wrong();
SQL
is($node->safe_psql('postgres', $sums), '0', "all rows of $tables tables are back after a crash, read in turns");
is($node->safe_psql('postgres', "SELECT sum(sealed) > 0, sum(unsealed + bad) FROM pg_class, tde_vault.verify(oid) WHERE relname ~ '^(t[0-9]+|busy)\$'"), 't|0', 'and all pages are as they were written');
done_testing();
