# Records of hash indexes name the primary page of a bucket without an image,
# to lock it.  If a crash has torn that page, recovery goes on, because its
# image comes later; if none comes, recovery stops and says so.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', conf => <<'CONF');
shared_buffers = 1MB
checkpoint_timeout = 1h
max_wal_size = 10GB
bgwriter_lru_maxpages = 0
autovacuum = off
CONF
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pageinspect;
CREATE TABLE h (a int, id int) USING tde_heap;
CREATE INDEX hi ON h USING hash (a);
INSERT INTO h SELECT 7, g FROM generate_series(1, 2000) g;
CREATE TABLE big (id int PRIMARY KEY, f text);
ALTER TABLE big ALTER f SET STORAGE plain;
INSERT INTO big SELECT g, repeat('z', 1500) FROM generate_series(1, 3000) g;
VACUUM FREEZE big;
VACUUM FREEZE h;
CHECKPOINT;
SQL
my $bucket = $node->safe_psql('postgres', <<'SQL');
SELECT b FROM generate_series(0, (pg_relation_size('hi') / 8192 - 1)::int) b
WHERE hash_page_type(get_raw_page('hi', b)) = 'bucket'
  AND (hash_page_stats(get_raw_page('hi', b))).live_items > 100
SQL
like($bucket, qr/^\d+$/, 'a bucket with overflow pages');
my $sidecar = $node->sidecar_path('hi');
my $before = $node->read_entry($sidecar, $bucket);

# First the overflow pages change (records that only lock the bucket's primary
# page), then the primary page itself (with its image), and it is evicted.
$node->safe_psql('postgres', 'DELETE FROM h WHERE id BETWEEN 1200 AND 1250');
$node->safe_psql('postgres', 'VACUUM h');
$node->safe_psql('postgres', 'DELETE FROM h WHERE id BETWEEN 1 AND 20');
$node->safe_psql('postgres', 'VACUUM h');
$node->safe_psql('postgres', <<'SQL');
SET enable_seqscan = off; SET enable_bitmapscan = off;
SELECT max(length(f)) FROM big WHERE id BETWEEN 1 AND 3000
SQL
my $after = $node->read_entry($sidecar, $bucket);
isnt(unpack('H*', $after), unpack('H*', $before), 'the primary page was written again');
my $expected = $node->safe_psql('postgres', 'SELECT count(*), sum(id) FROM h');
$node->stop('immediate');

# as if the crash had come between the page and its entry
$node->write_entry($sidecar, $bucket, $before);
ok($node->start(fail_ok => 1), 'recovery passes the record that cannot read the page');
is($node->safe_psql('postgres', 'SELECT count(*), sum(id) FROM h'), $expected, 'every row is there');
is( $node->safe_psql('postgres',
		'SET enable_seqscan = off; SET enable_indexscan = on; SELECT count(*) FROM h WHERE a = 7'),
	(split /\|/, $expected)[0], 'and found by the index');
$node->verify_ok('every page verifies');
done_testing();
