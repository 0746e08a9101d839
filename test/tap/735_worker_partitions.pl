# Partitions that come after their table was encrypted are encrypted, too,
# however they come; until that is disabled.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', conf => "tde_vault.worker_cost_delay = 0\n");
my $marker = TdeVault::marker('partition');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE parent (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF parent FOR VALUES FROM (0) TO (100);
INSERT INTO parent SELECT g, md5(g::text) FROM generate_series(0, 99) g;
SQL
my $methods = q{SELECT string_agg(c.relname || ' ' || a.amname, ', ' ORDER BY c.relname) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE c.relname ~ '^p\d' AND c.relkind = 'r'};
sub done
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM tde_vault.encryption_progress WHERE state <> 'done')}), "$name: done");
	return;
}

$node->safe_psql('postgres', 'BEGIN; ALTER TABLE parent ENABLE ENCRYPTION; ROLLBACK; CREATE TABLE p2 PARTITION OF parent FOR VALUES FROM (100) TO (200)');
$node->sql_is($methods, 'p1 heap, p2 heap', 'rolled back: partitions are plain');
$node->safe_psql('postgres', q{DROP TABLE p2; ALTER TABLE parent ENABLE ENCRYPTION USING 'AES-256-XTS'});
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE p2 PARTITION OF parent FOR VALUES FROM (100) TO (200);
CREATE TABLE p3 PARTITION OF parent FOR VALUES FROM (200) TO (300) PARTITION BY RANGE (id);
CREATE TABLE p31 PARTITION OF p3 FOR VALUES FROM (200) TO (250);
CREATE SCHEMA s CREATE TABLE p32 PARTITION OF public.p3 FOR VALUES FROM (250) TO (300);
INSERT INTO parent SELECT g, '$marker' || g FROM generate_series(100, 299) g;
SQL
$node->sql_is($methods, 'p1 tde_heap, p2 tde_heap, p31 tde_heap, p32 tde_heap', 'made later: encrypted');
$node->sql_is(q{SELECT DISTINCT cipher FROM tde_vault.encryption_status WHERE relation::text ~ 'p\d' AND fork = 'main' AND relkind = 'r'}, 'aes-256-xts', 'with the cipher of the others');
$node->safe_psql('postgres', 'CHECKPOINT');
is(join(' ', $node->find_marker(marker => $marker)), '', 'their rows were never plaintext, in no file and not in the log');
$node->sql_fails('CREATE TABLE p4 PARTITION OF parent FOR VALUES FROM (300) TO (400) USING heap', 'TV007', [ qr/partition "p4" would not be encrypted/, qr/HINT/ ], 'not when plaintext is asked for');

# attached
$node->safe_psql('postgres', q{CREATE TABLE p4 (id int, v text); INSERT INTO p4 SELECT g, md5(g::text) FROM generate_series(300, 399) g;
	CREATE TABLE p5 (id int, v text) PARTITION BY RANGE (id); CREATE TABLE p51 PARTITION OF p5 FOR VALUES FROM (400) TO (500); INSERT INTO p5 SELECT g, md5(g::text) FROM generate_series(400, 499) g});
my ($rc, $out, $err) = $node->psql('postgres', 'ALTER TABLE parent ATTACH PARTITION p4 FOR VALUES FROM (300) TO (400)');
like($err, qr/NOTICE:  partition "p4" is being encrypted, as table "parent" is/, 'attached: a notice');
($rc, $out, $err) = $node->psql('postgres', 'BEGIN; ALTER TABLE parent ATTACH PARTITION p5 FOR VALUES FROM (400) TO (500); COMMIT');
like($err, qr/NOTICE:  partition "p51" is being encrypted, as table "parent" is/, 'also partitions of what is attached');
done('attached');
$node->sql_is($methods, 'p1 tde_heap, p2 tde_heap, p31 tde_heap, p32 tde_heap, p4 tde_heap, p51 tde_heap', 'attached: encrypted');
($rc, $out, $err) = $node->psql('postgres', 'ALTER TABLE parent DETACH PARTITION p4; ALTER TABLE parent ATTACH PARTITION p4 FOR VALUES FROM (300) TO (400)');
unlike($err, qr/NOTICE/, 'what is encrypted already is attached as it is');
$node->safe_psql('postgres', 'CREATE TABLE p6 (id int, v text); BEGIN; ALTER TABLE parent ATTACH PARTITION p6 FOR VALUES FROM (500) TO (600); ROLLBACK');
done('rolled back');
$node->sql_is(q{SELECT tde_vault.is_encrypted('p6')}, 'f', 'rolled back: plain');
$node->sql_is('SELECT count(*), sum(id) FROM parent', '500|124750', 'every row is there');
$node->verify_ok('every page is sealed', min => 5);
$node->crash;
$node->sql_is('SELECT count(*), sum(id) FROM parent', '500|124750', 'also after a crash');
$node->safe_psql('postgres', 'CREATE TABLE p7 PARTITION OF parent FOR VALUES FROM (600) TO (700)');
$node->sql_is(q{SELECT tde_vault.is_encrypted('p7')}, 't', 'and it goes on');

# disabled
$node->safe_psql('postgres', 'ALTER TABLE parent DISABLE ENCRYPTION; CREATE TABLE p8 PARTITION OF parent FOR VALUES FROM (700) TO (800)');
done('disabled');
$node->sql_is($methods, join(', ', map { "p$_ heap" } qw(1 2 31 32 4 51 6 7 8)), 'disabled: plain, and those that come later');
$node->sql_is('SELECT count(*), sum(id) FROM parent', '500|124750', 'every row is there');
$node->safe_psql('postgres', 'CREATE TABLE empty (id int) PARTITION BY RANGE (id); ALTER TABLE empty ENABLE ENCRYPTION; CREATE TABLE e1 PARTITION OF empty DEFAULT');
$node->sql_is(q{SELECT tde_vault.is_encrypted('e1')}, 't', 'one that had no partition yet');
$node->safe_psql('postgres', 'DROP TABLE empty, parent, p6');
$node->sql_is(q{SELECT count(*) FROM pg_depend d WHERE d.refobjid = (SELECT oid FROM pg_am WHERE amname = 'tde_heap') AND d.classid = 'pg_class'::regclass}, '0', 'dropped, nothing is left of it');
$node->stop;
done_testing();
