# What a process knows of a file that is plain holds until the keyring changes:
# sessions that have used tables, or only asked how large they are, seal them
# from the moment on at which another session has them encrypted, and go on
# when they are plain again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main', conf => "tde_vault.worker_cost_delay = 0\nautovacuum = off\nbgwriter_lru_maxpages = 0\n");
my ($first, $second) = (TdeVault::marker('before'), TdeVault::marker('after'));
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE used (id int PRIMARY KEY, v text);
INSERT INTO used SELECT g, '$first' FROM generate_series(1, 500) g;
CREATE TABLE empty (id int PRIMARY KEY, v text);
CREATE TABLE other (id int PRIMARY KEY, v text);
INSERT INTO other VALUES (1, 'other');
SQL
my $session = $node->background_psql('postgres');
$session->query_safe(q{SELECT count(*) FROM used; SELECT count(*) FROM empty; SELECT count(*) FROM other});

# what it knows of other files is looked up again and again
$node->safe_psql('postgres', join '', map { "CREATE TABLE k$_ (id int) USING tde_heap;" } 1 .. 50);
is($session->query_safe(q{SELECT v FROM other}), 'other', 'the keyring changes: a plain table stays plain');

$node->safe_psql('postgres', "ALTER TABLE $_ ENABLE ENCRYPTION") foreach qw(used empty);
$session->query_safe("INSERT INTO $_ SELECT g, '$second' FROM generate_series(1001, 1500) g") foreach qw(used empty);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 AND bool_and(state = 'done') FROM tde_vault.encryption_progress}), 'they are encrypted');
$node->safe_psql('postgres', 'CHECKPOINT');
foreach my $table (qw(used empty))
{
	$node->sealed_on_disk_ok($node->relation_path($_), "$_: sealed") foreach $table, "${table}_pkey";
}
is(join(' ', $node->find_marker(marker => $second)), '', 'what the session wrote afterwards was never plain, in no file and not in the log');
is($session->query_safe(q{SELECT (SELECT count(*) FROM used), (SELECT count(*) FROM empty)}), '1000|500', 'it reads all rows');

$node->safe_psql('postgres', "ALTER TABLE $_ DISABLE ENCRYPTION") foreach qw(used empty);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 AND bool_and(state = 'done') FROM tde_vault.encryption_progress WHERE operation = 'decrypt'}), 'they are decrypted');
$session->query_safe("INSERT INTO $_ SELECT g, '$second' FROM generate_series(2001, 2500) g") foreach qw(used empty);
$node->safe_psql('postgres', 'CHECKPOINT');
like(slurp_file($node->relation_path('used')), qr/$second/, 'plain again');
is($session->query_safe(q{SELECT (SELECT count(*) FROM used), (SELECT count(*) FROM empty)}), '1500|1000', 'it reads all rows');

# a plain table after a sealed one that was dropped
$session->query_safe('SELECT count(*) FROM k1');
$node->safe_psql('postgres', 'DROP TABLE k1; CHECKPOINT');
$session->query_safe('CREATE TABLE again (id int); INSERT INTO again VALUES (7)');
is($session->query_safe('SELECT id FROM again'), '7', 'a new plain table after a sealed one was dropped');
$session->quit;
$node->restart;
$node->sql_is('SELECT (SELECT count(*) FROM used), (SELECT count(*) FROM empty), (SELECT id FROM again)', '1500|1000|7', 'all of it is there after a restart');
$node->stop;
done_testing();
